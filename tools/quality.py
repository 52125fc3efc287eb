#!/usr/bin/env python3
"""Quality against bytes read, for policies side by side: runs `fovea ppl` and keeps a table.

    tools/quality.py run --fovea build/fovea --model MODEL.gguf --texts FOLDER [--text technical prose source]
                         [--context 2048 4096 8192] [--pass decode prompt] [--score N] [--threads N] [--skip N] SPEC...
    tools/quality.py report [--svg docs/quality.svg] [--glance docs/glance.svg] [--into docs/results.md [--check]]

`run` adds to bench/results/quality.csv what is not there yet: one line for model, text, context, pass and SPEC, one chunk
each, its last N positions scored (default: 512). FOLDER is made by tools/texts.py. --skip N leaves out the first N tokens
of the text (what budgets were tuned on). `report` writes the table and the pictures from that file (they need matplotlib,
from PyPI): --svg has all models and texts, --glance the one panel that still reads on a phone.
"""
import argparse
import collections
import json
import os
import re
import subprocess
import sys

import marked_table

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CSV = os.path.join(ROOT, "bench", "results", "quality.csv")
KEYS = ["model", "text", "context", "pass", "scored", "skip", "attention"]
FIGURES = ["ppl", "ppl_ratio", "kl", "top1", "density", "bytes_per_token", "bytes_ratio", "mass"]
BEGIN, END = "<!-- quality: made by tools/quality.py report -->", "<!-- quality: end -->"


def rows_write(rows):
    rows = sorted(rows, key=lambda row: (row["model"], row["text"], int(row["context"]), row["pass"], float(row["bytes_ratio"])))
    marked_table.rows_write(CSV, KEYS + FIGURES, rows)


def measure(options, text, context, kind, specs):
    command = [options.fovea, "ppl", "-m", options.model, "-f", os.path.join(options.texts, text + ".txt"), "-c",
               str(context), "--chunks", "1", "--score", str(options.score), "--pass", kind, "--json", "-t",
               str(options.threads), "--skip", str(options.skip), "-ctk", "f16", "-ctv", "f16"]  # on any machine
    for spec in specs:
        command += ["--attention", spec]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    results = json.loads(done.stdout)
    dense, made = results[0], []
    for result in results:
        row = {"model": os.path.basename(options.model), "text": text, "context": context, "pass": kind,
               "scored": result["scored"], "skip": options.skip, "attention": result["attention"]}
        row.update({name: result[name] for name in ("ppl", "kl", "top1", "density", "bytes_per_token", "mass")})
        row["ppl_ratio"] = result["ppl"] / dense["ppl"]
        row["bytes_ratio"] = result["bytes_per_token"] / dense["bytes_per_token"]
        for name in FIGURES:
            row[name] = "" if row[name] is None else "%.6g" % row[name]
        made.append({name: str(value) for name, value in row.items()})
    return made


def run(options):
    for context in options.context:
        for text in options.text:
            for kind in options.kind:
                rows = marked_table.rows_read(CSV)
                here = {row["attention"] for row in rows
                        if (row["model"], row["text"], row["context"], row["pass"], row["scored"], row["skip"])
                        == (os.path.basename(options.model), text, str(context), kind, str(options.score), str(options.skip))}
                specs = [spec for spec in options.specs if spec not in here]
                if not specs:
                    continue
                print("%s %d %s: %d policies" % (text, context, kind, len(specs)), file=sys.stderr, flush=True)
                made = measure(options, text, context, kind, specs)
                rows_write(rows + [row for row in made if row["attention"] not in here])


def groups(rows):
    found = collections.OrderedDict()
    for row in rows:
        found.setdefault((row["model"], row["text"], row["context"], row["pass"]), []).append(row)
    return found


def name_of(model):
    """Of a file: without its ending and the type of its weights."""
    return re.sub(r"([.-]I?Q\d\w*)?\.gguf$", "", model, flags=re.I)


def table(rows):
    lines = ["", "| model | text | context | pass | attention | bytes read | density | ppl | KL | top-1 |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for (model, text, context, kind), members in groups(rows).items():
        for row in members:
            lines.append("| %s | %s | %s | %s | `%s` | %.1f %% | %.1f %% | %+.2f %% | %.4f | %.1f %% |" % (
                name_of(model), text, context, kind, row["attention"], 100 * float(row["bytes_ratio"]),
                100 * float(row["density"]), 100 * (float(row["ppl_ratio"]) - 1), float(row["kl"]),
                100 * float(row["top1"])))
    return "\n".join(lines) + "\n"


def family_of(attention):
    """The line of the picture that a policy belongs to."""
    name, _, keys = attention.partition(":")
    if name != "fovea":
        return name
    keys = dict(item.split("=") for item in keys.split(",") if "=" in item)
    return " ".join(["fovea", keys.get("selector", ""), "tail" if "tail" in keys else ""]).replace("  ", " ").strip()


def plotter():
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "fovea", "svg.fonttype": "none"})  # text stays text
    import matplotlib.pyplot as plot
    return plot


