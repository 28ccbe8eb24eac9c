"""What the pictures are made of: each function draws one thing on axes that are given to it and returns the handles
of its legend, or None where the file does not hold it. `results` is a tangram.results.Results. Where several files
share the axes, `colour` and `label` tell them apart, and what belongs to one file alone is left out."""
import math
import re

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from ..results import mean_and_spread, readable, readable_interval, shortened
from .drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PAPER,
    PURPLE,
    SKY,
    VERMILLION,
    literal,
    logarithmic,
    logarithmic_from_zero,
    observed_style,
    predicted_style,
    size_axis,
    step_axis,
    thinned,
)


def named_n(results):
    """'n = 2048', with the rows of the kernel where they are more."""
    n, rows = results.examples(), results.rows()
    return f'n = {n or "unknown"}' + (f', N = {rows}' if rows and rows != n else '')


def holds_several_runs(results):
    return results.has('/runs')


def scale_name(results):
    return 'N' if results.rows() != results.examples() and results.examples() else 'n'


def power_law_text(symbol, exponent, digits=3):
    return rf'${symbol}^{{{-exponent:.{digits}g}}}$'


def of_file(results, text):
    """An axis' label with the size of the sample, where one file is drawn."""
    return text if results is None or holds_several_runs(results) else f'{text}, {named_n(results)}'


# ---- spectrum --------------------------------------------------------------------------------------------


def spectrum(axes, results, colour=None, label=None):
    """Eigenvalues of G/n against rank with the selected fit, its window and the noise floor."""
    values = results.eigenvalues()
    if values is None or not (np.isfinite(values) & (values > 0)).any():
        return None
    rank, floor, scale = np.arange(1, len(values) + 1), results.noise_floor(), scale_name(results)
    above = values > (floor if math.isfinite(floor) else 0)
    alone, shown = label is None, thinned(len(values))
    good, low = shown[above[shown]], shown[~above[shown]]
    handles, drawn = [], [values[good]]
    if good.size:
        name = f'eigenvalues of G/{scale}' if alone else label
        style = dict(marker='o', linestyle='', markersize=3.4) if alone else dict(linewidth=1.6)
        handles += axes.plot(rank[good], values[good], color=colour or BLUE, label=name, **style)
    if alone:
        handles += under_noise_floor(axes, rank[low], values[low], int((~above).sum()), floor, drawn)
        handles += noise_floor(axes, floor, drawn)
        handles += decay_fit(axes, results)
    old = [line.get_ydata() for line in axes.get_lines() if label is not None]
    logarithmic(axes.xaxis, [rank, [x for line in axes.get_lines() for x in line.get_xdata() if x >= 1]])
    logarithmic(axes.yaxis, drawn + old)
    axes.set_xlabel(of_file(results if alone else None, 'rank k (dimensionless)'))
    axes.set_ylabel(f'eigenvalue of G/{scale} (dimensionless)')
    return handles


def under_noise_floor(axes, rank, values, count, floor, drawn):
    """What lies under the floor. A negative eigenvalue is shown by its size: it is the rounding that the floor
    stands for. What is smaller than a hundredth of the floor does not stretch the axis."""
    least = floor / 100 if math.isfinite(floor) and floor > 0 else 0
    sizes = np.maximum(np.abs(values), least)
    if not values.size or not (sizes > 0).any():
        return []
    negative = int((values < 0).sum())
    note = f' ({count}' + (f', {negative} negative)' if negative else ')')
    drawn.append(sizes)
    return axes.plot(
        rank,
        np.where(sizes > 0, sizes, np.nan),
        'x',
        color=GREY,
        markersize=3.4,
        markeredgewidth=0.8,
        label='under the noise floor' + note,
    )


def noise_floor(axes, floor, drawn):
    """The floor as a line where the eigenvalues come within two decades of it; else in the legend alone, as it would
    stretch the axis over what nothing is known of."""
    if not (math.isfinite(floor) and floor > 0):
        return []
    name = f'noise floor {readable(floor, 2)}'
    known = np.concatenate(drawn)
    known = known[np.isfinite(known) & (known > 0)]
    if known.size and floor < known.min() / 100:
        return axes.plot([], [], linestyle='', label=name + ', below the picture')
    drawn.append([floor])
    return [axes.axhline(floor, color=INK, linestyle=':', linewidth=1.4, label=name)]


def decay_fit(axes, results):
    """The window, the selected family's line over it with what it leaves, a finite rank."""
    handles, group = [], '/rates/decay'
    first, last = results.number(group, 'first'), results.number(group, 'last')
    selected = results.text(group, 'selected')
    if math.isfinite(first) and math.isfinite(last) and 1 <= first <= last:
        window = 'window, no fit' if selected == 'none' else 'fit window'
        if results.text(group, 'window_source') == 'given':
            window = 'given ' + window
        window += f', ranks {first:.0f} to {last:.0f}'
        handles.append(axes.axvspan(first, last, color=ORANGE, alpha=0.22, linewidth=0, label=window))
        line = fitted_line(results, selected)
        if line is not None:
            law, text, style = line
            x = np.geomspace(first, last, 100)
            handles += axes.plot(
                x,
                law(x),
                color=VERMILLION,
                linestyle=style,
                linewidth=2.2,
                label=text + goodness(results, law, first, last),
            )
    if selected == 'finite_rank':
        estimate, low, high = results.interval(f'{group}/finite_rank', 'rank')
        if estimate > 0:
            handles.append(
                axes.axvline(
                    estimate,
                    color=VERMILLION,
                    linestyle='--',
                    label=f'finite rank {readable(estimate)} {readable_interval(low, high)}',
                )
            )
    return handles


def goodness(results, law, first, last):
    """', off by 3 %': the root mean square of the fit's relative error over its window."""
    values = results.eigenvalues()
    rank = np.arange(int(first), min(int(last), len(values)) + 1)
    inside = values[rank - 1]
    if len(rank) < 2 or not (np.isfinite(inside) & (inside > 0)).all():
        return ''
    error = np.sqrt(np.mean(np.log(inside / law(rank)) ** 2))
    return f',\noff by {100 * error:.2g} % (rms)' if math.isfinite(error) else ''


