#!/usr/bin/python3
"""Makes the small random models of tests/data/models and their reference outputs and gradients.

    /usr/bin/python3 tools/reference/model_fixtures.py --reference FOLDER_OF_REFERENCE_PY [--out tests/data/models]

The reference is any module with load(folder) -> model, model.jacobian(ids, vocabulary_ids) -> (outputs,
{tensor: array [K, *shape]}) in float64 (PyTorch's automatic differentiation; Debian's python3-torch), and
finite_difference_check(model, ids, vocabulary_ids) -> (worst entry, worst direction, entries), relative. Tests need
neither. Per model: config.json, model.safetensors (float32), fixture.json (token ids, outputs at the last token) and
gradients.safetensors (float64; example<i>.<tensor> of shape [K, *shape]). Architectures that the reference lacks come from
architectures.py beside this file; --only NAME,... makes these models alone."""
import argparse, json, os, struct, sys
import numpy as np

p = argparse.ArgumentParser(); p.add_argument('--reference', required=True); p.add_argument('--out', default='tests/data/models'); p.add_argument('--only', default='')
a = p.parse_args(); sys.path.insert(0, a.reference); sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import architectures, reference

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

def llama_like(kind, hidden, heads, kv, ffn, layers, vocab, biases=(), **more):
    """Tensors of a relative of LLaMA; `biases` names the linear layers that have one."""
    config = dict(model_type=kind, hidden_act='silu', hidden_size=hidden, intermediate_size=ffn, max_position_embeddings=64, num_attention_heads=heads,
        num_hidden_layers=layers, num_key_value_heads=kv, rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=False, vocab_size=vocab) | more
    d = config.get('head_dim') or hidden // heads
    shapes = {'model.embed_tokens.weight': (vocab, hidden), 'model.norm.weight': (hidden,)}
    linear = {'self_attn.q_proj': (heads * d, hidden), 'self_attn.k_proj': (kv * d, hidden), 'self_attn.v_proj': (kv * d, hidden),
        'self_attn.o_proj': (hidden, heads * d), 'mlp.gate_proj': (ffn, hidden), 'mlp.up_proj': (ffn, hidden), 'mlp.down_proj': (hidden, ffn)}
    for l in range(layers):
        n = f'model.layers.{l}.'
        shapes |= {n + 'input_layernorm.weight': (hidden,), n + 'post_attention_layernorm.weight': (hidden,)}
        for name, shape in linear.items():
            shapes[n + name + '.weight'] = shape
            if name.split('.')[1][0] in biases: shapes[n + name + '.bias'] = shape[:1]
    if not config['tie_word_embeddings']: shapes['lm_head.weight'] = (vocab, hidden)
    return config, shapes

def decoder(kind, hidden, heads, kv, d, ffn, layers, vocab, norms, prefix='model.', head_norms=None, biases=(), fused=False, **more):
    """Tensors of LLaMA's later relatives: norms of a layer by name; head_norms: sizes of q_norm and k_norm."""
    config = dict(model_type=kind, hidden_size=hidden, intermediate_size=ffn, max_position_embeddings=64, num_attention_heads=heads, num_hidden_layers=layers,
        num_key_value_heads=kv, rms_norm_eps=1e-6, vocab_size=vocab) | more
    if fused: maps = {'self_attn.qkv_proj': ((heads + 2 * kv) * d, hidden), 'mlp.gate_up_proj': (2 * ffn, hidden)}
    else: maps = {'self_attn.q_proj': (heads * d, hidden), 'self_attn.k_proj': (kv * d, hidden), 'self_attn.v_proj': (kv * d, hidden), 'mlp.gate_proj': (ffn, hidden), 'mlp.up_proj': (ffn, hidden)}
    shapes = {prefix + 'embed_tokens.weight': (vocab, hidden), prefix + 'norm.weight': (hidden,)}
    for l in range(layers):
        n = f'{prefix}layers.{l}.'; shapes |= {n + name + '.weight': (hidden,) for name in norms}
        if head_norms: shapes |= {n + 'self_attn.q_norm.weight': (head_norms[0],), n + 'self_attn.k_norm.weight': (head_norms[1],)}
        for name, shape in (maps | {'self_attn.o_proj': (hidden, heads * d), 'mlp.down_proj': (hidden, ffn)}).items():
            shapes[n + name + '.weight'] = shape
            if name.split('.')[1][0] in biases: shapes[n + name + '.bias'] = shape[:1]
    if not config['tie_word_embeddings']: shapes['lm_head.weight'] = (vocab, hidden)
    return config, shapes

