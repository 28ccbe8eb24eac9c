"""What the benchmarks report: ratios of two measurements of one run, with their targets."""
import dataclasses
import math
import statistics


@dataclasses.dataclass(frozen=True)
class Target:
    text: str
    low: float = -math.inf
    high: float = math.inf


def at_least(number):
    return Target(f'>= {number:g}', low=number)


def at_most(number):
    return Target(f'<= {number:g}', high=number)


def within(part):
    return Target(f'1 +- {part:g}', 1 - part, 1 + part)


@dataclasses.dataclass
class Figure:
    name: str
    unit: str
    target: Target = None
    numerators: list = dataclasses.field(default_factory=list)
    denominators: list = dataclasses.field(default_factory=list)

    def ratios(self):
        """Of the repeats in which both were measured."""
        return [a / b for a, b in zip(self.numerators, self.denominators) if a is not None and b]

    def complete(self):
        return len(self.ratios()) == len(self.numerators)

    def verdict(self):
        if not self.complete():
            return 'n/a'
        if self.target is None:
            return ''
        return 'met' if self.target.low <= statistics.median(self.ratios()) <= self.target.high else 'missed'

    def cells(self):
        target = self.target.text if self.target else ''
        if not self.complete():
            return [self.name, 'n/a', '', target, '', '']
        ratios = self.ratios()
        measured = ' / '.join(
            f'{statistics.median(values):.4g}' for values in (self.numerators, self.denominators)
        )
        return [
            self.name,
            f'{statistics.median(ratios):.3g}',
            f'{min(ratios):.3g} - {max(ratios):.3g}' if len(ratios) > 1 else '',
            target,
            self.verdict(),
            f'{measured} {self.unit}',
        ]

    def plain(self):
        """As JSON holds it; None where something was not measured."""
        value = dataclasses.asdict(self)
        value['target'] = self.target.text if self.target else None
        value['ratios'] = self.ratios()
        value['median'] = statistics.median(self.ratios()) if self.complete() else None
        value['verdict'] = self.verdict()
        return value


def finite(value):
    """None where there is no number: a figure with one such measurement is n/a, never met."""
    return float(value) if value is not None and math.isfinite(value) else None


class Report:
    """The figures of one benchmark, in the order in which they came."""

    HEADINGS = ['figure', 'median', 'min - max', 'target', '', 'measured (medians)']

    def __init__(self):
        self.figures = {}
        self.remarks = []

    def add(self, name, numerator, denominator, unit, target=None):
        """One repeat of a figure; None where something was not measured."""
        figure = self.figures.setdefault(name, Figure(name, unit, target))
        figure.numerators.append(finite(numerator))
        figure.denominators.append(finite(denominator))

    def remark(self, text):
        if text not in self.remarks:
            self.remarks.append(text)

    def text(self):
        rows = [self.HEADINGS] + [figure.cells() for figure in self.figures.values()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self.HEADINGS))]
        lines = ['  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        return '\n'.join((lines if self.figures else []) + self.remarks)

    def plain(self):
        return {'figures': [figure.plain() for figure in self.figures.values()], 'remarks': self.remarks}