def fitted_line(results, selected):
    """(law, label, line style) of the selected family; None where it has no line."""
    path = f'/rates/decay/{selected}'
    if selected == 'polynomial':
        exponent, low, high = results.interval(path, 'exponent')
        constant = results.number(path, 'constant')
        if math.isfinite(exponent) and constant > 0:
            onset = results.number(path, 'onset')
            onset = onset if onset > 0 else 0.0
            base = f'(k + {onset:.3g})' if onset else 'k'
            label = f'polynomial, {power_law_text(base, exponent)}, exponent {readable_interval(low, high)}'
            return lambda rank: constant * (rank + onset) ** -exponent, label, '-'
    if selected == 'exponential':
        rate, low, high = results.interval(path, 'rate')
        constant, power = results.number(path, 'constant'), results.number(path, 'power')
        if math.isfinite(rate) and math.isfinite(power) and constant > 0:
            label = (
                rf'exponential, exp($-${rate:.3g} $k^{{{power:.3g}}}$), rate {readable_interval(low, high)}'
            )
            return lambda rank: constant * np.exp(-rate * rank**power), label, '--'
    return None


COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, INK, GREY)


def several_spectra(axes, results, group):
    """The spectra of further formulas (/spectrum) or of groups (/spectrum/groups), beside the whole kernel's."""
    names = [name for name in results.names(group) if results.array(f'{group}/{name}/eigenvalues', 1) is not None]
    whole = results.array('/spectrum/eigenvalues', 1)
    if not names or whole is None:
        return None
    handles, drawn, longest = [], [], 0
    first = 'all parameters' if group.endswith('groups') else results.formula()
    for k, (name, values) in enumerate(
        [(first, whole)] + [(name, results.array(f'{group}/{name}/eigenvalues', 1)) for name in names]
    ):
        positive = np.where(values > 0, values, np.nan) / max(results.rows(), len(values))
        positive = np.where(positive > results.noise_floor(), positive, np.nan)
        if not np.isfinite(positive).any():
            continue
        shown = thinned(len(positive))
        handles += axes.plot(
            shown + 1, positive[shown], color=COLOURS[k % len(COLOURS)], label=literal(shortened(name, 30))
        )
        drawn.append(positive)
        longest = max(longest, len(values))
    if not handles:
        return None
    logarithmic(axes.xaxis, [[1, longest]])
    logarithmic(axes.yaxis, drawn)
    axes.set_xlabel(of_file(results, 'rank k (dimensionless)'))
    axes.set_ylabel(f'eigenvalue of G/{scale_name(results)} (dimensionless)')
    return handles


def density(axes, results):
    """How the eigenvalues of G/n are spread: shares of all of them in bins of half a decade, with their intervals. What is
    smaller than every bin is said in the legend."""
    group = '/spectrum/density'
    value = results.array(f'{group}/value', 1)
    shares = [
        None if value is None else results.array(f'{group}/{name}', 1, len(value)) for name in ('weight', 'low', 'high')
    ]
    if any(share is None for share in shares):
        return None
    weight, low, high = (np.nan_to_num(share) for share in shares)
    rows, half_a_bin = max(results.rows(), 1), 10**0.25
    shown = (value > 0) & (high > 0)
    if not shown.any():
        return None
    middle, least = value[shown] / rows, 0.5 / rows  # half of one eigenvalue
    shares = axes.bar(
        middle / half_a_bin,
        weight[shown],
        width=middle * (half_a_bin - 1 / half_a_bin),
        align='edge',
        color=SKY,
        edgecolor=PAPER,
        linewidth=0.6,
        label='share in half a decade',
    )
    ends = [np.maximum(end[shown], least) for end in (low, high)]
    uncertain = ends[1] > ends[0]
    handles = [shares]
    if uncertain.any():
        lines = (end[uncertain] for end in (middle, *ends))
        handles.append(axes.vlines(*lines, color=BLUE, linewidth=1.6, label='95 % interval'))
    logarithmic(axes.xaxis, [middle / half_a_bin, middle * half_a_bin])
    logarithmic(axes.yaxis, [[least], ends[1]])
    axes.set_xlabel(of_file(results, f'eigenvalue of G/{scale_name(results)} (dimensionless)'))
    axes.set_ylabel('share of the eigenvalues\n(dimensionless)')
    for share, least_share, most_share in zip(weight[value == 0], low[value == 0], high[value == 0]):
        text = f'smaller: {readable(100 * share, 3)} %'
        if most_share > least_share:
            text += f' [{readable(100 * least_share, 3)}, {readable(100 * most_share, 3)}]'
        handles += axes.plot([], [], linestyle='', label=text)
    return handles


def trace_shares(axes, results, most=16):
    """The tensors that hold most of the kernel's trace."""
    rows = [
        (str(row.get('name', '')), row['trace_share'])
        for row in results.table('/kernel/tensors')
        if isinstance(row.get('trace_share'), float) and row['trace_share'] > 0
    ]
    if not rows:
        return None
    rows.sort(key=lambda row: -row[1])
    rest = sum(share for _, share in rows[most:])
    shown = rows[:most] + ([(f'{len(rows) - most} others', rest)] if len(rows) > most else [])
    # A letter is 0.59 of its size wide, and names may stand a fifth over the axes' end; letters of 7 to 9 points.
    points = 1.2 / 0.59 * 72 * axes.get_window_extent().width / axes.figure.dpi
    shown = [(shortened(name, min(52, int(points / 7))), share) for name, share in shown]
    size = min(9, points / max(len(name) for name, _ in shown))
    for y, (name, share) in enumerate(shown):
        axes.barh(y + 0.2, share, height=0.36, color=GREY if y >= most else BLUE)
        axes.text(0, y - 0.2, literal(name), va='center', fontsize=size)
        axes.text(share, y + 0.2, f' {100 * share:.1f} %', va='center', fontsize=9)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 1.18 * max(share for _, share in shown))
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis='y', visible=False)
    axes.spines['left'].set_visible(False)
    axes.set_xlabel(of_file(results, 'share of the trace of G (dimensionless)'))
    return []


