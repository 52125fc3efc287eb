#!/usr/bin/env python3
"""Makes one header and one C file of the whole core, to drop into a project: fovea.h and fovea.c; and for hosts fovea_x86.c and
fovea_arm.c, the vector kernels of one family of processors each.

    tools/amalgamate.py DIR

Standard library only. The core is what CMakeLists.txt calls core_sources: no C library but memcpy, memmove, memset and memcmp,
no heap, portable kernels. Compile fovea.c with -ffp-contract=off as C11, or with g++ or clang++ as C++17: it has designated
initialisers and compound literals, which these take as extensions. fovea.h is for C11 and for C++ from 11 on.

Vector kernels: compile fovea_x86.c and fovea_arm.c too (the one of another family is empty), with gcc or clang and the same switches, and
all with -DFV_VECTOR_KERNELS. They need no flags for instructions: each function says what it needs, and fv_kernels_init() asks the
processor. What each instruction set is compiled with is what CMakeLists.txt says.

Names that are private to a file stay private: one that another file uses too gets the file's name after it. Functions that files
share with each other and not with users are static here, so that a compiler can fold them and drop what is not called; unless a
switch is off but the model's and dither's: some calls to what is not built then are for the compiler to drop.
"""
import argparse
import collections
import glob
import os
import re
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"].*\n', re.M)
DECLARED_BY_LIST = re.compile(r"^#define (FV_\w+_DECLARE)\b.*?^#undef \1\n", re.M | re.S)
FUNCTION = re.compile(r"^(?:const )?(?!static|typedef|extern|return|else)\w+ \**(fv_\w+)\(", re.M)
COMMENT_OR_TEXT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'', re.S)
IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
CPU = os.path.join(SOURCE, "src", "platform", "cpu.h")
VISIBLE = {"fv_pages_diagonals_attend", "fv_element_key_store", "fv_element_row_store", "fv_super_unpack"}  # not static: in line they would take more stack, or make
# a compiler warn of what cannot happen
BUILD_SWITCHES = os.path.join(SOURCE, "src", "build.h")
FIRST = [r"src/kernels/scalar/vector_scalar", r"src/kernels/scalar/", r"src/kernels/kernels\.c"]  # then all others
WORDS_OF_C = "#ifdef __cplusplus /* words of C11 that C++ lacks */\n#define restrict __restrict\n" \
             "#define _Static_assert static_assert\n#endif\n\n"
PORTABLE_CPU = "#else /* Only the portable kernels are here: no processor is asked. */\n" \
               "static inline fv_isa fv_cpu_isa(void) { return FV_ISA_SCALAR; }\n" \
               "static inline bool fv_cpu_has_avxvnni(void) { return false; }\n#endif\n"
UNUSED = "#ifdef __GNUC__ /* of what is private, some may have no caller where a switch is off */\n" \
         '#pragma GCC diagnostic ignored "-Wunused-function"\n#endif\n\n'
OLD_COMPILER = "#if defined __clang__ ? __clang_major__ >= 12 : __GNUC__ >= 11\n#define FV_BUILD_%s 1\n#endif"  # avxvnni, avx512bf16
OLD_CLANG = "#if !defined __clang__ || __clang_major__ >= 16 /* before, arm_neon.h has them for whole files only */\n" \
            "#define FV_BUILD_%s 1\n#endif"
FAMILIES = {"X86": ("fovea_x86.c", "__x86_64__", "immintrin.h"), "ARM": ("fovea_arm.c", "__aarch64__", "arm_neon.h")}


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def core_sources():
    """The list in CMakeLists.txt, so that there is one."""
    listed = re.search(r"file\(GLOB core_sources CONFIGURE_DEPENDS ([^)]*)\)", text_of(os.path.join(SOURCE, "CMakeLists.txt")))
    return sorted(path for pattern in listed.group(1).split() for path in glob.glob(os.path.join(SOURCE, pattern)))


def instruction_sets():
    """(name, family, flags) in the order of FV_ISA_LIST, the flags as in CMakeLists.txt."""
    flags = dict(re.findall(r"^ *fv_instruction_set\((\w+) *([^)]*)\)", text_of(os.path.join(SOURCE, "CMakeLists.txt")), re.M))
    listed = re.findall(r"X\(\w+, (\w+), (\w+), \d+\)", text_of(os.path.join(SOURCE, "include", "fovea", "isa.h")))
    return [(name, family, flags[name].split()) for name, family in listed if family in FAMILIES]


