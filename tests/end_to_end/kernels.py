#!/usr/bin/env python3
"""What a kernel can be: formulas and groups, the loss, heads, LoRA, drawn weights, a masked model; growing, comparing, merging.
usage: kernels.py PROGRAM MPIEXEC RANKS TEST_DATA"""
import json, os, re, shutil, struct, sys
from support import DATA, RANKS, Folder, check, finish, run, unexplained
try:
    import h5py, numpy as np
except ImportError:
    print('skipped: python3-h5py is missing'); sys.exit(77)

f = Folder()
f.write('study.toml', f.study(data__test='"test.tsv"', data__test_samples='40', data__samples='300'))
code, out, err = run('run', f.at('study.toml'))
check('run: status 0', code == 0, err)
with h5py.File(f.at('out.h5')) as h: G, C, w = h['/kernel/gram'][:], h['/kernel/cross'][:], h['/spectrum/eigenvalues'][:]
# Comparing: only what is different counts, and provenance never does.
run('run', f.at('study.toml'), '--set', 'output.path=twin.h5')
code, out, err = run('compare', f.at('out.h5'), f.at('twin.h5'), ranks=RANKS)
check('compare: status 0 for the same study', code == 0 and 'to the last bit' in out and 'seconds_gram' in out, out)
run('run', f.at('study.toml'), '--set', 'output.path=threads.h5', environment={'OMP_NUM_THREADS': '3'})
code, out, err = run('compare', f.at('out.h5'), f.at('threads.h5'))
check('three threads per rank: the same to the last bit', code == 0 and 'to the last bit' in out, f'{code} {out} {err}')
with h5py.File(f.at('twin.h5'), 'r+') as h: h['/kernel/gram'][3, 5] += 0.5; h['/rates/decay'].attrs['first'] = 7; del h['/rates/stopping/eta']
code, out, err = run('compare', f.at('out.h5'), f.at('twin.h5'), ranks=RANKS)
check('compare: names what differs', code == 1 and '/kernel/gram: 1 entries differ, by 0.5' in out and '/rates/decay@first' in out and '/rates/stopping/eta: only in the first file' in out, out)
run('gram', f.at('study.toml'), '--set', 'output.path=less.h5', '--set', 'data.samples=120')
code, out, err = run('compare', f.at('out.h5'), f.at('less.h5'))
check('compare: names the keys of the study', code == 1 and 'data.samples: 300 | 120' in out and '/kernel/gram: shape (300, 300) | (120, 120)' in out, out)
def compared(path, change, rtol, ranks=None):
    """Status of `compare --rtol` after a change of one entry of a copy."""
    shutil.copy(f.at('out.h5'), f.at('changed.h5'))
    with h5py.File(f.at('changed.h5'), 'a') as h:
        values = h[path][:]; at = (0,) * values.ndim; values[at] = change(values[at], np.abs(values[np.isfinite(values)]).max()); h[path][...] = values
    return run('compare', f.at('out.h5'), f.at('changed.h5'), '--rtol', rtol, ranks=ranks)[0]
for path in ('spectrum/eigenvalues', 'kernel/gram', 'rates/stopping/train_mse'):
    check(f'compare: {path} within rtol, and beyond', [compared(path, lambda v, largest: v + 1e-10 * largest, rtol) for rtol in (0, 1e-12, 1e-9)] == [1, 1, 0], path)
    check(f'compare: {path}, NaN is within no rtol', compared(path, lambda v, largest: np.nan, 1, RANKS) == 1, path)
shutil.copy(f.at('out.h5'), f.at('changed.h5'))
with h5py.File(f.at('changed.h5'), 'a') as h: table = h['rates/stopping/epochs'][:]; table['batch'][0] += 1; h['rates/stopping/epochs'][...] = table
check('compare: an integer of a table is no rounding', [run('compare', f.at('out.h5'), f.at('changed.h5'), '--rtol', rtol)[0] for rtol in (0, 1)] == [1, 1])
# Another BLAS: certificates, checksums and the choice of the solver differ as well.
shutil.copy(f.at('out.h5'), f.at('changed.h5'))
for error, statuses in ((1e-15, [1, 0]), (1e-3, [1, 1])):
    with h5py.File(f.at('changed.h5'), 'a') as h:
        h['spectrum/quality'].attrs['residual_max'] += error; h['spectrum/quality'].attrs['solver_reason'] = 'another'
        h['spectrum/eigenvectors'].attrs.modify('checksum', 7)
    check(f'compare: a residual that differs by {error}', [run('compare', f.at('out.h5'), f.at('changed.h5'), '--rtol', rtol)[0] for rtol in (0, 1e-12)] == statuses)
