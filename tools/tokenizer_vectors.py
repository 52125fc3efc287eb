#!/usr/bin/env python3
"""Makes tests/golden/tokenizer: two tiny vocabularies and the ids that llama.cpp gives for texts.txt with them and with
any model file.

    tools/tokenizer_vectors.py PEER [NAME=MODEL.gguf ...]

PEER is the folder that tools/peer_build.sh filled. Writes tests/golden/tokenizer/{tiny_bpe,tiny_spm}.gguf and
NAME.ids; without a NAME the .ids of the models committed before stay as they are. Takes about ten minutes.
Only the standard library is needed.
"""
import collections
import os
import re
import struct
import subprocess
import sys
import tempfile

HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "golden", "tokenizer")
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
PRETOKENIZERS = ("default", "gpt-2", "smollm", "llama-bpe", "qwen2", "qwen35", "tekken", "gpt-4o", "falcon",
                 "deepseek-coder")
MERGES = 220


def read_texts():
    """The texts as bytes, escapes undone."""
    names = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"s": b" ", b"\\": b"\\"}

    def undo(match):
        escape = match.group(1)
        return bytes([int(escape[1:], 16)]) if escape[:1] == b"x" else names[escape]

    with open(os.path.join(HERE, "texts.txt"), "rb") as file:
        lines = file.read().split(b"\n")[:-1]
    return [re.sub(rb"\\(x[0-9a-f]{2}|.)", undo, line) for line in lines if not line.startswith(b"# ")]


def train(words, merges):
    """Plain BPE: words are tuples of symbols with counts; returns the joined pairs in order."""
    words = collections.Counter(words)
    joined = []
    while len(joined) < merges:
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        joined.append(best)
        words = collections.Counter({join_all(word, best): count for word, count in words.items()})
    return joined


def join_all(word, pair):
    out, at = [], 0
    while at < len(word):
        if word[at:at + 2] == pair:
            out.append(pair[0] + pair[1])
            at += 2
        else:
            out.append(word[at])
            at += 1
    return tuple(out)


