"""Worker: the Gram matrix by PyTorch (vmap of grad in chunks into one preallocated n x P Jacobian, then one
product), on the tokens of an output file of tangram.
    pytorch.py MODEL OUTPUT.h5 tune     {seconds, chunk}: the fastest chunk size on a sample, per example
    pytorch.py MODEL OUTPUT.h5 CHUNK    {seconds, disagreement}: relative Frobenius distance from /kernel/gram
    pytorch.py MODEL OUTPUT.h5 passes CHUNK N    {seconds, product_seconds, disagreement}: where the Jacobian has no room in memory,
                                        the gradients alone of the first N examples, never all at once, and what the product
                                        would take: of as many rows, columns by columns, scaled to all; the distance is of the
                                        first chunk's block
The forward passes are made to be fast under vmap: nothing but the token that is read goes on behind the last
layer's keys and values, and through the head for the two label words alone. Attention is causal: tokens padded
behind the one that is read change nothing. TANGRAM_TORCH_DEVICE=cuda puts all of it on the GPU."""
import json
import math
import os
import sys
import time

import h5py
import numpy as np
import torch
import torch.nn.functional as F

try:
    from torch.func import grad, vmap
except ImportError:  # before PyTorch 2
    from functorch import grad, vmap

DEVICE = os.environ.get('TANGRAM_TORCH_DEVICE', 'cpu')
if DEVICE != 'cpu':
    torch.set_default_device(DEVICE)


def now():
    """Seconds, once all that was begun is done."""
    if DEVICE != 'cpu':
        torch.cuda.synchronize()
    return time.perf_counter()


def heads(x, count):
    return x.view(x.shape[0], count, -1).transpose(0, 1)


def attend(q, k, v, allowed, scale):
    scores = (q @ k.transpose(-1, -2) * scale).masked_fill(~allowed, -math.inf)
    mixed = torch.softmax(scores, -1) @ v
    return mixed.transpose(0, 1).reshape(mixed.shape[1], -1)


def at_read(read, *rows):
    return (of_tokens.index_select(0, read) for of_tokens in rows)


def gpt_neo(P, c, tokens, read):
    """The last hidden state at token `read`, and the head's table."""
    table, position = P['transformer.wte.weight'], torch.arange(tokens.shape[0])
    causal = position <= position[:, None]
    local = causal & (position > position[:, None] - c['window_size'])
    linear = lambda x, name: F.linear(x, P[name + '.weight'], P.get(name + '.bias'))
    norm = lambda x, name: F.layer_norm(
        x, x.shape[-1:], P[name + '.weight'], P[name + '.bias'], c['layer_norm_epsilon']
    )
    x = F.embedding(tokens, table) + P['transformer.wpe.weight'][: tokens.shape[0]]
    for layer, kind in enumerate(c['attention_layers']):
        at = f'transformer.h.{layer}.'
        h, seen = norm(x, at + 'ln_1'), local if kind == 'local' else causal
        k, v = (heads(linear(h, f'{at}attn.attention.{s}_proj'), c['num_heads']) for s in 'kv')
        if layer == len(c['attention_layers']) - 1:
            x, h, seen = at_read(read, x, h, seen)
        q = heads(linear(h, f'{at}attn.attention.q_proj'), c['num_heads'])
        mixed = attend(q, k, v, seen, 1.0)
        x = x + linear(mixed, at + 'attn.attention.out_proj')
        h = linear(norm(x, at + 'ln_2'), at + 'mlp.c_fc')
        h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h * h * h)))
        x = x + linear(h, at + 'mlp.c_proj')
    return norm(x, 'transformer.ln_f'), P.get('lm_head.weight', table)


