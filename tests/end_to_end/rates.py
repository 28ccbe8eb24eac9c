#!/usr/bin/env python3
"""What the rates say, recomputed by numpy from the file: learning curves, eigenlearning, exponents, functionals,
neighbourhoods, tasks, somebody else's kernel, schedules. usage: rates.py PROGRAM MPIEXEC RANKS TEST_DATA"""
import math, os, sys
from support import Folder, check, finish, run, unexplained
try:
    import h5py, numpy as np
except ImportError:
    print('skipped: python3-h5py is missing'); sys.exit(77)

def close(a, b, tolerance): return np.abs(np.asarray(a) - np.asarray(b)).max() <= tolerance

def kappa(l, n, ridge):
    """Bisection of sum l/(l + kappa) + ridge/kappa = n in log kappa."""
    low, high = np.log(1e-30), np.log(1e30)
    for _ in range(300):
        middle = 0.5 * (low + high); k = np.exp(middle)
        low, high = (middle, high) if (l / (l + k)).sum() + ridge / k > n else (low, middle)
    return np.exp(low)

def predicted(l, power, n, ridge):
    """On rows that were not drawn, of the len(l) that stand for all; of all of them generalised cross-validation."""
    N = len(l); m = l + ridge / N
    if n == N: return N ** 2 * (power / m ** 2).sum() / (1 / m).sum() ** 2
    L = m / (m + kappa(m, n, 0)); return n / (n - (L ** 2).sum()) * ((1 - L) ** 2 * power).sum() / (1 - n / N)

def beyond(l, sigma, alpha, rows, t): return np.sqrt(np.minimum(l, 1 / (alpha * t)).sum() / rows) > 1 / (2 * np.e * sigma * alpha * t)

def rule(l, sigma, alpha, rows):
    """The stopping step by bisection: the condition fails at T and holds at T + 1."""
    low, high = 0, 1
    while not beyond(l, sigma, alpha, rows, high): low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if beyond(l, sigma, alpha, rows, middle) else (middle, high)
    return low

