#!/usr/bin/env python3
"""Faults of the machine and of the place: streams that nobody reads, a disk that fails on one rank, an output that goes away, too
many threads, no environment. usage: machines.py PROGRAM MPIEXEC RANKS TEST_DATA"""
import os, pty, re, shutil, subprocess
from support import DATA, MPIEXEC, PROGRAM, RANKS, Folder, check, finish, run

def errors_in(err): return [l for l in err.splitlines() if l.startswith('tangram: error:')]
def left(folder): return sorted(n for n in os.listdir(folder.path) if n.startswith('out.h5'))
def clean():
    for name in [*left(f), 'mark']:
        if os.path.exists(f.at(name)): os.remove(f.at(name))
def launcher(*before): return [*([MPIEXEC, '-n', str(RANKS)] if RANKS > 1 else []), *before, PROGRAM]
f = Folder()
study = f.at('study.toml')

# Help and version, from nothing.
for arguments in (['--version'], ['--help'], ['help', 'study']):
    p = subprocess.run(['env', '-i', PROGRAM, *arguments], capture_output=True, text=True, timeout=60)
    check(f'{arguments}: without an environment', p.returncode == 0 and p.stdout and not p.stderr, f'{p.returncode} {p.stderr[-300:]}')
code, out, err = run('--version')
check('version: one rank speaks', code == 0 and len(out.splitlines()) == 1, out)
if RANKS == 1:
    p = subprocess.run(['env', '-i', PROGRAM, 'inspect', f.at('none.h5')], capture_output=True, text=True, timeout=60)
    check('no environment: one message', p.returncode == 5 and len(p.stderr.splitlines()) == 1, f'{p.returncode} {p.stderr[-300:]}')

# Threads without end, and a umask that takes everything.
code, out, err = run('run', study, environment={'OMP_NUM_THREADS': '100000'})
check('100000 threads: status 2, one message', code == 2 and len(errors_in(err)) == 1 and 'OMP_NUM_THREADS' in err, f'{code} {err[-300:]}')
p = subprocess.run(['sh', '-c', 'umask 777; exec "$@"', 'sh', *launcher(), 'run', study], capture_output=True, text=True, timeout=120)
check('umask 777: status 5, the umask is named', p.returncode == 5 and len(errors_in(p.stderr)) == 1 and 'umask' in errors_in(p.stderr)[0], f'{p.returncode} {p.stderr[-300:]}')
check('umask 777: leaves nothing', not left(f), left(f))
clean()

# Standard output. Under mpirun it is mpirun's.
if RANKS == 1:
    with open('/dev/full', 'w') as full:
        p = subprocess.run([PROGRAM, 'run', study], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    check('standard output is full: status 5', p.returncode == 5 and len(errors_in(p.stderr)) == 1, f'{p.returncode} {p.stderr[-300:]}')
    check('standard output is full: the file is whole', left(f) == ['out.h5'] and run('verify', f.at('out.h5'))[0] == 0, left(f))
    with open('/dev/full', 'w') as full:
        check('help: standard output is full', subprocess.run([PROGRAM, 'help'], stdout=full, stderr=subprocess.DEVNULL).returncode == 5)
    clean()
    read_end, write_end = os.pipe(); os.close(read_end)
    p = subprocess.run([PROGRAM, 'run', study], stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=120); os.close(write_end)
    check('the reader has gone: status 0, no lock', p.returncode == 0 and left(f) == ['out.h5'], f'{p.returncode} {left(f)} {p.stderr[-300:]}')
    clean()

# The disk of one rank fails once: no other waits for it. tools/checks/failing_calls tries every call.
source = os.path.join(DATA, '..', '..', 'tools', 'checks', 'failing_calls.c')
library = f.at('failing_calls.so')
compiler = next((c for c in ('cc', 'gcc', 'clang') if shutil.which(c)), None)
sanitized = b'__asan_init' in open(PROGRAM, 'rb').read()
if compiler and not sanitized and subprocess.run([compiler, '-shared', '-fPIC', '-o', library, source, '-ldl']).returncode == 0:
    for call, count in (('pwrite', 12 if RANKS == 1 else 1), ('fsync', 1)):
        preload = ['env', f'LD_PRELOAD={library}', f'FAIL_CALL={call}', f'FAIL_COUNT={count}', 'FAIL_ERRNO=5', f'FAIL_RANK={RANKS - 1}', f'FAIL_UNDER={f.path}', f'FAIL_MARK={f.at("mark")}']
        try:
            p = subprocess.run([*launcher(*preload), 'run', study, '--quiet'], capture_output=True, text=True, timeout=60)
            code, err = p.returncode, p.stderr
        except subprocess.TimeoutExpired: code, err = 'hang', ''
        check(f'{call} fails on the last rank: it did', os.path.exists(f.at('mark')))
        check(f'{call} fails on the last rank: status 5, one message', code == 5 and len(errors_in(err)) == 1, f'{code} {err[-400:]}')
        check(f'{call} fails on the last rank: nothing half-written', not [n for n in left(f) if 'checkpoint' not in n], left(f))
        if call == 'pwrite': clean()
    check('the same command goes on', run('run', study, '--quiet')[0] == 0)
    clean()
else: print('skipped: a disk that fails on one rank (no compiler, or sanitizers)')

# The output goes away, or another takes its place, while the rates are computed. A terminal shows at once when they have begun.
if RANKS == 1:
    other = Folder(); code, out, err = run('run', other.at('study.toml'), '--quiet')
    for name, change in (('removed', lambda: os.remove(f.at('out.h5'))), ('replaced', lambda: shutil.copy(other.at('out.h5'), f.at('out.h5')))):
        ours, theirs = pty.openpty()
        p = subprocess.Popen([PROGRAM, 'run', study, '--set', 'data.samples=136', '--set', 'rates.repeats=1000'], stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs); err = ''; changed = False
        while True:
            try: err += os.read(ours, 4096).decode(errors='replace')
            except OSError: break  # the other end is closed
            if not changed and 'subsets [' in err: change(); changed = True
        os.close(ours); code = p.wait(timeout=60)
        check(f'output {name} during the rates: status 5, it is named', changed and code == 5 and len(re.findall('tangram: error: .*out.h5', err)) == 1, f'{code} {err[-400:]}')
        check(f'output {name} during the rates: no other in its place', left(f) == ([] if name == 'removed' else ['out.h5']), left(f))
        if name == 'replaced': check('output replaced: the other is as it was', open(f.at('out.h5'), 'rb').read() == open(other.at('out.h5'), 'rb').read())
    other.remove()
else: run('run', study, '--quiet')

# A file that a notebook has open.
try: import h5py
except ImportError: print('skipped: a file that another process has open (python3-h5py is missing)')
else:
    with h5py.File(f.at('out.h5'), 'r+'):
        code, out, err = run('inspect', f.at('out.h5'))
        check('open elsewhere: status 5, so it says', code == 5 and len(errors_in(err)) == 1 and 'another process' in errors_in(err)[0] and 'delete' not in err, f'{code} {err[-300:]}')
    with h5py.File(f.at('out.h5'), 'r'):
        check('open for reading elsewhere: read', run('inspect', f.at('out.h5'))[0] == 0)
f.remove()
finish()