def decay_by_size(axes, results):
    """a(n): the decay's exponent over nested subsets."""
    sizes = results.array('/rates/decay/sizes', 1)
    values = None if sizes is None else results.array('/rates/decay/exponent_by_size', 2, len(sizes))
    if values is None or not np.isfinite(values).any():
        return None
    order, handles = np.argsort(sizes), []
    sizes, values = sizes[order], values[order]
    value, low, high = results.interval('/rates/decay/polynomial', 'exponent')
    # The subsets' fits have no onset: beside one that has, theirs is another exponent.
    if results.number('/rates/decay/polynomial', 'onset') > 0:
        value = low = high = math.nan
    if math.isfinite(low) and math.isfinite(high):
        text = f'whole sample, 95 % {readable_interval(low, high)}'
        handles.append(axes.axhspan(low, high, color=ORANGE, alpha=0.22, linewidth=0, label=text))
    if math.isfinite(value):
        handles.append(
            axes.axhline(
                value, color=VERMILLION, linestyle='--', label=f'whole sample, a = {readable(value, 3)}'
            )
        )
    for column in values.T:
        axes.plot(sizes * 1.02, column, '.', color=GREY, markersize=4)
    style = observed_style(BLUE)
    handle, _ = over_sizes(axes, sizes, values, style, 0, 'subsets, mean and spread')
    size_axis(axes, sizes)
    axes.set_xlabel(f'size of the subset (examples) of {named_n(results)}')
    axes.set_ylabel('exponent a of $k^{-a}$ (dimensionless)')
    return handles + [handle]


# ---- stopping --------------------------------------------------------------------------------------------

PATHS = (  # data set, name, colour, line style, marker, filled: observed; hollow: predicted; none: a bound
    ('train_mse', 'training MSE', BLUE, '-', 'o', True),
    ('test_mse', 'test MSE', VERMILLION, '-', 's', True),
    ('ridge_train_mse', 'ridge twin, training', BLUE, ':', None, True),
    ('ridge_test_mse', 'ridge twin, test', VERMILLION, ':', None, True),
    ('bias2', 'bias², predicted', GREEN, '--', '^', False),
    ('variance', 'variance, predicted', PURPLE, '--', 'v', False),
    ('gcv', 'GCV, predicted', ORANGE, '--', 'D', False),
    ('bound', 'bound up to T', INK, (0, (6, 2)), 7, True),  # a caret that points down: the error is below
)

RULES = (  # attribute, name, colour, marker
    ('stopping_step', 'T', INK, 'o'),
    ('discrepancy_step', 'discrepancy', GREEN, '^'),
    ('gcv_step', 'GCV', ORANGE, 'D'),
    ('holdout_step', 'hold-out', PURPLE, 'v'),
    ('best_step', 'best on test', VERMILLION, 's'),
)


def rules_of(results):
    return [rule for rule in RULES if not math.isnan(results.number('/rates/stopping', rule[0]))]


def last_step(results):
    step = results.array('/rates/stopping/step', 1)
    finite = step[np.isfinite(step)]
    stops = [results.number('/rates/stopping', rule[0]) for rule in RULES]
    return max([finite.max() if finite.size else 1.0] + [v for v in stops if math.isfinite(v)])


def stopping(axes, results, colour=None, label=None):
    """Errors along gradient descent with T and its interval; of several files the test error (or the training error)
    and T alone."""
    group = '/rates/stopping'
    step = results.array(f'{group}/step', 1)
    if step is None:
        return None
    paths = [path for path in PATHS if results.array(f'{group}/{path[0]}', 1, len(step)) is not None]
    if label is not None:
        paths = [path for path in paths if path[0] in ('test_mse', 'train_mse')][-1:]
    order, handles, visible = np.argsort(step), [], {}
    for k, (name, text, own, style, marker, filled) in enumerate(paths):
        y = results.array(f'{group}/{name}', 1, len(step))
        y = np.where(np.isfinite(y) & (y > 0), y, np.nan)[order]
        if not np.isfinite(y).any():
            continue
        every = max(1, len(step) // 9)
        handles += axes.plot(
            step[order],
            y,
            color=colour or own,
            linestyle=style,
            marker=marker,
            markersize=4.2,
            markerfacecolor=(colour or own) if filled else PAPER,
            markevery=(k % every if every > 1 else 0, every),
            linewidth=2.1 if style == ':' else 1.6,
            label=label or text,
        )
        visible[name] = y
    if not visible:
        return None
    error_axis(axes, visible, label is not None)
    step_axis(axes, max(last_step(results), axes.get_xlim()[1] if label is not None else 0))
    axes.set_xlabel(of_file(results if label is None else None, 'step of gradient descent (dimensionless)'))
    axes.set_ylabel('mean squared error (label units²)')
    stop = results.number(group, 'stopping_step')
    if label is not None and math.isfinite(stop):
        axes.axvline(stop, color=colour, linewidth=1.0, linestyle=':')
    elif math.isfinite(stop):
        handles.append(axes.axvline(stop, color=INK, linewidth=1.2, label=f'stopping step T = {readable(stop)}'))
        if interval := interval_of_stop(results):
            text = f'95 % interval of T {readable_interval(*interval)}'
            handles.append(axes.axvspan(*interval, color=GREY, alpha=0.16, linewidth=0, label=text))
    return handles


def interval_of_stop(results):
    """The ends of T's 95 % interval; None where T or its interval is not known. Beside a T that is not known they are
    what eigenvalues that were left out could make of it, which is another thing."""
    stop, low, high = results.interval('/rates/stopping', 'stopping_step')
    return (low, high) if math.isfinite(stop) and low < high else None


def error_axis(axes, visible, several):
    """Variance and bias start or end at nothing and the bound starts at infinity: they may leave the picture."""
    top = [np.nanmax(y) for name, y in visible.items() if name != 'bound']
    if not top:
        return
    levels = [np.nanmin(y) for name, y in visible.items() if name in ('train_mse', 'test_mse', 'gcv')]
    levels = levels or [1e-3 * max(top)]
    everything = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.get_lines()])
    everything = everything[np.isfinite(everything) & (everything > 0)]
    if several:
        everything = everything[everything != 1.0]  # of lines that mark a step
        logarithmic(axes.yaxis, [everything])
        return
    low, high = max(min(levels) / 30, max(top) * 1e-4), max(top) * 30
    logarithmic(axes.yaxis, [[max(low, everything.min()), min(high, everything.max())]])


