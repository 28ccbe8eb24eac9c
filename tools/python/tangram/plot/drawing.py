"""The pictures' style: colours that colour-blind people can tell apart (Okabe and Ito 2008), sizes that can
be read at a phone's width, legends below the axes, and the two ways a picture is kept (PNG and SVG)."""
import io
import logging
import math
import re
import warnings

logging.getLogger('matplotlib').setLevel(logging.ERROR)
import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

# Ink and paper are replaced by the page's own colours where a picture stands in the report.
INK, PAPER, GREY, FAINT = '#222222', '#ffffff', '#777777', '#dddddd'
BLUE, SKY, GREEN, ORANGE, VERMILLION, PURPLE = (
    '#0072b2',
    '#56b4e9',
    '#009e73',
    '#e69f00',
    '#d55e00',
    '#cc79a7',
)
PAGE_COLOURS = {
    INK: 'ink',
    PAPER: 'paper',
    GREY: 'grey',
    FAINT: 'faint',
    BLUE: 'blue',
    SKY: 'sky',
    GREEN: 'green',
    ORANGE: 'orange',
    VERMILLION: 'vermillion',
    PURPLE: 'purple',
}
WIDTH = 4.8  # inches; 358 points of a phone's screen, so that 10 point letters are 10 of its points high


width_of_pictures = [WIDTH]


def set_style(width=WIDTH):
    """matplotlib's own defaults, whatever the user's matplotlibrc says, and then these. width: of the pictures,
    in inches."""
    width_of_pictures[0] = width
    warnings.filterwarnings(
        'ignore'
    )  # of letters that the font lacks, and of limits widened for a single value
    matplotlib.rcdefaults()
    matplotlib.use('Agg')
    matplotlib.rcParams.update(
        {
            'font.size': 10,
            'axes.labelsize': 10.5,
            'xtick.labelsize': 10,
            'ytick.labelsize': 10,
            'legend.fontsize': 9.5,
            'axes.spines.top': False,
            'axes.spines.right': False,
            'axes.edgecolor': INK,
            'axes.labelcolor': INK,
            'xtick.color': INK,
            'ytick.color': INK,
            'text.color': INK,
            'axes.facecolor': PAPER,
            'figure.facecolor': PAPER,
            'savefig.facecolor': PAPER,
            'axes.grid': True,
            'grid.color': FAINT,
            'grid.linewidth': 0.6,
            'axes.axisbelow': True,
            'lines.linewidth': 1.7,
            'lines.markersize': 5,
            'legend.frameon': False,
            'legend.handlelength': 2.6,
            'svg.fonttype': 'none',  # text stays text: it can be searched, and changed in a drawing program
            'path.simplify': True,
            'axes.unicode_minus': True,
        }
    )


# What a mark means is the same in every picture: what was observed is filled and solid, what a theory predicts
# hollow and dashed, what is a bound an arrow that points to where the quantity may be.
def observed_style(colour, marker='o'):
    return dict(color=colour, marker=marker, linestyle='-', markerfacecolor=colour)


def predicted_style(colour, marker='D'):
    return dict(color=colour, marker=marker, linestyle='--', markerfacecolor=PAPER, markeredgewidth=1.4)


def literal(text):
    """Text from the file, in which no character is a command to matplotlib."""
    return text.replace('\\', '\\\\').replace('$', r'\$') if '$' in text else text


# What stays in one piece where a text is broken: formulas between dollars, 'n = 512', intervals.
PIECE = re.compile(r'(?:\\\$|\$(?:\\.|[^$\\])*\$|\[[^\]]*\]\S*| = |[^\s])+')


def broken(label, room, renderer):
    """The text of a label with its line breaks set anew, so that it takes no more than `room` dots along itself."""
    whole = label.get_text()

    def fits(text):
        label.set_text(text)
        box = label.get_window_extent(renderer)
        return (box.height if label.get_rotation() == 90 else box.width) <= room

    lines = []
    for word in [] if fits(whole) else PIECE.findall(whole):
        if lines and fits(f'{lines[-1]} {word}'):
            lines[-1] += ' ' + word
        else:
            lines.append(word)
    label.set_text(whole)
    return '\n'.join(lines) or whole