f = Folder()
n, m = 240, 60
f.write('study.toml', f.study(data__test='"test.tsv"', data__test_samples=str(m), data__samples=str(n), rates__neighbours='5', rates__sizes='[30, 60, 120, 180, 240, 9999]', rates__repeats='3'))
code, out, err = run('run', f.at('study.toml'))
check('run: status 0', code == 0, err)
check('sizes beyond the sample are dropped with a note', '9999' in err and 'dropped' in err, err)
check('the sentence is printed', ': predicted x = ' in out and '; observed x = ' in out, out)
with h5py.File(f.at('out.h5')) as h:
    G, C, V = h['/kernel/gram'][:], h['/kernel/cross'][:], h['/spectrum/eigenvectors'][:]
    l = np.maximum(h['/spectrum/eigenvalues'][:] / n, 0); s = h['/rates/stopping']; a = dict(s.attrs)
    margin = lambda part: h[f'/kernel/outputs_{part}'][:, 1] - h[f'/kernel/outputs_{part}'][:, 0]
    sign = lambda part: np.where(h[f'/data/{part}/labels'][:] == 1, 1.0, -1.0)
    y, yt = sign('train'), sign('test'); r = y - margin('train'); mean = r.mean(); r = r - mean; z = V @ r
    step, T = s['step'][:], a['stopping_step']; at = int(np.searchsorted(step, T))
    f0t = margin('test') + mean
    def test(weights): return f0t + C @ (V.T @ (weights * z))
    def descent(t): return np.where(l > 0, (1 - (1 - a['step_size'] * l) ** t) / np.where(l > 0, n * l, 1), a['step_size'] * t / n)
    for k in (0, at, len(step) - 1):
        check(f'path: test error at step {step[k]:.0f}', close(((yt - test(descent(step[k]))) ** 2).mean(), s['test_mse'][k], 1e-8 * s['test_mse'][k]))
        check(f'path: test accuracy at step {step[k]:.0f}', close(((test(descent(step[k])) > 0) == (yt > 0)).mean(), s['test_accuracy'][k], 1e-12))
    before, after = f0t + 0 * yt, test(descent(T)); fall = (yt - before) ** 2 - (yt - after) ** 2
    right = [(p > 0) == (yt > 0) for p in (before, after)]; gained, lost = (right[1] & ~right[0]).sum(), (right[0] & ~right[1]).sum()
    check('learnt: the fall of the error and its standard error', close([a['learnt_mse'], a['learnt_mse_standard_error']], [fall.mean(), fall.std(ddof=1) / m ** 0.5], 1e-9))
    tail = sum(math.comb(int(gained + lost), k) for k in range(min(gained, lost) + 1)) / 2.0 ** (gained + lost)
    check('learnt: McNemar', (a['learnt_gained'], a['learnt_lost']) == (gained, lost) and close(a['learnt_p_value'], min(1, 2 * tail), 1e-9))
    check('learnt: the examples one by one', close(s['test_squared_error'][:], (yt - after) ** 2, 1e-9) and list(s['test_right'][:]) == list(right[1].astype(int)))
    check('the model alone', close(a['model_test_mse'], ((yt - margin('test')) ** 2).mean(), 1e-9) and close(a['model_test_accuracy'], ((margin('test') > 0) == (yt > 0)).mean(), 1e-12))
    eta = s['eta'][at]
    check('path: ridge twin', close(((yt - test(1 / (n * (l + 1 / eta)))) ** 2).mean(), s['ridge_test_mse'][at], 1e-9))
    check('path: ridge twin on the training set', close((z ** 2 / (1 + eta * l) ** 2).mean(), s['ridge_train_mse'][at], 1e-9))
    check('ridge twin', close(a['ridge_twin'] * eta, 1, 1e-12))
    check('epochs of minibatches', all(close(e['epochs'], T * e['batch'] / n, 1e-9) for e in s['epochs'][:]))
    t = int(a['discrepancy_step']) if np.isfinite(a['discrepancy_step']) else None
    if t is not None:
        error = lambda t: ((1 - a['step_size'] * l) ** (2 * t) * z ** 2).mean()
        check('discrepancy step', error(t) <= a['noise'] ** 2 and (t == 0 or error(t - 1) > a['noise'] ** 2), t)
    check('gcv step is the least of the path', step[np.argmin(s['gcv'][:])] == a['gcv_step'])
    # Learning curve: the whole sample's column, and eigenlearning at every size.
    c = h['/rates/learning_curve']
    check('curve: sizes', list(c['sizes'][:]) == [30, 60, 120, 180, 240])
    check('curve: shape', c['mse_stop'].shape == (5, 3))
    check('curve: the whole sample at T', close(c['mse_stop'][4], s['test_mse'][at], 1e-9) and close(c['accuracy_stop'][4], s['test_accuracy'][at], 1e-12))
    for i, k in ((1, 1), (3, 2)):
        S = c['orders'][k, :c['sizes'][i]] - 1; w, U = np.linalg.eigh(G[np.ix_(S, S)] / len(S)); own = y[S] - margin('train')[S]; t_S = c['stopping_step'][i, k]
        with np.errstate(divide='ignore', invalid='ignore'): weights = np.where(w > 0, (1 - (1 - c['eta'][i, k] / t_S * w) ** t_S) / (len(S) * w), c['eta'][i, k] / len(S))
        f_S = margin('test') + own.mean() + C[:, S] @ (U @ (weights * (U.T @ (own - own.mean()))))
        check(f'curve: the subset of {len(S)}, repeat {k}', t_S > 0 and close(((yt - f_S) ** 2).mean(), c['mse_stop'][i, k], 1e-8 * c['mse_stop'][i, k]), (t_S, ((yt - f_S) ** 2).mean(), c['mse_stop'][i, k]))
    check('curve: orders are permutations', all(sorted(order) == list(range(1, n + 1)) for order in c['orders'][:]))
    floor = h['/rates/decay'].attrs['noise_floor']; kept = l > floor; raw = y - margin('train')
    check('residual: the share of its mean', close(a['residual_mean_share'], mean ** 2 / (raw ** 2).mean(), 1e-12))
    # The halves by hand: T by each one's own sigma and R, and the step of the path that errs least on the other half.
    half_T, held = [], []
    for k in range(3):
        S, O = c['orders'][k, :120] - 1, c['orders'][k, 120:] - 1; w, U = np.linalg.eigh(G[np.ix_(S, S)] / 120); w = np.maximum(w, 0); own = raw[S]; d = U.T @ (own - own.mean()); sigma = c['own_noise'][2, k] / c['own_radius'][2, k]
        check(f'halves: T by its own sigma and R, {k}', c['own_stopping_step'][2, k] == rule(w, sigma, 1 / w[-1], 120) != c['stopping_step'][2, k], (c['own_stopping_step'][2, k], rule(w, sigma, 1 / w[-1], 120)))
        half_T.append(np.log1p(rule(w, sigma, a['step_size'], n))); last = min(max(10 * c['stopping_step'][2, k], 1e3), 1e12)
        grid = sorted({0.0, c['stopping_step'][2, k], *(t for t in np.round(10 ** (np.arange(145) / 12)) if t <= last)}); P = G[np.ix_(O, S)] @ U
        errors = [((raw[O] - own.mean() - P @ (np.where(w > 1e-300, -np.expm1(t * np.log1p(-np.minimum(w / w[-1], 1 - 1e-16))) / np.where(w > 0, w, 1), t / w[-1]) / 120 * d)) ** 2).mean() for t in grid]
        held.append(grid[int(np.argmin(errors))] if np.argmin(errors) + 1 < len(grid) else np.inf)
    spread = 4.303 * np.std(half_T, ddof=1)  # Student's quantile of two degrees
    check('T: its interval is the spread over halves', close([a['stopping_step_low'], a['stopping_step_high']], np.round(np.expm1([max(0, np.log1p(T) - spread), np.log1p(T) + spread])), 1 + 1e-9 * a['stopping_step_high']), (a['stopping_step_low'], a['stopping_step_high'], T, spread))
    check('hold-out: the median over the halves', a['holdout_step'] == sorted(held)[1] and len(set(held)) > 1, (a['holdout_step'], held))
    rest = np.where(kept, c['ridge'][4, 0] / (l + c['ridge'][4, 0]), 1)
    check('curve: the score of cross-validation', close(c['gcv'][4, 0], (rest ** 2 * z ** 2).sum() * n / rest.sum() ** 2, 1e-9), (c['gcv'][4, 0], (rest ** 2 * z ** 2).sum() * n / rest.sum() ** 2))
    check('curve: subsets differ', len(set(c['mse_stop'][0])) == 3)
    check('curve: every number is there', all(np.isfinite(c[x][:]).all() for x in ('mse_stop', 'mse_best', 'mse_ridge', 'gcv', 'predicted_ridge', 'predicted_gradient_descent')))
    check('curve: best is best', (c['mse_best'][:] <= c['mse_stop'][:] + 1e-12).all())
    check('curve: each subset has a sigma and an R of its own', (c['own_noise'][:] > 0).all() and close(c['own_noise'][4], a['noise'], 1e-12) and close(c['own_radius'][4], a['radius'], 1e-12) and close(c['mse_own_stop'][4], c['mse_stop'][4], 1e-12))
    check('curve: ridge by cross-validation', close(c['mse_gcv_ridge'][4], ((yt - test(1 / (n * (l + c['ridge'][4, 0])))) ** 2).mean(), 1e-9) and (c['mse_gcv_ridge'][:] >= c['mse_ridge'][:] * (1 - 1e-3)).all())
    check('T: its interval holds it', a['stopping_step_low'] <= T <= a['stopping_step_high'] and a['stopping_step_low'] < a['stopping_step_high'])
    check('curve: base rate', close(c.attrs['base_rate'], max((yt > 0).mean(), (yt < 0).mean()), 1e-12))
    power = z ** 2 / n
    for i, size in enumerate((30, 60, 120, 180, 240)):
        check(f'eigenlearning at n = {size}', close(predicted(l, power, size, size * c['ridge'][i, 0]), c['predicted_ridge'][i, 0], 1e-8))
        check(f'eigenlearning of descent at n = {size}', close(predicted(l, power, size, size / c['eta'][i, 0]), c['predicted_gradient_descent'][i, 0], 1e-8))
    eps = c['critical_radius'][:]; x = np.log(c['sizes'][:])
    e = {row['source'].decode(): row for row in h['/rates/exponents'][:]}
    check('exponents: rows', list(e)[:5] == ['decay', 'critical_radius', 'source_capacity', 'eigenlearning', 'observed'], list(e))
    check('exponents: critical radius', close(e['critical_radius']['value'], -np.polyfit(x, np.log(eps ** 2).mean(1), 1)[0], 1e-9))
    check('exponents: intervals', all(np.isnan(q['value']) or q['low'] <= q['value'] <= q['high'] for q in e.values()))
    check('exponents: notes where there is no number', all(q['note'] for q in e.values() if np.isnan(q['value'])))
    # Functionals.
    u = h['/rates/functionals']; p = l / l.sum()
    check('functionals: effective rank', close(u.attrs['effective_rank'], np.exp(-(p[p > 0] * np.log(p[p > 0])).sum()), 1e-9))
    check('functionals: alignment', close(u.attrs['alignment_labels'], y @ G @ y / np.linalg.norm(G) / (y @ y), 1e-10))
    check('functionals: alignment of the residual', close(u.attrs['alignment_residual'], r @ G @ r / np.linalg.norm(G) / (r @ r), 1e-10))
    check('functionals: slope of the residual', close(u.attrs['alignment_slope'], np.polyfit(np.log(l[kept]), np.log(z[kept] ** 2), 1)[0], 1e-7), u.attrs['alignment_slope'])
    check('functionals: effective dimension at T', close(u.attrs['effective_dimension_at_stop'], (l[kept] / (l[kept] + 1 / eta)).sum(), 1e-8))
    check('functionals: effective dimension', close(u['effective_dimension'][3], (l / (l + u['t'][3])).sum(), 1e-9))
    check('functionals: information gain', close(u['information_gain'][3], 0.5 * np.linalg.slogdet(np.eye(n) + G / (n * u['t'][3]))[1], 1e-7))
    check('functionals: information gain of a prior of the size R', close(u.attrs['information_gain_at_noise'], 0.5 * np.linalg.slogdet(np.eye(n) + G * (a['radius'] / a['noise']) ** 2)[1], 1e-7))
    # Neighbours, by brute force.
    b = h['/neighbours']; diagonal = h['/kernel/test_diagonal'][:]
    cosine = C / np.sqrt(np.outer(diagonal, np.diag(G))); order = np.argsort(-cosine, axis=1, kind='stable')[:, :5]
    check('neighbours: the nearest', np.array_equal(order + 1, b['nearest'][:]))
    check('neighbours: cosines', close(np.take_along_axis(cosine, order, 1), b['cosines'][:], 1e-12))
    ridge = n * a['ridge_twin']
    for i, k in enumerate(b['sizes'][:]):
        found, dimension = [], []
        for t in range(m):
            S = order[t, :k]; A = G[np.ix_(S, S)]; inverse = np.linalg.inv(A + ridge * np.eye(k))
            found.append(f0t[t] + C[t, S] @ inverse @ r[S]); dimension.append(np.trace(A @ inverse))
        check(f'neighbours: k = {k}', close(((yt - found) ** 2).mean(), b['mse'][i], 1e-9) and close(((np.array(found) > 0) == (yt > 0)).mean(), b['accuracy'][i], 1e-12) and close(np.mean(dimension), b['effective_dimension'][i], 1e-9))
    check('neighbours: all of them', close(b.attrs['global_mse'], s['ridge_test_mse'][at], 1e-9))
    half = {x: c[x][:] for x in c}