def stopping_rules(axes, results, shared=False):
    """One row per rule, so that no two labels can meet. shared: whether axes below have the steps' axis."""
    group, rules = '/rates/stopping', rules_of(results)
    if not rules:
        return None
    axes.grid(axis='y', visible=False)
    axes.set_yticks(range(len(rules)), [name for _, name, _, _ in rules])
    axes.set_ylim(len(rules) - 0.4, -0.6)
    axes.tick_params(axis='y', length=0)
    if shared:
        axes.tick_params(axis='x', which='both', length=0, labelbottom=False)
    else:
        step_axis(axes, last_step(results))
        axes.set_xlabel(of_file(results, 'step of gradient descent (dimensionless)'))
    axes.spines['left'].set_visible(False)
    edge, handles = axes.get_xlim()[1], []
    for row, (attribute, name, colour, marker) in enumerate(rules):
        value = results.number(group, attribute)
        reach, text = [value], readable(value)
        if name == 'T':
            handles, reach = ranges_of_stop(axes, results, edge, value)
            if interval := interval_of_stop(results):
                text += f' {readable_interval(*interval)}'
        mark_rule(axes, row, value, reach, edge, colour, marker, text)
    return handles


def ranges_of_stop(axes, results, edge, stop):
    """T's 95 % interval as a line, and a bar over T at half and at double sigma, in its row. Returns their handles and
    the ends of all."""
    handles, reach = [], [stop]
    changed = [results.number('/rates/stopping', f'stopping_step_{end}_noise') for end in ('double', 'half')]
    if not any(map(math.isnan, changed)):
        text = f'T at double and at half σ: {readable(changed[0])}, {readable(changed[1])}'
        ends = [min(end, edge) for end in changed]
        style = dict(color=GREY, linewidth=6, alpha=0.45, solid_capstyle='butt')
        handles += axes.plot(ends, [0, 0], label=text, **style)
        reach += ends
    if interval := interval_of_stop(results):
        ends = [min(end, edge) for end in interval]
        style = dict(color=INK, linewidth=1.3, marker='|', markersize=7)
        handles += axes.plot(ends, [0, 0], label=f'95 % interval of T {readable_interval(*interval)}', **style)
        reach += ends
    return handles, reach


def mark_rule(axes, row, value, reach, edge, colour, marker, text):
    """A rule's mark, and its number beside all that stands in its row (reach), where there is most room; none where
    there is too little."""
    infinite = math.isinf(value)
    axes.plot(
        [edge if infinite else value],
        [row],
        marker='>' if infinite else marker,
        color=colour,
        markersize=6,
        clip_on=False,
        zorder=4,
    )
    first, last = axes.transData.transform([(min(end, edge), row) for end in (min(reach), max(reach))])[:, 0]
    left, right = first - axes.get_window_extent().x0, axes.get_window_extent().x1 - last
    beside = left > right
    number = axes.annotate(
        text,
        (min(min(reach) if beside else max(reach), edge), row),
        xytext=(-7 if beside else 7, 0),
        textcoords='offset points',
        ha='right' if beside else 'left',
        va='center',
        fontsize=9.5,
    )
    if number.get_window_extent().width > 0.85 * max(left, right):
        number.remove()


# ---- sample sizes ----------------------------------------------------------------------------------------

OBSERVED = (
    ('stop', 'gradient descent at T', BLUE, 'o'),
    ('best', 'gradient descent, best step', GREEN, '^'),
    ('ridge', 'kernel ridge, best ridge', VERMILLION, 's'),
    ('gcv_ridge', 'kernel ridge, GCV’s ridge', ORANGE, 'v'),
)
PREDICTED = (  # in the colour of what they predict
    ('predicted_gradient_descent', 'predicted, gradient descent at T', BLUE, 'o'),
    ('predicted_ridge', 'predicted, GCV’s ridge', ORANGE, 'v'),
    ('gcv', 'GCV’s estimate', PURPLE, 'P'),
)


def sizes_of(results):
    sizes = results.array('/rates/learning_curve/sizes', 1)
    return sizes if sizes is not None and np.isfinite(sizes).any() else None


def by_size(results, name, sizes):
    return results.array(f'/rates/learning_curve/{name}', 2, len(sizes))


def with_bars(axes, sizes, mean, spread, style, shift, label):
    """Means with bars of one spread, moved sideways by `shift` times 5 points, so that bars at the same sizes do not
    cover each other."""
    aside = ScaledTranslation(5 * shift / 72, 0, axes.figure.dpi_scale_trans)
    style = {'linewidth': 1.5, 'markersize': 5.5} | style
    bars = dict(yerr=spread, capsize=2, elinewidth=1.1, transform=axes.transData + aside)
    axes.errorbar(sizes, mean, label=label, **bars, **style)


def over_sizes(axes, sizes, values, style, shift, label):
    """Mean with a bar of one standard deviation over repeats; returns the legend's handle and what was drawn, or None
    where nothing is finite."""
    mean, spread = mean_and_spread(values)
    if not np.isfinite(mean).any():
        return None, []
    with_bars(axes, sizes, mean, spread, style, shift, label)
    low = np.where(mean - spread > 0, mean - spread, mean)
    return Line2D([], [], markersize=5.5, label=label, **style), [low, mean + spread]


