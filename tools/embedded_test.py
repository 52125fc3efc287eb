#!/usr/bin/env python3
"""Runs the core on every emulated board and proves what it needs there. The last line is "N passed, M failed, K skipped".

    tools/embedded_test.py                  # what `make test-embedded` runs
    tools/embedded_test.py --table FILE     # also writes the table of docs/size.md

Smoke: tests/embedded/smoke_board.c linked for 48 KiB of RAM (data, bss and stack), its output's bits those of this machine's
scalar build. Proof: tools/embedded_proof.py; frames are listed, and a limit of 1,024 bytes has the exceptions in
tests/freestanding/deep.txt. Code: what fv_pattern_decode() and its cache need, at -Os.
"""
import argparse
import os
import shutil
import subprocess
import sys

import embedded
import embedded_proof

SMOKE_BYTES = 48 * 1024
SMALL = ["f16"]  # what decoding over an F16 cache needs, of the switches of src/build.h
CODE_LIMIT = {"decode": 13700, "core": 51200}  # bytes on a Cortex-M4F; the goals are 12 and 40 KiB
CHIP = {"choose": 0}  # stacks of the policies that choose by queries grow with head_dim up to 90 KiB: not for chips
ROOTS = ["fv_cache_size", "fv_cache_init", "fv_cache_append", "fv_pattern_size", "fv_pattern_init", "fv_pattern_decode",
         "fv_kernels_scalar"]


def switch_names():
    text = embedded.text_of(os.path.join(embedded.SOURCE, "src", "build.h"))
    return [line.split("FV_BUILD_")[1].lower() for line in text.split("\n")
            if line.startswith("#ifndef FV_BUILD_") and line != "#ifndef FV_BUILD_H"]


def section_bytes(target_name, path):
    total = {"code": 0, "constants": 0}
    for line in embedded_proof.output_of(embedded_proof.tool(target_name, "size"), "-A", path).splitlines():
        word = line.split()
        if len(word) >= 2 and word[0].startswith((".text", ".literal", ".irom")):
            total["code"] += int(word[1])
        if len(word) >= 2 and word[0].startswith((".rodata", ".srodata")):
            total["constants"] += int(word[1])
    return total


def decode_bytes(target_name):
    """Code and constants of decoding over an F16 cache, with libgcc's helpers, without the four memory functions."""
    features = {name: int(name in SMALL) for name in switch_names()}
    target = embedded.TARGETS[target_name]
    elf = os.path.join(embedded.BUILD, target_name, "decode.elf")
    embedded.call([target.compiler] + target.flags + embedded.core_objects(target_name, features) +
                  ["-nostdlib", "-nostartfiles", "-static", "-no-pie", "-Wl,--gc-sections", "-Wl,-e,fv_pattern_decode",
                   "-Wl,--unresolved-symbols=ignore-all", "-o", elf] + ["-Wl,-u," + name for name in ROOTS] + ["-lgcc"])
    return section_bytes(target_name, elf)


def core_bytes(target_name, features):
    total = {"code": 0, "constants": 0}
    for path in embedded.core_objects(target_name, features):
        for name, size in section_bytes(target_name, path).items():
            total[name] += size
    return total


class Report:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, name, wrong):
        self.passed += not wrong
        self.failed += bool(wrong)
        print("%s  %s" % ("FAIL" if wrong else "ok  ", name))
        for line in wrong:
            print("      " + line)
        sys.stdout.flush()

    def skip(self, name, why):
        self.skipped += 1
        print("skip  %s\nskipped: %s" % (name, why))


def smoke(board_name, tokens=64, ram_bytes=SMOKE_BYTES):
    """What the program printed, as rows and numbers, and what is wrong."""
    board = embedded.BOARDS[board_name]
    elf = embedded.build("smoke_board", board_name, features=CHIP, ram_bytes=ram_bytes, stack_bytes=1024, defines=["-DTOKENS=%d" % tokens, "-DHEADS=%d" % (4 if tokens == 64 else 2)],
                         name="smoke%d" % tokens)
    code, text = embedded.run(board_name, elf, 120)
    rows = [line for line in text.splitlines() if line.startswith("row")]
    numbers = {line.rsplit(" ", 1)[0]: int(line.rsplit(" ", 1)[1]) for line in text.splitlines()
               if line.rsplit(" ", 1)[-1].isdigit()}
    wrong = [] if code == 0 else ["exit code %d: %s" % (code, text[-300:])]
    if len(rows) != tokens:
        wrong.append("%d rows, not %d" % (len(rows), tokens))
    numbers["ram"] = numbers.get("data", 0) + numbers.get("bss", 0) + numbers.get("stack", 0)
    if board.start and numbers["ram"] > ram_bytes:
        wrong.append("%d bytes of RAM, not %d" % (numbers["ram"], ram_bytes))
    return rows, numbers, wrong


def present(board):
    return all(shutil.which(tool) for tool in [embedded.TARGETS[board.target].compiler] + board.machine[:1])


def boards(report, table):
    wanted = {tokens: smoke("host", tokens)[0] for tokens in (16, 64)}
    for name, board in embedded.BOARDS.items():
        if name in ("host", "lx106"):
            continue
        if not present(board):
            report.skip(name, "%s or %s is not there" % (board.machine[0], embedded.TARGETS[board.target].compiler))
            continue
        tokens, ram = (16, 16 * 1024) if name == "microbit" else (64, SMOKE_BYTES)
        if name == "cortex-a53":
            ram = 2 * SMOKE_BYTES  # 64-bit pointers; it has 512 MB
        try:
            rows, numbers, wrong = smoke(name, tokens, ram)
        except RuntimeError as failed:
            report.check("smoke on %s" % name, [str(failed)[-400:]])
            continue
        if rows != wanted[tokens]:
            wrong.append("the bits are not those of this machine")
        report.check("smoke on %s: %s bytes of RAM, stack %s, %s instructions for the last token" %
                     (name, numbers["ram"], numbers.get("stack", 0), numbers.get("instructions decode", "no")), wrong)
        table.append((name, board.target, tokens, numbers, rows == wanted[tokens]))


