#!/usr/bin/env python3
"""Trains the story model: a llama of fewer than 260,000 parameters, on stories that tools/story_text.py makes.

    tools/story_train.py DIR [--steps N]      writes DIR/story.gguf (Q8_0) and DIR/story_held_out.txt

Needs numpy, torch and gguf (the versions used last are in tests/model/story.md). Nothing is downloaded. One thread; the
default number of steps takes about 12 minutes.

The vocabulary is byte-level BPE as GPT-2 has it: 256 bytes, the merges that save most on the stories, and one control token
that stands before and after each story. Rows of Q and K are laid out as GGUF wants them from the start: rope turns
neighbouring elements.
"""

import argparse
import collections
import math
import re
from pathlib import Path

import gguf
import numpy as np
import torch
from torch.nn.functional import cross_entropy, rms_norm, scaled_dot_product_attention, silu

import story_text

VOCABULARY, CONTEXT = 640, 256
WIDTH, LAYERS, HEADS, KV_HEADS, FEED = 64, 5, 4, 2, 160
HEAD_DIM = WIDTH // HEADS
ROPE_BASE, EPSILON = 10000.0, 1e-5
END = "<|endoftext|>"
BATCH, STEPS, PEAK_RATE = 16, 2600, 4e-3
TRAIN_SEED, TRAIN_STORIES = 1, 60000
HELD_OUT_SEED, HELD_OUT_STORIES = 2, 24

# --- vocabulary -----------------------------------------------------------------------------------

WORDS = re.compile(r" ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")  # GPT-2's cut, as far as ASCII goes


