#!/usr/bin/env python3
"""A time limit that passes while a solver works on somebody else's matrix. usage: time_limit.py PROGRAM MPIEXEC RANKS TEST_DATA"""
import os, sys
from support import Folder, check, finish, run
try:
    import h5py, numpy as np
except ImportError:
    print('skipped: python3-h5py is missing'); sys.exit(77)

f = Folder()
def matrix(n):  # read much faster than it is solved
    x = (np.arange(n) + 1) / n
    with h5py.File(f.at('kernel.h5'), 'w') as h: h['G'] = np.minimum.outer(x, x); h['y'] = x
for command in (['spectrum', '--matrix', f.at('kernel.h5') + ':/G'], ['rates', '--matrix', f.at('kernel.h5') + ':/G', '--labels', f.at('kernel.h5') + ':/y']):
    for n in (3000, 6000, 12000):  # the first that this machine cannot solve within the limit
        matrix(n)
        code, out, err = run(*command, '--output', f.at('out.h5'), '--time-limit', '1s', '--quiet', timeout=120)
        if code != 0: break
        os.remove(f.at('out.h5'))
    own = [line for line in err.splitlines() if line.startswith('tangram:')]
    check(f'{command[0]} --matrix: status 75', code == 75, f'{code} {err}')
    check(f'{command[0]} --matrix: one message, of the spectrum', len(own) == 1 and 'time limit' in own[0] and 'spectrum' in own[0], err)
    check(f'{command[0]} --matrix: nothing is left', [name for name in os.listdir(f.path) if name.startswith('out.h5')] == [], os.listdir(f.path))
f.remove()
finish()
