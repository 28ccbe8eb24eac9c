"""Forward passes in plain PyTorch of the architectures that reference.py lacks, for model_fixtures.py: GPT-2, GPT-NeoX, OPT,
RoBERTa, DistilBERT, ModernBERT, and LLaMA's relatives (Mistral, Qwen2, LLaMA with biases and scaled rotary positions; Qwen3,
OLMo 2 and 3, SmolLM3, Phi, Phi-3, StarCoder2, StableLM, Granite, Gemma 1 to 3). Written from Hugging Face's modeling files as published, on a dict {tensor name:
tensor}; a batch may be padded, with an attention mask of 0 and 1."""
import json, math, os
import numpy as np, torch
import torch.nn.functional as F

def gelu(x): return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
def gelu_tanh(x): return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))
ACTIVATIONS = {'gelu': gelu, 'gelu_new': gelu_tanh, 'gelu_pytorch_tanh': gelu_tanh, 'silu': F.silu, 'relu': F.relu,
    'quick_gelu': lambda x: x * torch.sigmoid(1.702 * x), 'tanh': torch.tanh}

def attend(q, k, v, scale, seen, cap=None):
    """q: [B, heads, T, d]; seen: bool [B or 1, 1, T, T]"""
    scores = torch.einsum('bhtd,bhsd->bhts', q, k) * scale
    if cap: scores = cap * torch.tanh(scores / cap)
    return torch.einsum('bhts,bhsd->bhtd', torch.where(seen, scores, torch.tensor(torch.finfo(scores.dtype).min, dtype=scores.dtype)).softmax(-1), v)

def split(x, heads): return x.unflatten(-1, (heads, -1)).permute(0, 2, 1, 3)
def join(x): return x.permute(0, 2, 1, 3).flatten(2)
def causal(T, window=None):
    i, j = torch.arange(T)[:, None], torch.arange(T)[None]
    return ((j <= i) & (j > i - window) if window else j <= i)[None, None]

def gpt2(P, c, ids, mask):
    H, n, T = c['n_embd'], c['n_head'], ids.shape[1]
    norm = lambda x, name: F.layer_norm(x, (H,), P[name + '.weight'], P[name + '.bias'], c['layer_norm_epsilon'])
    conv = lambda x, name: x @ P[name + '.weight'] + P[name + '.bias']
    x = P['transformer.wte.weight'][ids] + P['transformer.wpe.weight'][:T]
    for l in range(c['n_layer']):
        at = f'transformer.h.{l}.'
        q, k, v = conv(norm(x, at + 'ln_1'), at + 'attn.c_attn').split(H, -1)
        scale = 1 / math.sqrt(H // n) if c.get('scale_attn_weights', True) else 1.0
        if c.get('scale_attn_by_inverse_layer_idx'): scale /= l + 1
        x = x + conv(join(attend(split(q, n), split(k, n), split(v, n), scale, causal(T) & mask)), at + 'attn.c_proj')
        x = x + conv(ACTIVATIONS[c['activation_function']](conv(norm(x, at + 'ln_2'), at + 'mlp.c_fc')), at + 'mlp.c_proj')
    return norm(x, 'transformer.ln_f') @ P.get('score.weight', P['transformer.wte.weight']).T

def rotate(x, angles):
    """Hugging Face's rotate_half on the first 2 * angles.shape[-1] entries of each head."""
    h = angles.shape[-1]
    a, b, rest = x[..., :h], x[..., h:2 * h], x[..., 2 * h:]
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin(), rest], -1)

def gpt_neox(P, c, ids, mask):
    H, n, T = c['hidden_size'], c['num_attention_heads'], ids.shape[1]; d = H // n; r = int(d * c['rotary_pct'])
    norm = lambda x, name: F.layer_norm(x, (H,), P[name + '.weight'], P[name + '.bias'], c['layer_norm_eps'])
    linear = lambda x, name: F.linear(x, P[name + '.weight'], P.get(name + '.bias'))
    angles = torch.arange(T, dtype=torch.float64)[:, None] * c['rotary_emb_base'] ** (-torch.arange(0, r, 2, dtype=torch.float64) / r)
    x = P['gpt_neox.embed_in.weight'][ids]
    for l in range(c['num_hidden_layers']):
        at = f'gpt_neox.layers.{l}.'
        qkv = linear(norm(x, at + 'input_layernorm'), at + 'attention.query_key_value').unflatten(-1, (n, 3 * d)).permute(0, 2, 1, 3)
        q, k, v = qkv[..., :d], qkv[..., d:2 * d], qkv[..., 2 * d:]
        a = linear(join(attend(rotate(q, angles), rotate(k, angles), v, d ** -0.5, causal(T) & mask)), at + 'attention.dense')
        mlp = lambda y: linear(ACTIVATIONS[c['hidden_act']](linear(norm(y, at + 'post_attention_layernorm'), at + 'mlp.dense_h_to_4h')), at + 'mlp.dense_4h_to_h')
        x = mlp(x) + a + x if c['use_parallel_residual'] else mlp(a + x) + (a + x)
    return norm(x, 'gpt_neox.final_layer_norm') @ P['embed_out.weight'].T

