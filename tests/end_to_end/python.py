#!/usr/bin/env python3
"""The Python package: what it reads against h5py, runs and refusals, pictures on axes of one's own, its installation, and the
notebook of docs/ from its first cell to its last.  usage: python.py PROGRAM MPIEXEC RANKS TEST_DATA"""
import importlib.util, os, re, shutil, subprocess, sys
from support import DATA, PROGRAM, Folder, check, finish
try:
    import h5py, matplotlib, numpy as np
except ImportError as error:
    print(f'skipped: {error.name} is missing'); sys.exit(77)
matplotlib.use('Agg')
import matplotlib.pyplot as plt

ROOT = os.path.normpath(os.path.join(os.path.abspath(DATA), '..', '..'))
sys.path.insert(0, os.path.join(ROOT, 'tools', 'python'))
import tangram

f = Folder()
f.write('study.toml', f.study(data__test='"test.tsv"', data__test_samples='40', data__samples='160', rates__sizes='[40, 80, 160]'))
run = tangram.run(f.at('study.toml'), ranks=1, program=PROGRAM, quiet=True, data__label_words=[' bad', ' great'])
with h5py.File(f.at('out.h5')) as h:
    check('spectrum: the eigenvalues of G', np.array_equal(run.spectrum, h['spectrum/eigenvalues'][:]))
    check('gram: stays in the file', isinstance(run.gram, h5py.Dataset) and np.array_equal(run.gram[:5, :5], h['kernel/gram'][:5, :5]))
    s = h['rates/stopping'].attrs
    check('stopping: T and what it rests on', run.stopping['stopping_step'] == s['stopping_step'] and run.stopping['noise_source'] == s['noise_source'] and 'units' not in run.stopping)
    p = h['rates/decay/polynomial'].attrs
    check('decay: each family', run.decay['polynomial']['exponent'] == p['exponent'] and run.decay['selected'] == h['rates/decay'].attrs['selected'])
    check('exponents: a row per source', list(run.exponents['source']) == [x.decode() for x in h['rates/exponents']['source']])
    curve, mse = run.learning_curve, h['rates/learning_curve/mse_stop'][:]
    check('learning curve: a row per size and repeat', list(curve['size']) == list(np.repeat([40, 80, 160], mse.shape[1])) and np.array_equal(np.asarray(curve['mse_stop']), mse.reshape(-1), equal_nan=True))
    check('path: a row per step', np.array_equal(np.asarray(run.stopping_path['train_mse']), h['rates/stopping/train_mse'][:]))
    check('warnings', run.warnings == [(x['stage'].decode(), x['text'].decode()) for x in h['warnings']])
    check('summary: what was printed', 'stopping' in run.summary and run.summary.splitlines()[-1] == h['rates'].attrs['sentence'])
try:
    import pandas
    check('tables: DataFrames where pandas is there', isinstance(run.exponents, pandas.DataFrame))
except ImportError: print('skipped: DataFrames (python3-pandas is missing)')

# Pictures on axes of one's own.
for name in ('spectrum', 'stopping', 'learning_curve', 'exponents', 'alignment', 'functional', 'trace_shares', 'stopping_rules', 'learning_curve_accuracy', 'decay_by_size'):
    figure, axes = plt.subplots()
    returned = getattr(tangram.plot, name)(axes, run)
    check(f'plot.{name}: draws on the axes', returned is axes and bool(axes.lines or axes.patches or axes.collections) and axes.get_xlabel() != '')
    given = [t.get_text() for t in axes.get_legend().get_texts()] if axes.get_legend() else []
    check(f'plot.{name}: a legend of one\'s own has the same entries', sorted(given) == sorted(axes.get_legend_handles_labels()[1]), (given, axes.get_legend_handles_labels()[1]))
    plt.close(figure)
figure, axes = plt.subplots()
for name, words in (('runs', 'tangram merge'), ('groups', 'kernel.groups'), ('formulas', 'kernel.formula'), ('density', 'spectrum.density'), ('neighbours', 'rates.neighbours'), ('task_cosines', '[[tasks]]'), ('finetune', '[finetune]')):
    try: getattr(tangram.plot, name)(axes, run); check(f'plot.{name}: what the file does not hold', False)
    except ValueError as error: check(f'plot.{name}: what the file does not hold, and what writes it', 'out.h5' in str(error) and words in str(error), error)
for label in ('one', 'two'): tangram.plot.spectrum(axes, run, label=label, colour='C0')
check('plot: files share axes', {t.get_text() for t in axes.get_legend().get_texts()} <= {'one', 'two'})
figure, axes = plt.subplots()
for label in ('one', 'two', 'three'): tangram.plot.learning_curve(axes, run, label=label, colour='C0', legend=False)
figure.canvas.draw()
bars = sorted(c.lines[2][0].get_transform().transform(c.lines[2][0].get_segments()[0])[0, 0] for c in axes.containers)
check('plot: bars of files on the same axes stand beside each other', len(bars) == 3 and min(np.diff(bars)) > axes.containers[0].lines[1][0].get_markersize() * figure.dpi / 72, bars)
check('plot: the axis has the sizes', sorted(axes.get_xticks()) == [40, 80, 160], axes.get_xticks())
check('finetune: None where the network was not trained', run.finetune is None and run.finetune_path is None)
run.close()
with tangram.run(f.at('study.toml'), program=PROGRAM, quiet=True, data__samples=24, finetune__steps=4, output__path='trained.h5') as trained, h5py.File(f.at('trained.h5')) as h:
    check('finetune: what training showed', trained.finetune['steps'] == 4 and trained.finetune['gap'] == h['finetune'].attrs['gap'] and 'units' not in trained.finetune)
    check('finetune: a row per recorded step', np.array_equal(np.asarray(trained.finetune_path['test_loss']), h['finetune/path']['test_loss']))
    for name in ('loss', 'accuracy'):
        figure, axes = plt.subplots()
        tangram.plot.finetune(axes, trained, name, legend=False)
        labels = axes.get_legend_handles_labels()[1]
        check(f'plot.finetune: {name} of both models', {'network, train', 'network, test', 'linearised, train', 'linearised, test'} <= set(labels) and name in axes.get_ylabel(), labels)
        plt.close(figure)