def learning_curve(axes, results, colour=None, label=None):
    """Test error against sample size, observed and predicted; of several files the error at T alone."""
    sizes = sizes_of(results)
    if sizes is None:
        return None
    order, handles, drawn = np.argsort(sizes), [], []
    sizes, others = sizes[order], len(axes.containers)
    for k, (name, text, own, marker) in enumerate(OBSERVED if label is None else OBSERVED[:1]):
        values, shift = by_size(results, f'mse_{name}', sizes), k - 1.5
        if values is not None:
            style = observed_style(colour or own, marker)
            if label is not None:  # right and left of the files that are there, in turn
                shift = (others + 1) // 2 * (1 if others % 2 else -1)
            handle, limits = over_sizes(axes, sizes, values[order], style, shift, label or text)
            handles.append(handle)
            drawn += limits
    for name, text, own, marker in PREDICTED if label is None else ():
        values = by_size(results, name, sizes)
        mean = mean_and_spread(values[order])[0] if values is not None else np.array([np.nan])
        if not np.isfinite(mean).any():
            continue
        positive = np.where(np.isfinite(mean) & (mean > 0), mean, np.nan)
        drawn.append(positive)
        style = predicted_style(own, marker)
        handles += axes.plot(sizes, positive, markersize=5.5, label=text, **style)
    if not drawn:
        return None
    lines = [np.asarray(line.get_ydata(), float) for line in axes.get_lines()] if label is not None else []
    every = [np.asarray(line.get_xdata(), float) for line in axes.get_lines()] if label is not None else [sizes]
    size_axis(axes, np.unique(np.concatenate(every)))
    logarithmic(axes.yaxis, drawn + lines)
    axes.set_xlabel("sample size n' (examples)" + (f' of {named_n(results)}' if label is None else ''))
    axes.set_ylabel('test error (MSE, label units²)')
    return [h for h in handles if h is not None]


def exponent_row(results, source):
    for row in results.table('/rates/exponents'):
        if row.get('source') == source and isinstance(row.get('value'), float) and math.isfinite(row['value']):
            return row
    return None


def limit_of_error(results):
    """(limit, '') of the error at T, A of A + B n^-x as the observed rate's note has it, or (NaN, why there is none)."""
    rows = [row for row in results.table('/rates/exponents') if row.get('source') == 'observed']
    note = str(rows[0].get('note', '')) if rows else 'the file holds no observed rate'
    found = re.search(r'\bA = ([0-9.]+(?:e[+-]?[0-9]+)?)', note) if exponent_row(results, 'observed') else None
    return (float(found[1]), '') if found else (math.nan, note)


def limit_of_predictions(results):
    """The limit that predicted rates are of the error above, sigma^2 of the target's power; NaN where there is none."""
    return results.number('/rates/source_capacity', 'noise') ** 2


def excess_error(axes, results):
    """The error at T above its limit, A of the fit A + B n^-x, against sample size, with that fit; beside it the
    predicted laws where they are of the error above the same limit. None where no limit was found."""
    sizes, (limit, _) = sizes_of(results), limit_of_error(results)
    values = None if sizes is None else by_size(results, 'mse_stop', sizes)
    if values is None or not math.isfinite(limit):
        return None
    order = np.argsort(sizes)
    sizes = sizes[order]
    mean, spread = mean_and_spread(values[order] - limit)
    if (mean > 0).sum() < 3:  # an error that goes below the limit shows no law above it
        return None
    style = observed_style(BLUE)
    exponent = exponent_row(results, 'observed')['value']
    text = f'gradient descent at T, fitted {power_law_text("n", round(exponent, 2))}'
    with_bars(axes, sizes, mean, spread, style | {'linestyle': ''}, 0, text)
    axes.plot(sizes, through(sizes, mean, exponent), color=BLUE, linewidth=1.3)
    handles = [Line2D([], [], markersize=5.5, label=text, **style)]
    # Limits that differ by less than a picture shows are the same.
    if abs(limit_of_predictions(results) - limit) <= 0.01 * mean[mean > 0].min():
        for source, shade in ('eigenlearning', SKY), ('source_capacity', ORANGE):
            if row := exponent_row(results, source):
                law = through(sizes, mean, row['value'])
                text = f'predicted, {source_name(source)}: {power_law_text("n", round(row["value"], 2))}'
                handles += axes.plot(sizes, law, color=shade, linestyle='--', linewidth=1.6, label=text)
    size_axis(axes, sizes)
    logarithmic(axes.yaxis, [np.where(mean - spread > 0, mean - spread, mean), mean + spread])
    axes.set_xlabel(f"sample size n' (examples) of {named_n(results)}")
    axes.set_ylabel(f'test error − {readable(limit, 3)}, A of the fit\nA + B n⁻ˣ (label units²)')
    return handles


def through(sizes, mean, exponent):
    """A power law with this exponent through the middle of the points."""
    good = np.isfinite(mean) & (mean > 0)
    level = np.mean(np.log(mean[good]) + exponent * np.log(sizes[good]))
    return np.exp(level) * sizes**-exponent


def learning_curve_accuracy(axes, results):
    """Test accuracy against sample size beside the share of the most frequent label."""
    sizes = sizes_of(results)
    if sizes is None:
        return None
    order, handles, drawn = np.argsort(sizes), [], []
    for shift, (name, label, colour, marker) in enumerate(OBSERVED, -1):
        values = by_size(results, f'accuracy_{name}', sizes)
        if values is not None:
            style = observed_style(colour, marker)
            handle, limits = over_sizes(axes, sizes[order], values[order], style, shift, label)
            handles.append(handle)
            drawn += limits
    if not drawn:
        return None
    base = results.number('/rates/learning_curve', 'base_rate')
    if math.isfinite(base):
        handles.append(
            axes.axhline(base, color=INK, linestyle=':', label=f'most frequent label, {readable(base, 3)}')
        )
    size_axis(axes, sizes)
    tests = results.examples('test')
    axes.set_xlabel(f"sample size n' (examples) of {named_n(results)}")
    axes.set_ylabel('accuracy' + (f' on {tests} test examples' if tests else ' on the test set'))
    return [h for h in handles if h is not None]


# ---- alignment and functionals ---------------------------------------------------------------------------


