#!/usr/bin/env python3
"""Makes tiny GGUF models with random weights, and the logits that they must give.

    tools/tiny_models.py [DIR]        DIR defaults to tests/model

Needs numpy, torch, transformers and gguf (the versions used last are in DIR/README.md). Nothing is downloaded.

Each model is written as llama.cpp's convert_hf_to_gguf.py would write it: same metadata keys, tensor names, row order
of Q and K (where neighbours are rotated) and norm weights (gemma's: w + 1). The reference runs Hugging Face transformers in float32
on the weights that were *read back* from the encoded tensors, so that a quantised model has no quantisation error
against its reference: what is left is rounding in the arithmetic.

One direction only: a tensor is drawn in GGUF layout, encoded, decoded, and turned into the layout of transformers.

Reference file <name>.ref, little-endian:
    "FVLR", u32 version = 1, u32 tokens, u32 vocab, i32 token[tokens], f32 logits[tokens][vocab]
"""

import hashlib
import math
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Type

VOCAB = 304
CONTEXT = 256
TYPES = {
    "f32": (Type.F32, gguf.LlamaFileType.ALL_F32), "f16": (Type.F16, gguf.LlamaFileType.MOSTLY_F16),
    "bf16": (Type.BF16, gguf.LlamaFileType.MOSTLY_BF16), "q8_0": (Type.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (Type.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0), "q4_1": (Type.Q4_1, gguf.LlamaFileType.MOSTLY_Q4_1),
    "q5_0": (Type.Q5_0, gguf.LlamaFileType.MOSTLY_Q5_0), "q5_1": (Type.Q5_1, gguf.LlamaFileType.MOSTLY_Q5_1),
    "q2_k": (Type.Q2_K, gguf.LlamaFileType.MOSTLY_Q2_K), "q3_k": (Type.Q3_K, gguf.LlamaFileType.MOSTLY_Q3_K_M),
    "q4_k": (Type.Q4_K, gguf.LlamaFileType.MOSTLY_Q4_K_M), "q5_k": (Type.Q5_K, gguf.LlamaFileType.MOSTLY_Q5_K_M),
    "q6_k": (Type.Q6_K, gguf.LlamaFileType.MOSTLY_Q6_K), "iq4_nl": (Type.IQ4_NL, gguf.LlamaFileType.MOSTLY_IQ4_NL),
    "iq4_xs": (Type.IQ4_XS, gguf.LlamaFileType.MOSTLY_IQ4_XS), "iq3_xxs": (Type.IQ3_XXS, gguf.LlamaFileType.MOSTLY_IQ3_XXS),
    "iq3_s": (Type.IQ3_S, gguf.LlamaFileType.MOSTLY_IQ3_S), "iq2_xxs": (Type.IQ2_XXS, gguf.LlamaFileType.MOSTLY_IQ2_XXS),
    "iq2_xs": (Type.IQ2_XS, gguf.LlamaFileType.MOSTLY_IQ2_XS), "iq2_s": (Type.IQ2_S, gguf.LlamaFileType.MOSTLY_IQ2_S),
    "mxfp4": (Type.MXFP4, gguf.LlamaFileType.MOSTLY_MXFP4_MOE),
}


ALL_BIASES = "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down"
GEMMAS = ("gemma", "gemma2", "gemma3")
PAIRS = ("llama", "granite", "smollm3", "mistral3")  # GGUF has the partners of a rotation in neighbouring rows
HEAD_NORMS, POST_NORMS = ("qwen3", "gemma3"), ("gemma2", "gemma3", "olmo2")


@dataclass
class Spec:
    """One model. Sizes are in elements."""
    name: str
    arch: str
    type: str
    seed: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ff: int
    tied: bool
    tokens: int
    pre: str = "smollm"
    rope_base: float = 10000.0
    rope: dict = field(default_factory=lambda: {"rope_type": "default"})
    eps: float = 1e-5
    sliding_window: int = 0
    biases: str = ""  # matrices with one, blank between
    scales: dict = field(default_factory=dict)  # granite: attention, embedding, residual, logits
    note: str = ""


def specs():
    llama = dict(arch="llama", width=64, layers=2, heads=4, kv_heads=2, head_dim=16, ff=96, tied=False, tokens=48)
    small = dict(arch="llama", type="f32", width=32, layers=2, heads=4, kv_heads=2, ff=64, tokens=48)
    yield Spec("llama_f32", type="f32", seed=100, **(llama | dict(width=48, heads=6, head_dim=8, ff=80)), note="plain")
    # The types below vary the storage only: one layer and tied embeddings keep them small.
    for number, name in enumerate(("f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl")):
        yield Spec(f"llama_{name}", type=name, seed=110 + number, **(llama | dict(layers=1, tied=True, tokens=20)),
                   note="storage type")
    # Blocks of 256 need rows of a multiple of 256.
    for number, name in enumerate(("q2_k", "q3_k", "q4_k", "q5_k", "q6_k")):
        yield Spec(f"llama_{name}", arch="llama", type=name, seed=130 + number, width=256, layers=1, heads=8,
                   kv_heads=2, head_dim=32, ff=256, tied=True, tokens=16, note="storage type, random blocks")
    for number, name in enumerate(("iq4_xs", "iq3_xxs", "iq3_s", "iq2_xxs", "iq2_xs", "iq2_s")):
        yield Spec(f"llama_{name}", arch="llama", type=name, seed=210 + number, width=256, layers=1, heads=8,
                   kv_heads=1, head_dim=32, ff=256, tied=True, tokens=16, note="storage type, random blocks")
    yield Spec("llama_mxfp4", type="mxfp4", seed=146, **(llama | dict(layers=1, tied=True, tokens=20)), note="storage type")
    yield Spec("llama_freqs_f32", seed=150, **small, head_dim=24, tied=True, pre="llama-bpe", rope_base=500000.0,
               rope=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                         original_max_position_embeddings=64),
               note="Llama 3.1 rope: tensor rope_freqs.weight; head_dim 24, heads * head_dim != width")
    yield Spec("llama_linear_f32", seed=151, **small, head_dim=16, tied=False,
               rope=dict(rope_type="linear", factor=4.0), note="linear rope scaling")
    yield Spec("llama_yarn_f32", seed=152, **small, head_dim=40, tied=True,
               rope=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64),
               note="YaRN rope scaling; head_dim 40, heads * head_dim != width")
    qwen2 = dict(arch="qwen2", width=64, layers=2, heads=4, kv_heads=2, head_dim=16, ff=96, tied=True, pre="qwen2",
                 rope_base=1000000.0, eps=1e-6)
    yield Spec("qwen2_f32", type="f32", seed=160, tokens=48, **(qwen2 | dict(width=48, head_dim=12, ff=64)),
               note="Q, K, V biases")
    yield Spec("qwen2_q5_0", type="q5_0", seed=161, tokens=24, **qwen2, note="Q, K, V biases")
    qwen3 = dict(arch="qwen3", width=32, layers=2, heads=6, kv_heads=2, head_dim=16, ff=64, tied=False, pre="qwen2",
                 rope_base=1000000.0, eps=1e-6)
    yield Spec("qwen3_f32", type="f32", seed=170, tokens=48, **qwen3, note="Q and K norms; heads * head_dim != width")
    yield Spec("qwen3_q4_0", type="q4_0", seed=171, tokens=24, **qwen3, note="Q and K norms; heads * head_dim != width")
    gemma3 = dict(arch="gemma3", width=32, layers=7, heads=4, kv_heads=1, head_dim=16, ff=32, tied=True, pre="default",
                  rope_base=1000000.0, eps=1e-6, sliding_window=16)
    yield Spec("gemma3_f32", type="f32", seed=180, tokens=48, **gemma3, note="layer 5 global, others see 16 tokens")
    yield Spec("gemma3_q8_0", type="q8_0", seed=181, tokens=32, **gemma3, note="layer 5 global, others see 16 tokens")
    yield Spec("qwen3_biases_f32", type="f32", seed=172, tokens=32, biases="attn_q attn_k attn_v attn_output", **qwen3,
               note="Q, K, V and output biases beside the norms")
    yield Spec("granite_f32", arch="granite", seed=190, type="f32", width=48, layers=2, heads=4, kv_heads=2, head_dim=12,
               ff=64, tied=True, tokens=32, biases=ALL_BIASES,
               scales=dict(attention=0.2, embedding=3.0, residual=0.4, logits=2.5),
               note="four scales, a bias for every matrix")
    yield Spec("smollm3_f32", arch="smollm3", seed=191, type="f32", width=32, layers=4, heads=4, kv_heads=2, head_dim=16,
               ff=48, tied=True, tokens=40, rope_base=50000.0, note="layer 3 is not rotated")
    olmo2 = dict(arch="olmo2", type="f32", width=32, layers=4, heads=4, kv_heads=2, head_dim=8, ff=48, tied=False,
                 tokens=40, rope_base=500000.0, eps=1e-6, pre="dbrx")
    yield Spec("olmo2_f32", seed=192, **olmo2, note="norms after the blocks, of Q and K as whole rows")
    yield Spec("olmo2_windows_f32", seed=193, sliding_window=16, **olmo2,
               rope=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64),
               note="Olmo 3: layer 3 global with YaRN, others see 16 tokens without")
    phi3 = dict(arch="phi3", width=64, layers=2, heads=4, kv_heads=2, head_dim=16, ff=64, tied=False, pre="default")
    for number, (name, original) in enumerate((("long", 32), ("short", 128))):
        yield Spec(f"phi3_{name}_f32", type="f32", seed=196 + number, tokens=36, **(phi3 | dict(width=32, head_dim=8)),
                   rope=dict(rope_type="longrope", original_max_position_embeddings=original, partial_rotary_factor=0.75,
                             long_factor=[1.5, 4.0, 9.0], short_factor=[1.0, 1.25, 2.0]),
                   note=f"Q, K and V in one matrix, gate and up in one; longrope, {name} factors; 6 of 8 elements are rotated")
    yield Spec("phi3_q8_0", type="q8_0", seed=198, tokens=32, sliding_window=16, **phi3,
               note="the same matrices quantised; every layer sees 16 tokens")
    yield Spec("mistral3_f32", arch="mistral3", seed=199, type="f32", width=32, layers=2, heads=4, kv_heads=2, head_dim=16,
               ff=48, tied=True, tokens=48, rope_base=1000000.0,
               rope=dict(rope_type="yarn", factor=16.0, original_max_position_embeddings=16, mscale=1.0, mscale_all_dim=1.0,
                         llama_4_scaling_beta=0.4, beta_fast=32.0, beta_slow=1.0),
               note="YaRN without its magnitude; queries grow every 16 tokens")
    yield Spec("gemma_f32", arch="gemma", seed=194, type="f32", width=32, layers=2, heads=4, kv_heads=1, head_dim=16,
               ff=48, tied=True, tokens=40, pre="default", eps=1e-6, note="heads * head_dim != width")
    yield Spec("gemma2_f32", arch="gemma2", seed=195, type="f32", width=32, layers=3, heads=4, kv_heads=2, head_dim=16,
               ff=48, tied=True, tokens=40, pre="default", eps=1e-6, sliding_window=16,
               note="layer 1 global, others see 16 tokens; scores and logits are capped")


