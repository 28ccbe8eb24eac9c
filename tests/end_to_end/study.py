#!/usr/bin/env python3
"""A whole study on the embedded model: what the file holds, checked by h5py and numpy; skipping, changed inputs, prefixes;
stopping by signal and by time limit and going on; locks. usage: study.py PROGRAM MPIEXEC RANKS TEST_DATA"""
import fcntl, glob, hashlib, json, os, re, shutil, signal, subprocess, sys, time
from support import DATA, MPIEXEC, PROGRAM, RANKS, Folder, check, failures, finish, run, unexplained
try:
    import h5py, numpy as np
except ImportError:
    print('skipped: python3-h5py is missing'); sys.exit(77)

f = Folder()
f.write('study.toml', f.study(data__test='"test.tsv"', data__test_samples='40', data__samples='300'))
code, out, err = run('run', f.at('study.toml'))
check('run: status 0', code == 0, err)
check('run: prints the stopping step', 'T = ' in out, out)
with h5py.File(f.at('out.h5')) as h:
    G, C, w, V = h['/kernel/gram'][:], h['/kernel/cross'][:], h['/spectrum/eigenvalues'][:], h['/spectrum/eigenvectors'][:]
    check('gram: exactly symmetric', np.array_equal(G, G.T))
    check('gram: shape', G.shape == (300, 300) and C.shape == (40, 300))
    # Backward stability: both solvers err by a small multiple of n 2^-52 of the largest.
    check('spectrum: as numpy finds it', np.abs(np.linalg.eigvalsh(G)[::-1] - w).max() <= 1e-12 * w[0])
    check('spectrum: row i is eigenvector i', np.abs(V @ G - w[:, None] * V).max() <= 1e-12 * w[0])
    check('spectrum: orthonormal', np.abs(V @ V.T - np.eye(300)).max() <= 1e-12)
    check('text attributes are str', isinstance(h['/spectrum/quality'].attrs['solver'], str))
    check('tensors: shares add up', abs(h['/kernel/tensors']['trace_share'].sum() - 1) <= 1e-12)
    scales = {path: [[s.name for s in d.values()] for d in h[path].dims] for path in ('/kernel/gram', '/kernel/cross', '/spectrum/eigenvectors', '/kernel/outputs_test', '/rates/alignment/residual', '/rates/stopping/train_mse')}
    train, test, modes = ['/data/train/rows'], ['/data/test/rows'], ['/spectrum/eigenvalues']
    check('axes: their scales', scales == {'/kernel/gram': [train, train], '/kernel/cross': [test, train], '/spectrum/eigenvectors': [modes, train], '/kernel/outputs_test': [test, ['/data/label_token_ids']], '/rates/alignment/residual': [[], []], '/rates/stopping/train_mse': [['/rates/stopping/step']]}, scales)
    check('provenance: one peak per rank', len(h['/provenance'].attrs['peak_bytes_per_rank']) == RANKS)
    # The stopping rule and the error path, spelled out (docs/mathematics.md), from what the file holds.
    s = h['/rates/stopping'].attrs; n = 300; l = np.maximum(w / n, 0)
    y = np.where(h['/data/train/labels'][:] == 1, 1.0, -1.0); f0 = h['/kernel/outputs_train'][:, 1] - h['/kernel/outputs_train'][:, 0]
    r = y - f0; mean = r.mean(); z = V @ (r - mean)
    check('rates: coefficients', np.abs(h['/rates/alignment/residual'][:, 0] - z).max() <= 1e-10 * np.abs(z).max())
    def condition(t): eta = s['step_size'] * t; return np.sqrt(np.minimum(l, 1 / eta).mean()) > s['radius'] / (2 * np.e * s['noise'] * eta)
    T = s['stopping_step']; check('rates: T by the rule', condition(T + 1) and (T == 0 or not condition(T)), T)
    step = h['/rates/stopping/step'][:]; k = np.searchsorted(step, T); check('rates: T is on the path', step[k] == T)
    a, t = s['step_size'], step[k]; q = 1 - (1 - a * l) ** t
    check('rates: training error at T', abs(h['/rates/stopping/train_mse'][k] - ((1 - q) ** 2 * z ** 2).mean()) <= 1e-9)
    # The same training, step by step, on training and test outputs.
    ft, fx = np.zeros(n), np.zeros(40)
    yt = np.where(h['/data/test/labels'][:] == 1, 1.0, -1.0); f0t = h['/kernel/outputs_test'][:, 1] - h['/kernel/outputs_test'][:, 0]
    for i in range(30):
        residual = r - mean - ft; ft = ft + a / n * (G @ residual); fx = fx + a / n * (C @ residual)
    k = int(np.where(step == 30)[0][0]) if (step == 30).any() else None
    if k is None:
        k = int(np.argmin(np.abs(step - 30))); ft, fx = np.zeros(n), np.zeros(40)
        for i in range(int(step[k])): residual = r - mean - ft; ft = ft + a / n * (G @ residual); fx = fx + a / n * (C @ residual)
    check('rates: training error by gradient descent', abs(((r - mean - ft) ** 2).mean() - h['/rates/stopping/train_mse'][k]) <= 1e-9)
    check('rates: test error by gradient descent', abs(((yt - f0t - mean - fx) ** 2).mean() - h['/rates/stopping/test_mse'][k]) <= 1e-9)
    eps = s['critical_radius']; check('rates: critical radius by its definition', abs(np.sqrt(np.minimum(l, eps ** 2).mean()) * 2 * np.e * s['noise'] / s['radius'] / eps ** 2 - 1) <= 1e-9)
    rows = h['/data/train/rows'][:]
