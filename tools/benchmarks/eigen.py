"""Worker: seconds of numpy.linalg.eigh or eigvalsh of a stored symmetric matrix.
    eigen.py FILE.h5 eigh|eigvalsh"""
import json
import sys
import time

import h5py
import numpy as np

with h5py.File(sys.argv[1], 'r') as file:
    matrix = file['matrix'][:]
solve = getattr(np.linalg, sys.argv[2])
solve(matrix[:64, :64].copy())  # the libraries are loaded and their threads run
start = time.perf_counter()
solve(matrix)
print(json.dumps(time.perf_counter() - start))
