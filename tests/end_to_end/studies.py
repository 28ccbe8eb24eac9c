#!/usr/bin/env python3
"""The studies of jobs/studies, on fewer examples and tensors than they ask for: each runs as it stands but for that, from any folder,
and what their comments say to type works; the README's study; an installation. usage: studies.py PROGRAM MPIEXEC RANKS TEST_DATA"""
import glob, os, re, shutil, subprocess, sys, tempfile
from support import DATA, PROGRAM, check, finish
try:
    import h5py
except ImportError:
    print('skipped: python3-h5py is missing'); sys.exit(77)

STUDIES = os.path.normpath(os.path.join(DATA, '..', '..', 'jobs', 'studies'))
folder = tempfile.TemporaryDirectory(prefix='tangram-test-')
def start(*command):
    p = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder.name, env={**os.environ, 'PWD': folder.name, 'PATH': os.path.dirname(PROGRAM) + ':' + os.environ['PATH']})
    return p.returncode, p.stdout, p.stderr
def settings(**changes): return [w for k, v in changes.items() for w in ('--set', f'{k.replace("__", ".")}={v}')]
small = settings(kernel__parameters='norm', rates__repeats=1)
less = {'data__samples': 40, 'data__test_samples': 20}

studies = sorted(glob.glob(os.path.join(STUDIES, '*.toml')))
check('studies: there are some', len(studies) >= 6, studies)
for study in studies:
    name = os.path.basename(study)[:-5]
    fewer = [] if name == 'two_tasks' else settings(**less)
    code, out, err = start(PROGRAM, 'run', study, *([] if name == 'lora' else small), *fewer)
    file = os.path.join(folder.name, name + '.h5')
    check(f'{name}: runs, and writes where it was started', code == 0 and os.path.exists(file), f'{code} {err[-500:]}')
    if code == 0:
        with h5py.File(file) as h: check(f'{name}: has rates', 'stopping_step' in h['rates/stopping'].attrs)
    if name == 'margins': printed = set(re.findall(r'^ {0,2}([a-z_]+) {2,}', out, re.M))

# What the README shows is there: its study, its pages; a page of its own length.
root = os.path.join(STUDIES, '..', '..')
readme = open(os.path.join(root, 'README.md'), encoding='utf-8').read()
shown = re.search(r'```toml\n(.*?)```', readme, re.S)[1]
check('README: its study is jobs/studies/lora.toml', shown in open(os.path.join(STUDIES, 'lora.toml')).read(), shown)
lines = readme.splitlines()
check('README: at most 150 lines of at most 120 columns', len(lines) <= 150 and not [l for l in lines if len(l) > 120], (len(lines), [l for l in lines if len(l) > 120]))
pages = re.findall(r'\]\(([^)]+)\)', readme)
check('README: its pages are there', len(pages) >= 10 and not [p for p in pages if not os.path.exists(os.path.join(root, p))], [p for p in pages if not os.path.exists(os.path.join(root, p))])

reading = open(os.path.join(root, 'docs/reading.md'), encoding='utf-8').read()
check('reading: every line that a run prints', len(printed) > 12 and printed <= set(re.findall(r'^ {0,2}([a-z_]+) {2,}', reading, re.M)), printed)
# What the pages tell a reader to type is there: commands with options that they have, scripts, keys, other pages.
helps = {}
def options_of(command):
    if command not in helps: helps[command] = ' '.join(start(PROGRAM, command, '--help')[1:])
    return helps[command]
def keys_of(toml):
    """section.key of every line that sets one; [[tasks]] has the keys of [data], and a name."""
    section, found = '', []
    for line in toml.splitlines():
        if named := re.match(r'\[+(\w+)\]+', line): section = named[1]
        elif (key := re.match(r'(\w+) *=', line)) and (section, key[1]) != ('tasks', 'name'): found.append(('data' if section == 'tasks' else section) + '.' + key[1])
    return found