def points_of(members, name):
    return sorted((100 * float(row["bytes_ratio"]), float(row["kl"])) for row in members
                  if family_of(row["attention"]) == name and float(row["kl"]) > 0)


def picture(rows, path):
    """KL against bytes, decode pass at 8,192 tokens: a row of panels a model, a panel a text, a line a family of policies."""
    plot = plotter()
    panels = [(key, members) for key, members in groups(rows).items() if key[2:] == ("8192", "decode")]
    families = sorted({family_of(row["attention"]) for _, members in panels for row in members if float(row["kl"]) > 0})
    columns = 3
    height = (len(panels) + columns - 1) // columns
    figure, axes = plot.subplots(height, columns, figsize=(11, 3.2 * height), squeeze=False, sharex=True, sharey=True)
    panels.sort(key=lambda panel: (panel[0][0] != "SmolLM2-135M-Instruct.Q4_1.gguf", panel[0][1]))
    for axis, ((model, text, _, _), members) in zip(axes.flat, panels):
        for name in families:
            points = points_of(members, name)
            if points:
                axis.plot(*zip(*points), marker="o", markersize=4, label=name, color="C%d" % families.index(name))
        axis.set_yscale("log")
        axis.set_title("%s, %s" % (name_of(model), text), fontsize=9)
        axis.minorticks_off()
        axis.grid(True, alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("bytes read, % of dense")
    for axis in axes[:, 0]:
        axis.set_ylabel("KL to dense, nats")
    found = {label: line for axis in axes.flat for line, label in zip(*axis.get_legend_handles_labels())}
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.legend([found[name] for name in families], families, loc="lower center", ncol=len(families), fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    shorten(path)


def glance(rows, path):
    """One panel: SmolLM2, the technical text, decode pass at 8,192 tokens; each line is named where it runs."""
    plot = plotter()
    members = [row for row in groups(rows)["SmolLM2-135M-Instruct.Q4_1.gguf", "technical", "8192", "decode"]
               if "top-p" not in row["attention"]]
    figure, axis = plot.subplots(figsize=(4.6, 3.2))
    for name, label, place in (("pattern", "fixed pattern", (4, 1.6)), ("window", "nearest tokens only", (12, 0.42)),
                               ("fovea", "fovea", (21, 0.015)), ("fovea tail", "fovea, the\nrest in 2 bits", (5, 0.0042))):
        points = points_of(members, name)
        line, = axis.plot(*zip(*points), marker="o", markersize=5, linewidth=2)
        axis.text(*place, label, color=line.get_color(), fontsize=11)
    axis.set_yscale("log")
    axis.set_xlim(0, 35)
    axis.set_ylim(0.003, 3)
    axis.set_xlabel("bytes read, % of dense attention", fontsize=11)
    axis.set_ylabel("KL to dense, nats", fontsize=11)
    axis.minorticks_off()
    axis.grid(True, alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    shorten(path)


def shorten(path):
    """Rounds the picture's coordinates to tenths of a point, and drops what no reader of it needs."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->| id=\"\w+_\d+\"", "", text, flags=re.S)
    text = re.sub(r"-?\d+\.\d{2,}", lambda found: "%.4g" % round(float(found.group()), 1), text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: sans-serif", text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def report(options):
    rows = marked_table.rows_read(CSV)
    if not rows:
        sys.exit("%s has no rows" % CSV)
    if options.into:
        marked_table.put(options.into, BEGIN, END, table(rows), options.check,
                         "%s is not what %s says; run tools/quality.py report" % (options.into, CSV))
    else:
        print(table(rows))
    if options.svg:
        picture(rows, options.svg)
    if options.glance:
        glance(rows, options.glance)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    measured = verbs.add_parser("run")
    measured.add_argument("--fovea", default="build/fovea")
    measured.add_argument("--model", required=True)
    measured.add_argument("--texts", required=True)
    measured.add_argument("--text", nargs="+", default=["technical", "prose", "source"])
    measured.add_argument("--context", nargs="+", type=int, default=[2048, 4096, 8192])
    measured.add_argument("--pass", dest="kind", nargs="+", default=["decode", "prompt"])
    measured.add_argument("--score", type=int, default=512)
    measured.add_argument("--skip", type=int, default=0)
    measured.add_argument("--threads", type=int, default=1)
    measured.add_argument("specs", nargs="+", metavar="SPEC")
    written = verbs.add_parser("report")
    written.add_argument("--svg")
    written.add_argument("--glance")
    written.add_argument("--into")
    written.add_argument("--check", action="store_true", help="change nothing; exit code 1 if the table is an old one")
    options = parser.parse_args()
    run(options) if options.verb == "run" else report(options)


if __name__ == "__main__":
    main()
