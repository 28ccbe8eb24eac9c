"""The report: one HTML page that needs nothing but itself, readable on a phone. Every text from the file is
escaped."""
import contextlib
import html
import math
import os
import re

import numpy as np

from ..results import mean_and_spread, plain_text, readable, readable_interval
from . import panels
from .drawing import inline_svg
from .panels import arithmetic_rows, arithmetic_table, by_size, short_weights, sizes_of, source_name, task_names

STYLE = """
:root { color-scheme: light dark;
  --ink: #222222; --paper: #ffffff; --grey: #6b6b6b; --faint: #dddddd; --panel: #f4f5f7; --blue: #0072b2;
  --sky: #56b4e9; --green: #009e73; --orange: #e69f00; --vermillion: #d55e00; --purple: #cc79a7; }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e8e8e8; --paper: #16181b; --grey: #a0a0a0; --faint: #3a3d42; --panel: #202328; --blue: #4aa8e8;
  --sky: #8fd0f5; --green: #2fc79c; --orange: #f0b840; --vermillion: #ff8a3d; --purple: #e59cc6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .3rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--faint); }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .5rem 0; max-width: 46rem; }
.about { color: var(--grey); }
.sentence { font-size: 1.1rem; border-left: .25rem solid var(--blue); padding: .2rem 0 .2rem .8rem; }
.warning { border-left: .25rem solid var(--vermillion); padding: .2rem 0 .2rem .8rem; }
.table { overflow-x: auto; max-width: 100%; width: fit-content; margin: .6rem 0;
  border: 1px solid var(--faint); border-radius: .4rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem;
  overflow-wrap: normal; }
th, td { padding: .35rem .7rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--faint); }
tr:last-child > td, tr:last-child > th { border-bottom: 0; }
thead th { background: var(--panel); font-weight: 600; }
td.number, th.number { text-align: right; white-space: nowrap; }
.whole { white-space: nowrap; }
td.words { min-width: 8rem; max-width: 34rem; overflow-wrap: anywhere; }
tbody th { font-weight: 400; overflow-wrap: anywhere; min-width: 7.6rem; max-width: 18rem; }
@media (max-width: 30rem) { th, td { padding: .3rem .45rem; } table { font-size: .88rem; }
  td.words { min-width: 6.6rem; } tbody th { min-width: 7.2rem; }
  .stack { width: auto; } .stack thead { display: none; }
  .stack table, .stack tbody, .stack tr, .stack tbody th, .stack td { display: block; }
  .stack tr + tr { border-top: 1px solid var(--faint); }
  .stack th, .stack td { border: 0; padding: .15rem .6rem; }
  .stack tbody th { font-weight: 600; max-width: none; padding-top: .4rem; }
  .stack td:last-child { padding-bottom: .4rem; }
  .stack td, .stack td.words { display: flex; gap: .8rem; max-width: none; text-align: left; white-space: normal; }
  .stack td::before { content: attr(data-title); color: var(--grey); flex: 0 0 6.6rem; } }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
  gap: 0 1.5rem; align-items: start; }
.beside > * { min-width: 0; }
figure { margin: .6rem 0; max-width: 36rem; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { color: var(--grey); font-size: .9rem; }
details { margin: .6rem 0; } summary { cursor: pointer; }
pre { overflow-x: auto; background: var(--panel); padding: .8rem; border-radius: .4rem; font-size: .85rem;
  overflow-wrap: normal; }
@media print { .table { overflow: visible; } }
"""


def escaped(text):
    return html.escape(plain_text(text))


RAISED = re.compile(r'\^(-?[0-9.]*[0-9](?:e[+-]?[0-9]+)?|-[a-z](?![a-z]))')


