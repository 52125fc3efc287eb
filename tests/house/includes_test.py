#!/usr/bin/env python3
"""Checks who includes whom: the layers of docs/architecture.md hold by this script, not by good will.

Called as: includes_test.py BUILD/fovea SOURCE_FOLDER.
"""
import functools
import os
import re
import sys

# Room under src/ -> other rooms it may include private headers of. "" is src/ itself (build.h, status.c), for all.
ROOMS = {
    "": set(),
    "numeric": set(),
    "kernels": {"numeric", "platform/cpu.h"},
    "plan": {"numeric", "kernels"},
    "codes": {"numeric", "kernels"},
    "store": {"numeric"},
    "cache": {"plan", "codes", "store", "numeric", "kernels"},
    "select": {"cache", "plan", "codes", "numeric", "kernels"},
    "attend": {"cache", "plan", "numeric", "kernels"},
    "attention": {"select", "attend", "cache", "plan", "numeric", "kernels"},
    "model": {"attention", "select", "attend", "cache", "plan", "numeric", "kernels"},
    "reference": {"attention", "select", "cache", "plan", "numeric", "kernels", "model/packing.h"},
    "platform": {"numeric"},
    "gguf": {"numeric", "platform"},
    "text": {"gguf/gguf_text.h", "numeric", "platform"},
    "jinja": {"text/unicode_class.h", "numeric", "platform"},
    "llm": {"gguf", "text", "numeric", "platform"},
    "measure": {"numeric", "platform", "kernels/kernels.h", "cache/cache_pages.h"},
    "arrays": {"numeric"},
    "index": {"numeric", "platform", "gguf/file_map.h", "llm/hash64.h"},
    "server": set(),
}
BINDINGS = {"arrays/array_elements.h"}  # elements of another language's arrays, for which there is no public call
CORE = {"", "numeric", "kernels", "codes", "store", "plan", "cache", "select", "attend", "attention", "model", "reference"}
FREESTANDING = {"stdint.h", "stddef.h", "stdbool.h", "float.h", "limits.h"}
ISA_HEADERS = {"X86": {"immintrin.h"}, "ARM": {"arm_neon.h"}}  # by family of FV_ISA_LIST
CPU_DETECTION = {"cpuid.h", "sys/auxv.h"}  # in platform/cpu.h only

# Public headers from the lowest layer to the highest; one may include those of its own layer and below.
PUBLIC = [
    ["api", "status", "store", "version", "isa", "reference/f16", "weight", "parallel", "report", "deadline", "state", "exchange"],
    ["plan", "cache", "reference/evict"],
    ["policy", "reference/gate", "attend", "executor"],
    ["attention"],
    ["reference/pattern", "model", "reference/dither"],
    ["message", "policy_text", "gguf", "pool", "peaks", "sampler", "tokenizer", "chat", "template", "session", "sequence", "step", "schedule", "session_file", "prefix_store", "machine", "answer_text", "generate", "lookup", "conversation", "report_sum", "tune", "engine", "stage", "array_attention", "words", "text_look", "file_fault", "index", "vector_file"],  # hosted
    ["measure/score", "measure/mass", "measure/mass_table", "measure/questions", "measure/kld_file", "measure/tune_shares",
     "measure/attention_bench", "measure/reads", "measure/read_watch", "measure/perplexity", "measure/eval", "measure/tuning", "measure/model_bench"],  # hosted
]
PUBLIC_LEVEL = {name: level for level, names in enumerate(PUBLIC) for name in names}
PUBLIC_LEVEL.update(core=PUBLIC_LEVEL["model"], fovea=len(PUBLIC))  # these include all others
ROOM_LEVEL = {"": 0, "numeric": 0, "kernels": 0, "codes": 0, "store": 0, "plan": 1, "cache": 1, "select": 2, "attend": 2, "attention": 3,
              "model": 4,
              "reference": 4, "platform": 5, "gguf": 5, "text": 5, "jinja": 5, "llm": 5, "arrays": 5, "index": 5, "measure": 6, "server": 7}

PROGRAM_LIBRARIES = {"server/server.h", "mpi/crew.h"}  # of the program's own, which libfovea knows nothing of

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def public_name(path):
    return path[len("fovea/"):-len(".h")] if path.startswith("fovea/") else None


def check_public_include(problems, target, level, where):
    name = public_name(target)
    if name not in PUBLIC_LEVEL:
        problems.append("includes %s, which has no layer in %s" % (target, os.path.basename(__file__)))
    elif PUBLIC_LEVEL[name] > level:
        problems.append("%s must not include %s, a higher layer" % (where, target))