# The same rates on another number of ranks, to what eigenvectors of another solver leave.
code, out, err = run('rates', f.at('study.toml'), '--set', 'rates.radius=0.5', '--set', 'rates.noise=0.4', ranks=1)
with h5py.File(f.at('out.h5')) as h: one = {x: h['/rates/learning_curve'][x][:] for x in half}
code2, out, err = run('rates', f.at('study.toml'), '--set', 'rates.radius=0.5', '--set', 'rates.noise=0.40000000000000002', '--set', 'rates.neighbours=4')
with h5py.File(f.at('out.h5')) as h: other = {x: h['/rates/learning_curve'][x][:] for x in half}
check('rates: given sigma and R', code == 0 and code2 == 0, err)
check('rates: ranks agree', all(np.allclose(one[x], other[x], rtol=1e-6, equal_nan=True) for x in ('mse_stop', 'critical_radius', 'predicted_ridge', 'sizes')))

# Given schedules.
code, out, err = run('rates', f.at('study.toml'), '--set', 'rates.step_size=[1e-4, 5e-5, 1e-5]')
with h5py.File(f.at('out.h5')) as h:
    s = h['/rates/stopping']
    check('schedule: eta', code == 0 and close(s['eta'][:3], [0, 1e-4, 1.5e-4], 1e-12) and list(s['step_sizes'][:]) == [1e-4, 5e-5, 1e-5], err)