# What is refused comes as the program's message and status.
def refused(work):
    try: work()
    except tangram.TangramError as error: return error.status, str(error)
    return None
start = lambda **changes: tangram.run(f.at('study.toml'), program=PROGRAM, quiet=True, **changes)
status, message = refused(lambda: start(data__sample=3)) or (0, '')
check('run: a key that is wrong', status == 2 and 'data.samples' in message and '\n' not in message, (status, message))
status, message = refused(lambda: start(model__path='none')) or (0, '')
check('run: a model that is not there', status == 3 and 'none' in message, (status, message))
status, message = refused(lambda: tangram.run(f.at('study.toml'), program=f.at('no-program'), quiet=True)) or (0, '')
check('run: no program', status == 2 and 'no-program' in message, (status, message))
try: tangram.open(f.at('none.h5')); check('open: none.h5', False)
except tangram.Unreadable as error: check('open: none.h5', 'none.h5' in str(error))
with tangram.run(f.at('study.toml'), ranks=2, program=PROGRAM, quiet=True, output__path='two.h5') as two:
    check('run: on two ranks, to another file', two.path == f.at('two.h5') and int(two['provenance'].attrs['ranks']) == 2)
os.environ['PATH'] = f.path + ':' + os.environ['PATH']
with open(f.at('sinfo'), 'w') as file: file.write('#!/bin/sh\necho "debug* 1 2 4000 infinite"\n')
os.chmod(f.at('sinfo'), 0o755)
said = tangram.submit(f.at('study.toml'), '--account=me', program=PROGRAM, go=False, data__samples=80)
check('submit: the command that would', said.startswith('sbatch ') and 'data.samples=80' in said and '--account=me' in said, said)
minutes = lambda command: int(re.search(r'--time=(\d+)', command)[1])
trained = tangram.submit(f.at('study.toml'), program=PROGRAM, go=False, data__samples=80, finetune__steps=10_000_000)
check('submit: fine-tuning takes its time', minutes(trained) > 10 * minutes(said), (said, trained))
status, message = refused(lambda: tangram.submit(f.at('none.toml'), program=PROGRAM)) or (0, '')
check('submit: a study that is not there', status == 2 and 'none.toml' in message, (status, message))

# One version everywhere, and an installation that imports.
version = re.search(r'project\(tangram VERSION (\S+)', open(os.path.join(ROOT, 'CMakeLists.txt')).read())[1]
check('version: the program\'s', tangram.__version__ == version, (tangram.__version__, version))
for name, form in (('CITATION.cff', r'^version: (\S+)$'), ('README.md', r'version = \{(.*?)\}')):
    found = re.search(form, open(os.path.join(ROOT, name), encoding='utf-8').read(), re.M)
    check(f'version: {name}', found and found[1] == version, found)
if importlib.util.find_spec('pip') and importlib.util.find_spec('setuptools'):
    shutil.copytree(os.path.join(ROOT, 'tools', 'python'), f.at('source'), ignore=shutil.ignore_patterns('__pycache__'))
    p = subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-build-isolation', '--no-index', '--target', f.at('installed'), f.at('source')], capture_output=True, text=True)
    check('pip: installs', p.returncode == 0, p.stderr[-500:])
    p = subprocess.run([sys.executable, '-c', 'import tangram, tangram.plot, sys; print(tangram.__file__)'], capture_output=True, text=True, cwd='/', env={**os.environ, 'PYTHONPATH': f.at('installed')})
    check('pip: imports from there', f.at('installed') in p.stdout, p.stdout + p.stderr)
else: print('skipped: installation (pip or setuptools is missing)')

# The notebook.
if importlib.util.find_spec('nbclient') and importlib.util.find_spec('ipykernel'):
    import nbclient, nbformat
    os.environ['TANGRAM'] = PROGRAM
    os.environ['PYTHONPATH'] = os.path.join(ROOT, 'tools', 'python')
    notebook = nbformat.read(os.path.join(ROOT, 'docs', 'tangram.ipynb'), as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == 'code': cell.outputs = []
    try: nbclient.NotebookClient(notebook, timeout=300, kernel_name='python3', resources={'metadata': {'path': os.path.join(ROOT, 'docs')}}).execute(); failed = ''
    except nbclient.exceptions.CellExecutionError as error: failed = str(error)
    check('notebook: every cell', failed == '', failed[-1500:])
    shown = [o for cell in notebook.cells if cell.cell_type == 'code' for o in cell.outputs]
    check('notebook: pictures', sum('image/png' in o.get('data', {}) for o in shown) >= 2, [o.get('output_type') for o in shown])
    check('notebook: stored outputs are small', os.path.getsize(os.path.join(ROOT, 'docs', 'tangram.ipynb')) < 150_000)
else: print('skipped: the notebook (python3-nbclient or python3-ipykernel is missing)')
f.remove(); finish()
