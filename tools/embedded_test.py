#!/usr/bin/env python3
"""Runs the core on every emulated board and proves what it needs there. The last line is "N passed, M failed, K skipped".

    tools/embedded_test.py                  # what `make test-embedded` runs
    tools/embedded_test.py --size           # `make size`: also holds sizes and instruction counts against the committed table
    tools/embedded_test.py --size --update  # writes tests/embedded/size.csv and docs/size.md

Proof: tools/embedded_proof.py; no public function may take more than 1,024 bytes of stack on a Cortex-M4F. Smoke:
tests/embedded/smoke_board.c with what decoding needs alone, in 48 KiB of RAM (data, bss and stack). Checks: checks_board.c, cases
of the reference and every other feature. Story: story_board.c, a language model. Layer: layer_board.c, a token of SmolLM2-135M on a Cortex-A53. What a
board prints must be, bit for bit, what this machine's scalar build prints.
"""
import argparse
import concurrent.futures
import functools
import os
import re
import shutil
import sys

import embedded
import embedded_proof
import embedded_report
import embedded_size
from embedded_size import CHIP

sys.path.insert(0, os.path.join(embedded.SOURCE, "tests", "embedded"))
import golden_arrays  # noqa: E402
import story_check  # noqa: E402

K = 1024
SMOKE_BYTES = 48 * K
STACK_LIMIT = 1024  # bytes on a Cortex-M4F
# Steps of many sequences, caches that share and prompts read page by page are for hosts: proofs are of all else.
HOSTED = {"step": 0, "segments": 0, "lists": 0}
CODE_LIMIT = {"decode": 12 * K, "core": 40 * K}  # bytes on a Cortex-M4F
COUNTED = {"pattern-f16": "pattern decode", "gate-step": "gate step", "fwd04_seq17_causal": "golden forward",
           "fovea-decode": "fovea decode"}


UNCOUNTED = {"lx106"}  # most of its instructions are tests/embedded/boards/helpers_lx106.c


class Report:
    """What the checks of one target or board found. Its lines are printed as they come, each whole."""
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.numbers = {}  # (target or board, quantity): number

    def check(self, name, wrong):
        self.passed += not wrong
        self.failed += bool(wrong)
        sys.stdout.write("".join(["%s  %s\n" % ("FAIL" if wrong else "ok  ", name)] + ["      %s\n" % line for line in wrong]))
        sys.stdout.flush()

    def skip(self, name, why):
        self.skipped += 1
        sys.stdout.write("skip  %s\nskipped: %s\n" % (name, why))

    def add(self, other):
        self.passed, self.failed, self.skipped = self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped
        self.numbers.update(other.numbers)

    def keep(self, where, **numbers):
        if where in UNCOUNTED:
            numbers = {name: number for name, number in numbers.items() if not name.startswith("instructions")}
        self.numbers.update({(where, name.replace("_", " ")): number for name, number in numbers.items()})


def lacks(board_name):
    board = embedded.BOARDS[board_name]
    return [tool for tool in [embedded.TARGETS[board.target].compiler] + board.machine[:1] if not shutil.which(tool)]


def guarded(report, name, function, *arguments):
    """A program that does not link is a failure of its check, not of the run."""
    try:
        return function(*arguments)
    except RuntimeError as failed:
        report.check(name, [str(failed)[-600:]])
        return None


def ram_of(text):
    numbers = dict(re.findall(r"^(data|bss|stack) (\d+)$", text, re.M))
    return sum(map(int, numbers.values())), int(numbers.get("stack", 0))


def counts_of(text):
    return {name: int(number) for name, number in re.findall(r"^instructions (\S+) (\d+)$", text, re.M)}


# ---- the smoke program ----

def smoke_run(board_name, tokens, ram_bytes):
    defines = ["-DTOKENS=%d" % tokens, "-DHEADS=%d" % (4 if tokens == 64 else 2)]
    elf = embedded.build("smoke_board", board_name, features=embedded_size.decode_features(), ram_bytes=ram_bytes, defines=defines,
                         name="smoke%d" % tokens)
    return embedded.run(board_name, elf, 120)


