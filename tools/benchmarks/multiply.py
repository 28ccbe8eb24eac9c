"""Worker: GFLOP/s of one matrix product, repeated for some seconds after a line on standard input.
    multiply.py numpy|torch float32|float64 SIZE DEPTH SECONDS: SIZE x DEPTH times DEPTH x SIZE."""
import json
import sys
import time

import numpy as np


def product(library, real, size, depth):
    """A function that multiplies into the same memory every time."""
    random = np.random.default_rng(1)
    a, b = (random.standard_normal(shape, dtype=real) for shape in ((size, depth), (depth, size)))
    c = np.zeros((size, size), dtype=real)
    if library == 'numpy':
        return lambda: np.matmul(a, b, out=c)
    import torch

    a, b, c = (torch.from_numpy(x) for x in (a, b, c))
    return lambda: torch.mm(a, b, out=c)


def main():
    library, real = sys.argv[1:3]
    size, depth, seconds = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
    multiply = product(library, getattr(np, real), size, depth)
    multiply()
    print('ready', flush=True)
    sys.stdin.readline()
    start, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - start < seconds:
        multiply()
        count += 1
    print(json.dumps(2e-9 * size * size * depth * count / (time.perf_counter() - start)))


main()
