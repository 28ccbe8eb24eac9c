#!/usr/bin/python3
"""Makes the folders of trained classifiers in tests/data/models (NAME-trained), with reference outputs and gradients.

    /usr/bin/python3 tools/reference/head_fixtures.py [--models tests/data/models]

Bodies are those of the small models there (their config.json and tensors but for the language model's head), heads are drawn; the reference
is PyTorch's automatic differentiation of architectures.py beside this file, in float64. Per folder: config.json with id2label,
model.safetensors (float32), fixture.json (token ids, outputs) and gradients.safetensors (float64; example<i>.<tensor> of shape [C, *shape])."""
import argparse, json, os, struct, sys
import numpy as np, torch

p = argparse.ArgumentParser(); p.add_argument('--models', default='tests/data/models'); a = p.parse_args()
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import architectures
TYPES = {'F32': np.float32, 'F64': np.float64}

def load(path):
    with open(path, 'rb') as f: data = f.read()
    n = struct.unpack('<Q', data[:8])[0]; header = json.loads(data[8:8 + n]); header.pop('__metadata__', None)
    return {k: np.frombuffer(data[8 + n + h['data_offsets'][0]:8 + n + h['data_offsets'][1]], TYPES[h['dtype']]).reshape(h['shape']) for k, h in header.items()}

def save(path, tensors):
    names = {np.dtype(v): k for k, v in TYPES.items()}; header, offset = {}, 0
    for k in sorted(tensors):
        header[k] = {'dtype': names[tensors[k].dtype], 'shape': list(tensors[k].shape), 'data_offsets': [offset, offset + tensors[k].nbytes]}
        offset += tensors[k].nbytes
    text = json.dumps(header).encode(); text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        for k in sorted(tensors): f.write(np.ascontiguousarray(tensors[k]).tobytes())

def dense(name, d_out, d_in): return {name + '.weight': (d_out, d_in), name + '.bias': (d_out,)}

# Body, architecture, tensors of the head for C labels and hidden size H, in the order of transformers' modules.
HEADS = {'llama': ('llama3-odd', 'LlamaForSequenceClassification', lambda C, H: {'score.weight': (C, H)}),
    'gpt2': ('gpt2-odd', 'GPT2ForSequenceClassification', lambda C, H: {'score.weight': (C, H)}),
    'bert': ('bert-odd', 'BertForSequenceClassification', lambda C, H: dense('bert.pooler.dense', H, H) | dense('classifier', C, H)),
    'roberta': ('roberta-odd', 'RobertaForSequenceClassification', lambda C, H: dense('classifier.dense', H, H) | dense('classifier.out_proj', C, H))}
LABELS = ['negative', 'neutral', 'positive']; C = len(LABELS)
for seed, (name, (body, architecture, head)) in enumerate(HEADS.items(), 101):
    rng = np.random.default_rng(seed); folder = os.path.join(a.models, name + '-trained'); os.makedirs(folder, exist_ok=True)
    config = json.load(open(os.path.join(a.models, body, 'config.json')))
    config |= {'architectures': [architecture], 'id2label': {str(i): label for i, label in enumerate(LABELS)}, 'problem_type': 'single_label_classification'}
    tensors = {k: v for k, v in load(os.path.join(a.models, body, 'model.safetensors')).items() if not k.startswith(('lm_head.', 'cls.'))}
    H = config.get('hidden_size') or config['n_embd']
    tensors |= {k: rng.normal(0, 0.5 if k.endswith('bias') else 1.2 / np.sqrt(shape[-1]), shape).astype(np.float32) for k, shape in head(C, H).items()}
    json.dump(config, open(os.path.join(folder, 'config.json'), 'w'), indent=1); save(os.path.join(folder, 'model.safetensors'), tensors)
    encoder = name in ('bert', 'roberta'); read = (lambda ids: 0) if encoder else (lambda ids: len(ids) - 1)
    model = architectures.Model(config, tensors, read); examples, gradients = [], {}
    for i, length in enumerate([3, 9]):
        ids = [int(t) for t in rng.integers(5, config['vocab_size'], length)]
        outputs, jacobian = model.jacobian(ids, list(range(C)))
        examples.append({'ids': ids, 'outputs': [float(x) for x in outputs]} | ({'read': 0} if encoder else {}))
        for k, g in jacobian.items(): gradients[f'example{i}.{k}'] = g.numpy()
        # Central differences along a random direction: errors of 1e-16 * 3 / 1e-5 beside those of the third derivative.
        direction = {k: torch.from_numpy(rng.normal(size=v.shape)) for k, v in model.P.items()}
        with torch.no_grad():
            values = []
            for h in (1e-5, -2e-5):
                for k, v in model.P.items(): v += h * direction[k]
                values.append(model.outputs(ids, list(range(C))))
            for k, v in model.P.items(): v += 1e-5 * direction[k]
        slope = sum((jacobian[k] * direction[k]).flatten(1).sum(1) for k in jacobian); difference = (values[0] - values[1]) / 2e-5
        error = float((slope - difference).abs().max() / slope.abs().max()); print(f'{name}-trained, {length} tokens: differences agree to {error:.1e}')
        if not error <= 1e-7: sys.exit(f'{name}-trained: the gradients disagree with finite differences')
    json.dump({'vocab_ids': list(range(C)), 'examples': examples}, open(os.path.join(folder, 'fixture.json'), 'w'))
    save(os.path.join(folder, 'gradients.safetensors'), gradients)
