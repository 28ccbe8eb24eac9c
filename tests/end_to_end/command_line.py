#!/usr/bin/env python3
"""What a person types and reads: misspelt words, help, manual page, completion, paths with ~ and $NAME, label words, inspect.
usage: command_line.py PROGRAM MPIEXEC RANKS TEST_DATA"""
import json, os, pty, re, shutil, subprocess, sys
from support import MPIEXEC, PROGRAM, Folder, check, finish, run
try:
    import h5py, numpy as np
except ImportError:
    print('skipped: python3-h5py is missing'); sys.exit(77)

# Misspelt words.
f = Folder()
for arguments, meant in ((['rum', f.at('study.toml')], 'run'), (['run', '--memroy-per-rank=4GiB', f.at('study.toml')], '--memory-per-rank'), (['plan', f.at('study.toml'), '--tensor'], '--tensors'), (['help', 'studies'], 'study')):
    code, out, err = run(*arguments)
    check(f'{arguments[:2]}: the nearest is named', code == 2 and f'did you mean {meant}?' in err, f'{code} {err}')

# What would not be read.
with h5py.File(f.at('kernel.h5'), 'w') as h: h['G'], h['y'], h['C'] = np.eye(8), np.arange(8) % 2, np.ones((3, 7))
matrix = ['rates', '--matrix', f.at('kernel.h5:/G'), '--labels', f.at('kernel.h5:/y'), '--output', f.at('made.h5')]
for arguments, status, words in ((['spectrum', f.at('study.toml'), '--output', f.at('made.h5')], 2, '--output goes with --matrix'),
        (['rates', f.at('study.toml'), '--samples', '5'], 2, '--samples goes with --eigenvalues'), ([*matrix, '--samples', '5'], 2, '--samples goes with --eigenvalues'),
        ([*matrix, '--test-outputs', 'none.h5:/x'], 2, '--test-outputs goes with --cross'),
        ([*matrix, '--cross', f.at('kernel.h5:/C'), '--test-labels', f.at('kernel.h5:/y')], 3, 'has 7 columns'),
        (['rates', '--eigenvalues', f.at('kernel.h5:/G'), '--samples', '64', '--noise', '0.1', '--output', f.at('made.h5')], 3, 'matrix of 8 x 8'),
        (['run', f.at('study.toml'), '--device-memory', '4GiB'], 2, '--device-memory: '),
        (['run', f.at('study.toml'), '--set', 'data.labels=["a", "b", "a"]', '--set', 'data.label_words=[" bad", " great", " good"]'], 2, 'data.labels names "a" twice'),
        (['run', f.at('study.toml'), '--set', 'rates.center="true"'], 2, 'rates.center')):
    code, out, err = run(*arguments)
    check(f'{" ".join(arguments[:1] + arguments[-2:])}: refused', code == status and words in err and not os.path.exists(f.at('made.h5')), f'{code} {err}')
code, out, err = run('plan', f.at('study.toml'), '--set', 'data.test_samples=5')
check('test_samples without a test set: said', code == 0 and 'data.test_samples is not read' in err, f'{code} {err}')
code, out, err = run('compare', f.at('kernel.h5'), f.at('kernel.h5'))
check('compare: not of tangram', code == 5 and 'not an output file of tangram' in err, f'{code} {err}')

# Help, the manual page and the completion are of the same declarations.
code, out, err = run('run', '--help')
check('run --help: common options', code == 0 and '--time-limit' in out and '--set' in out, out)
code, man, err = run('help', 'man')
check('help man: commands, options, keys, statuses', code == 0 and all(word in man for word in ('.SS \\fBcompare\\fR', '\\-\\-rtol', '\\-\\-log\\-json', 'checkpoint_minutes', 'EXIT STATUS')), man[:300])
check('help man: no text is a command of roff', all(not line.startswith(('.', "'")) or line.split(' ')[0] in ('.TH', '.SH', '.SS', '.TP', '.B', '.br', '.nf', '.fi') for line in man.splitlines()), man)
f.write('completion', run('help', 'completion')[1])
def completed(*words):
    """What bash offers for the last word."""
    script = f'. {f.at("completion")}; COMP_WORDS=(tangram "$@"); COMP_CWORD=$#; _tangram; printf "%s\\n" "${{COMPREPLY[@]}}"'
    return subprocess.run(['bash', '-c', script, 'bash', *words], capture_output=True, text=True).stdout.split()