def llama(P, c, tokens, read):
    table, length = P['model.embed_tokens.weight'], tokens.shape[0]
    count, groups = c['num_attention_heads'], c['num_attention_heads'] // c['num_key_value_heads']
    size = c.get('head_dim') or c['hidden_size'] // count
    angle = torch.arange(length)[:, None] / c['rope_theta'] ** (torch.arange(0, size, 2) / size)
    cosine, sine = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    linear = lambda x, name: F.linear(x, P[name + '.weight'])
    norm = lambda x, name: P[name + '.weight'] * (
        x * torch.rsqrt(x.pow(2).mean(-1, True) + c['rms_norm_eps'])
    )
    turn = lambda x, cosine, sine: x * cosine + torch.cat([-x[..., size // 2 :], x[..., : size // 2]], -1) * sine
    of_heads = lambda x, name: norm(x, name) if name + '.weight' in P else x  # Qwen3's
    x = F.embedding(tokens, table)
    for layer in range(c['num_hidden_layers']):
        at = f'model.layers.{layer}.'
        h = norm(x, at + 'input_layernorm')
        k = of_heads(heads(linear(h, at + 'self_attn.k_proj'), count // groups), at + 'self_attn.k_norm')
        k = turn(k, cosine, sine).repeat_interleave(groups, 0)
        v = heads(linear(h, at + 'self_attn.v_proj'), count // groups).repeat_interleave(groups, 0)
        if layer == c['num_hidden_layers'] - 1:
            x, h, causal, cosine, sine = at_read(read, x, h, causal, cosine, sine)
        q = of_heads(heads(linear(h, at + 'self_attn.q_proj'), count), at + 'self_attn.q_norm')
        mixed = attend(turn(q, cosine, sine), k, v, causal, 1 / math.sqrt(size))
        x = x + linear(mixed, at + 'self_attn.o_proj')
        h = norm(x, at + 'post_attention_layernorm')
        x = x + linear(
            F.silu(linear(h, at + 'mlp.gate_proj')) * linear(h, at + 'mlp.up_proj'), at + 'mlp.down_proj'
        )
    return norm(x, 'model.norm'), P.get('lm_head.weight', table)


def gpt2(P, c, tokens, read):
    table, hidden = P['transformer.wte.weight'], c['n_embd']
    causal = torch.ones(len(tokens), len(tokens), dtype=torch.bool).tril()
    linear = lambda x, name: torch.addmm(P[name + '.bias'], x, P[name + '.weight'])
    norm = lambda x, name: F.layer_norm(
        x, (hidden,), P[name + '.weight'], P[name + '.bias'], c['layer_norm_epsilon']
    )
    x = F.embedding(tokens, table) + P['transformer.wpe.weight'][: tokens.shape[0]]
    for layer in range(c['n_layer']):
        at = f'transformer.h.{layer}.'
        q, k, v = (
            heads(part, c['n_head'])
            for part in linear(norm(x, at + 'ln_1'), at + 'attn.c_attn').split(hidden, -1)
        )
        if layer == c['n_layer'] - 1:
            x, causal = at_read(read, x, causal)
            q = q.index_select(1, read)
        mixed = attend(q, k, v, causal, 1 / math.sqrt(q.shape[-1]))
        x = x + linear(mixed, at + 'attn.c_proj')
        h = linear(norm(x, at + 'ln_2'), at + 'mlp.c_fc')
        x = x + linear(F.gelu(h, approximate='tanh'), at + 'mlp.c_proj')
    return norm(x, 'transformer.ln_f'), table


FORWARD = {'gpt_neo': gpt_neo, 'llama': llama, 'qwen3': llama, 'gpt2': gpt2}


def load_weights(folder):
    with open(os.path.join(folder, 'model.safetensors'), 'rb') as file:
        size = int.from_bytes(file.read(8), 'little')
        header, data = json.loads(file.read(size)), file.read()
    tensors = {}
    for name, value in header.items():
        if name != '__metadata__':
            first, last = value['data_offsets']
            entries = np.frombuffer(data[first:last], '<f4').reshape(value['shape'])
            tensors[name] = torch.from_numpy(entries.copy()).to(DEVICE)
    return tensors


def padded(examples):
    """Tokens of some examples, and of each the place of the last one: on the device at once."""
    tokens = np.zeros((len(examples), max(map(len, examples))), np.int64)
    for row, example in enumerate(examples):
        tokens[row, : len(example)] = example
    read = np.array([[len(example) - 1] for example in examples])
    return torch.from_numpy(tokens).to(DEVICE), torch.from_numpy(read).to(DEVICE)


class Task:
    """The examples, sorted by length, and the gradient of the margin with respect to the selected tensors."""

    def __init__(self, folder, output):
        with open(os.path.join(folder, 'config.json')) as file:
            config = json.load(file)
        with h5py.File(output, 'r') as file:
            tokens, offsets = file['/data/train/token_ids'][:], file['/data/train/offsets'][:]
            labels = torch.from_numpy(file['/data/label_token_ids'][:].astype(np.int64)).to(DEVICE)
            names = [bytes(name).decode() for name in file['/kernel/tensors']['name']]
        self.order = np.argsort(np.diff(offsets), kind='stable')
        self.examples = [tokens[offsets[e] : offsets[e + 1]] for e in self.order]
        weights = load_weights(folder)
        self.selected = {name: weights.pop(name) for name in names}
        self.parameters = sum(tensor.numel() for tensor in self.selected.values())

        def margin(selected, tokens, read):
            state, table = FORWARD[config['model_type']]({**weights, **selected}, config, tokens, read)
            words = F.embedding(labels, table)
            return (state[0] * (words[1] - words[0])).sum()

        self.margin = margin
        self.gradients = vmap(grad(margin), in_dims=(None, 0, 0))

    def fill(self, examples, chunk, jacobian):
        """The rows of the examples, in chunks padded to their longest."""
        for first in range(0, len(examples), chunk):
            block = examples[first : first + chunk]
            gradients, column = self.gradients(self.selected, *padded(block)), 0
            for name, tensor in self.selected.items():
                end = column + tensor.numel()
                jacobian[first : first + len(block), column:end] = gradients[name].flatten(1)
                column = end

    def tune(self):
        middle = len(self.examples) // 2
        sample = self.examples[max(0, middle - 128) : middle + 128]
        jacobian, best = torch.zeros(len(sample), self.parameters), None
        for chunk in (16, 64, 128, 256):
            if best and 12 * chunk * self.parameters > 6e9:
                break  # a chunk's gradients and what they come from: the Jacobian needs memory too
            self.fill(sample[:chunk], chunk, jacobian)
            start = now()
            self.fill(sample, chunk, jacobian)
            seconds = (now() - start) / len(sample)
            if best is None or seconds < best['seconds']:
                best = {'seconds': seconds, 'chunk': chunk}
        return best

    def gram(self, chunk):
        jacobian = torch.zeros(len(self.examples), self.parameters)
        self.fill(self.examples[-chunk:], chunk, jacobian)  # everything is loaded and the memory is there
        start = now()
        self.fill(self.examples, chunk, jacobian)
        with torch.no_grad():
            gram = jacobian @ jacobian.T
        return now() - start, gram.cpu().numpy().astype(np.float64)


    def passes(self, chunk, count):
        """Seconds of the gradients of `count` examples, the longest first, and the first chunk's block of the
        Gram matrix."""
        examples = self.examples[::-1][:count]

        def gradients_of(block):
            return self.gradients(self.selected, *padded(block))

        with torch.no_grad():
            gradients = gradients_of(examples[:chunk])  # everything is loaded and the memory is there
            gram = sum(g.flatten(1) @ g.flatten(1).T for g in gradients.values())
        del gradients
        start = now()
        for first in range(0, count, chunk):
            gradients_of(examples[first : first + chunk])
        return now() - start, gram.cpu().numpy().astype(np.float64)

    def product_seconds(self):
        """Of J J^T of all examples, from as many columns as fit into half a gigabyte."""
        n = len(self.examples)
        columns = min(self.parameters, int(0.5e9 / 4 / n))
        part = torch.randn(n, columns)
        part @ part.T
        start = now()
        part @ part.T
        return (now() - start) * self.parameters / columns


def compare(gram, theirs):
    return float(np.linalg.norm(gram - theirs) / np.linalg.norm(theirs))


def main():
    torch.set_num_threads(2)
    task = Task(sys.argv[1], sys.argv[2])
    if sys.argv[3] == 'tune':
        print(json.dumps(task.tune()))
        return
    with h5py.File(sys.argv[2], 'r') as file:
        theirs = file['/kernel/gram'][:][np.ix_(task.order, task.order)]
    if sys.argv[3] == 'passes':
        chunk, count = map(int, sys.argv[4:6])
        seconds, gram = task.passes(chunk, count)
        of_chunk = theirs[::-1, ::-1][:chunk, :chunk]
        products = task.product_seconds()
        result = {
            'seconds': seconds * len(task.examples) / count,
            'product_seconds': products,
            'disagreement': compare(gram, of_chunk),
        }
        print(json.dumps(result))
        return
    seconds, gram = task.gram(int(sys.argv[3]))
    print(json.dumps({'seconds': seconds, 'disagreement': compare(gram, theirs)}))


if __name__ == '__main__':
    main()
