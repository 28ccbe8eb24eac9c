#!/usr/bin/env python3
"""Whether the recipes of tools/packaging are valid Python and name what the build looks for: every package of
tools/cmake/dependencies.cmake, the project's version, options that CMakeLists.txt has. What only Spack, EasyBuild and Apptainer
themselves can tell is not checked. usage: packaging.py"""
import ast, os, re, sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
read = lambda *parts: open(os.path.join(ROOT, *parts), encoding='utf-8').read()
# CMake's name, Spack's, EasyBuild's; EasyBuild's toolchain foss brings MPI, BLAS, LAPACK and ScaLAPACK, compilers Threads and
# OpenMP; the recipes build without GPUs.
NAMES = {'CUDAToolkit': ('', ''), 'MPI': ('mpi', ''), 'BLAS': ('blas', ''), 'LAPACK': ('lapack', ''), 'ScaLAPACK': ('scalapack', ''), 'Threads': ('', ''), 'OpenMP': ('', ''),
    'Eigen3': ('eigen', 'Eigen'), 'fmt': ('fmt', 'fmt'), 'spdlog': ('spdlog', 'spdlog'), 'tomlplusplus': ('tomlplusplus', 'tomlplusplus'),
    'nlohmann_json': ('nlohmann-json', 'nlohmann_json'), 'CLI11': ('cli11', 'CLI11'), 'ICU': ('icu4c', 'ICU'), 'OpenSSL': ('openssl', 'OpenSSL'),
    'ZLIB': ('zlib-api', 'zlib'), 'HDF5': ('hdf5', 'HDF5'), 'PkgConfig': ('pkgconfig', 'pkgconf'), 'ELPA': ('elpa', 'ELPA')}

wrong = []
def expect(condition, message):
    if not condition: wrong.append(message)

cmake = read('CMakeLists.txt')
version = re.search(r'project\(tangram VERSION (\S+)', cmake)[1]
options = set(re.findall(r'^option\((\w+)', cmake, re.M))
needed = set(re.findall(r'^ *find_package\((\w+)', read('tools', 'cmake', 'dependencies.cmake'), re.M)) | {'ELPA'}
for name in sorted(needed - set(NAMES)): expect(False, f'tools/checks/packaging.py does not know {name} of dependencies.cmake')

spack = read('tools', 'packaging', 'spack_repo', 'tangram', 'packages', 'tangram', 'package.py')
calls = [call for call in ast.walk(ast.parse(spack)) if isinstance(call, ast.Call) and getattr(call.func, 'id', '') == 'depends_on']
# The checkout that it builds is the one that it lies in.
where = [os.path.realpath(os.path.join(ROOT, 'tools', 'packaging', 'spack_repo', 'tangram', 'packages', 'tangram', 'package.py'))]
for _ in range(int(re.search(r'parents\[(\d+)\]', spack)[1]) + 1): where.append(os.path.dirname(where[-1]))
expect(where[-1] == os.path.realpath(ROOT), f'package.py: its git repository would be {where[-1]}')
of_spack = {re.match(r'[\w-]+', call.args[0].value)[0] for call in calls}
files = [name for name in os.listdir(os.path.join(ROOT, 'tools', 'packaging')) if name.endswith('.eb')]
expect(files == [f'tangram-{version}-foss-2024a.eb'], f'easyconfigs {files}, version {version}')
for file in files:
    values = {}
    exec(compile(read('tools', 'packaging', file), file, 'exec'), {'SYSTEM': 'system'}, values)
    of_eb = {row[0] for row in values['dependencies'] + values['builddependencies']}
    expect((values['name'], values['version']) == ('tangram', version), f'{file}: name and version')
    for name in sorted(needed & set(NAMES)): expect(not NAMES[name][1] or NAMES[name][1] in of_eb, f'{file} lacks {NAMES[name][1]}')
for name in sorted(needed & set(NAMES)): expect(not NAMES[name][0] or NAMES[name][0] in of_spack, f'package.py lacks {NAMES[name][0]}')

container = read('tools', 'packaging', 'tangram.def')
for text in (spack, container, *(read('tools', 'packaging', file) for file in files)):
    for option in set(re.findall(r'TANGRAM_[A-Z]+', text)) - {'TANGRAM_JOBS'}: expect(option in options, f'{option} is no option of CMakeLists.txt')
expect(container.count('Bootstrap: ') == 2 and all(f'%{part}' in container for part in ('files from build', 'post', 'runscript', 'test')), 'tangram.def: its sections')
for message in wrong: print(f'packaging.py: {message}', file=sys.stderr)
print('recipes: ' + (f'{len(wrong)} faults' if wrong else f'they name all of {len(needed)} packages, version {version}'))
sys.exit(1 if wrong else 0)