def written(text):
    """Escaped, with powers raised (n^-0.71) and eps_n and sigma as letters, as the program's texts have them."""
    safe = RAISED.sub(lambda m: '<sup>' + m[1].replace('-', '−') + '</sup>', escaped(text))
    safe = re.sub(r'(?<=\d)e([+-]?)0?(\d+)\b', lambda m: f'·10<sup>{m[1].replace("-", "−").strip("+")}{m[2]}</sup>', safe)
    safe = re.sub(r'(?<=[\[ ])(-?)inf(?=[\] ,])', r'\1∞', safe)
    safe = re.sub(r'\beps_n\b', 'ε<sub>n</sub>', safe)
    return re.sub(r'(?<![\w./-])sigma(?![\w./-])', 'σ', safe).replace(' +- ', ' ± ')


def broken(cell):
    """A cell's text; of a tuple, parts that stay whole and stand below each other where room is short."""
    parts = cell if isinstance(cell, tuple) else (cell,)
    return (
        ' '.join(f'<span class="whole">{written(part)}</span>' for part in parts)
        if len(parts) > 1
        else written(parts[0])
    )


PHONE_LETTERS = 44  # of a table's row, two for the space between columns, that fit into 390 pixels


class Page:
    """Collects the parts of the page in order."""

    def __init__(self, pictures):
        self.pictures, self.parts, self.open = pictures, [], False

    def section(self, title):
        self.parts.append(f'<h2>{html.escape(title)}</h2>')

    def paragraph(self, text, kind=None):
        self.parts.append(f'<p class="{kind}">{written(text)}</p>' if kind else f'<p>{written(text)}</p>')

    def show(self, *names):
        """The pictures of these names that exist, beside each other where there is room."""
        figures = []
        for name in names:
            picture = self.pictures.get(name)
            if picture is not None:
                figures.append(
                    '<figure'
                    f' id="picture-{name}">{inline_svg(picture.svg("path"), name, html.escape(picture.title))}'
                    f'<figcaption>{written(picture.caption)}</figcaption></figure>'
                )
        if figures:
            self.parts += figures if self.open else ['<div class="beside">', *figures, '</div>']

    @contextlib.contextmanager
    def beside(self):
        """What is added inside stands beside each other where there is room."""
        self.parts.append('<div class="beside">')
        self.open = True
        yield
        self.open = False
        self.parts.append('</div>')

    @contextlib.contextmanager
    def together(self, title=''):
        """One of the things that stand beside each other, under a title of its own."""
        self.parts.append('<div>' + (f'<h3>{html.escape(title)}</h3>' if title else ''))
        yield
        self.parts.append('</div>')

    def table(self, head, rows, words=()):
        """head: titles; rows: lists of text, the first the row's name; columns in `words` hold text, the
        others numbers. A tuple is a cell that may be broken between its parts. No rows, no table."""
        if not rows:
            return

        def kind(k):
            return ' class="words"' if k in words else ' class="number"' if k else ''

        # On a phone a wide table's rows stand below each other, with the columns' titles before their cells.
        length = lambda cell: len(' '.join(cell) if isinstance(cell, tuple) else str(cell))
        widths = [max(map(length, column)) + 2 for column in zip(*rows, *([head] if head else []))]
        stack = ' stack' if head and sum(widths) > PHONE_LETTERS else ''
        first = f'{head[0]} ' if head and head[0].endswith('=') else ''
        names = [f' data-title="{html.escape(first + t)}"' for t in head] if stack else [''] * len(rows[0])
        title = ''.join(
            f'<th scope="col"{kind(k) if k not in words else ""}>{html.escape(t)}</th>'
            for k, t in enumerate(head)
        )
        body = ''.join(
            '<tr>'
            + ''.join(
                f'<th scope="row">{escaped(cell)}</th>'
                if k == 0
                else f'<td{kind(k)}{names[k]}><span>{broken(cell)}</span></td>'
                for k, cell in enumerate(row)
            )
            + '</tr>\n'
            for row in rows
        )
        self.parts.append(
            f'<div class="table{stack}" tabindex="0"><table>'
            + (f'<thead><tr>{title}</tr></thead>' if head else '')
            + f'<tbody>\n{body}</tbody></table></div>'
        )

    def facts(self, rows, words=False):
        """A table of names and values; rows without a value are left out."""
        self.table((), [row for row in rows if row[1] not in ('', '–', None)], words=(1,) if words else (2,))