# --- tensors --------------------------------------------------------------------------------------

def random_blocks(type_, rows, columns, deviation, rng):
    """Blocks with every code bit random, scaled so that the decoded values have about the given standard deviation.

    For the types that gguf-py decodes but does not encode. `minimum` centres the types that store an offset.
    """
    block, block_bytes = gguf.GGML_QUANT_SIZES[type_]
    scale_at, minimum_at, minimum = {
        Type.Q2_K: (80, 82, 1.5), Type.Q3_K: (108, None, 0), Type.Q4_K: (0, 2, 7.5), Type.Q5_K: (0, 2, 15.5),
        Type.Q6_K: (208, None, 0),
    }.get(type_, (0, None, 0))
    count = rows * columns // block
    raw = rng.integers(0, 256, (count, block_bytes), dtype=np.uint8)
    spread = rng.uniform(0.7, 1.3, (count, 1))

    def put(unit):
        scale = (spread * unit).astype("<f2")
        raw[:, scale_at:scale_at + 2] = scale.view(np.uint8)
        if minimum_at is not None:
            raw[:, minimum_at:minimum_at + 2] = (spread * unit * minimum).astype("<f2").view(np.uint8)

    put(2.0 ** -6)
    measured = gguf.quants.dequantize(raw, type_).std()
    put(2.0 ** -6 * deviation / measured)
    return raw.reshape(rows, -1)


