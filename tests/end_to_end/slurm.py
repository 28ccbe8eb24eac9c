#!/usr/bin/env python3
"""jobs/ and tools/submit on a real Slurm of two nodes on this machine, which TANGRAM_SLURM's local-slurm starts. Every wait has a limit.
usage: slurm.py PROGRAM MPIEXEC RANKS TEST_DATA [PART ... | all]      (default: one job that requeues itself; parts: PARTS below)"""
import glob, os, re, shlex, shutil, signal, subprocess, sys, time
from support import PROGRAM, RANKS, Folder, check, finish, run
try:
    import h5py, numpy as np
except ImportError:
    print('skipped: python3-h5py is missing'); sys.exit(77)
local = os.path.join(os.environ.get('TANGRAM_SLURM', ''), 'local-slurm')
if not os.access(local, os.X_OK): print('skipped: TANGRAM_SLURM names no folder with local-slurm'); sys.exit(77)
if not all(shutil.which(p, path=os.environ['PATH'] + ':/usr/sbin') for p in ('slurmctld', 'slurmd', 'munged', 'sbatch')): print('skipped: Slurm is not installed (Debian: munge and slurm-wlm)'); sys.exit(77)

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'); JOBS = os.path.join(ROOT, 'jobs')
f, begin = Folder(), time.monotonic()
os.environ.update(LOCAL_SLURM_DIR=f.at('slurm'), TANGRAM=PROGRAM)
def say(text): print(f'        {time.monotonic() - begin:5.0f} s  {text}', flush=True)
def shell(*command, timeout=60):
    p = subprocess.run(command, capture_output=True, text=True, timeout=timeout); return p.returncode, p.stdout, p.stderr
def job(number): return dict(w.split('=', 1) for w in shell('scontrol', 'show', 'job', '-o', str(number))[1].split() if '=' in w)
def wait(number, states, seconds):
    """The job's first state among these, or what it was when the time was over. A requeued job begins at once."""
    end = time.monotonic() + seconds; state = '?'
    while time.monotonic() < end:
        now = job(number); state = now.get('JobState', 'gone')
        if state in states: return state
        if state == 'PENDING' and now.get('Reason') == 'BeginTime':
            time.sleep(3)  # nodes get two minutes to clear up after a step; these need a second
            shell('scontrol', 'update', f'jobid={number}', 'StartTime=now')
        time.sleep(0.2)
    return f'{state} after {seconds} s'
def submit(name, *options, script='study.sbatch', arguments=()):
    code, out, err = shell('sbatch', '--parsable', '--nodes=2', '--ntasks=2', '--ntasks-per-node=1', '--time=10', f'--output={f.at(name + ".log")}', *options, os.path.join(JOBS, script), f.at('slurm.toml'), '--set', f'output.path={name}.h5', *arguments)
    say(f'sbatch {name}: {out.strip()} {err.strip()}')
    if code != 0: check(f'{name}: is taken', False, err); finish()
    return int(out.split(';')[0])
