"""Reading an output file: every group, data set and attribute may be absent, NaN or infinite; a file that
HDF5 cannot read is one error with the file's name."""
import math
import os

# A finished output file is never written to: no lock is needed, and some cluster file systems know none.
os.environ.setdefault('HDF5_USE_FILE_LOCKING', 'FALSE')
import h5py
import numpy as np

try:
    import tomllib
except ImportError:  # Python before 3.11: the study is shown, but not taken apart
    tomllib = None


# What h5py raises on damaged bytes: UnicodeDecodeError is a ValueError.
DAMAGE = (OSError, RuntimeError, ValueError, TypeError, KeyError, MemoryError, OverflowError)


class Unreadable(Exception):
    """The file is missing, torn, not HDF5 or not tangram's."""


def plain_text(value):
    """Text as one line of printable characters, whatever the file holds."""
    if isinstance(value, (bytes, np.bytes_)):
        value = bytes(value).decode('utf-8', 'replace')
    text = str(value).encode('utf-8', 'replace').decode('utf-8')
    return ' '.join(''.join(c if c.isprintable() else ' ' for c in text).split())


class Results:
    """An output file of tangram, open for reading."""

    def __init__(self, path):
        self.path = path
        if not os.path.exists(path):
            raise Unreadable(f'{path}: no such file; check the path')
        if os.path.isdir(path):
            raise Unreadable(f'{path}: is a folder, not an output file of tangram')
        try:
            with open(path, 'rb'):
                pass
        except OSError as error:
            raise Unreadable(f'{path}: cannot be opened ({error.strerror})') from None
        try:
            if not h5py.is_hdf5(path):
                raise Unreadable(
                    f'{path}: is not an HDF5 file, or was cut off before its first bytes were written'
                )
            self.file = h5py.File(path, 'r')
        except (OSError, RuntimeError) as error:
            raise self._torn(error) from None
        self.attribute_cache = {}
        if 'schema_version' not in self.attributes('/'):
            raise Unreadable(f'{path}: not an output file of tangram: no schema_version')
        self.sections = self._study()

    def close(self):
        self.file.close()

    def _torn(self, error):
        return Unreadable(
            f'{self.path}: cannot be read, it is torn or damaged ({plain_text(error)[:200]}); '
            'run the study again'
        )

    # ---- the file's parts, None where they are absent -----------------------------------------------------

    def _object(self, path):
        try:
            return self.file.get(path)
        except KeyError:
            return None
        except DAMAGE as error:
            raise self._torn(error) from None

    def has(self, path):
        return self._object(path) is not None

    def attributes(self, path):
        """The attributes of a group as a dictionary; empty where there is no such group."""
        if path not in self.attribute_cache:
            thing = self._object(path)
            try:
                values = (
                    {}
                    if thing is None
                    else {name: thing.attrs[name] for name in thing.attrs if isinstance(name, str)}
                )
            except DAMAGE as error:
                raise self._torn(error) from None
            self.attribute_cache[path] = values
        return self.attribute_cache[path]

    def number(self, path, name):
        """An attribute as a float; NaN where it is absent or no number."""
        value = self.attributes(path).get(name)
        try:
            return float(np.asarray(value, dtype=float).reshape(-1)[0])
        except (TypeError, ValueError, IndexError):
            return math.nan

    def interval(self, path, name):
        """(value, low, high) of an attribute with its _low and _high."""
        return tuple(self.number(path, name + end) for end in ('', '_low', '_high'))

    def text(self, path, name):
        """An attribute as one line of text; empty where it is absent."""
        return ', '.join(self.texts(path, name))

    def texts(self, path, name):
        value = self.attributes(path).get(name)
        if value is None or isinstance(value, h5py.Empty):
            return []
        if isinstance(value, np.ndarray):
            return [plain_text(v) for v in value.reshape(-1)]
        return [plain_text(value)]

    def array(self, path, dimensions=None, length=None):
        """A numeric data set as float64; None where it is absent, empty or of another shape. What no picture
        can hold (beyond 1e150) is infinite."""
        thing = self._object(path)
        try:
            if (
                not isinstance(thing, h5py.Dataset)
                or not thing.shape
                or thing.dtype.kind not in 'fiub'
                or thing.size == 0
            ):
                return None
            if (dimensions is not None and thing.ndim != dimensions) or (
                length is not None and thing.shape[0] != length
            ):
                return None
            values = thing[()].astype(float)
        except DAMAGE as error:
            raise self._torn(error) from None
        return np.where(np.abs(values) > 1e150, np.copysign(np.inf, values), values)

    def shape(self, path):
        thing = self._object(path)
        try:
            return thing.shape if isinstance(thing, h5py.Dataset) else None
        except DAMAGE as error:
            raise self._torn(error) from None

    def names(self, path):
        """Names in a group, in alphabetical order; none where there is no such group."""
        thing = self._object(path)
        try:
            return sorted(thing) if isinstance(thing, h5py.Group) else []
        except DAMAGE as error:
            raise self._torn(error) from None

    def table(self, path):
        """The rows of a compound data set as dictionaries of text and floats."""
        thing = self._object(path)
        try:
            if not isinstance(thing, h5py.Dataset) or not thing.dtype.names:
                return []
            rows, kinds = np.atleast_1d(thing[()]).reshape(-1), thing.dtype
            return [
                {
                    name: float(row[name]) if kinds[name].kind in 'fiub' else plain_text(row[name])
                    for name in kinds.names
                }
                for row in rows
            ]
        except DAMAGE as error:
            raise self._torn(error) from None

    # ---- the study ----------------------------------------------------------------------------------------

    def study_text(self):
        value = self.attributes('/provenance').get('study')
        if value is None or isinstance(value, h5py.Empty):
            return ''
        if isinstance(value, bytes):
            value = value.decode('utf-8', 'replace')
        return str(value).encode('utf-8', 'replace').decode('utf-8')

    def _study(self):
        try:
            return tomllib.loads(self.study_text()) if tomllib else {}
        except ValueError:
            return {}

    def study(self, section, key):
        """A key of the study, None where the file holds none."""
        part = self.sections.get(section)
        return part.get(key) if isinstance(part, dict) else None

    def study_keys(self):
        """Every key of the study by its full name, 'data.samples'."""
        return {
            f'{section}.{key}': value
            for section, keys in self.sections.items()
            if isinstance(keys, dict)
            for key, value in keys.items()
        }

    def formula(self):
        """The first formula, whose kernel stands in /kernel."""
        formulas = self.study('kernel', 'formula')
        return str(formulas[0]) if isinstance(formulas, list) and formulas else 'sgd'

    # ---- sizes and scales ---------------------------------------------------------------------------------

    def examples(self, part='train'):
        """Number of training (or test) examples; 0 where the file does not say."""
        shape = self.shape(f'/data/{part}/offsets')
        if shape:
            return int(shape[0]) - 1
        shape = self.shape('/kernel/outputs_' + part)
        if shape:
            return int(shape[0])
        if part == 'test':
            value = self.number('/rates/learning_curve', 'test_examples')
            return int(value) if math.isfinite(value) else 0
        return self.rows()

    def rows(self):
        """N, the rows of the kernel; 0 where the file does not say. Of the largest eigenvalues alone, without matrices,
        N is told by the outputs."""
        for path, axis in (('/kernel/gram', 0), ('/spectrum/eigenvectors', 1), ('/kernel/cross', 1)):
            shape = self.shape(path)
            if shape and len(shape) > axis:
                return int(shape[axis])
        outputs, output = self.shape('/kernel/outputs_train'), self.text('/kernel', 'output')
        if outputs and len(outputs) == 2 and output and ',' not in output:
            return int(outputs[0] * (outputs[1] if output == 'logits' else 1))
        for path in ('/spectrum/eigenvalues', '/rates/alignment/residual'):
            shape = self.shape(path)
            if shape:
                return int(shape[0])
        return 0

    def eigenvalues(self):
        """Eigenvalues of G/n (n the rows of the kernel), largest first."""
        w = self.array('/spectrum/eigenvalues', 1)
        return None if w is None else w / max(self.rows(), len(w))

    def noise_floor(self):
        """In the scale of G/n; NaN where the file does not say."""
        value = self.number('/rates/decay', 'noise_floor')
        if math.isfinite(value):
            return value
        return self.number('/spectrum/quality', 'noise_floor') / max(self.rows(), 1)

    def sketched(self):
        total = self.number('/kernel', 'sketch_dimension')
        if math.isfinite(total):
            return total > 0
        dimension = self.study('kernel', 'sketch')
        return self.number('/rates', 'sketched') > 0 or (isinstance(dimension, int) and dimension > 0)