def alignment(axes, results):
    """How much of residual and labels the leading eigenvectors hold."""
    shares = []
    for name, label, colour, style in (
        ('residual', 'residual', BLUE, '-'),
        ('labels', 'labels', VERMILLION, '--'),
    ):
        values = results.array(f'/rates/alignment/{name}')
        if values is not None and len(values) > 1:
            power = np.nan_to_num(values.reshape(len(values), -1), posinf=0, neginf=0) ** 2
            if power.sum() > 0:
                shares.append((label, np.cumsum(power.sum(axis=1)) / power.sum(), colour, style))
        elif name == 'residual':
            values = results.array('/rates/alignment/cumulative')
            if values is not None and len(values) > 1:
                shares.append((label, values.reshape(len(values), -1).mean(axis=1), colour, style))
    if not shares:
        return None
    values = results.eigenvalues()
    if values is not None and np.isfinite(values).all() and values.clip(0).sum() > 0:
        shares.append(('trace of the kernel', np.cumsum(values.clip(0)) / values.clip(0).sum(), GREY, '-.'))
    longest, handles = max(len(share) for _, share, _, _ in shares), []
    for label, share, colour, style in shares:
        shown = thinned(len(share))
        handles += axes.plot(
            shown + 1, share[shown], color=colour, linestyle=style, linewidth=1.9, label=label
        )
    rank = thinned(longest) + 1
    handles += axes.plot(
        rank, rank / longest, color=INK, linestyle=':', linewidth=1.2, label='random direction'
    )
    logarithmic(axes.xaxis, [[1, longest]])
    axes.set_ylim(-0.02, 1.03)
    axes.set_xlabel(of_file(results, 'leading eigenvectors k (dimensionless)'))
    axes.set_ylabel('share of the power (dimensionless)')
    return handles


FUNCTIONALS = {
    'effective_dimension': ('effective dimension\n(dimensionless)', BLUE, 'o'),
    'information_gain': ('information gain\n(nats)', VERMILLION, 's'),
}


def functional(axes, results, name='effective_dimension'):
    """Effective dimension or information gain over the ridge t."""
    label, colour, marker = FUNCTIONALS[name]
    t = results.array('/rates/functionals/t', 1)
    values = None if t is None else results.array(f'/rates/functionals/{name}', 1, len(t))
    if values is None:
        return None
    good = np.isfinite(values) & (values > 0) & np.isfinite(t) & (t > 0)
    if not good.any():
        return None
    x, y = t[good], values[good]
    order, handles = np.argsort(x), []
    axes.plot(x[order], y[order], color=colour, marker=marker, markevery=max(1, len(x) // 8), markersize=4.5)
    twin = results.number('/rates/stopping', 'ridge_twin')
    known = math.isfinite(twin) and twin > 0
    if known:
        text = f'ridge twin of T, t = {readable(twin, 3)}'
        handles.append(axes.axvline(twin, color=INK, linestyle='--', linewidth=1.3, label=text))
    logarithmic(axes.yaxis, [y])
    logarithmic(axes.xaxis, [x, [twin if known else math.nan]])
    axes.set_ylabel(label)
    axes.set_xlabel(of_file(results, 'ridge t (scale of the eigenvalues of G/n)'))
    return handles


# ---- exponents -------------------------------------------------------------------------------------------


def source_name(text):
    return text.replace('_', ' ')


BOUNDS = ('decay', 'critical_radius')


def known_exponents(results):
    """Rows with a number; T itself, which a merged file has a slope of, is no error."""
    return [
        row
        for row in results.table('/rates/exponents')
        if isinstance(row.get('value'), float)
        and math.isfinite(row['value'])
        and row.get('source') != 'stopping_step'
    ]


def exponents(axes, results, colour=None, label=None, shift=0.0):
    """Predicted and observed exponents of the error with their intervals. A bound is an arrow to the right: the
    error may fall faster."""
    rows = known_exponents(results)
    if not rows:
        return None
    curves = list(dict.fromkeys(str(row.get('curve', '')) for row in rows))
    if len(curves) > 1 and label is None:
        return exponents_of_curves(axes, rows, curves)
    promised = not results.text('/rates/stopping', 'error_bound_reason')
    handles = draw_exponents(axes, rows, colour, label, shift, promised)
    axes.set_xlabel(of_file(results if label is None else None, 'x in error ∝ n⁻ˣ (dimensionless)'))
    return handles


def exponents_of_curves(axes, rows, curves):
    """Those of a merged file, a colour for each curve."""
    handles = []
    for k, curve in enumerate(curves):
        mine = [row for row in rows if str(row.get('curve', '')) == curve]
        shift = 0.5 * k / (len(curves) - 1) - 0.25
        colour, name = COLOURS[k % len(COLOURS)], literal(shortened(curve, 40))
        handles += draw_exponents(axes, mine, colour, name, shift)
    axes.set_xlabel('x in error ∝ n⁻ˣ (dimensionless)')
    return handles


def draw_exponents(axes, rows, colour, label, shift, promised=True):
    """Rows of one file or curve, at the names that stand on the axes already and below them. promised: whether the
    bounds' premise, a ball that holds the target, was found; they are grey where not."""
    names = [str(row.get('source', '')) for row in rows]
    known = [text.get_text() for text in axes.get_yticklabels()] if label is not None and axes.get_lines() else []
    kinds = []
    for k, row in enumerate(rows):
        name = literal(shortened(source_name(names[k]), 22))
        if name not in known:
            known.append(name)
        y = known.index(name) + shift
        observed = names[k].startswith(('observed', 'network', 'linearised'))
        kind = 'observed' if observed else 'bound' if names[k] in BOUNDS else 'predicted'
        own = colour or {'observed': VERMILLION, 'predicted': BLUE, 'bound': INK if promised else GREY}[kind]
        # The first of a kind, or of a file, carries the label of all.
        text = kind_text(kind, promised) if label is None else label
        draw_exponent(axes, row, y, own, kind, None if (kind in kinds if label is None else kinds) else text)
        kinds.append(kind)
    axes.set_yticks(range(len(known)), known)
    axes.set_ylim(len(known) - 0.5, -0.5)
    axes.tick_params(axis='y', length=0)
    axes.autoscale(axis='x')
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0), high + 0.04 * (high - min(low, 0)))  # room for an arrow
    if label is not None:
        return [Line2D([], [], color=colour, marker='o', linewidth=2.4, label=label)]
    return [kind_handle(kind, promised) for kind in ('observed', 'predicted', 'bound') if kind in kinds]