def encode(shape, type_, deviation, rng):
    if type_ in (Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.IQ4_NL, Type.IQ4_XS, Type.IQ3_XXS, Type.IQ3_S,
                 Type.IQ2_XXS, Type.IQ2_XS, Type.IQ2_S):
        return random_blocks(type_, shape[0], shape[1], deviation, rng)
    values = (rng.standard_normal(shape) * deviation).astype(np.float32)
    return gguf.quants.quantize(values, type_)


def draw_tensors(spec, rng):
    """Yields (GGUF name, type, encoded data) in GGUF layout."""
    matrix_type = TYPES[spec.type][0]
    q_width, kv_width = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim

    def matrix(name, rows, columns, gain=1.0):
        return name, matrix_type, encode((rows, columns), matrix_type, gain / math.sqrt(columns), rng)

    def vector(name, size, mean, deviation):
        return name, Type.F32, (mean + deviation * rng.standard_normal(size)).astype(np.float32)

    def norm(name, size, mean=1.0):
        return vector(name, size, mean, 0.1)

    # Tied embeddings are also the output matrix: small ones keep a token from predicting mostly itself.
    embedding = 0.3 if spec.tied else 1.0
    yield "token_embd.weight", matrix_type, encode((VOCAB, spec.width), matrix_type, embedding, rng)
    if spec.rope["rope_type"] == "llama3":
        yield "rope_freqs.weight", Type.F32, llama3_rope_freqs(spec)
    if spec.rope["rope_type"] == "longrope":
        for name in ("long", "short"):
            yield f"rope_factors_{name}.weight", Type.F32, np.array(spec.rope[name + "_factor"], dtype=np.float32)
    # Q and K are large (or their norms are), so that softmax is peaked and a wrong key shows. The quantised ones are
    # drawn softer: they are compared under int8 activations, whose noise a random peaked softmax blows up.
    soft = spec.type not in ("f32", "f16", "bf16")
    peak = 1.0 if soft or spec.arch in HEAD_NORMS + ("olmo2", "smollm3") else 2.0
    norm_mean = 1.0 if soft else 1.6
    for layer in range(spec.layers):
        block = f"blk.{layer}."
        if spec.arch != "olmo2":
            yield norm(block + "attn_norm.weight", spec.width)
        if spec.arch == "phi3":
            yield matrix(block + "attn_qkv.weight", q_width + 2 * kv_width, spec.width, peak)
        else:
            yield matrix(block + "attn_q.weight", q_width, spec.width, peak)
            yield matrix(block + "attn_k.weight", kv_width, spec.width, peak)
            yield matrix(block + "attn_v.weight", kv_width, spec.width)
        yield matrix(block + "attn_output.weight", spec.width, q_width)
        biased = {"attn_q": q_width, "attn_k": kv_width, "attn_v": kv_width, "attn_output": spec.width,
                  "ffn_gate": spec.ff, "ffn_up": spec.ff, "ffn_down": spec.width}
        for name in "attn_q attn_k attn_v".split() if spec.arch == "qwen2" else spec.biases.split():
            yield vector(f"{block}{name}.bias", biased[name], 0.0, 0.5)
        if spec.arch == "olmo2":
            yield norm(block + "attn_q_norm.weight", q_width, norm_mean)
            yield norm(block + "attn_k_norm.weight", kv_width, norm_mean)
        if spec.arch in HEAD_NORMS:
            yield norm(block + "attn_q_norm.weight", spec.head_dim, norm_mean)
            yield norm(block + "attn_k_norm.weight", spec.head_dim, norm_mean)
        if spec.arch in POST_NORMS:
            yield norm(block + "post_attention_norm.weight", spec.width)
            yield norm(block + "post_ffw_norm.weight", spec.width)
        if spec.arch != "olmo2":
            yield norm(block + "ffn_norm.weight", spec.width)
        if spec.arch == "phi3":
            yield matrix(block + "ffn_up.weight", 2 * spec.ff, spec.width)
        else:
            yield matrix(block + "ffn_gate.weight", spec.ff, spec.width)
            yield matrix(block + "ffn_up.weight", spec.ff, spec.width)
        yield matrix(block + "ffn_down.weight", spec.width, spec.ff)
    yield norm("output_norm.weight", spec.width)
    if not spec.tied:
        yield matrix("output.weight", VOCAB, spec.width, 2.0)