keys = set(keys_of(start(PROGRAM, 'help', 'study')[1]))
check('pages: `help study` names the keys', len(keys) > 40, len(keys))
typed = 0
for page in [os.path.join(root, 'README.md'), *sorted(glob.glob(os.path.join(root, 'docs', '*.md')))]:
    text, found = open(page, encoding='utf-8').read(), []
    for kind, block in re.findall(r'```(\w*)\n(.*?)```', text, re.S):
        if kind == 'toml': typed += len(keys_of(block)); found += [key for key in keys_of(block) if key not in keys]
        if kind: continue
        for line in re.sub(r'\\?\n +', ' ', block).splitlines():
            line = line.split(' #')[0].split(' -- ')[0]
            for command, rest in re.findall(r'(?:^|[ ;])tangram ([a-z]+)([^;|]*)', line):
                typed += 1; found += [f'tangram {command} {o}' for o in re.findall(r'--[a-z-]+', rest) if o not in options_of(command)]
            for script, rest in re.findall(r'(?:^|[ ;])((?:tools|jobs)/[\w/.]+)(.*)', line):
                path = os.path.join(root, script); typed += 1
                if not os.path.exists(path): found.append(script)
                elif os.access(path, os.X_OK) and not os.path.isdir(path): found += [f'{script} {o}' for o in re.findall(r'--[a-z-]+', rest) if o not in open(path, encoding='utf-8').read() + options_of('run')]
    found += [link for link in re.findall(r'\]\(([^)#:]+)\)', text) if not os.path.exists(os.path.join(os.path.dirname(page), link))]
    check(f'pages: {os.path.basename(page)} names what there is', not found, found)
check('pages: they tell what to type', typed > 40, typed)

# Blocks of the pages as they stand, in a folder that has what a checkout has: the Python of less examples, what needs SLURM left out.
for name in ('docs', 'jobs', 'tests', 'tools'): os.symlink(os.path.join(root, name), os.path.join(folder.name, name))
def block(page, kind, word):
    found = [b for k, b in re.findall(r'```(\w*)\n(.*?)```', open(os.path.join(root, page), encoding='utf-8').read(), re.S) if k == kind and word in b]
    return re.sub(r'(?m)^sbatch .*\n', '', found[0]) if len(found) == 1 else ''
python = ('env', 'PYTHONPATH=tools/python', f'TANGRAM={PROGRAM}', sys.executable, '-c')
for page, kind, word, shell, said in (('docs/studies.md', '', 'tangram rates', ('bash', '-ec'), 'the error falls'), ('docs/python.md', 'python', 'tangram.run', python, ''), ('docs/output.md', 'python', 'h5py.File', python, ''),
        ('docs/output.md', '', 'tools/plot', ('bash', '-ec'), 'report.html'), ('docs/clusters.md', '', '--node-cores 16', ('bash', '-ec'), 'sbatch --nodes=1'), ('docs/clusters.md', '', '--gpus 4', ('bash', '-ec'), '--gpus-per-task=1')):
    text = block(page, kind, word).replace('data__samples=512', 'data__samples=40, data__test_samples=20')
    code, out, err = start(*shell, text)
    check(f'{page}: its block with {word}', (text and code == 0 and said in out) or 'lacks matplotlib' in err, f'{code} {text} {out[-300:]} {err[-500:]}')

# The loop and the merge that the scale study's comment names.
comment = [line[4:] for line in open(os.path.join(STUDIES, 'scale.toml')) if line.startswith('#   ')]
script = ''.join(comment).replace('jobs/studies/', STUDIES + '/').replace('128 256 512', '24 32 40').replace('scale.toml', 'scale.toml ' + ' '.join(small + settings(data__test_samples=20)))
check('scale: its comment holds the loop', 'tangram merge' in script and 'done' in script, script)
code, out, err = start('bash', '-ec', script)
check('scale: the loop and the merge', code == 0 and 'critical_radius' in out, f'{code} {out[-300:]} {err[-500:]}')