shutil.copy(f.at('out.h5'), f.at('changed.h5'))
with h5py.File(f.at('changed.h5'), 'a') as h: floor = h['spectrum/quality'].attrs['noise_floor']; h['spectrum/quality'].attrs['noise_floor'] = 1.01 * floor
check('compare: a noise floor is of the scale of G', [run('compare', f.at('out.h5'), f.at('changed.h5'), '--rtol', rtol)[0] for rtol in (min(1e-3, 0.1 * floor), 0.1)] == [1, 0] and 0.01 * floor < 1e-3, floor)
for name, value in (('one.h5', 1.0), ('two.h5', 2.0)):
    shutil.copy(f.at('out.h5'), f.at(name))
    with h5py.File(f.at(name), 'a') as h: h['rates/stopping/train_mse'][:2] = np.inf, value
check('compare: an infinite entry is no scale', run('compare', f.at('one.h5'), f.at('two.h5'), '--rtol', '1e-3')[0] == 1)
check('compare: a missing file', run('compare', f.at('out.h5'), f.at('none.h5'), ranks=RANKS)[0] == 5)
code, out, err = run('rates', f.at('out.h5'))
check('an output file is no study', code == 2 and 'is an HDF5 file' in err and 'inspect' in err, f'{code} {err}')
# Merging, of runs on one rank, which are quick: the slopes are those of numpy over the runs' own numbers.
points = [(n, seed) for n in (60, 120, 240) for seed in (3, 4)]
for n, seed in points: run('run', f.at('study.toml'), '--set', f'data.samples={n}', '--set', f'data.seed={seed}', '--set', f'output.path=m{n}-{seed}.h5', '--set', 'rates.noise=0.5', '--set', 'rates.radius=1', ranks=1)
for n, seed in points:
    with h5py.File(f.at(f'm{n}-{seed}.h5'), 'a') as h: h['/rates/stopping'].attrs['radius'] = 1 + n / 100  # each in a ball of its own
code, out, err = run('merge', f.at('merged.h5'), *(f.at(f'm{n}-{seed}.h5') for n, seed in points), '--log-json', f.at('merged.json'), ranks=RANKS)
check('merge: status 0', code == 0 and 'critical_radius' in out, err)
with h5py.File(f.at('merged.h5')) as h:
    eps = {}
    for n, seed in points:
        with h5py.File(f.at(f'm{n}-{seed}.h5')) as one: a = one['/rates/stopping'].attrs; eps.setdefault(n, []).append(a['radius'] * a['critical_radius'])
    slope = -np.polyfit(np.log(list(eps)), [np.mean(np.log(np.square(values))) for values in eps.values()], 1)[0]
    row = [x for x in h['/rates/exponents'][:] if x['source'] == b'critical_radius'][0]
    check('merge: slope of the critical radius, each in its own ball', abs(row['value'] - slope) <= 1e-12 and row['low'] <= slope <= row['high'], (row, slope))
    check('merge: one row per run', len(h['/runs']) == 6 and sorted(set(h['/runs']['samples'])) == [60, 120, 240])
    for run_of in h['/runs'][:]:
        with h5py.File(run_of['file'].decode()) as one: path = one['/rates/stopping/test_mse'][:]
        check('merge: the best error of a run', run_of['mse_best'] == path.min(), (run_of['mse_best'], path.min()))
check('merge: one model is compared with none', 'models at' not in out)
said = {line['name']: line['value'] for line in map(json.loads, open(f.at('merged.json'))) if 'name' in line}
check('merge: exponents as numbers', said['exponent critical_radius'] == row['value'] and said['exponent critical_radius low'] == row['low'], said)
before = open(f.at('merged.h5'), 'rb').read()
code, out, err = run('run', f.at('study.toml'), '--set', 'output.path=merged.h5')
check('run: does not replace what merge wrote', code == 5 and 'merged.h5' in err and 'another command' in err and open(f.at('merged.h5'), 'rb').read() == before, f'{code} {err}')
code, out, err = run('verify', f.at('merged.h5'))
check('verify: of a table there is nothing to verify', code == 5 and 'neither' in err, f'{code} {err}')
# A key that an earlier version did not know counts as its default.
shutil.copy(f.at('m60-3.h5'), f.at('older.h5'))
with h5py.File(f.at('older.h5'), 'a') as h:
    at = h['/provenance'].attrs; newer = at['study']; older = re.sub(r'\n(window|density) = .*', '', newer); at['study'] = older
