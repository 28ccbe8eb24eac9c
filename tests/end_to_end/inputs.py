#!/usr/bin/env python3
"""Whatever a kernel is made from counts: every file that is opened in a model's folder is in the fingerprint, and one changed byte
of any of them is another kernel for stages, growth and checkpoints; a model that changes while it is read, or that ranks see
differently, is refused. usage: inputs.py PROGRAM MPIEXEC RANKS TEST_DATA"""
import ctypes, glob, json, os, re, shutil, struct, subprocess, sys
from support import DATA, MPIEXEC, PROGRAM, RANKS, Folder, check, finish, run
try:
    import h5py, numpy as np
except ImportError:
    print('skipped: python3-h5py is missing'); sys.exit(77)

class Opened:
    """Names of the files that anybody opens in a folder while it lives (inotify)."""
    def __init__(self, folder):
        self.libc = ctypes.CDLL('libc.so.6', use_errno=True); self.descriptor = self.libc.inotify_init1(os.O_NONBLOCK)
        assert self.libc.inotify_add_watch(self.descriptor, folder.encode(), 0x20) >= 0  # IN_OPEN
    def names(self):
        events, found, at = b'', set(), 0
        while True:
            try: events += os.read(self.descriptor, 1 << 16)
            except BlockingIOError: break
        os.close(self.descriptor)
        while at < len(events):
            _, mask, _, size = struct.unpack_from('iIII', events, at)
            if not mask & 0x40000000: found.add(events[at + 16:at + 16 + size].rstrip(b'\0').decode())  # IN_ISDIR
            at += 16 + size
        return found - {''}

def safetensors(file, tensors):
    header, offset = {}, 0
    for name, x in tensors.items(): header[name] = {'dtype': 'F32', 'shape': list(x.shape), 'data_offsets': [offset, offset + x.nbytes]}; offset += x.nbytes
    text = json.dumps(header).encode(); text += b' ' * (-len(text) % 8)
    with open(file, 'wb') as out: out.write(struct.pack('<Q', len(text)) + text + b''.join(x.tobytes() for x in tensors.values()))
def read_safetensors(file):
    data = open(file, 'rb').read(); size, = struct.unpack('<Q', data[:8]); header = json.loads(data[8:8 + size])
    return {name: np.frombuffer(data[8 + size:][slice(*t['data_offsets'])], '<f4').reshape(t['shape']) for name, t in header.items() if name != '__metadata__'}
def change(file):
    """The least that makes another file: the last bit of a weight, a blank in a text."""
    with open(file, 'r+b') as f:
        f.seek(0, 2)
        if not file.endswith('.safetensors'): f.write(b' '); return
        f.seek(-4, 2); byte = f.read(1)[0]; f.seek(-4, 2); f.write(bytes([byte ^ 1]))

f = Folder()
model = f.at('model')
# An adapter of two modules, and the weights in two shards.
rng = np.random.default_rng(1)
safetensors(os.path.join(model, 'adapter_model.safetensors'), {f'base_model.model.transformer.h.3.mlp.{m}.lora_{x}.weight': rng.normal(size=s).astype('<f4')
    for m, o, i in (('c_fc', 512, 128), ('c_proj', 128, 512)) for x, s in (('A', (2, i)), ('B', (o, 2)))})
def adapter_config(alpha):
    with open(os.path.join(model, 'adapter_config.json'), 'w') as out: json.dump({'peft_type': 'LORA', 'r': 2, 'lora_alpha': alpha, 'bias': 'none', 'target_modules': ['c_fc', 'c_proj']}, out)
adapter_config(2)
whole = read_safetensors(os.path.join(model, 'model.safetensors')); names = sorted(whole)
os.remove(os.path.join(model, 'model.safetensors'))
for shard, part in (('model-1.safetensors', names[::2]), ('model-2.safetensors', names[1::2])): safetensors(os.path.join(model, shard), {name: whole[name] for name in part})
with open(os.path.join(model, 'model.safetensors.index.json'), 'w') as out: json.dump({'weight_map': {name: f'model-{1 + i % 2}.safetensors' for i, name in enumerate(names)}}, out)
shutil.copytree(os.path.join(DATA, 'bert-mini'), f.at('bert'))

