#!/usr/bin/env python3
"""Files whose data sets have not the shapes, counts or values that they must have: every command that reads them says
which file and data set, with the right status, and does not crash. usage: tampered.py PROGRAM MPIEXEC RANKS TEST_DATA"""
import os, shutil, sys
from support import DATA, RANKS, Folder, check, finish, run
try:
    import h5py, numpy as np
except ImportError:
    print('skipped: python3-h5py is missing'); sys.exit(77)

f = Folder()
f.write('study.toml', f.study(data__test='"test.tsv"', data__test_samples='8', rates__sizes='[12, 24]', rates__repeats='1'))
code, out, err = run('run', f.at('study.toml'))
check('run: status 0', code == 0, err)
N, M = 24, 8
bad = f.at('bad.h5')

def replaced(path, values):
    """The checksum goes with the old matrix: files of another program have none."""
    def tamper(h):
        if path in h: del h[path]
        h.create_dataset(path, data=values)
    return tamper
def changed(path, index, value):
    def tamper(h):
        values = h[path][:]; values[index] = value; replaced(path, values)(h)
    return tamper
def attribute(group, key, value):
    def tamper(h): h[group].attrs[key] = value
    return tamper
def texts(*words): return np.array(words, dtype=h5py.string_dtype())
def all_of(*tampers):
    def tamper(h):
        for one in tampers: one(h)
    return tamper

def expect(name, status, path, arguments, ranks=1, file=bad):
    code, out, err = run(*arguments, ranks=ranks, timeout=30)
    errors = [line for line in err.splitlines() if 'tangram: error:' in line]
    check(name, code == status and len(errors) == 1 and file in errors[0] and path in errors[0], f'{code} {err[-600:]}')

def tampered(command, status, path, tamper, gone=(), ranks=1, label=''):
    """A study's command on a copy of its output, without what the command is to make."""
    shutil.copy(f.at('out.h5'), bad)
    with h5py.File(bad, 'r+') as h:
        for name in gone: del h[name]
        tamper(h)
    arguments = {'inspect': ['inspect', bad], 'verify': ['verify', bad], 'merge': ['merge', f.at('merged.h5'), bad],
        'compare': ['compare', f.at('out.h5'), bad]}.get(command, [command, f.at('study.toml'), '--set', 'output.path=' + bad])
    expect(f'{command}: {path} {label}', status, path, arguments, ranks)

