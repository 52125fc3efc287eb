#!/usr/bin/env python3
"""Where the benchmarks of this folder put their figures: bench/results/MACHINE/NAME.csv, one row a measurement. A row that was
measured again replaces the old one. Standard library only; imported, not called."""
import csv
import datetime
import json
import os
import re
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(HERE, "results")


def document_of(command, timeout=None, env=None):
    """Standard output of a command, read as JSON."""
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=timeout, env=env)
    return json.loads(done.stdout.decode("utf-8"))


def with_type(attention, row):
    """What the tables call a row of `fovea bench`: its attention, and the type of keys and values where that is not f16."""
    types = [row["type_k"]] + [row["type_v"]] * (row["type_v"] != row["type_k"])
    return attention if types == ["f16"] else "%s, %s" % (attention, "/".join(types))


def processor_lines():
    """What the system says about the first processor: {"model name": ..., "cpu family": ...}."""
    lines = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if not line.strip():
                    break
                key, _, value = line.partition(":")
                lines[key.strip()] = value.strip()
    except OSError:
        pass
    return lines


def machine_name(isa):
    """Model of the processor and instruction set, nothing about whose machine it is."""
    lines = processor_lines()
    parts = [lines.get("model name", lines.get("CPU part", "unknown"))]
    if "cpu family" in lines:
        parts.append("%s %s" % (lines["cpu family"], lines.get("model", "")))
    parts.append("avx512" if isa == "avx512bf16" else isa)  # the same machine: it differs in caches of bf16 alone
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")


def results_path(isa, name):
    return os.path.join(RESULTS, machine_name(isa), name + ".csv")


def read_rows(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def text_of(value):
    if value is None:
        return ""
    if isinstance(value, float):
        return "%.6g" % value
    return str(value)


def add_rows(path, keys, rows):
    """Adds rows (dicts, all with the same fields); those with the same values in `keys` are replaced."""
    if not rows:
        return
    rows = [dict(row, date=datetime.date.today().isoformat()) for row in rows]
    fields = list(rows[0])
    new = [{field: text_of(row.get(field)) for field in fields} for row in rows]
    mine = {tuple(row[key] for key in keys) for row in new}
    old = [row for row in read_rows(path) if tuple(row.get(key, "") for key in keys) not in mine]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fields, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(old + new)
