#!/usr/bin/python3
"""Makes the folders of trained classifiers in tests/data/models (NAME-trained), with reference outputs and gradients, and beside the small
causal models there the log-likelihoods of answers of several tokens with theirs (answers.json, answers.safetensors).

    /usr/bin/python3 tools/reference/head_fixtures.py [--models tests/data/models] [--only FOLDER,...]

Bodies are those of the small models there (their config.json and tensors but for the language model's head), heads are drawn; the reference
is PyTorch's automatic differentiation of architectures.py beside this file, in float64. Per folder: config.json with id2label,
model.safetensors (float32), fixture.json (token ids, outputs) and gradients.safetensors (float64; example<i>.<tensor> of shape [C, *shape])."""
import argparse, json, os, struct, sys
import numpy as np, torch

p = argparse.ArgumentParser(); p.add_argument('--models', default='tests/data/models'); p.add_argument('--only', default=''); a = p.parse_args()
skipped = lambda name: a.only and name not in a.only.split(',')
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import architectures
TYPES = {'F32': np.float32, 'F64': np.float64}

def load(path):
    with open(path, 'rb') as f: data = f.read()
    n = struct.unpack('<Q', data[:8])[0]; header = json.loads(data[8:8 + n]); header.pop('__metadata__', None)
    return {k: np.frombuffer(data[8 + n + h['data_offsets'][0]:8 + n + h['data_offsets'][1]], TYPES[h['dtype']]).reshape(h['shape']).copy() for k, h in header.items()}

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
    'roberta': ('roberta-odd', 'RobertaForSequenceClassification', lambda C, H: dense('classifier.dense', H, H) | dense('classifier.out_proj', C, H)),
    'distilbert': ('distilbert-odd', 'DistilBertForSequenceClassification', lambda C, H: dense('pre_classifier', H, H) | dense('classifier', C, H)),
    'modernbert': ('modernbert-odd', 'ModernBertForSequenceClassification', lambda C, H: {'head.dense.weight': (H, H), 'head.norm.weight': (H,)} | dense('classifier', C, H)),
    'modernbert-mean': ('modernbert-odd', 'ModernBertForSequenceClassification', lambda C, H: {'head.dense.weight': (H, H), 'head.norm.weight': (H,)} | dense('classifier', C, H)),
    'electra': ('electra-odd', 'ElectraForSequenceClassification', lambda C, H: dense('classifier.dense', H, H) | dense('classifier.out_proj', C, H)),
    'granite': ('granite-odd', 'GraniteForSequenceClassification', lambda C, H: {'score.weight': (C, H)})}
def check_differences(name, model, outputs_of, jacobian, rng):
    """Central differences along a random direction: errors of 1e-16 * 10 / 5e-6 beside those of the third derivative, which go with the square of the step."""
    direction = {k: torch.from_numpy(rng.normal(size=v.shape)) for k, v in model.P.items()}; values = []
    with torch.no_grad():
        for h in (5e-6, -1e-5):
            for k, v in model.P.items(): v += h * direction[k]
            values.append(outputs_of())
        for k, v in model.P.items(): v += 5e-6 * direction[k]
    slope = sum((jacobian[k] * direction[k]).flatten(1).sum(1) for k in jacobian); difference = (values[0] - values[1]) / 1e-5
    error = float((slope - difference).abs().max() / slope.abs().max()); print(f'{name}: differences agree to {error:.1e}')
    if not error <= 1e-7: sys.exit(f'{name}: the gradients disagree with finite differences')

