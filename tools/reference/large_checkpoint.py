#!/usr/bin/python3
"""Writes a drawn checkpoint of GPT-Neo's shape in BF16, for measurements of memory and time at real sizes.
    /usr/bin/python3 tools/reference/large_checkpoint.py FOLDER --tokenizer FOLDER_WITH_TOKENIZER_JSON
The defaults are EleutherAI/gpt-neo-1.3B's sizes: 24 layers of 2048, 16 heads, 50 257 tokens, 2.6 GB."""
import argparse, json, os, shutil, struct
import numpy as np
p = argparse.ArgumentParser(); p.add_argument('folder'); p.add_argument('--tokenizer', required=True)
p.add_argument('--hidden', type=int, default=2048); p.add_argument('--layers', type=int, default=24); p.add_argument('--heads', type=int, default=16)
p.add_argument('--vocabulary', type=int, default=50257); p.add_argument('--positions', type=int, default=2048); p.add_argument('--seed', type=int, default=1)
a = p.parse_args()
H, shapes = a.hidden, {'transformer.wte.weight': (a.vocabulary, a.hidden), 'transformer.wpe.weight': (a.positions, a.hidden)}
for layer in range(a.layers):
    at = f'transformer.h.{layer}.'
    for norm in ('ln_1', 'ln_2'): shapes.update({f'{at}{norm}.weight': (H,), f'{at}{norm}.bias': (H,)})
    for name in ('q_proj', 'k_proj', 'v_proj', 'out_proj'): shapes[f'{at}attn.attention.{name}.weight'] = (H, H)
    shapes.update({f'{at}attn.attention.out_proj.bias': (H,), f'{at}mlp.c_fc.weight': (4 * H, H), f'{at}mlp.c_fc.bias': (4 * H,),
        f'{at}mlp.c_proj.weight': (H, 4 * H), f'{at}mlp.c_proj.bias': (H,)})
shapes.update({'transformer.ln_f.weight': (H,), 'transformer.ln_f.bias': (H,)})
header, end = {}, 0
for name, shape in shapes.items():
    begin, end = end, end + 2 * int(np.prod(shape)); header[name] = {'dtype': 'BF16', 'shape': shape, 'data_offsets': [begin, end]}
text = json.dumps(header).encode(); text += b' ' * (-len(text) % 8)
os.makedirs(a.folder, exist_ok=True)
rng = np.random.default_rng(a.seed)
with open(os.path.join(a.folder, 'model.safetensors'), 'wb') as f:
    f.write(struct.pack('<Q', len(text)) + text)
    for name, shape in shapes.items():
        values = np.float32(0.02) * rng.standard_normal(shape, dtype=np.float32) if len(shape) > 1 else np.full(shape, float('ln_' in name and name.endswith('weight')), np.float32)
        f.write((values.view(np.uint32) >> 16).astype(np.uint16).tobytes())  # bfloat16: the upper half of binary32
json.dump({'model_type': 'gpt_neo', 'architectures': ['GPTNeoForCausalLM'], 'hidden_size': H, 'num_layers': a.layers, 'num_heads': a.heads, 'vocab_size': a.vocabulary,
    'max_position_embeddings': a.positions, 'window_size': 256, 'attention_types': [[['global', 'local'], a.layers // 2]], 'activation_function': 'gelu_new',
    'layer_norm_epsilon': 1e-5, 'initializer_range': 0.02, 'tie_word_embeddings': True, 'torch_dtype': 'bfloat16'}, open(os.path.join(a.folder, 'config.json'), 'w'), indent=1)
for name in ('tokenizer.json', 'tokenizer_config.json'):
    if os.path.exists(os.path.join(a.tokenizer, name)): shutil.copy(os.path.join(a.tokenizer, name), a.folder)
