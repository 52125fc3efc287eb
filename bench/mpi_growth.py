#!/usr/bin/env python3
"""A model of growth: time per token and per prompt on 1 to 64 ranks, from pieces that were measured. Standard library only.

    bench/mpi_growth.py                                  # the tables of docs/mpi.md
    bench/mpi_growth.py --check BUILD MODEL [--tokens N] # beside runs with 1 to 4 ranks on this machine

Pieces: products (operations a second), memory (bytes a second) and what one core of several ranks shares; a border's latency and
bandwidth. A prompt's chunks go through the stages as in the program: a stage begins a chunk when it has ended the one before and the
rows have come; a link sends one message after the other while stages compute. --check measures the pieces in one process, predicts the
runs with several, and prints both.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys

# layers, width, query width, key/value width (of keys), feed-forward, vocabulary
SHAPES = {"1.5B": (28, 1536, 1536, 256, 8960, 151936), "8B": (32, 4096, 4096, 1024, 14336, 128256),
          "70B": (80, 8192, 8192, 1024, 28672, 128256)}
NETWORKS = {"1 Gbit/s": (60e-6, 0.117e9), "10 Gbit/s": (30e-6, 1.17e9), "InfiniBand": (3e-6, 11e9)}  # latency, bytes a second
WEIGHT_BYTES = 4.5 / 8
CHUNK = 512
OVERHEAD = 64  # bytes beside a token's row


class Machine:
    """What one rank can do. The defaults are a server of 32 cores: 2,000 GOP/s in int8 products of prompts, 200 GB/s of memory."""

    def __init__(self, operations=2e12, attention=1e12, memory=2e11):
        self.operations, self.attention, self.memory = operations, attention, memory


def weights_of(shape):
    """Weights of a layer, and of the vocabulary."""
    layers, width, query, kv, feed, vocabulary = shape
    return 2 * width * query + 2 * width * kv + 3 * width * feed, vocabulary * width


def split(layers, stages):
    return [layers // stages + (stage >= stages - layers % stages) for stage in range(stages)]


def split_for_answers(layers, stages, layer, vocabulary):
    """As `--split answers`: the first stage's seconds with the vocabulary's product are no more than another's, if that can be."""
    def others(first):
        return split(layers - first, stages - 1) if stages > 1 else []
    first = min(range(1, layers - stages + 2) if stages > 1 else [layers],
                key=lambda count: max([count * layer + vocabulary] + [layer * other for other in others(count)]))
    return [first] + others(first)


def flow(times, send, latency):
    """When the last of chunks is through all stages. times[stage][chunk]; send: seconds that a link is busy with one."""
    come = [0.0] * len(times[0])
    for stage, own in enumerate(times):
        free = link = 0.0
        left = []
        for chunk, seconds in enumerate(own):
            free = max(free, come[chunk]) + seconds
            link = max(link, free) + send[chunk]
            left.append(free if stage == len(times) - 1 else link + latency)
        come = left
    return come[-1]


def prompt_seconds(shape, machine, network, stages, tokens, density):
    layer, _ = weights_of(shape)
    chunks = [min(CHUNK, tokens - at) for at in range(0, tokens, CHUNK)]
    times = []
    for layers in split(shape[0], stages):
        own = []
        for number, rows in enumerate(chunks):
            seen = number * CHUNK + rows / 2
            share = min(1.0, max(density, 2048 / seen)) + (1 / 16 if seen > 4096 and density < 1 else 0)  # choosing: 2 of 32 bits
            own.append(layers * rows * (2 * layer / machine.operations + 4 * shape[2] * seen * share / machine.attention))
        times.append(own)
    latency, bandwidth = network
    return flow(times, [rows * (4 * shape[1] + 2) / bandwidth for rows in chunks], latency)


def token_seconds(shape, machine, network, stages, context, density, flight=1):
    """Of one token of one sequence; flight: sequences in turn, of which as many as stages are computed at once, by layers that are
    divided for them."""
    layer, vocabulary = weights_of(shape)
    share = min(1.0, max(density, 2048 / context))
    cache = 4 * shape[3] * context * (share + (1 / 8 if density < 1 else 0))  # f16 keys and values; 2 bits of each key
    one, last = (layer * WEIGHT_BYTES + cache) / machine.memory, vocabulary * WEIGHT_BYTES / machine.memory
    stage = [layers * one for layers in (split(shape[0], stages) if flight == 1 else split_for_answers(shape[0], stages, one, last))]
    stage[0] += last
    latency, bandwidth = network
    border = 0 if stages == 1 else stages * (latency + (4 * shape[1] + OVERHEAD) / bandwidth)
    alone = sum(stage) + border
    return max(max(stage), alone / flight)


