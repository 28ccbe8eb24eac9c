"""Folders of published models' shapes with random weights, and random texts, for measurements at real sizes."""
import json
import os
import struct

import h5py
import numpy as np

# Names as Hugging Face stores them; GPT-2's matrices are [d_in, d_out].
SHAPES = {
    'gpt2': {
        'model_type': 'gpt2',
        'n_embd': 768,
        'n_layer': 12,
        'n_head': 12,
        'n_positions': 1024,
        'vocab_size': 50257,
        'layer_norm_epsilon': 1e-5,
        'activation_function': 'gelu_new',
        'tie_word_embeddings': True,
    },
    'qwen3-0.6b': {
        'model_type': 'qwen3',
        'hidden_size': 1024,
        'num_hidden_layers': 28,
        'num_attention_heads': 16,
        'num_key_value_heads': 8,
        'head_dim': 128,
        'intermediate_size': 3072,
        'max_position_embeddings': 40960,
        'vocab_size': 151936,
        'rms_norm_eps': 1e-6,
        'rope_theta': 1000000,
        'hidden_act': 'silu',
        'tie_word_embeddings': True,
    },
}


def gpt2_tensors(c):
    hidden = c['n_embd']
    yield 'transformer.wte.weight', (c['vocab_size'], hidden)
    yield 'transformer.wpe.weight', (c['n_positions'], hidden)
    for layer in range(c['n_layer']):
        at = f'transformer.h.{layer}.'
        linear = {
            'attn.c_attn': (hidden, 3 * hidden),
            'attn.c_proj': (hidden, hidden),
            'mlp.c_fc': (hidden, 4 * hidden),
            'mlp.c_proj': (4 * hidden, hidden),
        }
        for name, shape in linear.items():
            yield f'{at}{name}.weight', shape
            yield f'{at}{name}.bias', shape[1:]
        for name in ('ln_1', 'ln_2'):
            yield f'{at}{name}.weight', (hidden,)
            yield f'{at}{name}.bias', (hidden,)
    yield 'transformer.ln_f.weight', (hidden,)
    yield 'transformer.ln_f.bias', (hidden,)


def qwen3_tensors(c):
    hidden, size, inner = c['hidden_size'], c['head_dim'], c['intermediate_size']
    queries, keys = c['num_attention_heads'] * size, c['num_key_value_heads'] * size
    yield 'model.embed_tokens.weight', (c['vocab_size'], hidden)
    for layer in range(c['num_hidden_layers']):
        at = f'model.layers.{layer}.'
        for name, rows in (('q', queries), ('k', keys), ('v', keys)):
            yield f'{at}self_attn.{name}_proj.weight', (rows, hidden)
        yield f'{at}self_attn.o_proj.weight', (hidden, queries)
        for name in ('q', 'k'):
            yield f'{at}self_attn.{name}_norm.weight', (size,)
        for name in ('gate', 'up'):
            yield f'{at}mlp.{name}_proj.weight', (inner, hidden)
        yield f'{at}mlp.down_proj.weight', (hidden, inner)
        for name in ('input_layernorm', 'post_attention_layernorm'):
            yield f'{at}{name}.weight', (hidden,)
    yield 'model.norm.weight', (hidden,)


TENSORS = {'gpt2': gpt2_tensors, 'qwen3': qwen3_tensors}


def write_model(folder, config):
    """config.json and model.safetensors in float32, tensor by tensor: normal entries of deviation 0.02, norms around 1."""
    os.makedirs(folder)
    with open(os.path.join(folder, 'config.json'), 'w') as file:
        json.dump(config, file)
    tensors = dict(TENSORS[config['model_type']](config))
    header, end = {}, 0
    for name, shape in tensors.items():
        begin, end = end, end + 4 * int(np.prod(shape))
        header[name] = {'dtype': 'F32', 'shape': shape, 'data_offsets': [begin, end]}
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    random = np.random.default_rng(1)
    with open(os.path.join(folder, 'model.safetensors'), 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for name, shape in tensors.items():
            around = 1 if len(shape) == 1 and name.endswith('weight') else 0
            values = np.float32(0.02) * random.standard_normal(shape, dtype=np.float32)
            file.write((values + np.float32(around)).tobytes())


def write_texts(path, n, length, vocabulary):
    """n random texts of `length` tokens each, labels 0 and 1 in turn, and the tokens of the label words."""
    random = np.random.default_rng(2)
    with h5py.File(path, 'w') as file:
        file['token_ids'] = random.integers(0, vocabulary, n * length, dtype=np.int32)
        file['offsets'] = length * np.arange(n + 1, dtype=np.int64)
        file['labels'] = np.arange(n, dtype=np.int32) % 2
        file['label_token_ids'] = np.array([vocabulary // 3, vocabulary // 2], np.int32)