def short_path(path):
    parts = [p for p in str(path).split('/') if p]
    return '/'.join(parts[-2:]) if parts else ''


def model_name(results):
    path = results.study('model', 'path')
    return os.path.basename(str(path).rstrip('/')) if path else ''


def data_name(results):
    names = results.texts('/tasks', 'names')
    if names:
        return ', '.join(names)
    return short_path(results.study('data', 'train') or '')


def title_of(results):
    parts = [plain_text(p) for p in (model_name(results), data_name(results)) if p]
    return ' on '.join(parts) if parts else os.path.basename(results.path)


def headline(results, page):
    n, rows, tests = results.examples(), results.rows(), results.examples('test')
    about = [
        f'n = {readable(n)} examples' if n else '',
        f'N = {readable(rows)} rows of the kernel' if rows and rows != n else '',
        f'm = {readable(tests)} test examples' if tests else '',
    ]
    for section, key, name in (
        ('kernel', 'output', 'output'),
        ('kernel', 'formula', 'formula'),
        ('kernel', 'parameters', 'parameters'),
    ):
        value = results.study(section, key)
        if value:
            about.append(f'{name} ' + (', '.join(map(str, value)) if isinstance(value, list) else str(value)))
    page.parts.append(f'<h1>{escaped(title_of(results))}</h1>')
    page.paragraph(' · '.join(a for a in about if a), 'about')
    if results.sketched():
        page.paragraph(
            'This kernel is sketched: exponents of its tail are the sketch’s, not the model’s.', 'warning'
        )
    if not results.has('/spectrum') and not results.has('/rates'):
        page.paragraph(
            'The file holds neither a spectrum nor rates: run tangram spectrum and tangram rates.', 'warning'
        )


def warnings(results, page):
    """What the runs warned of."""
    rows = results.table('/warnings')
    if rows:
        page.section('Warnings')
        page.table(('stage', 'warning'), [[row.get('stage', ''), row.get('text', '')] for row in rows], words=(1,))


def value_and_interval(value, low=None, high=None, digits=4):
    """A cell: the value, and its interval where there is one."""
    value = readable(value, digits, True)
    interval = readable_interval(low, high) if isinstance(low, float) and isinstance(high, float) else '–'
    return (value, interval) if value != '–' and interval != '–' else value


def conclusions(results, page):
    sentence = results.text('/rates', 'sentence')
    rows = [
        [
            source_name(str(row.get('source', ''))),
            value_and_interval(*(row.get(key, math.nan) for key in ('value', 'low', 'high')), 3),
            str(row.get('note', '')),
        ]
        for row in results.table('/rates/exponents')
        if isinstance(row.get('value', math.nan), float)
    ]
    if not sentence and not rows:
        return
    page.section('How the error falls')
    if sentence:
        page.paragraph(sentence, 'sentence')
    page.table(('error ∝ n⁻ˣ from', 'x [95 % interval]', 'note'), rows, words=(1, 2))
    page.show('exponents')


FAMILIES = (
    ('polynomial', 'exponent', 'exponent a of l ∝ k⁻ᵃ'),
    ('polynomial', 'constant', 'constant'),
    ('polynomial', 'density_exponent', 'density exponent 1 + 1/a'),
    ('exponential', 'rate', 'rate b of l ∝ exp(−b kᵍ)'),
    ('exponential', 'power', 'power g'),
    ('exponential', 'constant', 'constant'),
    ('finite_rank', 'rank', 'rank'),
)