code, out, err = run('rates', f.at('study.toml'), '--set', 'rates.step_size=[1e-4, 5e-4]')
check('schedule: a growing one is refused', code == 2 and 'rates.step_size' in err, f'{code} {err}')

code, out, err = run('rates', f.at('study.toml'), '--noise', '0.123', '--step-size', '1e-5')
with h5py.File(f.at('out.h5')) as h:
    s = h['/rates/stopping'].attrs
    check('short forms of [rates] hold for a study too', code == 0 and s['noise'] == 0.123 and s['step_size'] == 1e-5, err)
    check('provenance: the study as the last stage had it', '0.123' in h['/provenance'].attrs['study'])
code, out, err = run('rates', f.at('study.toml'), '--set', 'data.samples=20')
check('rates of another study than the kernel are refused', code == 2 and 'data.samples' in err and '240' in err and '20' in err, f'{code} {err}')
code, out, err = run('rates', f.at('study.toml'), '--labels', f.at('x.h5') + ':/y')
check('--labels beside a study is refused', code == 2 and '--labels' in err, f'{code} {err}')
code, out, err = run('rates', f.at('study.toml'), '--set', 'rates.sizes=[9999]', '--set', 'rates.repeats=1')
with h5py.File(f.at('out.h5')) as h:
    check('sizes that are all too large leave n', code == 0 and list(h['/rates/learning_curve/sizes'][:]) == [240], err)
# The window of the decay fit: what is given decides, and is said in the file; what cannot be is refused or warned of.
def window(first, last): return run('rates', f.at('study.toml'), '--set', 'rates.repeats=2', '--set', 'rates.sizes=[120]', '--set', f'rates.window=[{first}, {last}]')
code, out, err = window(4, 40)
with h5py.File(f.at('out.h5')) as h:
    d = h['/rates/decay'].attrs; by_size = h['/rates/decay/exponent_by_size'][:]
    check('window: given, and said', code == 0 and (d['first'], d['last'], d['window_source']) == (4, 40, 'given') and 'rates.window' in out, (out, err))
    check('window: of subsets too', np.isfinite(by_size).all(), by_size)
    # The sample's bias, which the fit divides out, is less than a quarter of the exponent here; a fit in the ranks that would be
    # chosen (3 to 12) is not.
    plain = lambda first, last: -np.polyfit(np.log(np.arange(first, last + 1)), np.log(l[first - 1:last]), 1)[0]
    check('window: the exponent is that of its ranks', abs(h['/rates/decay/polynomial'].attrs['exponent'] / plain(4, 40) - 1) < 0.25, (h['/rates/decay/polynomial'].attrs['exponent'], plain(4, 40)))
for first, last, word in ((1, 241, '240'), (0, 20, 'at least 1'), (7, 7, 'first'), (7, 10, '4 ranks')):
    code, out, err = window(first, last)
    check(f'window: [{first}, {last}] is refused', code == 2 and 'rates.window' in err and word in err, f'{code} {err}')
code, out, err = run('gram', f.at('study.toml'), '--set', 'rates.window=[1, 241]', '--set', 'output.path=none.h5')
check('window: refused before the kernel', code == 2 and 'rates.window' in err and not os.path.exists(f.at('none.h5')), f'{code} {err}')
code, out, err = run('spectrum', f.at('study.toml'), '--set', 'spectrum.solver=scalapack-dc')
with h5py.File(f.at('out.h5')) as h: check('a new spectrum takes away what was made of the old', code == 0 and not {'rates', 'neighbours', 'tasks'} & set(h), err)

# Without a test set the other half judges.
code, out, err = run('run', f.at('study.toml'), '--set', 'data.test=""', '--set', 'rates.neighbours=0', '--set', 'rates.sizes=[30, 60, 120, 240]', '--set', 'output.path=' + f.at('half.h5'))
check('no test set: status 0', code == 0, err)
with h5py.File(f.at('half.h5')) as h:
    c = h['/rates/learning_curve']
    check('no test set: observed up to half', np.isfinite(c['mse_stop'][:3]).all() and np.isnan(c['mse_stop'][3]).all() and c.attrs['test_examples'] == 120)

