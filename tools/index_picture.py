#!/usr/bin/env python3
"""Draws recall against queries a second of one thread for the index and its peers, over one set of vectors in one run: the graph at rising
beams, the scan, and of hnswlib, usearch and faiss what is installed. The measuring is bench/index_pair.py's.

    bench/index_data.py --rows 200000 ...  or  examples/sentence_vectors.py TEXT... -o VECTORS.npy
    tools/index_picture.py VECTORS.npy --metric cosine --title "..." -o recall.svg [--csv FIGURES.csv]
    tools/index_picture.py --from FIGURES.csv -o recall.svg          # the same picture again

Wants NumPy and matplotlib. The same figures give the same bytes.
"""
import argparse
import csv
import os
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(1, os.path.join(ROOT, "bench"))
COLOURS = {"fovea graph": "#1f5fbf", "fovea by recall": "#7a3fb0", "fovea flat": "#d2691e"}
FIELDS = ["title", "method", "recall", "qps", "build_s", "megabytes"]


def measured(options):
    import index_data
    import index_pair
    base, queries = index_data.load(options.vectors, options.rows)
    judge = index_pair.Judge(base, queries, options.metric)
    title = "%s: %d vectors of %d, %s" % (options.title or os.path.basename(options.vectors), *base.shape, options.metric)
    rows = []
    for name, kind in index_pair.METHODS.items():
        if options.only and name not in options.only.split(","):
            continue
        try:
            start = time.perf_counter()
            method = kind(base, options.metric, options)
            seconds = time.perf_counter() - start
        except (ImportError, RuntimeError, ValueError) as error:
            print("%s: left out: %s" % (name, error), file=sys.stderr)
            continue
        for way, efforts in index_pair.ways_of(name, method).items():
            points = index_pair.measure(method, efforts, queries, judge, options.repeats)
            rows += [{"title": title, "method": way, "recall": "%.4f" % recall, "qps": "%.0f" % qps, "build_s": "%.1f" % seconds,
                      "megabytes": "%.1f" % (method.memory() / 1e6)} for recall, qps, _ in points]
            print("%-18s %s, built in %.1f s" % (way, ", ".join("%.4f: %.0f" % point[:2] for point in points), seconds), flush=True)
        if hasattr(method, "close"):
            method.close()
    return rows


def picture(rows, path):
    import matplotlib
    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    plt.rcParams.update({"svg.hashsalt": "fovea", "svg.fonttype": "none", "font.size": 10})
    figure, axes = plt.subplots(figsize=(7.2, 4.2))
    for number, name in enumerate(dict.fromkeys(row["method"] for row in rows)):
        points = sorted((float(row["recall"]), float(row["qps"])) for row in rows if row["method"] == name)
        ours = name in COLOURS
        axes.plot([1 - recall + 1e-4 for recall, _ in points], [qps for _, qps in points], "o-" if ours else "x--", label=name,
                  color=COLOURS.get(name, "C%d" % (number + 1)), linewidth=2 if ours else 1.2, markersize=7 if len(points) == 1 else 4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.5, 8e-5)
    ticks = [0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.001, 0.0001]
    axes.set_xticks(ticks, ["%g" % (1 - tick) if tick > 1e-4 else "1" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("recall of the 10 nearest")
    axes.set_ylabel("queries a second of one processor")
    axes.set_title(rows[0]["title"], fontsize=10)
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", nargs="?", help="manifold, FILE.npy or FILE.gguf")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--from", dest="figures", help="draw these figures")
    parser.add_argument("--csv", help="write the figures")
    parser.add_argument("--title", default="")
    parser.add_argument("--metric", choices=("l2", "ip", "cosine"), default="l2")
    parser.add_argument("--rows", type=int, default=0, help="at most; 0: all")
    parser.add_argument("--threads", type=int, default=2, help="that build; one searches")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="methods, with commas")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.set_defaults(degree=0, build_beam=0, rounds=0)
    options = parser.parse_args()
    if not options.figures and not options.vectors:
        parser.error("name vectors, or figures with --from")
    if options.figures:
        with open(options.figures, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = measured(options)
    if options.csv:
        with open(options.csv, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    picture(rows, options.output)


if __name__ == "__main__":
    main()
