#!/usr/bin/env python3
"""Bad input, one at a time: the right exit status, one clear message that names the thing, no hang, and nothing under the
final name. usage: faults.py PROGRAM MPIEXEC RANKS TEST_DATA"""
import json, os, shutil, struct, subprocess, tempfile
from support import DATA, MPIEXEC, PROGRAM, RANKS, Folder, check, failures, finish, run

def expect(name, status, *words, folder=None, study=None, arguments=None, clean=True):
    f = folder or Folder()
    if study is not None: f.write('study.toml', study)
    code, out, err = run(*(arguments or ['run', f.at('study.toml')]))
    errors = [l for l in err.splitlines() if l.startswith('tangram: error:')]
    check(f'{name}: status {status}', code == status, f'{code}: {err[-400:]}')
    check(f'{name}: one message', len(errors) == 1, err[-400:])
    for word in words: check(f'{name}: names {word}', bool(errors) and word in errors[0], errors)
    if clean:
        left = [n for n in os.listdir(f.path) if n.startswith('out.h5')]
        check(f'{name}: leaves nothing', not left, left)
    f.remove()

def weights(folder): return folder.at('model/model.safetensors')
def header_of(path):
    blob = open(path, 'rb').read(); n = struct.unpack('<Q', blob[:8])[0]
    return json.loads(blob[8:8 + n]), blob[8 + n:]
def rewrite(path, header, data):
    text = json.dumps(header).encode(); text += b' ' * (-len(text) % 8)
    open(path, 'wb').write(struct.pack('<Q', len(text)) + text + data)
base = Folder()
S = base.study

# The study
expect('missing study', 2, 'none.toml', folder=Folder(), arguments=['run', '/nowhere/none.toml'])
expect('unknown key', 2, 'data.sampels', 'data.samples', study=S(data__sampels='5'))
expect('wrong type', 2, 'data.samples', study=S(data__samples='"many"'))
expect('impossible value', 2, 'kernel.precision', 'half', study=S(kernel__precision='"half"'))
expect('missing key', 2, 'model.path', study=S(model__path=None))
expect('TOML syntax', 2, 'study.toml', 'line', study='[model\npath = 3')
expect('more samples than rows', 2, '5000', '4000', study=S(data__samples='5000'))
expect('label word of two tokens', 2, 'zyxq', study=S(data__label_words='[" bad", " zyxq"]'))
expect('margin with three labels', 2, 'margin', study=S(data__label_words='[" bad", " great", " good"]', kernel__output='"margin"'))
expect('pattern that selects nothing', 2, 'transformer.g.*', study=S(kernel__parameters='["transformer.g.*"]'))
expect('unknown solver', 2, 'jacobi', study=S(spectrum__solver='"jacobi"'), clean=False)
expect('unknown command', 2, 'frobnicate', arguments=['frobnicate'])
expect('template that cannot fit', 2, 'template', study=S(data__max_length='2'))

# The data
expect('missing data', 3, 'nothere.tsv', study=S(data__train='"nothere.tsv"'))
expect('unknown ending', 3, '.dat', study=S(data__train='"train.dat"'))
def with_lines(text):
    f = Folder(); f.write('train.tsv', text); return f
expect('label without a word', 3, 'line 3', '"7"', folder=with_lines('text\tlabel\nfine\t1\nodd\t7\n'), study=S(data__samples='0'))
expect('empty text', 3, 'line 3', 'empty', folder=with_lines('text\tlabel\nfine\t1\n\t0\nbad\t0\n'), study=S(data__samples='0'))
expect('missing column', 3, 'label', folder=with_lines('text\tlable\nfine\t1\n'), study=S(data__samples='0'))
expect('wrong number of fields', 3, 'line 3', folder=with_lines('text\tlabel\nfine\t1\none\ttwo\tthree\n'), study=S(data__samples='0'))

# The model
expect('missing model folder', 3, 'nomodel', study=S(model__path='"nomodel"'))
def broken(change):
    f = Folder(); change(f); return f
def truncate(f):
    size = os.path.getsize(weights(f)); os.truncate(weights(f), size - 1000)
expect('truncated safetensors', 3, 'model.safetensors', 'truncated', folder=broken(truncate))
def huge(f):
    with open(weights(f), 'r+b') as h: h.write(struct.pack('<Q', 1 << 60))
