#!/usr/bin/env python3
"""A GGUF file of one of the tiny models, taken apart, changed and written again. Standard library only."""
import struct

import cli_runner

SIZES = {"u8": 1, "i8": 1, "u16": 2, "i16": 2, "u32": 4, "i32": 4, "f32": 4, "bool": 1, "u64": 8, "i64": 8, "f64": 8}
CODES = dict(zip(SIZES, "BbHhIif?Qqd"))
NUMBERS = {"u8": 0, "i8": 1, "u16": 2, "i16": 3, "u32": 4, "i32": 5, "f32": 6, "bool": 7, "string": 8, "array": 9, "u64": 10,
           "i64": 11, "f64": 12}
NAMES = {number: name for name, number in NUMBERS.items()}
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 8: (32, 34)}  # of the tensor types that tests here change: values, bytes


def text(value):
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def numbers(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def text(self):
        length, = self.numbers("Q")
        self.at += length
        return self.data[self.at - length:self.at]

    def value(self, kind):
        if kind == "string":
            return self.text()
        if kind == "array":
            element, count = self.numbers("IQ")
            return NAMES[element], [self.value(NAMES[element]) for _ in range(count)]
        return self.numbers(CODES[kind])[0]


class Gguf:
    """keys: name -> (kind, value), of an array (kind, values); tensors: name -> (dimensions, type, bytes)."""

    def __init__(self, name="llama_f32"):
        with open(cli_runner.model(name), "rb") as file:
            reader = Reader(file.read())
        _, _, tensors, entries = reader.numbers("4sIQQ")
        self.keys, self.tensors, places = {}, {}, []
        for _ in range(entries):
            key = reader.text().decode()
            kind = NAMES[reader.numbers("I")[0]]
            self.keys[key] = (kind, reader.value(kind))
        for _ in range(tensors):
            name = reader.text().decode()
            dimensions = reader.numbers("%dQ" % reader.numbers("I")[0])
            places.append((name, list(dimensions), *reader.numbers("IQ")))
        start = (reader.at + 31) // 32 * 32
        ends = [place[3] for place in places[1:]] + [len(reader.data) - start]
        for (name, dimensions, kind, offset), end in zip(places, ends):
            values, size = BLOCKS.get(kind, (1, 0))
            length = size * dimensions[0] // values
            for dimension in dimensions[1:]:
                length *= dimension
            self.tensors[name] = (dimensions, kind, reader.data[start + offset:start + (offset + length if size else end)])

    @property
    def architecture(self):
        return self.keys["general.architecture"][1].decode()

    def set(self, key, kind, value):
        self.keys[key] = (kind, value)
        return self

    def rename(self, architecture):
        """Another architecture's name, in all keys."""
        old = self.architecture + "."
        self.keys = {architecture + "." + key[len(old):] if key.startswith(old) else key: value for key, value in self.keys.items()}
        return self.set("general.architecture", "string", architecture)

    def floats(self, name, dimensions, values):
        """An f32 tensor."""
        self.tensors[name] = (list(dimensions), 0, struct.pack("<%df" % len(values), *values))
        return self

    def values(self, name):
        raw = self.tensors[name][2]
        return list(struct.unpack("<%df" % (len(raw) // 4), raw))

    def write(self, path):
        header, data = [struct.pack("<4sIQQ", b"GGUF", 3, len(self.tensors), len(self.keys))], []
        for key, (kind, value) in self.keys.items():
            header += [text(key), struct.pack("<I", NUMBERS[kind]), self.packed(kind, value)]
        at = 0
        for name, (dimensions, kind, raw) in self.tensors.items():
            header.append(text(name) + struct.pack("<I%dQIQ" % len(dimensions), len(dimensions), *dimensions, kind, at))
            data.append(raw + bytes(-len(raw) % 32))
            at += len(data[-1])
        head = b"".join(header)
        with open(path, "wb") as file:
            file.write(head + bytes(-len(head) % 32) + b"".join(data))
        return path

    def packed(self, kind, value):
        if kind == "string":
            return text(value)
        if kind == "array":
            element, values = value
            return struct.pack("<IQ", NUMBERS[element], len(values)) + b"".join(self.packed(element, one) for one in values)
        return struct.pack("<" + CODES[kind], value)