check('verify: status 0', run('verify', f.at('out.h5'))[0] == 0)
check('inspect: status 0', run('inspect', f.at('out.h5'))[0] == 0)
before = os.stat(f.at('out.h5')).st_mtime_ns
code, out, err = run('run', f.at('study.toml'))
check('again: all three stages skipped', code == 0 and err.count('skipped') == 3 and os.stat(f.at('out.h5')).st_mtime_ns == before, err)
code, out, err = run('run', f.at('study.toml'), '--set', 'rates.noise=0.5')
check('changed noise: only the rates again', code == 0 and err.count('skipped') == 2, err)
code, out, err = run('run', f.at('study.toml'), '--set', 'data.samples=120', '--set', 'output.path=small.h5')
with h5py.File(f.at('small.h5')) as h, h5py.File(f.at('out.h5')) as large:
    check('fewer samples: a prefix, bit for bit', np.array_equal(h['/kernel/gram'][:], large['/kernel/gram'][:120, :120]) and np.array_equal(h['/data/train/rows'][:], rows[:120]))
with h5py.File(f.at('out.h5'), 'r+') as h: h['/kernel/gram'][3, 5] += 1.0
code, out, err = run('verify', f.at('out.h5'))
check('verify: a changed entry fails with status 4', code == 4 and 'symmetric' in err, f'{code} {err}')

# The largest eigenpairs alone. T by its definition from all eigenvalues; sigma large enough that the others cannot matter.
code, out, err = run('run', f.at('study.toml'), '--set', 'data.samples=120', '--set', 'output.path=some.h5', '--set', 'spectrum.count=9', '--set', 'rates.noise=0.5', '--set', 'rates.radius=0.05')
check('count: status 0', code == 0, err)
shutil.copy(f.at('some.h5'), f.at('exact.h5'))
code, out, err = run('rates', f.at('study.toml'), '--set', 'data.samples=120', '--set', 'output.path=exact.h5', '--set', 'spectrum.count=9', '--set', 'rates.noise=0', '--set', 'rates.radius=0.05')
with h5py.File(f.at('exact.h5')) as h: s = h['/rates/stopping'].attrs; check('count: sigma = 0 never stops, whatever is left out', code == 0 and s['stopping_step'] == np.inf and s['critical_radius'] == 0, (err, dict(s)))
with h5py.File(f.at('some.h5')) as h, h5py.File(f.at('small.h5')) as whole:
    w, V, s = h['/spectrum/eigenvalues'][:], h['/spectrum/eigenvectors'][:], h['/rates/stopping'].attrs
    l = whole['/spectrum/eigenvalues'][:] / 120; sigma, T = 0.5 / 0.05, 0
    while np.sqrt(np.minimum(l, l[0] / (T + 1)).mean()) <= l[0] / (T + 1) / (2 * np.e * sigma): T += 1
    check('count: the largest', h['/spectrum'].attrs['count'] == 9 and np.abs(w / 120 - l[:9]).max() <= 1e-12 * l[0])
    check('count: their vectors', V.shape == (9, 120) and np.abs(V @ h['/kernel/gram'][:] - w[:, None] * V).max() <= 1e-12 * w[0])
    check('count: T between its bounds', s['stopping_step_low'] <= T <= s['stopping_step_high'] and (s['stopping_step'] == T or s['stopping_step_low'] < s['stopping_step_high']), (T, dict(s)))
    check('count: said', any('9 of 120 eigenvalues are known (spectrum.count)' in str(text) for _, text in h['/warnings'][:]) and '/rates/learning_curve' not in h)
    why = [bytes(row['note']).decode() for row in h['/rates/exponents'][:] if np.isnan(row['value'])] + [s['error_bound_reason']]
    check('count: a given sigma is not called unknown', any('9 of 120' in x for x in why) and not any('sigma' in x for x in why), why)
