#!/usr/bin/env python3
"""Bytes of the core on a target, and the committed table that they and the counted instructions are held against.

    tools/embedded_size.py TARGET       # code and constants by feature set

tests/embedded/size.csv has a line a quantity: target or board, quantity, number. It holds for the compilers whose versions its
first lines name; with others nothing is compared. tools/embedded_test.py uses all of this.
"""
import os
import subprocess
import sys

import embedded
import embedded_proof

CSV = os.path.join(embedded.SOURCE, "tests", "embedded", "size.csv")
RISE = 1.01  # a number may be this many times the committed one
SMALL = ["f16"]  # what decoding over an F16 cache needs, of the switches of src/build.h
# The feature set called everything: policies that choose by the queries, and caches that share, are for larger boards.
CHIP = {"choose": 0, "state": 0, "segments": 0, "step": 0, "grids": 0}
ROOTS = ["fv_cache_size", "fv_cache_init", "fv_cache_append", "fv_pattern_size", "fv_pattern_init", "fv_pattern_decode",
         "fv_kernels_scalar"]


def switch_names():
    text = embedded.text_of(os.path.join(embedded.SOURCE, "src", "build.h"))
    return [line.split("FV_BUILD_")[1].lower() for line in text.split("\n")
            if line.startswith("#ifndef FV_BUILD_") and line != "#ifndef FV_BUILD_H"]


def decode_features():
    return {name: int(name in SMALL) for name in switch_names()}


def section_bytes(target_name, *paths):
    total = {"code": 0, "constants": 0}
    for line in embedded_proof.output_of(embedded_proof.tool(target_name, "size"), "-A", *paths).splitlines():
        word = line.split()
        if len(word) >= 2 and word[0].startswith((".text", ".literal", ".irom")):
            total["code"] += int(word[1])
        if len(word) >= 2 and word[0].startswith((".rodata", ".srodata")):
            total["constants"] += int(word[1])
    return total


def decode_bytes(target_name):
    """Code and constants of decoding over an F16 cache, with libgcc's helpers, without the four memory functions."""
    features = decode_features()
    target = embedded.TARGETS[target_name]
    elf = os.path.join(embedded.BUILD, target_name, "decode.elf")
    embedded.call([target.compiler] + target.flags + embedded.core_objects(target_name, features) +
                  ["-nostdlib", "-nostartfiles", "-static", "-no-pie", "-Wl,--gc-sections", "-Wl,-e,fv_pattern_decode",
                   "-Wl,--unresolved-symbols=ignore-all", "-o", elf] + ["-Wl,-u," + name for name in ROOTS] + ["-lgcc"])
    return section_bytes(target_name, elf)


def core_bytes(target_name, features):
    """Of fovea.c, the form in which the ports carry the core."""
    return section_bytes(target_name, embedded.single_object(target_name, features))


FOR_HOSTS = {"lists": 0}  # left out of the prices, too: no chip has a use for it


def prices(target_name="cortex-m4f"):
    """What each switch costs: everything less everything but it. All of it comes first. Measured on objects: in fovea.c less
    is static where a switch is off. Of the files that a switch does not change, nothing is compiled."""
    def bytes_of(features, sources):
        features = dict(FOR_HOSTS, **features)
        return sum(section_bytes(target_name, *embedded.core_objects(target_name, features, sources)).values())
    sources = embedded.core_sources()
    texts = {source: embedded.preprocessed(target_name, source, FOR_HOSTS) for source in sources}
    found = {"all": bytes_of({}, sources)}
    for name in [name for name in switch_names() if name not in FOR_HOSTS]:
        without = dict(FOR_HOSTS, **{name: 0})
        changed = [source for source in sources if embedded.preprocessed(target_name, source, without) != texts[source]]
        found[name] = bytes_of({}, changed) - bytes_of({name: 0}, changed) if changed else 0
    return found


def compiler_versions():
    """What the table depends on; a compiler that is not there has no line."""
    found = {}
    for target in embedded.TARGETS.values():
        if target.hosted or target.compiler in found:
            continue
        try:
            found[target.compiler] = embedded_proof.output_of(target.compiler, "-dumpfullversion").strip()
        except (OSError, subprocess.CalledProcessError):
            pass
    return found


def committed():
    """(compiler versions, {(where, quantity): number}) of the table."""
    versions, numbers = {}, {}
    if os.path.exists(CSV):
        for line in embedded.text_of(CSV).splitlines():
            where, quantity, number = line.split(",")
            if quantity == "compiler":
                versions[where] = number
            elif quantity != "quantity":
                numbers[where, quantity] = int(number)
    return versions, numbers


def write(measured):
    lines = ["where,quantity,number"]
    lines += ["%s,compiler,%s" % pair for pair in sorted(compiler_versions().items())]
    lines += ["%s,%s,%d" % (where, quantity, number) for (where, quantity), number in measured.items()]
    with open(CSV, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def risen(measured):
    """Numbers above the table's, as sentences; None where the table is of other compilers."""
    versions, known = committed()
    here = compiler_versions()
    if not known or any(versions.get(name, version) != version for name, version in here.items()):
        return None
    return ["%s, %s: %d, the table says %d" % (where, quantity, number, known[where, quantity])
            for (where, quantity), number in measured.items()
            if (where, quantity) in known and number > max(known[where, quantity], 1) * RISE]


def main():
    target_name = sys.argv[1]
    print("decode        %s" % decode_bytes(target_name))
    print("without model %s" % core_bytes(target_name, dict(CHIP, model=0, dither=0)))
    print("everything    %s" % core_bytes(target_name, CHIP))


if __name__ == "__main__":
    main()