expect('header of 2^60 bytes', 3, 'model.safetensors', str(1 << 60), folder=broken(huge))
def reshape(f):
    header, data = header_of(weights(f)); a = header['transformer.h.0.mlp.c_fc.weight']['shape']
    header['transformer.h.0.mlp.c_fc.weight']['shape'] = a[::-1]; rewrite(weights(f), header, data)
expect('tensor of the wrong shape', 3, 'transformer.h.0.mlp.c_fc.weight', '[128, 512]', folder=broken(reshape))
def nan(f):
    header, data = header_of(weights(f)); first = header['transformer.h.1.ln_1.bias']['data_offsets'][0]
    data = data[:first + 8] + struct.pack('<f', float('nan')) + data[first + 12:]; rewrite(weights(f), header, data)
expect('NaN in a weight', 3, 'transformer.h.1.ln_1.bias', 'entry 2', folder=broken(nan))
def overlap(f):
    header, data = header_of(weights(f)); header['transformer.again'] = header['transformer.h.1.ln_2.bias']; rewrite(weights(f), header, data)
expect('overlapping tensors', 3, 'overlaps', folder=broken(overlap))
def architecture(f):
    c = json.load(open(f.at('model/config.json'))); c['model_type'] = 'mamba'; json.dump(c, open(f.at('model/config.json'), 'w'))
expect('unknown architecture', 3, 'mamba', 'gpt_neo', folder=broken(architecture))
def no_json(f): f.write('model/tokenizer.json', '{"model": ')
expect('tokenizer.json that is not JSON', 3, 'tokenizer.json', folder=broken(no_json))

# .h5 input
try:
    import h5py, numpy as np
except ImportError:
    print('skipped: .h5 input (python3-h5py is missing)')
else:
    def tokens(ids, offsets=(0, 2, 4), labels=(0, 1)):
        f = Folder()
        with h5py.File(f.at('tokens.h5'), 'w') as h:
            h['token_ids'] = np.array(ids, np.int32); h['offsets'] = np.array(offsets, np.int64); h['labels'] = np.array(labels, np.int32); h['label_token_ids'] = np.array([3, 5], np.int32)
        return f
    h5 = S(data__train='"tokens.h5"', data__samples='0', data__template=None, data__label_words=None)
    expect('token id out of range', 3, '2048', 'example', folder=tokens([1, 2, 3, 2048]), study=h5)
    expect('offsets that do not fit', 3, 'offsets', folder=tokens([1, 2, 3, 4], offsets=(0, 2, 9)), study=h5)
    def renamed(f): os.rename(f.at('train.tsv'), f.at('tokens.h5'))
    expect('not an HDF5 file', 3, 'tokens.h5', 'HDF5', folder=broken(renamed), study=h5)

# The output
expect('output folder that does not exist', 5, 'nofolder', study=S(output__path='"nofolder/out.h5"'))
expect('output that is a folder', 5, 'model', study=S(output__path='"model"'))
def mounted(options):
    place = tempfile.mkdtemp(prefix='tangram-mount-')
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'none', place], capture_output=True).returncode != 0:
        os.rmdir(place); return None
    return place
for name, options, words in (('disk full', 'size=64k', ('out.h5',)), ('read-only folder', 'ro', ('out.h5', 'folder'))):
    place = mounted(options)
    if place is None: print(f'skipped: {name} (no mount rights)'); continue
    try:
        # 128 rows are 128 KiB of matrix.
        expect(name, 5, *words, study=S(output__path=f'"{place}/out.h5"', data__samples='128'), clean=False)
        check(f'{name}: nothing under the final name', not os.path.exists(place + '/out.h5'))
        check(f'{name}: no partial file', not os.path.exists(place + '/out.h5.partial'))
    finally:
        subprocess.run(['umount', place]); os.rmdir(place)

