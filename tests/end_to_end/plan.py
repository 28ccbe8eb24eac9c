#!/usr/bin/env python3
"""tangram plan and the memory that runs are held to. usage: plan.py PROGRAM MPIEXEC RANKS TEST_DATA"""
import json, os, re, shutil, subprocess, sys
from support import PROGRAM, RANKS, Folder, check, finish, run
try:
    import h5py, numpy as np
except ImportError:
    print('skipped: python3-h5py is missing'); sys.exit(77)

# The sanitizers' processes are larger and keep freed memory back (tools/checks/sanitizers sets this): what is compared with a number of bytes is left out.
own_memory = 'TANGRAM_TEST_SANITIZED' not in os.environ
f = Folder()
cache = {'XDG_CACHE_HOME': f.at('cache')}
f.write('study.toml', f.study(data__test='"test.tsv"', data__test_samples='40', data__samples='400', kernel__parameters='"all"'))
code, out, err = run('plan', f.at('study.toml'), '--tensors', environment=cache)
check('plan: status 0', code == 0, err)
check('plan: the verdict first', out.startswith('fits: '), out[:200])
for word in ('gram', 'spectrum', 'rates', 'matching-rows', 'factors', 'multiply-out', 'transformer.h.0.mlp.c_fc.weight', 'fits', 'fewest ranks'):
    check(f'plan: names {word}', word in out, out)
# Twice the matrix of 400 rows, its 40 test rows and its vectors; a twentieth for rounding and 31 KiB of rates.
disk = re.search(r'\nDisk: ([0-9.]+) MiB at most', out)
check('plan: names the disk', disk and abs(float(disk[1]) - 2 * 8 * 400 * (400 + 40 + 400) / 2 ** 20) < 0.1, out)
check('plan: writes no output', [n for n in os.listdir(f.path) if n.startswith('out.h5')] == [])
check('plan: keeps its calibration', os.path.exists(f.at('cache/tangram/calibration.json')))
f.write('cache/tangram/calibration.json', 'not JSON')
code, again, err = run('plan', f.at('study.toml'), environment=cache)
check('plan: a broken cache is measured anew', code == 0, err)
code, out, err = run('plan', f.at('study.toml'), '--ranks', '6', environment=cache)
check('plan: for other ranks', code == 0 and '6 ranks as 2 x 3' in out, out + err)
check('plan: says which ranks would be better used otherwise', '1 of 6 ranks make no passes' in out and 'messages' not in out, out)
code, out, err = run('plan', f.at('study.toml'), '--ranks', '13', environment=cache)
check('plan: and what a long grid is', '8 of 13 ranks make no passes' in out and 'a grid of 1 x 13 has many messages; 12 ranks make one of 3 x 4' in out, out + err)
code, out, err = run('plan', f.at('study.toml'), '--ranks', '4', environment=cache)
check('plan: or says nothing', code == 0 and 'make no passes' not in out and 'messages' not in out, out + err)
code, out, err = run('plan', f.at('study.toml'), '--set', 'kernel.parameters = mlp ', environment=cache)
check('--set: blanks around a word', code == 0, f'{code} {out} {err}')
for key, words in (('spectrum.count=401', 'the kernel has 400 rows'), ('rates.window=[2, 401]', 'rates.window')):
    code, out, err = run('plan', f.at('study.toml'), '--set', key, environment=cache)
    check(f'plan: refuses what run would, {key}', code == 2 and words in err and 'fits' not in out, f'{code} {out} {err}')
code, out, err = run('plan', f.at('study.toml'), '--set', 'spectrum.count = 20', environment=cache)
check('plan: the rates of the largest eigenvalues; blanks around =', code == 0 and '\nrates ' in out, f'{code} {out} {err}')
code, out, err = run('plan', f.at('study.toml'), '--ranks', '4', environment=cache)
check('plan: tensors where they are asked for', 'mlp.c_fc.weight' not in out, out)
code, out, err = run('plan', f.at('study.toml'), '--set', 'data.samples=4000', '--memory-per-rank', '300MiB', '--ranks', '1', environment=cache)
check('plan: what does not fit is status 2', code == 2 and 'does not fit' in out and ('fewest ranks that fit with 300' in out or not own_memory), f'{code} {out} {err}')
code, out, err = run('run', f.at('study.toml'), '--memory-per-rank', '70MiB')
check('run: refuses what does not fit, with numbers', code == 2 and 'MiB' in err and 'allowed' in err and 'rank' in err, f'{code} {err}')
check('run: leaves nothing', not os.path.exists(f.at('out.h5')))
code, out, err = run('plan', f.at('study.toml'), '--memory-per-rank', '4')
check('memory: a unit is asked for', code == 2 and '4GiB' in err, f'{code} {err}')