def draw_exponent(axes, row, y, colour, kind, label):
    low, high = row.get('low', math.nan), row.get('high', math.nan)
    if isinstance(low, float) and isinstance(high, float) and math.isfinite(low) and math.isfinite(high):
        style = '-' if kind == 'observed' else '--'
        if kind != 'bound':
            axes.plot([low, high], [y, y], color=colour, linewidth=2.2, linestyle=style)
            axes.plot([low, high], [y, y], color=colour, marker='|', markersize=9, linestyle='')
        else:
            axes.plot([low, row['value']], [y, y], color=colour, linewidth=1.6, linestyle=':')
    marker = {'observed': 's', 'predicted': 'D', 'bound': '>'}[kind]
    face = PAPER if kind == 'predicted' else colour
    axes.plot(
        [row['value']],
        [y],
        color=colour,
        marker=marker,
        markersize=7,
        linestyle='',
        markerfacecolor=face,
        markeredgewidth=1.4,
        label=label,
    )


def kind_text(kind, promised):
    return kind if kind != 'bound' else 'bound: at least so fast' if promised else 'bound, its premise not shown'


def kind_handle(kind, promised):
    text = kind_text(kind, promised)
    if kind == 'observed':
        return Line2D([], [], label=text, markersize=7, **observed_style(VERMILLION, 's'))
    if kind == 'predicted':
        return Line2D([], [], label=text, markersize=7, **predicted_style(BLUE, 'D'))
    return Line2D([], [], label=text, color=INK if promised else GREY, marker='>', linestyle=':', markersize=7)


# ---- fine-tuning -----------------------------------------------------------------------------------------


def finetune(axes, results, name='loss'):
    """Loss or accuracy of the network (lines) and of its linearised model (dashed) along training, with T and the best
    recorded steps on the test examples."""
    rows = results.table('/finetune/path')
    if not rows or not all('step' in row for row in rows):
        return None
    step = np.array([row['step'] for row in rows])
    handles, drawn = [], []
    for part, colour in (('train', BLUE), ('test', VERMILLION)):
        for of, style, marker, label in (('', '-', 'o', 'network'), ('linear_', '--', 's', 'linearised')):
            values = np.array([row.get(f'{of}{part}_{name}', math.nan) for row in rows])
            if not np.isfinite(values).any():
                continue
            handles += axes.plot(step, values, color=colour, linestyle=style, label=f'{label}, {part}')
            drawn.append(values)
            best = np.flatnonzero(step == results.number('/finetune', f'{of}best_step'))
            if part == 'test' and name == 'loss' and best.size:
                axes.plot(step[best], values[best], marker, color=colour, markersize=5, markerfacecolor='none')
    if not handles:
        return None
    stop = results.number('/finetune', 'stopping_step')
    if math.isfinite(stop) and stop <= step.max():
        handles.append(axes.axvline(stop, color=INK, linewidth=1.2, label='stopping step T'))
    if name == 'loss':
        logarithmic(axes.yaxis, drawn)
    step_axis(axes, step.max())
    squared = results.text('/finetune', 'loss') == 'squared'
    loss = 'loss\n(half the MSE)' if squared else 'loss\n(cross-entropy, nats)'
    axes.set_ylabel('accuracy' if name == 'accuracy' else loss)
    axes.set_xlabel('training step')
    return handles


# ---- tasks, neighbours, merged runs ----------------------------------------------------------------------


def task_names(results, count):
    names = results.texts('/tasks', 'names')
    return (names + [f'task {k + 1}' for k in range(len(names), count)])[:count]


def number_table(axes, values, colours, limits, rows, columns, size):
    """Coloured cells with their numbers; axes are names. Returns the mesh."""
    shown = np.ma.masked_invalid(np.clip(values, *limits))
    mesh = axes.pcolormesh(
        shown, cmap=colours, vmin=limits[0], vmax=limits[1], edgecolors=GREY, linewidth=0.5
    )
    axes.set_yticks(np.arange(len(rows)) + 0.5, [literal(name) for name in rows])
    axes.set_xticks(np.arange(len(columns)) + 0.5, [literal(name) for name in columns])
    axes.set_ylim(len(rows), 0)
    axes.grid(False)
    axes.tick_params(length=0)
    if size < 5:
        return mesh
    middle, reach = sum(limits) / 2, (limits[1] - limits[0]) / 2
    for i, j in np.ndindex(values.shape):
        known = math.isfinite(values[i, j])
        # Both maps are light in the middle (PuOr) or at the low end (Blues).
        dark = known and (
            abs(values[i, j] - middle) > 0.6 * reach if colours == 'PuOr' else values[i, j] > middle + 0.2 * reach
        )
        text = f'{round(values[i, j], 2) + 0.0:.2f}'.replace('-', '−') if known else '–'
        colour = '#fefefe' if dark else '#111111' if known else INK
        axes.text(j + 0.5, i + 0.5, text, ha='center', va='center', fontsize=size, color=colour)
    return mesh


def task_cosines(axes, results):
    """Cosines between the tasks' solutions, with their numbers."""
    cosines = results.array('/tasks/cosines', 2)
    if cosines is None or cosines.shape[0] != cosines.shape[1]:
        return None
    count = len(cosines)
    names = [shortened(f'{k + 1} {name}', 17) for k, name in enumerate(task_names(results, count))]
    columns = [str(k + 1) for k in range(count)]
    size = min(10.5, 3.0 * 72 / count * 0.32)
    mesh = number_table(axes, cosines, 'PuOr', (-1, 1), names, columns, size)
    bar = axes.figure.colorbar(mesh, ax=axes, fraction=0.05, pad=0.03, ticks=[-1, -0.5, 0, 0.5, 1])
    bar.set_label('cosine (dimensionless)')
    bar.outline.set_visible(False)
    axes.set_xlabel(f'task, numbered as on the left; {named_n(results)}')
    return []


ARITHMETIC_SHOWN = 24


def arithmetic_rows(results, at='/tasks/arithmetic'):
    return [row for row in results.table(at) if isinstance(row.get('accuracy'), float)]