code, out, err = run('merge', f.at('ages.h5'), f.at('older.h5'), f.at('m120-3.h5'), f.at('m240-3.h5'))
with h5py.File(f.at('ages.h5')) as h: check('merge: a file without newer keys belongs to the same curve', code == 0 and len(older) < len(newer) and set(h['/runs']['curve']) == {b'all runs'}, (err, h['/runs']['curve']))
code, out, err = run('compare', f.at('older.h5'), f.at('m60-3.h5'))
check('compare: a file without newer keys is of the same study', code == 0, out)
# A run that learns nothing has a critical radius, and no rate follows from it: the row says so, and names the run.
shutil.copy(f.at('m60-3.h5'), f.at('idle.h5'))
with h5py.File(f.at('idle.h5'), 'a') as h: h['/rates/stopping'].attrs['stopping_step'] = 0.0
code, out, err = run('merge', f.at('zero.h5'), f.at('idle.h5'), f.at('m120-3.h5'), f.at('m240-3.h5'))
with h5py.File(f.at('zero.h5')) as h: rows = {r['source'].decode(): r for r in h['/rates/exponents'][:]}
check('merge: T = 0 has no rate, and says why', code == 0 and all(np.isnan(rows[s]['value']) and b'idle.h5: T = 0' in rows[s]['note'] for s in ('critical_radius', 'observed', 'observed_mse', 'stopping_step')) and np.isfinite(rows['observed_best_mse']['value']), (err, rows))
# What the runs warned of: each sentence once, with its runs.
warned = {'w1.h5': [('gram', 'of both'), ('rates', 'of one')], 'w2.h5': [('gram', 'of both')]}
for (name, lines), of in zip(warned.items(), ('m120-3.h5', 'm120-4.h5')):
    shutil.copy(f.at(of), f.at(name))
    with h5py.File(f.at(name), 'a') as h:
        kind = h['warnings'].dtype; del h['warnings']; h['warnings'] = np.array(lines, dtype=kind)
code, out, err = run('merge', f.at('warned.h5'), *map(f.at, warned), f.at('m240-3.h5'))
with h5py.File(f.at('warned.h5')) as h:
    told = [(row['stage'].decode(), row['text'].decode()) for row in h['warnings'][:]]
    check('merge: what the runs warned of', code == 0 and told == [('gram', f"{f.at('w1.h5')}, {f.at('w2.h5')}: of both"), ('rates', f"{f.at('w1.h5')}: of one")], told)
for name in warned: os.remove(f.at(name))

# Two choices of parameters, paired on the same test examples.
run('run', f.at('study.toml'), '--set', 'data.samples=60', '--set', 'data.seed=3', '--set', 'kernel.parameters=attention', '--set', 'output.path=a60.h5', '--set', 'rates.noise=0.5', '--set', 'rates.radius=1', ranks=1)
code, out, err = run('merge', f.at('merged.h5'), f.at('m60-3.h5'), f.at('a60.h5'), f.at('m120-3.h5'))
errors = []
for name in ('m60-3.h5', 'a60.h5'):
    with h5py.File(f.at(name)) as one: errors.append(one['/rates/stopping/test_squared_error'][:])
with h5py.File(f.at('merged.h5')) as h: rows = h['/models'][:] if 'models' in h else []
check('models: a row each at the common size, the least error first', code == 0 and [list(r) for r in (rows['samples'], rows['test_examples'])] == [[60] * 2, [len(errors[0])] * 2] and rows['mse'][0] <= rows['mse'][1], (err, rows))
worse, best = sorted(errors, key=lambda e: -e.mean())
check('models: the paired difference', np.isnan(rows['difference'][0]) and abs(rows['difference'][1] - (worse - best).mean()) <= 1e-12 and abs(rows['difference_standard_error'][1] - (worse - best).std(ddof=1) / len(best) ** 0.5) <= 1e-12, rows)
check('models: said in a sentence', 'paired on the same' in out and 'The error at T is least with parameters = ' in out, out)
run('run', f.at('study.toml'), '--set', 'data.samples=60', '--set', 'data.seed=4', '--set', 'kernel.parameters=attention', '--set', 'output.path=a60.h5', '--set', 'rates.noise=0.5', '--set', 'rates.radius=1', ranks=1)
code, out, err = run('merge', f.at('merged.h5'), f.at('m60-3.h5'), f.at('a60.h5'))
check('models: other draws are not paired', code == 0 and 'models are not compared' in out, out)
# Two draws of each: a test example counts once.
shutil.copy(f.at('a60.h5'), f.at('a60-4.h5'))
run('run', f.at('study.toml'), '--set', 'data.samples=60', '--set', 'data.seed=3', '--set', 'kernel.parameters=attention', '--set', 'output.path=a60.h5', '--set', 'rates.noise=0.5', '--set', 'rates.radius=1', ranks=1)
draws = {'m': ('m60-3.h5', 'm60-4.h5'), 'a': ('a60.h5', 'a60-4.h5')}
code, out, err = run('merge', f.at('merged.h5'), *(f.at(name) for names in draws.values() for name in names))
errors = {}
for model, names in draws.items():
    by_row = {}
    for name in names:
        with h5py.File(f.at(name)) as one:
            for row, e in zip(one['/data/test/rows'][:], one['/rates/stopping/test_squared_error'][:]): by_row.setdefault(row, []).append(e)
    errors[model] = by_row