adapted = dict(kernel__lora_rank='2', kernel__parameters='["transformer.h.3.mlp.c_fc.weight", "transformer.h.3.mlp.c_proj.weight"]')
for kind, folder, keys, expected in (
        ('adapter and shards', model, adapted, {'config.json', 'model.safetensors.index.json', 'model-1.safetensors', 'model-2.safetensors', 'adapter_model.safetensors', 'adapter_config.json', 'tokenizer.json'}),
        ('masked model', f.at('bert'), dict(model__path='"bert"', data__template='"{text} It was [MASK]."', data__label_words='["bad", "great"]', kernel__parameters='["*.layer.1.attention.self.query.weight"]'),
            {'config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'})):
    study = f.write('every.toml', f.study(output__path='"every.h5"', **keys))
    opened = Opened(folder)
    code, out, err = run('gram', study, '--time-limit', '0s')
    opened = opened.names()
    with h5py.File(f.at('every.h5.checkpoint')) as h: recorded = set(re.findall(r'^model\.path, (.*) = [0-9a-f]{64}$', h.attrs['inputs'], re.M))
    check(f'{kind}: what is opened is recorded', code == 75 and opened == recorded and recorded >= expected, f'{code} {opened} {recorded} {err}')
    code, out, err = run('gram', study); check(f'{kind}: status 0', code == 0, err)
    code, out, err = run('gram', study); check(f'{kind}: skipped the second time', code == 0 and 'skipped' in err, err)
    shutil.copytree(folder, f.at('copy'))
    code, out, err = run('gram', study, '--set', 'model.path=copy'); check(f'{kind}: a copy of the folder is the same model', code == 0 and 'skipped' in err, err)
    shutil.rmtree(f.at('copy'))
    kept = open(f.at('every.h5'), 'rb').read()
    for name in sorted(opened):
        before = open(os.path.join(folder, name), 'rb').read()
        change(os.path.join(folder, name))
        code, out, err = run('gram', study)
        check(f'{kind}: another {name} is another kernel', code == 0 and 'skipped' not in err, f'{code} {err}')
        with open(os.path.join(folder, name), 'wb') as o: o.write(before)
        with open(f.at('every.h5'), 'wb') as o: o.write(kept)
    # What nobody asks for may change: a column, a row that is not drawn.
    with h5py.File(f.at('every.h5')) as h: rows = set(h['/data/train/rows'][:])
    table = open(f.at('train.tsv')).read(); lines = table.splitlines()
    spare = next(r for r in range(len(lines) - 1) if r not in rows)
    f.write('train.tsv', '\n'.join([lines[0] + '\tmore'] + [line.replace(' ', '  ') + '\t' if r == spare else line + '\tx' for r, line in enumerate(lines[1:])]) + '\n')
    code, out, err = run('gram', study); check(f'{kind}: a row that is not drawn may change', code == 0 and 'skipped' in err, err)
    f.write('train.tsv', table)

# Growth and checkpoints: never two models in one matrix.
grow = f.write('grow.toml', f.study(output__path='"grown.h5"', data__samples='560', **adapted))
def gram(path, samples, *more): return run('gram', grow, '--set', f'output.path={path}', '--set', f'data.samples={samples}', *more)
check('growth: status 0', gram('grown.h5', 560)[0] == 0)
with open(f.at('grown.h5'), 'rb') as o: small = o.read()
code, out, err = gram('grown.h5', 600); check('growth: an unchanged model keeps its rows', code == 0 and 'only the others' in err, err)
with open(f.at('grown.h5'), 'wb') as o: o.write(small)
gram('stopped.h5', 600, '--time-limit', '0s')
adapter_config(32)
code, out, err = gram('grown.h5', 600); check('growth: another lora_alpha begins from nothing', code == 0 and 'only the others' not in err, err)
check('growth: another lora_alpha, the kernel of a fresh run', gram('fresh.h5', 600)[0] == 0 and run('compare', f.at('grown.h5'), f.at('fresh.h5'))[0] == 0)
code, out, err = gram('stopped.h5', 600)
check('checkpoint: of another lora_alpha is refused by name', code == 5 and 'adapter_config.json is' in err and err.count('error:') == 1, f'{code} {err}')
adapter_config(2)
code, out, err = gram('stopped.h5', 600); check('checkpoint: of the same one goes on', code == 0 and 'goes on from the checkpoint' in err, err)