def arithmetic_table(results):
    """(weights, tasks, accuracy): the table of task arithmetic as one of two ways; the first row is the start."""
    rows = [row for row in arithmetic_rows(results) if row.get('weights') != 'none']
    weights = list(dict.fromkeys(str(row.get('weights', '')) for row in rows))
    tasks = list(dict.fromkeys(str(row.get('task', '')) for row in rows))
    values = np.full((len(weights) + 1, len(tasks)), np.nan)
    for row in rows:
        column = tasks.index(str(row.get('task', '')))
        values[weights.index(str(row.get('weights', ''))) + 1, column] = row['accuracy']
        base = row.get('base_accuracy')
        if isinstance(base, float) and math.isfinite(base):
            values[0, column] = base
    return ['at the start'] + weights, tasks, values


def short_weights(text, length=24):
    """'sst2:+1 agnews:-1' as '+ sst2 − agnews', every name shortened alike where the whole is too long."""
    parts = [part.rpartition(':') for part in text.split()]
    if not all(colon for _, colon, _ in parts):
        return shortened(text, length)
    signs = {'+1': '+ ', '1': '+ ', '-1': '− '}
    for size in (200, 18, 14, 11, 8, 6, 4):
        name = ' '.join(signs.get(w, w + ' ') + shortened(n, size) for n, _, w in parts)
        if len(name) <= length:
            return name
    return shortened(name, length)


def task_arithmetic(axes, results):
    """Accuracy on every task after adding or subtracting task vectors, as a table of two ways."""
    weights, tasks, values = arithmetic_table(results)
    if not np.isfinite(values[1:]).any():
        return None
    weights, values = weights[:ARITHMETIC_SHOWN], values[:ARITHMETIC_SHOWN]
    columns = [shortened(name, max(6, 26 // len(tasks))) for name in tasks]
    number_table(axes, values, 'Blues', (0, 1), [short_weights(w) for w in weights], columns, 9.5)
    axes.axhline(1, color=INK, linewidth=1.6)
    axes.set_xlabel(f'accuracy on the task (dimensionless), {named_n(results)}')
    return []


NEIGHBOURS = {
    'accuracy': ('accuracy\n(dimensionless)', BLUE, 'o'),
    'mse': ('test error\n(MSE, label units²)', GREEN, '^'),
}


def neighbours(axes, results, name='accuracy'):
    """Local kernel regression on the k nearest training examples against the global one."""
    label, colour, marker = NEIGHBOURS[name]
    sizes = results.array('/neighbours/sizes', 1)
    values = None if sizes is None else results.array(f'/neighbours/{name}', 1, len(sizes))
    if values is None or not np.isfinite(values).any():
        return None
    order = np.argsort(sizes)
    axes.plot(sizes[order], values[order], markersize=5.5, label='local, k nearest', **observed_style(colour, marker))
    overall = results.number('/neighbours', f'global_{name}')
    if math.isfinite(overall):
        axes.axhline(overall, color=VERMILLION, linestyle='--', label='global')
    axes.set_ylabel(label)
    size_axis(axes, sizes)
    axes.set_xlabel(f'neighbours k (examples), {named_n(results)}')
    return [
        Line2D([], [], color=INK, marker='o', label='local, k nearest'),
        Line2D([], [], color=VERMILLION, linestyle='--', label='global'),
    ]


RUNS = {
    'mse_stop': 'test error at T\n(MSE, label units²)',
    'critical_radius': 'critical radius\n(dimensionless)',
    'stopping_step': 'stopping step T\n(steps)',
}


TRAINED = {
    'finetune_loss_stop': 'test loss at T\n(as it is trained)',  # half the MSE, or cross-entropy: runs do not say
    'finetune_gap': 'gap at T, share of\nthe outputs’ change',
    'finetune_stopping_step': 'stopping step T\n(training steps)',
}


def trained_runs(axes, results, name='finetune_loss_stop'):
    """A number of the fine-tuned runs of a merged file; of the loss, the linearised model's dashed beside it."""
    handles = runs(axes, results, name)
    if not handles:
        return None
    if name == 'finetune_loss_stop':
        runs(axes, results, 'finetune_linear_loss_stop', predicted_style, ', linearised')
        axes.set_ylabel(TRAINED[name])
    return handles + [Line2D([], [], label='linearised model', **predicted_style(INK, 'o'))]


def runs(axes, results, name='mse_stop', style=observed_style, note=''):
    """A number of the runs of a merged file against their size, one colour per curve, whose label ends with `note`."""
    rows = [
        (str(row.get('curve', '')), row['samples'], row[name])
        for row in results.table('/runs')
        if isinstance(row.get(name), float) and isinstance(row.get('samples'), float)
    ]
    if not any(math.isfinite(row[2]) for row in rows):
        return None
    drawn = [np.asarray(line.get_ydata(), float) for line in axes.get_lines()] + [[row[2] for row in rows]]
    handles = []
    # A curve has the colour that it has among the exponents.
    curves = dict.fromkeys(str(row.get('curve', '')) for row in results.table('/rates/exponents'))
    curves.update(dict.fromkeys(row[0] for row in rows))
    for k, curve in enumerate(curves):
        if all(row[0] != curve for row in rows):
            continue
        mine = sorted((n, value) for of, n, value in rows if of == curve)
        sizes = sorted({n for n, _ in mine})
        # As in the program's table: where a run has no number, the mean has none.
        mean = [np.mean([value for size, value in mine if size == n]) for n in sizes]
        colour = COLOURS[k % len(COLOURS)]
        axes.plot(*zip(*mine), '.', color=colour, alpha=0.5)
        handles += axes.plot(
            sizes, mean, label=literal(shortened(curve, 40)) + note, markersize=5, **style(colour, 'o')
        )
    size_axis(axes, [row[1] for row in rows])
    (logarithmic_from_zero if any(0 in values for values in drawn) else logarithmic)(axes.yaxis, drawn)
    axes.set_xlabel('sample size n (examples)')
    axes.set_ylabel({**RUNS, **TRAINED}.get(name, name))
    return handles