def exceptions():
    """Public functions that may take more than 1,024 bytes of stack, and how much."""
    found = {}
    for line in embedded.text_of(os.path.join(embedded_proof.HELPERS_FOLDER, "deep.txt")).splitlines():
        if line and not line.startswith("#"):
            name, size = line.split()
            found[name] = int(size)
    return found


def proofs(report, table):
    allowed = exceptions()
    for name, target in embedded.TARGETS.items():
        if target.hosted:
            continue
        if not shutil.which(target.compiler):
            report.skip(name, "%s is not there" % target.compiler)
            continue
        objects = embedded.core_objects(name, CHIP)
        wrong = [line for line in embedded_proof.problems(name, objects, 1 << 30)]
        report.check("%s: symbols, globals, recursion" % name, wrong)
        depth, _ = embedded_proof.stacks(objects)
        bits = 2 if name == "cortex-a53" else 1  # its pointers are twice as long
        deep = ["%s takes %d bytes" % (function, size) for function, size in sorted(depth.items())
                if name == "cortex-m4f" and size > allowed.get(function, 1024) * bits]
        report.check("%s: stack of public functions, %d at most" % (name, max(depth.values())), deep)
        everything = core_bytes(name, CHIP)
        without_model = core_bytes(name, dict(CHIP, model=0, dither=0))
        decode = decode_bytes(name)
        wrong = []
        if name == "cortex-m4f":
            if decode["code"] > CODE_LIMIT["decode"]:
                wrong.append("decode takes %d bytes of code, more than %d" % (decode["code"], CODE_LIMIT["decode"]))
            if sum(without_model.values()) > CODE_LIMIT["core"]:
                wrong.append("the core takes %d bytes without the model" % sum(without_model.values()))
        report.check("%s: %d bytes of code for decode, %d for all but the model, %d for all" %
                     (name, decode["code"], without_model["code"], everything["code"]), wrong)
        table[name] = (decode, without_model, everything, depth)


def prices(target_name="cortex-m4f"):
    """What each switch costs: everything less everything but it."""
    whole = sum(core_bytes(target_name, {}).values())
    return [(name, whole - sum(core_bytes(target_name, {name: 0}).values())) for name in switch_names()], whole


def write_table(path, runs, code, priced):
    lines = ["<!-- generated by tools/embedded_test.py --table from the programs below; compilers of Debian 12, -Os -->", "",
             "# Size and cost on chips", "",
             "Code and constants of the core in bytes, without the four memory functions; decode: `fv_pattern_decode()` over an F16",
             "cache, all other switches of `src/build.h` off, with libgcc's helpers. Stack: the worst public function, by GCC's count,",
             "and `fv_pattern_decode()`. Everything is all but FV_BUILD_CHOOSE, whose frames reach 90 KiB for head_dim 1,024: not for chips.", "",
             "| target | decode, code | constants | all but the model | everything | worst stack | of decode |",
             "|---|--:|--:|--:|--:|--:|--:|"]
    for name, (decode, without_model, everything, depth) in code.items():
        worst = max(depth, key=depth.get)
        lines.append("| %s | %d | %d | %d | %d | %d (`%s`) | %d |" % (
            name, decode["code"], decode["constants"], sum(without_model.values()), sum(everything.values()), depth[worst], worst,
            depth["fv_pattern_decode"]))
    lines += ["", "The smoke program (`tests/embedded/smoke_board.c`): 64 tokens, 4 heads of 32 (micro:bit: 16 and 2), window 16, F16 cache;",
              "RAM is data, bss and the stack that was used. Instructions: one token decoded at the end, emulated, not cycles.", "",
              "| board | target | RAM | of it stack | instructions | bits of the host |", "|---|---|--:|--:|--:|---|"]
    for name, target, _, numbers, same in runs:
        lines.append("| %s | %s | %s | %s | %s | %s |" % (
            name, target, numbers["ram"] or "", numbers.get("stack", ""), numbers.get("instructions decode", ""), "yes" if same else "no"))
    listed, whole = prices() if priced else ([], 0)
    lines += [] if not priced else ["", "What each switch costs on a Cortex-M4F, of %d bytes in all (code and constants of all objects):" % whole, "",
              "| switch | bytes |", "|---|--:|"] + ["| `FV_BUILD_%s` | %d |" % (name.upper(), size) for name, size in listed]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--table", help="write the table to this file")
    parser.add_argument("--prices", action="store_true", help="in the table, what each switch costs too: minutes more")
    options = parser.parse_args()
    report, runs, code = Report(), [], {}
    proofs(report, code)
    boards(report, runs)
    report.skip("lx106", "libgcc of Debian's gcc-xtensa-lx106 has no __mulsf3: the core is compiled and its symbols are checked, it cannot be linked")
    if options.table:
        write_table(options.table, runs, code, options.prices)
    print("%d passed, %d failed, %d skipped" % (report.passed, report.failed, report.skipped))
    return 1 if report.failed or not report.passed else 0


if __name__ == "__main__":
    sys.exit(main())