code, out, err = run('verify', f.at('some.h5')); check('count: verify', code == 0 and '9 eigenvalues' in out, f'{code} {out} {err}')
code, out, err = run('run', f.at('study.toml'), '--set', 'data.samples=120', '--set', 'output.path=never.h5', '--set', 'spectrum.count=121'); check('count: more than the rows', code == 2 and 'spectrum.count' in err and '120' in err and not os.path.exists(f.at('never.h5')), err)

# A Gram matrix whose rows are of two models: cross entries of another size than the kernels of both allow.
with h5py.File(f.at('out.h5'), 'r+') as h:
    G = h['/kernel/gram'][:]; G[3, 5] = G[5, 3]; d = np.sqrt(np.diag(G)); G[:9, 9:] = np.outer(d[:9], d[9:]); G[9:, :9] = G[:9, 9:].T
    h['/kernel/gram'][:] = G; w, V = np.linalg.eigh(G); h['/spectrum/eigenvalues'][:] = w[::-1]; h['/spectrum/eigenvectors'][:] = V.T[::-1]
    del h['/kernel/gram'].attrs['checksum'], h['/spectrum/eigenvectors'].attrs['checksum']
code, out, err = run('verify', f.at('out.h5'))
check('verify: no J J^T of one model', code == 4 and 'negative beyond rounding' in err and 'checksum' not in err, f'{code} {err}')
code, out, err = run('spectrum', f.at('study.toml'), '--set', 'spectrum.solver=scalapack-mrrr')
check('spectrum: no J J^T of one model', code == 4 and '/kernel/gram' in err and 'negative beyond rounding' in err, f'{code} {err}')

# Somebody else's matrix, not symmetric in its last bits and stored as float32.
A = np.random.default_rng(1).normal(size=(70, 70)); A = (A + A.T).astype(np.float32)
A[3, 5] *= np.float32(1 + 2e-6); B = (A.astype(float) + A.T) / 2
with h5py.File(f.at('matrix.h5'), 'w') as h: h.create_dataset('/a/b', data=A, chunks=(16, 16), compression='gzip')
code, out, err = run('spectrum', '--matrix', f.at('matrix.h5') + ':/a/b', '--output', f.at('foreign.h5'))
check('matrix: status 0', code == 0, err)
if code == 0:
    with h5py.File(f.at('foreign.h5')) as h:
        w = h['/spectrum/eigenvalues'][:]
        check('matrix: eigenvalues', np.abs(w - np.linalg.eigvalsh(B)[::-1]).max() <= 1e-12 * np.abs(w).max())
        said = [str(text) for _, text in h['/warnings'][:]]
        check('matrix: the mean is said, and that it is no Gram matrix', len(said) == 2 and 'off symmetry' in said[0] and 'float32' in said[0] and 'beyond rounding' in said[1] and h['/spectrum/quality'].attrs['negative_explained'] == 0, said)
with h5py.File(f.at('matrix.h5'), 'w') as h: h['/a/b'] = np.triu(np.ones((5, 5)))
code, out, err = run('spectrum', '--matrix', f.at('matrix.h5') + ':/a/b', '--output', f.at('foreign.h5'))
check('matrix: an asymmetric one is refused by entry', code == 3 and 'not symmetric' in err, f'{code} {err}')