def text(name): return open(f.at(name)).read() if os.path.exists(f.at(name)) else ''
def until(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition(): time.sleep(0.1)
    return condition()
def same(name):
    with h5py.File(f.at(name + '.h5')) as a, h5py.File(f.at('truth.h5')) as b:
        for n in ('kernel/gram', 'kernel/cross', 'spectrum/eigenvalues', 'rates/stopping/bound'): check(f'{name}: {n} is identical', a[n][()].tobytes() == b[n][()].tobytes())
    check(f'{name}: nothing is left beside it', sorted(glob.glob(f.at(name + '.h5*'))) == [f.at(name + '.h5')], glob.glob(f.at(name + '.h5*')))

def stopped(name, signal_name):
    """A signal to the ranks: checkpoint, status 75, the job requeues itself, goes on, and the result is that of an undisturbed run."""
    for attempt in (1, 2):  # Slurm itself was seen to hang in one srun of 80
        number = submit(name); state = wait(number, ('RUNNING',), 60)
        written = until(lambda: os.path.exists(f.at(name + '.h5.checkpoint')), 60)
        if written or attempt == 2: break
        say(f'no checkpoint: {state}; tried again'); shell('scancel', '--signal=KILL', str(number)); wait(number, ('CANCELLED', 'FAILED'), 60)
    check(f'{name}: a first checkpoint', written, text(name + '.log'))
    say(f'scancel --signal={signal_name}'); shell('scancel', f'--signal={signal_name}', str(number))
    check(f'{name}: status 75, requeued', until(lambda: 'requeued' in text(name + '.log'), 60), text(name + '.log'))
    check(f'{name}: ends', wait(number, ('COMPLETED', 'FAILED', 'TIMEOUT'), 240) == 'COMPLETED', text(name + '.log'))
    log = text(name + '.log'); print(''.join('                 ' + line + '\n' for line in log.splitlines()))
    check(f'{name}: went on from the checkpoint', 'stopped on request after writing' in log and 'goes on from the checkpoint' in log, log)
    same(name)

def rank():
    """One rank dies: the step ends at once, the job goes into the queue again by itself."""
    number = submit('rank'); until(lambda: os.path.exists(f.at('rank.h5.checkpoint')), 90)
    victims = shell('pgrep', '-f', f'{PROGRAM} run .*output.path=rank.h5')[1].split(); victims = [v for v in victims if os.path.realpath(f'/proc/{v}/exe') == os.path.realpath(PROGRAM)]
    say(f'SIGKILL to rank process {victims[-1]} of {victims}'); died = time.monotonic(); os.kill(int(victims[-1]), signal.SIGKILL)
    check('rank: the step ends by itself', until(lambda: 'a rank died' in text('rank.log'), 120), text('rank.log')); say(f'ended after {time.monotonic() - died:.1f} s')
    check('rank: ends', wait(number, ('COMPLETED', 'FAILED', 'TIMEOUT'), 240) == 'COMPLETED', text('rank.log')); same('rank')
    check('rank: went on', 'goes on from the checkpoint' in text('rank.log'), text('rank.log'))

def node():
    """A node dies with all that runs on it, and comes back."""
    number = submit('node'); until(lambda: os.path.exists(f.at('node.h5.checkpoint')), 90)
    slurmd = int(open(f.at('slurm/run/slurmd-n2.pid')).read().split()[0])
    ranks = [int(v) for v in shell('pgrep', '-f', f'{PROGRAM} run .*output.path=node.h5')[1].split()]
    on_n2 = [r for r in ranks if b'SLURMD_NODENAME=n2' in open(f'/proc/{r}/environ', 'rb').read()]
    # What watches over the ranks of the step dies, too: nobody is left there who could tell.
    stepds = {int(re.search(r'PPid:\s*(\d+)', open(f'/proc/{r}/status').read())[1]) for r in on_n2}
    say(f'node n2 dies: slurmd {slurmd}, slurmstepd {stepds}, ranks {on_n2}'); died = time.monotonic()
    for pid in [slurmd, *stepds, *on_n2]: os.kill(pid, signal.SIGKILL)
    # Slurm notices after SlurmdTimeout (60 s here), takes the job back by itself, and has it wait for a node.
    check('node: SLURM sees it', until(lambda: 'down' in shell('sinfo', '-h', '-N', '-n', 'n2', '-o', '%T')[1], 300)); say('n2 is down for SLURM')
    check('node: the job waits', wait(number, ('PENDING',), 120) == 'PENDING', job(number)); say('n2 comes back')
    # As a node that was switched on again: nothing of the dead step is left there.
    for left in [f.at('slurm/spool/n2'), *glob.glob(f.at('slurm/tmp/n2/*'))]: shutil.rmtree(left, ignore_errors=True)
    shell(local, 'start', timeout=120)
    check('node: ends', wait(number, ('COMPLETED', 'FAILED', 'TIMEOUT', 'NODE_FAIL'), 400) == 'COMPLETED', text('node.log')); same('node')
    restarts = job(number).get('Restarts'); say(f'restarts: {restarts}; ended {time.monotonic() - died:.0f} s after the node died')
    check('node: started again', restarts not in (None, '0'), restarts)
    check('node: went on', 'goes on from the checkpoint' in text('node.log'), text('node.log'))

def launch():
    """Nodes on which no rank can be started: srun's status is 0 all the same, the job's is not, and it comes back."""
    number = submit('launch', '--hold'); blocked = [f.at(f'slurm/spool/{n}/stepd.slurm.pmix.{number}.0') for n in ('n1', 'n2')]
    for b in blocked: os.makedirs(b)
    shell('scontrol', 'release', str(number))
    check('launch: no success', until(lambda: 'no rank was started (status 1); requeued' in text('launch.log'), 60), text('launch.log')); print(text('launch.log'))
    for b in blocked: os.rmdir(b)
    check('launch: ends', wait(number, ('COMPLETED', 'FAILED', 'TIMEOUT'), 240) == 'COMPLETED', text('launch.log')); same('launch')
    check('launch: started again', job(number).get('Restarts') == '1', job(number))
    check('launch: nothing is left', not glob.glob('.tangram-*'), glob.glob('.tangram-*'))

def cancelled():
    """scancel means it: the ranks write a checkpoint, and the job stays away."""
    number = submit('cancelled'); check('cancelled: a first checkpoint', until(lambda: os.path.exists(f.at('cancelled.h5.checkpoint')), 90), text('cancelled.log'))
    shell('scancel', str(number)); state = wait(number, ('CANCELLED', 'COMPLETED', 'FAILED', 'PENDING'), 60); time.sleep(5)
    check('cancelled: stays so', state == 'CANCELLED' == job(number).get('JobState'), f'{state} {job(number)} {text("cancelled.log")}')
    check('cancelled: the same command goes on', wait(submit('cancelled'), ('COMPLETED', 'FAILED', 'TIMEOUT'), 240) == 'COMPLETED' and 'goes on from the checkpoint' in text('cancelled.log'), text('cancelled.log')); same('cancelled')

def limit():
    """The time limit itself: no signal but Slurm's own, on the way that the script asks for."""
    # The first of these sizes that outlives the limit on this machine, as it is planned.
    for samples in (700, 1000, 1400, 2000, 2800, 4000):
        f.write('long.toml', f.study(data__samples=str(samples), kernel__parameters='"all"', kernel__precision='"double"', kernel__formula='["sgd", "signgd"]', spectrum__vectors='false'))
        planned = next(line for line in run('plan', f.at('long.toml'), '--ranks', '2', ranks=1)[1].splitlines() if line.startswith('gram '))
        seconds = sum(float(number) * {'h': 3600, 'min': 60, 's': 1}[unit] for number, unit in re.findall(r'([\d.]+) (h|min|s)\b', re.split(r'\s{2,}', planned)[-1]))
        if seconds >= 120: break
    say(f'{samples} examples: {seconds:.0f} s planned'); os.environ['TANGRAM_COMMAND'] = 'gram'
    code, out, err = shell('sbatch', '--parsable', '--nodes=2', '--ntasks=2', '--ntasks-per-node=1', '--time=2', '--signal=B:USR1@60', f'--output={f.at("limit.log")}', os.path.join(JOBS, 'study.sbatch'), f.at('long.toml'), '--set', 'output.path=limit.h5')
    del os.environ['TANGRAM_COMMAND']; number = int(out); say(f'sbatch --time=2 --signal=B:USR1@60 limit: {number}')
    check('limit: ends', wait(number, ('COMPLETED', 'FAILED', 'TIMEOUT'), 900) == 'COMPLETED', text('limit.log'))
    log = text('limit.log'); print(''.join('                 ' + line + '\n' for line in log.splitlines())); say(f'restarts: {job(number).get("Restarts")}')
    check('limit: stopped by Slurm before the time was over, and went on', log.count('requeued') == log.count('goes on from the checkpoint') >= 1, log)
    code, _, err = run('gram', f.at('long.toml'), '--set', 'output.path=unlimited.h5', ranks=2, timeout=3600); check('limit: status 0 undisturbed', code == 0, err)
    with h5py.File(f.at('limit.h5')) as a, h5py.File(f.at('unlimited.h5')) as b:
        for n in ('kernel/gram', 'kernel/signgd/gram'): check(f'limit: {n} is identical', np.array_equal(a[n][()], b[n][()]))

def element():
    """One element of an array stops and comes back; the others know nothing of it. Slurm gives one of them the array's own number."""
    code, out, err = shell(os.path.join(JOBS, 'scale'), f.at('slurm.toml'), '--sizes', '1000,1100', '--output', f.at('two runs'), '--', '--ntasks=2', '--time=10'); say(f'jobs/scale: {out.strip()} {err.strip()}')
    array, merge = re.search(r'runs (\d+) ', out)[1], int(re.search(r'merge (\d+)', out)[1])
    def elements(): return {e['ArrayTaskId']: e for e in (dict(w.split('=', 1) for w in line.split() if '=' in w) for line in shell('scontrol', 'show', 'job', '-o', array)[1].splitlines()) if e.get('ArrayTaskId', '').isdigit()}
    check('element: both run', until(lambda: len(elements()) == 2 and all(os.path.exists(f.at(f'two runs/{n}-1.h5.checkpoint')) for n in (1000, 1100)), 120), elements())
    own = next(i for i, e in elements().items() if e['JobId'] == array); say(f'scancel --signal=USR1 {array}_{own}, whose number is the array\'s'); shell('scancel', '--signal=USR1', f'{array}_{own}')
    check('element: requeued', until(lambda: 'requeued' in text(f'two runs/run-{own}.log'), 60), text(f'two runs/run-{own}.log'))
    until(lambda: elements()[own]['JobState'] == 'PENDING', 30); shell('scontrol', 'update', f'jobid={array}_{own}', 'StartTime=now')
    check('element: merges', wait(merge, ('COMPLETED', 'FAILED', 'CANCELLED'), 400) == 'COMPLETED', text('two runs/merge.log'))
    say('restarts: ' + ', '.join(f'{i}: {e["Restarts"]}' for i, e in elements().items()))
    check('element: it alone started again', all(e['Restarts'] == ('1' if i == own else '0') for i, e in elements().items()), elements())

def scale():
    """A scale study: an array over sizes and seeds, then the merge."""
    code, out, err = shell(os.path.join(JOBS, 'scale'), f.at('slurm.toml'), '--sizes', '128,256,512', '--seeds', '1,2', '--output', f.at('scale'), '--', '--ntasks=2', '--time=10')
    say(f'jobs/scale: {out.strip()} {err.strip()}')
    merge = int(re.search(r'merge (\d+)', out)[1])
    check('scale: merges', wait(merge, ('COMPLETED', 'FAILED', 'CANCELLED'), 300) == 'COMPLETED', text('scale/merge.log'))
    with h5py.File(f.at('scale/merged.h5')) as h: check('scale: six runs, exponents', len(h['runs']) == 6 and len(h['rates/exponents']) > 0); say(f'exponents: {[x[0].decode() for x in h["rates/exponents"][()]]}')
    code, out, err = run('inspect', f.at('scale/merged.h5'), ranks=1); check('scale: is looked at', code == 0 and '6 of 128 to 512 examples' in out, f'{out} {err}'); print(out)
    code, out, err = shell(sys.executable, os.path.join(ROOT, 'tools', 'plot'), f.at('scale/merged.h5'), timeout=300); pictures = glob.glob(f.at('scale/merged-plots/*.svg'))
    check('scale: is drawn', code in (0, 2) and (code == 2 or os.path.exists(f.at('scale/merged-plots/report.html')) and len(pictures) > 0), f'{code} {out} {err}'); say(f'{len(pictures)} pictures')

def proposed():
    """What submit proposes runs."""
    code, out, err = shell(os.path.join(ROOT, 'tools', 'submit'), f.at('slurm.toml'), '--ranks', '2', '--go', '--', f'--output={f.at("submit.log")}', timeout=120); say(out.strip())
    number = int(re.search(r'Submitted batch job (\d+)', out)[1]) if code == 0 else 0
    check('submit: the proposed job completes', number > 0 and wait(number, ('COMPLETED', 'FAILED', 'TIMEOUT'), 240) == 'COMPLETED', f'{out} {err} {text("submit.log")}')

PARTS = dict(signalled=lambda: stopped('signalled', 'USR1'), terminated=lambda: stopped('terminated', 'TERM'), rank=rank, node=node, launch=launch, cancelled=cancelled, limit=limit,
    element=element, scale=scale, proposed=proposed)
wanted = sys.argv[5:] or ['signalled']
if wanted == ['all']: wanted = list(PARTS)

f.write('slurm.toml', f.study(data__samples='900', data__test='"test.tsv"', data__test_samples='40', kernel__parameters='"all"', kernel__precision='"double"', output__checkpoint_minutes='0.01', rates__sizes='[128]'))
if set(wanted) - {'limit', 'element', 'scale', 'proposed'}: check('truth: status 0', run('run', f.at('slurm.toml'), '--set', 'output.path=truth.h5', ranks=2)[0] == 0)
try:
    code, out, err = shell(local, 'start', timeout=120); check('two nodes', code == 0, err)
    for word in shlex.split(shell(local, 'env')[1]):  # export NAME=VALUE NAME=VALUE ...
        name, found, value = word.partition('=')
        if found: os.environ[name] = os.path.expandvars(value.rstrip(';'))
    say(shell('sinfo', '-h', '-N', '-o', '%N %T')[1].replace('\n', ', '))

    for part in wanted: PARTS[part]()
finally:
    shell(local, 'stop', timeout=120)
f.remove(); finish()