means = {model: np.array([np.mean(errors[model][row]) for row in sorted(errors[model])]) for model in errors}
difference = means['m'] - means['a']; difference *= np.sign(difference.mean())
with h5py.File(f.at('merged.h5')) as h: rows = h['/models'][:] if 'models' in h else []
check('models: over draws', code == 0 and 'draws' in out and set(rows['test_examples']) == {len(difference)} and sum(map(len, errors['m'].values())) > len(difference), (out, err, rows))
check('models: over draws, the paired difference', abs(rows['difference'][1] - difference.mean()) <= 1e-12 and abs(rows['difference_standard_error'][1] - difference.std(ddof=1) / len(difference) ** 0.5) <= 1e-12, (rows, difference.mean()))
run('run', f.at('study.toml'), '--set', 'data.samples=60', '--set', 'kernel.output=logits', '--set', 'output.path=logits.h5', '--set', 'rates.noise=0.5', '--set', 'rates.radius=1', ranks=1)
code, out, err = run('merge', f.at('curves.h5'), f.at('m60-3.h5'), f.at('logits.h5'))
check('merge: curves have short names', code == 0 and out.startswith('output = logits\n') and '\noutput = margin\n' in out, f'{code} {out} {err}')
code, out, err = run('merge', f.at('merged.h5'), f.at('m60-3.h5'), f.at('m60-3.h5'), ranks=RANKS)
check('merge: the same run twice', code == 2 and 'leave one out' in err, err)
code, out, err = run('merge', f.at('merged.h5'), f.at('less.h5'))
check('merge: an unfinished run', code == 5 and 'tangram run' in err, err)
# Heads, LoRA and random weights: the same bits on one rank and on all; a classifier fitted by least squares begins there.
def both(name, *settings):
    for ranks, file in ((None, name), (1, name + '-1')):
        code, out, err = run('run', f.at('study.toml'), *[x for setting in (*settings, f'output.path={file}.h5') for x in ('--set', setting)], ranks=ranks)
        check(f'{name}: status 0', code == 0, err)
    with h5py.File(f.at(name + '.h5')) as a, h5py.File(f.at(name + '-1.h5')) as b:
        check(f'{name}: the same bits on one rank', all(np.array_equal(a['/kernel/' + x][:], b['/kernel/' + x][:]) for x in ('gram', 'cross', 'outputs_train')))
    return h5py.File(f.at(name + '.h5'))
with both('classifier', 'model.head=classifier', 'model.head_init=least-squares') as h:
    z = h['/kernel/outputs_train'][:]; y = np.where(h['/data/train/labels'][:] == 1, 1.0, -1.0); margin = z[:, 1] - z[:, 0]
    # More examples than features: the fit's residual is orthogonal to the fit, and less than the targets.
    check('classifier: begins at the least-squares fit', abs((y - margin) @ margin) <= 1e-3 * (margin @ margin) and ((y - margin) ** 2).mean() < 0.9, ((y - margin) @ margin, margin @ margin))
    check('classifier: labels are its rows', list(h['/data/label_token_ids'][:]) == [0, 1])
# Tokens of an earlier file, whose label words a classifier does not need.
code, out, err = run('gram', f.at('study.toml'), *[x for setting in ('model.head=classifier', 'data.train=out.h5', 'data.test=', 'data.samples=0', 'output.path=tokens.h5') for x in ('--set', setting)])
with h5py.File(f.at('tokens.h5')) as h, h5py.File(f.at('out.h5')) as plain:
    check('classifier: tokens of another file', code == 0 and h['/kernel/outputs_train'].shape == (300, 2) and sorted(h['/data/train/labels'][:]) == sorted(plain['/data/train/labels'][:]), err)
    check('tokens: the keys of texts are said to be unread', 'data.template is not read: ' in err and 'holds tokens' in err, err)
code, out, err = run('gram', f.at('study.toml'), *[x for setting in ('data.train=out.h5', 'data.test=', 'data.samples=20', 'data.label_words=[" good"," great"]', 'output.path=tokens.h5') for x in ('--set', setting)])
check('tokens: so are label words', code == 0 and 'data.template, data.label_words is not read: ' in err, err)
code, out, err = run('gram', f.at('study.toml'), *[x for setting in ('data.test=train.tsv', 'data.samples=60', 'data.test_samples=20', 'output.path=tokens.h5') for x in ('--set', setting)])
check('test examples that are trained on are counted', code == 0 and '20 of 20 test examples are trained on' in err, err)
# Labels that are numbers: as many as the file has, drawn or not, without gaps.
texts = ['a film that works', 'a dull film', 'a bad one', 'a film for all', 'as good as the first', 'not good at all']
for labels, statuses in (('000112', 0), ('111222', 3), ('000223', 3)):
    f.write('numbered.tsv', 'text\tlabel\n' + ''.join(f'{t}\t{l}\n' for t, l in zip(texts, labels)))
    code, out, err = run('gram', f.at('study.toml'), *[x for setting in ('model.head=classifier', 'data.train=numbered.tsv', 'data.test=', 'data.samples=2', 'output.path=numbered.h5') for x in ('--set', setting)])
    check(f'classifier: labels {labels}', code == statuses and (code == 0 or 'numbered.tsv: holds labels up to' in err and f'no row with {"0" if labels[0] == "1" else "1"};' in err), f'{code} {err}')