def gemma3(**text):
    config, shapes = decoder('gemma3_text', **text)
    return dict(architectures=['Gemma3ForConditionalGeneration'], boi_token_index=20, eoi_token_index=21, image_token_index=22, mm_tokens_per_image=4, initializer_range=0.02, model_type='gemma3',
        text_config=config, torch_dtype=config['torch_dtype'], vision_config=dict(hidden_size=8, model_type='siglip_vision_model')), shapes

def opt(hidden, heads, ffn, layers, vocab, positions, **more):
    config = dict(model_type='opt', activation_function='relu', do_layer_norm_before=True, ffn_dim=ffn, hidden_size=hidden, max_position_embeddings=positions, num_attention_heads=heads,
        num_hidden_layers=layers, vocab_size=vocab, word_embed_proj_dim=hidden, _remove_final_layer_norm=False, init_std=0.02, pad_token_id=1, bos_token_id=2, prefix='</s>') | more
    at, narrow = 'model.decoder.', config['word_embed_proj_dim']
    shapes = {at + 'embed_tokens.weight': (vocab, narrow), at + 'embed_positions.weight': (positions + 2, hidden)}
    if narrow != hidden: shapes |= {at + 'project_in.weight': (hidden, narrow), at + 'project_out.weight': (narrow, hidden)}
    if config['do_layer_norm_before']: shapes |= norm(at + 'final_layer_norm', hidden)
    for l in range(layers):
        n = f'{at}layers.{l}.'
        for part in ('q_proj', 'k_proj', 'v_proj', 'out_proj'): shapes |= linear(n + 'self_attn.' + part, hidden, hidden)
        shapes |= norm(n + 'self_attn_layer_norm', hidden) | norm(n + 'final_layer_norm', hidden) | linear(n + 'fc1', ffn, hidden) | linear(n + 'fc2', hidden, ffn)
    return config, shapes

def distilbert(hidden, heads, ffn, layers, vocab, positions):
    config = dict(model_type='distilbert', activation='gelu', dim=hidden, hidden_dim=ffn, max_position_embeddings=positions, n_heads=heads, n_layers=layers, pad_token_id=0, sinusoidal_pos_embds=False,
        tie_weights_=True, vocab_size=vocab)
    e = 'distilbert.embeddings.'; shapes = {e + 'word_embeddings.weight': (vocab, hidden), e + 'position_embeddings.weight': (positions, hidden)} | norm(e + 'LayerNorm', hidden)
    for l in range(layers):
        n = f'distilbert.transformer.layer.{l}.'
        for part in 'qkv': shapes |= linear(n + f'attention.{part}_lin', hidden, hidden)
        shapes |= linear(n + 'attention.out_lin', hidden, hidden) | norm(n + 'sa_layer_norm', hidden) | linear(n + 'ffn.lin1', ffn, hidden) | linear(n + 'ffn.lin2', hidden, ffn) | norm(n + 'output_layer_norm', hidden)
    return config, shapes | linear('vocab_transform', hidden, hidden) | norm('vocab_layer_norm', hidden) | {'vocab_projector.bias': (vocab,)}