def llama3_rope_freqs(spec):
    """The divisors that convert_hf_to_gguf.py derives from the Llama 3.1 rope parameters."""
    rope = spec.rope
    low_wavelength = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
    high_wavelength = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
    divisors = []
    for pair in range(spec.head_dim // 2):
        wavelength = 2 * math.pi * spec.rope_base ** (2 * pair / spec.head_dim)
        if wavelength < high_wavelength:
            divisors.append(1.0)
        elif wavelength > low_wavelength:
            divisors.append(rope["factor"])
        else:
            smooth = ((rope["original_max_position_embeddings"] / wavelength - rope["low_freq_factor"])
                      / (rope["high_freq_factor"] - rope["low_freq_factor"]))
            divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(divisors, dtype=np.float32)


HF_NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
HF_NAMES_POST = HF_NAMES | {
    "post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


HF_NAMES_FUSED = HF_NAMES | {"attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"}


def hf_name(spec, name):
    names = HF_NAMES_FUSED if spec.arch == "phi3" else HF_NAMES_POST if spec.arch in POST_NORMS else HF_NAMES
    stem, kind = name.rsplit(".", 1)
    if not stem.startswith("blk."):
        return f"{names[stem]}.{kind}"
    _, layer, stem = stem.split(".")
    return f"model.layers.{layer}.{names[stem]}.{kind}"


def hf_tensor(spec, name, values):
    """GGUF layout to the layout of transformers."""
    if spec.arch in PAIRS and name.endswith(("attn_q.weight", "attn_k.weight", "attn_q.bias", "attn_k.bias")):
        # GGUF has the two partners of a rotation in neighbouring rows, transformers half a head apart.
        heads = spec.heads if "attn_q" in name else spec.kv_heads
        values = values.reshape(heads, spec.head_dim // 2, 2, -1).swapaxes(1, 2).reshape(values.shape)
    if spec.arch in GEMMAS and name.endswith("norm.weight"):
        values = values - 1  # exact, and so is the + 1 in the model: the values lie in 0.5 .. 2.5
    return torch.from_numpy(np.array(values, dtype=np.float32))


# --- reference ------------------------------------------------------------------------------------

def hf_model(spec):
    common = dict(
        vocab_size=VOCAB, hidden_size=spec.width, intermediate_size=spec.ff, num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads, num_key_value_heads=spec.kv_heads, head_dim=spec.head_dim,
        max_position_embeddings=CONTEXT, rms_norm_eps=spec.eps, tie_word_embeddings=spec.tied,
        rope_parameters=spec.rope | {"rope_theta": spec.rope_base}, attn_implementation="eager",
        bos_token_id=None, eos_token_id=None, pad_token_id=None)
    if spec.arch == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**common))
    if spec.arch == "qwen2":
        del common["head_dim"]
        assert spec.width == spec.heads * spec.head_dim
        return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**common))
    if spec.arch == "qwen3":
        return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**common, attention_bias=bool(spec.biases)))
    if spec.arch == "granite":
        del common["head_dim"]
        return transformers.GraniteForCausalLM(transformers.GraniteConfig(
            **common, attention_bias=bool(spec.biases), mlp_bias=bool(spec.biases),
            attention_multiplier=spec.scales["attention"], embedding_multiplier=spec.scales["embedding"],
            residual_multiplier=spec.scales["residual"], logits_scaling=spec.scales["logits"]))
    if spec.arch == "phi3":
        del common["head_dim"]
        if spec.rope["rope_type"] == "longrope":
            common["original_max_position_embeddings"] = spec.rope["original_max_position_embeddings"]
        return transformers.Phi3ForCausalLM(transformers.Phi3Config(**common, sliding_window=spec.sliding_window or None))
    if spec.arch == "mistral3":
        return transformers.Ministral3ForCausalLM(transformers.Ministral3Config(**common))
    if spec.arch == "smollm3":
        return transformers.SmolLM3ForCausalLM(transformers.SmolLM3Config(**common, use_sliding_window=False))
    if spec.arch == "olmo2" and not spec.sliding_window:
        return transformers.Olmo2ForCausalLM(transformers.Olmo2Config(**common))
    if spec.arch == "olmo2":
        base = {"rope_theta": spec.rope_base}
        common["rope_parameters"] = {"sliding_attention": {"rope_type": "default"} | base,
                                     "full_attention": spec.rope | base}
        return transformers.Olmo3ForCausalLM(transformers.Olmo3Config(**common, sliding_window=spec.sliding_window))
    if spec.arch == "gemma":
        return transformers.GemmaForCausalLM(transformers.GemmaConfig(
            **common, hidden_activation="gelu_pytorch_tanh"))
    if spec.arch == "gemma2":
        config = transformers.Gemma2Config(
            **common, sliding_window=spec.sliding_window, query_pre_attn_scalar=spec.head_dim,
            hidden_activation="gelu_pytorch_tanh", attn_logit_softcapping=50.0, final_logit_softcapping=30.0)
        assert [kind == "full_attention" for kind in config.layer_types] == [i % 2 == 1 for i in range(spec.layers)]
        return transformers.Gemma2ForCausalLM(config)
    common["rope_parameters"] = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {"rope_type": "default", "rope_theta": spec.rope_base},
    }
    config = transformers.Gemma3TextConfig(
        **common, sliding_window=spec.sliding_window, query_pre_attn_scalar=spec.head_dim,
        hidden_activation="gelu_pytorch_tanh")
    assert [kind == "full_attention" for kind in config.layer_types] == [(i + 1) % 6 == 0 for i in range(spec.layers)]
    return transformers.Gemma3ForCausalLM(config)


