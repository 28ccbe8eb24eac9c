"""The benchmarks: each a function of the setting and of the report that it adds its figures to."""
import importlib.util
import math
import os
import time

import h5py
import numpy as np

from figures import at_least, at_most, within
from programs import Failed, linear_parameters

GIGA = 1e-9


def quotient(a, b):
    return None if a is None or not b else a / b


def peak(setting, report):
    """This machine's rate of matrix products, of one core and of both at once; the other figures' ruler."""
    for _ in setting.each_repeat():
        both = {}
        for real, name in (('float32', 'sgemm'), ('float64', 'dgemm')):
            alone = setting.rate(1, real)
            both[real] = setting.rate(2, real)
            report.add(f'{name}: two processes / twice one', both[real], 2 * alone, 'GFLOP/s')
            flat = setting.rate(2, real, depth=1024)
            report.add(f'{name}: 4096 x 4096 x 1024 / 4096^3', flat, both[real], 'GFLOP/s')
        report.add('dgemm / sgemm', both['float64'], both['float32'], 'GFLOP/s')
        threads = {'OPENBLAS_NUM_THREADS': '2', 'OMP_NUM_THREADS': '2'}
        two = setting.rate(1, 'float32', **threads)
        report.add('sgemm: one process, two threads / two processes', two, both['float32'], 'GFLOP/s')
        if has_torch():
            torch = setting.rate(1, library='torch', **threads)
            report.add('torch.mm, two threads / sgemm', torch, both['float32'], 'GFLOP/s')
            plain = setting.rate(1, library='torch', OPENBLAS_CORETYPE=None, **threads)
            report.add('torch.mm without OPENBLAS_CORETYPE / sgemm', plain, both['float32'], 'GFLOP/s')


def gram(setting, report):
    """Useful flops of the Gram stage per second over sgemm's rate: of the products alone (gradients that are
    multiplied out), and of the whole stage if all gradients had been."""
    sizes = setting.sizes(512, 2048, 4096)
    cases = [('stories260k', 'all', n) for n in setting.sizes(512, 2048, 4096, large=(16384,))]
    cases += [('neo-mini', 'all', n) for n in sizes]
    cases += [('neo-mini', 'mlp', sizes[-1]), ('neo-mini', 'attention', sizes[-1])]
    for model, parameters, n in cases:
        target = at_least(0.85) if n >= 16384 else at_least(0.75) if n >= 4096 else None
        for _ in setting.each_repeat():
            rate = setting.rate()
            run = setting.gram(model, n, parameters=parameters)
            pairs = run.rows * (run.rows + 1) * GIGA
            name = f'{model} {parameters}, n = {n}: '
            products = quotient(pairs * run.multiplied, run.number('seconds_products'))
            report.add(name + 'products', products, rate, 'GFLOP/s', target)
            counted = quotient(run.number('flops_products'), run.number('seconds_products'))
            counted = None if counted is None else counted * GIGA
            report.add(name + 'products, in factors too', counted, rate, 'GFLOP/s')
            effective = quotient(pairs * run.parameters, run.number('seconds_gram'))
            report.add(name + 'effective', effective, rate, 'GFLOP/s')


def jacobian(setting, report):
    """Forward and backward flops per second over sgemm's rate, by hidden size."""
    cases = (
        ('stories260k', 'all', 2048, 64),
        ('neo-mini', 'all', 2048, 128),
        ('wide', 'attention', 512, 768),
    )
    for model, parameters, n, hidden in cases:
        target = {64: at_least(0.15), 768: at_least(0.4)}.get(hidden)
        for _ in setting.each_repeat():
            rate = setting.rate()
            run = setting.gram(model, *setting.sizes(n), parameters=parameters)
            flops = run.number('flops_jacobian')
            if flops is None:
                report.remark(
                    'flops: 6 x (entries of linear weights) x tokens, since the output file has none'
                )
                flops = 6.0 * linear_parameters(setting.model(model)) * run.tokens
            speed = quotient(flops * GIGA, run.number('seconds_jacobian'))
            report.add(f'{model} {parameters}, hidden size {hidden}', speed, rate, 'GFLOP/s', target)


