"""The pictures: each function reads what it needs from an output file and returns a Picture, or None where
the file does not hold it."""
import math

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .drawing import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Picture,
    literal,
    logarithmic,
    plt,
    size_axis,
    step_axis,
    thinned,
)
from .results import mean_and_spread, readable, readable_interval, shortened


def named_n(results):
    """'n = 2048', with the rows of the kernel where they are more."""
    n, rows = results.examples(), results.rows()
    return f'n = {n or "unknown"}' + (f', N = {rows}' if rows and rows != n else '')


def power_law_text(symbol, exponent, digits=3):
    return rf'${symbol}^{{{-exponent:.{digits}g}}}$'


def spectrum(results):
    """Eigenvalues of G/n against rank with the selected fit, its window and the noise floor."""
    values = results.eigenvalues()
    if values is None or not (np.isfinite(values) & (values > 0)).any():
        return None
    rank = np.arange(1, len(values) + 1)
    floor = results.noise_floor()
    above = values > (floor if math.isfinite(floor) else 0)
    scale = 'N' if results.rows() != results.examples() and results.examples() else 'n'
    picture = Picture(
        'spectrum',
        f'Spectrum ({named_n(results)})',
        f'Eigenvalues of G/{scale} against their rank, largest first.',
        (3.3,),
    )
    axes = picture.axes[0]
    shown = thinned(len(values))
    good, low = shown[above[shown]], shown[~above[shown]]
    if good.size:
        picture.legend(
            axes.plot(
                rank[good], values[good], 'o', color=BLUE, markersize=3.4, label=f'eigenvalues of G/{scale}'
            )[0]
        )
    # A negative eigenvalue is shown by its size: it is the rounding that the floor stands for.
    sizes = np.abs(values[low])
    if low.size and (sizes > 0).any():
        negative = int((values < 0).sum())
        note = f' ({int((~above).sum())}' + (f', {negative} negative)' if negative else ')')
        picture.legend(
            axes.plot(
                rank[low],
                np.where(sizes > 0, sizes, np.nan),
                'x',
                color=GREY,
                markersize=3.4,
                markeredgewidth=0.8,
                label='under the noise floor' + note,
            )[0]
        )
    drawn = [values[good], sizes]
    if math.isfinite(floor) and floor > 0:
        picture.legend(
            axes.axhline(
                floor, color=INK, linestyle=':', linewidth=1.4, label=f'noise floor {readable(floor, 2)}'
            )
        )
        drawn.append([floor])
    first, last = results.number('/rates/decay', 'first'), results.number('/rates/decay', 'last')
    selected = results.text('/rates/decay', 'selected')
    if math.isfinite(first) and math.isfinite(last) and 1 <= first <= last:
        axes.axvspan(first, last, color=ORANGE, alpha=0.17, linewidth=0)
        window = 'window, no fit' if selected == 'none' else 'fit window'
        picture.legend(Patch(facecolor=ORANGE, alpha=0.3, label=f'{window}, ranks {first:.0f} to {last:.0f}'))
        line = fitted_line(results, selected, np.geomspace(first, last, 100))
        if line is not None:
            x, y, label, style = line
            picture.legend(axes.plot(x, y, color=VERMILLION, linestyle=style, linewidth=2.2, label=label)[0])
    if selected == 'finite_rank':
        estimate = results.number('/rates/decay/finite_rank', 'rank')
        if estimate > 0:
            low, high = (
                results.number('/rates/decay/finite_rank', 'rank' + end) for end in ('_low', '_high')
            )
            picture.legend(
                axes.axvline(
                    estimate,
                    color=VERMILLION,
                    linestyle='--',
                    label=f'finite rank {readable(estimate)} {readable_interval(low, high)}',
                )
            )
    logarithmic(axes.xaxis, [rank])
    logarithmic(axes.yaxis, drawn)
    axes.set_xlabel(f'rank k (dimensionless), {named_n(results)}')
    axes.set_ylabel(f'eigenvalue of G/{scale} (dimensionless)')
    if selected == 'none':
        picture.caption += ' No decay was fitted' + reason(results) + '.'
    elif line_is_corrected(results, selected):
        picture.caption += ' The fitted line is corrected for the bias of empirical eigenvalues.'
    if results.sketched():
        picture.caption += ' The kernel is sketched: its tail is the sketch’s, not the model’s.'
    return picture


