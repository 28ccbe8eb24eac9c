#!/usr/bin/python3
"""Makes tests/data/models/lora.json: kernels of LoRA factors by PyTorch, W = W0 + (alpha/rank) B A applied to the weights
themselves, so that automatic differentiation sees neither tangram's order of products nor its factors.
    /usr/bin/python3 tools/reference/lora_fixtures.py --reference FOLDER_OF_REFERENCE_PY > tests/data/models/lora.json
Per case: model, rank, alpha, A and B of every attention and MLP matrix (B zero or not), outputs and the kernel of B, or of
A and B, over the model's fixture examples x 2 outputs."""
import argparse, json, os, sys
import numpy as np, torch
p = argparse.ArgumentParser(); p.add_argument('--reference', required=True); p.add_argument('--models', default='tests/data/models'); a = p.parse_args()
sys.path[:0] = [a.reference, os.path.dirname(os.path.abspath(__file__))]
import architectures, reference

def linear_weights(model):
    return [n for n, w in model.P.items() if w.dim() == 2 and not any(x in n for x in ('embed', 'wte', 'wpe', 'lm_head'))]

cases = []
for name, rank, alpha, trained in [('llama-odd', 1, 1.0, False), ('llama-odd', 3, 6.0, True), ('neo-odd', 3, 3.0, False), ('neo-odd', 1, 2.0, True), ('gpt2-odd', 2, 1.0, False), ('gpt2-odd', 2, 1.0, True)]:
    folder = os.path.join(a.models, name); fixture = json.load(open(os.path.join(folder, 'fixture.json'))); rng = np.random.default_rng(len(cases) + 1)
    if name == 'gpt2-odd': model = architectures.Model(json.load(open(os.path.join(folder, 'config.json'))), reference.read_safetensors(os.path.join(folder, 'model.safetensors')), lambda ids: len(ids) - 1)
    else: model = reference.load(folder)
    base = {n: w.detach() for n, w in model.P.items()}; transposed = name == 'gpt2-odd'
    factors = {}
    for n in linear_weights(model):
        d_out, d_in = base[n].shape if not transposed else base[n].shape[::-1]
        A = torch.tensor(np.round(rng.normal(0, rank ** -0.5, (rank, d_in)), 3)); B = torch.tensor(np.round(rng.normal(0, 0.2, (d_out, rank)), 3)) if trained else torch.zeros(d_out, rank, dtype=torch.float64)
        factors[n] = (A.requires_grad_(True), B.requires_grad_(True))
    def outputs(ids):
        model.P = {n: w + (alpha / rank) * (factors[n][1] @ factors[n][0] if not transposed else (factors[n][1] @ factors[n][0]).T) if n in factors else w for n, w in base.items()}
        return model.outputs(ids, fixture['vocab_ids'])
    wanted = [f for n in factors for f in (factors[n] if trained else factors[n][1:])]
    rows, values = [], []
    for example in fixture['examples'][:3]:
        f = outputs(example['ids']); values.append([float(x) for x in f])
        for k in range(len(fixture['vocab_ids'])): rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(f[k], wanted, retain_graph=True)]))
    J = torch.stack(rows)
    cases.append(dict(model=name, rank=rank, alpha=alpha, trained=trained, outputs=values, kernel=(J @ J.T).tolist(),
        A={n: f[0].flatten().tolist() for n, f in factors.items()}, B={n: f[1].flatten().tolist() for n, f in factors.items()} if trained else {}))
json.dump(cases, sys.stdout)
