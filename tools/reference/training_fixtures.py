#!/usr/bin/python3
"""Makes tests/data/models/training.json: 20 steps of PyTorch's optimizers (Debian's python3-torch) in float64 on small
models of tests/data/models, by automatic differentiation.

    /usr/bin/python3 tools/reference/training_fixtures.py --reference FOLDER_OF_REFERENCE_PY [--models tests/data/models]

The reference is as in model_fixtures.py. Per run: the model, what is trained and how, the token ids, labels and wanted
outputs, and of every step the loss before it and, after it, sum_i cos(i) w_i over all weights in the order of their names,
i counted within each tensor."""
import argparse, json, math, os, sys
import torch

p = argparse.ArgumentParser(); p.add_argument('--reference', required=True); p.add_argument('--models', default='tests/data/models')
a = p.parse_args(); sys.path.insert(0, a.reference)
import reference

STEPS = 20
RUNS = [
    dict(model='neo-odd', optimizer='sgd', output='margin', loss='squared', label_ids=[3, 8], learning_rate=0.002, momentum=0.9, weight_decay=0.01, schedule='linear'),
    dict(model='neo-odd', optimizer='gd', output='logits', loss='squared', label_ids=[3, 8, 11], learning_rate=0.01, momentum=0.0, weight_decay=0.0, schedule='constant'),
    dict(model='llama-tied', optimizer='adamw', output='margin', loss='cross-entropy', label_ids=[5, 9], learning_rate=0.001, momentum=0.0, weight_decay=0.1, schedule='cosine'),
    dict(model='neo-odd', optimizer='adamw', output='logits', loss='cross-entropy', label_ids=[3, 8, 11], learning_rate=0.002, momentum=0.0, weight_decay=0.0, schedule='constant'),
    dict(model='llama-tied', optimizer='signgd', output='margin', loss='squared', label_ids=[5, 9], learning_rate=0.0002, momentum=0.0, weight_decay=0.0, schedule='linear'),
]
IDS = [[3, 1, 4, 1, 5], [9, 2, 6], [5, 3, 5, 8, 9, 7, 9], [3], [2, 3, 8, 4, 6, 2, 6, 4], [3, 3, 8, 3]]

for run in RUNS:
    m = reference.load(os.path.join(a.models, run['model'])); names = sorted(m.P); C = len(run['label_ids'])
    labels = [e % C for e in range(len(IDS))]; rate = run['learning_rate']
    wanted = [math.sin(i) for i in range(len(IDS) * (1 if run['output'] == 'margin' else C))]
    params = [m.P[n] for n in names]
    if run['optimizer'] == 'adamw': o = torch.optim.AdamW(params, lr=rate, weight_decay=run['weight_decay'])
    else: o = torch.optim.SGD(params, lr=rate, momentum=run['momentum'], weight_decay=run['weight_decay'])
    factor = {'constant': lambda t: 1.0, 'linear': lambda t: 1 - t / STEPS, 'cosine': lambda t: (1 + math.cos(math.pi * t / STEPS)) / 2}[run['schedule']]
    schedule = torch.optim.lr_scheduler.LambdaLR(o, factor); run |= dict(steps=STEPS, ids=IDS, labels=labels, wanted=wanted, losses=[], sums=[])
    for t in range(STEPS):
        o.zero_grad(); z = torch.stack([m.outputs(ids, run['label_ids']) for ids in IDS])
        f = (z[:, 1] - z[:, 0])[:, None] if run['output'] == 'margin' else z
        if run['loss'] == 'squared': loss = 0.5 * torch.nn.functional.mse_loss(f, torch.tensor(wanted, dtype=f.dtype).view_as(f))
        else: loss = torch.nn.functional.cross_entropy(z, torch.tensor(labels))
        loss.backward(); run['losses'].append(float(loss))
        if run['optimizer'] == 'signgd':
            for w in params: w.grad.sign_()
        o.step(); schedule.step()
        with torch.no_grad(): run['sums'].append(float(sum((w.flatten() * torch.arange(w.numel(), dtype=w.dtype).cos()).sum() for w in params)))
with open(os.path.join(a.models, 'training.json'), 'w') as f: f.write('[\n' + ',\n'.join(json.dumps(r) for r in RUNS) + '\n]\n')