class Picture:
    """A figure with one or more panels above each other, its legend below them."""

    def __init__(self, name, title, caption, heights=(3.1,), share=True, width=None):
        self.name, self.title, self.caption = name, title, caption
        width = width or width_of_pictures[0]
        self.figure, axes = plt.subplots(
            len(heights),
            1,
            figsize=(width, sum(heights) + 0.5),
            sharex=share,
            squeeze=False,
            gridspec_kw={'height_ratios': heights},
        )
        self.axes = list(axes[:, 0])
        self.handles, self.kept_svg = [], {}

    def legend(self, *handles):
        self.handles += [h for h in handles if h is not None]

    def finish(self):
        """Places the legend under the axes, which keep their height."""
        figure = self.figure
        width, height = figure.get_size_inches()
        below = 0.0
        if self.handles:
            below = self._place_legend() / figure.dpi
            figure.set_size_inches(width, height + below)
        # Axes of another size may have other ticks, whose numbers are longer.
        for settled in (False, True, True):
            figure.tight_layout(rect=(0, below / (height + below), 1, 1), pad=0.4, h_pad=0.7)
            if not self._break_long_labels() and settled:
                break

    def _place_legend(self):
        """In two columns where they fit, else in one, whose texts are broken where they do not. Returns its height in
        dots."""
        renderer, room = self.figure.canvas.get_renderer(), self.figure.bbox.width - 4
        labels = [h.get_label() for h in self.handles]

        def place(columns):
            legend = self.figure.legend(
                self.handles,
                labels,
                loc='lower center',
                ncol=columns,
                columnspacing=1.2,
                bbox_to_anchor=(0.5, 0.0),
                borderaxespad=0.2,
                borderpad=0.1,
            )
            return legend, legend.get_window_extent(renderer)

        legend, box = place(2)
        if box.width > room:
            legend.remove()
            legend, box = place(1)
        if box.width > room:
            texts = legend.get_texts()
            beside = box.width - max(text.get_window_extent(renderer).width for text in texts)
            labels = [broken(text, room - beside, renderer) for text in texts]
            legend.remove()
            legend, box = place(1)
        return box.height

    def _break_long_labels(self):
        """Breaks the axes' labels that do not fit into the picture."""
        changed = False
        renderer = self.figure.canvas.get_renderer()
        for axes in self.figure.axes:
            for label, vertical in ((axes.xaxis.label, False), (axes.yaxis.label, True)):
                box, text = label.get_window_extent(renderer), label.get_text()
                low, high = (box.y0, box.y1) if vertical else (box.x0, box.x1)
                end = self.figure.bbox.height if vertical else self.figure.bbox.width
                if text and (low < 2 or high > end - 2):
                    middle = (low + high) / 2
                    label.set_text(broken(label, 2 * (min(middle, end - middle) - 2), renderer))
                    changed |= label.get_text() != text
        return changed

    def png(self, dpi=200):
        data = io.BytesIO()
        self.figure.savefig(
            data, format='png', dpi=dpi, metadata={'Title': self.title, 'Software': 'tangram'}
        )
        return data.getvalue()

    def pdf(self):
        data = io.BytesIO()
        self.figure.savefig(data, format='pdf', metadata={'Title': self.title, 'CreationDate': None})
        return data.getvalue()

    def svg(self, text='none'):
        """text: 'none' leaves it text, 'path' draws its letters, which then look alike everywhere."""
        if text not in self.kept_svg:
            data = io.BytesIO()
            with matplotlib.rc_context({'svg.hashsalt': self.name, 'svg.fonttype': text}):
                self.figure.savefig(data, format='svg', metadata={'Date': None, 'Title': self.title})
            self.kept_svg[text] = data.getvalue().decode('utf-8')
        return self.kept_svg[text]

    def close(self):
        plt.close(self.figure)


def inline_svg(svg, name, title):
    """An SVG picture as an element of a page: names of its own, the page's colours, nothing read from
    elsewhere."""
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<!--.*?-->|<metadata>.*?</metadata>|<title>.*?</title>', '', svg, flags=re.DOTALL)
    head, rest = svg.split('>', 1)
    box = re.search(r'viewBox="([^"]*)"', head).group(1)
    rest = re.sub(r'\bid="', f'id="{name}-', rest)
    rest = re.sub(r'xlink:href="#', f'href="#{name}-', rest)
    rest = re.sub(r'url\(#', f'url(#{name}-', rest)
    for colour, variable in PAGE_COLOURS.items():
        rest = re.sub(re.escape(colour), f'var(--{variable})', rest, flags=re.IGNORECASE)
    return f'<svg viewBox="{box}" role="img" aria-label="{title}">' + re.sub(r'\n+', '\n', rest).strip()


# ---- axes ------------------------------------------------------------------------------------------------