# Less memory: more passes, the same bits.
code, out, err = run('gram', f.at('study.toml')); check('gram: status 0', code == 0, err)
with h5py.File(f.at('out.h5')) as h:
    said = dict(h['/provenance'].attrs); planned, peak = said['planned_bytes_per_rank'], max(said['peak_bytes_per_rank'])
# The rest of the process is measured while it is planned; allocators round up by some pages.
if own_memory: check('gram: takes the memory that was planned', abs(peak / planned - 1) <= 0.1, f'{peak} {planned}')
# What ranks share: the tensors of the file, once. Of the rest, pages of libraries are planned as a rank's own.
stored = os.path.getsize(f.at('model/model.safetensors'))
check('gram: weights are planned as shared', abs(planned - said['planned_own_bytes_per_rank'] - stored) <= 0.01 * stored, f'{said} {stored}')
own = max(said['peak_own_bytes_per_rank'])
if own_memory: check('gram: takes no more of its own than was planned', 0.3 * planned < own <= 1.1 * said['planned_own_bytes_per_rank'], f'{own} {said}')
# Of a small study the allocator's pages are more than a tenth; they are no news.
code, out, err = run('gram', f.at('study.toml'), '--set', 'data.samples=24', '--set', 'data.seed=1', '--set', 'data.test_samples=20', '--set', 'kernel.parameters=norm', '--set', 'output.path=small.h5')
with h5py.File(f.at('small.h5')) as h: check('small study: no warning', code == 0 and (len(h['/warnings']) == 0 or not own_memory), (err, h['/warnings'][:]))
code, out, err = run('gram', f.at('study.toml'), '--memory-per-rank', f'{int(planned - 20e6)}B', '--set', 'output.path=little.h5')
check('little memory: several passes', code == 0 and 'passes per example' in err, f'{code} {err}')
with h5py.File(f.at('out.h5')) as a, h5py.File(f.at('little.h5')) as b:
    for path in ('/kernel/gram', '/kernel/cross', '/kernel/test_diagonal', '/kernel/outputs_train'):
        check(f'little memory: {path} has the same bits', np.array_equal(a[path][:], b[path][:]))

# What is planned is not made: a model of 7e9 parameters (LLaMA's shape) that would be drawn, on one rank.
def peak_of_children():
    import resource
    return 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
def drawn(name, **changes):
    """A folder with config.json and a tokenizer alone, and a study that draws its weights."""
    os.makedirs(f.at(name), exist_ok=True)
    for file in ('tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'): shutil.copy(f.at('model/' + file), f.at(name))
    config = {'model_type': 'llama', 'hidden_size': 4096, 'num_hidden_layers': 32, 'num_attention_heads': 32, 'intermediate_size': 11008, 'vocab_size': 32000,
        'max_position_embeddings': 2048, 'rms_norm_eps': 1e-6, 'hidden_act': 'silu', 'tie_word_embeddings': False, **changes}
    f.write(name + '/config.json', json.dumps(config))
    return f.write(name + '.toml', f.study(model__path=f'"{name}"', model__init='"random"', data__samples='64', kernel__parameters='"all"'))
code, out, err = run('plan', drawn('seven'), '--memory-per-rank', '64GiB', ranks=1, environment=cache)
check('plan of 7e9 parameters: fits 64 GiB on a rank', code == 0 and '6738415616 parameters' in out and 'fits: ' in out, f'{code} {out[:400]} {err}')
if own_memory: check('plan of 7e9 parameters: draws no weights', peak_of_children() < 1.5 * 2**30, peak_of_children())
code, out, err = run('plan', f.at('seven.toml'), '--memory-per-rank', '4GiB', ranks=1, environment=cache)
check('plan of 7e9 parameters: does not fit 4 GiB', code == 2 and 'no number of ranks' in out, f'{code} {out[-400:]} {err}')

