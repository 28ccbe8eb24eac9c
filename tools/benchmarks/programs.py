"""Running what is measured: tangram under mpirun, and the workers beside this file, each its own process."""
import json
import os
import re
import shutil
import struct
import subprocess
import sys

os.environ.setdefault('HDF5_USE_FILE_LOCKING', 'FALSE')
import h5py
import numpy as np

import shapes

HERE = os.path.dirname(os.path.abspath(__file__))
LABEL_WORDS = {'stories260k': [' little', ' happy']}  # one token each; neo-mini's tokenizer: bad and great


class Failed(Exception):
    """A program that was measured failed."""


def what_failed(error):
    """tangram's or a worker's own message among mpirun's, or the last line."""
    lines = error.strip().splitlines() or ['no message']
    return next((line for line in lines if re.match(r'(tangram|eigensolvers): error:', line)), lines[-1])


def blas_of(text):
    """The real path of the OpenBLAS or other BLAS that /proc/self/maps or ldd names."""
    paths = re.findall(r'/\S*(?:blas|mkl|blis)\S*', text)
    return ', '.join(sorted({os.path.realpath(path) for path in paths})) or 'unknown'


def tensors_of(model):
    """(name, shape) of every tensor of a model folder."""
    with open(os.path.join(model, 'model.safetensors'), 'rb') as file:
        (size,) = struct.unpack('<Q', file.read(8))
        header = json.loads(file.read(size))
    return [(name, value['shape']) for name, value in header.items() if name != '__metadata__']


def linear_parameters(model):
    """Entries of the weight matrices that every token passes through: those of attention and MLP."""
    return sum(
        int(np.prod(shape))
        for name, shape in tensors_of(model)
        if len(shape) == 2 and re.search(r'attn|mlp', name)
    )


class Output:
    """What an output file of tangram says of its run; None where the file does not say it."""

    def __init__(self, path):
        self.path = path
        with h5py.File(path, 'r') as file:
            self.provenance = dict(file['/provenance'].attrs)
            self.rows = len(file['/data/train/labels'])
            self.tokens = int(file['/data/train/offsets'][-1])
            table = file['/kernel/tensors'][:]
            multiplied = np.array([bytes(c) == b'multiply-out' for c in table['contraction']])
            self.parameters = int(table['size'].sum())
            self.multiplied = int(table['size'][multiplied].sum())

    def number(self, name):
        value = self.provenance.get(name)
        return None if value is None else float(value)

    def largest(self, name):
        """The largest rank's entry of an attribute that has one entry per rank."""
        value = self.provenance.get(name)
        return None if value is None else float(np.max(value))