def modernbert(hidden, heads, ffn, layers, vocab, **more):
    config = dict(model_type='modernbert', attention_bias=False, classifier_activation='gelu', classifier_bias=False, decoder_bias=True, global_attn_every_n_layers=3, global_rope_theta=160000.0,
        hidden_activation='gelu', hidden_size=hidden, intermediate_size=ffn, layer_norm_eps=0.5, local_attention=6, local_rope_theta=10000.0, max_position_embeddings=64, mlp_bias=False, norm_bias=False,
        norm_eps=1e-5, num_attention_heads=heads, num_hidden_layers=layers, pad_token_id=0, tie_word_embeddings=True, vocab_size=vocab) | more
    shapes = {'model.embeddings.tok_embeddings.weight': (vocab, hidden), 'decoder.bias': (vocab,), 'head.dense.weight': (hidden, hidden)}
    shapes |= {name + '.weight': (hidden,) for name in ('model.embeddings.norm', 'model.final_norm', 'head.norm')}
    for l in range(layers):
        n = f'model.layers.{l}.'
        shapes |= {n + 'attn.Wqkv.weight': (3 * hidden, hidden), n + 'attn.Wo.weight': (hidden, hidden), n + 'mlp.Wi.weight': (2 * ffn, hidden), n + 'mlp.Wo.weight': (hidden, ffn), n + 'mlp_norm.weight': (hidden,)}
        if l: shapes[n + 'attn_norm.weight'] = (hidden,)
    return config, shapes

