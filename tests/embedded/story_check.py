#!/usr/bin/env python3
"""Runs story_board.c, a language model in flash, on boards in QEMU: the text, the bits of all logits and RAM by purpose.

    tests/embedded/story_check.py [BOARD...]        default: M7, M33, M55, RV32 with and without FPU

Each board must print what the host's scalar build prints, down to a checksum of every logit's bits, in at most 320 KiB of RAM.
Needs what tools/install.sh embedded installs. The last line is "N passed, M failed, K skipped".
"""
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools"))
import embedded
import model_image

BOARDS = ["mps2-an500", "mps2-an505", "mps3-an547", "rv32imafc", "rv32imc"]
MODEL = os.path.join(embedded.SOURCE, "tests", "model", "story.gguf")
RAM_MOST = 320 * 1024
STACK_BYTES = 4096


def image_make():
    path = os.path.join(embedded.BUILD, "story_image.c")
    with open(MODEL, "rb") as file:
        text = model_image.convert(model_image.File(file.read()), "story.gguf")
    embedded.write_changed(path, text)
    return path


def story(board, image):
    """The texts and checksums, and the numbers."""
    elf = embedded.build("story_board", board, defines=["-I", os.path.join(embedded.SOURCE, "ports")], sources=[image],
                         stack_bytes=STACK_BYTES)
    code, text = embedded.run(board, elf, timeout=600)
    if code:
        raise RuntimeError("%s: exit %d\n%s" % (board, code, text))
    numbers = dict(re.findall(r"^(cache|scratch|logits|data|bss|stack|instructions a token) (\d+)$", text, re.M))
    said = re.findall(r"^(?!(?:cache|scratch|logits|data|bss|stack|instructions) ).+$", text, re.M)
    return said, {name: int(value) for name, value in numbers.items()}


def lacks(board):
    target = embedded.TARGETS[embedded.BOARDS[board].target]
    needed = [target.compiler] + embedded.BOARDS[board].machine[:1]
    return [name for name in needed if not shutil.which(name)]


def main():
    boards = sys.argv[1:] or BOARDS
    image = image_make()
    expected, _ = story("host", image)
    print("\n".join(expected), "\n")
    passed = failed = skipped = 0
    row = "%-12s %10s %8s %8s %7s %6s %9s  %s"
    print(row % ("board", "inst/token", "cache", "scratch", "logits", "stack", "RAM", "same bits as the host"))
    for board in boards:
        if lacks(board):
            print("skipped %s: no %s" % (board, ", ".join(lacks(board))))
            skipped += 1
            continue
        said, numbers = story(board, image)
        ram = numbers["data"] + numbers["bss"] + numbers["stack"]
        good = said == expected and ram <= RAM_MOST
        print(row % (board, numbers.get("instructions a token", "-"), numbers["cache"], numbers["scratch"],
                     numbers["logits"], numbers["stack"], ram, "yes" if said == expected else "NO: " + " / ".join(said)),
              flush=True)
        passed, failed = passed + good, failed + (not good)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