# Somebody else's kernel: the command that the script prints.
code, out, err = start(sys.executable, os.path.join(STUDIES, 'foreign_kernel'))
check('foreign kernel: written', code == 0, err)
code, out, err = start('bash', '-c', out)
check('foreign kernel: the command that it prints', code == 0 and 'stopping' in out, f'{code} {err}')
# Jobs that cannot begin say so at once.
jobs = os.path.dirname(STUDIES)
p = subprocess.run(['bash', os.path.join(jobs, 'study.sbatch'), 'study.toml'], capture_output=True, text=True, cwd=folder.name, env={**os.environ, 'SLURM_JOB_ID': '1', 'TANGRAM': 'no-such-program'})
check('study.sbatch: a program that is not there is no dead rank', p.returncode == 2 and 'no-such-program' in p.stderr and 'TANGRAM' in p.stderr, (p.returncode, p.stderr))
code, out, err = start('bash', os.path.join(jobs, 'scale'), os.path.join(STUDIES, 'scale.toml'), '--sizes', '8', '--output', 'none/here')
check('scale: no folder in a folder that is not there', code == 2 and 'none' in err and not os.path.exists(os.path.join(folder.name, 'none')), (code, err))

# The first ten minutes: packages that are fetched and unpacked, which takes longest, are told of as they come.
stubs = os.path.join(folder.name, 'stubs'); os.mkdir(stubs)
apt = '[ "$1" = update ] && exit\necho "0 upgraded, 20 newly installed, 0 to remove"\nfor i in $(seq 20); do echo "Get:$i"; done\nfor i in $(seq 20); do echo "Unpacking $i"; done\n'
for name, lines in (('apt-get', apt), ('dpkg-query', 'exit 1\n'), ('sudo', 'exec "$@"\n')):
    with open(os.path.join(stubs, name), 'w') as file: file.write('#!/bin/bash\n' + lines)
    os.chmod(os.path.join(stubs, name), 0o755)
code, out, err = start('env', f'PATH={stubs}:{os.environ["PATH"]}', os.path.join(root, 'tools', 'install_packages'))
check('packages: a line for every step of fetching and of unpacking', code == 0 and len(re.findall(r'^ .* of 20 ', out, re.M)) == 16, out + err)

# What `cmake --install` brings: the same study from there, its pictures, pages, and libraries for a project without C.
build = os.path.dirname(PROGRAM)
if os.path.exists(os.path.join(build, 'cmake_install.cmake')) and shutil.which('cmake'):
    prefix = os.path.join(folder.name, 'prefix'); at = lambda *parts: os.path.join(prefix, *parts)
    code, out, err = start('cmake', '--install', build, '--prefix', prefix)
    check('install: status 0', code == 0, err[-800:])
    installed = at('share', 'tangram', 'jobs', 'studies', 'margins.toml')
    code, out, err = start(at('bin', 'tangram'), 'run', installed, *small, *settings(**less, output__path='$PWD/installed.h5'))
    check('install: a study from there', code == 0, err[-500:])
    code, out, err = start(sys.executable, at('bin', 'tangram-plot'), 'installed.h5')
    check('install: tangram-plot', code == 0 or 'matplotlib' in err, err[-500:])
    check('install: a modulefile of that prefix', f'set prefix {prefix}\n' in open(at('share', 'tangram', [n for n in os.listdir(at('share', 'tangram')) if n.startswith('modulefile-')][0])).read())
    check('install: manual page, completion', open(at('share', 'man', 'man1', 'tangram.1')).read(9) == '.TH TANGR' and 'complete ' in open(at('share', 'bash-completion', 'completions', 'tangram')).read())
    with open(os.path.join(folder.name, 'CMakeLists.txt'), 'w') as file: file.write('cmake_minimum_required(VERSION 3.25)\nproject(mine LANGUAGES CXX)\nfind_package(tangram REQUIRED)\nadd_executable(mine mine.cpp)\ntarget_link_libraries(mine PRIVATE tangram::rates)\n')
    with open(os.path.join(folder.name, 'mine.cpp'), 'w') as file: file.write('#include "tangram/rates/stopping_rules.hpp"\nint main() { return tangram::epochs(4, 2, 8) == 1 ? 0 : 1; }\n')
    code, out, err = start('bash', '-c', f'cmake -S . -B mine -DCMAKE_PREFIX_PATH={prefix} && cmake --build mine && mine/mine')
    check('install: find_package from a project of C++ alone', code == 0, out[-300:] + err[-800:])
else: print('skipped: installation (not a build folder, or cmake is missing)')

folder.cleanup(); finish()