def decay(results, page):
    if 'spectrum' not in page.pictures and not results.has('/rates/decay'):
        return
    page.section('Spectrum and decay')
    page.show('spectrum', 'density', 'decay_by_size', 'trace_shares', 'formulas', 'groups')
    group = '/rates/decay'
    selected, why_none = results.text(group, 'selected'), results.text(group, 'reason')
    first, last = results.number(group, 'first'), results.number(group, 'last')
    asked = ', as rates.window gives it' if results.text(group, 'window_source') == 'given' else ''
    quality = '/spectrum/quality'
    solver, why = results.text(quality, 'solver'), results.text(quality, 'solver_reason')
    with page.beside():
        with page.together('Spectrum'):
            page.facts(
                [
                    ['decay', selected.replace('_', ' ') + (f': {why_none}' if why_none else '')],
                    ['fit window', f'ranks {readable(first)} to {readable(last)}{asked}' if last >= 1 else ''],
                    ['noise floor (scale of G/n)', readable(results.noise_floor(), 3)],
                    ['negative eigenvalues', readable(results.number(quality, 'negative'))],
                    ['solver', solver + (f' ({why})' if why else '')],
                    ['largest residual', readable(results.number(quality, 'residual_max'), 2)],
                    ['orthogonality error', readable(results.number(quality, 'orthogonality_max'), 2)],
                    ['trace error', readable(results.number(quality, 'trace_error'), 2)],
                ],
                words=True,
            )
        rows = []
        for family, name, meaning in FAMILIES:
            value, low, high = results.interval(f'{group}/{family}', name)
            # An infinite criterion stands for a family that was not fitted.
            if not math.isnan(value) and not math.isinf(results.number(f'{group}/{family}', 'criterion')):
                rows.append(
                    [
                        family.replace('_', ' ') + (' (selected)' if family == selected else ''),
                        meaning,
                        value_and_interval(value, low, high),
                        readable(results.number(f'{group}/{family}', 'criterion')),
                    ]
                )
        if rows:
            with page.together('Fits of the decay'):
                page.table(('family', 'parameter', 'value [95 % interval]', 'BIC'), rows, words=(1, 2))


def stopping(results, page):
    group = '/rates/stopping'
    if not results.has(group):
        return
    number = lambda name, digits=4: readable(results.number(group, name), digits)
    page.section('When to stop')
    no_bound = results.text(group, 'error_bound_reason')
    if no_bound:
        page.paragraph(f'No bound on the error at T: {no_bound}.', 'warning')
    elif results.number(group, 'error_bound_vacuous') > 0:
        page.paragraph(
            'The bound on the error at T exceeds the mean square of the residual less the noise, what the '
            'start itself errs by: it is vacuous here.',
            'warning',
        )
    stop = results.number(group, 'stopping_step')
    if stop == 0:
        page.paragraph('T = 0: the noise is so large against what the kernel can learn that no step pays.')
    elif math.isinf(stop):
        page.paragraph('T = ∞: without noise the rule never stops.')
    page.show('stopping', 'alignment')
    source = lambda name: f' ({results.text(group, name)})' if results.text(group, name) else ''
    share = results.number(group, 'residual_mean_share')
    with page.beside():
        with page.together('Stopping step'):
            page.facts(
                [
                    ['stopping step T [95 % interval]', stop_cell(results)],
                    ['learning rate', number('step_size')],
                    ['critical radius εₙ', number('critical_radius')],
                    ['ridge twin of T (ridge on G/n)', number('ridge_twin')],
                    [
                        'noise σ (label units)',
                        number('noise') + source('noise_source') if number('noise') != '–' else '',
                    ],
                    [
                        'radius R',
                        number('radius') + source('radius_source') if number('radius') != '–' else '',
                    ],
                    ['bound on the error at T', number('error_bound')],
                    ['mean square of the residual', number('residual_mean_square')],
                    [
                        'share of its mean, taken out',
                        f'{readable(100 * share, 3)} %' if math.isfinite(share) else '',
                    ],
                ],
                words=True,
            )
        stopping_tables(results, page)
        on_test_set(results, page)