def reference_logits(spec, tensors, tokens):
    state = {}
    for name, type_, data in tensors:
        if not name.startswith("rope_"):
            state[hf_name(spec, name)] = hf_tensor(spec, name, gguf.quants.dequantize(data, type_))
    model = hf_model(spec).float().eval()
    result = model.load_state_dict(state, strict=False)
    assert not result.unexpected_keys, result.unexpected_keys
    assert result.missing_keys == (["lm_head.weight"] if spec.tied else []), result.missing_keys
    model.tie_weights()
    with torch.no_grad():
        output = model(torch.tensor([tokens.tolist()]), use_cache=False)
    return output.logits[0].numpy().astype("<f4")


# --- GGUF -----------------------------------------------------------------------------------------

def bpe_vocabulary():
    """GPT-2 style: 256 bytes in printable disguise, what the merges make, special tokens."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    disguise, hidden = {byte: chr(byte) for byte in shown}, 0
    for byte in range(256):
        if byte not in disguise:
            disguise[byte], hidden = chr(256 + hidden), hidden + 1
    merges = ("Ġ t|h e|i n|r e|o n|Ġt he|e r|Ġ a|a t|e n|Ġ s|o r|i s|Ġ w|n d|a l|Ġ c|Ġ o|e s|Ġo f|in g|Ġ in|Ġa nd|"
              "i t|a n|o u|Ġt o|e d|Ġ 1|0 0|Ċ Ċ|Ġ Ġ|ĠĠ ĠĠ|r o|i c|l e|Ġ (|Ġ b|Ġ p|Ġ m|Ġ f|s t").split("|")
    tokens = [disguise[byte] for byte in range(256)] + [merge.replace(" ", "") for merge in merges]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|end_of_text|>"]
    tokens += special
    types = [gguf.TokenType.NORMAL] * (len(tokens) - len(special)) + [gguf.TokenType.CONTROL] * len(special)
    while len(tokens) < VOCAB:
        tokens.append(f"<extra_{len(tokens)}>")
        types.append(gguf.TokenType.USER_DEFINED)
    assert len(tokens) == len(set(tokens)) == VOCAB
    return tokens, types, merges


def spm_vocabulary():
    """SentencePiece style, as Gemma's: special tokens, 256 byte tokens, pieces whose score is minus their rank."""
    pieces = ("▁t|he|in|er|▁the|an|on|re|▁a|▁s|nd|▁and|ing|▁in|ou|at|en|▁w|or|▁o|es|▁of|st|▁▁|"
              "▁|e|t|a|o|i|n|s|h|r|d|l|u|c|w|g|m|f|p|\n").split("|")
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>"] + [f"<0x{byte:02X}>" for byte in range(256)] + pieces
    types = ([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.UNKNOWN] + [gguf.TokenType.BYTE] * 256
             + [gguf.TokenType.NORMAL] * len(pieces))
    scores = [0.0] * 260 + [-float(rank) for rank in range(len(pieces))]
    assert len(tokens) == len(set(tokens)) == VOCAB
    return tokens, types, scores


