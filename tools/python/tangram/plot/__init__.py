"""Pictures of output files, on axes of your own: each function takes matplotlib's axes and a file that tangram.open()
gave, draws on them, adds a legend (legend=False: none) and returns the axes. A file that does not hold the numbers is a
ValueError. With `label` (and `colour`) spectrum, stopping, learning_curve and exponents draw their main line alone, so
that several files can share the axes. tools/plot makes its pictures of the same functions."""
from . import panels


def _drawn(axes, file, draw, legend, *given):
    handles = draw(axes, getattr(file, 'results', file), *given)
    if handles is None:
        raise ValueError(f'{file.path}: does not hold what {draw.__name__} shows')
    if legend and handles:
        axes.legend(handles=handles, fontsize='small')
    return axes


def spectrum(axes, file, label=None, colour=None, legend=True):
    """Eigenvalues of G/n against rank with the fit, its window and the noise floor."""
    return _drawn(axes, file, panels.spectrum, legend, colour, label)


def stopping(axes, file, label=None, colour=None, legend=True):
    """Errors along gradient descent with T and its interval."""
    return _drawn(axes, file, panels.stopping, legend, colour, label)


def stopping_rules(axes, file, legend=True):
    """The step at which each rule stops, with T's interval and T at half and at double sigma."""
    return _drawn(axes, file, panels.stopping_rules, legend)


def learning_curve(axes, file, label=None, colour=None, legend=True):
    """Test error against sample size, observed and predicted."""
    return _drawn(axes, file, panels.learning_curve, legend, colour, label)


def exponents(axes, file, label=None, colour=None, legend=True):
    """Exponents of the error, predicted and observed, with their intervals."""
    return _drawn(axes, file, panels.exponents, legend, colour, label)


def excess_error(axes, file, legend=True):
    """Test error at T above its limit, with the fitted law and those that are predicted above the same limit."""
    return _drawn(axes, file, panels.excess_error, legend)


def learning_curve_accuracy(axes, file, legend=True):
    """Test accuracy against sample size."""
    return _drawn(axes, file, panels.learning_curve_accuracy, legend)


def decay_by_size(axes, file, legend=True):
    """The exponent of the eigenvalues, fitted on nested subsets."""
    return _drawn(axes, file, panels.decay_by_size, legend)


def alignment(axes, file, legend=True):
    """Share of residual, labels and trace in the leading eigenvectors."""
    return _drawn(axes, file, panels.alignment, legend)


def functional(axes, file, name='effective_dimension', legend=True):
    """'effective_dimension' or 'information_gain' over the ridge."""
    return _drawn(axes, file, panels.functional, legend, name)


def formulas(axes, file, legend=True):
    """Spectra of the study's formulas."""
    return _drawn(axes, file, panels.several_spectra, legend, '/spectrum')


def groups(axes, file, legend=True):
    """Spectra of the groups of parameters that were asked for."""
    return _drawn(axes, file, panels.several_spectra, legend, '/spectrum/groups')


def density(axes, file, legend=True):
    """Shares of the eigenvalues in bins of half a decade (spectrum.density)."""
    return _drawn(axes, file, panels.density, legend)


def trace_shares(axes, file, most=16):
    """The tensors that hold most of the kernel's trace."""
    return _drawn(axes, file, panels.trace_shares, False, most)


def task_cosines(axes, file):
    """Cosines between the task vectors."""
    return _drawn(axes, file, panels.task_cosines, False)


def task_arithmetic(axes, file):
    """Accuracy on every task after adding or subtracting task vectors."""
    return _drawn(axes, file, panels.task_arithmetic, False)


def neighbours(axes, file, name='accuracy', legend=True):
    """'accuracy' or 'mse' of regression on the nearest training examples."""
    return _drawn(axes, file, panels.neighbours, legend, name)


def runs(axes, file, name='mse_stop', legend=True):
    """'mse_stop', 'critical_radius' or 'stopping_step' of the runs of a merged file by their size."""
    return _drawn(axes, file, panels.runs, legend, name)