def stop_cell(results):
    """T and its interval; where T is not known, what the eigenvalues that are known say of it."""
    stop, low, high = results.interval('/rates/stopping', 'stopping_step')
    if panels.interval_of_stop(results):
        return (readable(stop), readable_interval(low, high))
    if math.isnan(stop) and math.isfinite(low):
        return f'not known, in {readable_interval(low, high)} by the eigenvalues that are'
    return readable(stop)


def share_interval(share, count):
    """The 95 % interval of a share of `count` examples (Wilson 1927), as the program prints it."""
    z = 1.96
    centre, half = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return tuple((centre + sign * half) / (1 + z * z / count) for sign in (-1, 1))


def on_test_set(results, page):
    """Error and accuracy of the model alone, at step 0, at T and at the best steps, and what the steps up to T did."""
    group = '/rates/stopping'
    step = results.array(f'{group}/step', 1)
    error, accuracy = (
        None if step is None else results.array(f'{group}/test_{name}', 1, len(step)) for name in ('mse', 'accuracy')
    )
    if error is None or np.isnan(error).all():
        return
    number = lambda name: results.number(group, name)
    judged = accuracy is not None and np.isfinite(accuracy).any()
    tests, stop = results.examples('test'), number('stopping_step')
    places = [('step 0', np.flatnonzero(step == 0)), ('T', np.flatnonzero(step == stop))]
    places.append(('step of least error', [np.nanargmin(error)]))
    if judged:
        places.append(('step of most accuracy', [np.nanargmax(accuracy)]))
    rows = [['model alone', '–', readable(number('model_test_mse')), readable(number('model_test_accuracy'))]]
    for name, found in places:
        for k in found[:1]:
            share = float(accuracy[k]) if judged else math.nan
            of_share = share_interval(share, tests) if name == 'T' and tests and math.isfinite(share) else ()
            rows.append([name, readable(step[k]), readable(error[k]), value_and_interval(share, *of_share, digits=3)])
    with page.together('On the test set'):
        titles = ['at', 'step', 'MSE', 'accuracy [95 % interval]']
        page.table(titles if judged else titles[:-1], rows if judged else [row[:-1] for row in rows])
        if judged:
            page.paragraph('Error and accuracy need not be best at one step.', 'about')
        fall, spread = number('learnt_mse'), 1.96 * number('learnt_mse_standard_error')
        named = [readable(number(f'learnt_{name}')) for name in ('gained', 'lost')]
        if stop > 0 and not math.isnan(fall):
            text = f'From step 0 to T the error falls by {readable(fall, 3)} ± {readable(spread, 2)} (95 % interval)'
            if judged:
                text += f'; {named[0]} examples are named rightly that were not, {named[1]} no more'
                text += f' (p = {readable(number("learnt_p_value"), 2)}, McNemar’s test)'
            page.paragraph(text + '.')


RULES = (
    ('stopping_step', 'T', 'critical radius of the kernel'),
    ('discrepancy_step', 'discrepancy', 'training error falls to σ²'),
    ('gcv_step', 'GCV', 'generalised cross-validation is least'),
    ('holdout_step', 'hold-out', 'error on a held-out part is least'),
    ('best_step', 'best on test', 'test error is least'),
)