def byte_characters():
    """GPT-2's printable stand-in for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x144))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


class Gguf:
    """Metadata of a GGUF file, version 3."""

    def __init__(self):
        self.entries = []

    @staticmethod
    def text(value):
        raw = value.encode()
        return struct.pack("<Q", len(raw)) + raw

    def add(self, key, kind, payload):
        self.entries.append(self.text(key) + struct.pack("<I", kind) + payload)

    def add_text(self, key, value):
        self.add(key, 8, self.text(value))

    def add_u32(self, key, value):
        self.add(key, 4, struct.pack("<I", value))

    def add_bool(self, key, value):
        self.add(key, 7, struct.pack("<B", value))

    def add_array(self, key, kind, values, pack):
        self.add(key, 9, struct.pack("<IQ", kind, len(values)) + b"".join(pack(value) for value in values))

    def bytes(self):
        return b"GGUF" + struct.pack("<IQQ", 3, 0, len(self.entries)) + b"".join(self.entries)


def start_file(name, model, tokens):
    """tokens: (text, type, score)."""
    file = Gguf()
    file.add_text("general.architecture", "llama")
    file.add_text("general.name", name)
    for key, value in (("context_length", 64), ("embedding_length", 8), ("block_count", 1),
                       ("feed_forward_length", 8), ("attention.head_count", 1)):
        file.add_u32("llama." + key, value)
    file.add("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5))
    file.add_text("tokenizer.ggml.model", model)
    file.add_array("tokenizer.ggml.tokens", 8, [token[0] for token in tokens], Gguf.text)
    file.add_array("tokenizer.ggml.scores", 6, [token[2] for token in tokens], lambda value: struct.pack("<f", value))
    file.add_array("tokenizer.ggml.token_type", 5, [token[1] for token in tokens],
                   lambda value: struct.pack("<i", value))
    return file


def make_bpe(texts, pretokenizer):
    stand_in = byte_characters()
    words = [tuple(stand_in[byte] for byte in word.encode())
             for text in texts for word in re.findall(r"\s?\w+|\s+|\s?[^\w\s]+", text.decode(errors="replace"))]
    merges = train(words, MERGES)
    texts_of = list(dict.fromkeys(stand_in + [left + right for left, right in merges]))
    tokens = [(text, NORMAL, 0.0) for text in texts_of]
    special = [("<|endoftext|>", CONTROL), ("<|im_start|>", CONTROL), ("<|im_end|>", CONTROL), ("<a>", CONTROL),
               ("<a><b>", CONTROL), ("<tool>", USER_DEFINED), ("    ", USER_DEFINED), ("<pad>", 5)]
    end = len(tokens)
    tokens += [(text, kind, 0.0) for text, kind in special]
    file = start_file("tiny bpe", "gpt2", tokens)
    file.add_text("tokenizer.ggml.pre", pretokenizer)
    file.add_array("tokenizer.ggml.merges", 8, ["%s %s" % pair for pair in merges], Gguf.text)
    file.add_u32("tokenizer.ggml.bos_token_id", end + 1)
    file.add_u32("tokenizer.ggml.eos_token_id", end + 2)
    file.add_bool("tokenizer.ggml.add_bos_token", True)
    file.add_bool("tokenizer.ggml.add_eos_token", True)
    return file.bytes()


def make_spm(texts, space_prefix):
    # llama.cpp reads a token's text up to its first zero byte: no token has one
    words = [tuple(text.decode(errors="replace").replace(" ", "\u2581")) for text in texts if b"\0" not in text]
    merges = train(words, MERGES)
    seen = {character for word in words for character in word if ord(character) < 0x250 and character >= " "}
    tokens = [("<unk>", UNKNOWN, 0.0), ("<s>", CONTROL, 0.0), ("</s>", CONTROL, 0.0)]
    tokens += [("<0x%02X>" % byte, BYTE, 0.0) for byte in range(256)]
    tokens += [("\n\n", USER_DEFINED, 0.0), ("<tool>", USER_DEFINED, 0.0), ("  ", USER_DEFINED, 0.0)]
    known = {token[0] for token in tokens}
    pieces = [text for text in dict.fromkeys(left + right for left, right in merges) if text not in known]
    tokens += [(text, NORMAL, -float(rank)) for rank, text in enumerate(pieces)]
    tokens += [(text, NORMAL, -1e6) for text in sorted(seen | {"\u2581"})]
    file = start_file("tiny spm", "llama", tokens)
    file.add_bool("tokenizer.ggml.add_space_prefix", space_prefix)
    return file.bytes()


def peer_ids(peer, model, text, special):
    """special: add BOS and EOS and read control tokens."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        command = [os.path.join(peer, "bin", "llama-tokenize"), "-m", model, "-f", file.name, "--no-escape", "--ids"]
        if not special:
            command += ["--no-bos", "--no-parse-special"]
        out = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    return [int(number) for number in re.findall(r"\d+", out[out.rindex("["):])]


def write_ids(peer, name, model, texts):
    print(name, flush=True)
    lines = ["# generated by tools/tokenizer_vectors.py from texts.txt with llama.cpp's llama-tokenize; two lines a text"]
    for text in texts:
        for special in (False, True):
            ids = peer_ids(peer, model, text, special)
            lines.append(" ".join(["3" if special else "0"] + [str(number) for number in ids]))
    with open(os.path.join(HERE, name + ".ids"), "w") as file:
        file.write("\n".join(lines) + "\n")


def write_tiny(peer, name, content, texts):
    with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
        file.write(content)
        file.flush()
        write_ids(peer, name, file.name, texts)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    peer, texts = sys.argv[1], read_texts()
    for name, content in (("tiny_bpe", make_bpe(texts, "gpt-2")), ("tiny_spm", make_spm(texts, True))):
        with open(os.path.join(HERE, name + ".gguf"), "wb") as file:
            file.write(content)
    for pretokenizer in PRETOKENIZERS:
        write_tiny(peer, "tiny_bpe_" + pretokenizer, make_bpe(texts, pretokenizer), texts)
    write_tiny(peer, "tiny_spm", make_spm(texts, True), texts)
    write_tiny(peer, "tiny_spm_no_prefix", make_spm(texts, False), texts)
    for argument in sys.argv[2:]:
        name, model = argument.split("=", 1)
        write_ids(peer, name, model, texts)


if __name__ == "__main__":
    main()
