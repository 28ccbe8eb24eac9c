#!/usr/bin/env python3
"""Finds every call of MPI, HDF5, ELPA and of routines declared extern "C" whose status nobody looks at. A status counts
as looked at inside a wrapper, where it is compared or returned, or where the name that takes it is, later in the same
function. The exceptions below have their reasons. Run from anywhere; part of tools/test."""
import os, re, sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
WRAPPERS = {'TANGRAM_MPI', 'check_hdf5', 'check', 'check_info', 'switch'}
# Their result is what was asked for, or there is none.
NO_STATUS = {'elpa_strerr', 'openblas_get_config', 'openblas_get_corename', 'openblas_set_num_threads', 'openblas_get_num_threads', 'pdgemm_', 'pdtran_', 'dgemm_', 'sgemm_', 'dsymv_',
             'Cblacs_gridinfo', 'Cblacs_gridexit', 'Cfree_blacs_system_handle', 'MPI_Comm_c2f', 'MPI_Wtime'}
GOING, TORN, LEAVING = 'a destructor, which must not throw', 'the file is torn, which is what it returns', 'the program ends, with the error that led here'
EXCEPTIONS = {
    ('src/gram/transfers.cpp', 'MPI_Waitall'): GOING,
    ('src/parallel/communicator.cpp', 'MPI_Comm_free'): GOING,
    ('src/parallel/communicator.cpp', 'MPI_Finalized'): GOING,
    ('src/parallel/process_grid.cpp', 'MPI_Finalized'): GOING,
    ('src/parallel/communicator.cpp', 'MPI_Error_string'): 'words for an error that is thrown with or without them',
    ('src/program/main.cpp', 'MPI_Comm_rank'): LEAVING,
    ('src/program/main.cpp', 'MPI_Abort'): LEAVING,
    ('src/program/main.cpp', 'MPI_Finalize'): LEAVING,
    ('src/session/session.cpp', 'H5get_libversion'): 'three constants of the library',
    ('src/io/hdf5_file.cpp', 'H5Dget_storage_size'): '0 where it fails, as where fill values alone are stored: large promises are refused',
    ('src/io/hdf5_handle.cpp', 'H5Eset_auto2'): 'where it fails, errors are printed as well as thrown',
    ('src/io/hdf5_handle.cpp', 'H5Ewalk2'): 'words for an error that is thrown with or without them',
    ('src/io/hdf5_handle.cpp', 'H5Epush2'): 'words for a refusal that stands without them',
    ('src/io/hdf5_handle.cpp', 'H5Fclose'): TORN,
    ('src/io/hdf5_handle.cpp', 'H5Eset_current_stack'): TORN,
    ('src/spectrum/elpa_solver.cpp', 'elpa_uninit'): 'MPI_Finalize goes on without it',
    ('src/spectrum/elpa_solver.cpp', 'elpa_deallocate'): GOING,
    ('src/spectrum/elpa_solver.cpp', 'elpa_eigenvectors'): 'checked with elpa_eigenvalues, the other branch',
}


def blanked(text):
    """The same length without comments and what stands in quotes."""
    keep = lambda m: re.sub(r'[^\n]', ' ', m.group()) if m.group().startswith('/') else '"' + ' ' * (len(m.group()) - 2) + '"'
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', keep, text, flags=re.S)


def closing(text, at):
    """Behind the parenthesis that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] in '([{') - (text[i] in ')]}')
        if depth == 0: return i + 1
    return len(text)


def around(text, at):
    """The function whose arguments `at` stands in, or ''."""
    depth = 0
    for i in range(at - 1, -1, -1):
        if text[i] in ';{}' and depth == 0: return ''
        depth += (text[i] in ')]}') - (text[i] in '([{')
        if depth < 0: return re.search(r'(\w*)\s*$', text[:i]).group(1)
    return ''


def looked_at(name, text):
    """Whether a check, a comparison or a return takes the name before it is overwritten."""
    name = re.escape(name)
    compared = rf'(?:==|!=|<=|>=|<|>)\s*{name}\b|(?<![\w.]){name}\s*(?:==|!=|<=|>=|<|>)'
    return re.search(rf'\b(?:{"|".join(WRAPPERS)})\(\s*{name}\b|{compared}|\breturn {name}\b', text)


def is_checked(text, name, start, paren):
    end = closing(text, paren)
    before, behind = text[:start].rstrip(), text[end:].lstrip()
    if around(text, start) in WRAPPERS or before.endswith('return'): return True
    if re.match(r'(?:==|!=|<=|>=|<|>)', behind) or re.search(r'(?:==|!=|<=|>=|\s[<>])$', before): return True
    function = re.split(r'\n}', text[end:], maxsplit=1)[0]
    # Solvers take theirs last, BLACS takes its context first.
    status = None if name.startswith(('MPI_', 'H5')) else re.search(r'&(\w+)\)$|^\(&(\w+),', text[paren:end])
    taken = status or re.search(r'([\w.]+)\s*(?:=\s*\{?|[({])$', before)
    if not taken: return False
    taken = taken.group(taken.lastindex)
    # Up to where the same name takes the next status.
    return bool(looked_at(taken, re.split(rf'&{re.escape(taken)}\)', function)[0]))


def main():
    texts = {}
    for base in ('include', 'src'):
        for folder, _, files in os.walk(os.path.join(ROOT, base)):
            for file in files:
                path = os.path.join(folder, file)
                with open(path, encoding='utf-8') as opened: texts[os.path.relpath(path, ROOT)] = opened.read()
    declarations = [re.compile(r'extern "C" (?:\{.*?\n\}|[^{;]*;)', re.S).findall(text) for text in texts.values()]
    foreign = {name for found in declarations for block in found for name in re.findall(r'\b([A-Za-z]\w*)\(', block)}
    call = re.compile(rf'\b(MPI_[A-Z]\w*|H5[A-Za-z]\w*|elpa_\w+|{"|".join(sorted(foreign))})\s*\(')
    bad, used, count = [], set(), 0
    for path, text in sorted(texts.items()):
        blocks = re.sub(r'extern "C" (?:\{.*?\n\}|[^{;]*;)', lambda m: re.sub(r'[^\n]', ' ', m.group()), text, flags=re.S)
        plain = blanked(blocks)
        for found in call.finditer(plain):
            name = found.group(1); count += 1
            if name in NO_STATUS or is_checked(plain, name, found.start(), found.end() - 1): continue
            if (path, name) in EXCEPTIONS: used.add((path, name)); continue
            bad.append(f'{path}:{plain.count(chr(10), 0, found.start()) + 1}: nobody looks at what {name} returns')
    bad += [f'{path}: {name} is an exception that nothing uses' for path, name in EXCEPTIONS if (path, name) not in used]
    for line in bad: print(line)
    print(f'calls of MPI, HDF5 and solvers: {count}, ' + ('all checked' if not bad else f'{len(bad)} wrong'))
    return 1 if bad else 0


sys.exit(main())