def reason(results):
    text = results.text('/rates/decay', 'reason')
    return f': {text}' if text else ''


def line_is_corrected(results, selected):
    return selected == 'polynomial' and results.number('/rates/decay/polynomial', 'corrected') > 0


def fitted_line(results, selected, rank):
    """(x, y, label, line style) of the selected family over its window; None where it has no line."""
    path = f'/rates/decay/{selected}'
    if selected == 'polynomial':
        exponent, low, high = results.interval(path, 'exponent')
        constant = results.number(path, 'constant')
        if math.isfinite(exponent) and constant > 0:
            onset = results.number(path, 'onset')
            onset = onset if onset > 0 else 0.0
            base = f'(k + {onset:.3g})' if onset else 'k'
            label = f'polynomial, {power_law_text(base, exponent)}, exponent {readable_interval(low, high)}'
            return rank, constant * (rank + onset) ** -exponent, label, '-'
    if selected == 'exponential':
        rate, low, high = results.interval(path, 'rate')
        constant, power = results.number(path, 'constant'), results.number(path, 'power')
        if math.isfinite(rate) and math.isfinite(power) and constant > 0:
            label = (
                rf'exponential, exp($-${rate:.3g} $k^{{{power:.3g}}}$), rate {readable_interval(low, high)}'
            )
            return rank, constant * np.exp(-rate * rank**power), label, '--'
    return None


# ---- stopping --------------------------------------------------------------------------------------------

PATHS = (  # data set, name, colour, line style, marker
    ('train_mse', 'training MSE', BLUE, '-', 'o'),
    ('test_mse', 'test MSE', VERMILLION, '-', 's'),
    ('ridge_train_mse', 'ridge twin, training', BLUE, ':', None),
    ('ridge_test_mse', 'ridge twin, test', VERMILLION, ':', None),
    ('bias2', 'bias²', GREEN, '--', '^'),
    ('variance', 'variance', PURPLE, '-.', 'v'),
    ('gcv', 'GCV', ORANGE, '-', 'D'),
    ('bound', 'bound up to T', INK, (0, (6, 2)), None),
)

RULES = (  # attribute, name, colour, marker
    ('stopping_step', 'T', INK, 'o'),
    ('discrepancy_step', 'discrepancy', GREEN, '^'),
    ('gcv_step', 'GCV', ORANGE, 'D'),
    ('holdout_step', 'hold-out', PURPLE, 'v'),
    ('best_step', 'best on test', VERMILLION, 's'),
)

SENSITIVITY = (
    'stopping_step_half_radius',
    'stopping_step_double_radius',
    'stopping_step_half_noise',
    'stopping_step_double_noise',
)