def phi(hidden, heads, kv, ffn, layers, vocab, **more):
    config = dict(model_type='phi', hidden_act='gelu_new', hidden_size=hidden, intermediate_size=ffn, layer_norm_eps=1e-5, max_position_embeddings=64, num_attention_heads=heads, num_hidden_layers=layers,
        num_key_value_heads=kv, partial_rotary_factor=0.7, qk_layernorm=False, rope_theta=10000.0, tie_word_embeddings=False, vocab_size=vocab) | more
    shapes = {'model.embed_tokens.weight': (vocab, hidden)} | norm('model.final_layernorm', hidden) | linear('lm_head', vocab, hidden)
    for l in range(layers):
        n = f'model.layers.{l}.'; shapes |= norm(n + 'input_layernorm', hidden)
        for part, width in (('q_proj', hidden), ('k_proj', kv * hidden // heads), ('v_proj', kv * hidden // heads), ('dense', hidden)): shapes |= linear(n + 'self_attn.' + part, width, hidden)
        shapes |= linear(n + 'mlp.fc1', ffn, hidden) | linear(n + 'mlp.fc2', hidden, ffn)
    return config, shapes

def starcoder2(hidden, heads, kv, ffn, layers, vocab, **more):
    config = dict(model_type='starcoder2', hidden_act='gelu_pytorch_tanh', hidden_size=hidden, intermediate_size=ffn, max_position_embeddings=64, norm_epsilon=1e-5, num_attention_heads=heads, num_hidden_layers=layers,
        num_key_value_heads=kv, rope_theta=10000.0, sliding_window=4, use_bias=True, vocab_size=vocab) | more
    shapes = {'model.embed_tokens.weight': (vocab, hidden)} | norm('model.norm', hidden)
    for l in range(layers):
        n = f'model.layers.{l}.'; shapes |= norm(n + 'input_layernorm', hidden) | norm(n + 'post_attention_layernorm', hidden)
        for part, width in (('q_proj', hidden), ('k_proj', kv * hidden // heads), ('v_proj', kv * hidden // heads), ('o_proj', hidden)): shapes |= linear(n + 'self_attn.' + part, width, hidden)
        shapes |= linear(n + 'mlp.c_fc', ffn, hidden) | linear(n + 'mlp.c_proj', hidden, ffn)
    return config, shapes

def stablelm(hidden, heads, kv, ffn, layers, vocab, share, biased, parallel):
    config = dict(model_type='stablelm', hidden_act='silu', hidden_size=hidden, intermediate_size=ffn, layer_norm_eps=1e-5, max_position_embeddings=64, num_attention_heads=heads, num_hidden_layers=layers,
        num_key_value_heads=kv, partial_rotary_factor=share, qk_layernorm=False, rope_theta=10000, tie_word_embeddings=False, use_parallel_residual=parallel, use_qkv_bias=biased, vocab_size=vocab)
    shapes = {'model.embed_tokens.weight': (vocab, hidden), 'lm_head.weight': (vocab, hidden)} | norm('model.norm', hidden)
    for l in range(layers):
        n = f'model.layers.{l}.'; shapes |= norm(n + 'input_layernorm', hidden) | ({} if parallel else norm(n + 'post_attention_layernorm', hidden))
        for part, width in (('q_proj', hidden), ('k_proj', kv * hidden // heads), ('v_proj', kv * hidden // heads)):
            shapes |= {k: s for k, s in linear(n + 'self_attn.' + part, width, hidden).items() if biased or not k.endswith('bias')}
        shapes |= {n + 'self_attn.o_proj.weight': (hidden, hidden), n + 'mlp.gate_proj.weight': (ffn, hidden), n + 'mlp.up_proj.weight': (ffn, hidden), n + 'mlp.down_proj.weight': (hidden, ffn)}
    return config, shapes

def norm(name, d): return {name + '.weight': (d,), name + '.bias': (d,)}
def linear(name, d_out, d_in): return {name + '.weight': (d_out, d_in), name + '.bias': (d_out,)}
def conv1d(name, d_out, d_in): return {name + '.weight': (d_in, d_out), name + '.bias': (d_out,)}

def gpt2(hidden, heads, layers, vocab, positions, **more):
    config = dict(model_type='gpt2', activation_function='gelu_new', layer_norm_epsilon=1e-5, n_embd=hidden, n_head=heads, n_layer=layers, n_inner=None,
        n_positions=positions, vocab_size=vocab) | more
    inner = config['n_inner'] or 4 * hidden
    shapes = {'transformer.wte.weight': (vocab, hidden), 'transformer.wpe.weight': (positions, hidden)} | norm('transformer.ln_f', hidden)
    for l in range(layers):
        n = f'transformer.h.{l}.'
        shapes |= norm(n + 'ln_1', hidden) | norm(n + 'ln_2', hidden) | conv1d(n + 'attn.c_attn', 3 * hidden, hidden) | conv1d(n + 'attn.c_proj', hidden, hidden)
        shapes |= conv1d(n + 'mlp.c_fc', inner, hidden) | conv1d(n + 'mlp.c_proj', hidden, inner)
    return config, shapes

def neox(hidden, heads, ffn, layers, vocab, parallel, biased=True, **more):
    config = dict(model_type='gpt_neox', hidden_act='gelu', hidden_size=hidden, intermediate_size=ffn, layer_norm_eps=1e-5, max_position_embeddings=64,
        num_attention_heads=heads, num_hidden_layers=layers, rotary_emb_base=10000, rotary_pct=0.25, tie_word_embeddings=False, use_parallel_residual=parallel,
        vocab_size=vocab) | ({} if biased else {'attention_bias': False}) | more
    shapes = {'gpt_neox.embed_in.weight': (vocab, hidden), 'embed_out.weight': (vocab, hidden)} | norm('gpt_neox.final_layer_norm', hidden)
    for l in range(layers):
        n = f'gpt_neox.layers.{l}.'
        shapes |= norm(n + 'input_layernorm', hidden) | norm(n + 'post_attention_layernorm', hidden)
        attention = linear(n + 'attention.query_key_value', 3 * hidden, hidden) | linear(n + 'attention.dense', hidden, hidden)
        shapes |= {k: v for k, v in attention.items() if biased or not k.endswith('bias')}
        shapes |= linear(n + 'mlp.dense_h_to_4h', ffn, hidden) | linear(n + 'mlp.dense_4h_to_h', hidden, ffn)
    return config, shapes

def encoder(kind, hidden, heads, ffn, layers, vocab, positions, classifier=0, **more):
    config = dict(model_type=kind, hidden_act='gelu', hidden_size=hidden, intermediate_size=ffn, layer_norm_eps=1e-5 if kind == 'roberta' else 1e-12, max_position_embeddings=positions,
        num_attention_heads=heads, num_hidden_layers=layers, pad_token_id=1 if kind == 'roberta' else 0, type_vocab_size=1 if kind == 'roberta' else 2, vocab_size=vocab) | more
    e = kind + '.embeddings.'; width = config.get('embedding_size', hidden)
    shapes = {e + 'word_embeddings.weight': (vocab, width), e + 'position_embeddings.weight': (positions, width),
        e + 'token_type_embeddings.weight': (config['type_vocab_size'], width)} | norm(e + 'LayerNorm', width)
    if width != hidden: shapes |= linear(kind + '.embeddings_project', hidden, width)
    for l in range(layers):
        n = f'{kind}.encoder.layer.{l}.'
        for part in ('query', 'key', 'value'): shapes |= linear(n + 'attention.self.' + part, hidden, hidden)
        shapes |= linear(n + 'attention.output.dense', hidden, hidden) | norm(n + 'attention.output.LayerNorm', hidden)
        shapes |= linear(n + 'intermediate.dense', ffn, hidden) | linear(n + 'output.dense', hidden, ffn) | norm(n + 'output.LayerNorm', hidden)
    if classifier: return config, shapes | linear('classifier', classifier, hidden)
    if kind == 'bert': return config, shapes | linear('cls.predictions.transform.dense', hidden, hidden) | norm('cls.predictions.transform.LayerNorm', hidden) | {'cls.predictions.bias': (vocab,)}
    if kind == 'electra': return config, shapes | linear('generator_predictions.dense', width, hidden) | norm('generator_predictions.LayerNorm', width) | {'generator_lm_head.bias': (vocab,)}
    return config, shapes | linear('lm_head.dense', hidden, hidden) | norm('lm_head.layer_norm', hidden) | {'lm_head.bias': (vocab,)}

# Wavelengths 6.3, 20, 63, ... against 4 and 16 in a trained length of 40: all three branches of Llama 3's rule.
LLAMA3 = dict(rope_type='llama3', factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=40)
GEMMA_NORMS = ('input_layernorm', 'post_attention_layernorm', 'pre_feedforward_layernorm', 'post_feedforward_layernorm')
MODELS = {'llama-odd': llama(24, 6, 2, 4, 40, 3, 61, 5000.0, False), 'llama-tied': llama(20, 5, 5, 4, 28, 2, 53, 10000.0, True), 'neo-odd': neo(20, 4, 3, 5, 53, 40),
    'gpt2-odd': gpt2(12, 3, 2, 23, 20), 'gpt2-scaled': gpt2(12, 3, 2, 23, 20, n_inner=20, scale_attn_by_inverse_layer_idx=True, activation_function='quick_gelu'),
    'neox-parallel': neox(24, 3, 20, 2, 23, True), 'neox-serial': neox(16, 2, 20, 2, 23, False, biased=False, rotary_pct=0.5, hidden_act='gelu_new'),
    'mistral-odd': llama_like('mistral', 12, 3, 1, 18, 2, 23, sliding_window=4), 'qwen2-odd': llama_like('qwen2', 12, 3, 3, 18, 2, 23, 'qkv', use_sliding_window=True, sliding_window=3, max_window_layers=1, tie_word_embeddings=True),
    'llama3-odd': llama_like('llama', 12, 2, 1, 18, 2, 23, 'qkvogud', attention_bias=True, mlp_bias=True, head_dim=10, rope_theta=1000.0, rope_scaling=LLAMA3),
    'bert-odd': encoder('bert', 12, 3, 20, 2, 23, 16), 'roberta-odd': encoder('roberta', 12, 3, 20, 2, 23, 18, hidden_act='relu'), 'bert-classifier': encoder('bert', 12, 3, 20, 2, 23, 16, classifier=3),
    'qwen3-odd': decoder('qwen3', 12, 3, 1, 6, 18, 2, 23, ('input_layernorm', 'post_attention_layernorm'), head_norms=(6, 6), head_dim=6, hidden_act='silu', attention_bias=False, rope_theta=100.0,
        rope_scaling=dict(rope_type='yarn', factor=4.0, original_max_position_embeddings=64), use_sliding_window=True, sliding_window=3, max_window_layers=1, layer_types=['full_attention', 'sliding_attention'], tie_word_embeddings=False),
    'olmo2-odd': decoder('olmo2', 12, 3, 1, 4, 18, 2, 23, ('post_attention_layernorm', 'post_feedforward_layernorm'), head_norms=(12, 4), hidden_act='silu', attention_bias=False, rope_theta=10000.0, tie_word_embeddings=False),
    'opt-odd': opt(12, 3, 20, 2, 23, 16), 'opt-behind': opt(12, 3, 20, 2, 23, 16, word_embed_proj_dim=8, do_layer_norm_before=False),
    'gemma2-odd': decoder('gemma2', 12, 3, 1, 6, 18, 3, 23, GEMMA_NORMS, head_dim=6, hidden_act='gelu_pytorch_tanh', hidden_activation='gelu_pytorch_tanh', query_pre_attn_scalar=9, attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0, sliding_window=4, rope_theta=10000.0, attention_bias=False, torch_dtype='bfloat16', tie_word_embeddings=True),
    'gemma3-odd': gemma3(hidden=12, heads=3, kv=1, d=6, ffn=18, layers=3, vocab=23, norms=GEMMA_NORMS, prefix='language_model.model.', head_norms=(6, 6), head_dim=6, hidden_activation='gelu_pytorch_tanh', query_pre_attn_scalar=9,
        sliding_window=4, sliding_window_pattern=2, rope_theta=1000.0, rope_local_base_freq=100.0, rope_scaling=dict(rope_type='linear', factor=8.0), torch_dtype='float32', tie_word_embeddings=True),
    'gemma3-text': decoder('gemma3_text', 12, 3, 1, 6, 18, 2, 23, GEMMA_NORMS, head_norms=(6, 6), head_dim=6, hidden_activation='gelu_pytorch_tanh', query_pre_attn_scalar=9, sliding_window=4, dtype='float32', torch_dtype='float32',
        final_logit_softcapping=3.0, layer_types=['full_attention', 'sliding_attention'], tie_word_embeddings=True,
        rope_parameters=dict(full_attention=dict(rope_type='linear', factor=8.0, rope_theta=1000.0), sliding_attention=dict(rope_type='default', rope_theta=100.0))),
    'smollm3-odd': decoder('smollm3', 12, 2, 1, 6, 18, 3, 23, ('input_layernorm', 'post_attention_layernorm'), biases='qkvo', hidden_act='silu', attention_bias=True, rope_theta=2000000.0, no_rope_layers=[1, 0, 1],
        no_rope_layer_interval=2, use_sliding_window=True, sliding_window=4, layer_types=['full_attention', 'sliding_attention', 'full_attention'], tie_word_embeddings=True),
    'phi3-odd': decoder('phi3', 16, 2, 1, 8, 18, 2, 23, ('input_layernorm', 'post_attention_layernorm'), fused=True, hidden_act='silu', partial_rotary_factor=0.75, rope_theta=10000.0, original_max_position_embeddings=8, sliding_window=7,
        rope_scaling=dict(type='longrope', short_factor=[1.0, 1.25, 1.5], long_factor=[2.0, 3.0, 5.0]), tie_word_embeddings=False),
    'distilbert-odd': distilbert(12, 3, 20, 2, 23, 16), 'modernbert-odd': modernbert(12, 3, 10, 3, 23),
    'electra-odd': encoder('electra', 12, 3, 20, 2, 23, 16, embedding_size=8, hidden_act='relu'),
    'olmo3-odd': decoder('olmo3', 12, 2, 1, 6, 8, 3, 19, ('post_attention_layernorm', 'post_feedforward_layernorm'), head_norms=(12, 6), hidden_act='silu', attention_bias=False, rope_theta=100.0, sliding_window=3,
        layer_types=['sliding_attention', 'sliding_attention', 'full_attention'], rope_scaling=dict(rope_type='yarn', factor=4.0, original_max_position_embeddings=64, attention_factor=1.5), tie_word_embeddings=False),
    'gemma-odd': decoder('gemma', 8, 2, 1, 6, 10, 2, 19, ('input_layernorm', 'post_attention_layernorm'), head_dim=6, hidden_act='gelu_pytorch_tanh', hidden_activation='gelu_pytorch_tanh', rope_theta=10000.0, attention_bias=False,
        torch_dtype='bfloat16', tie_word_embeddings=True),
    'granite-odd': decoder('granite', 8, 2, 1, 4, 10, 2, 19, ('input_layernorm', 'post_attention_layernorm'), biases='qkvogud', hidden_act='silu', attention_bias=True, mlp_bias=True, rope_theta=10000.0,
        embedding_multiplier=1.5, attention_multiplier=0.3, residual_multiplier=0.7, logits_scaling=0.6, tie_word_embeddings=True),
    'phi-odd': phi(12, 2, 1, 10, 2, 19), 'starcoder2-odd': starcoder2(12, 3, 1, 14, 2, 19),
    'stablelm-odd': stablelm(12, 2, 1, 10, 2, 19, 0.7, True, False), 'stablelm-parallel': stablelm(8, 2, 2, 10, 2, 19, 0.5, False, True)}
MASK = 4  # id of the mask token of masked models
for seed, (name, (config, shapes)) in enumerate(MODELS.items(), 1):
    if a.only and name not in a.only.split(','): continue
    rng = np.random.default_rng(seed); folder = os.path.join(a.out, name); os.makedirs(folder, exist_ok=True)
    first = name in ('llama-odd', 'llama-tied', 'neo-odd'); masked = config['model_type'] in ('bert', 'electra', 'roberta', 'distilbert', 'modernbert'); classifier = 'classifier.weight' in shapes
    def draw(key, shape):
        # Large enough that nothing is nearly linear; norms around one.
        # Gemma counts its norms' weights from one.
        if 'norm' in key or 'Norm' in key or 'ln_' in key: x = rng.normal(1.0 if key.endswith('weight') and 'gemma' not in config['model_type'] else 0.0, 0.3, shape)
        elif key.endswith('bias'): x = rng.normal(0, 0.5, shape)
        else: x = rng.normal(0, 1.2 / np.sqrt(shape[-1]) if 'embed' not in key and 'wte' not in key and 'wpe' not in key else 0.7, shape)
        return x.astype(np.float32)
    json.dump(config, open(os.path.join(folder, 'config.json'), 'w'), indent=1)
    tensors = {k: draw(k, s) for k, s in shapes.items()}
    save(os.path.join(folder, 'model.safetensors'), tensors)
    read = (lambda ids: 0) if classifier else (lambda ids: ids.index(MASK)) if masked else (lambda ids: len(ids) - 1)
    model = reference.load(folder) if first else architectures.Model(config, tensors, read)
    vocabulary = [0, 1, 2] if classifier else [3, 17]; examples, gradients = [], {}
    for i, length in enumerate([1, 7, 19, 13] if first else [5, 11] if not masked else [3, 9]):
        ids = [int(t) for t in rng.integers(0, config.get('text_config', config)['vocab_size'], length)]
        if masked:
            # No padding among them, which RoBERTa's positions pass over; one mask token, not the last.
            ids = [t if t not in (config['pad_token_id'], MASK) else 5 for t in ids]; ids[length // 2] = MASK
        outputs, jacobian = model.jacobian(ids, vocabulary)
        examples.append({'ids': ids, 'outputs': [float(x) for x in outputs]} | ({'read': read(ids)} if masked else {}))
        for k, g in jacobian.items(): gradients[f'example{i}.{k}'] = g.numpy()
    # Central differences of outputs of size 3 at h = 1e-5 are good to 1e-16 * 3 / 1e-5 = 3e-11 of a direction's gradient,
    # and to a thousand times as much of a single entry's.
    for example in examples:
        entry, direction, count = reference.finite_difference_check(model, example['ids'], vocabulary)
        print(f"{name}, {len(example['ids'])} tokens: differences of {count} entries agree to {entry:.1e}, of directions to {direction:.1e}")
        # A key bias has no gradient but rounding, which a direction's relative error then is.
        if not (entry <= 1e-6 and direction <= (1e-8 if first else 1e-4)): sys.exit(f'{name}: the gradients disagree with finite differences')
    if not first:
        # Both examples in one batch, the shorter one padded.
        T = max(len(e['ids']) for e in examples)
        batch = model.logits([e['ids'] + [config.get('pad_token_id', 0)] * (T - len(e['ids'])) for e in examples], [[1] * len(e['ids']) + [0] * (T - len(e['ids'])) for e in examples])
        worst = max(abs(float(batch[i, read(e['ids'])][v] - e['outputs'][k])) for i, e in enumerate(examples) for k, v in enumerate(vocabulary))
        print(f'{name}: padded batch differs by {worst:.1e}')
        if not worst <= 1e-12: sys.exit(f'{name}: a padded batch gives other outputs')
    json.dump({'vocab_ids': vocabulary, 'examples': examples}, open(os.path.join(folder, 'fixture.json'), 'w'))
    save(os.path.join(folder, 'gradients.safetensors'), gradients)