code, out, err = run('spectrum', '--matrix', f.at('matrix.h5') + ':/a/b', '--output', f.at('matrix.h5'))
check('matrix: the input is never the output', code == 2 and 'matrix.h5' in err, f'{code} {err}')
with h5py.File(f.at('matrix.h5'), 'w') as h: h['/ones'] = np.full((1000, 1000), 0.1)
code, out, err = run('spectrum', '--matrix', f.at('matrix.h5') + ':/ones', '--output', f.at('foreign.h5'))
check('matrix: equal entries', code == 0, f'{code} {err}')
code, out, err = run('verify', f.at('foreign.h5'))
check('verify: a spectrum alone', code == 0 and 'not checked' in out, f'{code} {out} {err}')
with h5py.File(f.at('foreign.h5'), 'r+') as h: h['/spectrum/eigenvalues'][-1] = np.nan
code, out, err = run('verify', f.at('foreign.h5'))
check('verify: a NaN among the eigenvalues', code == 4 and 'not finite' in err, f'{code} {err}')
code, out, err = run('run', f.at('study.toml'), '--set', 'output.path=matrix.h5')
check('somebody else\'s file is not replaced', code == 5 and 'did not write' in err, f'{code} {err}')

# Without the Gram matrix in the file.
f.write('lean.toml', f.study(output__save_gram='false', output__path='"lean.h5"'))
code, out, err = run('run', f.at('lean.toml')); check('save_gram = false: status 0', code == 0, err)
with h5py.File(f.at('lean.h5')) as h: check('save_gram = false: no matrix', 'gram' not in h['/kernel'] and 'eigenvalues' in h['/spectrum'])
shutil.copy(f.at('lean.h5'), f.at('negative.h5'))
with h5py.File(f.at('negative.h5'), 'r+') as h: w = h['/spectrum/eigenvalues']; w[-1] = -1e-3 * w[0]
code, out, err = run('verify', f.at('negative.h5')); check('save_gram = false, verify: no J J^T of one model', code == 4 and 'negative beyond rounding' in err, f'{code} {err}')
code, out, err = run('run', f.at('lean.toml')); check('save_gram = false: skipped the second time', code == 0 and err.count('skipped') == 3, err)
check('save_gram = false: no checkpoint is left', not glob.glob(f.at('lean.h5.*')), glob.glob(f.at('lean.h5.*')))
# `gram` alone: the matrix is in the checkpoint, where `run` goes on.
code, out, err = run('gram', f.at('lean.toml'), '--set', 'output.path=half.h5')
check('save_gram = false, gram: where the matrix is', code == 0 and 'half.h5.checkpoint alone' in err and os.path.exists(f.at('half.h5.checkpoint')), err)
code, out, err = run('spectrum', f.at('lean.toml'), '--set', 'output.path=half.h5')
check('save_gram = false, spectrum: what to do', code == 5 and 'holds no Gram matrix' in err and '`tangram run`' in err, f'{code} {err}')
code, out, err = run('run', f.at('lean.toml'), '--set', 'output.path=half.h5')
check('save_gram = false, run: goes on from the matrix', code == 0 and 'goes on from the checkpoint' in err and not glob.glob(f.at('half.h5.*')), f'{code} {err}')
code, out, err = run('run', f.at('lean.toml'), '--set', 'spectrum.solver=scalapack-mrrr'); check('save_gram = false: another solver computes again', code == 0 and err.count('skipped') == 0, err)

# A changed config.json is another model.
import json
config = json.load(open(f.at('model/config.json'))); config['layer_norm_epsilon'] = 1e-6; json.dump(config, open(f.at('model/config.json'), 'w'))
code, out, err = run('run', f.at('lean.toml')); check('a changed config.json is not skipped', code == 0 and err.count('skipped') == 0, err)
for name, setting, word in (('a step size that diverges', 'rates.step_size=1e9', 'diverges'), ('run without eigenvectors', 'spectrum.vectors=false', 'spectrum.vectors')):
    code, out, err = run('run', f.at('lean.toml'), '--set', setting)
    check(f'{name}: status 2', code == 2 and word in err, f'{code} {err}')