def smoke(report, name, wanted):
    tokens, limit = (16, 16 * K) if name == "microbit" else (64, SMOKE_BYTES)
    if name == "cortex-a53":
        limit += K  # its pointers are twice as long
    done = guarded(report, "smoke on %s" % name, smoke_run, name, tokens, limit)
    if not done:
        return
    code, text = done
    rows = [line for line in text.splitlines() if line.startswith("row")]
    wrong = [] if code == 0 else ["exit code %d: %s" % (code, text[-300:])]
    if rows != wanted[tokens]:
        wrong.append("the bits are not those of this machine")
    (ram, stack), counts = ram_of(text), counts_of(text)
    if ram > limit:
        wrong.append("%d bytes of RAM, more than %d" % (ram, limit))
    if ram:
        report.keep(name, smoke_RAM=ram, smoke_stack=stack, instructions_smoke_decode=counts.get("decode", 0))
    report.check("smoke on %s: %d bytes of RAM, %d of them stack, %s instructions for the last token" %
                 (name, ram, stack, counts.get("decode", "no")), wrong)


# ---- every other feature ----

def checks_room(board_name):
    """Bytes of cases in flash, bytes of the arena, features."""
    if board_name == "microbit":
        return 64 * K, 12 * K, CHIP
    return (192 * K if board_name == "mps3-an547" else 1200000), 224 * K, {}


def cases_file(most_bytes):
    path = os.path.join(embedded.BUILD, "golden_%d.c" % most_bytes)
    text = golden_arrays.convert(os.path.join(embedded.SOURCE, "tests", "golden", "reference"), most_bytes)
    embedded.write_changed(path, text)
    return path


def checks_run(board_name):
    flash, arena, features = checks_room(board_name)
    defines = ["-I", os.path.join(embedded.SOURCE, "tests", "embedded"), "-DARENA_BYTES=%d" % arena]
    elf = embedded.build("checks_board", board_name, features=features, defines=defines, sources=[cases_file(flash)], name="checks",
                         ram_bytes=embedded.BOARDS[board_name].ram[1] if board_name == "microbit" else 512 * K)
    return embedded.run(board_name, elf)


def checks(report, name, wanted):
    done = guarded(report, "checks on %s" % name, checks_run, name)
    if not done:
        return
    code, text = done
    got = re.findall(r"^check .*$", text, re.M)
    room = re.findall(r"^room (\S+)", text, re.M)
    wrong = [] if code == 0 else ["exit code %d: %s" % (code, text[-300:])]
    wrong += ["other bits: " + line for line in got if line not in wanted]
    wrong += [] if len(got) >= 8 else ["%d results only" % len(got)]
    counts = counts_of(text)
    report.keep(name, **{"instructions_" + ours: counts[theirs] for theirs, ours in COUNTED.items() if theirs in counts and counts[theirs]})
    report.check("checks on %s: %d with the bits of this machine, %d beyond its RAM; %d bytes of stack" %
                 (name, len(got), len(room), ram_of(text)[1]), wrong)


# ---- larger programs ----

def story(report, name, image, expected):
    done = guarded(report, "story on %s" % name, story_check.story, name, image)
    if not done:
        return
    said, numbers = done
    ram = numbers["data"] + numbers["bss"] + numbers["stack"]
    wrong = [] if said == expected else ["other text or logits: " + " / ".join(said)]
    if ram > story_check.RAM_MOST:
        wrong.append("%d bytes of RAM, more than %d" % (ram, story_check.RAM_MOST))
    report.keep(name, **{"story_RAM": ram, "instructions_story token": numbers["instructions a token"]})
    report.check("story on %s: %d bytes of RAM, %d instructions a token" % (name, ram, numbers["instructions a token"]), wrong)


def layer_run(board_name, features):
    name = "layer" + "".join("-" + feature for feature in features)
    return embedded.run(board_name, embedded.build("layer_board", board_name, features=features, name=name), 400)


def layer(report):
    """A token of SmolLM2-135M on a Cortex-A53, scalar with the host's bits, and NEON."""
    _, wanted = layer_run("host", {})
    for kind, features in (("scalar", {}), ("NEON", {"neon": 1})):
        done = guarded(report, "layer on pi-zero-2w, %s" % kind, layer_run, "pi-zero-2w", features)
        if not done:
            continue
        code, text = done
        wrong = [] if code == 0 else ["exit code %d: %s" % (code, text[-300:])]
        results = re.findall(r"^(?:dense|pattern|fovea|logits).*$", text, re.M)
        if kind == "scalar" and results != wanted.splitlines():
            wrong.append("the bits are not those of this machine")
        counts = counts_of(text)
        report.keep("pi-zero-2w", **{"instructions_%s %s" % (kind, name): count for name, count in counts.items()})
        report.check("layer on pi-zero-2w, %s: %s" % (kind, ", ".join("%s %d" % pair for pair in counts.items())), wrong)