# Two tasks of different numbers of labels in one kernel.
words = 'label_words = [" bad", " great"]\ntemplate = "{text} It was"\n'
f.write('tasks.toml', f'''[model]\npath = "model"\n[kernel]\nparameters = ["transformer.h.3.*"]\n[output]\npath = "tasks.h5"
[[tasks]]\nname = "a"\ntrain = "train.tsv"\ntest = "test.tsv"\nsamples = 60\ntest_samples = 20\n{words}
[[tasks]]\nname = "b"\ntrain = "three.tsv"\ntest = "three.tsv"\nsamples = 40\ntest_samples = 15\nlabel_words = [" bad", " great", " good"]\ntemplate = "{{text}} It was"\n''')
lines = open(f.at('train.tsv')).read().splitlines()[1:61]
f.write('three.tsv', 'text\tlabel\n' + ''.join(f'{line.split(chr(9))[0]}\t{i % 3}\n' for i, line in enumerate(lines)))
code, out, err = run('run', f.at('tasks.toml'), '--set', 'rates.noise=0.3', '--set', 'rates.radius=1')
check('tasks: status 0', code == 0, err)
if code == 0:
    with h5py.File(f.at('tasks.h5')) as h:
        check('tasks: both learn', (h['/tasks/stopping_step'][:] > 0).all())
        G, C = h['/kernel/gram'][:], h['/kernel/cross'][:]; t = h['/tasks']
        check('tasks: rows', G.shape == (60 + 120, 180) and C.shape == (20 + 45, 180))
        check('tasks: names', list(t.attrs['names']) == ['a', 'b'])
        labels, logits = h['/data/train/labels'][:], h['/kernel/outputs_train'][:]
        tasks = [slice(0, 60), slice(60, 180)]
        rs = [np.where(labels[:60] == 1, 1.0, -1.0) - (logits[:60, 1] - logits[:60, 0]), (np.eye(3)[labels[60:]] - logits[60:, 2:]).ravel()]
        means = [np.full(60, rs[0].mean()), np.tile(rs[1].reshape(40, 3).mean(0), 40)]
        c = []
        for k in range(2):
            K = G[tasks[k], tasks[k]] / len(rs[k]); alpha = 1 / np.linalg.eigvalsh(K)[-1]; g = rs[k] - means[k]; f_t = np.zeros_like(g); theta = np.zeros_like(g)
            for _ in range(int(t['stopping_step'][k])): theta += alpha / len(g) * (g - f_t); f_t = K * len(g) @ theta
            full = np.zeros(180); full[tasks[k]] = theta; c.append(full)
        inner = np.array([[x @ G @ y for y in c] for x in c])
        check('tasks: inner products by literal descent', close(t['inner'][:], inner, 1e-8 * np.abs(inner).max()))
        check('tasks: norms and cosines', close(t['norms'][:], np.sqrt(np.diag(inner)), 1e-8) and close(t['cosines'][0, 1], inner[0, 1] / np.sqrt(inner[0, 0] * inner[1, 1]), 1e-7))
        row = [q for q in t['arithmetic'][:] if q['weights'].decode() == 'a:-1' and q['task'].decode() == 'a'][0]
        out_t = h['/kernel/outputs_test'][:]; fa = out_t[:20, 1] - out_t[:20, 0] - means[0][0] - (C @ c[0])[:20]
        ya = np.where(h['/data/test/labels'][:20] == 1, 1.0, -1.0)
        check('tasks: forgetting', close(row['accuracy'], ((fa > 0) == (ya > 0)).mean(), 1e-12) and close(row['mse'], ((ya - fa) ** 2).mean(), 1e-8), row)
        f0 = out_t[:20, 1] - out_t[:20, 0] - means[0][0]
        check('tasks: the intercept alone', close(row['intercept_accuracy'], ((f0 > 0) == (ya > 0)).mean(), 1e-12) and close(row['intercept_mse'], ((ya - f0) ** 2).mean(), 1e-8), row)
        row = [q for q in t['arithmetic'][:] if q['weights'].decode() == 'a:+1 b:+1' and q['task'].decode() == 'b'][0]
        fb = out_t[20:, 2:].ravel() + means[1][:45] + (C @ (c[0] + c[1]))[20:]; yb = np.eye(3)[h['/data/test/labels'][20:]].ravel()
        check('tasks: adding', close(row['mse'], ((yb - fb) ** 2).mean(), 1e-8), row)
code, out, err = run('gram', f.at('tasks.toml'), '--set', 'kernel.output=trace', '--set', 'output.path=' + f.at('no.h5'))
check('tasks: trace has no meaning between tasks', code == 2 and 'trace' in err, f'{code} {err}')

# Centring the kernel: H K H, the test rows alike; what the residual's mean alone does is told apart.
code, out, err = run('rates', f.at('study.toml'), '--set', 'rates.center=kernel', '--set', 'rates.sizes=[240]', '--set', 'rates.neighbours=3', '--set', 'rates.noise=0.3', '--set', 'rates.radius=1')
check('centred kernel: status 0', code == 0, err)
with h5py.File(f.at('out.h5')) as h:
    G, C = h['/kernel/gram'][:], h['/kernel/cross'][:]; H = np.eye(240) - 1 / 240; K = H @ G @ H; Kt = (C - G.mean(0)) @ H; s = h['/rates/stopping']; a = dict(s.attrs)
    margin = lambda part: h[f'/kernel/outputs_{part}'][:, 1] - h[f'/kernel/outputs_{part}'][:, 0]
    sign = lambda part: np.where(h[f'/data/{part}/labels'][:] == 1, 1.0, -1.0)
    r = sign('train') - margin('train'); w, U = np.linalg.eigh(K / 240); w = np.maximum(w, 0); t = a['stopping_step']
    weights = np.where(w > 1e-14 * w[-1], -np.expm1(t * np.log1p(-np.minimum(w * a['step_size'], 1))) / np.where(w > 0, w, 1) / 240, a['step_size'] * t / 240)
    f_t = margin('test') + r.mean() + Kt @ (U @ (weights * (U.T @ (r - r.mean()))))
    check('centred kernel: step size and error at T', close(a['step_size'] * w[-1], 1, 1e-9) and t > 0 and close(((sign('test') - f_t) ** 2).mean(), s['test_mse'][int(np.searchsorted(s['step'][:], t))], 1e-8), a)
    cosine = Kt / np.sqrt(np.outer(h['/kernel/test_diagonal'][:] - 2 * C.mean(1) + G.mean(), np.diag(K)))
    check('centred kernel: cosines of the neighbours', close(-np.sort(-cosine, axis=1)[:, :3], h['/neighbours/cosines'][:], 1e-10))
code, out, err = run('rates', f.at('study.toml'), '--set', 'rates.center=mean')
check('centring: another word is refused', code == 2 and 'rates.center' in err and 'kernel' in err, err)