def check_public_header(path, includes, problems):
    name = public_name(path[len("include/"):])
    if name not in PUBLIC_LEVEL:
        problems.append("has no layer in %s" % os.path.basename(__file__))
        return
    for kind, target in includes:
        if kind == "<":
            if target not in FREESTANDING:
                problems.append("a public header must not include <%s>" % target)
        else:
            check_public_include(problems, target, PUBLIC_LEVEL[name], path)


@functools.lru_cache(None)
def instruction_sets(source):
    """Folder -> (headers of its intrinsics, folders of lower levels): its processors have these too, so static inline helpers may be
    shared."""
    with open(os.path.join(source, "include", "fovea", "isa.h"), encoding="utf-8") as file:
        listed = re.findall(r"X\(\w+, (\w+), (\w+), (\d+)\)", file.read())
    return {name: (ISA_HEADERS.get(family, set()), {below for below, of, lower in listed if of == family and int(lower) < int(level)})
            for name, family, level in listed}


def check_umbrella(header, source, problems):
    """core.h includes each header of the core, fovea.h each hosted one; reference/ is apart."""
    if header in ("fovea/api.h", "fovea/core.h", "fovea/fovea.h") or header.startswith("fovea/reference/"):
        return
    texts = ""
    for umbrella in ("core.h", "fovea.h"):
        with open(os.path.join(source, "include", "fovea", umbrella), encoding="utf-8") as file:
            texts += file.read()
    if '#include "%s"' % header not in texts:
        problems.append("neither include/fovea/core.h nor fovea.h (hosted) includes it")


def check_source(path, room, includes, problems, source):
    inner = path.split("/")[2:-1]  # folders below the room
    isa = inner[0] if room == "kernels" and inner else None
    for kind, target in includes:
        if kind == "<":
            allowed = FREESTANDING | instruction_sets(source).get(isa, (set(), set()))[0]
            if path == "src/platform/cpu.h":
                allowed = allowed | CPU_DETECTION
            if (room in CORE or path == "src/platform/cpu.h") and target not in allowed:
                problems.append("the core is freestanding: no <%s>" % target)
            continue
        if public_name(target):
            check_public_include(problems, target, ROOM_LEVEL[room], "src/" + room)
            continue
        beside = os.path.normpath(os.path.join(os.path.dirname(path), target))
        if os.path.exists(os.path.join(source, beside)):
            target = beside[len("src/"):]
        elif not os.path.exists(os.path.join(source, "src", target)):
            problems.append("includes %s, which is not in src/" % target)
            continue
        other = target.split("/")[0] if "/" in target else ""
        if other == "":
            continue
        if other == room:
            folder = target.split("/")[1] if target.count("/") == 2 else isa
            if isa and folder != isa and folder not in instruction_sets(source)[isa][1]:
                problems.append("src/kernels/%s must not include %s" % (isa, target))
            continue
        if other not in ROOMS[room] and target not in ROOMS[room]:
            problems.append("src/%s must not include %s" % (room, target))


def check(path, source):
    """The problems of one file, as sentences."""
    problems = []
    with open(os.path.join(source, path), encoding="utf-8") as file:
        includes = INCLUDE.findall(file.read())
    for _, target in includes:
        if "tests/" in target or "../" in target:
            problems.append("includes %s" % target)
    top = path.split("/")[0]
    if top == "include":
        check_public_header(path, includes, problems)
        check_umbrella(path[len("include/"):], source, problems)
    elif top == "src":
        room = path.split("/")[1] if path.count("/") > 1 else ""
        if room not in ROOMS:
            problems.append("src/%s has no rules in %s" % (room, os.path.basename(__file__)))
        else:
            check_source(path, room, includes, problems, source)
    else:  # cli, bench, examples, bindings, backends: the public headers and their own
        for kind, target in includes:
            own = os.path.exists(os.path.join(source, os.path.dirname(path), target))
            if top == "cli" and target in PROGRAM_LIBRARIES:
                continue
            own = own or (top == "bindings" and target in BINDINGS)
            if kind == '"' and not public_name(target) and not own:
                problems.append("only include/fovea/ and its own folder, not %s" % target)
    return problems


def main():
    source = sys.argv[2]
    checked, bad = 0, 0
    for top in ("include", "src", "cli", "bench", "examples", "bindings", "backends"):
        for folder, _, files in sorted(os.walk(os.path.join(source, top))):
            for name in sorted(files):
                if not name.endswith((".c", ".h")):
                    continue
                path = os.path.relpath(os.path.join(folder, name), source)
                problems = check(path, source)
                for problem in problems:
                    print("%s: %s" % (path, problem))
                checked, bad = checked + 1, bad + bool(problems)
    print("%d files, %d with problems" % (checked, bad))
    return 1 if bad or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