# What does not fit is refused before it is allocated, whatever the model's sizes.
for name, changes in (('deep', {'num_hidden_layers': 4096, 'hidden_size': 1024, 'intermediate_size': 512, 'num_attention_heads': 8}), ('wide', {'hidden_size': 2**20, 'num_attention_heads': 2**12})):
    for command in ('plan', 'run') if name == 'wide' else ('run',):
        code, out, err = run(command, drawn(name, **changes), '--memory-per-rank', '8GiB', ranks=1, environment=cache)
        check(f'{command}, {name}: is refused with numbers', code == 2 and '8.0 GiB' in err and 'bad_alloc' not in err, f'{code} {err[-400:]}')
if own_memory: check('what does not fit: nothing of it was allocated', peak_of_children() < 1.5 * 2**30, peak_of_children())

# GPUs of other machines: by their memory.
code, out, err = run('plan', f.at('study.toml'), '--device-memory', '1GiB', environment=cache)
check('plan: what stands on a GPU', code == 0 and 'GPU of each rank: two slices' in out and 'they stay there' in out, f'{code} {out} {err}')
code, out, err = run('plan', f.at('study.toml'), '--device-memory', '1MiB', environment=cache)
check('plan: a GPU that is too small is status 2', code == 2 and out.startswith('does not fit') and '--device-memory' in err, f'{code} {out} {err}')
submit = subprocess.run([os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'tools', 'submit'), f.at('study.toml'), '--gpus', '2', '--device-memory', '1GiB', '--node-cores', '8', '--node-memory', '8GiB'], capture_output=True, text=True, env={**os.environ, **cache, 'TANGRAM': PROGRAM})
check('submit: a GPU for every rank', submit.returncode == 0 and all(word in submit.stdout for word in ('--ntasks=2 ', '--cpus-per-task=4 ', '--gpus-per-task=1', '--device cuda --device-memory 1GiB')), f'{submit.returncode} {submit.stdout} {submit.stderr}')
submit = subprocess.run([submit.args[0], f.at('study.toml'), '--node-cores', '8', '--node-memory', '8'], capture_output=True, text=True, env={**os.environ, 'TANGRAM': PROGRAM})
check('submit: memory without its unit', submit.returncode != 0 and '--node-memory 8:' in submit.stderr, submit.stderr)

# A head that is fitted needs the features of all examples on the first rank: a stage of the plan.
fitted = ['--set', 'model.head=classifier', '--set', 'model.head_init=least-squares', '--set', 'kernel.parameters=["score.weight"]', '--set', 'output.path=fitted.h5']
code, out, err = run('plan', f.at('study.toml'), *fitted, environment=cache)
check('plan: a fitted head is a stage', code == 0 and '\nhead ' in out, f'{code} {out[:400]} {err}')
code, out, err = run('plan', f.at('study.toml'), environment=cache)
check('plan: no fitted head, no stage', '\nhead ' not in out, out[:400])

# Fine-tuning is a stage of the plan, its memory that of the run that has nothing else to do.
tuned = ['--set', 'finetune.steps=2', '--set', 'rates.sizes=[400]', '--set', 'rates.repeats=1', '--set', 'output.path=tuned.h5']
code, out, err = run('plan', f.at('study.toml'), *tuned, environment=cache)
check('plan: fine-tuning is a stage where it is asked for', code == 0 and '\nfinetune ' in out, f'{code} {out} {err}')
# glibc keeps freed blocks of up to 32 MiB, a vector of the weights among them, where this does not forbid it (mallopt(3)).
returned = {'MALLOC_MMAP_THRESHOLD_': '131072'}
for command in ('gram', 'spectrum', 'rates', 'finetune'):
    code, out, err = run(command, f.at('study.toml'), *tuned, environment=returned)
    check(f'{command}: status 0', code == 0, err)
with h5py.File(f.at('tuned.h5')) as h: planned, peak = h['/provenance'].attrs['planned_bytes_of_finetune'], max(h['/provenance'].attrs['peak_bytes_per_rank'])
if own_memory: check('finetune: takes the memory that was planned', abs(peak / planned - 1) <= 0.1, f'{peak} {planned}')
shutil.move(f.at('tuned-weights'), f.at('moved'))
code, out, err = run('finetune', f.at('study.toml'), *tuned, '--set', 'finetune.steps=3', '--memory-per-rank', '64MiB')
check('finetune: refuses what does not fit, with numbers', code == 2 and 'finetune needs' in err and '64' in err, f'{code} {err}')
f.remove()
finish()
