"""What the end-to-end tests share: running the program on some ranks, and studies on the embedded model and data."""
import atexit, os, shutil, struct, subprocess, sys, tempfile

PROGRAM, MPIEXEC, RANKS, DATA = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
failures = []
# mpirun removes the folder of its host and user when it ends, also where another mpirun is about to enter it.
session = tempfile.mkdtemp(prefix='tangram-mpi-')
os.environ['OMPI_MCA_orte_tmpdir_base'] = session
atexit.register(shutil.rmtree, session, ignore_errors=True)

# Commands of which the first rank does most: on it alone, where a test does not ask for more (kernels.py asks, of each).
OF_THE_FIRST_RANK = ('compare', 'help', 'inspect', 'merge')

def run(*arguments, ranks=None, timeout=600, environment=None):
    """(status, standard output, standard error); a hang is a failure of its own. One rank runs without mpirun, which takes
    two seconds to hear that a single rank has failed."""
    count = ranks or (1 if arguments[0] in OF_THE_FIRST_RANK else RANKS)
    command = [*([MPIEXEC, '-n', str(count)] if count > 1 else []), PROGRAM, *map(str, arguments)]
    try:
        p = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env={**os.environ, **(environment or {})})
        return p.returncode, p.stdout, p.stderr
    except subprocess.TimeoutExpired:
        return 'hang', '', ''

def check(name, condition, detail=''):
    print(('ok      ' if condition else 'FAILED  ') + name + (f': {detail}' if not condition else ''), flush=True)
    if not condition: failures.append(name)

class Folder:
    """A folder of its own with a small model, small data and a study."""
    def __init__(self):
        self.path = tempfile.mkdtemp(prefix='tangram-test-')
        shutil.copytree(os.path.join(DATA, 'neo-mini'), self.at('model'))
        for name in ('train.tsv', 'test.tsv'): shutil.copy(os.path.join(DATA, 'reviews', name), self.at(name))
        self.write('study.toml', self.study())
    def at(self, name): return os.path.join(self.path, name)
    def write(self, name, text):
        with open(self.at(name), 'w') as f: f.write(text)
        return self.at(name)
    def study(self, **changes):
        keys = {'model.path': '"model"', 'data.train': '"train.tsv"', 'data.template': '"{text} It was"',
            'data.label_words': '[" bad", " great"]', 'data.samples': '24', 'data.seed': '3', 'kernel.parameters': '["transformer.h.3.*"]', 'output.path': '"out.h5"'}
        keys.update({k.replace('__', '.'): v for k, v in changes.items() if v is not None})
        for k, v in changes.items():
            if v is None: keys.pop(k.replace('__', '.'))
        sections = {}
        for key, value in keys.items():
            section, name = key.split('.'); sections.setdefault(section, []).append(f'{name} = {value}')
        return ''.join(f'[{s}]\n' + '\n'.join(lines) + '\n' for s, lines in sections.items())
    def remove(self): shutil.rmtree(self.path, ignore_errors=True)

def unexplained(folder):
    """Groups and data sets of the folder's output files that do not say what they are, axes without a name or with a scale that is
    not theirs, and how many files."""
    import h5py
    found, files = [], 0
    for name in sorted(os.listdir(folder)):
        try: h = h5py.File(os.path.join(folder, name), 'r')
        except OSError: continue  # another kind of file, or one that a test has damaged
        with h:
            if h.attrs.get('schema_version', 0) != 2: continue
            files += 1
            if 'scale' not in h.attrs or 'warnings' not in h: found.append(f'{name}: /')
            def visit(path, o):
                if not o.attrs.get('description') or not o.attrs.get('units'): found.append(f'{name}: {path}')
                elif isinstance(o, h5py.Dataset):
                    if not all(d.label for d in o.dims): found.append(f'{name}: {path}, axes')
                    if any(s.shape != o.shape[i:i + 1] for i, d in enumerate(o.dims) for s in d.values()): found.append(f'{name}: {path}, scales')
                    for place, axis in o.attrs.get('REFERENCE_LIST', ()):
                        if o not in h[place].dims[int(axis)].values(): found.append(f'{name}: {path}, scale of what is not there')
            h.visititems(visit)
    return found, files

def finish():
    print(f'{len(failures)} failed'); sys.exit(1 if failures else 0)