def stages(setting, report):
    """Where the time of `tangram run` goes: parts of the whole."""
    for model in ('stories260k', 'neo-mini'):
        for n in setting.sizes(2048):
            for _ in setting.each_repeat():
                path, output = setting.study(model, n, save_gram=True, test_samples=256)
                if os.path.exists(output):
                    os.remove(output)
                start = time.perf_counter()
                setting.tangram(['run', path])
                wall = time.perf_counter() - start
                with h5py.File(output, 'r') as file:
                    said = dict(file['/provenance'].attrs)
                for stage in ('gram', 'spectrum', 'rates', 'output'):
                    report.add(f'{model}, n = {n}: {stage}', said.get(f'seconds_{stage}'), wall, 's')
                for part in ('jacobian', 'multiply_out', 'exchange', 'products'):
                    whole = said.get('seconds_gram')
                    report.add(f'{model}, n = {n}: {part} of gram', said.get(f'seconds_{part}'), whole, 's')


def communication(setting, report):
    """Bytes that the largest rank receives for the Gram matrix over 2 n P 4 / sqrt(ranks)."""
    for model, parameters in (('stories260k', 'all'), ('neo-mini', 'all'), ('neo-mini', 'mlp')):
        for n in setting.sizes(2048):
            for ranks in (2, 4):
                run = setting.gram(model, n, ranks, parameters=parameters)
                received = run.largest('bytes_received_per_rank')
                name = f'{model} {parameters}, n = {n}, {ranks} ranks: P '
                for which, count in (('all', run.parameters), ('multiplied out', run.multiplied)):
                    bound = 2 * run.rows * count * 4 / math.sqrt(ranks)
                    megabytes = None if received is None else received * 1e-6
                    report.add(name + which, megabytes, bound * 1e-6, 'MB', at_most(1.1))


def memory(setting, report):
    """Memory of the largest rank over what `plan` said."""
    for model, parameters, n in (
        ('stories260k', 'all', 4096),
        ('neo-mini', 'all', 2048),
        ('wide', 'attention', 512),
    ):
        for _ in setting.each_repeat():
            run = setting.gram(model, *setting.sizes(n), parameters=parameters)
            used, planned = run.largest('peak_bytes_per_rank'), run.largest('planned_bytes_per_rank')
            megabytes = [None if value is None else value * 1e-6 for value in (used, planned)]
            report.add(f'{model} {parameters}, n = {run.rows}', *megabytes, 'MB', within(0.1))


def has_torch():
    return importlib.util.find_spec('torch') is not None


