"""The pictures that tools/plot keeps: each function makes a Picture of what panels.py draws, or None where the
file does not hold it."""
import math

from ..results import readable, shortened
from . import panels
from .drawing import Picture, literal, plt
from .panels import named_n


def on_panels(name, title, caption, heights, *draws):
    """A picture with a panel per function of one argument, its axes; panels without data are left out, and None is
    returned where none has any."""
    probe, axes = plt.subplots()
    kept = []
    for height, draw in zip(heights, draws):
        axes.clear()
        if draw(axes) is not None:
            kept.append((height, draw))
    plt.close(probe)
    if not kept:
        return None
    picture = Picture(name, title, caption, tuple(height for height, _ in kept))
    for k, (axes, (_, draw)) in enumerate(zip(picture.axes, kept)):
        named = {handle.get_label() for handle in picture.handles}
        picture.legend(*(handle for handle in draw(axes) if handle.get_label() not in named))
        if k < len(kept) - 1:
            axes.set_xlabel('')
    if len(kept) > 1:
        picture.figure.align_ylabels(picture.axes)
    return picture


def spectrum(results):
    caption = f'Eigenvalues of G/{panels.scale_name(results)} against their rank, largest first.'
    selected = results.text('/rates/decay', 'selected')
    reason = results.text('/rates/decay', 'reason')
    if selected == 'none':
        caption += ' No decay was fitted' + (f': {reason}' if reason else '') + '.'
    elif selected == 'polynomial' and results.number('/rates/decay/polynomial', 'corrected') > 0:
        caption += ' The fitted line is corrected for the bias of empirical eigenvalues.'
    if results.sketched():
        caption += ' The kernel is sketched: its tail is the sketch’s, not the model’s.'
    return on_panels(
        'spectrum', f'Spectrum ({named_n(results)})', caption, (3.3,), lambda a: panels.spectrum(a, results)
    )


def formulas(results):
    return on_panels(
        'formulas',
        f'Spectra of the formulas ({named_n(results)})',
        'Eigenvalues of each update rule’s kernel over the rows of the kernel, as far as the noise floor.',
        (3.1,),
        lambda a: panels.several_spectra(a, results, '/spectrum'),
    )


def groups(results):
    return on_panels(
        'groups',
        f'Spectra of groups of parameters ({named_n(results)})',
        'Eigenvalues of the kernel of some parameters alone; the whole kernel is the sum of all groups’.',
        (3.1,),
        lambda a: panels.several_spectra(a, results, '/spectrum/groups'),
    )


def density(results):
    return on_panels(
        'density',
        f'Density of the spectrum ({named_n(results)})',
        'Shares of all eigenvalues in bins of half a decade; lines are 95 % intervals where the eigenvalues are not all'
        ' known.',
        (2.7,),
        lambda a: panels.density(a, results),
    )


def trace_shares(results):
    count = min(len(results.table('/kernel/tensors')), 17)
    return on_panels(
        'trace_shares',
        f'Shares of the trace ({named_n(results)})',
        'The tensors whose gradients make most of the kernel’s trace.',
        (0.5 + 0.42 * count,),
        lambda a: panels.trace_shares(a, results),
    )


def decay_by_size(results):
    return on_panels(
        'decay_by_size',
        f'Decay exponent over sample size ({named_n(results)})',
        'The exponent a of the eigenvalues against rank, fitted on nested random subsets: small dots, with means and'
        ' bars of one standard deviation. It has converged where it no longer moves.'
        + (
            ' The whole sample is fitted by a power with an onset, which is another exponent.'
            if results.number('/rates/decay/polynomial', 'onset') > 0
            else ''
        ),
        (2.9,),
        lambda a: panels.decay_by_size(a, results),
    )


def stopping(results):
    """Errors along gradient descent, and above them the steps at which each rule would stop."""
    if results.array('/rates/stopping/step', 1) is None:
        return None
    rules = panels.rules_of(results)
    caption = 'Errors along gradient descent: filled marks are observed, hollow ones predicted.'
    if rules:
        caption += (
            ' Above: where each rule stops; the line beside T is its 95 % interval, the bar T at half and at double σ.'
        )
    heights = ((0.35 + 0.21 * len(rules),) if rules else ()) + (3.2,)
    picture = Picture('stopping', f'Stopping ({named_n(results)})', caption, heights)
    handles = panels.stopping(picture.axes[-1], results)
    if handles is None:
        picture.close()
        return None
    if rules:
        named = {handle.get_label() for handle in handles}  # T's interval stands in both panels
        above = panels.stopping_rules(picture.axes[0], results, shared=True)
        handles += [handle for handle in above if handle.get_label() not in named]
    picture.legend(*handles)
    return picture


