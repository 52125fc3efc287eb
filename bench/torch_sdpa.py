#!/usr/bin/env python3
"""The attention core beside PyTorch's scaled_dot_product_attention on the processor, in turn, on the same data.

    python3 -m venv DIR; DIR/bin/pip install numpy torch      # PyPI's wheel for Linux brings libraries for GPUs: 5 GB in DIR
    DIR/bin/python bench/torch_sdpa.py [-t N] [--shape NAME] [--tokens N] [--pass P] [--dtype f32,bf16,f16] ...

Needs BUILD/peer_attention, as bench/attention.py does; it runs fovea's side (f16 cache) and waits for this script between rounds.
PyTorch has contiguous [heads][tokens][head_dim] keys and values. In decode the query heads of a group are handed in as rows of
one head: it reads each key once then, the fastest form that was found; a prefill uses enable_gqa and is_causal. As many layers
as fit into --memory are visited in turn on both sides. Rows go to bench/results/MACHINE/torch.csv.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

import results_csv
from attention import SHAPES

KEYS = ["shape", "threads", "tokens", "pass", "dtype", "attention"]
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
CASES = [("smollm2", 8192, "decode"), ("llama-3.2-1b", 8192, "decode"), ("llama-3-8b", 8192, "decode"),
         ("gemma3-270m", 8192, "decode"), ("smollm2", 2048, "prefill"), ("llama-3.2-1b", 2048, "prefill")]


class Fovea:
    """The other process: one line in, one round of all layers, their nanoseconds back."""

    def __init__(self, arguments, case, data):
        shape, tokens, way = case
        heads, kv_heads, head_dim = SHAPES[shape]
        layers = 30 if way == "decode" else 1
        memory = arguments.memory / 3  # PyTorch's side may be f32
        command = [os.path.join(arguments.build, "peer_attention"), "--step", "--write", data, "--heads", str(heads),
                   "--kv-heads", str(kv_heads), "--head-dim", str(head_dim), "--tokens", str(tokens), "--pass", way,
                   "--attention", arguments.attention, "-t", str(arguments.threads), "--layers", str(layers), "--memory",
                   str(memory)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True)
        self.layers = int(self.process.stdout.readline().split()[1])

    def round(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return [int(word) for word in self.process.stdout.readline().split()]

    def close(self):
        self.process.stdin.close()
        return self.process.wait()


class Torch:
    def __init__(self, case, dtype, layers, data):
        shape, tokens, self.way = case
        heads, kv_heads, head_dim = SHAPES[shape]
        rows = 1 if self.way == "decode" else tokens
        values = np.fromfile(data, dtype=np.float32)
        query, keys, values, self.want = np.split(values, np.cumsum([rows * heads * head_dim] + [tokens * kv_heads * head_dim] * 2))
        query = torch.from_numpy(query.reshape(1, rows, heads, head_dim)).transpose(1, 2)
        if self.way == "decode":
            query = query.reshape(1, kv_heads, heads // kv_heads, head_dim)
        self.query = query.to(dtype).contiguous()
        self.caches = []
        for _ in range(layers):  # the same values, in memory of their own
            self.caches.append([torch.from_numpy(x.reshape(1, tokens, kv_heads, head_dim)).transpose(1, 2).to(dtype)
                                .contiguous().clone() for x in (keys, values)])

    def call(self, layer):
        keys, values = self.caches[layer]
        prefill = self.way == "prefill"
        return torch.nn.functional.scaled_dot_product_attention(self.query, keys, values, is_causal=prefill,
                                                                enable_gqa=prefill)

    def round(self):
        times = []
        for layer in range(len(self.caches)):
            start = time.perf_counter_ns()
            self.out = self.call(layer)
            times.append(time.perf_counter_ns() - start)
        return times

    def difference(self):
        out = self.call(0).float()
        if self.way == "prefill":
            out = out.transpose(1, 2)
        return float(np.abs(out.contiguous().numpy().ravel() - self.want).max())


def run_case(arguments, case, name):
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        ours = Fovea(arguments, case, data)
        theirs = Torch(case, TYPES[name], ours.layers, data)
    times = ([], [])
    start = time.monotonic()
    for number in range(arguments.rounds + 1):
        got = (ours.round(), theirs.round())
        if number:  # the first warms up
            times[0].extend(got[0])
            times[1].extend(got[1])
        if number > 3 and time.monotonic() - start > arguments.seconds:
            break
    ours.close()
    (fovea_min, fovea_median), (torch_min, torch_median) = ((min(t), sorted(t)[len(t) // 2]) for t in times)
    row = {"shape": case[0], "threads": arguments.threads, "tokens": case[1], "pass": case[2], "dtype": name,
           "attention": arguments.attention, "layers": ours.layers, "rounds": len(times[0]) // ours.layers,
           "fovea_min_ns": fovea_min, "fovea_median_ns": fovea_median, "torch_min_ns": torch_min,
           "torch_median_ns": torch_median, "ratio_min": torch_min / fovea_min,
           "ratio_median": torch_median / fovea_median, "max_difference": theirs.difference(),
           "torch": torch.__version__}
    print("%-13s %-8s %6d torch %-5s %2d layers | fovea %9.3f ms, torch %9.3f ms, ratio %6.2f (min) %6.2f (median) | max "
          "difference %.1e" % (case[0], case[2], case[1], name, ours.layers, fovea_min * 1e-6, torch_min * 1e-6,
                               row["ratio_min"], row["ratio_median"], row["max_difference"]), flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--shape", action="append", choices=sorted(SHAPES))
    parser.add_argument("--tokens", action="append", type=int)
    parser.add_argument("--pass", dest="way", action="append", choices=("prefill", "decode"))
    parser.add_argument("--attention", default="dense")
    parser.add_argument("--dtype", default="f32,bf16")
    parser.add_argument("-t", "--threads", type=int, default=1)
    parser.add_argument("-r", "--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--memory", type=float, default=6, help="GB for both sides (default: 6)")
    parser.add_argument("--dry", action="store_true", help="print the rows, keep none")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cases = CASES
    if arguments.shape or arguments.tokens or arguments.way:
        cases = [(shape, tokens, way) for shape in arguments.shape or ["smollm2"] for tokens in arguments.tokens or [8192]
                 for way in arguments.way or ["decode"]]
    isa = results_csv.document_of([os.path.join(arguments.build, "fovea"), "bench", "attention", "--tokens", "16", "--layers",
                                   "1", "-t", "1", "-r", "1", "--json"])["isa"]
    for case in cases:
        for name in arguments.dtype.split(","):
            row = run_case(arguments, case, name)
            if not arguments.dry:
                results_csv.add_rows(results_csv.results_path(isa, "torch"), KEYS, [row])
    return 0


if __name__ == "__main__":
    sys.exit(main())
