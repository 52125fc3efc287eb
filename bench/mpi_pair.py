#!/usr/bin/env python3
"""Speed and memory of two ranks beside one process, in turns: a prompt's pipeline, the bytes over the border, and the memory of
each of four ranks. One thread a rank.

    bench/mpi_pair.py BUILD MODEL [--tokens 8128] [--rounds 3] [--split 15,15] [--json]

BUILD was configured with -DFV_MPI=ON. Memory is the peak of pages that a rank's process had (VmHWM), also of the model's file, as
it runs `fovea run` over a text; what may be is a quarter of weights and of the cache as far as it is filled, the largest layer, and
32 MiB.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time


def launcher(build):
    for name, flags in (("mpich", []), ("openmpi", ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"])):
        if shutil.which("mpirun." + name) and os.path.exists(os.path.join(build, "fovea_mpi_%s.so" % name)):
            return ["mpirun." + name, *flags]
    sys.exit("no mpirun.mpich or mpirun.openmpi with its module in %s: cmake -DFV_MPI=ON" % build)


def bench(command):
    (row,) = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return row


def peaks(pid, found):
    """Largest VmHWM of each process of the program below `pid`, until it ends."""
    while True:
        listing = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], stdout=subprocess.PIPE).stdout.decode().split()
        parent = dict(zip(map(int, listing[::2]), map(int, listing[1::2])))
        if pid not in parent:
            return
        for child in parent:
            above = child
            while above in parent and above != pid:
                above = parent[above]
            if above != pid or child == pid:
                continue
            try:
                with open("/proc/%d/status" % child) as file:
                    lines = dict(line.split(":", 1) for line in file if ":" in line)
                if lines["Name"].strip() == "fovea":
                    found[child] = max(found.get(child, 0), int(lines["VmHWM"].split()[0]) * 1024)
            except (OSError, KeyError):
                pass
        time.sleep(0.2)


def memory(start, build, model, words, ranks):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as text:
        text.write("the rain in the inn on the ring and her thinner tin " * (words // 11))
        text.flush()
        process = subprocess.Popen([*start, "-n", str(ranks), os.path.join(build, "fovea"), "run", "-no-cnv", "-m", model, "-f", text.name,
                                    "-n", "4", "-t", "1", "-ub", "128", "--temp", "0", "-v"], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        found = {}
        watch = threading.Thread(target=peaks, args=(process.pid, found))
        watch.start()
        said = process.communicate()[1].decode()
        watch.join()
    return sorted(found.values(), reverse=True)[:ranks], allowed(said, ranks)


def allowed(said, ranks):
    """Bytes that a rank may have, from what the ranks say of their layers; those of the first are beside embedding and vocabulary, so
    that the largest layer is another's."""
    shares = [(int(last) - int(first) + 1, float(weights), float(cache)) for first, last, weights, cache in re.findall(
        r"layers (\d+) to (\d+), ([0-9.]+) MiB of weights, ([0-9.]+) MiB of a full cache", said)]
    used, room = (int(re.search(words, said).group(1)) for words in (r"context: (\d+) of", r"trained on (\d+) tokens"))
    if len(shares) < 2:
        return 0
    held = sum(weights + cache * used / room for _, weights, cache in shares)
    layer = max((weights + cache * used / room) / layers for layers, weights, cache in shares[1:])
    return (held / ranks + layer + 32) * 2 ** 20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=8128)
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--split", default="15,15", help="layers of the two ranks, for the prompt")
    parser.add_argument("--memory-words", type=int, default=2048)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    start, program = launcher(options.build), os.path.join(options.build, "fovea")
    common = ["bench", "-m", options.model, "-r", "1", "-t", "1", "-o", "json"]
    prompt = ["-p", str(options.tokens), "-n", "0", "-b", str(options.tokens), "--no-warmup"]
    decode = ["-p", "0", "-n", str(options.decode)]
    rates = {"prompt": ([], []), "decode": ([], [])}
    for _ in range(options.rounds):
        for name, sizes in (("prompt", prompt), ("decode", decode)):
            rates[name][0].append(bench([program, *common, *sizes])["avg_ts"])
            row = bench([*start, "-n", "2", program, *common, *sizes, "--split", options.split])
            rates[name][1].append(row["avg_ts"])
    result = {"tokens": options.tokens, "border_bytes_per_decoded_token": row["border_bytes_per_token"]}
    for name, (one, two) in rates.items():
        result[name] = {"one": statistics.median(one), "two": statistics.median(two),
                        "ratio": statistics.median(b / a for a, b in zip(one, two))}
    result["memory_of_1"], _ = memory([*start], options.build, options.model, options.memory_words, 1)
    result["memory_of_4"], result["memory_allowed"] = memory(start, options.build, options.model, options.memory_words, 4)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name in rates:
        print("%-7s one process %8.1f tokens/s, two ranks %8.1f: %.2f times" % (name, result[name]["one"], result[name]["two"], result[name]["ratio"]))
    print("border  %.0f bytes for a decoded token" % result["border_bytes_per_decoded_token"])
    for count in (1, 4):
        print("memory  %d rank(s): %s MiB" % (count, ", ".join("%.1f" % (b / 2 ** 20) for b in result["memory_of_%d" % count])))
    print("        of 4 may have %.1f MiB" % (result["memory_allowed"] / 2 ** 20))


if __name__ == "__main__":
    main()