def stopping_tables(results, page):
    """The steps of the other rules, T at half and double noise and radius, T in epochs."""
    group = '/rates/stopping'
    steps = {
        name: readable(results.number(group, name)) for name in results.attributes(group) if 'step' in name
    }
    rules = [
        [name, steps[attribute], meaning]
        for attribute, name, meaning in RULES
        if steps.get(attribute, '–') != '–'
    ]
    if rules:
        with page.together('Stopping rules'):
            page.table(('rule', 'step', 'stops where'), rules, words=(2,))
    changed = [
        [
            name,
            steps.get(f'stopping_step_half_{key}', '–'),
            steps.get('stopping_step', '–'),
            steps.get(f'stopping_step_double_{key}', '–'),
        ]
        for name, key in (('noise σ', 'noise'), ('radius R', 'radius'))
        if steps.get(f'stopping_step_half_{key}', '–') != '–'
    ]
    if changed:
        with page.together('Sensitivity of T'):
            page.table(('changed', 'at half', 'as it is', 'at double'), changed)
    epochs = [
        [readable(row['batch']), readable(row['epochs'])]
        for row in results.table(f'{group}/epochs')
        if isinstance(row.get('batch'), float) and isinstance(row.get('epochs'), float)
    ]
    if epochs:
        with page.together('T in epochs'):
            page.table(('batch (examples)', 'epochs'), epochs)


FUNCTIONALS = (
    ('effective_rank', 'effective rank (exponential of the entropy)'),
    ('stable_rank', 'stable rank'),
    ('participation_ratio', 'participation ratio'),
    ('effective_dimension_at_stop', 'effective dimension at T'),
    ('information_gain_at_noise', 'information gain at σ (nats)'),
    ('alignment_labels', 'alignment with the labels'),
    ('alignment_residual', 'alignment with the residual'),
    ('alignment_slope', 'slope of log power against log eigenvalue'),
)


def functionals(results, page):
    rows = [[name, readable(results.number('/rates/functionals', key))] for key, name in FUNCTIONALS]
    if all(row[1] == '–' for row in rows) and 'functionals' not in page.pictures:
        return
    page.section('Functionals of the spectrum')
    with page.beside():
        page.show('functionals')
        page.facts(rows)


CURVES = (
    ('mse_best', 'MSE, best step'),
    ('mse_stop', 'MSE, descent at T'),
    ('predicted_gradient_descent', 'predicted, descent at T'),
    ('mse_ridge', 'MSE, best ridge'),
    ('mse_gcv_ridge', 'MSE, GCV’s ridge'),
    ('predicted_ridge', 'predicted, GCV’s ridge'),
    ('gcv', 'GCV’s estimate'),
    ('accuracy_stop', 'accuracy at T'),
    ('accuracy_best', 'accuracy, best step'),
    ('accuracy_ridge', 'accuracy, best ridge'),
    ('stopping_step', 'T'),
    ('critical_radius', 'critical radius'),
    ('own_noise', 'σ'),
    ('own_radius', 'R'),
)


def learning_curves(results, page):
    sizes = sizes_of(results)
    if sizes is None:
        return
    page.section('Learning curves')
    page.show('learning_curve', 'excess_error', 'learning_curve_accuracy')
    if 'excess_error' not in page.pictures:
        why = panels.limit_of_error(results)[1] or 'the error is not above it at three sizes'
        page.paragraph(f'There is no picture of the error above its limit: {why}.')
    columns = []
    for name, title in CURVES:
        values = by_size(results, name, sizes)
        if values is not None and not np.isnan(values).all():
            columns.append((title, *mean_and_spread(values)))
    order = np.argsort(sizes)
    rows = []
    for title, mean, spread in columns:
        row = [title]
        for k in order:
            text = readable(float(mean[k]), 3, True)
            row.append((text, f'± {readable(float(spread[k]), 2, True)}') if spread[k] > 0 else text)
        rows.append(row)
    base = results.number('/rates/learning_curve', 'base_rate')
    tests = results.examples('test')
    page.paragraph(
        'Means and standard deviations over nested random subsets'
        + (f', on {readable(tests)} test examples' if tests else '')
        + '; best step and best ridge are those of least error.'
        + (f' The most frequent label alone has accuracy {readable(base, 3)}.' if math.isfinite(base) else '')
    )
    page.table(['n′ =', *(readable(float(sizes[k])) for k in order)], rows)