def add_tokenizer(writer, spec):
    if spec.arch in (*GEMMAS, "phi3"):
        tokens, types, scores = spm_vocabulary()
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(tokens)
        writer.add_token_scores(scores)
        writer.add_token_types(types)
        writer.add_bos_token_id(2)
        writer.add_eos_token_id(1)
        writer.add_unk_token_id(3)
        writer.add_pad_token_id(0)
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(False)
        writer.add_add_space_prefix(False)
        return 2
    tokens, types, merges = bpe_vocabulary()
    bos, eos = {"smollm": ("<|im_start|>", "<|im_end|>"), "qwen2": ("<|endoftext|>", "<|im_end|>"),
                "dbrx": ("<|endoftext|>", "<|im_end|>"),
                "llama-bpe": ("<|begin_of_text|>", "<|end_of_text|>")}[spec.pre]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(spec.pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokens.index(bos))
    writer.add_eos_token_id(tokens.index(eos))
    writer.add_add_bos_token(spec.pre == "llama-bpe")
    return tokens.index(bos)


def write_gguf(path, spec, tensors):
    """Returns the id of the token that begins a text."""
    writer = gguf.GGUFWriter(path, spec.arch)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(f"fovea tiny {spec.name}")
    writer.add_block_count(spec.layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(spec.width)
    writer.add_feed_forward_length(spec.ff)
    writer.add_head_count(spec.heads)
    writer.add_head_count_kv(spec.kv_heads)
    if spec.rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(spec.rope["factor"])
    if spec.rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(spec.rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(spec.rope["original_max_position_embeddings"])
    if spec.arch == "mistral3":
        writer.add_rope_scaling_yarn_beta_fast(spec.rope["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(spec.rope["beta_slow"])
        writer.add_rope_scaling_yarn_log_mul(spec.rope["mscale_all_dim"])
        writer.add_attn_temperature_scale(spec.rope["llama_4_scaling_beta"])
    if spec.arch == "phi3":
        writer.add_rope_scaling_orig_ctx_len(spec.rope.get("original_max_position_embeddings", CONTEXT))
        writer.add_rope_dimension_count(int(spec.rope.get("partial_rotary_factor", 1) * spec.head_dim))
        writer.add_sliding_window(spec.sliding_window)
    if spec.rope["rope_type"] == "longrope":
        original = spec.rope["original_max_position_embeddings"]
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(CONTEXT / original) / math.log(original)))
    writer.add_rope_freq_base(spec.rope_base)
    writer.add_layer_norm_rms_eps(spec.eps)
    if spec.arch not in ("qwen2", "granite", "phi3"):  # its head_dim is width / heads and its configuration has no such field
        writer.add_key_length(spec.head_dim)
        writer.add_value_length(spec.head_dim)
    writer.add_file_type(TYPES[spec.type][1])
    if spec.scales:
        writer.add_attention_scale(spec.scales["attention"])
        writer.add_embedding_scale(spec.scales["embedding"])
        writer.add_residual_scale(spec.scales["residual"])
        writer.add_logit_scale(spec.scales["logits"])
    if spec.arch == "gemma2":
        writer.add_attn_logit_softcapping(50.0)
        writer.add_final_logit_softcapping(30.0)
        writer.add_sliding_window(spec.sliding_window)
    if spec.arch == "olmo2" and spec.sliding_window:
        writer.add_sliding_window(spec.sliding_window)
        writer.add_sliding_window_pattern([(i + 1) % 4 != 0 for i in range(spec.layers)])
    if spec.arch in PAIRS:
        writer.add_vocab_size(VOCAB)
        writer.add_rope_dimension_count(spec.head_dim)
    if spec.arch == "gemma3":
        # Older files lack this key, and their sliding layers use 10000 all the same: both cases are covered.
        if spec.type == "f32":
            writer.add_rope_freq_base_swa(10000.0)
        writer.add_sliding_window(spec.sliding_window)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    bos = add_tokenizer(writer, spec)
    for name, type_, data in tensors:
        writer.add_tensor(name, data, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return bos


def write_reference(path, tokens, logits):
    """What is there stays if only last bits differ: those depend on the machine."""
    header = b"FVLR" + struct.pack("<III", 1, len(tokens), VOCAB)
    ids = tokens.astype("<i4").tobytes()
    old = path.read_bytes() if path.exists() else b""
    if old.startswith(header + ids) and len(old) == len(header) + len(ids) + logits.nbytes:
        before = np.frombuffer(old[len(header) + len(ids):], "<f4").reshape(logits.shape)
        if np.abs(before - logits).max() < 1e-4:
            return
    path.write_bytes(header + tokens.astype("<i4").tobytes() + logits.tobytes())


# --- main -----------------------------------------------------------------------------------------

README = """<!-- generated by tools/tiny_models.py -->
# Tiny models

Random weights in the exact form of `convert_hf_to_gguf.py`, and the logits that Hugging Face transformers computes from
the same (decoded) weights in float32. No trained model is contained; nothing here is under a model licence.

`<name>.ref`, little-endian: `"FVLR"`, u32 version = 1, u32 tokens, u32 vocab, i32 token[tokens],
f32 logits[tokens][vocab]: the logits after each token, first position 0, no cache, nothing before the first token.

`spread` is the standard deviation of the logits of one position, averaged: the unit in which an error is big or small.
A vocabulary of {vocab} tokens is contained in each file; context length {context}.

The tokenizers are small but real: 256 byte tokens and a few merges (`gpt2`) or scored pieces (`llama`, in gemmas).

Compared with llama.cpp (f32 cache, no flash attention; llama, qwen2, qwen3, gemma3): all f32 models agree within 1e-4 at every logit, as do the
quantised ones once their weights are expanded to f32, except gemma3 (8e-3: llama.cpp's GELU is a table in f16). Run
as they are, quantised models differ by up to 0.7, because llama.cpp rounds the activations to 8 bits too (to 16 bits
for f16 and bf16: 8e-3 and 7e-2).

Made with Python {python}, {versions}.
The `.gguf` files depend on the seed and on numpy and gguf only; the `.ref` files can differ in the last bits with
another torch or processor.

| name | arch, tensors | width | layers | heads | kv heads | head_dim | ff | tied | rope | tokens | seed | spread | what it is for |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
{rows}

| sha256 | bytes | file |
|---|---|---|
{files}
"""


def main():
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent / "tests" / "model"
    directory.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    rows, files = [], []
    for spec in specs():
        rng = np.random.default_rng(spec.seed)
        tensors = list(draw_tensors(spec, rng))
        model_path, reference_path = directory / f"{spec.name}.gguf", directory / f"{spec.name}.ref"
        bos = write_gguf(model_path, spec, tensors)
        tokens = rng.integers(0, VOCAB, spec.tokens)
        tokens[0] = bos
        logits = reference_logits(spec, tensors, tokens)
        assert np.isfinite(logits).all()
        write_reference(reference_path, tokens, logits)
        spread = float(logits.std(axis=1).mean())
        rows.append(f"| {spec.name} | {spec.arch}, {spec.type} | {spec.width} | {spec.layers} | {spec.heads} "
                    f"| {spec.kv_heads} | {spec.head_dim} | {spec.ff} | {'yes' if spec.tied else 'no'} "
                    f"| {spec.rope['rope_type']}, base {spec.rope_base:.0f} | {spec.tokens} | {spec.seed} "
                    f"| {spread:.2f} | {spec.note} |")
        for path in (model_path, reference_path):
            data = path.read_bytes()
            files.append(f"| {hashlib.sha256(data).hexdigest()} | {len(data)} | {path.name} |")
        print(f"{spec.name}: {model_path.stat().st_size} bytes, logits {logits.min():.2f} .. {logits.max():.2f}, "
              f"{len(set(logits.argmax(axis=1)))} different winners at {spec.tokens} positions")
    versions = (f"numpy {np.__version__}, torch {torch.__version__}, transformers {transformers.__version__}, "
                f"gguf {gguf_version()}")
    (directory / "README.md").write_text(README.format(
        vocab=VOCAB, context=CONTEXT, python=sys.version.split()[0], versions=versions, rows="\n".join(rows),
        files="\n".join(files)))


def gguf_version():
    from importlib.metadata import version
    return version("gguf")


if __name__ == "__main__":
    main()
