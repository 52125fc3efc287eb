#!/usr/bin/env python3
"""Runs the programs of examples/ and checks what they print: tables by formula, levels against the rules' shares.

Called as: examples_test.py BUILD/fovea SOURCE_FOLDER.
"""
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "cli"))
from tiny_gguf import CHATML, TinyModel


class Failure(Exception):
    pass


def expect(condition, sentence):
    if not condition:
        raise Failure(sentence)


def run(folder, name, *arguments):
    done = subprocess.run([os.path.join(folder, name), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          encoding="utf-8", errors="replace")
    expect(done.returncode == 0, "%s: exit %d\n%s" % (name, done.returncode, done.stdout))
    return done.stdout


def smoke(folder):
    output = run(folder, "smoke")
    expect(output.split("\n")[-2] == "OK", output)
    expect("64 tokens, 4 heads of 32, window 16" in output, output)
    checksum = float(re.search(r"checksum (-?[\d.]+)", output).group(1))
    expect(abs(checksum + 66.0728) < 0.001, "checksum %s" % checksum)


def attend_arrays(folder):
    output = run(folder, "attend_arrays")
    shares = {policy: float(share) for policy, share in re.findall(r"^(\S+) +reads +([\d.]+) % of the keys$", output, re.M)}
    expect(shares.get("dense") == 100.0 and 11.0 < shares.get("fovea:budget=0.12", 0) < 12.5, output)
    difference = float(re.search(r"^relative difference ([\d.]+)$", output, re.M).group(1))
    expect(0 < difference < 0.05, "what matters was not read: " + output)


def decode_cache(folder):
    output = run(folder, "decode_cache")
    read, visible, chosen, newest, first = map(int, re.search(
        r"^read (\d+) of (\d+) keys \((\d+) chosen, (\d+) newest, (\d+) first\)$", output, re.M).groups())
    expect(visible == 2 * sum(8192 + i + 1 for i in range(16)) and chosen + newest + first == read, output)
    expect(0.15 < read / visible < 0.165, output)
    value, wanted = map(float, re.search(r"^out\[0\] = (\S+); .* is (\S+)$", output, re.M).groups())
    expect(abs(value - wanted) < 0.002, "the key that was asked for was not read: " + output)


def chat_turns(folder):
    """Two turns: the answer goes on until the model ends it or its context is full, and the second turn adds to the first."""
    with tempfile.TemporaryDirectory() as place:
        model = TinyModel().set("tokenizer.chat_template", CHATML).write(os.path.join(place, "m.gguf"))
        done = subprocess.run([os.path.join(folder, "chat_turns"), model], input=b"one\ntwo\n", stdout=subprocess.PIPE)
        expect(done.returncode == 0, done.stdout)
        held = [int(tokens) for tokens in re.findall(rb"\n\[(\d+) tokens in the context\]\n", done.stdout)]
        expect(held and held == sorted(held) and held[-1] <= 4096, done.stdout)
        bad = subprocess.run([os.path.join(folder, "chat_turns"), place], input=b"", stderr=subprocess.PIPE)
        expect(bad.returncode == 1 and place.encode() in bad.stderr, bad.stderr)


def ask_many(folder):
    """Answers do not depend on what else is asked at the same time, nor on having slept."""
    model = os.path.join(sys.argv[2], "tests", "model", "llama_q4_0.gguf")
    with tempfile.TemporaryDirectory() as place:
        def answers(*questions):
            output = run(folder, "ask_many", model, os.path.join(place, "text.fovea"), "abc def", *questions)
            expect("read 7 tokens\nwoke with 7 tokens\n" in output, output)
            return re.split(r"\n  \d+ KiB of its own\n", output.split("woke with 7 tokens\n")[1])[:-1]
        one, two = answers(" one")[0], answers(" two")[0]
        expect(one.startswith(" one") and len(one) > 8 and one[4:] != two[4:], "%r %r" % (one, two))
        expect(answers(" one", " two", " one") == [one, two, one], "company shows")


def pattern_edges(tokens, window=128, block=64):
    """Edges of the causal pattern from its description: window, token 0, powers of two back; block means 0, 1, 2, 4, ...
    back."""
    edges = 0
    for row in range(tokens):
        read = set(range(max(0, row - window), row + 1)) | {0}
        stride = 1
        while stride <= row:
            read.add(row - stride)
            stride *= 2
        newest = (row + 1) // block - 1
        marks = {newest - back for back in [0, 1] + [2 ** i for i in range(1, 20)] if newest >= back}
        edges += len(read) + len(marks)
    return edges


def scaling_table(folder):
    output = run(folder, "scaling_table")
    rows = [[int(x) for x in line.split()] for line in output.split("\n") if re.fullmatch(r"[\d ]+", line)]
    expect([row[0] for row in rows] == [128, 256, 512, 1024, 2048], output)
    for tokens, pattern, gated, dense, *times in rows:
        expect(dense == tokens * (tokens + 1) // 2, "dense edges at %d: %d" % (tokens, dense))
        expect(pattern == pattern_edges(tokens), "edges at %d: %d, not %d" % (tokens, pattern, pattern_edges(tokens)))
        expect(gated <= pattern and gated >= pattern - tokens * 12, "gated edges at %d: %d" % (tokens, gated))
        expect(len(times) == 3 and min(times) > 0, "times at %d: %s" % (tokens, times))
    expect(rows[-1][2] < rows[-1][1] < rows[-1][3], "the gate removes edges of 2048 tokens, the pattern most of them")
    bars = re.findall(r"^ +(pattern|gated|dense) +(#+) (\d+)$", output, re.M)
    expect(len(bars) == 15 and len(bars[-1][1]) > len(bars[-3][1]) + 8, "the drawing\n" + output)


def shares(output):
    found = dict(re.findall(r"^(\w+) +valid ([\d.]+) %", output, re.M))
    expect(set(found) == {"dense", "pattern", "bigram"}, output)
    return {name: float(share) for name, share in found.items()}


def pictures(output, length, count, name):
    rows = [line for line in output.split("\n") if line.startswith("|")]
    expect(len(rows) == 10 * count, "%s: %d rows of pictures" % (name, len(rows)))
    expect(all(re.fullmatch(r"\|[ #o=?\[\]e.]{%d}\|" % length, row) for row in rows), "%s: a tile\n%s" % (name, output))
    return rows


def levels(folder, name, count, least):
    """Levels made by attention keep the rules, far more often than those of the baseline, and are no copies."""
    outputs = {seed: run(folder, name, str(seed)) for seed in (1, 2)}
    expect(run(folder, name, "1") == run(folder, name) == outputs[1], name + ": a seed gives one output")
    expect(outputs[1] != outputs[2], name + ": seeds 1 and 2 give one output")
    for seed, output in outputs.items():
        corpus = re.search(r"^corpus: (\d+) columns from seed (\d+), (\d+) keep the rules$", output, re.M)
        expect(corpus and corpus.group(1) == corpus.group(3) and corpus.group(2) == str(seed), output)
        share = shares(output)
        for way in ("dense", "pattern"):
            expect(share[way] >= least and share[way] >= share["bigram"] + 15, "%s %d: %s" % (name, seed, share))
        rows = pictures(output, 96, count, name)
        expect("^" in output, name + ": the baseline breaks no rule")
        masked = sum("." in row for row in rows)
        expect(masked == (30 if name == "level_diffusion" else 0), "%s: %d rows of masked columns" % (name, masked))
        copied = [int(x) for x in re.findall(r"longest stretch as in the corpus (\d+) columns", output)]
        expect(len(copied) == 2 and max(copied) < 96, "%s %d copies whole levels: %s" % (name, seed, copied))
        print("%s, seed %d: valid %s" % (name, seed, ", ".join("%s %.1f %%" % item for item in share.items())))


def read_once(folder):
    with tempfile.TemporaryDirectory() as place:
        text, kept = os.path.join(place, "text"), os.path.join(place, "kept")
        with open(text, "w") as file:
            file.write("the rain in the inn on the ring " * 100)
        output = run(folder, "read_once", os.path.join(sys.argv[2], "tests", "model", "llama_f32.gguf"), text, kept)
        found = re.findall(r"^(\d+) tokens, (\d+) of them from the file, (\d+) bytes of memory of its own$", output, re.M)
        expect(len(found) == 2 and found[0][1] == found[1][1], output)
        for tokens, reused, own in found:
            expect(1024 < int(reused) < int(tokens) and 0 < int(own) < os.path.getsize(kept), output)


def main():
    folder = os.path.join(os.path.dirname(os.path.abspath(sys.argv[1])), "examples")
    failed = 0
    for part in (smoke, attend_arrays, decode_cache, chat_turns, scaling_table, lambda f: levels(f, "level_retrieval", 3, 95),
                 lambda f: levels(f, "level_diffusion", 6, 90), read_once, ask_many):
        try:
            part(folder)
        except Failure as failure:
            print("failed: %s" % failure)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
