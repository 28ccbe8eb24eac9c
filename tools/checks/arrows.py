#!/usr/bin/env python3
"""Reads the includes and fails on an arrow between rooms that is not in the list, on a header without #pragma once, and on
a file that no room holds. Run from anywhere; part of tools/test."""
import os, re, sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
MAY_INCLUDE = {'files': [], 'parallel': [], 'io': ['parallel', 'files'], 'text': ['files'], 'model': ['files'],
    'jacobian': ['text', 'model'], 'gram': ['parallel', 'jacobian'], 'spectrum': ['parallel'], 'rates': [], 'training': ['parallel', 'io', 'jacobian'],
    'study': ['files', 'parallel', 'io', 'text', 'model', 'jacobian', 'gram', 'spectrum', 'rates', 'training']}
# The vocabulary of all rooms stands beside them.
COMMON = {'index.hpp', 'error.hpp', 'arithmetic.hpp', 'blas.hpp', 'products.hpp', 'reading.hpp', 'random.hpp'}
# What a room's public headers bring with them is theirs to bring: jacobian and selection of errors come from files.
bad = []
for base in ('include/tangram', 'src'):
    for folder, _, files in os.walk(os.path.join(ROOT, base)):
        for name in files:
            path = os.path.relpath(os.path.join(folder, name), os.path.join(ROOT, base)); room = path.split(os.sep)[0]
            if room in COMMON and base != 'src': continue
            if room not in MAY_INCLUDE: bad.append(f'{base}/{path}: not in a room'); continue
            text = open(os.path.join(folder, name), encoding='utf-8').read()
            if name.endswith('.hpp') and '#pragma once' not in text: bad.append(f'{base}/{path}: no #pragma once')
            for target in re.findall(r'#include "tangram/([^"]+)"', text):
                to = target.split('/')[0]
                if to in COMMON or to == room or to in MAY_INCLUDE[room]: continue
                # A room may name the headers that the rooms below it stand on (text and model stand on files).
                if any(to in MAY_INCLUDE[below] for below in MAY_INCLUDE[room]) and room != 'gram': continue
                bad.append(f'{base}/{path}: includes {target}, an arrow {room} -> {to} that is not in the list')
for line in bad: print(line)
print('arrows between rooms: ' + ('as the list has them' if not bad else f'{len(bad)} wrong')); sys.exit(1 if bad else 0)
