#!/usr/bin/env python3
"""Builds programs of tests/embedded/ for boards and runs them in QEMU. Standard library only.

    tools/embedded.py list                      # targets and boards
    tools/embedded.py build PROGRAM BOARD       # prints the path of the ELF file
    tools/embedded.py run PROGRAM BOARD         # builds, runs, prints what the board prints

PROGRAM is NAME of tests/embedded/NAME.c. tests/embedded/boards/board.h says what a program may call. Objects and programs
are in build-embedded/; tools/install.sh embedded gets compilers and emulators. FV_BUILD_* switches: --feature f16=0.
"""
import argparse
import collections
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import threading

import amalgamate

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(SOURCE, "build-embedded")
BOARDS_FOLDER = os.path.join(SOURCE, "tests", "embedded", "boards")
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Wundef", "-Werror"]
CORE_FLAGS = ["-std=c11", "-Os", "-ffreestanding", "-ffp-contract=off", "-ffunction-sections", "-fdata-sections",
              "-fno-pic", "-fno-stack-protector", "-fcallgraph-info=su", "-DFV_BUILD_AVX2=0", "-DFV_BUILD_AVX512=0"]
K, M = 1024, 1024 * 1024


class Target:
    """A processor to compile for."""
    def __init__(self, compiler, *flags, hosted=False, measured=True):
        self.compiler, self.flags, self.hosted = compiler, list(flags), hosted
        self.measured = measured and not hosted  # its code is weighed and proven


def cortex(cpu, *flags):
    return Target("arm-none-eabi-gcc", "-mcpu=" + cpu, "-mthumb", *flags)


