#!/usr/bin/env python3
"""Reads the includes and fails on an arrow between rooms that is not in the list, on a header without #pragma once, on a
file that no room holds, and on a page named in a comment that the repository lacks. Every arrow is listed: a room does not reach through its neighbours. Run from anywhere; part of
tools/test."""
import os, re, sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
# In order: no room includes one that stands behind it.
MAY_INCLUDE = {
    'files': [],
    'parallel': [],
    'io': ['files', 'parallel'],
    'text': ['files'],
    'model': ['files'],
    'jacobian': ['files', 'text', 'model'],
    'gram': ['parallel', 'jacobian'],
    'spectrum': ['parallel'],
    'device': ['model', 'gram', 'spectrum'],
    'rates': [],
    'learning': ['parallel', 'spectrum', 'rates'],
    'training': ['parallel', 'text', 'model', 'jacobian'],
    'session': ['parallel', 'io'],
    'study': ['files', 'parallel', 'io', 'text', 'model', 'jacobian', 'gram', 'session'],
    'stages': ['files', 'parallel', 'io', 'text', 'model', 'jacobian', 'gram', 'spectrum', 'rates', 'learning', 'training', 'session', 'study'],
    'program': ['files', 'parallel', 'io', 'device', 'spectrum', 'rates', 'session', 'study', 'stages'],
}
# The vocabulary of all rooms stands beside them.
COMMON = {'index.hpp', 'not_known.hpp', 'error.hpp', 'arithmetic.hpp', 'blas.hpp', 'drawing.hpp', 'elementary.hpp', 'host_device.hpp', 'parallel_for.hpp', 'products.hpp', 'reading.hpp', 'random.hpp'}
order = list(MAY_INCLUDE)
bad = [f'{room} -> {to}: the list itself points up' for room, below in MAY_INCLUDE.items() for to in below
       if order.index(to) >= order.index(room)]
used = set()
for base in ('include/tangram', 'src'):
    for folder, _, files in os.walk(os.path.join(ROOT, base)):
        for name in files:
            path = os.path.relpath(os.path.join(folder, name), os.path.join(ROOT, base)); room = path.split(os.sep)[0]
            if room in COMMON and base != 'src': continue
            if room not in MAY_INCLUDE: bad.append(f'{base}/{path}: not in a room'); continue
            with open(os.path.join(folder, name), encoding='utf-8') as file: text = file.read()
            if name.endswith('.hpp') and '#pragma once' not in text: bad.append(f'{base}/{path}: no #pragma once')
            for target in re.findall(r'#include "tangram/([^"]+)"', text):
                to = target.split('/')[0]
                used.add((room, to))
                if to in COMMON or to == room or to in MAY_INCLUDE[room]: continue
                bad.append(f'{base}/{path}: includes {target}, an arrow {room} -> {to} that is not in the list')
# A page that a comment names stands in the repository.
for base in ('include', 'src', 'tests', 'tools'):
    for folder, _, files in os.walk(os.path.join(ROOT, base)):
        for name in files:
            if not name.endswith(('.hpp', '.cpp', '.py', '.cmake', '.txt')) or 'seeds' in folder: continue
            with open(os.path.join(folder, name), encoding='utf-8') as file: text = file.read()
            for page in sorted(set(re.findall(r'(?<![\w/*.])(?:docs/)?[A-Za-z_]+\.md\b', text))):
                if not os.path.exists(os.path.join(ROOT, page)): bad.append(f'{os.path.relpath(os.path.join(folder, name), ROOT)}: names {page}, which is not here')
bad += [f'{room} -> {to}: in the list, and nothing uses it' for room, below in MAY_INCLUDE.items() for to in below
        if (room, to) not in used]
for line in bad: print(line)
print('arrows between rooms: ' + ('as the list has them' if not bad else f'{len(bad)} wrong')); sys.exit(1 if bad else 0)