def stopping(results):
    """Errors along gradient descent, and the steps at which each rule would stop."""
    group = '/rates/stopping'
    step = results.array(f'{group}/step', 1)
    if step is None:
        return None
    curves = [
        (name, label, *style)
        for name, label, *style in PATHS
        if results.array(f'{group}/{name}', 1, len(step)) is not None
    ]
    rules = [rule for rule in RULES if not math.isnan(results.number(group, rule[0]))]
    if not curves:
        return None
    picture = Picture(
        'stopping',
        f'Stopping ({named_n(results)})',
        (
            'Errors along gradient descent. Above: where each '
            'rule stops; the bar is the range of T at half and at double σ.'
        ),
        (0.35 + 0.21 * max(len(rules), 1), 3.2),
    )
    strip, axes = picture.axes
    finite = step[np.isfinite(step)]
    last = max(
        [finite.max() if finite.size else 1.0]
        + [v for v in (results.number(group, r[0]) for r in rules) if math.isfinite(v)]
    )
    top, levels = [], []
    order = np.argsort(step)
    for name, label, colour, style, marker in curves:
        y = results.array(f'{group}/{name}', 1, len(step))
        visible = np.where(np.isfinite(y) & (y > 0), y, np.nan)[order]
        if not np.isfinite(visible).any():
            continue
        every = max(1, len(step) // 9)
        offset = [c[0] for c in curves].index(name) % every if every > 1 else 0
        picture.legend(
            axes.plot(
                step[order],
                visible,
                color=colour,
                linestyle=style,
                marker=marker,
                markersize=4.2,
                markevery=(offset, every),
                linewidth=2.1 if style == ':' else 1.6,
                label=label,
            )[0]
        )
        if name != 'bound':
            top.append(np.nanmax(visible))
        if name in ('train_mse', 'test_mse', 'ridge_test_mse', 'gcv'):
            levels.append(np.nanmin(visible))
        elif not levels:
            levels.append(np.nanmax(visible) * 1e-3)
    if top:
        # Variance and bias start or end at nothing and the bound starts at infinity: they may leave the
        # picture.
        high = max(top) * 30
        low = max(min(levels) / 30, max(top) * 1e-4)
        everything = np.concatenate([line.get_ydata() for line in axes.get_lines()])
        everything = everything[np.isfinite(everything)]
        logarithmic(axes.yaxis, [[max(low, everything.min()), min(high, everything.max())]])
    step_axis(axes, last)
    axes.set_xlabel(f'step of gradient descent (dimensionless), {named_n(results)}')
    axes.set_ylabel('mean squared error (label units²)')
    mark_rules(results, strip, axes, rules, last)
    return picture


def mark_rules(results, strip, axes, rules, last):
    """One row per rule in the upper panel, so that no two labels can meet; T goes on as a line through the
    curves."""
    group = '/rates/stopping'
    strip.grid(axis='y', visible=False)
    strip.set_yticks(range(len(rules)), [name for _, name, _, _ in rules])
    strip.set_ylim(len(rules) - 0.4, -0.6)
    strip.tick_params(axis='y', length=0)
    strip.tick_params(axis='x', which='both', length=0, labelbottom=False)
    strip.spines['left'].set_visible(False)
    edge = axes.get_xlim()[1]
    for row, (attribute, name, colour, marker) in enumerate(rules):
        value = results.number(group, attribute)
        infinite = math.isinf(value)
        if name == 'T':
            ends = [results.number(group, 'stopping_step_' + end) for end in ('half_noise', 'double_noise')]
            ends = [min(v, edge) for v in ends if not math.isnan(v)]
            if len(ends) == 2:
                strip.plot(ends, [row, row], color=GREY, linewidth=6, alpha=0.45, solid_capstyle='butt')
                axes.axvspan(min(ends), max(ends), color=GREY, alpha=0.13, linewidth=0)
            if not infinite:
                axes.axvline(value, color=INK, linewidth=1.2)
                strip.plot([value, value], [row, len(rules)], color=INK, linewidth=1.2)
        strip.plot(
            [edge if infinite else value],
            [row],
            marker='>' if infinite else marker,
            color=colour,
            markersize=6,
            clip_on=False,
            zorder=4,
        )
        # The number stands where there is room: to the right of its mark in the left half, else to its left.
        position = strip.transData.transform((edge if infinite else value, row))[0]
        left, right = strip.get_window_extent().x0, strip.get_window_extent().x1
        room = position < (left + right) / 2
        reach = (max if room else min)(ends) if name == 'T' and len(ends) == 2 else value
        strip.annotate(
            readable(value),
            (edge if infinite else reach, row),
            xytext=(7 if room else -7, 0),
            textcoords='offset points',
            ha='left' if room else 'right',
            va='center',
            fontsize=9.5,
        )


# ---- sample sizes ----------------------------------------------------------------------------------------

OBSERVED = (
    ('stop', 'gradient descent at T', BLUE, 'o'),
    ('best', 'gradient descent, best step', GREEN, '^'),
    ('ridge', 'kernel ridge, best', VERMILLION, 's'),
)
PREDICTED = (
    ('predicted_gradient_descent', 'predicted, gradient descent', SKY, 'D', '--'),
    ('predicted_ridge', 'predicted, kernel ridge', ORANGE, 'v', '--'),
    ('gcv', 'GCV', PURPLE, 'P', '-.'),
)


def sizes_of(results):
    sizes = results.array('/rates/learning_curve/sizes', 1)
    return sizes if sizes is not None and np.isfinite(sizes).any() else None


def by_size(results, name, sizes):
    return results.array(f'/rates/learning_curve/{name}', 2, len(sizes))


def draw_over_sizes(axes, sizes, values, colour, marker, style, shift, label):
    """Mean with a bar of one standard deviation over repeats, moved sideways a little so that bars do not
    cover each other; returns the legend's handle and what was drawn, or None where nothing is finite."""
    mean, spread = mean_and_spread(values)
    if not np.isfinite(mean).any():
        return None, []
    x = sizes * (sizes.max() / sizes.min()) ** (0.011 * shift)
    axes.errorbar(
        x,
        mean,
        yerr=spread,
        color=colour,
        marker=marker,
        linestyle=style,
        capsize=2.5,
        linewidth=1.5,
        elinewidth=1.1,
        markersize=5.5,
    )
    low = np.where(mean - spread > 0, mean - spread, mean)
    return Line2D([], [], color=colour, marker=marker, linestyle=style, markersize=5.5, label=label), [
        low,
        mean + spread,
    ]


def learning_curve(results):
    """Test error against sample size, observed and predicted."""
    sizes = sizes_of(results)
    if sizes is None:
        return None
    order = np.argsort(sizes)
    sizes = sizes[order]
    picture = Picture(
        'learning_curve',
        f'Test error over sample size ({named_n(results)})',
        'Means over nested random subsets; bars are one standard deviation.',
        (3.4,),
    )
    axes = picture.axes[0]
    drawn, shift = [], -1.5
    for name, label, colour, marker in OBSERVED:
        values = by_size(results, f'mse_{name}', sizes)
        if values is not None:
            handle, limits = draw_over_sizes(axes, sizes, values[order], colour, marker, '-', shift, label)
            picture.legend(handle)
            drawn += limits
        shift += 1
    flagged_above = results.number('/rates/learning_curve', 'flagged_above')
    flagged = sizes > flagged_above if math.isfinite(flagged_above) else np.zeros(len(sizes), bool)
    any_flagged = False
    for name, label, colour, marker, style in PREDICTED:
        values = by_size(results, name, sizes)
        if values is None:
            continue
        mean = mean_and_spread(values[order])[0]
        if not np.isfinite(mean).any():
            continue
        positive = np.where(np.isfinite(mean) & (mean > 0), mean, np.nan)
        drawn.append(positive)
        # GCV is an estimate from the subset itself, not a prediction from the spectrum: it is never flagged.
        bad = flagged if name != 'gcv' else np.zeros(len(sizes), bool)
        any_flagged |= bool((bad & np.isfinite(positive)).any())
        split = int(np.argmax(bad)) if bad.any() else len(sizes)
        axes.plot(
            sizes[:split], positive[:split], color=colour, linestyle=style, marker=marker, markersize=5.5
        )
        if split < len(sizes):
            start = max(split - 1, 0)
            axes.plot(sizes[start:], positive[start:], color=colour, linestyle=':', linewidth=1.4)
            axes.plot(
                sizes[split:],
                positive[split:],
                color=colour,
                linestyle='',
                marker=marker,
                markersize=6,
                markerfacecolor='none',
                markeredgewidth=1.4,
            )
        picture.legend(
            Line2D([], [], color=colour, marker=marker, linestyle=style, markersize=5.5, label=label)
        )
    if not drawn:
        picture.close()
        return None
    if any_flagged:
        picture.legend(
            Line2D(
                [],
                [],
                color=GREY,
                marker='D',
                linestyle=':',
                markerfacecolor='none',
                markersize=6,
                label=f"hollow: n' > {readable(flagged_above)}, unreliable",
            )
        )
        picture.caption += (
            " Predictions with n' above half of the sample are drawn hollow and dotted: few "
            "examples are left that were not fitted."
        )
    size_axis(axes, sizes)
    logarithmic(axes.yaxis, drawn)
    axes.set_xlabel(f"sample size n' (examples) of {named_n(results)}")
    axes.set_ylabel('test error (MSE, label units²)')
    return picture


def learning_curve_accuracy(results):
    """Test accuracy against sample size beside the share of the most frequent label."""
    sizes = sizes_of(results)
    if sizes is None:
        return None
    order = np.argsort(sizes)
    picture = Picture(
        'learning_curve_accuracy',
        f'Test accuracy over sample size ({named_n(results)})',
        'Means over nested random subsets; bars are one standard deviation.',
        (3.4,),
    )
    axes = picture.axes[0]
    drawn, shift = [], -1
    for name, label, colour, marker in OBSERVED:
        values = by_size(results, f'accuracy_{name}', sizes)
        if values is not None:
            handle, limits = draw_over_sizes(
                axes, sizes[order], values[order], colour, marker, '-', shift, label
            )
            picture.legend(handle)
            drawn += limits
        shift += 1
    if not drawn:
        picture.close()
        return None
    base = results.number('/rates/learning_curve', 'base_rate')
    if math.isfinite(base):
        picture.legend(
            axes.axhline(base, color=INK, linestyle=':', label=f'most frequent label, {readable(base, 3)}')
        )
    size_axis(axes, sizes)
    tests = results.examples('test')
    axes.set_xlabel(f"sample size n' (examples) of {named_n(results)}")
    axes.set_ylabel('accuracy' + (f' on {tests} test examples' if tests else ' on the test set'))
    return picture


def exponent_by_size(results):
    """a(n): the decay's exponent over nested subsets."""
    sizes = results.array('/rates/decay/sizes', 1)
    values = None if sizes is None else results.array('/rates/decay/exponent_by_size', 2, len(sizes))
    if values is None or not np.isfinite(values).any():
        return None
    order = np.argsort(sizes)
    sizes, values = sizes[order], values[order]
    picture = Picture(
        'decay_by_size',
        f'Decay exponent over sample size ({named_n(results)})',
        (
            'The exponent a of the eigenvalues against rank, fitted on nested random subsets: small dots, '
            'with means and bars of one standard deviation. It has converged where it no longer moves.'
        ),
        (2.9,),
    )
    axes = picture.axes[0]
    value, low, high = results.interval('/rates/decay/polynomial', 'exponent')
    if math.isfinite(low) and math.isfinite(high):
        axes.axhspan(low, high, color=ORANGE, alpha=0.22, linewidth=0)
        picture.legend(
            Patch(facecolor=ORANGE, alpha=0.35, label=f'whole sample, 95 % {readable_interval(low, high)}')
        )
    if math.isfinite(value):
        picture.legend(
            axes.axhline(
                value, color=VERMILLION, linestyle='--', label=f'whole sample, a = {readable(value, 3)}'
            )
        )
    for column in values.T:
        axes.plot(sizes * 1.02, column, '.', color=GREY, markersize=4)
    handle, _ = draw_over_sizes(axes, sizes, values, BLUE, 'o', '-', 0, 'subsets, mean and spread')
    picture.legend(handle)
    size_axis(axes, sizes)
    axes.set_xlabel(f'size of the subset (examples) of {named_n(results)}')
    axes.set_ylabel('exponent a (dimensionless)')
    return picture


# ---- alignment and functionals ---------------------------------------------------------------------------


def alignment(results):
    """How much of residual and labels the leading eigenvectors hold."""
    picture = None
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
    picture = Picture(
        'alignment',
        f'Cumulative power ({named_n(results)})',
        (
            'Share of the residual, of the labels and '
            'of the kernel’s trace that lies in the leading k eigenvectors. The dotted line is what a random '
            'direction would have.'
        ),
        (3.0,),
    )
    axes = picture.axes[0]
    longest = max(len(share) for _, share, _, _ in shares)
    for label, share, colour, style in shares:
        shown = thinned(len(share))
        picture.legend(
            axes.plot(shown + 1, share[shown], color=colour, linestyle=style, linewidth=1.9, label=label)[0]
        )
    rank = thinned(longest) + 1
    picture.legend(
        axes.plot(rank, rank / longest, color=INK, linestyle=':', linewidth=1.2, label='random direction')[0]
    )
    logarithmic(axes.xaxis, [[1, longest]])
    axes.set_ylim(-0.02, 1.03)
    axes.set_xlabel(f'leading eigenvectors k (dimensionless), {named_n(results)}')
    axes.set_ylabel('share of the power (dimensionless)')
    return picture


def functionals(results):
    """Effective dimension and information gain over the ridge t."""
    t = results.array('/rates/functionals/t', 1)
    if t is None:
        return None
    panels = []
    for name, label, colour, marker in (
        ('effective_dimension', 'effective dimension\n(dimensionless)', BLUE, 'o'),
        ('information_gain', 'information gain\n(nats)', VERMILLION, 's'),
    ):
        values = results.array(f'/rates/functionals/{name}', 1, len(t))
        good = None if values is None else np.isfinite(values) & (values > 0) & np.isfinite(t) & (t > 0)
        if good is not None and good.any():
            panels.append((t[good], values[good], label, colour, marker))
    if not panels:
        return None
    picture = Picture(
        'functionals',
        f'Functionals of the spectrum ({named_n(results)})',
        'How many directions a ridge t on G/n leaves free, and how much the sample tells about the function.',
        (2.0,) * len(panels),
    )
    twin = results.number('/rates/stopping', 'ridge_twin')
    for axes, (x, y, label, colour, marker) in zip(picture.axes, panels):
        order = np.argsort(x)
        axes.plot(
            x[order], y[order], color=colour, marker=marker, markevery=max(1, len(x) // 8), markersize=4.5
        )
        logarithmic(axes.yaxis, [y])
        axes.set_ylabel(label)
        if math.isfinite(twin) and twin > 0:
            line = axes.axvline(
                twin,
                color=INK,
                linestyle='--',
                linewidth=1.3,
                label=f'ridge twin of T, t = {readable(twin, 3)}',
            )
    if math.isfinite(twin) and twin > 0:
        picture.legend(line)
    else:
        twin = math.nan
    logarithmic(picture.axes[-1].xaxis, [p[0] for p in panels] + [[twin]])
    picture.axes[-1].set_xlabel(f'ridge t (scale of the eigenvalues of G/n), {named_n(results)}')
    picture.figure.align_ylabels(picture.axes)
    return picture


# ---- exponents -------------------------------------------------------------------------------------------


def source_name(text):
    return text.replace('_', ' ')


def exponents(results):
    """Predicted and observed exponents of the error with their intervals."""
    rows = [
        row
        for row in results.table('/rates/exponents')
        if isinstance(row.get('value'), float) and math.isfinite(row['value'])
    ]
    if not rows:
        return None
    picture = Picture(
        'exponents',
        f'Exponents of the error ({named_n(results)})',
        'The error falls like n to the power of minus these exponents; bars are 95 % intervals.',
        (0.5 + 0.36 * len(rows),),
    )
    axes = picture.axes[0]
    for y, row in enumerate(rows):
        observed = str(row.get('source', '')) == 'observed'
        colour, marker = (VERMILLION, 's') if observed else (BLUE, 'o')
        low, high = row.get('low', math.nan), row.get('high', math.nan)
        if isinstance(low, float) and isinstance(high, float) and math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [y, y], color=colour, linewidth=2.4, solid_capstyle='butt')
            axes.plot([low, high], [y, y], color=colour, marker='|', markersize=9, linestyle='')
        axes.plot([row['value']], [y], color=colour, marker=marker, markersize=7, linestyle='')
    axes.set_yticks(
        range(len(rows)), [literal(shortened(source_name(str(row.get('source', ''))), 22)) for row in rows]
    )
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis='y', length=0)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0), high)
    axes.set_xlabel(f'x in error ∝ n⁻ˣ (dimensionless), {named_n(results)}')
    return picture