def mean_and_spread(values):
    """Mean and standard deviation over repeats, NaN entries left out: two arrays of one entry per size."""
    values = np.asarray(values, dtype=float)
    values = np.where(np.isfinite(values), values, np.nan)
    count = np.isfinite(values).sum(axis=1)
    total = np.nansum(values, axis=1)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    square = np.nansum((values - mean[:, None]) ** 2, axis=1)
    spread = np.where(count > 1, np.sqrt(square / np.maximum(count - 1, 1)), 0.0)
    return mean, np.where(spread > 1e-12 * np.abs(mean), spread, 0.0)  # equal but for rounding: no spread


def readable(value, digits=4, all_digits=False):
    """A number as people write it: 0.00183, 3.4·10⁻⁷, 12 345, ∞, or – where it is NaN; zeros at its end are
    kept only with `all_digits`."""
    if value is None or not isinstance(value, (int, float, np.integer, np.floating)) or math.isnan(value):
        return '–'
    if math.isinf(value):
        return '∞' if value > 0 else '−∞'
    if value == 0:
        return '0'
    if float(value).is_integer() and abs(value) < 1e7:
        text = f'{int(value):,}'.replace(',', '\u202f') if abs(value) >= 1e4 else str(int(value))
    elif 1e-3 <= abs(value) < 1e6:
        text = f'{value:#.{digits}g}'.rstrip('.') if all_digits else f'{value:.{digits}g}'
        if abs(value) >= 1e4:
            text = f'{value:,.0f}'.replace(',', '\u202f')
        elif 'e' in text:
            text = f'{value:.0f}'
    else:
        mantissa, exponent = f'{value:.{digits - 1}e}'.split('e')
        if '.' in mantissa:
            mantissa = mantissa.rstrip('0').rstrip('.')
        raised = str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))
        text = f'{mantissa}·10{raised}'
    return text.replace('-', '−')


def readable_interval(low, high, digits=3):
    if math.isnan(low) and math.isnan(high):
        return '(interval not known)'
    return f'[{readable(low, digits, True)}, {readable(high, digits, True)}]'


def shortened(text, length):
    """Text with its middle left out where it is longer than `length`."""
    if len(text) <= length:
        return text
    front = (length - 1) // 2
    return text[:front] + '…' + text[len(text) - (length - 1 - front) :]