def learning_curve(results):
    return on_panels(
        'learning_curve',
        f'Test error over sample size ({named_n(results)})',
        'Means over nested random subsets; bars are one standard deviation. Filled: observed; hollow: predicted.',
        (3.4,),
        lambda a: panels.learning_curve(a, results),
    )


def excess_error(results):
    other = panels.limit_of_predictions(results)
    return on_panels(
        'excess_error',
        f'Test error above its limit ({named_n(results)})',
        'What the error of gradient descent at T holds above the limit that it falls to, A of the fit A + B n^-x: means'
        ' and standard deviations over subsets, and the fitted law (solid). Predicted laws (dashed, through the same'
        ' points) are drawn only where they are of the error above the same limit'
        + (f'; theirs is σ² = {readable(other, 3)}.' if math.isfinite(other) else '.'),
        (3.4,),
        lambda a: panels.excess_error(a, results),
    )


def learning_curve_accuracy(results):
    return on_panels(
        'learning_curve_accuracy',
        f'Test accuracy over sample size ({named_n(results)})',
        'Means over nested random subsets; bars are one standard deviation. Best step and best ridge are those of least'
        ' error, not of most accuracy.',
        (3.4,),
        lambda a: panels.learning_curve_accuracy(a, results),
    )


def alignment(results):
    return on_panels(
        'alignment',
        f'Cumulative power ({named_n(results)})',
        'Share of the residual, of the labels and of the kernel’s trace that lies in the leading k eigenvectors. The'
        ' dotted line is what a random direction would have.',
        (3.0,),
        lambda a: panels.alignment(a, results),
    )


def functionals(results):
    return on_panels(
        'functionals',
        f'Functionals of the spectrum ({named_n(results)})',
        'How many directions a ridge t on G/n leaves free, and how much the sample tells about the function.',
        (2.0, 2.0),
        *(lambda a, name=name: panels.functional(a, results, name) for name in panels.FUNCTIONALS),
    )


EXPONENTS = (
    'The error falls like n to the power of minus these exponents. Bars are 95 % intervals; an arrow is a bound, the'
    ' least exponent that the theory promises, its dotted line the way to the lower end of its interval.'
)


def exponents(results):
    several = panels.holds_several_runs(results)
    return on_panels(
        'exponents',
        'Exponents of the error' + ('' if several else f' ({named_n(results)})'),
        EXPONENTS,
        (0.5 + 0.36 * len(panels.known_exponents(results)),),
        lambda a: panels.exponents(a, results),
    )


def task_cosines(results):
    cosines = results.array('/tasks/cosines', 2)
    side = max(2.0, min(0.55 * len(cosines), 3.6)) if cosines is not None else 2.0
    return on_panels(
        'task_cosines',
        'Cosines between tasks',
        'Cosine of the angle between two tasks’ changes of the parameters: 1 is the same direction, 0 none in common,'
        ' −1 the opposite.',
        (side + 0.6,),
        lambda a: panels.task_cosines(a, results),
    )


def task_arithmetic(results):
    count = len(panels.arithmetic_table(results)[0])
    shown = min(count, panels.ARITHMETIC_SHOWN)
    return on_panels(
        'task_arithmetic',
        'Task arithmetic',
        'Accuracy on every task (columns) at the start, and after adding (+) or subtracting (−) task vectors (rows).'
        + (f' The first {shown} of {count} rows; the table holds all.' if count > shown else ''),
        (0.8 + 0.3 * shown,),
        lambda a: panels.task_arithmetic(a, results),
    )


def neighbours(results):
    return on_panels(
        'neighbours',
        f'Neighbourhoods ({named_n(results)})',
        'Kernel regression on the k training examples nearest to each test example (marks), against the one on all of'
        ' them (dashed).',
        (2.3, 1.9),
        *(lambda a, name=name: panels.neighbours(a, results, name) for name in panels.NEIGHBOURS),
    )


def finetune(results):
    return on_panels(
        'finetune',
        f'Fine-tuning ({results.text("/finetune", "optimizer")}, {named_n(results)})',
        'The network (lines) and its linearised model (dashed), trained by the same steps. The upright line is the'
        ' stopping step T, marks are the best recorded steps on the test examples.',
        (2.6, 1.8),
        *(lambda a, name=name: panels.finetune(a, results, name) for name in ('loss', 'accuracy')),
    )