class Setting:
    """The options, a temporary folder, and the environment in which everything runs."""

    def __init__(self, given, folder, root):
        self.program, self.models, self.data = given.program, given.models, given.data
        self.eigensolvers = given.eigensolvers
        self.repeats, self.quick, self.large = given.repeats, given.quick, given.large
        self.folder = folder
        script = f'. "{root}/tools/environment" && env -0'
        listed = subprocess.run(['bash', '-c', script], stdout=subprocess.PIPE, check=True).stdout.decode()
        self.environment = dict(entry.split('=', 1) for entry in listed.split('\0') if entry)

    def sizes(self, *usual, large=()):
        return [64] if self.quick else [*usual, *(large if self.large else ())]

    def each_repeat(self):
        return range(self.repeats)

    # ---- tangram -------------------------------------------------------------------------------------------

    def model(self, name):
        return self.wide_model() if name == 'wide' else os.path.join(self.models, name)

    def study(self, model, n, parameters='all', save_gram=False, test_samples=0):
        """Writes a study of n SST-2 examples and returns the paths of the study and of its output file."""
        if test_samples:
            test_samples = min(test_samples, n)
        sections = {
            'model': {'path': self.model(model)},
            'data': {
                'train': os.path.join(self.data, 'sst2', 'train.tsv'),
                'test': os.path.join(self.data, 'sst2', 'dev.tsv') if test_samples else '',
                'template': '{text} It was',
                'label_words': LABEL_WORDS.get(model, [' bad', ' great']),
                'samples': n,
                'test_samples': test_samples,
            },
            'kernel': {'parameters': parameters},
            'output': {
                'path': os.path.join(self.folder, 'output.h5'),
                'save_gram': save_gram,
                'checkpoint_minutes': 0,
            },
        }
        path = os.path.join(self.folder, 'study.toml')
        with open(path, 'w') as file:
            for section, keys in sections.items():
                file.write(f'[{section}]\n')
                file.writelines(f'{key} = {json.dumps(value)}\n' for key, value in keys.items())
        return path, sections['output']['path']

    def shape(self, name, n, length=64, parameters='attention'):
        """Writes a study of n random texts through a model of a published one's shape; as study()."""
        config = shapes.SHAPES[name]
        if self.quick:
            tiny = {'n_embd': 48, 'n_layer': 2, 'hidden_size': 48, 'intermediate_size': 96, 'head_dim': 8}
            config = {**config, **{key: tiny.get(key, value) for key, value in config.items()}}
            config.update({key: 2 for key in ('n_layer', 'num_hidden_layers') if key in config})
            config['vocab_size'] = 500
        folder = os.path.join(self.folder, name)
        if not os.path.exists(folder):
            shapes.write_model(folder, config)
        texts, output = os.path.join(self.folder, 'texts.h5'), os.path.join(self.folder, 'output.h5')
        shapes.write_texts(texts, n, length, config['vocab_size'])
        path = os.path.join(self.folder, 'study.toml')
        with open(path, 'w') as file:
            file.write(f'[model]\npath = "{folder}"\n[data]\ntrain = "{texts}"\nmax_length = {length}\n')
            file.write(f'[kernel]\nparameters = "{parameters}"\n')
            file.write(f'[output]\npath = "{output}"\ncheckpoint_minutes = 0\n')
        return path, output

    def tangram(self, command, ranks=2):
        arguments = ['mpirun', '-np', str(ranks), self.program, *command, '--quiet']
        done = subprocess.run(
            arguments, env=self.environment, cwd=self.folder, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise Failed(f'tangram {" ".join(command)}: status {done.returncode}: {what_failed(done.stderr)}')

    def gram(self, model, n, ranks=2, **study):
        return self.gram_of(*self.study(model, n, **study), ranks)

    def gram_of(self, path, output, ranks=2):
        if os.path.exists(output):
            os.remove(output)
        self.tangram(['gram', path], ranks)
        return Output(output)

    def eigensolver(self, *arguments, ranks=2):
        """What eigensolvers.cpp prints of a bare library, or of the largest eigenpairs."""
        if not os.path.exists(self.eigensolvers):
            raise Failed(f'{self.eigensolvers} is missing; it is built with the tests')
        command = ['mpirun', '-np', str(ranks), self.eigensolvers, *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f'eigensolvers {" ".join(command[4:])}: {what_failed(done.stderr)}')
        return json.loads(done.stdout.strip().splitlines()[-1])

    def finetune(self, model, n, steps, ranks=2):
        """Of batches of 32 on a kernel of n rows."""
        path, output = self.study(model, n, save_gram=True)
        keys = {'optimizer': 'sgd', 'batch': 32, 'steps': steps, 'learning_rate': 1e-6}
        settings = [part for key, value in keys.items() for part in ('--set', f'finetune.{key}={value}')]
        for left in (output, os.path.splitext(output)[0] + '-weights'):
            shutil.rmtree(left, ignore_errors=True) if os.path.isdir(left) else None
            if os.path.exists(left):
                os.remove(left)
        self.tangram(['gram', path], ranks)
        self.tangram(['finetune', path, *settings], ranks)
        return Output(output)

    def wide_model(self):
        """A random GPT-Neo of hidden size 768 with two layers and neo-mini's tokenizer."""
        folder, source = os.path.join(self.folder, 'wide'), os.path.join(self.models, 'neo-mini')
        if os.path.exists(folder):
            return folder
        os.mkdir(folder)
        shutil.copy(os.path.join(source, 'tokenizer.json'), folder)
        with open(os.path.join(source, 'config.json')) as file:
            config = json.load(file)
        config.update(hidden_size=768, num_heads=12, num_layers=2, attention_layers=['global', 'local'])
        config['attention_types'] = [[['global', 'local'], 1]]
        with open(os.path.join(folder, 'config.json'), 'w') as file:
            json.dump(config, file)
        write_random_weights(folder, config)
        return folder

    # ---- workers -------------------------------------------------------------------------------------------

    def start(self, worker, *arguments, **environment):
        """environment: variables that differ from tangram's; None removes one."""
        changed = {**self.environment, **environment}
        changed = {key: value for key, value in changed.items() if value is not None}
        command = [sys.executable, '-W', 'ignore', os.path.join(HERE, worker), *map(str, arguments)]
        pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
        return subprocess.Popen(command, env=changed, text=True, **pipes)

    def finish(self, process, what):
        """The JSON on the last line that a worker printed."""
        out, error = process.communicate()
        if process.returncode != 0:
            raise Failed(f'{what}: status {process.returncode}: {what_failed(error)}')
        return json.loads(out.strip().splitlines()[-1])

    def worker(self, worker, *arguments, **environment):
        return self.finish(self.start(worker, *arguments, **environment), worker)

    def rate(self, processes=2, real='float32', depth=4096, library='numpy', **environment):
        """GFLOP/s of products of 4096 x depth and depth x 4096, of so many processes at once together."""
        size, depth, seconds = (512, min(depth, 512), 0.1) if self.quick else (4096, depth, 2)
        arguments = (library, real, size, depth, seconds)
        running = [self.start('multiply.py', *arguments, **environment) for _ in range(processes)]
        for process in running:
            process.stdout.readline()  # it is warm
        for process in running:
            try:
                process.stdin.write('go\n')
                process.stdin.flush()
            except BrokenPipeError:
                pass  # finish() reports why it ended
        return sum(self.finish(process, f'products by {library}') for process in running)

    def machine(self):
        with open('/proc/cpuinfo') as file:
            processor = re.search(r'model name\s*:\s*(.*)', file.read())
        np.ones((64, 64)) @ np.ones((64, 64))
        with open('/proc/self/maps') as file:
            ours = blas_of(file.read())
        version = subprocess.run(
            [self.program, '--version'], env=self.environment, capture_output=True, text=True
        )
        linked = subprocess.run(['ldd', self.program], capture_output=True, text=True)
        theirs = blas_of(linked.stdout)
        return {
            'machine': f'{processor[1] if processor else "unknown"}, {os.cpu_count()} cores',
            'tangram': version.stdout.strip() or 'unknown version',
            'numpy': np.__version__,
            'BLAS': ours
            if same_blas(ours, theirs)
            else f'numpy: {ours}; tangram: {theirs} (they may differ)',
            'kernels': 'OPENBLAS_CORETYPE=' + self.environment.get('OPENBLAS_CORETYPE', ''),
        }


def same_blas(ours, theirs):
    """Whether both lists come from one folder: libblas.so.3 beside libopenblas counts as the same."""
    folders = [{os.path.dirname(path) for path in paths.split(', ')} for paths in (ours, theirs)]
    return bool(folders[0] & folders[1])


def write_random_weights(folder, config):
    """model.safetensors of a GPT-Neo, float32, normal entries of standard deviation 0.02."""
    hidden, inner = config['hidden_size'], 4 * config['hidden_size']
    shapes = {
        'wte.weight': (config['vocab_size'], hidden),
        'wpe.weight': (config['max_position_embeddings'], hidden),
    }
    norms = ['ln_f']
    for layer in range(config['num_layers']):
        at = f'h.{layer}.'
        shapes.update(
            {f'{at}attn.attention.{name}_proj.weight': (hidden, hidden) for name in ('q', 'k', 'v', 'out')}
        )
        shapes[f'{at}attn.attention.out_proj.bias'] = (hidden,)
        shapes.update({f'{at}mlp.c_fc.weight': (inner, hidden), f'{at}mlp.c_fc.bias': (inner,)})
        shapes.update({f'{at}mlp.c_proj.weight': (hidden, inner), f'{at}mlp.c_proj.bias': (hidden,)})
        norms += [f'{at}ln_1', f'{at}ln_2']
    shapes.update({f'{norm}.{part}': (hidden,) for norm in norms for part in ('weight', 'bias')})
    random = np.random.default_rng(1)
    header, data = {}, b''
    for name, shape in sorted(shapes.items()):
        around = 1.0 if name.endswith('weight') and len(shape) == 1 else 0.0
        values = (around + 0.02 * random.standard_normal(shape)).astype('<f4').tobytes()
        offsets = [len(data), len(data) + len(values)]
        header['transformer.' + name] = {'dtype': 'F32', 'shape': shape, 'data_offsets': offsets}
        data += values
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(os.path.join(folder, 'model.safetensors'), 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text + data)
