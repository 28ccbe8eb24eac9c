#!/usr/bin/env python3
"""Weights that change at one path between the runs of a scale study. usage: weights.py PROGRAM MPIEXEC RANKS TEST_DATA"""
import os, struct, sys
from support import Folder, check, finish, run
try:
    import h5py
except ImportError:
    print('skipped: python3-h5py is missing'); sys.exit(77)

f = Folder()
weights = f.at(os.path.join('model', 'model.safetensors'))
def a_run(n, name): return run('run', f.at('study.toml'), *[x for s in (f'data.samples={n}', f'output.path={name}.h5', 'rates.noise=0.5', 'rates.radius=1') for x in ('--set', s)])
def curves(name):
    with h5py.File(f.at(name)) as h: return [row['curve'].decode() for row in h['/runs'][:]], [row['model_sha256'].decode() for row in h['/runs'][:]]
check('runs of the first weights', all(a_run(n, f'first{n}')[0] == 0 for n in (16, 24)))
with open(weights, 'r+b') as file:  # the last number of the file, another one
    file.seek(-4, 2); value = file.read(4); file.seek(-4, 2); file.write(struct.pack('<f', struct.unpack('<f', value)[0] + 1))
check('runs of the second weights', all(a_run(n, f'second{n}')[0] == 0 for n in (16, 24)))
files = [f.at(f'{name}{n}.h5') for name in ('first', 'second') for n in (16, 24)]
code, out, err = run('merge', f.at('merged.h5'), *files)
check('merge: other weights at the same path are no second draw', code == 0, err)
if code == 0:
    names, hashes = curves('merged.h5')
    check('merge: a curve for each weights, named by their hash', len(set(hashes)) == 2 and len(set(names)) == 2 and all(h[:8] in n for n, h in zip(names, hashes)), names)
code, out, err = run('merge', f.at('mixed.h5'), files[0], files[3])
check('merge: sizes of different weights are no curve', code == 0 and len(set(curves('mixed.h5')[0])) == 2, err or out)
code, out, err = run('merge', f.at('one.h5'), *files[:2])
check('merge: the same weights are one curve', code == 0 and set(curves('one.h5')[0]) == {'all runs'}, err or out)
f.remove()
finish()