# ---- tasks and neighbours --------------------------------------------------------------------------------


def task_names(results, count):
    names = results.texts('/tasks', 'names')
    return (names + [f'task {k + 1}' for k in range(len(names), count)])[:count]


def task_cosines(results):
    """Cosines between the tasks' solutions, with their numbers."""
    cosines = results.array('/tasks/cosines', 2)
    if cosines is None or cosines.shape[0] != cosines.shape[1]:
        return None
    count = len(cosines)
    side = max(2.0, min(0.55 * count, 3.6))
    picture = Picture(
        'task_cosines',
        'Cosines between tasks',
        (
            'Cosine of the angle between two tasks’ changes of the '
            'parameters: 1 is the same direction, 0 none in common, −1 the opposite.'
        ),
        (side + 0.6,),
    )
    axes = picture.axes[0]
    shown = np.ma.masked_invalid(np.clip(cosines, -1, 1))
    mesh = axes.pcolormesh(shown, cmap='PuOr', vmin=-1, vmax=1, edgecolors=GREY, linewidth=0.5)
    names = [literal(shortened(f'{k + 1} {name}', 17)) for k, name in enumerate(task_names(results, count))]
    axes.set_yticks(np.arange(count) + 0.5, names)
    axes.set_xticks(np.arange(count) + 0.5, [str(k + 1) for k in range(count)])
    axes.set_ylim(count, 0)
    axes.grid(False)
    axes.tick_params(length=0)
    size = min(10.5, 3.0 * 72 / count * 0.32)
    if size >= 5:
        for i in range(count):
            for j in range(count):
                value = cosines[i, j]
                dark = math.isfinite(value) and abs(value) > 0.6
                text = f'{round(value, 2) + 0.0:.2f}'.replace('-', '−') if math.isfinite(value) else '–'
                axes.text(
                    j + 0.5,
                    i + 0.5,
                    text,
                    ha='center',
                    va='center',
                    fontsize=size,
                    color='#fefefe' if dark else '#111111' if math.isfinite(value) else INK,
                )
    bar = picture.figure.colorbar(mesh, ax=axes, fraction=0.05, pad=0.03, ticks=[-1, -0.5, 0, 0.5, 1])
    bar.set_label('cosine (dimensionless)')
    bar.outline.set_visible(False)
    axes.set_xlabel(f'task, numbered as on the left; {named_n(results)}')
    return picture


