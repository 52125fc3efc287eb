#!/usr/bin/env python3
"""Makes the seeds of tests/fuzz/gguf_fuzz.c: small GGUF files, right ones and ones that must be refused.

    tools/gguf_fuzz_seeds.py [DIR]    DIR defaults to tests/fuzz/corpus/gguf_fuzz

Needs nothing but Python. Inputs that a fuzzer found lie beside them under their hash.
"""

import struct
import sys
from pathlib import Path

UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)
CODES = {UINT8: "B", INT8: "b", UINT16: "H", INT16: "h", UINT32: "I", INT32: "i", FLOAT32: "f", BOOL: "?",
         UINT64: "Q", INT64: "q", FLOAT64: "d"}


def text(value):
    content = value.encode()
    return struct.pack("<Q", len(content)) + content


def value(type_, content):
    return text(content) if type_ == STRING else struct.pack("<" + CODES[type_], content)


def entry(key, type_, content):
    return text(key) + struct.pack("<I", type_) + value(type_, content)


def array(key, type_, contents):
    return text(key) + struct.pack("<IIQ", ARRAY, type_, len(contents)) + b"".join(value(type_, c) for c in contents)


def tensor(name, dimensions, type_, offset):
    return text(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, type_, offset)


def file(entries, tensors, data_bytes, version=3, alignment=32):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + bytes(data_bytes)


def seeds():
    scalars = [entry(f"k.{type_}", type_, 1) for type_ in CODES]
    model = [entry("general.architecture", STRING, "llama"), entry("general.alignment", UINT32, 32),
             array("tokenizer.ggml.tokens", STRING, ["<s>", "", "a", "\u20ac"]),
             array("tokenizer.ggml.scores", FLOAT32, [0.0, -1.5]),
             array("tokenizer.ggml.token_type", INT32, [3, 1, 1, 6]), array("flags", BOOL, [True, False])]
    weights = [tensor("token_embd.weight", [32, 2], 8, 0), tensor("output_norm.weight", [8], 0, 96)]
    yield "empty", file([], [], 0)
    yield "scalars", file(scalars, [], 0)
    yield "model", file(model, weights, 96 + 32)
    yield "model_v2", file(model, weights, 96 + 32, version=2)
    yield "arrays", file([array(f"a.{type_}", type_, [0, 1]) for type_ in CODES], [], 0)
    yield "alignment", file([entry("general.alignment", UINT32, 8)], [tensor("t", [1, 1, 1, 1], 1, 8)], 10, alignment=8)
    yield "scalar_tensor", file([], [tensor("t", [], 0, 0)], 4)
    yield "types", file([], [tensor(f"t{i}", [256], i, 0) for i in range(48)], 2048)
    yield "bad_split", file([entry("split.no", UINT16, 0), entry("split.count", UINT16, 3)], weights, 96 + 32)
    yield "bad_nested", file([text("n") + struct.pack("<IIQ", ARRAY, ARRAY, 1)], [], 0)
    yield "bad_duplicate", file([entry("k", UINT8, 1)] * 2, [tensor("t", [1], 0, 0)] * 2, 4)
    yield "bad_cut", file(model, weights, 96)
    yield "bad_endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)
    yield "bad_count", b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", ARRAY, UINT64, 1 << 61)
    yield "bad_magic", b"lmgg" + bytes(28)


def main():
    default = Path(__file__).resolve().parent.parent / "tests" / "fuzz" / "corpus" / "gguf_fuzz"
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in seeds():
        (directory / name).write_bytes(content)


if __name__ == "__main__":
    main()
