#!/usr/bin/env python3
"""Writes docs/size.md from the numbers of tools/embedded_test.py."""
import os

import embedded

PAGE = os.path.join(embedded.SOURCE, "docs", "size.md")
LAYERS, OUTPUT_PARTS = 30, 8  # of SmolLM2-135M; layer_board.c computes an eighth of the logits
GOALS = {"decode": 12288, "core": 40960}


def places(numbers, quantity):
    return [where for (where, found) in numbers if found == quantity]


def rows(head, lines):
    """A table: the first column to the left, numbers to the right."""
    return ["| %s |" % " | ".join(head), "|---|" + "--:|" * (len(head) - 1)] + ["| %s |" % " | ".join(map(str, line)) for line in lines] + [""]


def sizes(numbers):
    def line(name):
        keys = ("code decode", "constants decode", "code core", "code choosing", "code everything", "stack worst", "stack decode")
        return [name] + [numbers[name, key] for key in keys]
    return ["# Size and cost on chips", "",
            "Compilers of Debian 12, -Os. `make size` measures all of it again and fails where a number is more than 1 % above",
            "`tests/embedded/size.csv`; `make size UPDATE=1` writes that table and this page. `make test-embedded` runs the programs.", "",
            "Code and constants in bytes, without the four memory functions. Decode: `fv_pattern_decode()` over an F16 cache and what builds",
            "both, all other switches of `src/build.h` off, with libgcc's helpers. Core: all but the forward pass of a model and",
            "`FV_BUILD_CHOOSE`; choosing: with that, too; everything: core and model, but `FV_BUILD_STEP`; these three of `fovea.c` (`tools/amalgamate.py`), the",
            "form that ports carry: what files share is static there while no switch but the model's and dither's is off, so that the",
            "compiler folds it. Stack: the deepest chain of the worst public function by GCC's count, every switch on, and of",
            "`fv_pattern_decode()`, of single files; that of `fovea.c` is held to the same limit.", ""] + rows(
                ["target", "decode", "its constants", "core", "choosing", "everything", "worst stack", "of decode"],
                [line(name) for name in places(numbers, "code decode")])


def prices(numbers):
    listed = [(name.split(" ")[1], size) for (where, name), size in numbers.items() if name.startswith("switch ")]
    if not listed:
        return []
    return ["What each switch costs on a Cortex-M4F, of %d bytes in all (code and constants of all objects):" % dict(listed)["all"], ""] + rows(
        ["switch", "bytes"], [["`FV_BUILD_%s`" % name.upper(), size] for name, size in listed if name != "all"])


def boards(numbers):
    kinds = ["smoke decode", "pattern decode", "gate step", "golden forward", "fovea decode", "story token"]
    def line(name):
        found = [numbers.get((name, "smoke RAM"), ""), numbers.get((name, "smoke stack"), "")]
        return [name] + found + [numbers.get((name, "instructions " + kind), "") for kind in kinds]
    return ["RAM (data, bss, the stack that was used) of the smoke program (`tests/embedded/smoke_board.c`: 64 tokens, 4 heads of 32,",
            "micro:bit 16 and 2; window 16, F16 cache; built as decode above), and instructions, counted by the emulator; they are not cycles. Smoke: its last",
            "token. Pattern, fovea: the 96th token of 2 query heads on one KV head of 32, F16. Gate: one token, 16 inputs, 16 hidden.",
            "Golden: `fwd04_seq17_causal` of the reference. Story: a token of the 256,704-parameter model, of its second text.", "",
            "Every board, and mips (big-endian, strict alignment), 32-bit Arm and aarch64 under qemu-user, prints the bits of this machine's",
            "scalar build: the smoke rows, the cases of the reference that its flash and RAM hold, caches of all five element types, the gate,",
            "the full-tensor form and fovea decode (neither fits the micro:bit).", ""] + rows(
                ["board", "RAM", "stack"] + kinds, [line(name) for name in places(numbers, "smoke RAM")])


def pi_zero(numbers):
    if ("pi-zero-2w", "instructions scalar layer") not in numbers:
        return []
    def millions(kind, policy, depth):
        part = {name: numbers["pi-zero-2w", "instructions %s %s" % (kind, name)] for name in ("layer", "logits", "%s-%d" % (policy, depth))}
        attention = part["%s-%d" % (policy, depth)]
        token = LAYERS * (part["layer"] + attention) + OUTPUT_PARTS * part["logits"]
        return ["%.2f" % (attention / 1e6), "%.1f" % (token / 1e6)]
    lines = [["%s, %d" % (policy, depth)] + millions("scalar", policy, depth) + millions("NEON", policy, depth)
             for policy in ("dense", "pattern", "fovea") for depth in (256, 2000)]
    return ["## A Pi Zero 2 W", "",
            "Millions of instructions for SmolLM2-135M, counted on a bare-metal Cortex-A53 in QEMU (`tests/embedded/layer_board.c`, -O3 as on",
            "Linux): attention of one layer (9 query heads on 3 of 64, F16) over a cache filled from a seed, and from it a whole token:",
            "%d layers of Q4_1 weights and the output matrix in Q8_0. Default budgets. Cycles on a real A53 were not measured." % LAYERS, ""] + rows(
                ["policy, depth", "scalar: attention", "token", "NEON: attention", "token"], lines) + [
            "Memory at a context of 2,048: `tests/model/pi_memory_test.py` fills it and counts at most 300,000,000 bytes resident,",
            "with and without repacking.", ""]


def shortfalls(numbers):
    core = numbers["cortex-m4f", "code core"] + numbers["cortex-m4f", "constants core"]
    decode = numbers["cortex-m4f", "code decode"]
    said = []
    if decode > GOALS["decode"]:
        said.append("decode's code by %d bytes (%d)" % (decode - GOALS["decode"], GOALS["decode"]))
    if core > GOALS["core"]:
        said.append("the core by %d (%d)" % (core - GOALS["core"], GOALS["core"]))
    choosing = numbers["cortex-m4f", "code choosing"] + numbers["cortex-m4f", "constants choosing"]
    if choosing > GOALS["core"]:
        said.append("the core with choosing by %d (%d)" % (choosing - GOALS["core"], GOALS["core"]))
    return (["What falls short of its goal on a Cortex-M4F, code and constants: %s." % "; ".join(said)] if said else []) + [
        "Emulated cores only: nothing was timed on silicon. The lx106 (Xtensa) shares neither the windowed ABI nor the FPU with an",
        "ESP32-S3, and Debian's libgcc for it leaves most of the arithmetic to a ROM that QEMU has not: it runs with helpers of the tests'",
        "own (`tests/embedded/boards/helpers_lx106.c`), which are slow, so that its instructions are not counted."]


def write(numbers):
    lines = sizes(numbers) + prices(numbers) + boards(numbers) + pi_zero(numbers) + shortfalls(numbers)
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