with h5py.File(f.at('numbered.h5')) as h: check('classifier: a label that is not drawn counts', h['/kernel/outputs_train'].shape == (2, 3))
with both('lora', 'kernel.lora_rank=3', 'kernel.lora_alpha=6', 'rates.neighbours=3') as h:
    with h5py.File(f.at('lora-1.h5')) as one: check('neighbours: the same bits on one rank', all(np.array_equal(h['/neighbours/' + x][:], one['/neighbours/' + x][:]) for x in ('nearest', 'cosines', 'mse', 'effective_dimension')))
    A = h['/kernel/lora/transformer.h.3.mlp.c_fc.lora_A.weight'][:]
    check('lora: A is stored, its B counts', A.shape == (3, 128) and 0.4 < A.std() < 0.8 and b'transformer.h.3.mlp.c_fc.lora_B.weight' in h['/kernel/tensors']['name'])
# The same factors from an adapter with B = 0: the kernel is the same; A, whose gradient is zero, counts too.
with h5py.File(f.at('lora.h5')) as h: factors = {name: h['/kernel/lora/' + name][:].astype('<f4') for name in h['/kernel/lora']}; L = h['/kernel/gram'][:]
rows = {'q_proj': 128, 'k_proj': 128, 'v_proj': 128, 'out_proj': 128, 'c_fc': 512, 'c_proj': 128}
for name in list(factors): factors[name.replace('lora_A', 'lora_B')] = np.zeros((rows[name.split('.')[-3]], 3), '<f4')
header, offset = {}, 0
for name, x in factors.items(): header['base_model.model.' + name] = {'dtype': 'F32', 'shape': list(x.shape), 'data_offsets': [offset, offset + x.nbytes]}; offset += x.nbytes
text = json.dumps(header).encode(); text += b' ' * (-len(text) % 8)
with open(f.at('model/adapter_model.safetensors'), 'wb') as out: out.write(struct.pack('<Q', len(text)) + text + b''.join(x.tobytes() for x in factors.values()))
f.write('model/adapter_config.json', json.dumps({'peft_type': 'LORA', 'r': 3, 'lora_alpha': 6, 'bias': 'none', 'target_modules': ['q_proj']}))
with both('adapter', 'kernel.lora_rank=3') as h:
    check('adapter: the kernel of its factors', np.array_equal(h['/kernel/gram'][:], L) and any(b'lora_A' in name for name in h['/kernel/tensors']['name']))
code, out, err = run('gram', f.at('study.toml'), '--set', 'kernel.lora_rank=2', '--set', 'output.path=none.h5')
check('adapter: another rank', code == 2 and 'adapter_config.json' in err and 'r = 3' in err, err)
code, out, err = run('gram', f.at('study.toml'), '--set', 'kernel.lora_rank=3', '--set', 'kernel.parameters=attention', '--set', 'output.path=none.h5')
check('adapter: a module that it does not have', code == 2 and 'does not adapt' in err, err)
for name in ('adapter_model.safetensors', 'adapter_config.json'): os.remove(f.at('model/' + name))
with both('drawn', 'model.init=random') as h, h5py.File(f.at('out.h5')) as trained:
    check('random weights: another kernel', not np.array_equal(h['/kernel/gram'][:], trained['/kernel/gram'][:]))
os.remove(f.at('model/model.safetensors'))
code, out, err = run('gram', f.at('study.toml'), '--set', 'model.init=random', '--set', 'output.path=none.h5')
check('random weights: need no checkpoint', code == 0, err)
shutil.copy(os.path.join(DATA, 'neo-mini', 'model.safetensors'), f.at('model/model.safetensors'))
code, out, err = run('gram', f.at('study.toml'), '--set', 'model.init=mixed', '--set', 'output.path=none.h5')
check('mixed: a tied head is no head', code == 2 and 'classifier' in err, err)
code, out, err = run('gram', f.at('study.toml'), '--set', 'kernel.parameters=norm', '--set', 'kernel.lora_rank=2', '--set', 'output.path=none.h5')
check('lora: nothing to adapt', code == 2 and 'linear' in err, err)
# The trained head of a *ForSequenceClassification: its own labels, by number or by name, and neither template nor words.
shutil.copytree(f.at('model'), f.at('trained'))
with open(f.at('model/model.safetensors'), 'rb') as stored: data = stored.read()
length = struct.unpack('<Q', data[:8])[0]; header = json.loads(data[8:8 + length]); end = len(data) - 8 - length
score = np.random.default_rng(1).normal(0, 0.02, (2, 128)).astype('<f4')
text = json.dumps(header | {'score.weight': {'dtype': 'F32', 'shape': [2, 128], 'data_offsets': [end, end + score.nbytes]}}).encode(); text += b' ' * (-len(text) % 8)
with open(f.at('trained/model.safetensors'), 'wb') as out: out.write(struct.pack('<Q', len(text)) + text + data[8 + length:] + score.tobytes())
f.write('trained/config.json', json.dumps(json.load(open(f.at('model/config.json'))) | {'architectures': ['GPTNeoForSequenceClassification'], 'id2label': {'0': 'BAD', '1': 'GOOD'}}))
trained = ('model.path=trained', 'model.head=checkpoint', 'data.template=', 'data.label_words=[]', 'kernel.parameters=["transformer.h.3.*", "head"]')
with both('trained', *trained) as h:
    check('trained head: a margin, and its tensor', h['/kernel/gram'].shape == (300, 300) and b'score.weight' in h['/kernel/tensors']['name'] and len(h['warnings']) == 0, h['warnings'][:])