def inverse_frequencies(c, d):
    """As transformers/modeling_rope_utils.py has them."""
    f = c['rope_theta'] ** (-torch.arange(0, d, 2, dtype=torch.float64) / d); s = c.get('rope_scaling')
    if not s: return f
    if s['rope_type'] == 'linear': return f / s['factor']
    old = s['original_max_position_embeddings']; wavelength = 2 * math.pi / f
    scaled = torch.where(wavelength > old / s['low_freq_factor'], f / s['factor'], f)
    smooth = (old / wavelength - s['low_freq_factor']) / (s['high_freq_factor'] - s['low_freq_factor'])
    medium = (wavelength <= old / s['low_freq_factor']) & (wavelength >= old / s['high_freq_factor'])
    return torch.where(medium, (1 - smooth) * scaled / s['factor'] + smooth * scaled, scaled)

def llama(P, c, ids, mask):
    n, m, T = c['num_attention_heads'], c['num_key_value_heads'], ids.shape[1]; d = c.get('head_dim') or c['hidden_size'] // n
    rms = lambda x, name: P[name + '.weight'] * x / (x.square().mean(-1, keepdim=True) + c['rms_norm_eps']).sqrt()
    linear = lambda x, name: F.linear(x, P[name + '.weight'], P.get(name + '.bias'))
    angles = torch.arange(T, dtype=torch.float64)[:, None] * inverse_frequencies(c, d)
    x = P['model.embed_tokens.weight'][ids]
    for l in range(c['num_hidden_layers']):
        at = f'model.layers.{l}.'
        windowed = c['model_type'] == 'mistral' or (c['model_type'] == 'qwen2' and c['use_sliding_window'] and l >= c['max_window_layers'])
        h = rms(x, at + 'input_layernorm')
        q, k, v = (split(linear(h, at + f'self_attn.{p}_proj'), heads) for p, heads in (('q', n), ('k', m), ('v', m)))
        k, v = (y.repeat_interleave(n // m, 1) for y in (rotate(k, angles), v))
        x = x + linear(join(attend(rotate(q, angles), k, v, d ** -0.5, causal(T, c['sliding_window'] if windowed else None) & mask)), at + 'self_attn.o_proj')
        h = rms(x, at + 'post_attention_layernorm')
        x = x + linear(ACTIVATIONS[c['hidden_act']](linear(h, at + 'mlp.gate_proj')) * linear(h, at + 'mlp.up_proj'), at + 'mlp.down_proj')
    if 'score.weight' in P: return rms(x, 'model.norm') @ P['score.weight'].T
    return rms(x, 'model.norm') @ (P['model.embed_tokens.weight'] if c['tie_word_embeddings'] else P['lm_head.weight']).T

def encoder(P, c, ids, mask):
    """BERT, ELECTRA, RoBERTa: hidden states of the last layer."""
    kind = c['model_type']; H, n, T = c['hidden_size'], c['num_attention_heads'], ids.shape[1]; e = kind + '.embeddings.'
    norm = lambda x, name: F.layer_norm(x, x.shape[-1:], P[name + '.weight'], P[name + '.bias'], c['layer_norm_eps'])
    linear = lambda x, name: F.linear(x, P[name + '.weight'], P[name + '.bias'])
    # RobertaEmbeddings: create_position_ids_from_input_ids
    real = mask[:, 0, 0].long(); positions = real.cumsum(1) * real + c['pad_token_id'] if kind == 'roberta' else torch.arange(T)[None].expand(len(ids), T)
    x = norm(P[e + 'word_embeddings.weight'][ids] + P[e + 'position_embeddings.weight'][positions] + P[e + 'token_type_embeddings.weight'][0], e + 'LayerNorm')
    if kind == 'electra' and c['embedding_size'] != H: x = linear(x, 'electra.embeddings_project')
    for l in range(c['num_hidden_layers']):
        at = f'{kind}.encoder.layer.{l}.'
        q, k, v = (split(linear(x, at + 'attention.self.' + p), n) for p in ('query', 'key', 'value'))
        x = norm(linear(join(attend(q, k, v, (H // n) ** -0.5, mask)), at + 'attention.output.dense') + x, at + 'attention.output.LayerNorm')
        x = norm(linear(ACTIVATIONS[c['hidden_act']](linear(x, at + 'intermediate.dense')), at + 'output.dense') + x, at + 'output.LayerNorm')
    return x, norm, linear

def masked(P, c, ids, mask):
    x, norm, linear = encoder(P, c, ids, mask)
    # BertPooler; RobertaClassificationHead, ElectraClassificationHead
    if 'bert.pooler.dense.weight' in P: x = torch.tanh(linear(x, 'bert.pooler.dense'))
    if 'classifier.dense.weight' in P: return linear((gelu if c['model_type'] == 'electra' else torch.tanh)(linear(x, 'classifier.dense')), 'classifier.out_proj')
    if 'classifier.weight' in P: return linear(x, 'classifier')
    if c['model_type'] == 'bert':
        t = 'cls.predictions.transform.'; x = norm(ACTIVATIONS[c['hidden_act']](linear(x, t + 'dense')), t + 'LayerNorm')
        return x @ P['bert.embeddings.word_embeddings.weight'].T + P['cls.predictions.bias']
    if c['model_type'] == 'electra':
        x = norm(gelu(linear(x, 'generator_predictions.dense')), 'generator_predictions.LayerNorm')
        return x @ P['electra.embeddings.word_embeddings.weight'].T + P['generator_lm_head.bias']
    x = norm(gelu(linear(x, 'lm_head.dense')), 'lm_head.layer_norm')
    return x @ P['roberta.embeddings.word_embeddings.weight'].T + P['lm_head.bias']

def rms(x, w, eps): return w * x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()

def yarn(c, s, base, d):
    """Frequencies and the factor of cosines and sines (transformers 5)."""
    length = s.get('original_max_position_embeddings', c['max_position_embeddings'])
    low, high = (d * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(base)) for turns in (s.get('beta_fast') or 32, s.get('beta_slow') or 1))
    if s.get('truncate', True): low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, d - 1)
    ramp = ((torch.arange(d // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
    plain = base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    return plain / s['factor'] * ramp + plain * (1 - ramp), s.get('attention_factor') or 0.1 * math.log(s['factor']) + 1

def longrope(c, s, base, d, long):
    length = c.get('original_max_position_embeddings', 4096); stretch = c['max_position_embeddings'] / length
    divisors = torch.tensor(s['long_factor' if long else 'short_factor'], dtype=torch.float64)
    return 1 / (divisors * base ** (torch.arange(0, d, 2, dtype=torch.float64) / d)), math.sqrt(1 + math.log(stretch) / math.log(length)) if stretch > 1 else 1.0

def turn(x, frequencies, factor=1.0):
    """x: [B, heads, T, d]; frequencies: [f] or, by example, [B, 1, 1, f]. The entries beyond the first 2 f stay as they are."""
    angles = torch.arange(x.shape[2], dtype=torch.float64)[:, None] * frequencies
    h = angles.shape[-1]; a, b, rest = x[..., :h], x[..., h:2 * h], x[..., 2 * h:]; cos, sin = factor * angles.cos(), factor * angles.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)

def plain_frequencies(base, d): return base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
def repeated(x, heads): return x.repeat_interleave(heads // x.shape[1], 1)

def qwen3(P, c, ids, mask):
    n, m, T, d, eps = c['num_attention_heads'], c['num_key_value_heads'], ids.shape[1], c.get('head_dim', 128), c['rms_norm_eps']
    linear = lambda x, name: F.linear(x, P[name + '.weight'], P.get(name + '.bias'))
    s = c.get('rope_scaling'); frequencies, factor = yarn(c, s, c['rope_theta'], d) if s else (plain_frequencies(c['rope_theta'], d), 1.0)
    x = P['model.embed_tokens.weight'][ids]
    for l in range(c['num_hidden_layers']):
        at = f'model.layers.{l}.'; h = rms(x, P[at + 'input_layernorm.weight'], eps)
        q = turn(rms(split(linear(h, at + 'self_attn.q_proj'), n), P[at + 'self_attn.q_norm.weight'], eps), frequencies, factor)
        k = turn(rms(split(linear(h, at + 'self_attn.k_proj'), m), P[at + 'self_attn.k_norm.weight'], eps), frequencies, factor)
        v = split(linear(h, at + 'self_attn.v_proj'), m)
        window = c['sliding_window'] if c['layer_types'][l] == 'sliding_attention' else None
        x = x + linear(join(attend(q, repeated(k, n), repeated(v, n), d ** -0.5, causal(T, window) & mask)), at + 'self_attn.o_proj')
        h = rms(x, P[at + 'post_attention_layernorm.weight'], eps)
        x = x + linear(F.silu(linear(h, at + 'mlp.gate_proj')) * linear(h, at + 'mlp.up_proj'), at + 'mlp.down_proj')
    return rms(x, P['model.norm.weight'], eps) @ P['lm_head.weight'].T

def olmo(P, c, ids, mask):
    """OLMo 2 and 3: layers with a window have the plain frequencies of the same base."""
    n, m, T, eps = c['num_attention_heads'], c['num_key_value_heads'], ids.shape[1], c['rms_norm_eps']; d = c['hidden_size'] // n
    linear = lambda x, name: F.linear(x, P[name + '.weight'], P.get(name + '.bias'))
    s = c.get('rope_scaling')
    x = P['model.embed_tokens.weight'][ids]
    for l in range(c['num_hidden_layers']):
        at = f'model.layers.{l}.'; sliding = 'layer_types' in c and c['layer_types'][l] == 'sliding_attention'
        frequencies, factor = yarn(c, s, c['rope_theta'], d) if s and not sliding else (plain_frequencies(c['rope_theta'], d), 1.0)
        q = turn(split(rms(linear(x, at + 'self_attn.q_proj'), P[at + 'self_attn.q_norm.weight'], eps), n), frequencies, factor)
        k = turn(split(rms(linear(x, at + 'self_attn.k_proj'), P[at + 'self_attn.k_norm.weight'], eps), m), frequencies, factor)
        v = split(linear(x, at + 'self_attn.v_proj'), m)
        a = linear(join(attend(q, repeated(k, n), repeated(v, n), d ** -0.5, causal(T, c['sliding_window'] if sliding else None) & mask)), at + 'self_attn.o_proj')
        x = x + rms(a, P[at + 'post_attention_layernorm.weight'], eps)
        y = linear(F.silu(linear(x, at + 'mlp.gate_proj')) * linear(x, at + 'mlp.up_proj'), at + 'mlp.down_proj')
        x = x + rms(y, P[at + 'post_feedforward_layernorm.weight'], eps)
    return rms(x, P['model.norm.weight'], eps) @ P['lm_head.weight'].T

def smollm3(P, c, ids, mask):
    n, m, T, eps = c['num_attention_heads'], c['num_key_value_heads'], ids.shape[1], c['rms_norm_eps']; d = c['hidden_size'] // n
    linear = lambda x, name: F.linear(x, P[name + '.weight'], P.get(name + '.bias'))
    frequencies = plain_frequencies(c['rope_theta'], d)
    x = P['model.embed_tokens.weight'][ids]
    for l in range(c['num_hidden_layers']):
        at = f'model.layers.{l}.'; h = rms(x, P[at + 'input_layernorm.weight'], eps)
        q, k, v = (split(linear(h, at + f'self_attn.{p}_proj'), heads) for p, heads in (('q', n), ('k', m), ('v', m)))
        if c['no_rope_layers'][l]: q, k = turn(q, frequencies), turn(k, frequencies)
        window = c['sliding_window'] if c['layer_types'][l] == 'sliding_attention' else None
        x = x + linear(join(attend(q, repeated(k, n), repeated(v, n), d ** -0.5, causal(T, window) & mask)), at + 'self_attn.o_proj')
        h = rms(x, P[at + 'post_attention_layernorm.weight'], eps)
        x = x + linear(F.silu(linear(h, at + 'mlp.gate_proj')) * linear(h, at + 'mlp.up_proj'), at + 'mlp.down_proj')
    return rms(x, P['model.norm.weight'], eps) @ P['model.embed_tokens.weight'].T

def phi3(P, c, ids, mask):
    n, m, T, eps = c['num_attention_heads'], c['num_key_value_heads'], ids.shape[1], c['rms_norm_eps']; d = c['hidden_size'] // n; r = int(d * c['partial_rotary_factor'])
    short, factor = longrope(c, c['rope_scaling'], c['rope_theta'], r, False); long, _ = longrope(c, c['rope_scaling'], c['rope_theta'], r, True)
    lengths = mask.sum(-1)[..., None]  # by text, whatever it is padded to
    frequencies = torch.where(lengths > c['original_max_position_embeddings'], long, short)
    x = P['model.embed_tokens.weight'][ids]
    for l in range(c['num_hidden_layers']):
        at = f'model.layers.{l}.'; h = rms(x, P[at + 'input_layernorm.weight'], eps)
        q, k, v = F.linear(h, P[at + 'self_attn.qkv_proj.weight']).split([n * d, m * d, m * d], -1)
        q, k = turn(split(q, n), frequencies, factor), turn(split(k, m), frequencies, factor)
        a = join(attend(q, repeated(k, n), repeated(split(v, m), n), d ** -0.5, causal(T, c['sliding_window']) & mask))
        x = x + F.linear(a, P[at + 'self_attn.o_proj.weight'])
        gate, up = F.linear(rms(x, P[at + 'post_attention_layernorm.weight'], eps), P[at + 'mlp.gate_up_proj.weight']).chunk(2, -1)
        x = x + F.linear(up * F.silu(gate), P[at + 'mlp.down_proj.weight'])
    return rms(x, P['model.norm.weight'], eps) @ P['lm_head.weight'].T

def gemma(P, c, ids, mask, prefix='model.', local=None):
    """Gemma 2 and 3: `local` gives the frequencies of the layers with a window, where they have their own."""
    n, m, T, d, eps, H = c['num_attention_heads'], c['num_key_value_heads'], ids.shape[1], c['head_dim'], c['rms_norm_eps'], c['hidden_size']
    norm = lambda x, name: rms(x, 1 + P[prefix + name + '.weight'], eps)
    linear = lambda x, name: F.linear(x, P[prefix + name + '.weight'])
    rope = c.get('rope_parameters', {}).get('full_attention') or dict(rope_theta=c.get('rope_theta')) | (c.get('rope_scaling') or {})
    everywhere = plain_frequencies(rope['rope_theta'], d) / rope.get('factor', 1.0)
    dtype = {'bfloat16': torch.bfloat16, 'float32': torch.float32}[c['torch_dtype']]
    x = P[prefix + 'embed_tokens.weight'][ids] * torch.tensor(H ** 0.5, dtype=dtype).to(torch.float64)
    for l in range(c['num_hidden_layers']):
        at = f'layers.{l}.'; h = norm(x, at + 'input_layernorm')
        sliding = c['layer_types'][l] == 'sliding_attention' if 'layer_types' in c else bool((l + 1) % c.get('sliding_window_pattern', 2)); frequencies = local if sliding and local is not None else everywhere
        q, k, v = (split(linear(h, at + f'self_attn.{p}_proj'), heads) for p, heads in (('q', n), ('k', m), ('v', m)))
        if local is not None: q, k = norm(q, at + 'self_attn.q_norm'), norm(k, at + 'self_attn.k_norm')
        q, k = turn(q, frequencies), turn(k, frequencies)
        seen = causal(T, c['sliding_window'] if sliding else None) & mask
        a = join(attend(q, repeated(k, n), repeated(v, n), c['query_pre_attn_scalar'] ** -0.5, seen, c.get('attn_logit_softcapping')))
        x = x + norm(linear(a, at + 'self_attn.o_proj'), at + 'post_attention_layernorm')
        h = norm(x, at + 'pre_feedforward_layernorm')
        y = linear(gelu_tanh(linear(h, at + 'mlp.gate_proj')) * linear(h, at + 'mlp.up_proj'), at + 'mlp.down_proj')
        x = x + norm(y, at + 'post_feedforward_layernorm')
    z = norm(x, 'norm') @ P[prefix + 'embed_tokens.weight'].T; cap = c.get('final_logit_softcapping')
    return cap * torch.tanh(z / cap) if cap else z

def phi(P, c, ids, mask):
    n, m, H, T = c['num_attention_heads'], c['num_key_value_heads'], c['hidden_size'], ids.shape[1]; d = H // n
    norm = lambda x, name: F.layer_norm(x, (H,), P['model.' + name + '.weight'], P['model.' + name + '.bias'], c['layer_norm_eps'])
    linear = lambda x, name: F.linear(x, P[name + '.weight'], P[name + '.bias'])
    frequencies = plain_frequencies(c['rope_theta'], int(d * c['partial_rotary_factor'])); x = P['model.embed_tokens.weight'][ids]
    for l in range(c['num_hidden_layers']):
        at = f'model.layers.{l}.'; h = norm(x, f'layers.{l}.input_layernorm')
        q, k, v = (split(linear(h, at + f'self_attn.{p}_proj'), heads) for p, heads in (('q', n), ('k', m), ('v', m)))
        a = join(attend(turn(q, frequencies), repeated(turn(k, frequencies), n), repeated(v, n), d ** -0.5, causal(T) & mask))
        x = linear(a, at + 'self_attn.dense') + linear(gelu_tanh(linear(h, at + 'mlp.fc1')), at + 'mlp.fc2') + x
    return linear(norm(x, 'final_layernorm'), 'lm_head')

def starcoder2(P, c, ids, mask):
    n, m, H, T = c['num_attention_heads'], c['num_key_value_heads'], c['hidden_size'], ids.shape[1]; d = H // n
    norm = lambda x, name: F.layer_norm(x, (H,), P['model.' + name + '.weight'], P['model.' + name + '.bias'], c['norm_epsilon'])
    linear = lambda x, name: F.linear(x, P['model.' + name + '.weight'], P['model.' + name + '.bias'])
    frequencies = plain_frequencies(c['rope_theta'], d); x = P['model.embed_tokens.weight'][ids]
    for l in range(c['num_hidden_layers']):
        at = f'layers.{l}.'; h = norm(x, at + 'input_layernorm')
        q, k, v = (split(linear(h, at + f'self_attn.{p}_proj'), heads) for p, heads in (('q', n), ('k', m), ('v', m)))
        seen = causal(T, c['sliding_window']) & mask
        x = x + linear(join(attend(turn(q, frequencies), repeated(turn(k, frequencies), n), repeated(v, n), d ** -0.5, seen)), at + 'self_attn.o_proj')
        h = norm(x, at + 'post_attention_layernorm'); x = x + linear(gelu_tanh(linear(h, at + 'mlp.c_fc')), at + 'mlp.c_proj')
    return norm(x, 'norm') @ P['model.embed_tokens.weight'].T

def stablelm(P, c, ids, mask):
    n, m, H, T = c['num_attention_heads'], c['num_key_value_heads'], c['hidden_size'], ids.shape[1]; d = H // n
    norm = lambda x, name: F.layer_norm(x, (H,), P['model.' + name + '.weight'], P['model.' + name + '.bias'], c['layer_norm_eps'])
    linear = lambda x, name: F.linear(x, P['model.' + name + '.weight'], P.get('model.' + name + '.bias'))
    frequencies = plain_frequencies(c['rope_theta'], int(d * c['partial_rotary_factor'])); x = P['model.embed_tokens.weight'][ids]
    for l in range(c['num_hidden_layers']):
        at = f'layers.{l}.'; h = norm(x, at + 'input_layernorm')
        q, k, v = (split(linear(h, at + f'self_attn.{p}_proj'), heads) for p, heads in (('q', n), ('k', m), ('v', m)))
        a = linear(join(attend(turn(q, frequencies), repeated(turn(k, frequencies), n), repeated(v, n), d ** -0.5, causal(T) & mask)), at + 'self_attn.o_proj')
        mlp = lambda y: linear(F.silu(linear(y, at + 'mlp.gate_proj')) * linear(y, at + 'mlp.up_proj'), at + 'mlp.down_proj')
        x = x + a + (mlp(h) if c['use_parallel_residual'] else mlp(norm(x + a, at + 'post_attention_layernorm')))
    return norm(x, 'norm') @ P['lm_head.weight'].T

def granite(P, c, ids, mask):
    n, m, T, eps = c['num_attention_heads'], c['num_key_value_heads'], ids.shape[1], c['rms_norm_eps']; d = c['hidden_size'] // n
    norm = lambda x, name: rms(x, P['model.' + name + '.weight'], eps); linear = lambda x, name: F.linear(x, P['model.' + name + '.weight'], P.get('model.' + name + '.bias'))
    frequencies = plain_frequencies(c['rope_theta'], d); x = P['model.embed_tokens.weight'][ids] * c['embedding_multiplier']
    for l in range(c['num_hidden_layers']):
        at = f'layers.{l}.'; h = norm(x, at + 'input_layernorm')
        q, k, v = (split(linear(h, at + f'self_attn.{p}_proj'), heads) for p, heads in (('q', n), ('k', m), ('v', m)))
        a = join(attend(turn(q, frequencies), repeated(turn(k, frequencies), n), repeated(v, n), c['attention_multiplier'], causal(T) & mask))
        x = x + linear(a, at + 'self_attn.o_proj') * c['residual_multiplier']; h = norm(x, at + 'post_attention_layernorm')
        x = x + linear(F.silu(linear(h, at + 'mlp.gate_proj')) * linear(h, at + 'mlp.up_proj'), at + 'mlp.down_proj') * c['residual_multiplier']
    x = norm(x, 'norm')
    if 'score.weight' in P: return x @ P['score.weight'].T
    return x @ P['model.embed_tokens.weight'].T / c['logits_scaling']

def gemma1(P, c, ids, mask):
    n, m, T, d, eps = c['num_attention_heads'], c['num_key_value_heads'], ids.shape[1], c['head_dim'], c['rms_norm_eps']
    norm = lambda x, name: rms(x, 1 + P['model.' + name + '.weight'], eps); linear = lambda x, name: F.linear(x, P['model.' + name + '.weight'])
    dtype = {'bfloat16': torch.bfloat16, 'float32': torch.float32}[c['torch_dtype']]; frequencies = plain_frequencies(c['rope_theta'], d)
    x = P['model.embed_tokens.weight'][ids] * torch.tensor(c['hidden_size'] ** 0.5, dtype=dtype).to(torch.float64)
    for l in range(c['num_hidden_layers']):
        at = f'layers.{l}.'; h = norm(x, at + 'input_layernorm')
        q, k, v = (split(linear(h, at + f'self_attn.{p}_proj'), heads) for p, heads in (('q', n), ('k', m), ('v', m)))
        a = join(attend(turn(q, frequencies), repeated(turn(k, frequencies), n), repeated(v, n), d ** -0.5, causal(T) & mask))
        x = x + linear(a, at + 'self_attn.o_proj'); h = norm(x, at + 'post_attention_layernorm')
        x = x + linear(gelu_tanh(linear(h, at + 'mlp.gate_proj')) * linear(h, at + 'mlp.up_proj'), at + 'mlp.down_proj')
    return norm(x, 'norm') @ P['model.embed_tokens.weight'].T

def gemma3(P, c, ids, mask):
    c = c['text_config']
    return gemma(P, c, ids, mask, 'language_model.model.', plain_frequencies(c['rope_local_base_freq'], c['head_dim']))

def gemma3_text(P, c, ids, mask):
    return gemma(P, c, ids, mask, local=plain_frequencies(c['rope_parameters']['sliding_attention']['rope_theta'], c['head_dim']))

def opt(P, c, ids, mask):
    n, T, at = c['num_attention_heads'], ids.shape[1], 'model.decoder.'; d = c['hidden_size'] // n; before = c['do_layer_norm_before']
    norm = lambda x, name: F.layer_norm(x, (x.shape[-1],), P[at + name + '.weight'], P[at + name + '.bias'], 1e-5)
    linear = lambda x, name: F.linear(x, P[at + name + '.weight'], P.get(at + name + '.bias'))
    real = mask[:, 0, 0].long(); positions = real.cumsum(1) * real - 1 + 2
    x = P[at + 'embed_tokens.weight'][ids]
    if at + 'project_in.weight' in P: x = linear(x, 'project_in')
    x = x + P[at + 'embed_positions.weight'][positions]
    for l in range(c['num_hidden_layers']):
        b = f'layers.{l}.'; h = norm(x, b + 'self_attn_layer_norm') if before else x
        q, k, v = (split(linear(h, b + f'self_attn.{p}_proj'), n) for p in 'qkv')
        x = x + linear(join(attend(q, k, v, d ** -0.5, causal(T) & mask)), b + 'self_attn.out_proj')
        if not before: x = norm(x, b + 'self_attn_layer_norm')
        h = norm(x, b + 'final_layer_norm') if before else x
        x = x + linear(ACTIVATIONS[c['activation_function']](linear(h, b + 'fc1')), b + 'fc2')
        if not before: x = norm(x, b + 'final_layer_norm')
    if before: x = norm(x, 'final_layer_norm')
    if at + 'project_out.weight' in P: x = linear(x, 'project_out')
    return x @ P[at + 'embed_tokens.weight'].T

def distilbert(P, c, ids, mask):
    H, n, T = c['dim'], c['n_heads'], ids.shape[1]; e = 'distilbert.embeddings.'
    norm = lambda x, name: F.layer_norm(x, (H,), P[name + '.weight'], P[name + '.bias'], 1e-12)
    linear = lambda x, name: F.linear(x, P[name + '.weight'], P[name + '.bias'])
    x = norm(P[e + 'word_embeddings.weight'][ids] + P[e + 'position_embeddings.weight'][:T], e + 'LayerNorm')
    for l in range(c['n_layers']):
        at = f'distilbert.transformer.layer.{l}.'
        q, k, v = (split(linear(x, at + f'attention.{p}_lin'), n) for p in 'qkv')
        x = norm(linear(join(attend(q, k, v, (H // n) ** -0.5, mask)), at + 'attention.out_lin') + x, at + 'sa_layer_norm')
        x = norm(linear(ACTIVATIONS[c['activation']](linear(x, at + 'ffn.lin1')), at + 'ffn.lin2') + x, at + 'output_layer_norm')
    if 'classifier.weight' in P: return linear(F.relu(linear(x, 'pre_classifier')), 'classifier')
    x = norm(ACTIVATIONS[c['activation']](linear(x, 'vocab_transform')), 'vocab_layer_norm')
    return x @ P[e + 'word_embeddings.weight'].T + P['vocab_projector.bias']

def modernbert(P, c, ids, mask):
    H, n, T, eps = c['hidden_size'], c['num_attention_heads'], ids.shape[1], c['norm_eps']; d = H // n
    norm = lambda x, name: F.layer_norm(x, (H,), P[name + '.weight'], None, eps)
    linear = lambda x, name: F.linear(x, P[name + '.weight'])
    apart = (torch.arange(T)[:, None] - torch.arange(T)[None]).abs()
    x = norm(P['model.embeddings.tok_embeddings.weight'][ids], 'model.embeddings.norm')
    for l in range(c['num_hidden_layers']):
        at = f'model.layers.{l}.'; everywhere = l % c['global_attn_every_n_layers'] == 0
        h = norm(x, at + 'attn_norm') if l else x
        q, k, v = linear(h, at + 'attn.Wqkv').unflatten(-1, (3, n, d)).permute(2, 0, 3, 1, 4)
        frequencies = plain_frequencies(c['global_rope_theta' if everywhere else 'local_rope_theta'], d)
        seen = mask if everywhere else (apart <= c['local_attention'] // 2)[None, None] & mask
        x = x + linear(join(attend(turn(q, frequencies), turn(k, frequencies), v, d ** -0.5, seen)), at + 'attn.Wo')
        first, gate = linear(norm(x, at + 'mlp_norm'), at + 'mlp.Wi').chunk(2, -1)
        x = x + linear(ACTIVATIONS[c['hidden_activation']](first) * gate, at + 'mlp.Wo')
    x = norm(x, 'model.final_norm')
    if 'classifier.weight' in P and c.get('classifier_pooling') == 'mean': real = mask[:, 0, 0, :, None].to(x.dtype); x = (x * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
    x = norm(gelu(linear(x, 'head.dense')), 'head.norm')
    if 'classifier.weight' in P: return F.linear(x, P['classifier.weight'], P['classifier.bias'])
    return x @ P['model.embeddings.tok_embeddings.weight'].T + P['decoder.bias']

FORWARD = {'qwen3': qwen3, 'olmo2': olmo, 'olmo3': olmo, 'smollm3': smollm3, 'phi3': phi3, 'phi': phi, 'starcoder2': starcoder2, 'stablelm': stablelm, 'granite': granite, 'gemma': gemma1, 'gemma2': gemma, 'gemma3': gemma3, 'gemma3_text': gemma3_text, 'opt': opt, 'distilbert': distilbert, 'modernbert': modernbert,
    'gpt2': gpt2, 'gpt_neox': gpt_neox, 'llama': llama, 'mistral': llama, 'qwen2': llama, 'bert': masked, 'electra': masked, 'roberta': masked}

class Model:
    """As reference.py's: P, outputs, jacobian. `reads` says at which token; `transposed` gradients are stored as the weights are."""
    dtype = torch.float64
    def __init__(self, config, tensors, read):
        self.cfg, self.read = config, read
        self.P = {k: torch.from_numpy(v).to(torch.float64).requires_grad_(True) for k, v in sorted(tensors.items())}
    def logits(self, ids, mask=None):
        ids = torch.tensor(ids); mask = torch.ones_like(ids) if mask is None else torch.tensor(mask)
        return FORWARD[self.cfg['model_type']](self.P, self.cfg, ids, mask.bool()[:, None, None])
    def outputs(self, ids, vocabulary):
        return self.logits([ids])[0, self.read(ids)][torch.tensor(vocabulary)]
    def jacobian(self, ids, vocabulary):
        f = self.outputs(ids, vocabulary); names = list(self.P); rows = []
        for k in range(len(vocabulary)):
            g = torch.autograd.grad(f[k], [self.P[n] for n in names], retain_graph=True, allow_unused=True)
            rows.append([torch.zeros_like(self.P[n]) if x is None else x for n, x in zip(names, g)])
        return f.detach(), {n: torch.stack([r[i] for r in rows]) for i, n in enumerate(names)}