# A disk with room for the matrix, 128 KiB, and not for a copy of it beside vectors: known before anything is computed.
place = mounted('size=400k')
if place is None: print('skipped: a disk that is too small for the spectrum (no mount rights)')
else:
    f = Folder(); f.write('study.toml', f.study(output__path=f'"{place}/out.h5"', data__samples='128'))
    code, out, err = run('run', f.at('study.toml'))
    check('disk full behind the matrix: the run does not begin', code == 5 and 'out.h5: needs' in err and 'gram: 128 examples' not in err and not os.listdir(place), err[-400:])
    code, out, err = run('gram', f.at('study.toml'))
    check('disk full behind the matrix: the matrix alone finds room', code == 0, err[-400:])
    before = open(place + '/out.h5', 'rb').read()
    code, out, err = run('spectrum', f.at('study.toml'))
    check('disk full behind the matrix: the spectrum does not begin', code == 5 and 'out.h5: needs' in err and 'spectrum: n = 128' not in err, err[-400:])
    check('disk full behind the matrix: the finished file is untouched', open(place + '/out.h5', 'rb').read() == before and os.listdir(place) == ['out.h5'], os.listdir(place))
    # Vectors that take the place of others need no room of their own: the disk has it for the file and a copy, and not for 128 KiB of them once more.
    subprocess.run(['mount', '-o', 'remount,size=800k', place])
    code, out, err = run('run', f.at('study.toml'), '--set', 'spectrum.solver=lapack')
    size = os.path.getsize(place + '/out.h5')
    check('disk for one copy: enough for a run', code == 0 and 2 * size < (800 << 10) < 2 * size + (128 << 10), f'{code} {size} {err[-400:]}')
    code, out, err = run('spectrum', f.at('study.toml'))
    check('disk for one copy: enough for other vectors', code == 0, err[-400:])
    subprocess.run(['umount', place]); os.rmdir(place); f.remove()

# Too little memory, wherever it is missed: on this rank or its threads, in a library or here. Where MPI itself does not
# start, that is MPI's.
def limited(mebibytes):
    f = Folder()
    command = ['prlimit', f'--as={mebibytes << 20}', '--core=0', PROGRAM, 'run', f.at('study.toml'), '--quiet']
    if RANKS > 1: command = [MPIEXEC, '-n', str(RANKS), *command]
    try:
        p = subprocess.run(['timeout', '-s', 'KILL', '60', *command], capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '4', 'OPENBLAS_NUM_THREADS': '1'})
        return p.returncode, [l for l in p.stderr.splitlines() if l.startswith('tangram: error:')], p.stderr
    finally: f.remove()
if shutil.which('prlimit') and limited(1 << 12)[0] == 0:
    for mebibytes in range(350, 1000, 50):
        code, errors, err = limited(mebibytes)
        if 'mpi_init' in err.lower(): continue
        check(f'{mebibytes} MiB of addresses: enough, or or so it says', code in (0, 2), f'{code}: {err[-400:]}')
        if code == 2: check(f'{mebibytes} MiB of addresses: one message', len(errors) == 1 and 'memory' in errors[0], err[-400:])
else: print('skipped: too little memory (no prlimit, or sanitizers, which take more addresses)')

# A failing stage leaves the finished file as it was.
f = Folder(); code, out, err = run('gram', f.at('study.toml')); before = open(f.at('out.h5'), 'rb').read()
code, out, err = run('spectrum', f.at('study.toml'), '--set', 'spectrum.solver=jacobi')
check('failed stage: status 2', code == 2, err); check('failed stage: the finished file is untouched', open(f.at('out.h5'), 'rb').read() == before)
os.truncate(f.at('out.h5'), len(before) // 2)
code, out, err = run('inspect', f.at('out.h5'), ranks=RANKS)
check('torn output: status 5', code == 5, f'{code} {err}'); check('torn output: says so', 'torn' in err, err)
f.remove(); base.remove()

# Drawn models that fit into no memory: refused while a rank is still small.
def resident(*arguments):
    """(status, standard error, largest resident memory in bytes) of one rank."""
    with tempfile.TemporaryFile('w+') as err:
        p = subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.DEVNULL, stderr=err)
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status); err.seek(0)
        return p.returncode, err.read(), 1024 * usage.ru_maxrss
for name, sizes in (('a hidden size of 2^20', {'hidden_size': 1 << 20, 'num_heads': 256}),
                    ('4096 layers', {'hidden_size': 2048, 'num_layers': 4096, 'attention_layers': ['global'] * 4096, 'attention_types': None})):
    f = Folder(); f.write('study.toml', f.study(model__init='"random"'))
    config = json.load(open(f.at('model/config.json'))); config.update(sizes)
    f.write('model/config.json', json.dumps(config)); os.remove(f.at('model/model.safetensors'))
    code, err, peak = resident('run', f.at('study.toml'), '--memory-per-rank', '4GiB')
    check(f'{name}: status 2', code == 2 and err.count('tangram: error:') == 1 and 'needs' in err, f'{code}: {err[-300:]}')
    check(f'{name}: nothing large is allocated', peak < 400 << 20, f'{peak >> 20} MiB')
    f.remove()
finish()