# Somebody else's kernel: min(x, x'), a known target and noise.
rng = np.random.default_rng(0); x = (np.arange(200) + 1) / 200; xt = rng.uniform(size=50); target = lambda x: np.abs(x - 0.5) - 0.5
with h5py.File(f.at('kernel.h5'), 'w') as h:
    h['G'] = np.minimum.outer(x, x); h['y'] = target(x) + 0.1 * rng.normal(size=200); h['C'] = np.minimum.outer(xt, x); h['yt'] = target(xt) + 0.1 * rng.normal(size=50)
    h['w'] = np.linalg.eigvalsh(h['G'][:])[::-1][rng.permutation(200)]; h['classes'] = (h['y'][:] > -0.25).astype('i8'); h['column'] = h['classes'][:][:, None]; h['short'] = np.zeros(7); h['gap'] = 1 + h['classes'][:]; h['I'] = np.diag(np.r_[np.linspace(1, 0.1, 199), -20])
place = lambda name: f.at('kernel.h5') + ':/' + name
code, out, err = run('rates', '--eigenvalues', place('w'), '--samples', '200', '--noise', '0.1', '--output', f.at('e.h5'))
check('eigenvalues: status 0', code == 0, err)
code2, out2, err2 = run('rates', '--matrix', place('G'), '--labels', place('y'), '--cross', place('C'), '--test-labels', place('yt'), '--noise', '0.1', '--radius', '1', '--set', 'rates.center=false', '--output', f.at('m.h5'))
check('matrix: status 0', code2 == 0, err2)
if code == 0 and code2 == 0:
    with h5py.File(f.at('e.h5')) as e, h5py.File(f.at('m.h5')) as h:
        check('eigenvalues and matrix: the same T', e['/rates/stopping'].attrs['stopping_step'] == h['/rates/stopping'].attrs['stopping_step'] > 0)
        # No halves of the sample are there to tell an interval by: it is no number, and not one of no width.
        d = dict(e['/rates/decay'].attrs); law = e[f'/rates/decay/{d["selected"]}'].attrs; names = [k[:-4] for k in law if k.endswith('_low')]
        check('eigenvalues: the interval of the decay is not known, and why', names and all(np.isfinite(law[k]) and np.isnan(law[k + '_low']) and np.isnan(law[k + '_high']) for k in names) and 'halves' in d['interval_reason'] and 'halves' in err and '(interval not known)' in out, (dict(law), d, err, out))
        row = [q for q in e['/rates/exponents'][:] if q['source'] == b'decay'][0]
        check('eigenvalues: nor that of its rate', np.isfinite(row['value']) and np.isnan(row['low']) and np.isnan(row['high']), row)
        check('matrix: the interval is known', h['/rates/decay'].attrs['interval_reason'] == '' and h['/rates/decay/polynomial'].attrs['exponent_low'] < h['/rates/decay/polynomial'].attrs['exponent'])
        s = h['/rates/stopping']; K = np.minimum.outer(x, x) / 200; alpha = s.attrs['step_size']; y = h5py.File(f.at('kernel.h5'))['y'][:]; theta = np.zeros(200)
        for _ in range(int(s.attrs['stopping_step'])): theta += alpha / 200 * (y - 200 * K @ theta)
        yt = h5py.File(f.at('kernel.h5'))['yt'][:]; at = int(np.searchsorted(s['step'][:], s.attrs['stopping_step']))
        check('matrix: test error at T by literal descent', close(((yt - np.minimum.outer(xt, x) @ theta) ** 2).mean(), s['test_mse'][at], 1e-9))
        check('matrix: a bound', np.isfinite(s.attrs['error_bound']) and s.attrs['error_bound_reason'] == '' and 'bound      the error at T' in out2, out2)
# Some of the eigenvalues, and a matrix with negative ones: said, with what T could be.
with h5py.File(f.at('kernel.h5'), 'a') as h: h['some'] = np.sort(h['w'][:])[::-1][:20]; h['J'] = h['G'][:] - 0.02 * np.eye(200)
code, out, err = run('rates', '--eigenvalues', place('some'), '--samples', '200', '--noise', '0.1', '--output', f.at('e.h5'))
check('eigenvalues: those that are missing are said', code == 0 and '20 of 200 eigenvalues' in err, err)
with h5py.File(f.at('kernel.h5')) as h: some = h['some'][:] / 200
most = np.r_[some, np.full(180, some[-1])]; numbers = [100 * some.sum() / most.sum(), rule(most, 0.1, 1 / some[0], 200), rule(some, 0.1, 1 / some[0], 200)]
check('eigenvalues: with what the others could hold, and T be', 'between {:.0f} and 100 %'.format(numbers[0]) in err and 'between {:.0f}, if'.format(numbers[1]) in err and 'given, and {:.0f}'.format(numbers[2]) in err and numbers[1] < numbers[2], (numbers, err))
code, out, err = run('rates', '--matrix', place('J'), '--labels', place('y'), '--noise', '0.1', '--radius', '1', '--output', f.at('e.h5'))
check('matrix: negative eigenvalues are said', code == 0 and 'negative' in err and '/J' in err, err)
for name, arguments in (('sigma = 0', ['--noise', '0', '--radius', '1']), ('T = 0', ['--noise', '100', '--radius', '0.001', '--cross', place('C'), '--test-labels', place('yt')]), ('a step beyond 1/l_1', ['--noise', '0.1', '--radius', '1', '--step-size', '4'])):
    code, out, err = run('rates', '--matrix', place('G'), '--labels', place('y'), *arguments, '--set', 'rates.center=false', '--output', f.at('n.h5'))
    seen = run('inspect', f.at('n.h5'))[1]
    with h5py.File(f.at('n.h5')) as h: s = h['/rates/stopping']; a = dict(s.attrs); path = s['bound'][:]
    check(f'no bound: {name}', code == 0 and np.isnan(a['error_bound']) and a['error_bound_vacuous'] == 1 and a['error_bound_reason'] != '' and np.isnan(path).all(), f'{a} {err}')
    if name == 'T = 0': check('T = 0: nothing is learnt', 'learnt     nothing: T = 0' in out, out)
    if name != 'a step beyond 1/l_1':
        check(f'no rate is said: {name}', 'no rate: ' + name in out and 'the error falls' not in out + seen, out)
        with h5py.File(f.at('n.h5')) as h: e = {row['source'].decode(): row for row in h['/rates/exponents'][:]}
        check(f'no rate in the table: {name}', all(np.isnan(e[q]['value']) for q in ('critical_radius', 'observed', 'observed_mse')), e)
    check(f'no bound, and why: {name}', all('bound      none: ' + a['error_bound_reason'] in text for text in (out, seen)), out + seen)
