"""The picture of fine-tuning: the network and its linearised model along the same steps."""
import math

import numpy as np

from .drawing import BLUE, INK, VERMILLION, Picture, logarithmic, step_axis


def finetune(results):
    """Loss and accuracy of the network (lines) and of the linearised model (dashed), with T and the best steps."""
    rows = results.table('/finetune/path')
    if not rows or not all('step' in row for row in rows):
        return None
    step = np.array([row['step'] for row in rows])
    column = lambda name: np.array([row.get(name, math.nan) for row in rows])
    accurate = np.isfinite(np.concatenate([column('train_accuracy'), column('test_accuracy')])).any()
    picture = Picture(
        'finetune',
        f"Fine-tuning ({results.text('/finetune', 'optimizer')}, n = {results.examples() or 'unknown'})",
        (
            'The network (lines) and its linearised model (dashed), trained by the same steps. The upright line is the '
            'stopping step T, marks are the best recorded steps on the test examples.'
        ),
        (2.6, 1.8) if accurate else (2.6,),
    )
    losses = []
    for axes, kind in zip(picture.axes, ('loss', 'accuracy')):
        for part, colour in (('train', BLUE), ('test', VERMILLION)):
            for name, style, label in (('', '-', 'network'), ('linear_', '--', 'linearised')):
                values = column(f'{name}{part}_{kind}')
                if not np.isfinite(values).any():
                    continue
                line = axes.plot(step, values, color=colour, linestyle=style, label=f'{label}, {part}')[0]
                if kind == 'loss':
                    losses.append(values)
                    picture.legend(line)
                    best = results.number('/finetune', f'{name}best_step')
                    at = np.flatnonzero(step == best)
                    if part == 'test' and at.size:
                        marker = 'o' if name == '' else 's'
                        axes.plot(best, values[at[0]], marker, color=colour, markersize=5, markerfacecolor='none')
        stop = results.number('/finetune', 'stopping_step')
        if math.isfinite(stop) and stop <= step.max():
            line = axes.axvline(stop, color=INK, linewidth=1.2, label='stopping step T')
            if kind == 'loss':
                picture.legend(line)
        squared = results.text('/finetune', 'loss') == 'squared'
        axes.set_ylabel('accuracy' if kind == 'accuracy' else 'loss\n(half the MSE)' if squared else 'loss\n(cross-entropy, nats)')
    if not losses:
        picture.close()
        return None
    logarithmic(picture.axes[0].yaxis, losses)
    step_axis(picture.axes[-1], step.max())
    picture.axes[-1].set_xlabel('training step')
    picture.figure.align_ylabels(picture.axes)
    return picture
