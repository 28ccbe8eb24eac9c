#!/usr/bin/env python3
"""Spectra without a Gram matrix, beside those with one. usage: free.py PROGRAM MPIEXEC RANKS TEST_DATA"""
import os, signal, subprocess, sys, time
from support import MPIEXEC, PROGRAM, RANKS, Folder, check, finish, run, unexplained
try:
    import h5py, numpy as np
except ImportError:
    print('skipped: python3-h5py is missing'); sys.exit(77)

f = Folder()
n = 160
f.write('study.toml', f.study(data__samples=str(n), kernel__parameters='["transformer.h.3.attn.*", "transformer.ln_f.*"]', kernel__precision='"double"'))
def with_settings(command, name, *settings, **keywords):
    return run(command, f.at('study.toml'), *[x for s in (*settings, f'output.path={name}.h5') for x in ('--set', s)], **keywords)
def read(name, path):
    with h5py.File(f.at(name + '.h5')) as h: return h[path][:]
free = ('spectrum.matrix=free', 'spectrum.count=10', 'spectrum.density=true', 'rates.noise=0.5', 'rates.radius=0.05')

code, out, err = with_settings('run', 'formed', 'spectrum.density=true'); check('formed: status 0', code == 0, err)
code, out, err = with_settings('run', 'free', *free); check('free: status 0', code == 0, err)
G, w, V, k = read('formed', '/kernel/gram'), read('formed', '/spectrum/eigenvalues'), read('formed', '/spectrum/eigenvectors'), 10
with h5py.File(f.at('free.h5')) as h:
    check('free: no matrix', '/kernel/gram' not in h and h['/spectrum/eigenvectors'].shape == (k, n) and h['/spectrum'].attrs['count'] == k)
    found, X, q = h['/spectrum/eigenvalues'][:], h['/spectrum/eigenvectors'][:], dict(h['/spectrum/quality'].attrs)
    # float64 throughout: what the solver of the whole matrix promises, 10 n 2^-52 of the largest.
    check('free: eigenvalues of the formed matrix', np.abs(found - w[:k]).max() <= 1e-12 * w[0], np.abs(found - w[:k]).max() / w[0])
    check('free: eigenvectors of the formed matrix', np.abs(X @ G - found[:, None] * X).max() <= 2e-12 * w[0] and np.abs(X @ X.T - np.eye(k)).max() <= 1e-13)
    check('free: signs as the solvers have them', all(np.sign(x[np.abs(x) >= 0.6 * np.abs(x).max()][0]) > 0 for x in X))
    check('free: quality', q['solver'] == 'lanczos' and q['residual_max'] <= 1e-12 and abs(q['trace'] - np.trace(G)) <= 1e-12 * np.trace(G) and np.isnan(q['frobenius_error']) and q['negative'] == 0, q)
    with h5py.File(f.at('formed.h5')) as g:
        a, b = h['/kernel/tensors'][:], g['/kernel/tensors'][:]
        check('free: tensors and outputs', np.abs(a['trace_share'] - b['trace_share']).max() <= 1e-12 and list(a['name']) == list(b['name']) and np.array_equal(h['/kernel/outputs_train'][:], g['/kernel/outputs_train'][:]))
    check('free: rates of the largest', h['/rates/stopping'].attrs['stopping_step_low'] <= h['/rates/stopping'].attrs['stopping_step_high'] and any('eigenvalues are known (spectrum.count)' in str(text) for _, text in h['/warnings'][:]))
# The density: counted where all is known, within its interval where it is not.
for name in ('formed', 'free'):
    value, weight, low, high = (read(name, '/spectrum/density/' + x) for x in ('value', 'weight', 'low', 'high'))
    ends = np.append(value[:-1] / 10 ** 0.25, -np.inf); above = np.append(np.inf, ends[:-1])
    share = np.array([((w >= a) & (w < b)).mean() for a, b in zip(ends, above)])
    check(f'{name}: density', abs(weight.sum() - 1) <= 1e-12 and ((low <= share + 1e-12) & (share <= high + 1e-12)).all() and (name == 'free' or np.abs(weight - share).max() <= 1e-12), (share, low, high))
    # Of 16 probes and 150 eigenvalues; the bins at the end of the spectrum are the least known.
    check(f'{name}: density is near', np.abs(weight - share).max() <= 0.1, np.abs(weight - share))
# The same bits on one rank, in groups of tensors, on two threads.
for name, keywords in (('alone', {'ranks': 1}), ('threads', {'environment': {'OMP_NUM_THREADS': '2', 'OMP_WAIT_POLICY': 'passive'}})):
    code, out, err = with_settings('run', name, *free, **keywords); check(f'{name}: status 0', code == 0, err)
    code, out, err = run('compare', f.at('free.h5'), f.at(name + '.h5')); check(f'{name}: the same to the last bit', code == 0 and 'to the last bit' in out, f'{code} {out} {err}')