# Eigenlearning's rows: the best ridge's error on unseen rows at n/32 to n/4, less sigma^2. The least over a
# grid of ridges 2 % apart is off by 2e-5 of it, a slope over three doublings by less.
drawn = np.random.default_rng(1); p = drawn.uniform(size=256)
with h5py.File(f.at('learn.h5'), 'w') as h: h['G'] = np.minimum.outer(p, p); h['y'] = target(p) + 0.1 * drawn.normal(size=256)
code, out, err = run('rates', '--matrix', f.at('learn.h5') + ':/G', '--labels', f.at('learn.h5') + ':/y', '--set', 'rates.center=false', '--output', f.at('l.h5'))
check('eigenlearning: status 0', code == 0, err)
with h5py.File(f.at('learn.h5')) as a, h5py.File(f.at('l.h5')) as h:
    w, U = np.linalg.eigh(a['G'][:] / 256); e = {row['source'].decode(): row for row in h['/rates/exponents'][:]}; sigma = h['/rates/source_capacity'].attrs['noise']
    w = np.where(w > h['/rates/decay'].attrs['noise_floor'], w, 0); power = (U.T @ a['y'][:]) ** 2 / 256; ridges = np.geomspace(1e-8, 10, 1000)[:, None] * w[-1]
    def least(n):
        m = w + n * ridges / 256; low, high = np.full_like(ridges, np.log(1e-16)), np.full_like(ridges, np.log(1e4))
        for _ in range(60):
            k = np.exp(0.5 * (low + high)); more = (m / (m + k)).sum(1, keepdims=True) > n
            low, high = np.where(more, np.log(k), low), np.where(more, high, np.log(k))
        L = m / (m + k); return (n / (n - (L ** 2).sum(1)) * ((1 - L) ** 2 * power).sum(1) / (1 - n / 256)).min()
    sizes = np.array([8, 16, 32, 64]); whole = np.array([least(n) for n in sizes]); slope = lambda errors: -np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    check('eigenlearning: above sigma^2', abs(e['eigenlearning']['value'] - slope(whole - sigma ** 2)) < 1e-4, (e['eigenlearning'], slope(whole - sigma ** 2)))
    check('eigenlearning: the whole error', abs(e['eigenlearning_mse']['value'] - slope(whole)) < 1e-4 and e['eigenlearning_mse']['low'] < e['eigenlearning_mse']['value'] < e['eigenlearning_mse']['high'], (e['eigenlearning_mse'], slope(whole)))
    check('a slope of observed errors says what it needs', 'three sizes' in e['observed_mse']['note'].decode() and '[32, 64, 128]' in e['observed_mse']['note'].decode(), e['observed_mse'])
# The eigenvalues of exp(-2 sqrt k) follow no power: a target of slow power is not said to lie outside the kernel's space.
basis = np.linalg.qr(np.random.default_rng(3).normal(size=(1000, 1000)))[0]; ranks = np.arange(1, 1001)
with h5py.File(f.at('slow.h5'), 'w') as h: h['G'] = (basis * 1000 * np.exp(-2 * np.sqrt(ranks))) @ basis.T; h['G'][...] = (h['G'][:] + h['G'][:].T) / 2; h['y'] = basis @ (ranks ** -0.6 * np.random.default_rng(4).normal(size=1000))
code, out, err = run('rates', '--matrix', f.at('slow.h5') + ':/G', '--labels', f.at('slow.h5') + ':/y', '--set', 'rates.center=false', '--set', 'rates.repeats=2', '--set', 'rates.sizes=[500]', '--output', f.at('o.h5'))
with h5py.File(f.at('o.h5')) as h: s, family = dict(h['/rates/source_capacity'].attrs), h['/rates/decay'].attrs['selected']
check('no power: s is undecided', code == 0 and family != 'polynomial' and np.isinf(s['source_high']) and 'lies outside' not in out, (family, s, out))
# Examples that repeat each other say of their twins what no spectrum tells: nothing is predicted.
with h5py.File(f.at('twice.h5'), 'w') as h: twice = np.r_[p[:64], p[:64]]; h['G'] = np.minimum.outer(twice, twice); h['y'] = target(twice)
code, out, err = run('rates', '--matrix', f.at('twice.h5') + ':/G', '--labels', f.at('twice.h5') + ':/y', '--set', 'rates.noise=0.1', '--output', f.at('t.h5'))
with h5py.File(f.at('t.h5')) as h: check('repeated examples: nothing is predicted', code == 0 and np.isnan(h['/rates/learning_curve/predicted_ridge'][:]).all() and np.isfinite(h['/rates/learning_curve/gcv'][:]).any() and 'as repeated examples leave them' in out, out)
with h5py.File(f.at('t.h5')) as h: s = h['/rates/stopping']; check('repeated examples: a given sigma is of every row', close(s['bias2'][0], s.attrs['residual_mean_square'] - 0.01, 1e-12), s['bias2'][0])
code, out, err = run('rates', '--matrix', f.at('twice.h5') + ':/G', '--labels', f.at('twice.h5') + ':/y', '--set', 'rates.center=false', '--output', f.at('t.h5'))
with h5py.File(f.at('t.h5')) as h:
    a = dict(h['/rates/stopping'].attrs); w, U = np.linalg.eigh(np.minimum.outer(twice, twice) / 128); z = U.T @ target(twice); t = a['discrepancy_step']
    error = lambda t: ((1 - np.clip(w / w[-1], 0, 1)) ** (2 * t) * z ** 2).mean()
    check('repeated examples: an estimated sigma is of half of the directions', t > 0 and error(t) <= a['noise'] ** 2 / 2 < error(t - 1), (t, a['noise'], error(t)))