def tasks(results, page):
    if not results.has('/tasks'):
        return
    page.section('Tasks')
    page.show('task_cosines', 'task_arithmetic')
    joint = results.number('/tasks', 'joint_stopping_step')
    norms, stops = results.array('/tasks/norms', 1), results.array('/tasks/stopping_step', 1)
    count = max((len(v) for v in (norms, stops) if v is not None), default=0)
    at = lambda values, k: readable(float(values[k])) if values is not None and k < len(values) else '–'
    page.table(
        ('task', 'norm of the change', 'T'),
        [
            [f'{k + 1} {name}', at(norms, k), at(stops, k)]
            for k, name in enumerate(task_names(results, count))
        ],
    )
    if not math.isnan(joint):
        page.paragraph(f'Joint stopping step: {readable(joint)}.')
    if arithmetic_rows(results):
        weights, names, values = arithmetic_table(results)
        page.paragraph('Accuracy on every task after adding or subtracting task vectors.')
        page.table(
            ['weights', *names],
            [[short_weights(of, 60), *(readable(float(v), 3) for v in row)] for of, row in zip(weights, values)],
        )
    trained = arithmetic_rows(results, '/tasks/finetune/arithmetic')
    if not trained:
        return
    page.paragraph('The network trained on every task from the same start, with sums of the real changes of its weights.')
    if sentence := results.text('/tasks/finetune', 'sentence'):
        page.paragraph(sentence)
    columns = ('accuracy', 'linear_accuracy', 'mse', 'linear_mse')
    page.table(
        ('weights', 'task', 'accuracy', 'of the linearised model', 'error', 'of the linearised model'),
        [
            [short_weights(str(row.get('weights', '')), 60), str(row.get('task', ''))]
            + [readable(row.get(name, math.nan), 3) for name in columns]
            for row in trained
        ],
        words=(0, 1),
    )


def neighbours(results, page):
    sizes = results.array('/neighbours/sizes', 1)
    if sizes is None:
        return
    page.section('Neighbourhoods')
    names = [
        (name, title, results.array(f'/neighbours/{name}', 1, len(sizes)))
        for name, title in (
            ('accuracy', 'accuracy'),
            ('mse', 'MSE'),
            ('effective_dimension', 'effective dimension'),
        )
    ]
    names = [entry for entry in names if entry[2] is not None]
    rows = [
        [readable(float(sizes[k]))] + [readable(float(values[k])) for _, _, values in names]
        for k in np.argsort(sizes)
    ]
    whole = [results.number('/neighbours', f'global_{name}') for name, _, _ in names]
    if any(math.isfinite(v) for v in whole):
        rows.append(['global'] + [readable(v) for v in whole])
    with page.beside():
        page.show('neighbours')
        page.table(['neighbours k', *(title for _, title, _ in names)], rows)


def finetune(results, page):
    rows = results.table('/finetune/path')
    if not rows:
        return
    page.section('Fine-tuning')
    if sentence := results.text('/finetune', 'sentence'):
        page.paragraph(sentence)
    columns = [name for name in rows[0] if any(math.isfinite(row[name]) for row in rows)]
    page.show('finetune')
    of_network = [name for name in columns if not name.startswith('linear_')]
    for names in (of_network, ['step', *[name for name in columns if name not in of_network]]):
        if len(names) > 1:
            page.table(
                [name.replace('_', ' ') for name in names], [[readable(row[name]) for name in names] for row in rows]
            )


