#!/usr/bin/env python3
"""Right answers about long documents, for policies side by side: runs `fovea eval` and keeps a table.

    tools/tasks.py run --fovea build/fovea --model MODEL.gguf [--task variables definition imports needles] [--context 8192]
                       [--pass prompt] [--seeds 10] [--questions 20] [--threads N] SPEC...
    tools/tasks.py report [--into docs/results.md [--check]]

`run` adds to bench/results/tasks.csv what is not there yet: one document a seed, one line for it and each SPEC, dense attention
always among them, with the seconds of reading the document and of answering. A run that is cut short keeps the documents before.
`report` writes the table from that file. Its interval takes documents as wholes, as that of `fovea eval` does: a
cluster-robust standard error times Student's t.
"""
import argparse
import collections
import json
import math
import os
import re
import subprocess
import sys

import marked_table

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CSV = os.path.join(ROOT, "bench", "results", "tasks.csv")
KEYS = ["model", "context", "pass", "task", "seed", "attention"]
FIGURES = ["questions", "right", "better", "worse", "density", "reading_s", "answering_s"]
BEGIN, END = "<!-- tasks: made by tools/tasks.py report -->", "<!-- tasks: end -->"


def rows_write(rows):
    rows = sorted(rows, key=lambda row: [row["model"], int(row["context"]), row["pass"], row["task"], row["attention"], int(row["seed"])])
    marked_table.rows_write(CSV, KEYS + FIGURES, rows)


def rows_of(results, said):
    """One task and one document: the JSON of `fovea eval`, and what it said on stderr."""
    seconds = {found[1]: (found[2], found[3])
               for found in re.finditer(r"(\S+): (\S+) s of reading, (\S+) s of answering", said)}
    made = []
    for policy in results["policies"]:
        task, = policy["tasks"]
        reading, answering = seconds.get(policy["attention"], ("", ""))
        made.append({"model": os.path.basename(results["model"]), "context": str(results["context"]), "pass": results["pass"],
                     "task": task["task"], "seed": str(results["seed"]), "attention": policy["attention"],
                     "questions": str(task["questions"]), "right": str(task["right"]), "better": str(task["better"]),
                     "worse": str(task["worse"]), "density": "%.4f" % policy["density"], "reading_s": reading,
                     "answering_s": answering})
    return made


def run(options):
    for task in options.task:
        for seed in range(1, options.seeds + 1):
            rows = marked_table.rows_read(CSV)
            wanted = [os.path.basename(options.model), str(options.context), options.kind, task, str(seed)]
            here = {row["attention"] for row in rows if [row[key] for key in KEYS[:-1]] == wanted}
            specs = [spec for spec in options.specs if spec not in here]
            if here and not specs:
                continue
            command = [options.fovea, "eval", "-m", options.model, "-c", str(options.context), "-n", str(options.questions),
                       "-s", str(seed), "--task", task, "--pass", options.kind, "-t", str(options.threads), "--jsonl",
                       "-ctk", "f16", "-ctv", "f16"]  # on any machine
            for spec in specs:
                command += ["--attention", spec]
            print("%s, document %d of %d" % (task, seed, options.seeds), file=sys.stderr, flush=True)
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
            if done.returncode != 0:
                sys.exit(done.stderr)
            rows_write(rows + [row for row in rows_of(json.loads(done.stdout), done.stderr) if row["attention"] not in here])


def student(freedom):
    """The 97.5 % point, as in src/measure/eval.c."""
    table = [12.706, 4.303, 3.182, 2.776]
    return table[freedom - 1] if freedom <= len(table) else 1.96 + (2.372 + (2.822 + 2.556 / freedom) / freedom) / freedom


def interval(members):
    """Half of the 95 % interval of the difference from dense attention, in points."""
    documents = [(int(row["questions"]), int(row["better"]) - int(row["worse"])) for row in members]
    count, questions = len(documents), sum(asked for asked, _ in documents)
    if count < 2:
        return 100.0
    mean = sum(points for _, points in documents) / questions
    squares = sum((points - asked * mean) ** 2 for asked, points in documents)
    return 100 * student(count - 1) * math.sqrt(count / (count - 1) * squares) / questions


def seconds(members):
    """Of a document: mean reading, mean answering, over those that were timed."""
    timed = [(float(row["reading_s"]), float(row["answering_s"])) for row in members if row["reading_s"]]
    return "%.0f + %.0f" % tuple(sum(part) / len(timed) for part in zip(*timed)) if timed else ""


def table(rows):
    lines = ["", "| model | context | pass | task | attention | documents | right | of dense | only it, only dense "
             "| difference, points | density | seconds |", "|---|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|"]
    groups = collections.OrderedDict()
    for row in rows:
        groups.setdefault(tuple(row[key] for key in KEYS if key != "seed"), []).append(row)
    for (model, context, kind, task, attention), members in groups.items():
        total = {name: sum(int(row[name]) for row in members) for name in ("questions", "right", "better", "worse")}
        dense = total["right"] - total["better"] + total["worse"]
        beside = ["", "", ""] if attention == "dense" else [
            "%.1f %%" % (100 * total["right"] / dense) if dense else "", "%d, %d" % (total["better"], total["worse"]),
            "%+.1f ± %.1f" % (100 * (total["better"] - total["worse"]) / total["questions"], interval(members))]
        density = sum(float(row["density"]) for row in members) / len(members)
        lines.append("| %s |" % " | ".join(
            [re.sub(r"([.-]I?Q\d\w*)?\.gguf$", "", model, flags=re.I), context, kind, task, "`%s`" % attention,
             str(len(members)), "%d of %d" % (total["right"], total["questions"])] + beside +
            ["%.1f %%" % (100 * density), seconds(members)]))
    return "\n".join(lines) + "\n"


def report(options):
    rows = marked_table.rows_read(CSV)
    if not options.into:
        print(table(rows))
        return
    marked_table.put(options.into, BEGIN, END, table(rows), options.check,
                     "%s is not what %s says; run tools/tasks.py report" % (options.into, CSV))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    measured = verbs.add_parser("run")
    measured.add_argument("--fovea", default="build/fovea")
    measured.add_argument("--model", required=True)
    measured.add_argument("--task", nargs="+", default=["variables", "definition", "imports", "needles"])
    measured.add_argument("--context", type=int, default=8192)
    measured.add_argument("--pass", dest="kind", default="prompt")
    measured.add_argument("--seeds", type=int, default=10, help="documents, made from seeds 1 to N")
    measured.add_argument("--questions", type=int, default=20, help="about a document")
    measured.add_argument("--threads", type=int, default=1)
    measured.add_argument("specs", nargs="+", metavar="SPEC")
    written = verbs.add_parser("report")
    written.add_argument("--into")
    written.add_argument("--check", action="store_true", help="change nothing; exit code 1 if the table is an old one")
    options = parser.parse_args()
    run(options) if options.verb == "run" else report(options)


if __name__ == "__main__":
    main()