# Growing: the known rows are taken over where they are those of a fresh run, and not where every example shapes the head.
for init, known in (('random', True), ('least-squares', False)):
    f.write('grow.toml', f.study(model__head='"classifier"', model__head_init=f'"{init}"', data__template=None, data__label_words=None, data__samples='300', output__path='"grown.h5"'))
    said = {}
    for path, size in (('grown.h5', 300), ('grown.h5', 400), ('fresh.h5', 400)):
        code, out, said[path] = run('gram', f.at('grow.toml'), '--set', f'data.samples={size}', '--set', f'output.path={path}')
        check(f'growing, {init} head, {path} to {size}: status 0', code == 0, said[path])
    check(f'growing, {init} head: rows are taken over or not', ('only the others' in said['grown.h5']) == known, said)
    check(f'growing, {init} head: the result of a fresh run', run('compare', f.at('grown.h5'), f.at('fresh.h5'))[0] == 0)
    def products(path):
        with h5py.File(f.at(path)) as h: return h['provenance'].attrs['flops_products']
    check(f'growing, {init} head: the work that was left is what is counted', products('grown.h5') < 0.95 * products('fresh.h5') if known else products('grown.h5') == products('fresh.h5'), (products('grown.h5'), products('fresh.h5')))
    for path in ('grown.h5', 'fresh.h5'): os.remove(f.at(path))
# Of the loss a label decides: rows of a table whose labels were changed are not known.
f.write('grow.toml', f.study(kernel__output='"loss"', data__samples='300', data__train='"mine.tsv"', output__path='"grown.h5"'))
with open(f.at('train.tsv')) as table: header, *lines = table.read().splitlines()
flipped = [line[:-1] + str(1 - int(line[-1])) for line in lines]
for labels, table in (('equal', lines), ('other', flipped)):
    f.write('mine.tsv', '\n'.join([header, *lines]) + '\n'); code = run('gram', f.at('grow.toml'))[0]
    f.write('mine.tsv', '\n'.join([header, *table]) + '\n')
    codes = [run('gram', f.at('grow.toml'), '--set', 'data.samples=400', '--set', f'output.path={path}') for path in ('grown.h5', 'fresh.h5')]
    check(f'growing, {labels} labels: the result of a fresh run', [code, *(c for c, _, _ in codes)] == [0, 0, 0] and ('only the others' in codes[0][2]) == (labels == 'equal') and run('compare', f.at('grown.h5'), f.at('fresh.h5'))[0] == 0, codes)
    for path in ('grown.h5', 'fresh.h5'): os.remove(f.at(path))

# A sketch: what it says of itself, and that another one is another kernel.
f.write('sketch.toml', f.study(data__samples='200', kernel__sketch='256', output__path='"sketch.h5"'))
code, out, err = run('run', f.at('sketch.toml'))
check('sketch: status 0, said in the summary and the log', code == 0 and 'sketched' in out and 'sketched' in err and 'rates.noise' in err, f'{code} {out} {err}')
check('sketch: exact reference', run('gram', f.at('sketch.toml'), '--set', 'kernel.sketch=0', '--set', 'output.path=whole.h5')[0] == 0)
with h5py.File(f.at('sketch.h5')) as h, h5py.File(f.at('whole.h5')) as whole:
    S, G, k, t = h['/kernel/gram'][:], whole['/kernel/gram'][:], h['/kernel'].attrs, h['/kernel/tensors'][:]
    ways = [w.decode() for w in t['contraction']]; d = np.sqrt(np.diag(G))
    check('sketch: linear weights alone', ways.count('sketch') == k['sketch_tensors'] > 0 and all(s > 256 for s, w in zip(t['size'], ways) if w == 'sketch'), ways)
    check('sketch: attributes', k['sketch'] == 256 and k['sketch_rows'] == 200 and k['sketch_dimension'] == 256 * ways.count('sketch'), dict(k))
    check('sketch: error of all rows', abs(k['sketch_error'] - np.linalg.norm(S - G) / np.linalg.norm(G)) <= 1e-10 and k['sketch_error'] > 0)
    check('sketch: largest error', abs(k['sketch_error_max'] - np.abs((S - G) / np.outer(d, d)).max()) <= 1e-10)
    r, s = h['/rates'].attrs, h['/rates/stopping'].attrs; l = h['/spectrum/eigenvalues'][:] / 200
    check('sketch: the count at T', r['sketched'] == k['sketch_dimension'] and r['sketch_count'] == (l > s['ridge_twin']).sum() and r['sketch_needed'] >= 10 * r['sketch_count'], dict(r))
    check('sketch: warns where T cannot be trusted', r['sketch_trusted'] == (r['sketched'] >= r['sketch_needed']) and ('cannot be trusted' in err) == (r['sketch_trusted'] == 0), err)