f.write('named.tsv', open(f.at('train.tsv')).read().replace('\t0\n', '\tBAD\n').replace('\t1\n', '\tGOOD\n'))
code, out, err = run('gram', f.at('study.toml'), *[x for setting in (*trained, 'data.train=named.tsv', 'output.path=named.h5') for x in ('--set', setting)])
with h5py.File(f.at('named.h5')) as h, h5py.File(f.at('trained.h5')) as numbered: check('trained head: labels by name', code == 0 and np.array_equal(h['/data/train/labels'][:], numbered['/data/train/labels'][:]), err)
code, out, err = run('gram', f.at('study.toml'), '--set', 'model.path=trained', '--set', 'output.path=unused.h5')
with h5py.File(f.at('unused.h5')) as h: check('trained head: left unused beside another', code == 0 and any(b'score.weight' in w['text'] for w in h['warnings'][:]), err)
# Label words of several tokens, and completions: whole rows of the vocabulary count, the same bits on one rank and on all.
words = ('data.score=log-likelihood', 'data.label_words=[" magnificent", " dreadful"]', 'data.samples=50', 'data.test_samples=8', 'kernel.parameters=["transformer.h.3.*", "transformer.wte.weight"]')
with both('words', *words, 'kernel.output=logits') as h:
    z, offsets, N = h['/kernel/outputs_train'][:], h['/data/label_offsets'][:], h['/kernel/gram'].shape[0]
    check('words: of several tokens, a row for each', N == 100 and len(offsets) == 3 and max(np.diff(offsets)) > 1 and offsets[-1] == len(h['/data/label_token_ids']) and (z < 0).all(), (N, offsets))
    check('words: rates with their targets', '/rates/stopping' in h)
    W = h['/kernel/gram'][:]
with both('word-margin', *words) as h:
    # One backward pass through both sequences against those of each: the products of float32 chains round differently.
    M = W[1::2, 1::2] - W[1::2, ::2] - W[::2, 1::2] + W[::2, ::2]
    check('words: the margin is their difference', np.abs(h['/kernel/gram'][:] - M).max() <= 1e-5 * np.abs(W).max(), np.abs(h['/kernel/gram'][:] - M).max() / np.abs(W).max())
code, out, err = run('gram', f.at('study.toml'), *[x for setting in (*words, 'kernel.output=logits', 'data.train=words.h5', 'data.test=words.h5', 'data.samples=0', 'data.test_samples=0', 'output.path=words-again.h5') for x in ('--set', setting)])
with h5py.File(f.at('words-again.h5')) as h: check('words: tokens of another file', code == 0 and sorted(np.diag(h['/kernel/gram'])) == sorted(np.diag(W)), err)
code, out, err = run('gram', f.at('study.toml'), '--set', 'data.label_words=[" magnificent", " dreadful"]', '--set', 'output.path=none.h5')
check('words: of several tokens have no logit', code == 2 and 'log-likelihood' in err and 'data.label_words' in err, err)
code, out, err = run('plan', f.at('study.toml'), '--tensors', *[x for setting in words for x in ('--set', setting)])
check('words: planned', code == 0 and 'transformer.wte.weight' in out, err)
with open(f.at('pairs.jsonl'), 'w') as pairs:
    for i, line in enumerate(open(f.at('train.tsv')).read().splitlines()[1:41]): pairs.write(json.dumps({'text': line.split('\t')[0], 'answer': ('it was a fine film', 'no good at all', 'yes')[i % 3]}) + '\n')
pairs = ('data.train=pairs.jsonl', 'data.test=pairs.jsonl', 'data.completion=answer', 'data.score=mean-log-likelihood', 'data.label_words=[]', 'data.template={text} I say: ', 'data.samples=30', 'data.test_samples=5')
with both('pairs', *pairs) as h:
    check('pairs: a row for each, and no targets', h['/kernel/gram'].shape == (30, 30) and h['/kernel/outputs_train'].shape == (30, 1) and 'label_token_ids' not in h['/data'] and len(h['/data/train/completion_offsets']) == 31 and '/rates/decay' in h)
