"""Starting tangram: here with mpirun, on a cluster with sbatch."""
import io
import os
import re
import shutil
import subprocess
import sys

from .file import open as open_file


class TangramError(RuntimeError):
    """The program ended with an error. `status` is its exit status (`tangram help status`), the text its message."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def _root():
    """The folder that holds jobs/ and tools/: of the sources, or of an installation."""
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', '..'))


def _program(program):
    """The program: as given, $TANGRAM, the PATH's, or what tools/run built."""
    for found in (program, os.environ.get('TANGRAM'), shutil.which('tangram')):
        if found:
            return found
    built = os.path.join(_root(), 'build', 'tangram')
    if os.path.exists(built):
        return built
    raise TangramError(2, 'no program `tangram` in the PATH; give program=, or set TANGRAM to it')


def _value(value):
    """As TOML has it."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, (list, tuple)):
        return '[' + ', '.join(_value(entry) for entry in value) + ']'
    if isinstance(value, str):
        return '"' + value.replace('\\', '\\\\').replace('"', '\\"').replace('\n', '\\n') + '"'
    return repr(value.item() if hasattr(value, 'item') else value)


def _settings(overrides):
    """data__samples=512 as --set data.samples=512."""
    settings = [f'{key.replace("__", ".", 1)}={_value(value)}' for key, value in overrides.items()]
    return [word for setting in settings for word in ('--set', setting)]


def _environment():
    """What one rank per core on one machine needs; what is set already stays."""
    wanted = {
        'OPENBLAS_NUM_THREADS': '1',
        'OMP_NUM_THREADS': '1',
        'OMPI_MCA_mpi_yield_when_idle': '1',
        'OMPI_MCA_rmaps_base_oversubscribe': '1',
        'OMPI_MCA_hwloc_base_binding_policy': 'none',
    }
    if hasattr(os, 'getuid') and os.getuid() == 0:
        wanted.update(OMPI_ALLOW_RUN_AS_ROOT='1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM='1')
    return {**wanted, **os.environ, 'PWD': os.getcwd()}


def _message(error):
    said = [line[len('tangram: error: ') :] for line in error.splitlines() if line.startswith('tangram: error: ')]
    stopped = [line for line in error.splitlines() if line.startswith('tangram: stopped')]
    return (said or stopped or [error.strip()[-2000:] or 'no message'])[0]


def run(study, ranks=1, command='run', options=(), program=None, mpiexec='mpirun', quiet=False, **overrides):
    """Runs a study and returns its output file, opened. Blocks until it is done; progress goes to standard error.

    study      a study file
    ranks      of MPI; 1: without mpirun
    command    'run', or a stage: 'gram', 'spectrum', 'rates'
    options    further options of the command line, for example ('--time-limit', '1h')
    overrides  keys of the study, their dot written as two underscores: data__samples=512

    Raises TangramError with the program's message and its exit status."""
    start = [mpiexec, '-np', str(ranks)] if ranks > 1 else []
    words = [*start, _program(program), command, str(study), *map(str, options), *_settings(overrides)]
    try:
        # What is printed stands in the file, too.
        p = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=_environment()
        )
    except OSError as error:
        raise TangramError(2, f'{words[0]}: {error.strerror}') from None
    heard = []
    try:
        for line in p.stderr:
            heard.append(line)
            if not quiet and not line.startswith('tangram: error: '):
                print(line, end='', file=sys.stderr)
    finally:
        if p.poll() is None and sys.exc_info()[0] is not None:
            p.terminate()
        p.stderr.close()
        status = p.wait()
    if status != 0:
        raise TangramError(status, _message(''.join(heard)))
    return open_file(_output_of(study, overrides))


def _output_of(study, overrides):
    """output.path as the program takes it: from the study's folder, or a variable of the environment."""
    path = overrides.get('output__path')
    if path is None:
        try:
            import tomllib

            with io.open(study, 'rb') as file:
                path = tomllib.load(file)['output']['path']
        except ImportError:  # Python before 3.11
            with io.open(study, encoding='utf-8') as file:
                text = file.read().partition('[output]')[2]
            path = re.search(r'^\s*path\s*=\s*["\'](.*?)["\']', text, re.M)[1]
    first, slash, rest = str(path).partition('/')
    if first == '~':
        path = os.environ.get('HOME', '~') + slash + rest
    elif first.startswith('$'):
        path = _environment().get(first.strip('${}'), first) + slash + rest
    return os.path.join(os.path.dirname(os.path.abspath(study)), path)


def submit(study, *sbatch_options, ranks=None, go=True, program=None, **overrides):
    """Submits a study to SLURM with the nodes, memory and time that its plan asks for, and returns what sbatch said.

    sbatch_options  of sbatch: '--partition=long'
    ranks           proposed from the plan where not given
    go              False: submits nothing, and returns the command that would

    Raises TangramError with the message of the plan, of sinfo or of sbatch."""
    tool = os.path.join(_root(), 'tools', 'submit')
    words = [sys.executable, tool, str(study), *_settings(overrides), *(['--ranks', str(ranks)] if ranks else [])]
    words += ['--go'] if go else []
    words += ['--', *sbatch_options] if sbatch_options else []
    p = subprocess.run(words, capture_output=True, text=True, env={**_environment(), 'TANGRAM': _program(program)})
    if p.returncode != 0:
        raise TangramError(p.returncode, _message(p.stderr))
    lines = p.stdout.strip().splitlines()
    return lines[-1] if lines else ''
