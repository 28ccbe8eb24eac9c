#!/usr/bin/python3
"""Makes the small random models of tests/data/models and their reference outputs and gradients.

    /usr/bin/python3 tools/reference/model_fixtures.py --reference FOLDER_OF_REFERENCE_PY [--out tests/data/models]

The reference is any module with load(folder) -> model, model.jacobian(ids, vocabulary_ids) -> (outputs,
{tensor: array [K, *shape]}) in float64 (PyTorch's automatic differentiation; Debian's python3-torch), and
finite_difference_check(model, ids, vocabulary_ids) -> (worst entry, worst direction, entries), relative. Tests need
neither. Per model: config.json, model.safetensors (float32), fixture.json (token ids, outputs at the last token) and
gradients.safetensors (float64; example<i>.<tensor> of shape [K, *shape])."""
import argparse, json, os, struct, sys
import numpy as np

p = argparse.ArgumentParser(); p.add_argument('--reference', required=True); p.add_argument('--out', default='tests/data/models')
a = p.parse_args(); sys.path.insert(0, a.reference)
import reference

def save(path, tensors):
    names = {np.dtype(np.float32): 'F32', np.dtype(np.float64): 'F64'}
    header, offset = {}, 0
    for k in sorted(tensors):
        header[k] = {'dtype': names[tensors[k].dtype], 'shape': list(tensors[k].shape), 'data_offsets': [offset, offset + tensors[k].nbytes]}
        offset += tensors[k].nbytes
    text = json.dumps(header).encode(); text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        for k in sorted(tensors): f.write(np.ascontiguousarray(tensors[k]).tobytes())

def llama(hidden, heads, kv, head_dim, ffn, layers, vocab, theta, tied):
    config = dict(architectures=['LlamaForCausalLM'], attention_bias=False, attention_dropout=0.0, bos_token_id=1, eos_token_id=2, head_dim=head_dim,
        hidden_act='silu', hidden_size=hidden, initializer_range=0.02, intermediate_size=ffn, max_position_embeddings=64, mlp_bias=False, model_type='llama',
        num_attention_heads=heads, num_hidden_layers=layers, num_key_value_heads=kv, pretraining_tp=1, rms_norm_eps=1e-5, rope_scaling=None,
        rope_theta=theta, tie_word_embeddings=tied, torch_dtype='float32', use_cache=True, vocab_size=vocab)
    shapes = {'model.embed_tokens.weight': (vocab, hidden), 'model.norm.weight': (hidden,)}
    for l in range(layers):
        n = f'model.layers.{l}.'
        shapes |= {n + 'input_layernorm.weight': (hidden,), n + 'post_attention_layernorm.weight': (hidden,), n + 'self_attn.q_proj.weight': (heads * head_dim, hidden),
            n + 'self_attn.k_proj.weight': (kv * head_dim, hidden), n + 'self_attn.v_proj.weight': (kv * head_dim, hidden), n + 'self_attn.o_proj.weight': (hidden, heads * head_dim),
            n + 'mlp.gate_proj.weight': (ffn, hidden), n + 'mlp.up_proj.weight': (ffn, hidden), n + 'mlp.down_proj.weight': (hidden, ffn)}
    if not tied: shapes['lm_head.weight'] = (vocab, hidden)
    return config, shapes

def neo(hidden, heads, layers, window, vocab, positions):
    # Without attention_layers, which neo-mini has: older files spell the pattern out in attention_types alone.
    config = dict(activation_function='gelu_new', architectures=['GPTNeoForCausalLM'], attention_dropout=0.0,
        attention_types=[[['global', 'local'], 1], [['global'], 1]], bos_token_id=0, classifier_dropout=0.1, embed_dropout=0.0, eos_token_id=0,
        hidden_size=hidden, initializer_range=0.02, intermediate_size=None, layer_norm_epsilon=1e-5, max_position_embeddings=positions, model_type='gpt_neo',
        num_heads=heads, num_layers=layers, resid_dropout=0.0, tie_word_embeddings=True, torch_dtype='float32', use_cache=True, vocab_size=vocab,
        window_size=window)
    shapes = {'transformer.wte.weight': (vocab, hidden), 'transformer.wpe.weight': (positions, hidden), 'transformer.ln_f.weight': (hidden,), 'transformer.ln_f.bias': (hidden,)}
    for l in range(layers):
        n = f'transformer.h.{l}.'
        for norm in ('ln_1', 'ln_2'): shapes |= {n + norm + '.weight': (hidden,), n + norm + '.bias': (hidden,)}
        for q in ('q_proj', 'k_proj', 'v_proj', 'out_proj'): shapes[n + f'attn.attention.{q}.weight'] = (hidden, hidden)
        shapes |= {n + 'attn.attention.out_proj.bias': (hidden,), n + 'mlp.c_fc.weight': (4 * hidden, hidden), n + 'mlp.c_fc.bias': (4 * hidden,),
            n + 'mlp.c_proj.weight': (hidden, 4 * hidden), n + 'mlp.c_proj.bias': (hidden,)}
    return config, shapes

MODELS = {'llama-odd': llama(24, 6, 2, 4, 40, 3, 61, 5000.0, False), 'llama-tied': llama(20, 5, 5, 4, 28, 2, 53, 10000.0, True), 'neo-odd': neo(20, 4, 3, 5, 53, 40)}
for seed, (name, (config, shapes)) in enumerate(MODELS.items(), 1):
    rng = np.random.default_rng(seed); folder = os.path.join(a.out, name); os.makedirs(folder, exist_ok=True)
    def draw(key, shape):
        # Large enough that nothing is nearly linear; norms around one.
        if 'norm' in key or 'ln_' in key: x = rng.normal(1.0 if key.endswith('weight') else 0.0, 0.3, shape)
        elif key.endswith('bias'): x = rng.normal(0, 0.5, shape)
        else: x = rng.normal(0, 1.2 / np.sqrt(shape[-1]) if 'embed' not in key and 'wte' not in key and 'wpe' not in key else 0.7, shape)
        return x.astype(np.float32)
    json.dump(config, open(os.path.join(folder, 'config.json'), 'w'), indent=1)
    save(os.path.join(folder, 'model.safetensors'), {k: draw(k, s) for k, s in shapes.items()})
    model = reference.load(folder); vocabulary = [3, 17]; examples, gradients = [], {}
    for i, length in enumerate([1, 7, 19, 13]):
        ids = [int(t) for t in rng.integers(0, config['vocab_size'], length)]
        outputs, jacobian = model.jacobian(ids, vocabulary)
        examples.append({'ids': ids, 'outputs': [float(x) for x in outputs]})
        for k, g in jacobian.items(): gradients[f'example{i}.{k}'] = g.numpy()
    # Central differences of outputs of size 3 at h = 1e-5 are good to 1e-16 * 3 / 1e-5 = 3e-11 of a direction's gradient,
    # and to a thousand times as much of a single entry's.
    for example in examples:
        entry, direction, count = reference.finite_difference_check(model, example['ids'], vocabulary)
        print(f"{name}, {len(example['ids'])} tokens: differences of {count} entries agree to {entry:.1e}, of directions to {direction:.1e}")
        if not (entry <= 1e-6 and direction <= 1e-8): sys.exit(f'{name}: the gradients disagree with finite differences')
    json.dump({'vocab_ids': vocabulary, 'examples': examples}, open(os.path.join(folder, 'fixture.json'), 'w'))
    save(os.path.join(folder, 'gradients.safetensors'), gradients)