def memory_bytes(shape, stages, context):
    layer, vocabulary = weights_of(shape)
    layers = max(split(shape[0], stages))
    return layers * (layer * WEIGHT_BYTES + 4.25 * shape[3] * context), vocabulary * WEIGHT_BYTES


def tables(options):
    machine = Machine(options.gops * 1e9, options.attention_gops * 1e9, options.gb_per_s * 1e9)
    for name, shape in SHAPES.items():
        for context in (32768, 131072, 1048576):
            print("\n%s, %s tokens, density %g\n" % (name, format(context, ","), options.density))
            print("| ranks | GiB a rank | network | prompt, s | token, ms | of many sequences, ms |\n|---:|---:|---|---:|---:|---:|")
            for stages in (1, 2, 4, 8, 16, 32, 64):
                if stages > shape[0]:
                    continue
                layer_bytes, table = memory_bytes(shape, stages, context)
                size = (layer_bytes + (table if stages == 1 else 0)) / 2 ** 30
                for network, figures in NETWORKS.items():
                    if stages == 1 and network != "1 Gbit/s":
                        continue
                    print("| %d | %.1f | %s | %.1f | %.1f | %.1f |" %
                          (stages, size, "none" if stages == 1 else network,
                           prompt_seconds(shape, machine, figures, stages, context, options.density),
                           1e3 * token_seconds(shape, machine, figures, stages, context, options.density),
                           1e3 * token_seconds(shape, machine, figures, stages, context, options.density, 2 * stages)))


def check(options):
    program = os.path.join(options.check[0], "fovea")
    if not shutil.which("mpirun.mpich"):
        sys.exit("--check wants mpirun.mpich")
    cores = os.cpu_count() or 1

    def rate(ranks, *sizes):
        start = [] if ranks == 1 else ["mpirun.mpich", "-n", str(ranks)]
        done = subprocess.run([*start, program, "bench", "-m", options.check[1], *sizes, "-t", "1", "-r", "3", "--no-warmup", "-ub", str(CHUNK),
                               "-b", str(options.tokens), "-o", "json", *(["--split", told[ranks]] if ranks > 1 else [])],
                              stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)[0]

    layers = options.layers
    told = {ranks: ",".join(map(str, split(layers, ranks))) for ranks in (2, 3, 4)}
    prompt, decode = ("-p", str(options.tokens), "-n", "0"), ("-p", "0", "-n", "32")
    one = {"prompt": options.tokens / rate(1, *prompt)["avg_ts"], "decode": 1 / rate(1, *decode)["avg_ts"]}
    chunks = max(1, options.tokens // CHUNK)
    print("| ranks | prompt measured, s | by the model | decode measured, ms | by the model |\n|---:|---:|---:|---:|---:|")
    print("| 1 | %.2f | | %.2f | |" % (one["prompt"], 1e3 * one["decode"]))
    for ranks in (2, 3, 4):
        crowd = max(1.0, ranks / cores)  # ranks that share a core
        # Later chunks read longer contexts: times rise evenly from half to one and a half of the mean.
        weight = [0.5 + (chunk + 0.5) / chunks for chunk in range(chunks)]
        times = [[one["prompt"] / chunks * share * part / layers * crowd for share in weight] for part in split(layers, ranks)]
        by_model = flow(times, [0.0] * chunks, 1e-4)
        by_decode = one["decode"] + ranks * options.border_us * 1e-6
        print("| %d | %.2f | %.2f | %.2f | %.2f |" % (ranks, options.tokens / rate(ranks, *prompt)["avg_ts"], by_model,
                                                     1e3 / rate(ranks, *decode)["avg_ts"], 1e3 * by_decode))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gops", type=float, default=2000, help="int8 products of a rank, 10^9 operations a second")
    parser.add_argument("--attention-gops", type=float, default=1000, help="attention of a prompt, likewise")
    parser.add_argument("--gb-per-s", type=float, default=200, help="memory of a rank")
    parser.add_argument("--density", type=float, default=0.12, help="share of the keys that are read")
    parser.add_argument("--check", nargs=2, metavar=("BUILD", "MODEL"))
    parser.add_argument("--layers", type=int, default=30, help="of MODEL")
    parser.add_argument("--tokens", type=int, default=4096, help="of the checked prompt")
    parser.add_argument("--border-us", type=float, default=50, help="a border's latency here, for the check: shared memory, and waking")
    options = parser.parse_args()
    check(options) if options.check else tables(options)


if __name__ == "__main__":
    main()