# Overwritten in place while the kernel is computed: nothing is written under the final name, and no checkpoint of two models.
long = f.write('long.toml', f.study(output__path='"long.h5"', data__samples='200', kernel__parameters='"all"', kernel__precision='"double"'))
for name, minutes in (('config.json', 0), ('model-2.safetensors', 0), ('model-2.safetensors', 0.001)):
    before = open(os.path.join(model, name), 'rb').read()
    arguments = ['gram', long, '--set', f'output.checkpoint_minutes={minutes}']
    p = subprocess.Popen([*([MPIEXEC, '-n', str(RANKS)] if RANKS > 1 else []), PROGRAM, *arguments], stderr=subprocess.PIPE, text=True)
    err = ''
    for line in p.stderr:
        err += line
        if 'gram: 200 examples' in line: break
    running = p.poll() is None; change(os.path.join(model, name))
    err += p.stderr.read(); code = p.wait(); what = f'overwritten {name}{", with checkpoints" if minutes else ""}'
    if running: check(f'{what}: status 3, named, nothing written', code == 3 and err.count('error:') == 1 and name in err and not os.path.exists(f.at('long.h5')) and (minutes or not glob.glob(f.at('long.h5*'))), f'{code} {err} {glob.glob(f.at("long.h5*"))}')
    else: print('skipped: overwritten (the run ended first)')
    with open(os.path.join(model, name), 'wb') as o: o.write(before)
    if minutes:
        code, out, err = run('gram', long); check(f'{what}: with the old file it goes on', code == 0, err)
        check(f'{what}: to the kernel of one model', run('gram', long, '--set', 'output.path=one.h5')[0] == 0 and run('compare', f.at('long.h5'), f.at('one.h5'))[0] == 0)
    for left in glob.glob(f.at('long.h5*')): os.remove(left)

# Ranks that see different files: every rank of an MPMD launch has a folder of its own.
if RANKS > 1:
    def split(): return [x for r in range(RANKS) for x in ((':',) if r else ()) + ('-n', '1', '--wdir', f.at(f'rank{r}'), PROGRAM, 'gram', 'study.toml')]
    for r in range(RANKS):
        os.mkdir(f.at(f'rank{r}')); shutil.copytree(model, f.at(f'rank{r}/model')); shutil.copy(f.at('train.tsv'), f.at(f'rank{r}/train.tsv'))
        f.write(f'rank{r}/study.toml', f.study(output__path=f'"{f.at("split.h5")}"', **adapted))
    def launch():
        p = subprocess.run([MPIEXEC, *split()], capture_output=True, text=True, timeout=300); return p.returncode, p.stderr
    code, err = launch(); check('ranks with copies of one model: status 0', code == 0, err); last = f.at(f'rank{RANKS - 1}')
    for left in glob.glob(f.at('split.h5*')): os.remove(left)
    os.remove(os.path.join(last, 'model/config.json')); code, err = launch()
    check('a rank that lacks a file: status 3, one message with its host', code == 3 and err.count('error:') == 1 and f'rank {RANKS - 1} on' in err, f'{code} {err}')
    shutil.copy(os.path.join(model, 'config.json'), os.path.join(last, 'model/config.json'))
    for name in ('study.toml', 'model/config.json', 'model/model-1.safetensors', 'model/adapter_config.json', 'model/adapter_model.safetensors', 'model/model.safetensors.index.json'):
        before = open(os.path.join(last, name), 'rb').read(); change(os.path.join(last, name))
        code, err = launch()
        check(f'ranks that see another {name}: status 3, one message', code == 3 and err.count('error:') == 1 and os.path.basename(name) in err and f'rank {RANKS - 1} ' in err and not glob.glob(f.at('split.h5')), f'{code} {err}')
        with open(os.path.join(last, name), 'wb') as o: o.write(before)
        for left in glob.glob(f.at('split.h5*')): os.remove(left)
f.remove(); finish()