code, out, err = run('inspect', f.at('sketch.h5')); check('sketch: inspect says so', 'sketched' in out, out)
code, out, err = run('rates', f.at('sketch.toml'), '--set', 'kernel.sketch=0'); check('sketch: rates of another sketch are refused', code == 2 and 'kernel.sketch' in err, f'{code} {err}')
code, out, err = run('run', f.at('sketch.toml')); check('sketch: skipped the second time', code == 0 and err.count('skipped') == 3, err)
code, out, err = run('run', f.at('sketch.toml'), '--set', 'kernel.sketch=2')
with h5py.File(f.at('sketch.h5')) as h:
    total, last, r = h['/kernel'].attrs['sketch_dimension'], h['/rates/decay'].attrs['last'], h['/rates'].attrs
    check('sketch: a smaller one computes again, fits nothing and warns', code == 0 and 'skipped' not in err and last <= total // 10 and r['sketch_trusted'] == 0 and 'cannot be trusted' in err and 'NOT to be trusted' in out, f'{code} {total} {last} {out} {err}')

# What programs read of a run: its results as numbers, and what ended it.
code, out, err = run('run', f.at('study.toml'), '--set', 'data.samples=60', '--set', 'output.path=log.h5', '--log-json', f.at('log.json'))
lines = [json.loads(line) for line in open(f.at('log.json'))]
numbers = {line['name']: line['value'] for line in lines if line['level'] == 'result' and 'name' in line}
with h5py.File(f.at('log.h5')) as h: s = h['/rates/stopping'].attrs; check('log: results as numbers', code == 0 and all(float(numbers[k]) == s[k] for k in ('stopping_step', 'critical_radius', 'noise', 'radius')) and 'exponent decay' in numbers, (numbers, err))
with h5py.File(f.at('log.h5')) as h: q, w = h['/spectrum/quality'].attrs, h['/spectrum/eigenvalues'][()]; check('log: the spectrum as numbers', all(numbers[f'spectrum {k}'] == q[k] for k in ('noise_floor', 'trace_error', 'residual_max', 'negative')) and numbers['spectrum largest'] == w[0] and numbers['spectrum eigenvalues'] == len(w), numbers)
code, out, err = run('plan', f.at('study.toml'), '--set', 'data.samples=60', '--set', 'output.path=log2.h5', '--log-json', f.at('plan.json'))
numbers = {line['name']: line['value'] for line in map(json.loads, open(f.at('plan.json'))) if 'name' in line}
check('log: a plan as numbers', code == 0 and numbers['fits'] == 1 and numbers['ranks'] == RANKS and numbers['bytes_per_rank'] == max(numbers[f'{stage} own_bytes'] + numbers[f'{stage} shared_bytes'] / RANKS for stage in ('gram', 'spectrum', 'rates')), numbers)
code, out, err = run('run', f.at('study.toml'), '--set', 'model.path=nowhere', '--log-json', f.at('failed.json'))
last = [json.loads(line) for line in open(f.at('failed.json'))][-1]
check('log: what ended the program', code == 3 and last['level'] == 'error' and last['status'] == 3 and 'nowhere' in last['text'], (code, last))
for k, wrong in enumerate((['run', f.at('study.toml'), '--qiet'], ['rum', f.at('study.toml')], ['run', f.at('study.toml'), '--memory-per-rank', '4'], ['run'])):
    code, out, err = run(*wrong, f'--log-json={f.at(f"wrong{k}.json")}')
    last = [json.loads(line) for line in open(f.at(f'wrong{k}.json'))]
    check(f'log: a wrong command line, {wrong[:1] + wrong[2:]}', code == 2 and len(last) == 1 and last[0]['level'] == 'error' and last[0]['status'] == 2 and last[0]['text'] in err, (code, last, err))

# What `tangram help` says is what there is.
code, out, err = run('help', 'output', ranks=1)
names = [re.escape(line.split()[0]).replace(r'\*', '[^/]+') for line in out.splitlines() if line.startswith('/')]; unnamed = []
with h5py.File(f.at('out.h5')) as h: h.visititems(lambda n, d: unnamed.append(n) if not any(re.fullmatch(p, '/' + n) for p in names) else None)
check('help output: names every group and data set', code == 0 and len(names) > 30 and not unnamed, unnamed)
check('help: topics', run('help', ranks=RANKS)[:2] == (0, run('help', ranks=1)[1]) and run('help', 'status', ranks=1)[1].startswith('0   done') and 'seconds_left' in run('help', 'log', ranks=1)[1])
code, out, err = run('help', 'outptu'); check('help: an unknown topic', code == 2 and 'did you mean output?' in err, err)

# A solver cannot be left: a request ends the program there, without anything beside the output.
code, out, err = run('spectrum', '--matrix', f.at('out.h5') + ':/kernel/gram', '--output', f.at('never.h5'), '--time-limit', '0s')
check('time limit in the solver: status 75, one message, nothing left', code == 75 and err.count('stopped on request') == 1 and not [n for n in os.listdir(f.path) if n.startswith('never')], f'{code} {err}')

# Stopping and going on: by a time limit that has passed, then by SIGUSR1 to mpirun.
stop = f.study(data__test='"test.tsv"', data__test_samples='40', data__samples='320', output__path='"stopped.h5"', kernel__parameters='"all"', kernel__precision='"double"')
f.write('stop.toml', stop)
code, out, err = run('gram', f.at('stop.toml'), '--time-limit', '0s')
check('time limit: status 75', code == 75, f'{code} {err}')
check('time limit: a checkpoint and no output', os.path.exists(f.at('stopped.h5.checkpoint')) and not os.path.exists(f.at('stopped.h5')))
with open(f.at('stopped.h5.lock'), 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX); lock.write('host elsewhere, process 12345, since yesterday'); lock.flush()
    code, out, err = run('gram', f.at('stop.toml'))
    check('lock: a second run is refused with the owner', code == 5 and 'host elsewhere, process 12345' in err and err.count('error:') == 1, f'{code} {err}')
p = subprocess.Popen([MPIEXEC, '-n', str(RANKS), PROGRAM, 'gram', f.at('stop.toml')], stderr=subprocess.PIPE, text=True)
said = ''
while 'gram: 320 examples' not in said and (line := p.stderr.readline()): said += line  # from then on signals are heard
time.sleep(0.3)
running = p.poll() is None
if running: p.send_signal(signal.SIGUSR1)
# To the ranks again and again, as an impatient job does: no signal kills a process that is already leaving.
while p.poll() is None:
    for rank in subprocess.run(['pgrep', '-P', str(p.pid)], capture_output=True, text=True).stdout.split():
        try: os.kill(int(rank), signal.SIGUSR1)
        except ProcessLookupError: pass
    time.sleep(0.03)
err = said + p.communicate(timeout=120)[1]
if running: check('SIGUSR1: status 75', p.returncode == 75, f'{p.returncode} {err}')
else: print('skipped: SIGUSR1 (the run ended first)')
if RANKS == 1:
    p = subprocess.Popen([PROGRAM, 'gram', f.at('stop.toml'), '--set', 'output.path=interrupted.h5'], cwd=f.path, stderr=subprocess.PIPE, text=True); said = ''
    while 'gram: 320 examples' not in said and (line := p.stderr.readline()): said += line
    p.send_signal(signal.SIGINT); said += p.communicate(timeout=120)[1]
    check('Ctrl-C: status 75, a checkpoint, and what a second one does', p.returncode == 75 and 'Ctrl-C again' in said and os.path.exists(f.at('interrupted.h5.checkpoint')), f'{p.returncode} {said}')
other = 1 if RANKS > 1 else 2
# A checkpoint of another study is refused with what is different, and stays; a torn one gives way to the one before.
before = open(f.at('stopped.h5.checkpoint'), 'rb').read()
for setting, words in (('kernel.output=logits', 'kernel.output is margin there and logits here'), ('data.samples=300', 'examples of data.train is 320 there and 300 here'),
        ('model.seed=4', 'model.seed is 1 there and 4 here'), ('data.test_samples=39', 'examples of data.test is 40 there and 39 here')):
    code, out, err = run('gram', f.at('stop.toml'), '--set', setting)
    check(f'checkpoint of another study, {setting}: status 5, named', code == 5 and words in err and err.count('error:') == 1, f'{code} {err}')
check('checkpoint of another study: stays', open(f.at('stopped.h5.checkpoint'), 'rb').read() == before)
# Numbers that do not fit this study, although their checksum does.
for key, value in (('units_done', 10**6), ('units_done', -1), ('known_rows', [321.0]), ('known_rows', [0.5]), ('traces0', [])):
    with h5py.File(f.at('stopped.h5.checkpoint'), 'r+') as h:
        if key in h.attrs: h.attrs[key] = value
        else: del h['vectors/' + key]; h['vectors/' + key] = np.array(value, dtype=float)
        text = f"{len(h.attrs['inputs'].encode())}:{h.attrs['inputs']} {h.attrs['units_done']}" + ''.join(f" {n} {hashlib.sha256(h['vectors/' + n][()].tobytes()).hexdigest()}" for n in sorted(h['vectors']))
        h.attrs['checksum'] = hashlib.sha256(text.encode()).hexdigest()
    code, out, err = run('gram', f.at('stop.toml'))
    check(f'checkpoint with {key} = {value}: status 5, named', code == 5 and f'stopped.h5.checkpoint: {key} is not what this study needs' in err and err.count('error:') == 1, f'{code} {err}')
    with open(f.at('stopped.h5.checkpoint'), 'wb') as h: h.write(before)
shutil.copy(f.at('stopped.h5.checkpoint'), f.at('stopped.h5.checkpoint.previous')); shutil.copy(f.at('stopped.h5.checkpoint'), f.at('kept.checkpoint'))
# One that cannot be read now may be whole: it is neither passed over nor removed.
with h5py.File(f.at('stopped.h5.checkpoint'), 'r+'): code, out, err = run('gram', f.at('stop.toml'))
check('checkpoint that another process has open: status 5, and it stays', code == 5 and 'stopped.h5.checkpoint: another process has it open' in err and 'delete' not in err and os.path.exists(f.at('stopped.h5.checkpoint')), f'{code} {err}')
with open(f.at('stopped.h5.checkpoint'), 'r+b') as h: h.seek(-9000, 2); h.write(b'\1' * 16)
code, out, err = run('gram', f.at('stop.toml'), '--time-limit', '0s')
check('torn checkpoint: said, and the one before is used', code == 75 and 'another checksum' in err and 'the checkpoint before it is used' in err, f'{code} {err}')
check('torn checkpoint: the one before is not pushed out by the next', os.path.exists(f.at('stopped.h5.checkpoint')) and open(f.at('stopped.h5.checkpoint.previous'), 'rb').read() == before)
code, out, err = run('gram', f.at('stop.toml'), ranks=other)
check('going on: status 0 on another number of ranks', code == 0, err)
check('going on: from the checkpoint', not running or 'goes on from the checkpoint' in err, err)
code, out, err = run('gram', f.at('stop.toml'), '--set', 'output.path=undisturbed.h5')
with h5py.File(f.at('stopped.h5')) as a, h5py.File(f.at('undisturbed.h5')) as b:
    for path in ('/kernel/gram', '/kernel/cross', '/kernel/test_diagonal', '/kernel/outputs_train'):
        check(f'going on: {path} has the same bits', np.array_equal(a[path][:], b[path][:]))
# Died between the output's new name and the removal of its checkpoint: the next run takes that away, and growing is not refused.
shutil.copy(f.at('kept.checkpoint'), f.at('stopped.h5.checkpoint')); shutil.copy(f.at('kept.checkpoint'), f.at('stopped.h5.checkpoint.partial'))
code, out, err = run('gram', f.at('stop.toml')); check('a checkpoint of the finished kernel: skipped and removed', code == 0 and 'skipped' in err, err)
check('going on: the checkpoint is gone', not os.path.exists(f.at('stopped.h5.checkpoint')) and not os.path.exists(f.at('stopped.h5.checkpoint.previous')) and not os.path.exists(f.at('stopped.h5.lock')))
found, files = unexplained(f.path)
check(f'files: everything says what it is', files >= 3 and not found, (files, found[:5]))
f.remove()
finish()
