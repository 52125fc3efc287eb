#!/usr/bin/env python3
"""Turns a small GGUF into a C file of constants, so that a chip reads the weights from flash as they lie.

    tools/model_image.py MODEL.gguf OUT.c          ports/model_image.h declares what is in it

Standard library only. Architecture llama with a byte-level vocabulary and matrices of Q8_0; anything else is refused by name.
Matrices are interleaved by eight rows, as fv_weight_pack() does it; tests/model/story_test.py holds one against the other.
"""
import argparse
import struct
import sys

MAGIC, VERSION, ALIGNMENT = b"GGUF", (2, 3), 32
F32, Q8_0 = 0, 8
ROWS, BLOCK, BLOCK_BYTES = 8, 32, 34  # of an interleaved group; values and bytes of a block of Q8_0
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY = 8, 9
CONTROL, END_NAMES = 3, ("tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id")
USED = {"general.architecture", "general.alignment", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", *END_NAMES}
LAYER_VECTORS = (("attention_norm", "attn_norm"), ("feed_norm", "ffn_norm"))
LAYER_MATRICES = (("query", "attn_q"), ("key", "attn_k"), ("value", "attn_v"), ("output", "attn_output"),
                  ("gate", "ffn_gate"), ("up", "ffn_up"), ("down", "ffn_down"))
HARMLESS = ("general.", "tokenizer.", "quantize.", "llama.vocab_size")


class Refused(Exception):
    pass


class File:
    """A GGUF: metadata, and for each tensor its shape (as C has it, rows first), type and place."""
    def __init__(self, data):
        self.data, self.place = data, 4
        if data[:4] != MAGIC or self.take("I") not in VERSION:
            raise Refused("no GGUF of version 2 or 3")
        tensors, keys = self.take("Q"), self.take("Q")
        self.metadata = {}
        for _ in range(keys):
            key = self.text()
            self.metadata[key] = self.value(self.take("I"))
        found = [(self.text(), [self.take("Q") for _ in range(self.take("I"))], self.take("I"), self.take("Q"))
                 for _ in range(tensors)]
        alignment = self.metadata.get("general.alignment", ALIGNMENT)
        base = (self.place + alignment - 1) // alignment * alignment
        self.tensors = {}
        for name, sizes, kind, offset in found:
            self.tensors[name] = (sizes[1] if len(sizes) > 1 else 1, sizes[0], kind, base + offset)

    def tensor(self, name):
        if name not in self.tensors:
            raise Refused("tensor %s is missing" % name)
        rows, columns, kind, offset = self.tensors[name]
        if kind not in (F32, Q8_0):
            raise Refused("tensor %s has type %d; F32 and Q8_0 are understood" % (name, kind))
        data = self.data[offset:offset + rows * (columns * 4 if kind == F32 else columns // BLOCK * BLOCK_BYTES)]
        if len(data) < rows * columns:
            raise Refused("tensor %s does not fit into the file" % name)
        return rows, columns, kind, data

    def take(self, form):
        self.place += struct.calcsize("<" + form)
        return struct.unpack_from("<" + form, self.data, self.place - struct.calcsize("<" + form))[0]

    def text(self):
        length = self.take("Q")
        self.place += length
        return self.data[self.place - length:self.place].decode()

    def value(self, kind):
        if kind == TEXT:
            return self.text()
        if kind == ARRAY:
            element, count = self.take("I"), self.take("Q")
            return [self.value(element) for _ in range(count)]
        return self.take(SCALARS[kind])


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def literal(value):
    """The float as C writes it exactly."""
    return float(value).hex() + "f"


class Model:
    """What fv_model_config and fv_model_weights say, as src/llm/load_*.c read it."""
    def __init__(self, file):
        self.file = file
        if file.metadata.get("general.architecture") != "llama":
            raise Refused("architecture %s; llama is understood" % file.metadata.get("general.architecture"))
        self.left = {key for key in file.metadata if key not in USED and not key.startswith(HARMLESS)}
        self.unread = set(file.tensors)
        read = self.number
        self.vocabulary, self.width = file.tensor("token_embd.weight")[:2]
        self.layers, self.feed = read("block_count"), read("feed_forward_length")
        self.heads, self.kv_heads = read("attention.head_count"), read("attention.head_count_kv")
        self.head_dim = read("attention.key_length", self.width // self.heads)
        if read("attention.value_length", self.head_dim) != self.head_dim or read("embedding_length") != self.width:
            raise Refused("keys and values of different lengths")
        self.rope_dims = read("rope.dimension_count", self.head_dim)
        self.context, self.epsilon = read("context_length"), read("attention.layer_norm_rms_epsilon")
        base = float(read("rope.freq_base", 10000.0))
        self.frequencies = [f32(base ** (-2.0 * i / self.rope_dims)) for i in range(self.rope_dims // 2)]
        if self.left:
            raise Refused("not understood: " + ", ".join(sorted(self.left)))

    def number(self, name, default=None):
        key = "llama." + name
        self.left.discard(key)
        if key not in self.file.metadata and default is None:
            raise Refused(key + " is missing")
        return self.file.metadata.get(key, default)

    def tensor(self, name):
        self.unread.discard(name)
        return self.file.tensor(name)


def packed(rows, columns, data):
    """Q8_0 in eights: for each 32 columns the scales of eight rows, then their quants four at a time, shifted up by 128."""
    out, row_bytes = bytearray(), columns // BLOCK * BLOCK_BYTES
    for first in range(0, rows // ROWS * ROWS, ROWS):
        for block in range(columns // BLOCK):
            blocks = [data[(first + r) * row_bytes + block * BLOCK_BYTES:][:BLOCK_BYTES] for r in range(ROWS)]
            for one in blocks:
                out += one[:2]
            for step in range(BLOCK // 4):
                for one in blocks:
                    out += bytes(byte ^ 0x80 for byte in one[2 + 4 * step:6 + 4 * step])
    return bytes(out) + data[len(out):]


def bytes_of_token(text):
    """Undoes GPT-2's printable disguise of bytes; a character that stands for no byte is itself (control tokens)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    known = {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}
    return b"".join(bytes([known[c]]) if c in known else c.encode() for c in text)


class Writer:
    def __init__(self):
        self.parts = []

    def put(self, *lines):
        self.parts += lines

    def array(self, head, items, in_line):
        self.put(head + " = {")
        for i in range(0, len(items), in_line):
            self.put(",".join(items[i:i + in_line]) + ",")
        self.put("};")

    def vector(self, name, tensor, length):
        rows, columns, kind, data = tensor
        if (rows, columns, kind) != (1, length, F32):
            raise Refused("%s is no F32 vector of %d" % (name, length))
        self.array("static const float %s[%d]" % (name, columns),
                   [literal(x) for x in struct.unpack("<%df" % columns, data)], 8)
        return "{.data = %s, .type = FV_WEIGHT_F32, .rows = 1, .columns = %d}" % (name, columns)

    def matrix(self, name, tensor):
        rows, columns, kind, data = tensor
        if kind != Q8_0:
            raise Refused("%s is not Q8_0" % name)
        data = packed(rows, columns, data)
        self.array("static _Alignas(64) const uint8_t %s[%d]" % (name, len(data)), [str(byte) for byte in data], 64)
        return ("{.data = %s, .type = FV_WEIGHT_Q8_0, .rows = %d, .columns = %d, .packed = %d}"
                % (name, rows, columns, rows // ROWS * ROWS))


def write_texts(out, file):
    tokens, kinds = file.metadata["tokenizer.ggml.tokens"], file.metadata["tokenizer.ggml.token_type"]
    offsets, place = [], 0
    out.put("static const char texts[] =")
    for token, kind in zip(tokens, kinds):
        text = b"" if kind == CONTROL else bytes_of_token(token)
        offsets.append(str(place))
        place += len(text) + 1
        out.put('    "%s\\0"' % "".join("\\%03o" % byte for byte in text))
    out.put("    ;")
    out.array("static const uint32_t text_offsets[%d]" % len(offsets), offsets, 16)


def convert(file, source):
    model, out = Model(file), Writer()
    out.put("/* generated by tools/model_image.py from %s: do not edit */" % source, '#include "model_image.h"', "")
    embedding = out.matrix("embedding", model.tensor("token_embd.weight"))
    output = out.matrix("output", model.tensor("output.weight")) if "output.weight" in file.tensors else embedding
    norm = out.vector("output_norm", model.tensor("output_norm.weight"), model.width)
    out.array("static const float frequencies[%d]" % len(model.frequencies), [literal(x) for x in model.frequencies], 8)
    layers = []
    for layer in range(model.layers):
        tensor = lambda name: model.tensor("blk.%d.%s.weight" % (layer, name))
        fields = [(field, out.vector("%s_%d" % (field, layer), tensor(name), model.width)) for field, name in LAYER_VECTORS]
        fields += [(field, out.matrix("%s_%d" % (field, layer), tensor(name))) for field, name in LAYER_MATRICES]
        layers.append("    {" + ",\n     ".join(".%s = %s" % pair for pair in fields) + "},")
    if model.unread:
        raise Refused("nobody reads " + ", ".join(sorted(model.unread)))
    out.put("static const fv_layer_weights layers[%d] = {" % model.layers, *layers, "};")
    write_texts(out, file)
    begin, end = (file.metadata.get(name, -1) for name in END_NAMES)
    config = (("vocabulary", model.vocabulary), ("width", model.width), ("feed_forward", model.feed),
              ("layers", model.layers), ("query_heads", model.heads), ("cache.kv_heads", model.kv_heads),
              ("cache.head_dim", model.head_dim), ("cache.max_tokens", model.context), ("batch_tokens", 1),
              ("cache.key_type", "FV_ELEMENT_F16"), ("cache.value_type", "FV_ELEMENT_F16"), ("rope_kind", "FV_ROPE_PAIRS"),
              ("rope_dims", model.rope_dims), ("activation", "FV_ACTIVATION_SILU"), ("norm_epsilon", literal(model.epsilon)),
              ("attention_scale", literal(f32(model.head_dim ** -0.5))), ("embedding_scale", "1.0f"),
              ("residual_scale", "1.0f"), ("logit_scale", "1.0f"), ("rope_magnitude", "1.0f"))
    out.put("const fv_model_image fv_image = {", "    .config = {", *("        .%s = %s," % pair for pair in config), "    },",
            "    .weights = {.embedding = %s," % embedding, "                .output_norm = %s," % norm,
            "                .output = %s," % output, "                .layers = layers,",
            "                .rope_frequencies = frequencies},", "    .texts = texts,", "    .text_offsets = text_offsets,",
            "    .begin = %d," % begin, "    .end = %d," % end, "};")
    return "\n".join(out.parts) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("out")
    options = parser.parse_args()
    with open(options.model, "rb") as file:
        data = file.read()
    try:
        made = convert(File(data), options.model.replace("\\", "/").rsplit("/", 1)[-1])
    except (Refused, KeyError, struct.error) as problem:
        sys.exit("%s: %s" % (options.model, problem))
    with open(options.out, "w", encoding="utf-8") as file:
        file.write(made)


if __name__ == "__main__":
    main()