# A stage at a time, and again.
code, out, err = with_settings('gram', 'apart', *free); check('gram alone: status 0', code == 0, err)
code, out, err = with_settings('spectrum', 'apart', *free); check('spectrum alone: the same', code == 0 and np.array_equal(read('apart', '/spectrum/eigenvectors'), X), err)
code, out, err = with_settings('run', 'apart', *free); check('again: skipped', code == 0 and err.count('skipped') >= 2, err)
code, out, err = with_settings('run', 'apart', 'spectrum.matrix=free', 'spectrum.density=true', 'spectrum.vectors=true'); check('density alone: the largest eigenvalue', code == 0 and np.abs(read('apart', '/spectrum/eigenvalues') - w[:1]).max() <= 1e-12 * w[0], err)
code, out, err = with_settings('run', 'apart'); check('formed behind free: the matrix is there', code == 0 and np.array_equal(read('apart', '/kernel/gram'), G), err)
# Float32 gradients: the matrix formed from them has their rounding, and the sum of products its own.
code, out, err = with_settings('run', 'mixed', *free, 'kernel.precision=mixed'); check('mixed: near', code == 0 and np.abs(read('mixed', '/spectrum/eigenvalues') / w[:k] - 1).max() <= 1e-5, err)
code, out, err = with_settings('run', 'every', 'spectrum.matrix=free', f'spectrum.count={n}'); check('count = n: all of them', code == 0 and np.abs(read('every', '/spectrum/eigenvalues') - w).max() <= 1e-12 * w[0], err)
# Killed in the middle of block Lanczos, on other ranks then: the same bits.
many = ('spectrum.matrix=free', 'spectrum.count=40', 'output.checkpoint_minutes=1e-6')
code, out, err = with_settings('gram', 'killed', *many); check('killed: gram', code == 0, err)
p = subprocess.Popen([*([MPIEXEC, '-n', str(RANKS)] if RANKS > 1 else []), PROGRAM, 'spectrum', f.at('study.toml'), *[x for s in (*many, 'output.path=killed.h5') for x in ('--set', s)]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while p.poll() is None and not os.path.exists(f.at('killed.h5.spectrum.checkpoint.previous')): time.sleep(0.002)
check('killed: in the middle', p.poll() is None)
for child in [p.pid] if RANKS == 1 else map(int, subprocess.run(['pgrep', '-P', str(p.pid)], capture_output=True, text=True).stdout.split()): os.kill(child, signal.SIGKILL)
p.wait()
code, out, err = with_settings('spectrum', 'killed', *many, ranks=2 if RANKS == 1 else 1); check('killed: goes on', code == 0 and 'goes on from the checkpoint' in err, f'{code} {err}')
check('killed: nothing is left', not [x for x in os.listdir(f.path) if x.startswith('killed.h5.')], os.listdir(f.path))
code, out, err = with_settings('run', 'undisturbed', *many, 'output.checkpoint_minutes=0'); check('undisturbed: status 0', code == 0, err)
check('killed: the same bits', all(np.array_equal(read('killed', '/spectrum/' + x), read('undisturbed', '/spectrum/' + x)) for x in ('eigenvalues', 'eigenvectors')))
# Other commands.
for how in (('kernel.precision=mixed',), ('kernel.precision=mixed', *free)): code, out, err = with_settings('run', 'both', *how); check('both: status 0', code == 0, err)
code, out, err = run('verify', f.at('both.h5')); check('verify: pairs without a matrix beside the matrix as it was rounded', code == 0 and '/kernel/gram' in h5py.File(f.at('both.h5')), f'{code} {out} {err}')
code, out, err = run('verify', f.at('free.h5')); check('verify: serves it', code == 0 and 'no Gram matrix' in out, f'{code} {out} {err}')
code, out, err = run('inspect', f.at('free.h5')); check('inspect: serves it', code == 0 and str(n) in out, f'{code} {out} {err}')
code, out, err = with_settings('plan', 'none', *free); check('plan: says that nothing is formed', code == 0 and 'No matrix is formed' in out and 'spectrum' in out, f'{code} {out} {err}')
code, out, err = with_settings('run', 'none', *free, f'spectrum.count={n + 1}'); check('count: more than the rows', code == 2 and 'spectrum.count' in err and str(n) in err and not os.path.exists(f.at('none.h5')), err)
code, out, err = with_settings('run', 'none', *free, 'data.test=test.tsv'); check('a test set: refused', code == 2 and 'data.test' in err and 'spectrum.matrix' in err, err)
code, out, err = run('run', f.at('study.toml'), *[x for s in (*free, 'output.path=none.h5') for x in ('--set', s)], '--memory-per-rank', '60MiB'); check('memory: refused with numbers', code == 2 and 'MiB' in err, err)
code, out, err = run('finetune', f.at('study.toml'), '--set', 'output.path=free.h5', *[x for s in free for x in ('--set', s)]); check('finetune: refused', code == 2 and 'spectrum.matrix' in err, f'{code} {err}')
found, files = unexplained(f.path); check('what is in the files is explained', files >= 6 and not found, found)
f.remove()
finish()
