#!/usr/bin/env python3
"""Writes tiny models of random weights, with any metadata, for the tests of this folder. Standard library only.

A model has one layer, a context of 4,096 tokens and a byte-level vocabulary: 256 bytes, "ab", then `specials` as control tokens,
of which the first two are the beginning and the end of a text. set() takes a str (string), bool, float (f32) or int (u32), or a list
of one of these; an int64 and the like go in as (type, struct format, value).
"""
import random
import struct

WIDTH, HEADS, HEAD_DIM, FEED = 32, 2, 16, 32
SPECIALS = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<unk>")
NORMAL, CONTROL = 1, 3
I32, F32 = 5, 6
CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def text_bytes(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


def value_bytes(value):
    """GGUF's number of a type and the value's bytes."""
    if isinstance(value, tuple):
        kind, layout, number = value
        return kind, struct.pack(layout, number)
    if isinstance(value, bool):
        return 7, struct.pack("<B", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return F32, struct.pack("<f", value)
    if isinstance(value, (str, bytes)):
        return 8, text_bytes(value)
    parts = [value_bytes(item) for item in value]
    return 9, struct.pack("<IQ", parts[0][0], len(parts)) + b"".join(raw for _, raw in parts)


def byte_tokens():
    """GPT-2's letters for bytes: printable ones stand for themselves."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in plain}
    for byte in range(256):
        letters.setdefault(byte, chr(256 + len(letters) - len(plain)))
    return [letters[byte] for byte in range(256)]


class TinyModel:
    def __init__(self, specials=SPECIALS, architecture="llama"):
        self.metadata, self.tensors = {}, []
        self.random = random.Random(1)
        self.tokens = [*byte_tokens(), "ab", *specials]
        self.set("general.architecture", architecture).set("general.name", "tiny")
        for key, value in (("block_count", 1), ("context_length", 4096), ("embedding_length", WIDTH),
                           ("feed_forward_length", FEED), ("attention.head_count", HEADS), ("attention.head_count_kv", 1),
                           ("attention.key_length", HEAD_DIM), ("attention.value_length", HEAD_DIM),
                           ("attention.layer_norm_rms_epsilon", 1e-5), ("rope.freq_base", 10000.0)):
            self.set("%s.%s" % (architecture, key), value)
        kinds = [NORMAL] * 257 + [CONTROL] * len(specials)
        for key, value in (("model", "gpt2"), ("pre", "gpt-2"), ("tokens", self.tokens),
                           ("token_type", [(I32, "<i", kind) for kind in kinds]), ("merges", ["a b"]), ("bos_token_id", 257),
                           ("eos_token_id", 258), ("add_bos_token", False)):
            self.set("tokenizer.ggml." + key, value)
        self.add_tensors()

    def set(self, key, value):
        self.metadata[key] = value
        return self

    def tensor(self, name, *dimensions, values=None):
        count = 1
        for dimension in dimensions:
            count *= dimension
        values = values or [self.random.gauss(0, 0.3) for _ in range(count)]
        self.tensors.append((name, dimensions, struct.pack("<%df" % count, *values)))

    def add_tensors(self):
        ones, heads = [1.0] * WIDTH, HEADS * HEAD_DIM
        self.tensor("token_embd.weight", WIDTH, len(self.tokens))
        self.tensor("output_norm.weight", WIDTH, values=ones)
        self.tensor("output.weight", WIDTH, len(self.tokens))
        for name, rows in (("attn_q", heads), ("attn_k", HEAD_DIM), ("attn_v", HEAD_DIM), ("ffn_gate", FEED), ("ffn_up", FEED)):
            self.tensor("blk.0.%s.weight" % name, WIDTH, rows)
        self.tensor("blk.0.attn_output.weight", heads, WIDTH)
        self.tensor("blk.0.ffn_down.weight", FEED, WIDTH)
        for name in ("attn_norm", "ffn_norm"):
            self.tensor("blk.0.%s.weight" % name, WIDTH, values=ones)

    def write(self, path):
        out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.metadata)))
        for key, value in self.metadata.items():
            kind, raw = value_bytes(value)
            out += text_bytes(key) + struct.pack("<I", kind) + raw
        data = bytearray()
        for name, dimensions, raw in self.tensors:
            out += text_bytes(name) + struct.pack("<I", len(dimensions)) + struct.pack("<%dQ" % len(dimensions), *dimensions)
            out += struct.pack("<IQ", 0, len(data))
            data += raw + bytes(-len(raw) % 32)
        out += bytes(-len(out) % 32) + data
        with open(path, "wb") as file:
            file.write(out)
        return path
