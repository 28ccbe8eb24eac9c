"""tangram from Python: what an output file says, and starting runs.

    import tangram
    run = tangram.run("jobs/studies/lora.toml", ranks=2, data__samples=512)
    run.stopping["stopping_step"], run.spectrum[:10], run.learning_curve

It needs h5py and numpy; tables are pandas' DataFrames where pandas is installed, and tangram.plot needs matplotlib."""
from .file import File, open
from .programs import TangramError, run, submit
from .results import Unreadable

__all__ = ['File', 'TangramError', 'Unreadable', 'open', 'run', 'submit']
__version__ = '0.3.0'


def __getattr__(name):
    # matplotlib is loaded where pictures are asked for.
    if name == 'plot':
        import importlib

        return importlib.import_module('.plot', __name__)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