class Wanted:
    """What this machine's scalar build prints: what every board must print."""
    def __init__(self):
        self.smoke = {tokens: [line for line in smoke_run("host", tokens, 0)[1].splitlines() if line.startswith("row")]
                      for tokens in (16, 64)}
        self.checks = checks_run("host")[1].splitlines()
        self.image = story_check.image_make()
        self.story = story_check.story("host", self.image)[0]


def board(name, wanted, report):
    if lacks(name):
        report.skip(name, "no %s" % ", ".join(lacks(name)))
    elif name == "pi-zero-2w":
        layer(report)
    else:
        smoke(report, name, wanted.smoke)
        checks(report, name, wanted.checks)
        if name in story_check.BOARDS:
            story(report, name, wanted.image, wanted.story)


# ---- proofs ----

def proof(report, name):
    objects = embedded.core_objects(name, HOSTED)
    limit = STACK_LIMIT if name == "cortex-m4f" else 1 << 30
    depth, _ = embedded_proof.stacks(objects)
    worst = max(depth, key=depth.get)
    report.check("%s: symbols, globals, recursion; stack of public functions, %d at most (%s)" % (name, depth[worst], worst),
                 embedded_proof.problems(name, objects, limit))
    report.keep(name, stack_worst=depth[worst], stack_decode=depth["fv_pattern_decode"])


def size(report, name):
    decode = embedded_size.decode_bytes(name)
    core = embedded_size.core_bytes(name, dict(CHIP, model=0, dither=0))
    whole = embedded_size.core_bytes(name, dict(HOSTED, grids=0, model=0, dither=0))
    everything = embedded_size.core_bytes(name, CHIP)
    stack = max(embedded_proof.stacks([embedded.single_object(name, HOSTED)])[0].values())
    wrong = []
    if name == "cortex-m4f" and stack > STACK_LIMIT:
        wrong.append("fovea.c takes %d bytes of stack, more than %d" % (stack, STACK_LIMIT))
    if name == "cortex-m4f" and decode["code"] > CODE_LIMIT["decode"]:
        wrong.append("decode takes %d bytes of code, more than %d" % (decode["code"], CODE_LIMIT["decode"]))
    if name == "cortex-m4f" and sum(core.values()) > CODE_LIMIT["core"]:
        wrong.append("the core takes %d bytes without the model, more than %d" % (sum(core.values()), CODE_LIMIT["core"]))
    report.check("%s: %d bytes of code for decode, %d for all but the model, %d for all" %
                 (name, decode["code"], core["code"], everything["code"]), wrong)
    for what, found in (("decode", decode), ("core", core), ("choosing", whole), ("everything", everything)):
        report.keep(name, **{"%s %s" % (kind, what): number for kind, number in found.items()})


def target(name, report):
    compiler = embedded.TARGETS[name].compiler
    if not shutil.which(compiler):
        report.skip(name, "%s is not there" % compiler)
        return
    proof(report, name)
    size(report, name)


def prices(report):
    if shutil.which(embedded.TARGETS["cortex-m4f"].compiler):
        report.keep("cortex-m4f", **{"switch " + name: number for name, number in embedded_size.prices().items()})


def table(report, update):
    if update:
        embedded_size.write(report.numbers)
        embedded_report.write(report.numbers)
    wrong = embedded_size.risen(report.numbers)
    if wrong is None:
        report.skip("size table", "tests/embedded/size.csv was made with other compilers than those here: NOTHING IS COMPARED")
    else:
        report.check("%d numbers are at most 1 %% above tests/embedded/size.csv" % len(report.numbers), wrong)


# ---- all of it ----

def run_job(job):
    report = Report()
    job(report)
    return report


def run_all(jobs):
    """As many at a time as there are processors. The reports are added in the order of the jobs: that of the table."""
    whole = Report()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for report in pool.map(run_job, jobs):
            whole.add(report)
    return whole


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", action="store_true", help="compare with the committed table")
    parser.add_argument("--update", action="store_true", help="with --size: write the table and docs/size.md")
    options = parser.parse_args()
    wanted = Wanted()
    jobs = [functools.partial(target, name) for name, value in embedded.TARGETS.items() if value.measured]
    jobs += [functools.partial(board, name, wanted) for name in embedded.BOARDS if name != "host"]
    report = run_all(jobs + [prices] * options.size)
    if options.size:
        table(report, options.update)
    print("%d passed, %d failed, %d skipped" % (report.passed, report.failed, report.skipped))
    return 1 if report.failed or not report.passed else 0


if __name__ == "__main__":
    sys.exit(main())
