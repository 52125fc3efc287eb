#!/usr/bin/env python3
"""Draws bench/results/*/*.csv as SVG beside the files: decode over the length of the context, and the model's tests.

    python3 -m venv DIR; DIR/bin/pip install matplotlib; DIR/bin/python tools/bench_plots.py

The same figures give the same bytes.
"""
import csv
import glob
import os

import matplotlib
matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402 - the back end is chosen first

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
plt.rcParams.update({"svg.hashsalt": "fovea", "svg.fonttype": "none", "font.size": 9, "figure.figsize": (8, 4.5)})


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def save(figure, folder, name):
    figure.tight_layout()
    figure.savefig(os.path.join(folder, name), metadata={"Date": None, "Creator": None})
    plt.close(figure)


def decode_plot(folder, rows):
    """Left: milliseconds of a layer against tokens; right: how many times faster."""
    rows = [row for row in rows if row["pass"] == "decode"]
    lines = sorted({(row["shape"], row["kv_type"], row["attention"], row["threads"]) for row in rows})
    if not lines:
        return
    figure, (times, ratios) = plt.subplots(1, 2)
    for number, line in enumerate(lines):
        mine = sorted((row for row in rows if (row["shape"], row["kv_type"], row["attention"], row["threads"]) == line),
                      key=lambda row: int(row["tokens"]))
        tokens, colour = [int(row["tokens"]) for row in mine], "C%d" % (number % 10)
        label = "%s %s%s, %s thread%s" % (line[0], line[1], "" if line[2] == "dense" else " " + line[2], line[3],
                                          "" if line[3] == "1" else "s")
        times.plot(tokens, [float(row["fovea_min_ns"]) * 1e-6 for row in mine], "o-", color=colour)
        times.plot(tokens, [float(row["peer_min_ns"]) * 1e-6 for row in mine], "x:", color=colour)
        ratios.plot(tokens, [float(row["ratio_min"]) for row in mine], "o-", color=colour, label=label)
    for axes in (times, ratios):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("tokens")
        axes.grid(True, alpha=0.3)
    times.set_yscale("log")
    times.set_ylabel("ms a layer (dotted: ggml)")
    ratios.set_ylabel("ggml / fovea")
    ratios.set_ylim(bottom=0)
    ratios.legend(fontsize=6)
    save(figure, folder, "decode.svg")


def model_plot(folder, rows):
    tests = list(dict.fromkeys(row["test"] for row in rows))
    bars = list(dict.fromkeys((row["engine"], row["settings"], row["threads"]) for row in rows))
    if not tests:
        return
    figure, axes = plt.subplots()
    width = 0.8 / len(bars)
    for number, bar in enumerate(bars):
        heights = []
        for test in tests:
            found = [row for row in rows if row["test"] == test and (row["engine"], row["settings"], row["threads"]) == bar]
            heights.append(max([float(row["best_ts"]) for row in found], default=0))
        axes.bar([i + number * width for i in range(len(tests))], heights, width, label="%s %s, t %s" % bar)
    axes.set_xticks([i + 0.4 - width / 2 for i in range(len(tests))], tests)
    axes.set_ylabel("tokens/s (best)")
    axes.set_yscale("log")
    axes.legend(fontsize=7)
    save(figure, folder, "model.svg")


def main():
    for folder in sorted(glob.glob(os.path.join(ROOT, "bench", "results", "*"))):
        for name, draw in (("attention", decode_plot), ("model", model_plot)):
            path = os.path.join(folder, name + ".csv")
            if os.path.exists(path):
                draw(folder, rows_of(path))


if __name__ == "__main__":
    main()