ARITHMETIC_SHOWN = 24


def arithmetic_rows(results):
    return [row for row in results.table('/tasks/arithmetic') if isinstance(row.get('accuracy'), float)]


def arithmetic_label(row, length=58):
    """'on sst2: sst2:+1 agnews:-1', with every name shortened alike where the whole is too long."""
    task, weights = str(row.get('task', '')), [
        part.rpartition(':') for part in str(row.get('weights', '')).split()
    ]
    for name_length in (200, 24, 18, 14, 11, 8, 6):
        text = f'on {shortened(task, name_length)}: ' + ' '.join(
            shortened(name, name_length) + colon + weight for name, colon, weight in weights
        )
        if len(text) <= length:
            return text
    return shortened(text, length)


def task_arithmetic(results):
    """Accuracy of sums and differences of tasks, against the start's."""
    rows = arithmetic_rows(results)
    if not any(math.isfinite(row['accuracy']) for row in rows):
        return None
    left_out, rows = max(0, len(rows) - ARITHMETIC_SHOWN), rows[:ARITHMETIC_SHOWN]
    picture = Picture(
        'task_arithmetic',
        'Task arithmetic',
        'Accuracy on a task after adding the weighted changes of '
        'the parameters; the line across a bar is the accuracy at the start.'
        + (f' The first {len(rows)} of {len(rows) + left_out}; the table holds all.' if left_out else ''),
        (0.6 + 0.44 * len(rows),),
    )
    axes = picture.axes[0]
    for y, row in enumerate(rows):
        if math.isfinite(row['accuracy']):
            axes.barh(y + 0.2, row['accuracy'], height=0.32, color=SKY)
            axes.text(1.02, y + 0.2, f"{row['accuracy']:.3f}", va='center', ha='left', fontsize=9.5)
        base = row.get('base_accuracy', math.nan)
        if isinstance(base, float) and math.isfinite(base):
            axes.plot(
                [base, base], [y - 0.02, y + 0.42], color=VERMILLION, linewidth=2.6, solid_capstyle='butt'
            )
        axes.text(0.004, y - 0.17, literal(arithmetic_label(row)), va='center', fontsize=9)
    axes.set_ylim(len(rows) - 0.35, -0.5)
    axes.set_xlim(0, 1)
    axes.set_yticks([])
    axes.grid(axis='y', visible=False)
    axes.spines['left'].set_visible(False)
    picture.legend(
        Patch(facecolor=SKY, label='after the change'),
        Line2D([], [], color=VERMILLION, linewidth=2.6, label='at the start'),
    )
    axes.set_xlabel(f'accuracy (dimensionless), {named_n(results)}')
    return picture


