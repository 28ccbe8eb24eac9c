"""Pictures of output files, on axes of your own: each function takes matplotlib's axes and a file that tangram.open()
gave, draws on them, adds a legend (legend=False: none; axes.legend() adds it later) and returns the axes. A file that
does not hold the numbers is a ValueError that says what writes them. With `label` (and `colour`) spectrum, stopping,
learning_curve and exponents draw their main line alone, so that several files can share the axes. tools/plot makes its
pictures of the same functions."""
from . import panels

RATES = 'run `tangram rates STUDY.toml`'
ALL_EIGENPAIRS = RATES + ' with spectrum.vectors = true and spectrum.count = 0'


def _drawn(axes, file, draw, missing, legend, *given):
    """missing: what the file does not hold where nothing is drawn, and what writes it."""
    handles = draw(axes, getattr(file, 'results', file), *given)
    if handles is None:
        raise ValueError(f'{file.path}: holds no {missing}')
    if legend and handles:
        axes.legend(handles=handles, fontsize='small')
    return axes


def spectrum(axes, file, label=None, colour=None, legend=True):
    """Eigenvalues of G/n against rank with the fit, its window and the noise floor."""
    missing = 'eigenvalues; run `tangram spectrum STUDY.toml`'
    return _drawn(axes, file, panels.spectrum, missing, legend, colour, label)


def stopping(axes, file, label=None, colour=None, legend=True):
    """Errors along gradient descent with T and its interval."""
    missing = f'errors along gradient descent; {ALL_EIGENPAIRS}, on examples with labels'
    return _drawn(axes, file, panels.stopping, missing, legend, colour, label)


def stopping_rules(axes, file, legend=True):
    """The step at which each rule stops, with T's interval and T at half and at double sigma."""
    missing = f'stopping steps; {ALL_EIGENPAIRS}, on examples with labels'
    return _drawn(axes, file, panels.stopping_rules, missing, legend)


def learning_curve(axes, file, label=None, colour=None, legend=True):
    """Test error against sample size, observed and predicted."""
    missing = f'errors by sample size; {ALL_EIGENPAIRS}, on examples with labels (rates.sizes, data.test)'
    return _drawn(axes, file, panels.learning_curve, missing, legend, colour, label)


def exponents(axes, file, label=None, colour=None, legend=True):
    """Exponents of the error, predicted and observed, with their intervals."""
    missing = f'exponent with a value (/rates/exponents says why); without that table, {RATES} or tangram merge'
    return _drawn(axes, file, panels.exponents, missing, legend, colour, label)


def excess_error(axes, file, legend=True):
    """Test error at T above its limit, with the fitted law and those that are predicted above the same limit."""
    why = panels.limit_of_error(getattr(file, 'results', file))[1] or 'it is not above its limit at three sizes'
    return _drawn(axes, file, panels.excess_error, f'error above a limit: {why}', legend)


def learning_curve_accuracy(axes, file, legend=True):
    """Test accuracy against sample size."""
    missing = f'accuracies by sample size; {ALL_EIGENPAIRS}, on labels that are classes (rates.sizes, data.test)'
    return _drawn(axes, file, panels.learning_curve_accuracy, missing, legend)


def decay_by_size(axes, file, legend=True):
    """The exponent of the eigenvalues, fitted on nested subsets."""
    missing = f'decay of subsets; {RATES} with larger rates.sizes: a fit takes some 120 rows'
    return _drawn(axes, file, panels.decay_by_size, missing, legend)


def alignment(axes, file, legend=True):
    """Share of residual, labels and trace in the leading eigenvectors."""
    missing = f'alignment; {ALL_EIGENPAIRS}, on examples with labels'
    return _drawn(axes, file, panels.alignment, missing, legend)


def functional(axes, file, name='effective_dimension', legend=True):
    """'effective_dimension' or 'information_gain' over the ridge."""
    return _drawn(axes, file, panels.functional, f'{name}; {ALL_EIGENPAIRS}', legend, name)


def formulas(axes, file, legend=True):
    """Spectra of the study's formulas."""
    missing = 'spectra of several formulas; give the study kernel.formula = ["sgd", "signgd"]'
    return _drawn(axes, file, panels.several_spectra, missing, legend, '/spectrum')


def groups(axes, file, legend=True):
    """Spectra of the groups of parameters that were asked for."""
    missing = (
        'spectra of groups; give the study kernel.groups = "kind" or "layer", and name groups: '
        '`tangram spectrum STUDY.toml --groups attention,mlp`'
    )
    return _drawn(axes, file, panels.several_spectra, missing, legend, '/spectrum/groups')


def density(axes, file, legend=True):
    """Shares of the eigenvalues in bins of half a decade (spectrum.density)."""
    missing = 'density of the spectrum; give the study spectrum.density = true'
    return _drawn(axes, file, panels.density, missing, legend)


def trace_shares(axes, file, most=16):
    """The tensors that hold most of the kernel's trace."""
    return _drawn(axes, file, panels.trace_shares, 'shares of the trace; run `tangram gram STUDY.toml`', False, most)


def task_cosines(axes, file):
    """Cosines between the task vectors."""
    return _drawn(axes, file, panels.task_cosines, 'tasks; give the study several [[tasks]] in place of [data]', False)


def task_arithmetic(axes, file):
    """Accuracy on every task after adding or subtracting task vectors."""
    missing = 'task arithmetic; give the study several [[tasks]] in place of [data], each with a test set'
    return _drawn(axes, file, panels.task_arithmetic, missing, False)


def neighbours(axes, file, name='accuracy', legend=True):
    """'accuracy' or 'mse' of regression on the nearest training examples."""
    missing = f'{name} of neighbourhoods; give the study rates.neighbours and data.test'
    return _drawn(axes, file, panels.neighbours, missing, legend, name)


def finetune(axes, file, name='loss', legend=True):
    """'loss' or 'accuracy' of the network and of its linearised model along training."""
    return _drawn(axes, file, panels.finetune, f'{name} of fine-tuning; give the study [finetune]', legend, name)


def runs(axes, file, name='mse_stop', legend=True):
    """'mse_stop', 'critical_radius' or 'stopping_step' of the runs of a merged file by their size."""
    return _drawn(axes, file, panels.runs, f'{name} of several runs; join them: `tangram merge`', legend, name)


def trained_runs(axes, file, name='finetune_loss_stop', legend=True):
    """'finetune_loss_stop', 'finetune_gap' or 'finetune_stopping_step' of the runs of a merged file by their size."""
    missing = f'{name} of several runs; join runs with [finetune]: `tangram merge`'
    return _drawn(axes, file, panels.trained_runs, missing, legend, name)