def disguises():
    """GPT-2's printable character for each byte."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}


def joined(word, pair):
    out, i = [], 0
    while i < len(word):
        both = tuple(word[i:i + 2]) == pair
        out.append(word[i] + word[i + 1] if both else word[i])
        i += 2 if both else 1
    return out


class Vocabulary:
    def __init__(self, texts):
        self.disguise = disguises()
        counts = collections.Counter(word for text in texts for word in WORDS.findall(text))
        words = [([self.disguise[byte] for byte in word.encode()], count) for word, count in sorted(counts.items())]
        self.merges = []
        while len(self.merges) < VOCABULARY - 257:
            pairs = collections.Counter()
            for word, count in words:
                for pair in zip(word, word[1:]):
                    pairs[pair] += count
            best = max(pairs, key=lambda pair: (pairs[pair], pair))
            self.merges.append(best)
            words = [(joined(word, best), count) for word, count in words]
        self.tokens = [self.disguise[byte] for byte in range(256)] + ["".join(merge) for merge in self.merges] + [END]
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.end = self.ids[END]
        self.known = {}

    def word(self, text):
        if text not in self.known:
            word = [self.disguise[byte] for byte in text.encode()]
            for merge in self.merges:
                word = joined(word, merge)
            self.known[text] = [self.ids[token] for token in word]
        return self.known[text]

    def encode(self, text):
        return [self.end] + [token for word in WORDS.findall(text) for token in self.word(word)]


# --- model ----------------------------------------------------------------------------------------

def shapes():
    """Every tensor of the file: name -> shape."""
    kv = KV_HEADS * HEAD_DIM
    found = {"token_embd": (VOCABULARY, WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        found |= {f"blk.{layer}.{name}": shape for name, shape in (
            ("attn_norm", (WIDTH,)), ("attn_q", (WIDTH, WIDTH)), ("attn_k", (kv, WIDTH)), ("attn_v", (kv, WIDTH)),
            ("attn_output", (WIDTH, WIDTH)), ("ffn_norm", (WIDTH,)), ("ffn_gate", (FEED, WIDTH)),
            ("ffn_up", (FEED, WIDTH)), ("ffn_down", (WIDTH, FEED)))}
    return found


def weights_draw():
    drawn = {}
    for name, shape in shapes().items():
        into_stream = name.endswith(("attn_output", "ffn_down"))
        deviation = 0.08 if name == "token_embd" else shape[-1] ** -0.5 / (math.sqrt(2 * LAYERS) if into_stream else 1)
        values = torch.ones(shape) if len(shape) == 1 else torch.randn(shape) * deviation
        drawn[name] = values.requires_grad_()
    return drawn


def turns():
    angles = torch.outer(torch.arange(CONTEXT).double(),
                         ROPE_BASE ** (-torch.arange(0, HEAD_DIM, 2).double() / HEAD_DIM))
    return angles.cos().float()[:, None], angles.sin().float()[:, None]


def rotate(x, turn):
    cos, sin = (part[:x.shape[1]] for part in turn)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


def forward(weights, tokens, turn):
    batch, length = tokens.shape
    x = weights["token_embd"][tokens]
    for layer in range(LAYERS):
        part = {name.split(".")[2]: values for name, values in weights.items() if name.startswith(f"blk.{layer}.")}
        normed = rms_norm(x, (WIDTH,), part["attn_norm"], EPSILON)
        heads = lambda name, count: (normed @ part[name].T).view(batch, length, count, HEAD_DIM)
        query, key = rotate(heads("attn_q", HEADS), turn), rotate(heads("attn_k", KV_HEADS), turn)
        key, value = (y.repeat_interleave(HEADS // KV_HEADS, 2) for y in (key, heads("attn_v", KV_HEADS)))
        mixed = scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2),
                                             is_causal=True)
        x = x + mixed.transpose(1, 2).reshape(batch, length, WIDTH) @ part["attn_output"].T
        normed = rms_norm(x, (WIDTH,), part["ffn_norm"], EPSILON)
        x = x + (silu(normed @ part["ffn_gate"].T) * (normed @ part["ffn_up"].T)) @ part["ffn_down"].T
    return rms_norm(x, (WIDTH,), weights["output_norm"], EPSILON) @ weights["token_embd"].T


# --- training -------------------------------------------------------------------------------------

def batches(vocabulary, stories, rng):
    """Endless batches of stories one after the other, each row beginning with a story."""
    encoded = [vocabulary.encode(story) for story in stories]
    while True:
        rows = []
        for _ in range(BATCH):
            row = []
            while len(row) <= CONTEXT:
                row += encoded[rng.integers(len(encoded))]
            rows.append(row[:CONTEXT + 1])
        yield torch.tensor(rows)


def loss_of(weights, rows, turn):
    logits = forward(weights, rows[:, :-1], turn)
    return cross_entropy(logits.reshape(-1, VOCABULARY), rows[:, 1:].reshape(-1))


def train(vocabulary, stories, steps):
    weights, turn = weights_draw(), turns()
    matrices = [values for values in weights.values() if values.dim() > 1]
    vectors = [values for values in weights.values() if values.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
                                  betas=(0.9, 0.98))
    mean = None
    for step, rows in zip(range(steps), batches(vocabulary, stories, np.random.default_rng(3))):
        rate = PEAK_RATE * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(weights, rows, turn)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(weights.values()), 1.0)
        optimizer.step()
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if step % 100 == 0:
            print(f"step {step}: loss {mean:.4f}", flush=True)
    return weights


def held_out_perplexity(weights, vocabulary, stories):
    turn, total, count = turns(), 0.0, 0
    with torch.no_grad():
        for story in stories:
            row = torch.tensor([(vocabulary.encode(story) + [vocabulary.end])[:CONTEXT + 1]])
            total += loss_of(weights, row, turn).item() * (row.shape[1] - 1)
            count += row.shape[1] - 1
    return math.exp(total / count)


# --- file -----------------------------------------------------------------------------------------

def write_gguf(path, weights, vocabulary):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("fovea story")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_vocab_size(VOCABULARY)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * (VOCABULARY - 1) + [gguf.TokenType.CONTROL])
    writer.add_token_merges([" ".join(merge) for merge in vocabulary.merges])
    writer.add_bos_token_id(vocabulary.end)
    writer.add_eos_token_id(vocabulary.end)
    writer.add_add_bos_token(True)
    for name, values in weights.items():
        plain = values.detach().numpy().astype(np.float32)
        if plain.ndim == 1:
            writer.add_tensor(name + ".weight", plain)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name + ".weight", gguf.quants.quantize(plain, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(4)
    stories = story_text.stories(TRAIN_SEED, TRAIN_STORIES)
    known = set(stories)
    held_out = [story for story in story_text.stories(HELD_OUT_SEED, HELD_OUT_STORIES) if story not in known]
    vocabulary = Vocabulary(stories[:8000])
    sizes = [len(vocabulary.encode(story)) for story in held_out]
    print(f"{sum(math.prod(shape) for shape in shapes().values())} parameters; "
          f"{sum(sizes) / len(sizes):.0f} tokens in a story, at most {max(sizes)}")
    weights = train(vocabulary, stories, arguments.steps)
    print(f"{arguments.steps} steps, {arguments.steps * BATCH * CONTEXT} tokens; "
          f"held-out perplexity before rounding {held_out_perplexity(weights, vocabulary, held_out):.4f}")
    write_gguf(arguments.directory / "story.gguf", weights, vocabulary)
    (arguments.directory / "story_held_out.txt").write_text(story_text.SEPARATOR.join(held_out) + "\n")


if __name__ == "__main__":
    main()