def neighbours(results):
    """Local kernel regression on the k nearest training examples against the global one."""
    sizes = results.array('/neighbours/sizes', 1)
    if sizes is None:
        return None
    order = np.argsort(sizes)
    panels = []
    for name, label, colour, marker in (
        ('accuracy', 'accuracy\n(dimensionless)', BLUE, 'o'),
        ('mse', 'test error\n(MSE, label units²)', GREEN, '^'),
    ):
        values = results.array(f'/neighbours/{name}', 1, len(sizes))
        if values is not None and np.isfinite(values).any():
            panels.append(
                (values[order], results.number('/neighbours', f'global_{name}'), label, colour, marker)
            )
    if not panels:
        return None
    picture = Picture(
        'neighbours',
        f'Neighbourhoods ({named_n(results)})',
        (
            'Kernel regression on the k training '
            'examples nearest to each test example (marks), against the one on all of them (dashed).'
        ),
        (2.3, 1.9)[: len(panels)],
    )
    for axes, (values, overall, label, colour, marker) in zip(picture.axes, panels):
        axes.plot(sizes[order], values, color=colour, marker=marker, markersize=5.5)
        if math.isfinite(overall):
            axes.axhline(overall, color=VERMILLION, linestyle='--')
        axes.set_ylabel(label)
    picture.legend(
        Line2D([], [], color=INK, marker='o', label='local, k nearest'),
        Line2D([], [], color=VERMILLION, linestyle='--', label='global'),
    )
    size_axis(picture.axes[-1], sizes)
    picture.axes[-1].set_xlabel(f'neighbours k (examples), {named_n(results)}')
    picture.figure.align_ylabels(picture.axes)
    return picture


ALL = (
    exponents,
    spectrum,
    exponent_by_size,
    stopping,
    alignment,
    functionals,
    learning_curve,
    learning_curve_accuracy,
    task_cosines,
    task_arithmetic,
    neighbours,
)
NAMES = (
    'exponents',
    'spectrum',
    'decay_by_size',
    'stopping',
    'alignment',
    'functionals',
    'learning_curve',
    'learning_curve_accuracy',
    'task_cosines',
    'task_arithmetic',
    'neighbours',
)


def draw_all(results):
    """Every picture that the file has the numbers for, by name; drawn, placed and ready to be kept."""
    pictures = {}
    for draw in ALL:
        picture = draw(results)
        if picture is not None:
            picture.finish()
            pictures[picture.name] = picture
    return pictures
