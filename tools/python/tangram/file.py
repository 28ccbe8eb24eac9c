"""An output file as Python objects."""
import numpy as np

from .results import Results

try:
    import pandas
except ImportError:  # tables are dictionaries of arrays
    pandas = None


def open(path):
    """An output file of tangram, open for reading: its small parts are read when they are asked for, matrices
    stay in the file. Raises Unreadable, with what is wrong, for a file that is missing, torn or not tangram's."""
    return File(path)


def _table(columns):
    return pandas.DataFrame(columns) if pandas else columns


class File:
    """What an output file says. Whatever the file does not hold is None. Also a context manager."""

    def __init__(self, path):
        self.results = Results(str(path))
        self.path = self.results.path

    def close(self):
        self.results.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f'tangram.open({self.path!r})'

    def __getitem__(self, path):
        """A group or data set of the file as h5py has it."""
        return self.results.file[path]

    def _attributes(self, path):
        """Attributes of a group as Python's numbers and texts; None where there is no such group."""
        if not self.results.has(path):
            return None
        hidden = ('description', 'units', 'inputs', 'basis')
        return {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in self.results.attributes(path).items()
            if name not in hidden
        }

    def _rows(self, path):
        """A table of the file; None where there is none."""
        rows = self.results.table(path)
        return _table({name: [row[name] for row in rows] for name in rows[0]}) if rows else None

    @property
    def study(self):
        """The study in full, as TOML text."""
        return self.results.study_text()

    @property
    def summary(self):
        """What the program printed, as text."""
        lines = self.results.file.get('/rates/summary')
        return None if lines is None else '\n'.join(lines.asstr()[:])

    @property
    def warnings(self):
        """(stage, text) of every warning of the runs that made the file."""
        return [(row['stage'], row['text']) for row in self.results.table('/warnings')]

    @property
    def spectrum(self):
        """Eigenvalues of the Gram matrix G (not divided by n), largest first."""
        return self.results.array('/spectrum/eigenvalues', 1)

    @property
    def gram(self):
        """The Gram matrix, in the file: gram[:100, :100] reads a block, gram[:] all of it."""
        return self.results.file.get('/kernel/gram')

    @property
    def cross(self):
        """The kernel of test rows with training rows, in the file."""
        return self.results.file.get('/kernel/cross')

    @property
    def decay(self):
        """How the eigenvalues of G/n decay: the selected family, its window and noise floor, and every family's
        parameters with their intervals as dictionaries of their own."""
        found = self._attributes('/rates/decay')
        if found is not None:
            for family in ('polynomial', 'exponential', 'finite_rank'):
                found[family] = self._attributes(f'/rates/decay/{family}')
        return found

    @property
    def stopping(self):
        """When to stop: T (`stopping_step`), what it rests on, and what other rules say."""
        return self._attributes('/rates/stopping')

    @property
    def stopping_path(self):
        """The path of gradient descent, a row per recorded step."""
        step = self.results.array('/rates/stopping/step', 1)
        if step is None:
            return None
        names = self.results.names('/rates/stopping')
        columns = {name: self.results.array(f'/rates/stopping/{name}', 1, len(step)) for name in ['step', *names]}
        return _table({name: values for name, values in columns.items() if values is not None})

    @property
    def finetune(self):
        """What training the network showed beside its linearised model: the gap between them at T, their best steps,
        and the sentence that was printed."""
        return self._attributes('/finetune')

    @property
    def finetune_path(self):
        """Loss and accuracy of the network and of the linearised model (linear_), a row per recorded step."""
        return self._rows('/finetune/path')

    @property
    def exponents(self):
        """Exponents x of an error that falls like n^-x, a row per source, with 95 % intervals and notes."""
        return self._rows('/rates/exponents')

    @property
    def learning_curve(self):
        """Errors by sample size, a row per size and repeat."""
        group = '/rates/learning_curve'
        sizes = self.results.array(f'{group}/sizes', 1)
        if sizes is None:
            return None
        values = {
            name: self.results.array(f'{group}/{name}', 2, len(sizes))
            for name in self.results.names(group)
            if name != 'sizes'
        }
        values = {name: v for name, v in values.items() if v is not None}
        repeats = max((v.shape[1] for v in values.values()), default=1)
        columns = {
            'size': np.repeat(sizes.astype(int), repeats),
            'repeat': np.tile(np.arange(1, repeats + 1), len(sizes)),
        }
        columns.update((name, v.reshape(-1)) for name, v in values.items() if v.shape[1] == repeats)
        return _table(columns)

    @property
    def runs(self):
        """The runs of a merged file, a row each."""
        return self._rows('/runs')