def _power(value, _=None):
    """A tick of a logarithmic axis: 0.01, 1, 100 as they are, 10⁻⁵ beyond."""
    if value <= 0:
        return ''
    exponent = math.log10(value)
    if abs(exponent - round(exponent)) > 1e-6:
        return f'{value:g}'
    return f'{value:g}' if -3 <= round(exponent) <= 3 else rf'$10^{{{round(exponent)}}}$'


def logarithmic(axis, values, room=0.04):
    """A logarithmic axis over the positive of `values`, with at least two numbers written on it; straight
    where no value is positive. room: at each end, as a share of what they span. Returns whether it is logarithmic."""
    values = (
        np.concatenate([np.asarray(v, dtype=float).reshape(-1) for v in values])
        if len(values)
        else np.array([])
    )
    values = values[np.isfinite(values) & (values > 1e-150) & (values < 1e150)]
    if not values.size:
        return False
    low, high = values.min(), values.max()
    margin = max((high / low) ** room, 1.06)
    low, high = low / margin, high * margin
    axes = axis.axes
    (axes.set_xscale if axis.axis_name == 'x' else axes.set_yscale)('log')
    (axes.set_xlim if axis.axis_name == 'x' else axes.set_ylim)(low, high)
    decades = math.log10(high / low)
    axis.set_minor_formatter(NullFormatter())
    if decades < 1.7:
        axis.set_major_locator(
            LogLocator(10, subs=(1, 2, 5) if decades > 0.5 else (1, 1.5, 2, 3, 4, 5, 6, 8))
        )
        if decades <= 0.2:
            axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:.4g}'))
    else:
        axis.set_major_locator(LogLocator(10, numticks=7))
        axis.set_major_formatter(FuncFormatter(_power))
    return True


def logarithmic_from_zero(axis, values):
    """A logarithmic axis that has a zero: straight up to the decade of the least positive of `values`."""
    values = np.concatenate([np.asarray(v, dtype=float).reshape(-1) for v in values])
    values = values[np.isfinite(values) & (values > 0) & (values < 1e150)]
    low, high = (values.min(), values.max()) if values.size else (1.0, 1.0)
    first = math.floor(math.log10(low))
    decades = max(1, math.ceil(math.log10(high)) - first)
    axes, every = axis.axes, max(1, math.ceil(decades / 6))
    setting = dict(linthresh=10.0**first, linscale=0.35)
    (axes.set_xscale if axis.axis_name == 'x' else axes.set_yscale)('symlog', **setting)
    of_decade = (1, 2, 5) if decades < 3 else (1,)
    ticks = [m * 10.0**k for k in range(first, first + decades + 1, every) for m in of_decade]
    axis.set_ticks([0.0] + [tick for tick in ticks if tick <= high * 1.1])
    axis.set_major_formatter(FuncFormatter(lambda value, _: '0' if value == 0 else _power(value)))
    axis.set_minor_locator(matplotlib.ticker.NullLocator())
    limits = -0.12 * 10.0**first, max(high, 10.0**first) * 10 ** (0.04 * decades)
    (axes.set_xlim if axis.axis_name == 'x' else axes.set_ylim)(*limits)


def size_axis(axes, sizes):
    """A logarithmic axis of sample sizes with the sizes themselves written on it, as many as there is room
    for."""
    sizes = np.asarray(sizes, dtype=float)
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    if not logarithmic(axes.xaxis, [sizes], room=0.07):  # for bars that stand beside each other
        return
    span = math.log(sizes.max() / sizes.min()) or 1.0
    kept = []
    for size in sorted(set(sizes), reverse=True):
        if all(abs(math.log(size / other)) / span >= 0.125 for other in kept):
            kept.append(size)
    axes.set_xticks(kept)
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f'{value:g}' if value < 1e6 else f'{value:.0e}')
    )
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())


def step_axis(axes, last):
    """Steps of gradient descent, 0 included: straight up to 1, logarithmic beyond."""
    axes.set_xscale('symlog', linthresh=1, linscale=0.35)
    decades = max(1, math.ceil(math.log10(max(last, 10))))
    every = max(1, math.ceil(decades / 6))
    axes.set_xticks([0.0] + [10.0**k for k in range(0, decades + 1, every)])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: '0' if value == 0 else _power(value)))
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.set_xlim(-0.12, max(last, 10) * (max(last, 10) ** 0.03))


def thinned(count, limit=400):
    """Indices of at most about `limit` of `count` entries, the first ones all, then ever fewer."""
    if count <= limit:
        return np.arange(count)
    return np.unique(
        np.concatenate([np.arange(limit // 4), np.geomspace(limit // 4, count, limit).astype(int) - 1])
    )