def runs(results):
    return on_panels(
        'runs',
        'The runs of a scale study',
        'Every run (small dots) and the mean over draws, by the size of the sample; a colour per curve. Where a'
        ' run’s number is missing or infinite, its size has no mean.',
        (2.3, 1.9, 1.9),
        *(lambda a, name=name: panels.runs(a, results, name) for name in panels.RUNS),
    )


def trained_runs(results):
    return on_panels(
        'trained_runs',
        'Fine-tuning by the size of the sample',
        'Test loss at the stopping step T of the network (lines) and of its linearised model (dashed), and how far the'
        ' two are apart; every run (small dots) and the mean over draws, a colour per curve.',
        (2.3, 1.9, 1.9),
        *(lambda a, name=name: panels.trained_runs(a, results, name) for name in panels.TRAINED),
    )


ALL = (
    exponents,
    spectrum,
    density,
    formulas,
    groups,
    trace_shares,
    decay_by_size,
    stopping,
    alignment,
    functionals,
    learning_curve,
    excess_error,
    learning_curve_accuracy,
    task_cosines,
    task_arithmetic,
    neighbours,
    finetune,
    runs,
    trained_runs,
)
NAMES = tuple(draw.__name__ for draw in ALL)


def finished(pictures):
    """Placed and ready to be kept, by name; without those that are None."""
    kept = {}
    for picture in pictures:
        if picture is not None:
            picture.finish()
            kept[picture.name] = picture
    return kept


def draw_all(results):
    """Every picture that the file has the numbers for, by name."""
    return finished(draw(results) for draw in ALL)


# ---- several files ---------------------------------------------------------------------------------------

SHORT = {'model.path': 'model', 'data.train': 'data', 'data.samples': 'n', 'kernel.output': 'output'}


def labels_of(files):
    """What tells the files' studies apart, as short as it can be: 'n = 512, output = trace'; of studies that do
    not differ, the files' names."""
    studies = [results.study_keys() for results in files]
    keys = sorted({key for study in studies for key in study})
    # A key that a file does not have is newer than the program that wrote it.
    differing = [key for key in keys if len({repr(study[key]) for study in studies if key in study}) > 1]
    differing = [key for key in differing if not key.startswith('output.')]
    names = [results.path.rsplit('/', 1)[-1].removesuffix('.h5') for results in files]
    if not differing or len(differing) > 3:  # other studies altogether
        return names
    labels = []
    for study in studies:
        parts = []
        for key in differing:
            value = study.get(key, '–')
            text = str(value).rstrip('/').rsplit('/', 1)[-1] if key.endswith(('path', 'train', 'test')) else value
            text = ', '.join(map(str, text)) if isinstance(text, list) else str(text)
            parts.append(f'{SHORT.get(key, key.rsplit(".", 1)[-1])} = {text}')
        labels.append(shortened(', '.join(parts), 48))
    return labels if len(set(labels)) == len(labels) else names


def overlay(name, title, caption, height, draw, files):
    """One panel on which every file that has the numbers is drawn; None where fewer than two have."""
    picture = Picture(name, title, caption, (height,))
    axes, drawn = picture.axes[0], 0
    for k, (results, label) in enumerate(zip(files, labels_of(files))):
        handles = draw(axes, results, panels.COLOURS[k % len(panels.COLOURS)], literal(label), k)
        if handles is not None:
            picture.legend(*handles[:1])
            drawn += 1
    if drawn < 2:
        picture.close()
        return None
    return picture


def draw_together(files):
    """Spectra, errors along gradient descent, learning curves and exponents of several files, by name."""
    rows = max(len(panels.known_exponents(results)) for results in files)
    spread = 0.5 / max(len(files) - 1, 1)
    return finished(
        overlay(*given, files)
        for given in (
            (
                'exponents',
                'Exponents of the error',
                EXPONENTS,
                0.6 + (0.2 + 0.16 * len(files)) * max(rows, 1),
                lambda a, r, c, l, k: panels.exponents(a, r, c, l, k * spread - 0.25),
            ),
            (
                'spectrum',
                'Spectra',
                'Eigenvalues of G/n above the noise floor against their rank, largest first.',
                3.3,
                lambda a, r, c, l, k: panels.spectrum(a, r, c, l),
            ),
            (
                'stopping',
                'Stopping',
                'Test error (or training error) along gradient descent; dotted lines are the stopping steps T.',
                3.2,
                lambda a, r, c, l, k: panels.stopping(a, r, c, l),
            ),
            (
                'learning_curve',
                'Test error over sample size',
                'Error of gradient descent at T: means and standard deviations over nested random subsets.',
                3.4,
                lambda a, r, c, l, k: panels.learning_curve(a, r, c, l),
            ),
        )
    )