code, out, err = run('inspect', f.at('pairs.h5'), ranks=RANKS)
check('pairs: inspect', code == 0 and 'completions' in out, err)
code, out, err = run('run', f.at('study.toml'), *[x for setting in (*pairs, 'output.path=pairs.h5', 'data.samples=40') for x in ('--set', setting)])
with h5py.File(f.at('pairs.h5')) as h, h5py.File(f.at('pairs-1.h5')) as small: check('pairs: more of them', code == 0 and np.array_equal(h['/kernel/gram'][:30, :30], small['/kernel/gram'][:]), err)
# A masked model, its mask in the template.
shutil.copytree(os.path.join(DATA, 'bert-mini'), f.at('bert'))
bert = ('model.path=' + f.at('bert'), 'data.template={text} It was [MASK].', 'data.label_words=["bad", "great"]', 'kernel.parameters=attention')
code, out, err = run('gram', f.at('study.toml'), *[x for setting in (*bert, 'data.score=log-likelihood', 'output.path=none.h5') for x in ('--set', setting)])
check('masked: no log-likelihoods', code == 2 and 'data.score' in err, err)
with both('masked', *bert) as h:
    ids, offsets, reads = (h['/data/train/' + x][:] for x in ('token_ids', 'offsets', 'reads'))
    check('masked: read at the mask', (ids[offsets[:-1] + reads] == 4).all() and len(reads) == 300)
code, out, err = run('gram', f.at('study.toml'), *[x for setting in (*bert, 'data.template={text} It was', 'output.path=none.h5') for x in ('--set', setting)])
check('masked: a template without its mask', code == 2 and '[MASK]' in err, err)
# Growing: a larger sample takes over what the file of a smaller one holds, in tiles of 128 rows: into the last one and beyond; the same bits as from nothing.
grow = [x for setting in ('kernel.formula=["sgd", "asymmetric-signgd"]', 'kernel.groups=kind', 'kernel.parameters=["transformer.h.3.ln_*", "transformer.h.3.attn.attention.*_proj.weight", "transformer.h.3.mlp.*.bias"]') for x in ('--set', setting)]
run('gram', f.at('study.toml'), *grow, '--set', 'output.path=whole.h5', '--set', 'data.samples=400')
run('gram', f.at('study.toml'), *grow, '--set', 'output.path=grown.h5')
code, out, err = run('gram', f.at('study.toml'), *grow, '--set', 'output.path=grown.h5', '--set', 'data.samples=350', ranks=2)
check('growing: says what it takes over', code == 0 and 'first 300 examples' in err, err)
code, out, err = run('gram', f.at('study.toml'), *grow, '--set', 'output.path=grown.h5', '--set', 'data.samples=400', '--time-limit', '0s')
code, out, err = run('gram', f.at('study.toml'), *grow, '--set', 'output.path=grown.h5', '--set', 'data.samples=400')
check('growing: status 0', code == 0, err)
with h5py.File(f.at('grown.h5')) as a, h5py.File(f.at('whole.h5')) as b:
    for path in ('gram', 'cross', 'test_diagonal', 'asymmetric-signgd/gram', 'asymmetric-signgd/cross', 'groups/mlp/gram', 'groups/norm/gram'):
        check('growing: the same bits, ' + path, np.array_equal(a['/kernel/' + path][:], b['/kernel/' + path][:]))
    check('growing: the same shares', np.array_equal(a['/kernel/tensors']['trace_share'], b['/kernel/tensors']['trace_share']))
code, out, err = run('gram', f.at('study.toml'), *grow, '--set', 'output.path=grown.h5', '--set', 'data.samples=410', '--set', 'data.seed=9')
check('growing: another draw starts from nothing', code == 0 and 'first' not in err, err)
# Several formulas and groups in one pass; what each is, from what the file holds and from studies of their own.
code, out, err = run('run', f.at('study.toml'), '--set', 'kernel.formula=["sgd", "signgd", "asymmetric-signgd"]', '--set', 'kernel.groups=kind', '--set', 'output.path=formulas.h5')
check('formulas: status 0', code == 0, err)
code, out, err = run('gram', f.at('study.toml'), '--set', 'kernel.formula=signgd', '--set', 'output.path=signs.h5')
with h5py.File(f.at('formulas.h5')) as h, h5py.File(f.at('signs.h5')) as signs:
    check('formulas: the first has the bits of a study of its own', np.array_equal(h['/kernel/gram'][:], G) and np.array_equal(h['/kernel/cross'][:], C) and np.array_equal(h['/spectrum/eigenvalues'][:], w))
    check('formulas: so has signgd', all(np.array_equal(h['/kernel/signgd/' + x][:], signs['/kernel/' + x][:]) for x in ('gram', 'cross', 'test_diagonal')))
    S, A = h['/kernel/signgd/gram'][:], h['/kernel/asymmetric-signgd/gram'][:]
    # The largest entries a row can have: <s, s> counts its parameters that move, <g, s> is the sum of their |g|.
    check('formulas: signs count parameters', (S == np.round(S)).all() and S.diagonal().max() <= h['/kernel/tensors']['size'].sum())
    check('formulas: row i plain, column j signed', np.abs(A).max(1).argmax() == A.diagonal().argmax() and (A <= A.diagonal()[:, None]).all() and not np.array_equal(A, A.T))
    check('formulas: Cauchy-Schwarz', (A.diagonal() <= np.sqrt(G.diagonal() * S.diagonal()) * (1 + 1e-6)).all())
    check('formulas: spectrum of signgd', np.abs(np.linalg.eigvalsh(S)[::-1] - h['/spectrum/signgd/eigenvalues'][:]).max() <= 1e-12 * np.linalg.norm(S, 2))
    check('formulas: none of the asymmetric one', 'asymmetric-signgd' not in h['/spectrum'])
    groups = {name: g['gram'][:] for name, g in h['/kernel/groups'].items()}
    check('groups: add up to the whole', set(groups) == {'attention', 'mlp', 'norm'} and np.abs(sum(groups.values()) - G).max() <= 1e-13 * G.max(), groups.keys())
