#!/usr/bin/env python3
"""Kills runs at random moments and lets them go on: what comes out is what an undisturbed run writes.
usage: kills.py PROGRAM MPIEXEC RANKS TEST_DATA [KILLS [SEED]]      (SIGKILL to one rank, to all, to mpirun)"""
import glob, os, random, signal, subprocess, sys, time
from support import MPIEXEC, PROGRAM, RANKS, Folder, check, finish, run
try:
    import h5py, numpy as np
except ImportError:
    print('skipped: python3-h5py is missing'); sys.exit(77)

KILLS, SEED = (int(sys.argv[5]) if len(sys.argv) > 5 else 3), (int(sys.argv[6]) if len(sys.argv) > 6 else 1)
chance, f = random.Random(SEED), Folder()
other = 1 if RANKS > 1 else 2
study = f.study(data__samples='200', data__test='"test.tsv"', data__test_samples='40', kernel__parameters='"all"', kernel__precision='"double"',
    kernel__formula='["sgd", "signgd"]', output__checkpoint_minutes='0.001', rates__sizes='[128, 200]', rates__repeats='2')
path = f.write('kill.toml', study); out = f.at('out.h5')
def left(): return sorted(os.path.basename(p)[len('out.h5'):] or 'output' for p in glob.glob(out + '*'))
def pids(parent): return [int(p) for p in subprocess.run(['pgrep', '-P', str(parent)], capture_output=True, text=True).stdout.split()]

# One undisturbed run on each number of ranks.
truth, seconds = {}, 0.0
for ranks in (RANKS, other):
    begin = time.monotonic(); code, _, err = run('run', path, '--set', f'output.path=truth{ranks}.h5', ranks=ranks); seconds = max(seconds, time.monotonic() - begin)
    check(f'undisturbed on {ranks}: status 0', code == 0, err)
    with h5py.File(f.at(f'truth{ranks}.h5')) as h:
        data = {}; h.visititems(lambda n, d: data.update({n: d[()]}) if isinstance(d, h5py.Dataset) else None); truth[ranks] = data

def same(a, b): return repr(a.tolist()) == repr(b.tolist()) if a.dtype.hasobject or a.dtype.fields else a.tobytes() == b.tobytes()
def outcome(name, ranks, whole):
    """Whether the file's kernel has the undisturbed bits; `whole`: eigenpairs and rates are those of this many ranks, too."""
    with h5py.File(out) as h:
        wrong = [n for n, then in truth[ranks].items() if n not in h or not same(h[n][()], then)]
        kernel = [n for n in wrong if n.startswith(('kernel', 'data'))]
        check(f'{name}: the kernel has the same bits', not kernel, kernel)
        if whole: check(f'{name}: eigenpairs and rates have the same bits', not wrong, wrong)
        a, b = h['spectrum/eigenvalues'][()], truth[RANKS]['spectrum/eigenvalues']
        # On other ranks: backward stability of the solver, a few n eps.
        check(f'{name}: eigenvalues', np.abs(a - b).max() <= 1e-12 * b.max())
        return not kernel

for k in range(KILLS):
    for leftover in glob.glob(out + '*'): os.remove(leftover)
    name, ranks, finished, legs = f'kill {k + 1}', RANKS, False, []
    for leg in range(chance.randint(1, 3)):
        who = chance.choice(('one rank', 'all ranks', 'mpirun')); delay = chance.uniform(0.1, 1.1) * seconds / (leg + 1)
        p = subprocess.Popen([MPIEXEC, '-n', str(ranks), PROGRAM, 'run', path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try: p.wait(delay)
        except subprocess.TimeoutExpired: pass
        children = pids(p.pid); finished = p.poll() is not None
        if finished: p.communicate(); legs.append(f'{ranks} ranks: ended before'); break
        state = ' '.join(left())
        victims = {'mpirun': [p.pid], 'all ranks': children}.get(who) or [chance.choice(children)] if children else [p.pid]
        for pid in victims:
            try: os.kill(pid, signal.SIGKILL)
            except ProcessLookupError: pass
        died = time.monotonic()
        try: p.communicate(timeout=30)
        except subprocess.TimeoutExpired: p.kill(); check(f'{name}: {who} killed, the job ends in 30 s', False)
        # Ranks without mpirun end by themselves; every other time the next run comes before they have.
        at_once = chance.random() < 0.5
        while not at_once and any(os.path.exists(f'/proc/{c}') for c in children) and time.monotonic() - died < 30: time.sleep(0.02)
        if not at_once: check(f'{name}: no rank is left after {who} was killed', not any(os.path.exists(f'/proc/{c}') for c in children))
        legs.append(f'{ranks} ranks, {who} after {delay:.1f} s ({state or "nothing yet"}), {"next at once" if at_once else f"all gone in {time.monotonic() - died:.1f} s"}')
        ranks = chance.choice((RANKS, other))
    if not finished: p.returncode, _, err = run('run', path, ranks=ranks)
    else: err = ''
    check(f'{name}: goes on, status 0', p.returncode == 0, err)
    if p.returncode == 0:
        # A spectrum that an earlier leg finished is of that leg's ranks.
        identical = outcome(name, ranks, not finished and 'skipped' not in err)
        check(f'{name}: nothing is left beside the output', left() == ['output'], left())
        went = 'went on from the checkpoint' if 'goes on from' in err else 'ended before' if finished else 'kept finished stages' if 'skipped' in err else 'began again'
        print(f'{name} | {"; ".join(legs)} | {went} on {ranks} | G {"identical" if identical else "DIFFERS"}', flush=True)
f.remove(); finish()