def switches():
    """The instruction sets, on where their kernels are compiled beside."""
    lines = ["#ifdef FV_VECTOR_KERNELS /* fovea_x86.c and fovea_arm.c are compiled, too */", "#ifdef __cplusplus",
             '#error "vector kernels are C: compile fovea.c as C, too"', "#endif"]
    for family, (_, processor, _) in FAMILIES.items():
        lines += ["#if defined(%s) && defined(__GNUC__)" % processor]
        for name, of, flags in instruction_sets():
            if of == family:
                line = OLD_CLANG if family == "ARM" and flags else OLD_COMPILER if {"-mavxvnni", "-mavx512bf16"} & set(flags) else "#define FV_BUILD_%s 1"
                lines.append(line % name.upper())
        lines += ["#endif"]
    return "\n".join(lines + ["#endif\n"])


def private():
    """The word before what files share."""
    build = text_of(BUILD_SWITCHES)
    names = [name for name in re.findall(r"#ifndef (FV_BUILD_\w+)", build) if name not in ("FV_BUILD_H", "FV_BUILD_MODEL", "FV_BUILD_DITHER")]
    return "%s\n#ifndef FV_VECTOR_KERNELS\n#define FV_SHARED static\n#else\n#define FV_SHARED\n#endif\n" \
           "#if !defined FV_VECTOR_KERNELS && \\\n    %s\n#define FV_PRIVATE static\n#else\n#define FV_PRIVATE\n#endif\n" \
           "%s" % (
        build, " && \\\n    ".join(names), UNUSED)


def switched(text):
    """Functions that are defined only where a switch is on: calls to others may be dropped by optimisation alone."""
    found, conditions = set(), []
    for line in text.split("\n"):
        word = re.match(r"\s*#\s*(if|ifdef|ifndef|elif|else|endif)\b(.*)", line)
        if word and word.group(1).startswith("if"):
            conditions.append("FV_BUILD_" in word.group(2))
        elif word and word.group(1) == "elif":
            conditions[-1] = conditions[-1] or "FV_BUILD_" in word.group(2)
        elif word and word.group(1) == "endif":
            conditions.pop()
        elif any(conditions):
            found.update(FUNCTION.findall(line))
    return found


def library_version():
    return re.search(r"project\(fovea VERSION ([\d.]+)", text_of(os.path.join(SOURCE, "CMakeLists.txt"))).group(1)


def find(name, beside):
    """Where an #include "NAME" of a file in folder `beside` leads."""
    for folder in (beside, os.path.join(SOURCE, "src"), os.path.join(SOURCE, "include")):
        if os.path.exists(os.path.join(folder, name)):
            return os.path.realpath(os.path.join(folder, name))
    sys.exit("%s is included from %s and not there" % (name, beside))


class Joiner:
    """Texts of headers in the order in which they need each other, each once; project includes are replaced by them."""
    def __init__(self, known):
        self.known = set(known)

    def expand(self, path, wanted):
        """The text of `path` after those headers it needs for which wanted(header) holds and that were not there yet."""
        def replaced(match):
            if match.group(1) == "<" and not match.group(2).startswith("fovea/"):
                return match.group(0)
            header = find(match.group(2), os.path.dirname(path))
            if not wanted(header) or header in self.known:
                return ""
            self.known.add(header)
            return self.expand(header, wanted) + "\n"
        text = INCLUDE.sub(replaced, text_of(path))
        return "#ifdef FV_VECTOR_KERNELS\n" + text + PORTABLE_CPU if path == CPU else text


def is_public(path):
    return path.startswith(os.path.join(SOURCE, "include"))