code, out, err = run('spectrum', f.at('study.toml'), '--set', 'kernel.formula=["sgd", "signgd", "asymmetric-signgd"]', '--set', 'kernel.groups=kind', '--set', 'output.path=formulas.h5', '--groups', 'norm,attention')
with h5py.File(f.at('formulas.h5')) as h:
    check('groups: spectrum of a union', code == 0 and np.abs(np.linalg.eigvalsh(groups['attention'] + groups['norm'])[::-1] - h['/spectrum/groups/attention+norm/eigenvalues'][:]).max() <= 1e-12 * w[0], err)
    check('groups: the whole spectrum stays', np.array_equal(h['/spectrum/eigenvalues'][:], w) and '/rates/decay' in h)
code, out, err = run('verify', f.at('formulas.h5')); check('verify: every spectrum', code == 0 and all(x in out for x in ('spectrum/signgd: 300 ', 'spectrum/groups/attention+norm: 300 ', 'checksums of ')), f'{code} {out} {err}')
code, out, err = run('spectrum', f.at('study.toml'), '--set', 'kernel.formula=["sgd", "signgd", "asymmetric-signgd"]', '--set', 'kernel.groups=kind', '--set', 'output.path=formulas.h5', '--groups', 'mlp', '--set', 'spectrum.vectors=false')
code, out, err = run('verify', f.at('formulas.h5')); check('verify: a group of other settings leaves the study of the whole', code == 0 and 'spectrum/groups/mlp: 300 ' in out, f'{code} {out} {err}')
with h5py.File(f.at('formulas.h5'), 'r+') as h: h['/kernel/signgd/cross'][3, 5] += 1.0; h['/spectrum/groups/attention+norm/eigenvalues'][7] *= 1.001
code, out, err = run('verify', f.at('formulas.h5')); check('verify: names what was changed', code == 4 and '/kernel/signgd/cross has another checksum' in err and 'spectrum/groups/attention+norm: trace error' in err and 'spectrum/signgd: ' not in err, f'{code} {err}')
code, out, err = run('run', f.at('study.toml'), '--set', 'kernel.output=loss', '--set', 'output.path=loss.h5')
with h5py.File(f.at('loss.h5')) as h, h5py.File(f.at('out.h5')) as plain:
    # Two labels: d loss = (p_y - 1) y d margin / 1, so the kernel is the margin's, scaled by each row's p - [y = 1].
    z = plain['/kernel/outputs_train'][:]; p1 = 1 / (1 + np.exp(z[:, 0] - z[:, 1])); c = p1 - plain['/data/train/labels'][:]
    check('loss: the margin kernel scaled', code == 0 and np.abs(h['/kernel/gram'][:] - c[:, None] * G * c).max() <= 2e-5 * (c ** 2 * G.diagonal()).max(), err)
    check('loss: decay without a stopping step', np.isnan(h['/rates/stopping'].attrs['stopping_step']) and h['/rates/decay'].attrs['selected'] != '' and len(h['/rates/stopping/step']) == 0)
# Without targets rates need no vectors; with them they do.
for output, status in (('loss', 0), ('margin', 5)):
    settings = ['--set', 'kernel.output=' + output, '--set', 'data.samples=40', '--set', f'output.path=no-{output}.h5']
    for command in (['gram'], ['spectrum', '--set', 'spectrum.vectors=false']): run(*command, f.at('study.toml'), *settings)
    code, _, err = run('rates', f.at('study.toml'), *settings)
    check(f'rates of {output} without vectors: {status}', code == status and (status == 0 or '/spectrum/eigenvectors' in err and 'spectrum.vectors = true' in err), f'{code} {err}')
os.remove(f.at('twin.h5'))  # of which a data set was taken
found, files = unexplained(f.path)
check(f'files: everything says what it is', files >= 3 and not found, (files, found[:5]))
f.remove(); finish()