def rates(path, tamper, ranks=1, label=''): tampered('rates', 5, path, tamper, ['rates'], ranks, label)
values, vectors = '/spectrum/eigenvalues', '/spectrum/eigenvectors'
rates(values, replaced(values, np.zeros(0)), RANKS, 'empty')
rates(values, replaced(values, np.arange(3.)[::-1]), label='short')
rates(values, replaced(values, np.arange(5000.)[::-1]), label='long')
rates(values, replaced(values, np.float64(3)), label='scalar')
rates(values, changed(values, 3, np.nan), label='NaN')
rates(values, changed(values, 3, 1e6), label='out of order')
rates(vectors, replaced(vectors, np.ones((300, 300))), RANKS, 'large')
rates(vectors, replaced(vectors, np.ones((3, 3))), label='small')
rates(vectors, replaced(vectors, np.ones((N, 3))), label='rectangular')
rates(vectors, changed(vectors, 3, np.nan), RANKS, 'NaN')
rates('/kernel/gram', replaced('/kernel/gram', np.ones((N, 30))), RANKS, 'rectangular')
rates('/kernel/gram', replaced('/kernel/gram', np.eye(3)), label='small')
rates('/kernel/gram', replaced('/kernel/gram', np.zeros((0, 0))), label='empty')
rates('/kernel/gram', changed('/kernel/gram', (3, 4), np.nan), RANKS, 'NaN')
rates('/kernel/cross', replaced('/kernel/cross', np.ones((1, 1))), RANKS, 'small')
rates('/kernel/cross', replaced('/kernel/cross', np.ones((300, 300))), label='large')
rates('/kernel/cross', changed('/kernel/cross', (7, 23), np.inf), label='infinite')
rates('/kernel/test_diagonal', replaced('/kernel/test_diagonal', np.ones(0)), label='empty')
rates('/kernel/outputs_train', replaced('/kernel/outputs_train', np.zeros((0, 2))), label='empty')
rates('/kernel/outputs_train', replaced('/kernel/outputs_train', np.zeros((3, 2))), label='short')
rates('/kernel/outputs_train', replaced('/kernel/outputs_train', np.zeros((N, 1))), label='one column')
rates('/kernel/outputs_train', changed('/kernel/outputs_train', (3, 1), np.nan), label='NaN')
rates('/kernel/outputs_test', replaced('/kernel/outputs_test', np.zeros((0, 2))), label='empty')
rates('/data/train/labels', replaced('/data/train/labels', (np.arange(2) % 2).astype('i4')), label='short')
rates('/data/train/labels', changed('/data/train/labels', 5, 2), RANKS, 'a third label')
rates('/data/train/labels', changed('/data/train/labels', 5, -1), label='negative')
rates('/data/test/labels', replaced('/data/test/labels', np.zeros(0, 'i4')), label='empty')
rates('/data/train/offsets', replaced('/data/train/offsets', np.int64(5)), label='scalar')
rates('/data/label_token_ids', replaced('/data/label_token_ids', np.int32(5)), label='scalar')
def two_tasks(path, values):
    """Two tasks of one label each, all in order but for one data set."""
    halves = {'train': (np.arange(N) >= N // 2).astype('i4'), 'test': (np.arange(M) >= M // 2).astype('i4')}
    stored = {'/data/task_names': texts('a', 'b'), '/data/task_labels': np.array([1, 1], 'i8'), '/kernel/task_outputs': texts('logits', 'logits'),
        **{f'/data/{part}/tasks': of for part, of in halves.items()}, **{f'/data/{part}/labels': 0 * of for part, of in halves.items()}, path: values}
    return all_of(*(replaced(name, of) for name, of in stored.items()))
for path, values_of, label in (('/data/task_labels', np.zeros(0, 'i8'), 'empty'), ('/data/task_labels', np.array([2 ** 40, 1], 'i8'), 'large'),
        ('/data/task_labels', np.array([1, 0], 'i8'), 'zero'), ('/kernel/task_outputs', texts(), 'empty'), ('/kernel/task_outputs', texts('margin', 'margin'), 'of two labels'),
        ('/data/train/tasks', np.full(N, 5, 'i4'), 'a sixth task'), ('/data/train/tasks', np.zeros(N, 'i4'), 'one without examples'),
        ('/data/train/tasks', (np.arange(N) % 2).astype('i4'), 'in no order'), ('/data/test/tasks', np.zeros(1, 'i4'), 'short'),
        ('/data/train/labels', np.ones(N, 'i4'), 'beyond a task')):
    rates(path, two_tasks(path, values_of), RANKS if label == 'a sixth task' else 1, label)
rates('noise_floor', attribute('/spectrum/quality', 'noise_floor', np.nan), label='NaN')
rates('sketch_dimension', attribute('/kernel', 'sketch_dimension', 1e300), label='large')
rates('/provenance@study', attribute('/provenance', 'study', '[model\n'), label='no TOML')

tampered('inspect', 5, '/data/train/offsets', replaced('/data/train/offsets', np.int64(5)), label='scalar')
tampered('inspect', 5, '/data/train/offsets', replaced('/data/train/offsets', np.zeros(0, 'i8')), label='empty')
tampered('inspect', 5, '/data/label_token_ids', replaced('/data/label_token_ids', np.int32(5)), label='scalar')
tampered('inspect', 5, '/kernel/tensors', replaced('/kernel/tensors', np.int32(3)), label='scalar')
tampered('inspect', 5, '/kernel/gram', replaced('/kernel/gram', np.float64(3)), label='scalar')
tampered('inspect', 5, values, replaced(values, np.zeros(0)), label='empty')
tampered('merge', 5, '/data/train/offsets', replaced('/data/train/offsets', np.int64(5)), label='scalar')
tampered('merge', 5, values, replaced(values, np.float64(3)), label='scalar')
tampered('merge', 5, '/rates/stopping/test_mse', replaced('/rates/stopping/test_mse', np.zeros(0)), label='empty')
tampered('merge', 5, '/rates/stopping/test_mse', replaced('/rates/stopping/test_mse', np.zeros(1)), ranks=RANKS, label='short')
tampered('merge', 5, '/provenance@study', attribute('/provenance', 'study', '[model\n'), label='no TOML')
tampered('compare', 5, '/provenance@study', attribute('/provenance', 'study', '[model\n'), label='no TOML')
tampered('verify', 4, vectors, replaced(vectors, np.ones((N, 3))), label='rectangular')
tampered('verify', 4, vectors, replaced(vectors, np.ones((3, 3))), ranks=RANKS, label='small')
tampered('verify', 4, '/kernel/gram', replaced('/kernel/gram', np.ones((N, 30))), ranks=RANKS, label='rectangular')
tampered('verify', 4, '/kernel/gram', replaced('/kernel/gram', np.zeros((0, 0))), label='empty')
tampered('verify', 4, vectors, all_of(lambda h: h.__delitem__('/kernel/gram'), replaced(vectors, np.ones((N, 3)))), label='rectangular, no Gram matrix')
def study_text(old, new):
    def change(h):
        text = h['/provenance'].attrs['study']; assert old in text, text
        h['/provenance'].attrs['study'] = text.replace(old, new)
    return change
tampered('verify', 4, 'data.samples', study_text(f'samples = {N}', f'samples = {N - 1}'), label='in the study', ranks=RANKS)
tampered('verify', 4, '/rates was not made', study_text('center = true', 'center = false'), label='in the study')
tampered('verify', 4, '/spectrum was not made', attribute('/kernel', 'inputs', '0' * 64), label='fingerprint of the kernel')
tampered('spectrum', 5, '/kernel/gram', replaced('/kernel/gram', np.ones((N, 30))), ['spectrum'], RANKS, 'rectangular')
tampered('spectrum', 5, '/kernel/gram', changed('/kernel/gram', (3, 4), np.nan), ['spectrum'], RANKS, 'NaN')

# A byte of any data set that another one stands in: found by HDF5's checksums or those of matrices, by h5py too.
shutil.copy(f.at('out.h5'), bad)
sets, unseen, readable = [], [], []
with h5py.File(bad, 'r') as h:
    def note(path, o):
        if isinstance(o, h5py.Dataset) and o.size and not h5py.check_string_dtype(o.dtype):
            sets.append(('/' + path, (o.id.get_chunk_info(0).byte_offset if o.chunks else o.id.get_offset()) + o.nbytes // 2))
    h.visititems(note)
check('every kind of data set', {'/data/train/labels', '/kernel/tensors', '/kernel/cross', '/rates/stopping/test_mse', '/rates/exponents'} <= {path for path, _ in sets}, sets)
for path, place in sets:
    with open(bad, 'r+b') as h:
        h.seek(place); byte = h.read(1)[0]
        h.seek(place); h.write(bytes([byte ^ 1]))
    code, out, err = run('verify', bad, ranks=1)
    if code != 4 or path not in err: unseen.append((path, code, err))
    if path == '/data/train/labels':
        expect('rates: a byte of the labels', 5, path, ['rates', f.at('study.toml'), '--set', 'output.path=' + bad, '--set', 'rates.repeats=2'], RANKS)
        expect('verify: a byte of the labels', 4, path, ['verify', bad], RANKS)
    if path not in ('/kernel/gram', '/kernel/cross', '/spectrum/eigenvectors'):
        with h5py.File(bad, 'r') as h:
            try: h[path][...]; readable.append(path)
            except OSError: pass
    with open(bad, 'r+b') as h: h.seek(place); h.write(bytes([byte]))
check('verify: a byte of any data set', not unseen, unseen)
check('h5py: a byte of any data set but matrices', not readable, readable)

# Groups of different sizes.
code, out, err = run('gram', f.at('study.toml'), '--set', 'kernel.groups="kind"', '--set', 'output.path=' + bad, ranks=1)
with h5py.File(bad, 'r+') as h: replaced('/kernel/groups/mlp/gram', np.eye(3))(h)
expect('spectrum: groups of different sizes', 5, '/kernel/groups',
    ['spectrum', f.at('study.toml'), '--set', 'kernel.groups="kind"', '--set', 'output.path=' + bad, '--groups', 'attention,mlp'], RANKS)

# A group that is met on 8^12 ways.
with h5py.File(bad, 'w') as h:
    h.attrs['schema_version'] = 2
    group = h.create_group('l0')
    for level in range(12):
        below = group.create_group('a0')
        for j in range(1, 8): group[f'a{j}'] = below
        group = below
expect('compare: hard links', 5, 'without end', ['compare', bad, bad])

# Somebody else's matrices.
G = np.diag(np.arange(1., 41.)); G[3, 4] = G[4, 3] = 0.5
lopsided, nan = G.copy(), G.copy(); lopsided[5, 6] = 1; nan[1, 2] = np.nan
matrices = f.at('matrices.h5')
with h5py.File(matrices, 'w') as h:
    h['good'], h['lopsided'], h['nan'], h['empty'], h['wide'], h['huge'] = G, lopsided, nan, np.zeros((0, 0)), G[:3], 1e308 * np.eye(4)
    h['labels'], h['cross'], h['test_labels'], h['l'] = np.arange(40) % 2, np.ones((2, 40)), np.arange(2), np.arange(1., 501.) ** -1.5
    h['cross'][1, 7] = np.nan
def matrix(name): return matrices + ':/' + name
output = ['--output', f.at('made.h5')]
for name, status, ranks in (('lopsided', 3, RANKS), ('nan', 3, 1), ('empty', 3, 1), ('wide', 3, RANKS), ('huge', 4, RANKS)):
    expect(f'spectrum --matrix: {name}', status, '/' + name, ['spectrum', '--matrix', matrix(name), *output], ranks, matrices)
    if name in ('wide', 'nan'): check(f'rows before columns: {name}', {'wide': '3 x 40', 'nan': 'row 1, column 2 '}[name] in run('spectrum', '--matrix', matrix(name), *output, ranks=1)[2])
    if name in ('lopsided', 'nan'):
        expect(f'rates --matrix: {name}', status, '/' + name, ['rates', '--matrix', matrix(name), '--labels', matrix('labels'), *output], 0, matrices)
expect('rates --cross: NaN', 3, '/cross', ['rates', '--matrix', matrix('good'), '--labels', matrix('labels'), '--cross', matrix('cross'),
    '--test-labels', matrix('test_labels'), *output], RANKS, matrices)
check('no output of what failed', not os.path.exists(f.at('made.h5')) and not os.path.exists(f.at('merged.h5')))
code, out, err = run('rates', '--eigenvalues', matrix('l'), '--samples', str(2 ** 63 - 1), '--noise', '0.1', *output, ranks=1, timeout=20)
check('rates --samples 2^63 - 1: does not hang', code == 0, f'{code} {err[-300:]}')

# A file that libhdf5 1.10 itself breaks off on (found by fuzzing: it follows a buffer that is not there); others may read it.
damaged = os.path.join(DATA, 'damaged.h5')
expect('a file that breaks libhdf5', 3, damaged, ['spectrum', '--matrix', damaged + ':/x', '--output', f.at('other.h5')], RANKS, damaged)

f.remove()
finish()