def bare(text):
    """The text without comments, strings and what is inside of braces, but for the names in enums."""
    text = COMMENT_OR_TEXT.sub(lambda match: " ", text)
    text = re.sub(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", "", text, flags=re.M)
    out, depth, in_enum, head = [], 0, False, ""
    for c in text:
        if c == "{":
            if depth == 0:
                in_enum = re.search(r"\benum\b[^;{}()]*$", head) is not None
                head = ""
            depth += 1
            out.append(" { " if depth == 1 else "")
        elif c == "}":
            depth -= 1
            out.append(" } " if depth == 0 else "")
        elif depth == 0 or in_enum:
            out.append(c)
            head += c
    return "".join(out)


def private_names(path):
    """What a .c file defines for itself: static functions and objects, tags, types, constants of enums."""
    text = re.sub(r"\bINLINE\b", "static inline", bare(INCLUDE.sub("", text_of(path))))
    names = set()
    for enum in re.findall(r"\benum\b\s*\w*\s*\{([^}]*)\}", text):
        names |= {IDENTIFIER.match(part.strip()).group(0) for part in enum.split(",") if part.strip()}
    names |= set(re.findall(r"\b(?:struct|enum|union)\s+(\w+)\s*\{", text))
    names |= set(re.findall(r"\}\s*(\w+)\s*;", text))
    names |= set(re.findall(r"\bstatic\b[^;={}(]*?\b(\w+)\s*(?:\(|=|\[|;)", text))
    return {name for name in names if not name.startswith("fv_")}


def identifiers(path):
    return set(IDENTIFIER.findall(COMMENT_OR_TEXT.sub(" ", text_of(path))))


def rename(text, names, stem):
    """Appends the stem to `names`, but not to members (after . or ->) and not in comments and texts."""
    pattern = re.compile(COMMENT_OR_TEXT.pattern + r"|(?<![\w.])(?<!->)(?:%s)\b" % "|".join(sorted(names)), re.S)
    return pattern.sub(lambda match: match.group(0) + "_" + stem if match.group(0) in names else match.group(0), text)


def header_text(sources):
    joiner, parts = Joiner([]), []
    for path in sources:
        for kind, name in INCLUDE.findall(text_of(path)):
            header = find(name, os.path.dirname(path)) if kind == '"' else ""
            if header and is_public(header) and header not in joiner.known:
                joiner.known.add(header)
                parts.append(joiner.expand(header, is_public))
    return "/* fovea.h %s - the core of fovea in one header; generated by tools/amalgamate.py */\n#ifndef FOVEA_H\n" \
           "#define FOVEA_H\n\n%s\n#endif\n" % (library_version(), "\n".join(parts)), joiner.known


def made_static(text, public):
    """The text with its shared functions static, but for those that only users outside of the core call, as its tests do. What the
    lists of kernels declare for all instruction sets goes: whoever names a kernel comes after it."""
    text = DECLARED_BY_LIST.sub("", text)
    uses = collections.Counter(IDENTIFIER.findall(COMMENT_OR_TEXT.sub(" ", text)))
    heads = collections.Counter(FUNCTION.findall(text))
    some = switched(text)

    def hidden(match):
        name = match.group(1)
        is_called = uses[name] > heads[name] or name.endswith("_scalar")
        if not is_called or name in public | VISIBLE:
            return match.group(0)
        return ("FV_PRIVATE " if name in some else "FV_SHARED ") + match.group(0)
    return FUNCTION.sub(hidden, text)


def place_of(path):
    return next((place for place, start in enumerate(FIRST) if re.match(start, path)), len(FIRST))


def source_text(sources, known):
    public = set(IDENTIFIER.findall("".join(COMMENT_OR_TEXT.sub(" ", text_of(path)) for path in known)))
    sources = sorted(sources, key=lambda path: (place_of(os.path.relpath(path, SOURCE)), path))
    users = collections.Counter(name for path in sources for name in identifiers(path))
    joiner = Joiner(list(known) + [BUILD_SWITCHES])
    parts = ["/* fovea.c %s - the core of fovea in one file: C11 or C++17, -ffp-contract=off; portable kernels, and with "
             "-DFV_VECTOR_KERNELS those of fovea_x86.c or fovea_arm.c; generated by tools/amalgamate.py */\n"
             '#include "fovea.h"\n\n%s%s\n%s' % (library_version(), WORDS_OF_C, switches(), private())]
    for path in sources:
        stem = os.path.splitext(os.path.basename(path))[0]
        twice = {name for name in private_names(path) if users[name] > 1}
        own = "\n/* --- %s --- */\n" % os.path.relpath(path, SOURCE)
        headers = private_headers(path, joiner)
        own += joiner.expand(path, lambda other: False)
        parts += headers + [rename(own, twice, stem) if twice else own]
    return made_static("\n".join(parts), public)


def target_of(flags):
    """The functions between these two lines may use what the flags switch on."""
    if not flags:
        return "", ""
    words = [flag[len("-m"):] for flag in flags]
    features = [word for flag in words for word in (flag.split("+")[1:] if flag.startswith("arch=") else [flag])]
    return ('#ifdef __clang__\n#pragma clang attribute push(__attribute__((target("%s"))), apply_to = function)\n#else\n'
            '#pragma GCC push_options\n#pragma GCC target("%s")\n#endif\n' % (",".join(features), ",".join(words)),
            "#ifdef __clang__\n#pragma clang attribute pop\n#else\n#pragma GCC pop_options\n#endif\n")


def without_macros(text):
    """What takes back the macros that the text of a .c file leaves defined, but INLINE, which is the same everywhere."""
    left = [name for name in re.findall(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", text, re.M)
            if name != "INLINE" and not re.search(r"^[ \t]*#[ \t]*undef[ \t]+%s\b" % name, text, re.M)]
    return "".join("#undef %s\n" % name for name in dict.fromkeys(left))


def private_headers(path, joiner):
    """Those that a .c file needs and that were not there yet."""
    headers = []
    for kind, name in INCLUDE.findall(text_of(path)):
        header = find(name, os.path.dirname(path)) if kind == '"' else None
        if header and not is_public(header) and header not in joiner.known:
            joiner.known.add(header)
            headers.append(joiner.expand(header, lambda other: not is_public(other)))
    return headers


def vector_text(family, known):
    """The kernels of a family's instruction sets, each between lines that allow its instructions."""
    name, processor, intrinsics = FAMILIES[family]
    sets = [(isa, flags, sorted(glob.glob(os.path.join(SOURCE, "src", "kernels", isa, "*.[ch]"))))
            for isa, of, flags in instruction_sets() if of == family]
    users = collections.Counter(word for _, _, paths in sets for path in paths for word in identifiers(path))
    joiner = Joiner(list(known) + [BUILD_SWITCHES])
    parts = ["/* %s %s - vector kernels of fovea.c, for gcc and clang: -DFV_VECTOR_KERNELS for both files, no other flags but "
             "-ffp-contract=off; generated by tools/amalgamate.py */\n"
             '#include "fovea.h"\n\n#if defined FV_VECTOR_KERNELS && defined(%s) && defined(__GNUC__)\n#include <%s>\n#include <float.h>\n'
             "#include <stdbool.h>\n\n%s\n%s\n%s" % (name, library_version(), processor, intrinsics, switches(), text_of(BUILD_SWITCHES),
                                                   UNUSED)]
    kernels = os.path.join(SOURCE, "src", "kernels", "kernels.h")
    joiner.known.add(kernels)
    parts.append(joiner.expand(kernels, lambda other: not is_public(other)))
    for isa, flags, paths in sets:
        begin, end = target_of(flags)
        parts.append("#if FV_BUILD_%s\n%s" % (isa.upper(), begin))
        for path in (path for path in paths if path.endswith(".c")):
            stem = os.path.splitext(os.path.basename(path))[0]
            twice = {word for word in private_names(path) if users[word] > 1}
            parts += private_headers(path, joiner)
            own = "\n/* --- %s --- */\n" % os.path.relpath(path, SOURCE) + joiner.expand(path, lambda other: False)
            parts += [rename(own, twice, stem) if twice else own, without_macros(text_of(path))]
        parts.append(end + "#endif\n")
    return "\n".join(parts) + "\n#else\ntypedef int fovea_no_vector_kernels; /* a file may not be empty */\n#endif\n"


def texts(vectors=False):
    """File -> text; with those of the vector kernels or not."""
    sources = core_sources()
    header, known = header_text(sources)
    made = {"fovea.h": header, "fovea.c": source_text(sources, known)}
    if vectors:
        made.update({name: vector_text(family, known) for family, (name, _, _) in FAMILIES.items()})
    return {name: re.sub(r"\n{3,}", "\n\n", text) for name, text in made.items()}


def write(directory, vectors=False):
    os.makedirs(directory, exist_ok=True)
    for name, text in texts(vectors).items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory")
    write(parser.parse_args().directory, True)


if __name__ == "__main__":
    main()
