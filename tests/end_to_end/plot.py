#!/usr/bin/env python3
"""tools/plot on files of every kind: every picture and the report are there, none is blank, the page needs
nothing but itself and holds the file's numbers; a bad file gives the right status and one message and leaves
nothing.
usage: plot.py PROGRAM MPIEXEC RANKS TEST_DATA"""
import html.parser, os, re, subprocess, sys
import xml.etree.ElementTree as tree
from support import Folder, check, finish, run

try:
    import h5py, matplotlib, matplotlib.image, numpy as np
except ImportError as error:
    print(f'skipped: {error.name} is missing')
    sys.exit(77)

PLOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'tools', 'plot')
sys.path.insert(0, os.path.join(os.path.dirname(PLOT), 'python'))
import tangram
import tangram.plot.pictures
from tangram.plot import drawing
from tangram.plot.drawing import plt

TEXT = h5py.string_dtype()
INF, NAN = float('inf'), float('nan')


def plot(*arguments):
    p = subprocess.run(
        [sys.executable, PLOT, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    return p.returncode, p.stdout, p.stderr


def table(rows, **columns):
    result = np.zeros(
        len(rows), dtype=[(name, TEXT if kind is str else 'f8') for name, kind in columns.items()]
    )
    for k, row in enumerate(rows):
        result[k] = row
    return result


def attributes(file, path, **values):
    group = file.require_group(path)
    for name, value in values.items():
        group.attrs[name] = value


def write(path, n=96, decay='polynomial', stop=40.0, test=True, tasks=True, title='neo-mini'):
    """An output file with every group, its numbers made up."""
    rank, rng = np.arange(1, n + 1.0), np.random.default_rng(5)
    l = np.sort(50 * rank**-1.5)[::-1]
    l[-3:] = 2e-7, 1e-7, -1e-7
    with h5py.File(path, 'w') as f:
        f.attrs['schema_version'] = 1
        attributes(
            f,
            '/provenance',
            study=(
                f"[model]\npath = 'models/{title}'\n[data]\ntrain = 'reviews/train.tsv'\n#"
                " </pre><b>http://x.org"
            ),
            ranks=4,
            versions=np.array(['tangram 0.1.0', 'HDF5 1.10.8'], dtype=object),
            seconds_gram=12.5,
            peak_bytes_per_rank=np.array([3 << 20, 5 << 20]),
        )
        f['/data/train/offsets'] = np.arange(n + 1)
        f['/spectrum/eigenvalues'] = l * n
        attributes(f, '/spectrum/quality', solver='lapack', noise_floor=1e-6 * n, negative=1)
        attributes(f, '/rates', sentence='the error falls like n^-0.61: predicted 0.61, observed 0.4321')
        attributes(
            f,
            '/rates/decay',
            selected=decay,
            noise_floor=1e-6,
            first=2,
            last=20,
            reason='' if decay != 'none' else 'the spectrum is <flat>',
        )
        attributes(
            f,
            '/rates/decay/polynomial',
            exponent=1.5123,
            exponent_low=1.4012,
            exponent_high=1.6234,
            constant=50.0,
            criterion=-3.0,
        )
        attributes(
            f,
            '/rates/decay/exponential',
            constant=50.0,
            rate=0.5,
            rate_low=0.4,
            rate_high=0.6,
            power=0.7,
            criterion=-2.0,
        )
        attributes(f, '/rates/decay/finite_rank', rank=12.0, rank_low=10.0, rank_high=NAN, criterion=9.0)
        sizes = np.array([24, 48, n])
        f['/rates/decay/sizes'] = sizes
        a = rng.normal(1.5, 0.1, (3, 5))
        a[0] = NAN
        f['/rates/decay/exponent_by_size'] = a
        step = np.array([0, 1, 3, 10, 30, 40, 100, 300.0])
        falling = 1 / (1 + 0.1 * step)
        for name, values in dict(
            step=step,
            eta=step,
            bias2=falling**2,
            variance=step / 400,
            train_mse=falling,
            gcv=falling + 0.2,
            bound=np.where((step <= stop) & (stop > 0), 4 / np.maximum(step, 1e-300), NAN),
            ridge_train_mse=falling * 1.1,
        ).items():
            f['/rates/stopping/' + name] = values
        attributes(
            f,
            '/rates/stopping',
            stopping_step=stop,
            stopping_step_low=stop / 4,
            stopping_step_high=stop * 5,
            stopping_step_half_noise=stop * 2,
            stopping_step_double_noise=stop / 2,
            critical_radius=0.7,
            noise=0.5,
            noise_source='given',
            discrepancy_step=17.0,
            gcv_step=INF,
            holdout_step=NAN,
            error_bound=5.0 if stop else NAN,
            error_bound_vacuous=1,
            error_bound_reason='' if stop else 'T = 0, nothing is learnt',
            ridge_twin=1 / stop if stop else INF,
        )
        f['/rates/stopping/epochs'] = table([(1, stop / n), (n, stop)], batch=float, epochs=float)
        f['/rates/alignment/residual'] = rng.normal(size=(n, 1))
        f['/rates/alignment/labels'] = rng.normal(size=(n, 1))
        f['/rates/learning_curve/sizes'] = sizes
        attributes(f, '/rates/learning_curve', base_rate=0.55)
        names = ['predicted_ridge', 'predicted_gradient_descent', 'gcv']
        if test:
            f['/data/test/offsets'] = np.arange(33)
            f['/rates/stopping/test_mse'] = falling + 0.3
            f['/rates/stopping/test_accuracy'] = np.array([16, 17, 20, 24, 26, 22, 24, 24]) / 32
            attributes(
                f,
                '/rates/stopping',
                model_test_mse=1.4,
                model_test_accuracy=0.5,
                learnt_mse=0.0748,
                learnt_mse_standard_error=0.0136,
                learnt_gained=19,
                learnt_lost=10,
                learnt_p_value=0.136,
            )
            names += ['mse_stop', 'mse_best', 'mse_ridge', 'mse_gcv_ridge', 'accuracy_stop', 'accuracy_best', 'accuracy_ridge']
            attributes(f, '/rates/stopping', best_step=100.0)
        for name in names:
            f['/rates/learning_curve/' + name] = rng.uniform(0.4, 0.9, (3, 5))
        said = decay != 'none'
        f['/rates/exponents'] = table(
            [
                ('decay', 0.6123 if said else NAN, 0.5912, 0.6347, 'a/(a+1)'),
                ('eigenlearning', 0.25, 0.2, 0.3, "of the best ridge's error above sigma^2 = 0.36 [0.2, 0.5]"),
                ('observed', 0.4321, 0.3987, 0.4655, 'A + B n^-x with A = 0.25 [0.2, 0.3], <script>alert(1)</script>'),
            ],
            source=str,
            value=float,
            low=float,
            high=float,
            note=str,
        )
        attributes(f, '/rates/source_capacity', noise=0.6)
        f['/rates/functionals/t'] = l[:20]
        f['/rates/functionals/effective_dimension'] = rank[:20]
        f['/rates/functionals/information_gain'] = rank[:20]
        attributes(f, '/rates/functionals', effective_rank=7.25, stable_rank=NAN)
        if tasks:
            attributes(
                f,
                '/tasks',
                names=np.array(['sst2', 'a task of a name that $is$ too long for a picture'], dtype=object),
            )
            f['/tasks/cosines'] = np.array([[1, NAN], [NAN, 1]])
            f['/tasks/norms'] = np.array([2.0, 3.0])
            f['/tasks/arithmetic'] = table(
                [('sst2:+1', 'sst2', 0.8, 0.5, 0.7), ('sst2:-1', 'sst2', NAN, 0.5, NAN)],
                weights=str,
                task=str,
                accuracy=float,
                base_accuracy=float,
                mse=float,
            )
            f['/neighbours/sizes'] = np.array([8, 16, 32])
            # Between numbers that stand closer in taller axes: 0.5, then 0.505.
            f['/neighbours/accuracy'] = np.array([0.5, 0.53125, NAN])
            f['/neighbours/mse'] = np.array([1.051, 1.0755, 1.0595])
            attributes(f, '/neighbours', global_accuracy=0.504, global_mse=1.0736)


class Reader(html.parser.HTMLParser):
    """Checks that elements close in order and collects the text and what a browser would fetch."""

    VOID = {'meta', 'br', 'img', 'link', 'hr', 'input'}

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.fetched, self.text, self.names, self.tags = [], [], [], [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == 'id':
                self.names.append(value)
            if name in (
                'src',
                'srcset',
                'href',
                'xlink:href',
                'data',
                'poster',
                'action',
            ) and not value.startswith(('#', 'data:')):
                self.fetched.append(value)
            if name == 'style' and re.search(r'url\((?!#)', value):
                self.fetched.append(value)
            if name.startswith('on'):
                self.fetched.append(name)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if 'style' not in self.open:
            self.text.append(data)
        elif '@import' in data or re.search(r'url\(|//', data):
            self.fetched.append('style')


def look(name, folder, expected, words=(), absent=()):
    """The folder holds exactly the expected pictures, none blank, and a page as it should be."""
    there = sorted(os.listdir(folder))
    check(
        f'{name}: the pictures',
        there == sorted([f'{p}.{e}' for p in expected for e in ('png', 'svg')] + ['report.html']),
        there,
    )
    for file in there:
        path = os.path.join(folder, file)
        if file.endswith('.png'):
            pixels = matplotlib.image.imread(path)[:, :, :3]
            check(
                f'{name}: {file} is not blank',
                pixels.shape[1] >= 600
                and pixels.std() > 0.02
                and len(np.unique(pixels @ [1, 300, 90000])) > 20,
                pixels.shape,
            )
            edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
            check(f'{name}: {file} has nothing cut at its edge', (edge > 0.99).all())
        if file.endswith('.svg'):
            check(f'{name}: {file} is XML', tree.parse(path).getroot().tag.endswith('svg'))
    page = open(os.path.join(folder, 'report.html'), encoding='utf-8').read()
    reader = Reader()
    reader.feed(page)
    reader.close()
    text = ' '.join(''.join(reader.text).split())
    check(
        f'{name}: the page closes what it opens',
        not reader.wrong and not reader.open,
        (reader.wrong, reader.open),
    )
    check(f'{name}: the page fetches nothing', not reader.fetched, reader.fetched)
    check(
        f'{name}: no name twice',
        len(set(reader.names)) == len(reader.names),
        [x for x in reader.names if reader.names.count(x) > 1][:5],
    )
    check(
        f'{name}: no script, no element of the file',
        not reader.tags & {'script', 'b', 'link', 'iframe', 'flat', 'img'},
        reader.tags,
    )
    check(f'{name}: made for phones', 'name="viewport"' in page)
    check(f'{name}: one picture in the page for each file', page.count('<svg') == len(expected))
    for word in words:
        check(f'{name}: says {word}', word in text, text[:2000])
    for word in absent:
        check(f'{name}: does not say {word}', not re.search(rf'\b{word}\b', text), text[:2000])


f = Folder()
spectrum = ['spectrum']
rates = spectrum + ['exponents', 'decay_by_size', 'stopping', 'alignment', 'functionals', 'learning_curve']
full = rates + ['excess_error', 'learning_curve_accuracy', 'task_cosines', 'task_arithmetic', 'neighbours']

write(f.at('full.h5'))
code, out, err = plot(f.at('full.h5'))
check('full: status 0 and silence', code == 0 and err == '', f'{code} {err}')
numbers = [
    '0.612',
    '[0.591, 0.635]',
    '0.432',
    '[0.399, 0.466]',
    '1.512',
    '[1.40, 1.62]',
    'neo-mini',
    'n = 96',
    '<script>alert(1)</script>',
    '7.25',
    'vacuous',
    '5 MiB',
    'n−0.61',
]
look('full', f.at('full-plots'), full, numbers, absent=('nan', 'None'))
check(
    'full: nothing beside the folder',
    not [x for x in os.listdir(f.path) if x.startswith('.')],
    os.listdir(f.path),
)

# At the width of a journal's column everything is there, and whole.
code, out, err = plot(f.at('full.h5'), '--output', f.at('narrow'), '--width', '3.3', '--dpi', '300')
look('3.3 inches', f.at('narrow'), full)
write(f.at('onset.h5'))
with h5py.File(f.at('onset.h5'), 'r+') as h:
    h['/rates/decay/polynomial'].attrs['onset'] = 36.6
drawing.set_style(3.3)
with tangram.open(f.at('onset.h5')) as file:
    for name, picture in tangram.plot.pictures.draw_all(file.results).items():
        ends = [box for legend in picture.figure.legends for box in legend.get_window_extent().intervalx]
        check(f'3.3 inches: the legend of {name} fits', all(0 <= x <= picture.figure.bbox.width for x in ends), ends)
        picture.close()
drawing.set_style()

# T with its interval where the path is drawn, and what the test set says of it.
page = ' '.join(re.sub(r'<svg.*?</svg>|<[^>]+>', ' ', open(f.at('full-plots/report.html')).read(), flags=re.DOTALL).split())
for words in ('40 [10, 200]', 'T 40 0.5 0.688 [0.514, 0.820]', 'step of most accuracy 30 0.55 0.812', 'falls by 0.0748 ± 0.027', '19 examples are named rightly that were not, 10 no more (p = 0.14'):
    check(f'full: the report says {words}', words in page, page[:9000])
for words in ('Error and accuracy need not be best at one step', 'best ridge are those of least error, not of most accuracy'):
    check(f'full: the report says {words}', words in page)
svg = open(f.at('full-plots/stopping.svg')).read()
for words in ('stopping step T = 40', '95 % interval of T [10, 200]', 'T at double and at half σ: 20, 80'):
    check(f'full: the picture of the path says {words}', words in svg)
figure, axes = plt.subplots()
tangram.plot.stopping(axes, tangram.open(f.at('full.h5')))
band = [patch.get_window_extent().transformed(axes.transData.inverted()) for patch in axes.patches]
check('stopping: the band is the interval', len(band) == 1 and np.allclose([band[0].x0, band[0].x1], [10, 200]), band)
plt.close(figure)

# The ridge that eigenlearning predicts is GCV's, and stands beside its prediction.
figure, axes = plt.subplots()
tangram.plot.learning_curve(axes, tangram.open(f.at('full.h5')))
colours = {text.get_text(): line.get_color() for text, line in zip(axes.get_legend().get_texts(), axes.get_legend().get_lines())}
for of, predicted in (('kernel ridge, GCV’s ridge', 'predicted, GCV’s ridge'), ('gradient descent at T', 'predicted, gradient descent at T')):
    check(f'learning curve: {of} and its prediction', of in colours and colours[of] == colours.get(predicted), colours)
plt.close(figure)
rows = re.findall(r'<th scope="row">([^<]*ridge)</th>', open(f.at('full-plots/report.html')).read())
check('learning curve: so in the report', rows == ['MSE, best ridge', 'MSE, GCV’s ridge', 'predicted, GCV’s ridge', 'accuracy, best ridge'], rows)

# The error above its limit: one limit for all that is drawn, and no picture where none was found.
def excess():
    figure, axes = plt.subplots()
    with tangram.open(f.at('limit.h5')) as file:
        try:
            tangram.plot.excess_error(axes, file)
        except ValueError:
            return None
    plt.close(figure)
    return axes, axes.get_legend_handles_labels()[1]


write(f.at('limit.h5'))
axes, named = excess()
with h5py.File(f.at('limit.h5'), 'r+') as h:
    means = h['/rates/learning_curve/mse_stop'][:].mean(axis=1)
    h['/rates/source_capacity'].attrs['noise'] = 0.5
check('excess error: above A, which stands on the axis', np.allclose(axes.lines[0].get_ydata(), means - 0.25) and '0.25, A of the fit' in axes.get_ylabel(), axes.get_ylabel())
check('excess error: no law of the error above another limit', len(named) == 1, named)
named = excess()[1]
check('excess error: laws of the error above the same limit', len(named) == 2 and any('eigenlearning' in name for name in named), named)
with h5py.File(f.at('limit.h5'), 'r+') as h:
    rows = h['/rates/exponents'][:]
    rows['value'][rows['source'] == b'observed'] = NAN
    rows['note'][rows['source'] == b'observed'] = 'no rate: A + B n^-x fits with every A from 0 to 1.03'
    h['/rates/exponents'][...] = rows
check('excess error: no limit, no picture', excess() is None)
code, out, err = plot(f.at('limit.h5'))
page = open(f.at('limit-plots/report.html')).read()
check('excess error: the report says why there is none', 'excess_error.png' not in os.listdir(f.at('limit-plots')) and 'no picture of the error above its limit: no rate: A + B' in page, err)

# The largest eigenvalues alone: the floor, decades below, does not stretch the axis; and how all of them are spread.
write(f.at('partial.h5'), tasks=False)
with h5py.File(f.at('partial.h5'), 'r+') as h:
    largest = h['/spectrum/eigenvalues'][:12]
    del h['/spectrum/eigenvalues'], h['/rates/alignment']
    h['/spectrum/eigenvalues'], h['/kernel/outputs_train'] = largest, np.zeros((96, 2))
    h['/kernel'].attrs['output'] = 'margin'
    h['/spectrum/density/value'] = np.array([3000, 900, 300, 0.0])
    for name, values in (('weight', (0.02, 0, 0.08, 0.9)), ('low', (0.02, 0, 0.06, 0.88)), ('high', (0.02, 0, 0.1, 0.92))):
        h['/spectrum/density/' + name] = np.array(values)
code, out, err = plot(f.at('partial.h5'))
check('partial: status 0 and silence', code == 0 and err == '', f'{code} {err}')
look('partial', f.at('partial-plots'), [p for p in full if p not in ('alignment', 'task_cosines', 'task_arithmetic', 'neighbours')] + ['density'])
drawn = {name: open(f.at(f'partial-plots/{name}.svg')).read() for name in ('spectrum', 'density')}
check('partial: the noise floor is named and not drawn', 'below the picture' in drawn['spectrum'] and '{-6}' not in drawn['spectrum'], drawn['spectrum'][:200])
check('partial: the kernel has as many rows as examples', 'n = 96' in drawn['spectrum'] and 'N =' not in drawn['spectrum'])
check('partial: the share of what is smaller', 'smaller: 90 % [88, 92]' in drawn['density'])

with h5py.File(f.at('minimal.h5'), 'w') as h:
    h.attrs['schema_version'] = 1
    h['/kernel/gram'] = np.eye(5)
    h['/spectrum/eigenvalues'] = np.ones(5)
open(f.at('full-plots/mine.txt'), 'w').close()
code, out, err = plot(f.at('minimal.h5'), '--output', f.at('full-plots'))
check(
    'into a folder that is there: a file of the user stays',
    code == 0 and os.path.exists(f.at('full-plots/mine.txt')),
    err,
)
os.remove(f.at('full-plots/mine.txt'))
look(
    'minimal: no picture of an earlier file is left',
    f.at('full-plots'),
    spectrum,
    ['n = 5'],
    absent=('When to stop', 'Learning', 'Tasks'),
)

bare = [p for p in rates if p != 'excess_error']
for name, options, expected, words, absent in (
    (
        'exponential, T = 0, long names, n = 20000',
        dict(decay='exponential', stop=0.0, title='a-model-with-a-long-name-' * 8 + '$x$', n=20000),
        full,
        ['exponential (selected)', 'T = 0', 'n = 20 000', 'nothing is learnt'],
        ('nan', 'vacuous'),
    ),
    ('finite rank, T = inf', dict(decay='finite_rank', stop=INF), full, ['finite rank (selected)', 'T = ∞'], ()),
    (
        'no test set, no tasks, no decay',
        dict(test=False, tasks=False, decay='none'),
        bare,
        ['the spectrum is <flat>'],
        ('nan',),
    ),
):
    write(f.at('case.h5'), **options)
    code, out, err = plot(f.at('case.h5'), '--output', f.at(name))
    check(f'{name}: status 0 and silence', code == 0 and err == '', f'{code} {err[-2000:]}')
    if code == 0:
        look(name, f.at(name), expected, words, absent)

# What the program itself writes.
code, out, err = run('run', f.at('study.toml'), '--set', 'data.samples=64')
check('run: status 0', code == 0, err)
code, out, err = plot(f.at('out.h5'), '--output', f.at('real'))
check('of the program: status 0 and silence', code == 0 and err == '', f'{code} {err[-2000:]}')
check(
    'of the program: spectrum, stopping and report',
    {'spectrum.png', 'stopping.png', 'report.html'} <= set(os.listdir(f.at('real'))),
)
before = {x: open(f.at('real/' + x), 'rb').read() for x in os.listdir(f.at('real'))}
code, out, err = plot(f.at('out.h5'), '--output', f.at('again'))
check(
    'the same file gives the same bytes',
    code == 0 and all(open(f.at('again/' + x), 'rb').read() == data for x, data in before.items()),
    err,
)

# What the program writes of groups, formulas and several runs; sizes, and PDF.
for name, setting in (('groups', 'kernel.groups=kind'), ('formulas', 'kernel.formula=["sgd", "signgd"]')):
    run('run', f.at('study.toml'), '--set', setting, '--set', f'output.path={name}.h5')
run('spectrum', f.at('study.toml'), '--set', 'kernel.groups=kind', '--set', 'output.path=groups.h5', '--groups', 'mlp')
code, out, err = plot(f.at('groups.h5'), '--output', f.at('small'), '--dpi', '100', '--width', '6', '--pdf')
made = set(os.listdir(f.at('small')))
check('groups: their spectra and shares of the trace', code == 0 and {'groups.png', 'trace_shares.svg', 'spectrum.pdf'} <= made, (err, made))
check('groups: width and dpi', matplotlib.image.imread(f.at('small/spectrum.png')).shape[1] == 600)
svg = open(f.at('small/spectrum.svg')).read()
check('svg: text is text', 'noise floor' in svg)
check('pdf: is one', open(f.at('small/spectrum.pdf'), 'rb').read(5) == b'%PDF-')
code, out, err = plot(f.at('formulas.h5'), '--output', f.at('several-formulas'))
check('formulas: their spectra', code == 0 and 'formulas.png' in os.listdir(f.at('several-formulas')), err)
for n in (16, 24, 40):
    run('run', f.at('study.toml'), '--set', f'data.samples={n}', '--set', f'output.path=m{n}.h5', '--set', 'data.test=test.tsv', '--set', 'data.test_samples=20', '--set', 'rates.noise=0.3', '--set', 'rates.radius=1', '--set', 'finetune.seed=1')
run('merge', f.at('merged.h5'), *(f.at(f'm{n}.h5') for n in (16, 24, 40)))
code, out, err = plot(f.at('merged.h5'), '--output', f.at('merged'))
check('merged: status 0 and silence', code == 0 and err == '', f'{code} {err[-2000:]}')
plot(f.at('merged.h5'), '--output', f.at('merged-narrow'), '--width', '3.3', '--dpi', '300')
plot(f.at('groups.h5'), '--output', f.at('groups-narrow'), '--width', '3.3', '--dpi', '300')
for name in ('merged-narrow', 'groups-narrow'):
    look(name, f.at(name), [x[:-4] for x in os.listdir(f.at(name)) if x.endswith('.png')])
look('merged', f.at('merged'), ['runs', 'trained_runs'] + (['exponents'] if os.path.exists(f.at('merged/exponents.png')) else []), ['Runs'])
said = re.search(r'accuracy +([0-9.]+ \[.*?\]) at T', run('inspect', f.at('m40.h5'), '--full')[1])
code, out, err = plot(f.at('m40.h5'), '--output', f.at('m40'))
page = re.sub(r'<svg.*?</svg>|<[^>]+>', '', open(f.at('m40/report.html')).read(), flags=re.DOTALL)
check('the interval of the accuracy at T is what the program prints', said and said[1] in page, said)
code, out, err = plot(*(f.at(f'm{n}.h5') for n in (16, 24, 40)), '--output', f.at('together'))
check('several: status 0 and silence', code == 0 and err == '', f'{code} {err[-2000:]}')
look('several', f.at('together'), ['spectrum', 'stopping'] + [p for p in ('exponents', 'learning_curve') if os.path.exists(f.at(f'together/{p}.png'))], ['n = 16', 'n = 40'])

# A mean is that of the program's table: runs with T = 0 count, and one without a number leaves none.
with h5py.File(f.at('scale.h5'), 'w') as h:
    h.attrs['schema_version'] = 2
    runs = [('a', 128, 0, 1.1), ('a', 128, 2, 1.0), ('a', 256, 4, NAN), ('a', 256, 8, 0.9), ('a', 512, 12, 0.8)]
    h['/runs'] = table(runs, curve=str, samples=float, stopping_step=float, mse_stop=float)
for name, means in (('stopping_step', [1, 6, 12]), ('mse_stop', [1.05, NAN, 0.8])):
    figure, axes = plt.subplots()
    tangram.plot.runs(axes, tangram.open(f.at('scale.h5')), name)
    points, line = (np.asarray(l.get_ydata(), float) for l in axes.lines)
    check(f'runs: means of {name}', np.allclose(line, means, equal_nan=True), line)
    shown = axes.transAxes.inverted().transform(axes.transData.transform([(128, y) for y in points if np.isfinite(y)]))
    check(f'runs: every {name} is in the picture', np.isfinite(shown).all() and 0 <= shown[:, 1].min() and shown[:, 1].max() <= 1, shown)
    plt.close(figure)

# Bad files and arguments.
write(f.at('torn.h5'))
size = os.path.getsize(f.at('torn.h5'))
os.truncate(f.at('torn.h5'), size // 2)
f.write('text.h5', 'not HDF5')
f.write('empty.h5', '')
with h5py.File(f.at('foreign.h5'), 'w') as h:
    h['a'] = np.ones(3)
f.write('file', '')
os.mkdir(f.at('a-folder'))
for name, arguments, status, word in (
    ('missing', [f.at('none.h5')], 3, 'none.h5'),
    ('torn', [f.at('torn.h5')], 3, 'torn.h5'),
    ('no HDF5', [f.at('text.h5')], 3, 'text.h5'),
    ('empty', [f.at('empty.h5')], 3, 'empty.h5'),
    ('not tangram\'s', [f.at('foreign.h5')], 3, 'not an output file of tangram'),
    ('a folder', [f.at('a-folder')], 3, 'a-folder'),
    ('no argument', [], 2, 'FILE.h5'),
    ('unknown option', [f.at('full.h5'), '--ouptut', 'x'], 2, '--ouptut'),
    ('output is a file', [f.at('minimal.h5'), '--output', f.at('file')], 5, 'file'),
    ('output in a folder that is not there', [f.at('minimal.h5'), '--output', f.at('new/again')], 5, 'new'),
    ('a resolution of nothing', [f.at('full.h5'), '--dpi', '0'], 2, '--dpi'),
):
    listing = sorted(os.listdir(f.path))
    code, out, err = plot(*arguments)
    check(f'{name}: status {status}', code == status, f'{code} {err[-500:]}')
    check(
        f'{name}: one message that names it',
        err.count('\n') == 1 and err.startswith('plot: error: ') and word in err,
        err[-500:],
    )
    check(f'{name}: leaves nothing', sorted(os.listdir(f.path)) == listing, os.listdir(f.path))
f.remove()
finish()
