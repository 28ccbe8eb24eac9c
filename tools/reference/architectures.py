"""Forward passes in plain PyTorch of the architectures that reference.py lacks, for model_fixtures.py: GPT-2, GPT-NeoX,
RoBERTa, and LLaMA's relatives (Mistral, Qwen2, LLaMA with biases and scaled rotary positions). Written from Hugging Face's
modeling files as published, on a dict {tensor name: tensor}; a batch may be padded, with an attention mask of 0 and 1."""
import json, math, os
import numpy as np, torch
import torch.nn.functional as F

def gelu(x): return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
def gelu_tanh(x): return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))
ACTIVATIONS = {'gelu': gelu, 'gelu_new': gelu_tanh, 'gelu_pytorch_tanh': gelu_tanh, 'silu': F.silu, 'relu': F.relu,
    'quick_gelu': lambda x: x * torch.sigmoid(1.702 * x), 'tanh': torch.tanh}

def attend(q, k, v, scale, seen):
    """q: [B, heads, T, d]; seen: bool [B or 1, 1, T, T]"""
    scores = torch.einsum('bhtd,bhsd->bhts', q, k) * scale
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
    """BERT, RoBERTa: hidden states of the last layer."""
    kind = c['model_type']; H, n, T = c['hidden_size'], c['num_attention_heads'], ids.shape[1]; e = kind + '.embeddings.'
    norm = lambda x, name: F.layer_norm(x, (H,), P[name + '.weight'], P[name + '.bias'], c['layer_norm_eps'])
    linear = lambda x, name: F.linear(x, P[name + '.weight'], P[name + '.bias'])
    # RobertaEmbeddings: create_position_ids_from_input_ids
    real = mask[:, 0, 0].long(); positions = real.cumsum(1) * real + c['pad_token_id'] if kind == 'roberta' else torch.arange(T)[None].expand(len(ids), T)
    x = norm(P[e + 'word_embeddings.weight'][ids] + P[e + 'position_embeddings.weight'][positions] + P[e + 'token_type_embeddings.weight'][0], e + 'LayerNorm')
    for l in range(c['num_hidden_layers']):
        at = f'{kind}.encoder.layer.{l}.'
        q, k, v = (split(linear(x, at + 'attention.self.' + p), n) for p in ('query', 'key', 'value'))
        x = norm(linear(join(attend(q, k, v, (H // n) ** -0.5, mask)), at + 'attention.output.dense') + x, at + 'attention.output.LayerNorm')
        x = norm(linear(ACTIVATIONS[c['hidden_act']](linear(x, at + 'intermediate.dense')), at + 'output.dense') + x, at + 'output.LayerNorm')
    return x, norm, linear

def masked(P, c, ids, mask):
    x, norm, linear = encoder(P, c, ids, mask)
    # BertPooler; RobertaClassificationHead
    if 'bert.pooler.dense.weight' in P: x = torch.tanh(linear(x, 'bert.pooler.dense'))
    if 'classifier.dense.weight' in P: return linear(torch.tanh(linear(x, 'classifier.dense')), 'classifier.out_proj')
    if 'classifier.weight' in P: return linear(x, 'classifier')
    if c['model_type'] == 'bert':
        t = 'cls.predictions.transform.'; x = norm(ACTIVATIONS[c['hidden_act']](linear(x, t + 'dense')), t + 'LayerNorm')
        return x @ P['bert.embeddings.word_embeddings.weight'].T + P['cls.predictions.bias']
    x = norm(gelu(linear(x, 'lm_head.dense')), 'lm_head.layer_norm')
    return x @ P['roberta.embeddings.word_embeddings.weight'].T + P['lm_head.bias']

FORWARD = {'gpt2': gpt2, 'gpt_neox': gpt_neox, 'llama': llama, 'mistral': llama, 'qwen2': llama, 'bert': masked, 'roberta': masked}

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