for words, offered in ((['me'], ['merge']), (['compare', '--rt'], ['--rtol']), (['run', '--lo'], ['--log-json']), (['help', 'mo'], ['models']), (['run', '--set', 'data.sam'], ['data.samples=']), (['run', '--he'], ['--help']),
    (['gram', '--device', ''], ['auto', 'cpu', 'cuda', 'cuda-direct']), (['gram', '--device', '=', 'cu'], ['cuda', 'cuda-direct']), (['run', '--set', 'kernel.output', '=', 'lo'], ['logits', 'loss']), (['run', '--set', 'output.save_gram', '='], ['true', 'false'])):
    check(f'completion of {words}', completed(*words) == offered, completed(*words))

# Paths of the environment.
f.write('home.toml', f.study(model__path='"$MODELS/model"', data__train='"~/train.tsv"', output__path='"${OUT}/home.h5"'))
environment = {'MODELS': f.path, 'HOME': f.path, 'OUT': f.path}
code, out, err = run('run', f.at('home.toml'), environment=environment)
check('paths: ~, $NAME and ${NAME}', code == 0 and os.path.exists(f.at('home.h5')), f'{code} {err}')
check('run: ends with the file and what comes next', f'tangram: wrote {f.at("home.h5")} (' in err.splitlines()[-1] and 'tangram inspect' in err.splitlines()[-1], err)
check('run: says what runs, with a clock, first', re.match(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d tangram: tangram \d+\.\d+\.\d+ \(.*1 rank of 1 thread on .*; device (CPU|.* of its memory); .*of memory per rank; output .*home.h5', err), err[:300])
code, out, err = run('run', f.at('home.toml'), environment={**environment, 'MODELS': ''})
check('paths: a variable that is not set', code == 2 and 'model.path' in err and '$MODELS' in err, f'{code} {err}')

# On a terminal: a bar and no clock, under mpirun too, whose standard error it is.
for launcher in ([], [MPIEXEC, '-n', '2']):
    ours, theirs = pty.openpty()
    p = subprocess.Popen([*launcher, PROGRAM, 'run', f.at('study.toml'), '--set', 'data.samples=136', '--set', 'rates.repeats=400', '--set', 'output.path=terminal.h5'], stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs); shown = b''
    while True:
        try: more = os.read(ours, 65536)
        except OSError: break  # the other end is closed
        if not more: break
        shown += more
    os.close(ours)
    check(f'terminal, {launcher[1:] or "alone"}: a bar, no clock', p.wait(timeout=60) == 0 and b'subsets [' in shown and b'tangram: wrote' in shown and not re.search(rb'\d\d:\d\d:\d\d tangram:', shown), shown)
    os.remove(f.at('terminal.h5'))

# Devices: the CPU always; CUDA, or one sentence that says why not.
code, out, err = run('gram', f.at('study.toml'), '--device', 'cpu', '--set', 'output.path=device.h5')
check('--device cpu', code == 0, f'{code} {err}')
for device in ('cuda', 'cuda-direct'):
    code, out, err = run('gram', f.at('study.toml'), '--device', device, '--set', 'output.path=device.h5')
    check(f'--device {device}', code == 0 or (code == 2 and f'--device {device}:' in err), f'{code} {err}')
for arguments in (['gram', f.at('study.toml'), '--device', 'gpu'], ['inspect', f.at('device.h5'), '--device', 'cpu']):
    code, out, err = run(*arguments)
    check(f'{arguments[0]} {arguments[2:]}: refused', code == 2 and '--device' in err, f'{code} {err}')

# Label words: what is listed does, and a word that is not listed does not.
f.write('words.toml', f.study(data__label_words=None))
code, out, err = run('words', f.at('words.toml'))
listed = [json.loads(line[9:]) for line in out.splitlines() if line[9:10] == '"']
check('words: a list of words', code == 0 and ' bad' in listed and ' great' in listed and len(listed) > 500, f'{code} {out[-200:]} {err}')
for pair, status in (([listed[5], listed[-5]], 0), ([' bad', ' wonderfulness'], 2)):
    code, out, err = run('gram', f.at('study.toml'), '--set', 'data.label_words=' + json.dumps(pair), '--set', 'output.path=words.h5', '--set', 'data.samples=3')
    check(f'words: {pair}', code == status, f'{code} {err}')

# What a file says: all that was printed, and the same for machines.
f.write('study.toml', f.study(data__test='"test.tsv"', data__test_samples='40', data__samples='160'))
code, printed, err = run('run', f.at('study.toml'))
code, out, err = run('inspect', f.at('out.h5'), '--full')
check('inspect --full: holds what run printed', code == 0 and printed.strip() in out and 'spectrum ' in out, out)
code, out, err = run('inspect', f.at('out.h5'))
check('inspect: is shorter', code == 0 and len(out.splitlines()) < len(printed.splitlines()), out)
code, out, err = run('inspect', f.at('out.h5'), '--json')
found = json.loads(out)
with h5py.File(f.at('out.h5')) as h:
    stopping = h['rates/stopping'].attrs
    check('inspect --json: attributes', found['rates']['stopping']['stopping_step'] == stopping['stopping_step'] and found['schema_version'] == 2 and found['kernel']['output'] == 'margin')
    check('inspect --json: curves, tables, shapes', found['spectrum']['eigenvalues'] == list(h['spectrum/eigenvalues'][:]) and found['kernel']['tensors'][0]['name'] == h['kernel/tensors']['name'][0].decode() and found['kernel']['gram'] == {'shape': [160, 160]})
    values = h['rates/exponents']['value']
    check('inspect --json: what is no number is a text', [x['value'] for x in found['rates']['exponents']] == ['nan' if np.isnan(v) else v for v in values] and np.isnan(values).any(), (found['rates']['exponents'], values))
for n in (60, 100): run('run', f.at('study.toml'), '--set', f'data.samples={n}', '--set', f'output.path=m{n}.h5')
code, printed, err = run('merge', f.at('merged.h5'), f.at('m60.h5'), f.at('m100.h5'))
for how, words in (((), ('2 of 60 to 100 examples', '1 curve')), (('--full',), (printed.strip(),)), (('--json',), ('"runs"',))):
    code, out, err = run('inspect', f.at('merged.h5'), *how)
    check(f'inspect {how}: of a merged file', code == 0 and all(w in out for w in words), f'{code} {out} {err}')
# What another command wrote, or nobody knows who, is not replaced; an earlier file of the same command is.
def kept(name, words, *command):
    before = open(f.at(name), 'rb').read(); code, out, err = run(*command)
    check(f'{command[0]}: {name} is not replaced', code == 5 and words in err and open(f.at(name), 'rb').read() == before, f'{code} {err}')
with h5py.File(f.at('theirs.h5'), 'w') as h: h['G'] = np.eye(12); h['w'] = np.arange(12.0); h['y'] = np.arange(12) % 2
f.write('notes.txt', 'mine')
place = f.at('theirs.h5') + ':/'
commands = {'merge': lambda to: ['merge', to, f.at('m100.h5')], 'spectrum': lambda to: ['spectrum', '--matrix', place + 'G', '--output', to], 'rates': lambda to: ['rates', '--matrix', place + 'G', '--labels', place + 'y', '--set', 'rates.noise=0.5', '--output', to]}
shutil.copy(f.at('theirs.h5'), f.at('copy.h5'))
for name, command in commands.items():
    kept('m60.h5', 'another command wrote it', *command(f.at('m60.h5'))); kept('copy.h5', 'tangram did not write it', *command(f.at('copy.h5'))); kept('notes.txt', 'not an HDF5 file', *command(f.at('notes.txt')))
    for again in (0, 1):
        code, out, err = run(*command(f.at(name + '-own.h5')))
        check(f'{name}: its own file, {again}', code == 0, err)
for name, command in commands.items(): kept('spectrum-own.h5' if name != 'spectrum' else 'rates-own.h5', 'another command wrote it', *command(f.at('spectrum-own.h5' if name != 'spectrum' else 'rates-own.h5')))
os.symlink('m60.h5', f.at('link.h5'))
kept('m60.h5', 'link.h5: is a symbolic link', 'gram', f.at('study.toml'), '--set', 'data.samples=50', '--set', 'output.path=link.h5')
# Nor is what is read: a study's own data, or a file that --log-json does not know as a log; also where the command line is wrong.
study = open(f.at('study.toml'), 'rb').read()
def stays(name, file, status, *command, words=()):
    before = open(f.at(file), 'rb').read(); code, out, err = run(*command)
    check(f'{name}: {file} stays', code == status and err.count('error:') == 1 and all(w in err for w in words) and open(f.at(file), 'rb').read() == before, f'{code} {err}')
tokens = ['--set', 'data.train=m60.h5', '--set', 'data.template=', '--set', 'data.label_words=[]', '--set', 'data.samples=20']
stays('output.path of data.train', 'm60.h5', 2, 'gram', f.at('study.toml'), *tokens, '--set', 'output.path=m60.h5', words=('output.path', 'data.train'))
for file in ('study.toml', 'm60.h5', 'notes.txt'): stays('--log-json', file, 5, 'inspect', f.at('m100.h5'), '--log-json', f.at(file), words=('--log-json', file))
stays('--log-json without its file', 'study.toml', 2, 'run', '--log-json', f.at('study.toml'), words=('STUDY',))
os.mkdir(f.at('new-weights'))
code, out, err = run('run', f.at('study.toml'), '--set', 'finetune.steps=2', '--set', 'output.path=new.h5')
check('somebody else\'s folder of weights: before the kernel', code == 5 and 'new-weights' in err and not os.path.exists(f.at('new.h5')), f'{code} {err}')
# What is not known, or not read, is said.
for words, named in (((f.write('wrong.toml', study.decode() + '\n[fintune]\n'),), '[finetune]'), ((f.at('study.toml'), '--time-limit', '1h50'), '1h50m'), ((f.at('study.toml'), '--time-limit', ''), '--time-limit'), ((f.at('study.toml'), '--memory-per-rank', ''), '--memory-per-rank')):
    code, out, err = run('gram', *words); check(f'{words[-1]!r} is refused', code == 2 and named in err and err.count('error:') == 1, f'{code} {err}')
for command in ('spectrum', 'rates'):
    for setting, named in (('spectrum.density=true', 'density'), ('spectrum.matrix=free', 'matrix')):
        code, out, err = run(*commands[command](f.at('none.h5')), '--set', setting); check(f'{command} --matrix: {setting} is refused', code == 2 and named in err, f'{code} {err}')
code, out, err = run(*commands['rates'](f.at('none.h5')), '--set', 'spectrum.vectors=false')
check('rates --matrix: without eigenvectors', code == 2 and 'spectrum.vectors' in err and not os.path.exists(f.at('none.h5.lock')), f'{code} {err}')
with h5py.File(f.at('theirs.h5'), 'a') as h: h['below'] = np.array([5.0, 1.0, -3.0])
code, out, err = run('rates', '--eigenvalues', place + 'below', '--samples', '12', '--noise', '0.1', '--output', f.at('below.h5'))
check('rates --eigenvalues: one far below zero', code == 0 and 'below zero' in err, f'{code} {err}')
with h5py.File(f.at('below.h5')) as h: s = h['/rates/stopping'].attrs; check('rates --eigenvalues: R by default bounds nothing', np.isnan(s['error_bound']) and 'R is not known' in s['error_bound_reason'] and s['radius'] == 1, dict(s))
with h5py.File(f.at('spectrum-own.h5')) as h: check('spectrum --matrix: what it was made with', 'solver' in h['/provenance'].attrs['study'], h['/provenance'].attrs['study'])
code, out, err = run('gram', f.at('study.toml'), '--set', 'data.samples=30', '--set', 'data.max_length=12', '--set', 'output.path=cut.h5')
check('cut examples are in the summary', code == 0 and 'were cut to 12 tokens' in run('inspect', f.at('cut.h5'))[1], err)
with h5py.File(f.at('m60.h5')) as h, h5py.File(f.at('bare.h5'), 'w') as bare, h5py.File(f.at('twice.h5'), 'w') as twice:
    for to in (bare, twice):
        for name in ('token_ids', 'offsets', 'labels'): to['/data/train/' + name] = h['/data/train/' + name][()]
    bare['/data/label_token_ids'] = h['/data/label_token_ids'][()]; twice['/data/label_token_ids'] = np.repeat(h['/data/label_token_ids'][:1], 2)
code, out, err = run('gram', f.at('study.toml'), *tokens, '--set', 'data.train=bare.h5', '--set', 'data.test=bare.h5', '--set', 'data.test_samples=0', '--set', 'output.path=same.h5')
check('tokens without a test part: the same examples are named', code == 0 and 'are trained on' in err, f'{code} {err}')
code, out, err = run('gram', f.at('study.toml'), *tokens, '--set', 'data.train=twice.h5', '--set', 'data.test=', '--set', 'output.path=none.h5')
check('tokens: one word for two labels', code == 3 and 'stands for two labels' in err, f'{code} {err}')
# Of a later version nothing is taken for known; of another commit it is said what was not compared.
with h5py.File(f.at('m100.h5'), 'a') as h: h['/provenance'].attrs['git_revision'] = 'another'
code, out, err = run('verify', f.at('m100.h5')); check('verify: another commit', code == 0 and 'commit another wrote it' in out, f'{code} {out} {err}')
with h5py.File(f.at('m100.h5'), 'a') as h: h.attrs['schema_version'] = 3
for command in (('inspect', f.at('m100.h5')), ('verify', f.at('m100.h5')), ('run', f.at('study.toml'), '--set', 'data.samples=100', '--set', 'output.path=m100.h5')):
    code, out, err = run(*command); check(f'{command[0]}: a later schema', code == 5 and 'schema_version 3' in err, f'{code} {err}')
f.remove(); finish()