SINGLE_FPU = ("-mfpu=fpv5-sp-d16", "-mfloat-abi=hard")
TARGETS = {
    "host": Target(os.environ.get("CC", "gcc"), "-fno-tree-vectorize", hosted=True),
    "cortex-m0": cortex("cortex-m0"),
    "cortex-m3": cortex("cortex-m3"),
    "cortex-m4f": cortex("cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
    "cortex-m7": cortex("cortex-m7", *SINGLE_FPU),
    "cortex-m33": cortex("cortex-m33", *SINGLE_FPU),
    "cortex-m55": cortex("cortex-m55", "-mfloat-abi=hard"),
    "rv32imc": Target("riscv64-unknown-elf-gcc", "-march=rv32imc", "-mabi=ilp32", "-mcmodel=medany"),
    "rv32imafc": Target("riscv64-unknown-elf-gcc", "-march=rv32imafc", "-mabi=ilp32f", "-mcmodel=medany"),
    "lx106": Target("xtensa-lx106-elf-gcc", "-mlongcalls"),
    "cortex-a53": Target("aarch64-linux-gnu-gcc", "-mcpu=cortex-a53", "-mstrict-align", "-mno-outline-atomics"),
    "pi-zero-2w": Target("aarch64-linux-gnu-gcc", "-mcpu=cortex-a53", "-mno-outline-atomics", "-O3", measured=False),  # as on Linux
    "aarch64": Target("aarch64-linux-gnu-gcc", "-mcpu=cortex-a53", hosted=True),
    "armhf": Target("arm-linux-gnueabihf-gcc", hosted=True),
    "mips": Target("mips-linux-gnu-gcc", hosted=True),  # big-endian, strict alignment
}


class Board:
    """A machine that runs a target's code. Bytes of flash and RAM are the board's; a program may be linked for less RAM.

    tick: picoseconds of a tick of its counter, in which a thousandth as many instructions run."""
    def __init__(self, target, machine, start=None, flash=(0, 0), ram=(0, 0), tick=0):
        self.target, self.machine, self.start = target, machine, start
        self.flash, self.ram, self.tick = flash, ram, tick


def mps2(target, machine, flash=(0, 4 * M), ram=(0x20000000, 4 * M), tick=40000):
    return Board(target, ["qemu-system-arm", "-M", machine], "start_cortex_m.c", flash, ram, tick)


def rv32(target, cpu):
    return Board(target, ["qemu-system-riscv32", "-M", "virt", "-bios", "none", "-cpu", cpu], "start_riscv32.c",
                 (0x80000000, 16 * M), (0x81000000, 16 * M))


A53 = ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-m", "1024", "-nic", "none"]
BOARDS = {
    "host": Board("host", []),
    "microbit": mps2("cortex-m0", "microbit", (0, 256 * K), (0x20000000, 16 * K), 62500),
    "mps2-an385-m0": mps2("cortex-m0", "mps2-an385"),  # code of the M0 where there is more RAM
    "mps2-an385": mps2("cortex-m3", "mps2-an385"),
    "mps2-an386": mps2("cortex-m4f", "mps2-an386"),
    "mps2-an500": mps2("cortex-m7", "mps2-an500"),
    "mps2-an505": mps2("cortex-m33", "mps2-an505", (0x10000000, 4 * M), (0x38000000, 4 * M), 50000),
    "mps3-an547": mps2("cortex-m55", "mps3-an547", (0, 512 * K), (0x01000000, 1 * M), 31250),
    "rv32imc": rv32("rv32imc", "rv32,f=false,d=false"),
    "rv32imafc": rv32("rv32imafc", "rv32,d=false"),
    "lx106": Board("lx106", ["qemu-system-xtensa", "-M", "sim", "-cpu", "lx106"], "start_xtensa.c",
                   (0x50000000, 4 * M), (0x60000000, 4 * M), 100000),
    "cortex-a53": Board("cortex-a53", A53, "start_aarch64.c", (0x40000000, 512 * M), (0x60000000, 512 * M)),
    "pi-zero-2w": Board("pi-zero-2w", A53, "start_aarch64.c", (0x40000000, 512 * M), (0x60000000, 512 * M)),
    "aarch64-user": Board("aarch64", ["qemu-aarch64"]),
    "armhf-user": Board("armhf", ["qemu-arm"]),
    "mips-user": Board("mips", ["qemu-mips"]),
}


# One for each file or folder that several boards of one target make: who comes second waits, and finds it made.
LOCKS = collections.defaultdict(threading.Lock)


def core_sources(features={}):
    """The list in CMakeLists.txt, so that there is one; scalar kernels only, unless neon is among the features."""
    with open(os.path.join(SOURCE, "CMakeLists.txt"), encoding="utf-8") as file:
        listed = re.search(r"file\(GLOB core_sources CONFIGURE_DEPENDS ([^)]*)\)", file.read()).group(1)
    patterns = listed.split() + (["src/kernels/neon/*.c"] if features.get("neon") else [])
    return sorted(path for pattern in patterns for path in glob.glob(os.path.join(SOURCE, pattern)))


def call(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    if done.returncode:
        raise RuntimeError("%s\n%s" % (" ".join(command), done.stdout))
    return done.stdout


def newest_header():
    folders = ("include", "src", "tests/embedded")
    return max(os.path.getmtime(path) for folder in folders
               for path in glob.glob(os.path.join(SOURCE, folder, "**", "*.h"), recursive=True))


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def compile_all(target_name, sources, folder, flags):
    """Objects of `sources`, compiled again where a source or any header is newer or the command another one."""
    target, headers = TARGETS[target_name], newest_header()
    os.makedirs(folder, exist_ok=True)

    def compile_one(source):
        made = os.path.join(folder, os.path.basename(source) + ".o")
        command = [target.compiler] + WARNINGS + flags + target.flags
        command += ["-I", os.path.join(SOURCE, "include"), "-I", os.path.join(SOURCE, "src"), "-I", BOARDS_FOLDER]
        command += ["-c", source, "-o", made]
        if (not os.path.exists(made + ".cmd") or not os.path.exists(made) or os.path.getmtime(made) < max(os.path.getmtime(source), headers) or
                text_of(made + ".cmd") != " ".join(command)):
            call(command)
            with open(made + ".cmd", "w", encoding="utf-8") as file:
                file.write(" ".join(command))
        return made

    with LOCKS[folder], concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(compile_one, sources))


def write_changed(path, text):
    """Writes a file that several threads may want, unless it says that already: what is made of it is not made again."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with LOCKS[path]:
        if not os.path.exists(path) or text_of(path) != text:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)


def switches(features):
    return ["-DFV_BUILD_%s=%d" % (name.upper(), value) for name, value in sorted(features.items())]


def variant(features):
    return "".join("-%s%d" % pair for pair in sorted(features.items())) or "-all"


def core_objects(target_name, features={}, sources=None):
    """The core for a target with some FV_BUILD_* switches: {"f16": 0, ...}; the others have their default. sources: these
    of its files only."""
    flags = CORE_FLAGS + switches(features)
    sources = core_sources(features) if sources is None else sources
    return compile_all(target_name, sources, os.path.join(BUILD, target_name, "core" + variant(features)), flags)


def preprocessed(target_name, source, features={}):
    """What the compiler proper gets to see of a file of the core: the same text gives the same object."""
    return call([TARGETS[target_name].compiler, "-E", "-P"] + CORE_FLAGS + switches(features) + TARGETS[target_name].flags +
                ["-I", os.path.join(SOURCE, "include"), "-I", os.path.join(SOURCE, "src"), source])


def single_object(target_name, features={}):
    """The same as fovea.c of tools/amalgamate.py."""
    made, folder = os.path.join(BUILD, "single"), os.path.join(BUILD, target_name, "single" + variant(features))
    text = amalgamate.texts()
    for name in text:
        write_changed(os.path.join(made, name), text[name])
    flags = CORE_FLAGS + switches(features) + ["-I", made]
    return compile_all(target_name, [os.path.join(made, "fovea.c")], folder, flags)[0]


def build(program, board_name, features={}, ram_bytes=None, stack_bytes=1024, defines=(), sources=(), name=None):
    """Links tests/embedded/PROGRAM.c and `sources` with the core. ram_bytes: the program may use no more."""
    board = BOARDS[board_name]
    target = TARGETS[board.target]
    name = name or program
    start = os.path.join(BOARDS_FOLDER, board.start or "start_hosted.c")
    own = [os.path.join(SOURCE, "tests", "embedded", program + ".c"), os.path.join(BOARDS_FOLDER, "board.c"), start]
    helpers = os.path.join(BOARDS_FOLDER, "helpers_%s.c" % board.target)  # where libgcc lacks some
    own += [helpers] if os.path.exists(helpers) else []
    flags = [flag for flag in CORE_FLAGS if not (target.hosted and flag == "-ffreestanding")]
    flags += switches(features) + list(defines) + ["-DTICK_PICOSECONDS=%du" % board.tick]
    flags += ["-fno-tree-loop-distribute-patterns"]  # memcpy itself must not become a call of memcpy
    folder = os.path.join(BUILD, board.target, board_name + "-" + name)
    objects = compile_all(board.target, own + list(sources), folder, flags)
    elf = os.path.join(folder, name + ".elf")
    command = [target.compiler] + target.flags + objects + core_objects(board.target, features) + ["-Wl,--gc-sections"]
    if board.start:
        ram = (board.ram[0], ram_bytes or board.ram[1])
        for symbol, value in (("FLASH_ORIGIN", board.flash[0]), ("FLASH_BYTES", board.flash[1]), ("RAM_ORIGIN", ram[0]),
                              ("RAM_BYTES", ram[1]), ("STACK_BYTES", stack_bytes)):
            command.append("-Wl,--defsym=%s=0x%x" % (symbol, value))
        command += ["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-T", os.path.join(BOARDS_FOLDER, "board.ld"), "-lgcc"]
    else:
        command.append("-static")
    call(command + ["-o", elf])
    return elf


def run(board_name, elf, timeout=300):
    """Runs a program; returns its exit code and what it printed."""
    board = BOARDS[board_name]
    command = list(board.machine)
    if board.start:
        command += ["-nographic", "-monitor", "none", "-serial", "none", "-icount", "shift=0", "-semihosting-config",
                    "enable=on,target=native", "-kernel"]
    try:
        done = subprocess.run(command + [elf], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=timeout)
    except subprocess.TimeoutExpired as late:
        return 124, (late.stdout or b"").decode(errors="replace")
    return done.returncode, done.stdout.decode(errors="replace")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("verb", choices=["list", "build", "run"])
    parser.add_argument("program", nargs="?")
    parser.add_argument("board", nargs="?")
    parser.add_argument("--feature", action="append", default=[], help="NAME=0 or NAME=1, an FV_BUILD_ switch")
    options = parser.parse_args()
    if options.verb == "list":
        for name, board in BOARDS.items():
            print("%-14s %-11s %s" % (name, board.target, " ".join(board.machine) or "this machine"))
        return 0
    if options.board not in BOARDS:
        parser.error("BOARD is one of " + ", ".join(BOARDS))
    features = {name: int(value) for name, value in (word.split("=") for word in options.feature)}
    elf = build(options.program, options.board, features)
    if options.verb == "build":
        print(elf)
        return 0
    code, text = run(options.board, elf)
    sys.stdout.write(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