# PyTorch gets the fastest of these, each with the fastest of several chunk sizes.
TORCH_SETTINGS = (
    {'OPENBLAS_NUM_THREADS': '2', 'OMP_NUM_THREADS': '2'},
    {'OPENBLAS_NUM_THREADS': '2', 'OMP_NUM_THREADS': '2', 'OMP_WAIT_POLICY': 'passive'},
    {'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '2'},
)


def pytorch(setting, report):
    """PyTorch's time for the same Gram matrix (vmap of grad in chunks into one Jacobian, one product) over
    tangram's, both without loading the model and the texts."""
    if not has_torch():
        report.remark('skipped: this Python has no torch (Debian: python3-torch)')
        return
    cases = [('stories260k', 'all', n) for n in setting.sizes(512, 4096)]
    cases += [('neo-mini', 'all', n) for n in setting.sizes(512, 2048)]
    cases += [('wide', 'attention', n) for n in setting.sizes(512)]
    for model, parameters, n in cases:
        target = at_least(10) if n == 512 else at_least(3) if n == 4096 else None
        name = f'{model} {parameters}, n = {n}: '
        best = None
        for _ in setting.each_repeat():
            run = setting.gram(model, n, parameters=parameters, save_gram=True)
            task = (setting.model(model), run.path)
            if best is None:
                tuned = [
                    (setting.worker('pytorch.py', *task, 'tune', **changed), changed)
                    for changed in TORCH_SETTINGS
                ]
                best, environment = min(tuned, key=lambda entry: entry[0]['seconds'])
                words = ' '.join(f'{key}={value}' for key, value in environment.items())
                report.remark(f'{name}PyTorch in chunks of {best["chunk"]}, {words}')
            theirs = setting.worker('pytorch.py', *task, best['chunk'], **environment)
            report.add(name + 'PyTorch / tangram', theirs['seconds'], run.number('seconds_gram'), 's', target)
            report.add(name + 'disagreement / 1e-3', theirs['disagreement'], 1e-3, 'relative', at_most(1))


def shapes(setting, report):
    """At the shapes of GPT-2 small and Qwen3-0.6B, attention parameters, n = 128 texts of 64 tokens: forward and
    backward flops per second over sgemm's rate, and PyTorch's time over tangram's. PyTorch's Jacobian (14 and 90
    GB) is never kept: its gradients are timed on some examples, its product on some columns."""
    for name, chunk, examples in (('gpt2', 8, 32), ('qwen3-0.6b', 2, 8)):
        for n in setting.sizes(128):
            for _ in setting.each_repeat():
                rate = setting.rate()
                run = setting.gram_of(*setting.shape(name, n))
                flops, seconds = run.number('flops_jacobian'), run.number('seconds_jacobian')
                speed = quotient(flops * GIGA, seconds)
                report.add(f'{name}, n = {n}: Jacobians / sgemm', speed, rate, 'GFLOP/s', at_least(0.6))
                if not has_torch():
                    report.remark('PyTorch is skipped: this Python has no torch (Debian: python3-torch)')
                    continue
                task = (os.path.join(setting.folder, name), run.path, 'passes', chunk, min(n, examples))
                theirs = min(
                    (setting.worker('pytorch.py', *task, **environment) for environment in TORCH_SETTINGS),
                    key=lambda result: result['seconds'] + result['product_seconds'],
                )
                whole = theirs['seconds'] + theirs['product_seconds']
                title = f'{name}, n = {n}: '
                report.add(
                    title + 'PyTorch / tangram', whole, run.number('seconds_gram'), 's', at_least(4)
                )
                report.add(title + 'passes alone', theirs['seconds'], seconds, 's')
                report.add(
                    title + 'disagreement / 1e-3', theirs['disagreement'], 1e-3, 'relative', at_most(1)
                )


def training(setting, report):
    """Tokens per second of training steps on batches of 32 over those of PyTorch's loop, on two cores."""
    if not has_torch():
        report.remark('skipped: this Python has no torch (Debian: python3-torch)')
        return
    for model in ('stories260k', 'neo-mini'):
        steps = 4 if setting.quick else 60
        for n in setting.sizes(512):
            for _ in setting.each_repeat():
                run = setting.finetune(model, n, steps)
                seconds, tokens = run.number('seconds_training'), run.number('training_tokens')
                theirs = max(
                    setting.worker('training.py', setting.model(model), run.path, 32, steps, **environment)[
                        'tokens_per_second'
                    ]
                    for environment in TORCH_SETTINGS
                )
                report.add(
                    f'{model}, n = {n}: tangram / PyTorch',
                    quotient(tokens, seconds),
                    theirs,
                    'tokens/s',
                    at_least(2),
                )


def scaling(setting, report):
    """Time of the Gram stage on one rank over two."""
    for n in setting.sizes(8192):
        for _ in setting.each_repeat():
            one, two = (setting.gram('stories260k', n, ranks).number('seconds_gram') for ranks in (1, 2))
            report.add(f'stories260k all, n = {n}: 1 rank / 2 ranks', one, two, 's', at_least(1.9))


def spectrum(setting, report):
    """Time of the eigenproblem, by every solver in turn and by the bare routines of the libraries, over numpy's with
    two threads; the median of five."""
    threads = {'OPENBLAS_NUM_THREADS': '2', 'OMP_NUM_THREADS': '2'}
    output, matrix_file = (os.path.join(setting.folder, name) for name in ('spectrum.h5', 'matrix.h5'))
    for n in setting.sizes(1000, 2000, 4000, large=(8000,)):
        half = np.random.default_rng(1).standard_normal((n, n))
        with h5py.File(matrix_file, 'w') as file:
            file['matrix'] = half @ half.T / n
        del half
        for _ in range(max(setting.repeats, 1 if setting.quick else 5)):
            for solve, vectors in (('eigh', 'true'), ('eigvalsh', 'false')):
                theirs = setting.worker('eigen.py', matrix_file, solve, **threads)
                for solver in ('auto', 'lapack', 'scalapack-dc', 'scalapack-mrrr', 'elpa1', 'elpa2'):
                    command = ['spectrum', '--matrix', f'{matrix_file}:/matrix', '--output', output]
                    command += ['--set', f'spectrum.vectors={vectors}', '--set', f'spectrum.solver={solver}']
                    try:
                        setting.tangram(command)
                    except Failed as error:  # elpa2 refuses its own vectors; a build may have no ELPA
                        report.remark(f'n = {n}, {solve}: {error}')
                        continue
                    with h5py.File(output, 'r') as file:
                        quality = file['/spectrum/quality'].attrs
                        seconds, taken = quality['seconds'], quality['solver']
                    os.remove(output)
                    name = f'n = {n}: {f"auto ({taken})" if solver == "auto" else solver} / numpy.linalg.{solve}'
                    report.add(name, seconds, theirs, 's', at_most(1.1) if solver == 'auto' else None)
                for routine in ('pdsyevd', 'pdsyevr', 'elpa1', 'elpa2'):
                    if routine == 'pdsyevd' and vectors == 'false':
                        continue  # ScaLAPACK's has vectors alone
                    what = 'vectors' if vectors == 'true' else 'values'
                    try:
                        bare = setting.eigensolver(routine, f'{matrix_file}:/matrix', what)
                    except Failed as error:
                        report.remark(f'n = {n}, {solve}: {error}')
                        continue
                    report.add(f'n = {n}: bare {routine} / numpy.linalg.{solve}', bare['seconds'], theirs, 's')


def leading(setting, report):
    """The largest eigenpairs by block Lanczos over the time of ARPACK and SLEPc for the same residuals: of a stored
    Gram matrix, and of J (J^T x) without one, whose products the libraries take one vector at a time."""
    problems = []
    for n in setting.sizes(4096):
        run = setting.gram('stories260k', n, parameters='attention', save_gram=True)
        given = os.path.join(setting.folder, 'given.h5')
        os.replace(run.path, given)
        problems.append((f'stored, n = {n}', f'{given}:/kernel/gram', ()))
    for n in setting.sizes(1024, large=(4096,)):
        study, _ = setting.study('stories260k', n, parameters='attention')
        free = (f'data.samples={n}', 'spectrum.matrix=free', 'spectrum.count=1')
        problems.append((f'free, n = {n}', study, free))
    for _ in setting.each_repeat():
        for k in (5,) if setting.quick else (20, 50):
            for name, problem, settings in problems:
                compare_leading(setting, report, f'{name}, k = {k}: ', problem, k, settings)


def compare_leading(setting, report, title, problem, k, settings):
    ours = setting.eigensolver('lanczos', problem, k, 0, *settings)
    w = np.array(ours['values'])
    # Theirs is of each eigenvalue, ours of the largest: the same on the last of them.
    tolerance = 1e-12 * w[0] / w[-1]
    for library in ('arpack', 'slepc'):
        try:
            theirs = setting.eigensolver(library, problem, k, tolerance, *settings)
        except Failed as error:
            report.remark(f'{title}{library}: {error}')
            continue
        report.add(f'{title}ours / {library}', ours['seconds'], theirs['seconds'], 's', at_most(1))
        report.add(f'{title}vectors multiplied, ours / {library}', ours['products'], theirs['products'], '')
        report.add(f'{title}products, ours / {library}', ours['calls'], theirs['calls'], '')
        off = np.abs(w - np.array(theirs['values'])).max() / w[0]
        report.add(f'{title}disagreement with {library} / 1e-11', off, 1e-11, 'relative', at_most(1))


BENCHMARKS = {
    function.__name__: function
    for function in (
        peak,
        gram,
        jacobian,
        stages,
        communication,
        memory,
        pytorch,
        shapes,
        training,
        scaling,
        spectrum,
        leading,
    )
}