def provenance(results, page):
    group = '/provenance'
    if not results.has(group):
        return
    page.section('Provenance')
    peak = results.attributes(group).get('peak_bytes_per_rank')
    try:
        largest = float(np.max(np.asarray(peak, dtype=float)))
    except (TypeError, ValueError):
        largest = math.nan
    seconds = [
        (name, results.number(group, f'seconds_{name}')) for name in ('gram', 'spectrum', 'rates', 'output')
    ]
    hosts = results.texts(group, 'hosts')
    revision = results.text(group, 'git_revision')
    page.facts(
        [
            [
                'versions',
                ', '.join(results.texts(group, 'versions')) + (f', commit {revision}' if revision else ''),
            ],
            [
                'ranks',
                results.text(group, 'ranks')
                + (
                    f' as {" × ".join(results.texts(group, "grid"))}, blocks of'
                    f' {results.text(group, "block")}'
                    if results.number(group, 'block') > 0
                    else ''
                ),
            ],
            ['hosts', ', '.join(hosts[:8]) + (f' and {len(hosts) - 8} more' if len(hosts) > 8 else '')],
            ['started', results.text(group, 'started')],
            ['ended', results.text(group, 'ended')],
            ['seconds', ', '.join(f'{name} {readable(s, 3)}' for name, s in seconds if not math.isnan(s))],
            ['peak memory of a rank', f'{readable(largest / 2 ** 20)} MiB' if math.isfinite(largest) else ''],
            ['model (SHA-256)', results.text(group, 'model_sha256')],
            ['file', os.path.basename(results.path)],
            ['schema version', results.text('/', 'schema_version')],
        ],
        words=True,
    )
    study = results.study_text()
    if study:
        clean = ''.join(c if c.isprintable() or c in '\n\t' else ' ' for c in study)
        page.parts.append(f'<details><summary>The study</summary><pre>{html.escape(clean)}</pre></details>')


def merged_runs(results, page):
    """The runs of a merged file."""
    rows = results.table('/runs')
    if not rows:
        return
    page.section('Runs')
    page.show('runs', 'trained_runs')
    several = len({str(row.get('curve', '')) for row in rows}) > 1

    def table(titles, names):
        page.table(
            ['n', 'seed', *titles, *(['curve'] if several else [])],
            [
                [
                    readable(row[name]) if isinstance(row.get(name), float) else str(row.get(name, ''))
                    for name in ['samples', 'seed', *names, *(['curve'] if several else [])]
                ]
                for row in rows
            ],
            words=(2 + len(titles),) if several else (),
        )

    table(
        ['T', 'critical radius', 'MSE at T', 'best MSE', 'accuracy at T'],
        ['stopping_step', 'critical_radius', 'mse_stop', 'mse_best', 'accuracy_stop'],
    )
    if any('finetune_gap' in row for row in rows):
        table(
            ['loss of the network at T', 'of the linearised model', 'gap at T'],
            ['finetune_loss_stop', 'finetune_linear_loss_stop', 'finetune_gap'],
        )


def page_of(title, body):
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport"'
        f' content="width=device-width, initial-scale=1">\n<title>{escaped(title)} –'
        f' tangram</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n'
    )


def make_comparison(files, labels, pictures):
    """A page on several files: what tells them apart, what each says, and the pictures on which they lie."""
    page = Page(pictures)
    page.parts.append('<h1>Several runs</h1>')
    number = lambda results, name: readable(results.number('/rates/stopping', name))
    page.table(
        ('run', 'file', 'n', 'T [95 % interval]', 'σ', 'R', 'what it says'),
        [
            [
                label,
                os.path.basename(results.path),
                readable(results.examples()),
                stop_cell(results),
                *(number(results, name) for name in ('noise', 'radius')),
                results.text('/rates', 'sentence'),
            ]
            for results, label in zip(files, labels)
        ],
        words=(1, 6),
    )
    page.show(*pictures)
    return page_of('Several runs', '\n'.join(page.parts))


def make_report(results, pictures):
    """The whole page as text."""
    page = Page(pictures)
    for part in (
        headline,
        conclusions,
        merged_runs,
        decay,
        stopping,
        functionals,
        learning_curves,
        tasks,
        neighbours,
        finetune,
        warnings,
        provenance,
    ):
        part(results, page)
    if 'stopping' not in pictures and 'alignment' in pictures and not results.has('/rates/stopping'):
        page.section('Alignment')
        page.show('alignment')
    body = '\n'.join(page.parts)
    return page_of(title_of(results), body)