with h5py.File(f.at('twice.h5'), 'a') as h: few = np.r_[p[:120], p[:8]]; h['few'], h['of few'] = np.minimum.outer(few, few), target(few) + 0.1 * np.sin(1000 * few)
code, out, err = run('rates', '--matrix', f.at('twice.h5') + ':/few', '--labels', f.at('twice.h5') + ':/of few', '--output', f.at('t.h5'))
with h5py.File(f.at('t.h5')) as h: check('repeated examples: eight of 128 are enough', code == 0 and np.isnan(h['/rates/learning_curve/predicted_ridge'][:]).all() and '8 of the 128 directions' in out, out)
# As much of the residual in every direction: the search for a ridge ends at the largest, and bounds nothing.
with h5py.File(f.at('kernel.h5'), 'a') as h: h['noise'] = np.linalg.eigh(h['G'][:])[1].sum(1)
code, out, err = run('rates', '--matrix', place('G'), '--labels', place('noise'), '--set', 'rates.center=false', '--output', f.at('t.h5'))
with h5py.File(f.at('t.h5')) as h: a = dict(h['/rates/stopping'].attrs); check('noise alone: the search ended, and bounds nothing', code == 0 and 'like noise alone' in err and 'cross-validation' in a['error_bound_reason'], (a['error_bound_reason'], err))
# min(x, x') holds no constant: a mean that is taken out of the residual alone moves T. Of a centred kernel there is none.
with h5py.File(f.at('kernel.h5'), 'a') as h: H = np.eye(200) - 1 / 200; h['centred'] = H @ h['G'][:] @ H; h['centred'][...] = (h['centred'][:] + h['centred'][:].T) / 2
for name, warned in (('G', True), ('centred', False)):
    code, out, err = run('rates', '--matrix', place(name), '--labels', place('y'), '--output', f.at('t.h5'))
    check(f'centring: {name}, whether it moves T', code == 0 and ('centring moves T' in err) == warned, err)
found = []
for scale in (1e-4, 1, 1e4):
    with h5py.File(f.at('scaled.h5'), 'w') as h: h['G'] = scale * np.minimum.outer(x, x)
    code, out, err = run('rates', '--matrix', f.at('scaled.h5') + ':/G', '--labels', place('y'), '--output', f.at('s.h5'))
    with h5py.File(f.at('s.h5')) as h: found.append((h['/rates/stopping'].attrs['stopping_step'], h['/rates/functionals'].attrs['information_gain_at_noise'], h['/rates/functionals'].attrs['effective_dimension_at_stop']))
check('scale: T, gain and dimension stay where the kernel is rescaled', found[1][0] > 0 and np.allclose(found, found[1], rtol=1e-6), found)
code, out, err = run('rates', '--matrix', place('G'), '--labels', place('classes'), '--output', f.at('c.h5'))
check('classes: status 0', code == 0, err)
run('rates', '--matrix', place('G'), '--labels', place('column'), '--output', f.at('column.h5'))
with h5py.File(f.at('c.h5')) as h, h5py.File(f.at('column.h5')) as g: check('classes: a column of them is the same', h['/rates/stopping'].attrs['residual_mean_square'] == g['/rates/stopping'].attrs['residual_mean_square'] > 0)
for name, arguments, word in (('labels of another length', ['--matrix', place('G'), '--labels', place('short')], '7 rows'), ('no labels', ['--matrix', place('G')], '--labels'),
        ('no noise', ['--eigenvalues', place('w'), '--samples', '200'], '--noise'), ('too few samples', ['--eigenvalues', place('w'), '--samples', '20', '--noise', '1'], '--samples 20'),
        ('cross alone', ['--matrix', place('G'), '--labels', place('y'), '--cross', place('C')], '--test-labels'), ('targets of two kinds', ['--matrix', place('G'), '--labels', place('classes'), '--cross', place('C'), '--test-labels', place('yt')], 'one kind'),
        ('classes with a gap', ['--matrix', place('G'), '--labels', place('gap')], '0 does not occur'), ('an indefinite matrix', ['--matrix', place('I'), '--labels', place('y')], 'positive semidefinite'),
        ('a key that is not read', ['--matrix', place('G'), '--labels', place('y'), '--set', 'data.samples=4'], 'reads data.seed, rates., spectrum. alone'), ('sigma twice', ['--matrix', place('G'), '--labels', place('y'), '--noise', '0.5', '--set', 'rates.noise=0.3'], 'give one of them'),
        ('labels beside eigenvalues', ['--eigenvalues', place('w'), '--samples', '200', '--noise', '1', '--labels', place('y')], '--matrix'), ('a transposed cross', ['--matrix', place('C'), '--labels', place('y')], 'kernel.h5: /C')):
    code, out, err = run('rates', *arguments, '--output', f.at('bad.h5'))
    check(f'somebody else: {name}', code in (2, 3, 4) and word in err, f'{code} {err}')
code, out, err = run('rates', '--matrix', place('G'), '--labels', place('y'), '--output', f.at('kernel.h5'))
check('somebody else: the input is never the output', code == 2 and 'kernel.h5' in err, f'{code} {err}')
found, files = unexplained(f.path)
check(f'files: everything says what it is', files >= 3 and not found, (files, found[:5]))
f.remove()
finish()