LABELS = ['negative', 'neutral', 'positive']; C = len(LABELS)
for seed, (name, (body, architecture, head)) in enumerate(HEADS.items(), 101):
    if skipped(name + '-trained'): continue
    rng = np.random.default_rng(seed); folder = os.path.join(a.models, name + '-trained'); os.makedirs(folder, exist_ok=True)
    config = json.load(open(os.path.join(a.models, body, 'config.json')))
    config |= {'architectures': [architecture], 'id2label': {str(i): label for i, label in enumerate(LABELS)}, 'problem_type': 'single_label_classification'}
    if name == 'modernbert-mean': config['classifier_pooling'] = 'mean'
    tensors = {k: v for k, v in load(os.path.join(a.models, body, 'model.safetensors')).items() if not k.startswith(('lm_head.', 'cls.', 'vocab_', 'decoder.', 'head.', 'generator_'))}
    H = config.get('hidden_size') or config.get('dim') or config['n_embd']
    tensors |= {k: rng.normal(0, 0.5 if k.endswith('bias') else 1.2 / np.sqrt(shape[-1]), shape).astype(np.float32) for k, shape in head(C, H).items()}
    json.dump(config, open(os.path.join(folder, 'config.json'), 'w'), indent=1); save(os.path.join(folder, 'model.safetensors'), tensors)
    encoder = 'bert' in name or name == 'electra'; read = (lambda ids: 0) if encoder else (lambda ids: len(ids) - 1)
    model = architectures.Model(config, tensors, read); examples, gradients = [], {}
    for i, length in enumerate([3, 9]):
        ids = [int(t) for t in rng.integers(5, config['vocab_size'], length)]
        outputs, jacobian = model.jacobian(ids, list(range(C)))
        examples.append({'ids': ids, 'outputs': [float(x) for x in outputs]} | ({'read': 0} if encoder else {}))
        for k, g in jacobian.items(): gradients[f'example{i}.{k}'] = g.numpy()
        check_differences(f'{name}-trained, {length} tokens', model, lambda: model.outputs(ids, list(range(C))), jacobian, rng)
    json.dump({'vocab_ids': list(range(C)), 'examples': examples}, open(os.path.join(folder, 'fixture.json'), 'w'))
    save(os.path.join(folder, 'gradients.safetensors'), gradients)

# The head apart, tied to the token table, with a cap, and with a divisor; windows of 3 and 4 tokens.
for seed, name in enumerate(['llama3-odd', 'qwen2-odd', 'gemma2-odd', 'granite-odd'], 201):
    if skipped(name): continue
    rng = np.random.default_rng(seed); folder = os.path.join(a.models, name)
    config = json.load(open(os.path.join(folder, 'config.json')))
    model = architectures.Model(config, load(os.path.join(folder, 'model.safetensors')), None)
    def log_likelihoods(text, answers):
        """sum_t log p(answer_t | text, answer before t), each answer behind the text by itself."""
        sums = []
        for answer in answers:
            log_p = model.logits([text + answer[:-1]])[0].log_softmax(-1)
            sums.append(sum(log_p[len(text) - 1 + t, token] for t, token in enumerate(answer)))
        return torch.stack(sums)
    examples, gradients = [], {}
    for i, (length, sizes) in enumerate([(6, (1, 3)), (2, (2, 1))]):
        text = [int(t) for t in rng.integers(0, config['vocab_size'], length)]
        answers = [[int(t) for t in rng.integers(0, config['vocab_size'], size)] for size in sizes]
        answers[-1][-1] = text[0]  # a token of the text too: its row of a tied table has both
        sums = log_likelihoods(text, answers); names = list(model.P)
        rows = [torch.autograd.grad(s, [model.P[n] for n in names], retain_graph=True, allow_unused=True) for s in sums]
        jacobian = {n: torch.stack([torch.zeros_like(model.P[n]) if row[k] is None else row[k] for row in rows]) for k, n in enumerate(names)}
        check_differences(f'{name}, answers {i}', model, lambda: log_likelihoods(text, answers), jacobian, rng)
        examples.append({'ids': text, 'answers': answers, 'outputs': [float(x) for x in sums]})
        for k, g in jacobian.items(): gradients[f'example{i}.{k}'] = g.numpy()
    json.dump({'examples': examples}, open(os.path.join(folder, 'answers.json'), 'w')); save(os.path.join(folder, 'answers.safetensors'), gradients)
