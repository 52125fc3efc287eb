#!/usr/bin/env python3
"""Builds the documentation: pages by mkdocs, the API reference of include/fovea/ by doxygen. A warning of either is an error.

    tools/docs.py [FOLDER]            the site in FOLDER/site (build-docs without FOLDER); open FOLDER/site/index.html
    tools/docs.py --filter HEADER     the header as doxygen reads it

Both come from Debian (tools/install.sh docs). Standard library only.
"""
import glob
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUTSIDE = {"README.md": "overview.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "security.md"}
MAP = [("Start", ["index", "overview", "tutorial", "run", "faq", "from-llama-cpp", "from-ruvllm", "serve", "python", "vector-index", "mpi"]),
       ("Use from C", ["use-from-c", "abi", "add-a-port", "microcontrollers", "size", "platforms"]),
       ("How it works", ["method", "architecture", "kernels", "tokenizer", "file-formats", "add-a-kernel", "add-a-selector"]),
       ("Results", ["results"]), ("Lab log", ["lab/*"]), ("Decisions", ["decisions/*"]),
       ("Project", ["contributing", "changelog", "security", "*"])]  # *: what no line above names
STYLE = """
body { color: #222; } .navbar-brand { font-weight: bold; }
table { display: block; overflow-x: auto; font-size: 0.92em; } td, th { padding: 3px 8px; min-width: 5.5em; }
td code { white-space: normal; overflow-wrap: anywhere; } img { max-width: 100%; }
pre { overflow-x: auto; } pre code { white-space: pre; }
"""
DOXYGEN = """
PROJECT_NAME = fovea
PROJECT_BRIEF = "API reference: the headers of include/fovea"
INPUT = include/fovea
RECURSIVE = YES
FILE_PATTERNS = *.h
STRIP_FROM_PATH = include
STRIP_FROM_INC_PATH = include
OUTPUT_DIRECTORY = {out}
HTML_OUTPUT = api
GENERATE_LATEX = NO
EXTRACT_ALL = YES
OPTIMIZE_OUTPUT_FOR_C = YES
JAVADOC_AUTOBRIEF = YES
MARKDOWN_SUPPORT = NO
AUTOLINK_SUPPORT = YES
SORT_BRIEF_DOCS = NO
INLINE_SIMPLE_STRUCTS = NO
SHOW_INCLUDE_FILES = NO
VERBATIM_HEADERS = NO
TYPEDEF_HIDES_STRUCT = YES
ENUM_VALUES_PER_LINE = 1
DISABLE_INDEX = NO
GENERATE_TREEVIEW = YES
HAVE_DOT = NO
MACRO_EXPANSION = YES
PREDEFINED = FV_API= __attribute__(x)=
INPUT_FILTER = "{python} {script} --filter"
SHOW_NAMESPACES = NO
WARN_IF_UNDOCUMENTED = NO
WARN_LOGFILE = {log}
QUIET = YES
"""
FRONT = """/** \\mainpage The API, header by header

The comment of a function is its contract: shapes, units, owners, errors, threads. Which header is for what:
<a href="../use-from-c.html">Use from C</a>. All headers: <a href="files.html">files</a>. */
"""


def laid_out(comment):
    """A block comment for doxygen. Its paragraphs that are lists in columns stay as they are; in the others what doxygen
    would read as a command or a list is itself."""
    body = comment[3:-2] if comment.startswith("/**") else comment[2:-2]
    lines = [re.sub(r"^ *\* ?", "", line) if number else line.strip() for number, line in enumerate(body.split("\n"))]
    made = []
    for paragraph in re.split(r"\n[ \t]*\n", "\n".join(lines).strip()):
        columns = [line for line in paragraph.split("\n") if re.search(r"\S {2,}\S|^ {3,}\S", line)]
        if made and columns or len(columns) > 1:
            first = paragraph.split("\n")[0]
            if first not in columns and len(paragraph.split("\n")) > 1:  # a sentence that says what the list is
                made.append(escaped(first))
                paragraph = paragraph[len(first) + 1:]
            made.append("\\verbatim\n%s\n\\endverbatim" % paragraph)
        else:
            made.append(escaped(paragraph))
    return "/** " + "\n\n".join(made) + " */"


def escaped(text):
    text = re.sub(r"([\\@<>#&%])", r"\\\1", text)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"(?<=\w)( ?)\.\.(?=\1[A-Za-z])", " to ", text).replace("to  ", "to ")
    text = re.sub(r"(\d)\.\.(?!\.)(?=(\S?))", lambda found: found.group(1) + (" to " if found.group(2) else " or more"), text)
    return re.sub(r"^(\s*)([-+*.])(?= |$)", r"\1\\\2", text, flags=re.M)


def filtered(path):
    """A header with its comments as doxygen wants them: the first one is the file's, one after a field is the field's."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    opening, _, text = text.partition("*/")
    name, _, said = opening[3:].partition(" - ")
    text = re.sub(r"^/\*\*(?!<).*?\*/", lambda found: laid_out(found.group(0)), text, flags=re.S | re.M)
    # after code on its line, but not inside a macro of several lines
    text = re.sub(r"^([^\n/#]*[;,{}\w)][ \t]*)/\*(?!\*) ((?:[^*]|\*(?!/))*)\*/[ \t]*$",
                  lambda found: "%s/**< %s*/" % (found.group(1), escaped(found.group(2))), text, flags=re.M)
    text += FRONT if os.path.basename(path) == "fovea.h" else ""
    return "/** \\file %s\n * \\brief %s*/%s" % (name, escaped(re.sub(r"^ \* ?", " ", said, flags=re.M)), text)


def pages():
    """Name in the site -> path of its source, text with links as they are there."""
    found = {os.path.relpath(path, os.path.join(ROOT, "docs")): path
             for path in glob.glob(os.path.join(ROOT, "docs", "**", "*.md"), recursive=True)}
    return dict(found, **{name: os.path.join(ROOT, path) for path, name in OUTSIDE.items()})


def moved(name, path, text, known):
    """Links of a page whose targets have other places in the site; those into the sources become text."""
    def place(match):
        target, _, anchor = match.group(2).partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return match.group(0)
        absolute = os.path.normpath(os.path.join(os.path.dirname(path), target))
        inside = next((page for page, source in known.items() if source == absolute), None)
        if inside is None and absolute.startswith(os.path.join(ROOT, "docs") + os.sep) and os.path.isfile(absolute):
            inside = os.path.relpath(absolute, os.path.join(ROOT, "docs"))
        if inside is None:
            return match.group(1)[1:-1]
        title = re.sub(r"([\w-]+)\.md\]$", r"\1]", match.group(1))
        return "%s(%s%s)" % (title, os.path.relpath(inside, os.path.dirname(name) or "."), "#" + anchor if anchor else "")
    text = re.sub(r"(\[[^\]\n]*\])\(([^()\s]+)\)", place, text)
    return text.replace("the API reference (`make docs`)", "the [API reference](api/index.html)")


def navigation(known):
    left, lines = set(known), []
    for title, patterns in MAP:
        names = []
        for pattern in patterns:
            named = {p for _, many in MAP for p in many}
            match = [n for n in sorted(left) if n[:-3] == pattern or (pattern == "*" and n[:-3] not in named) or
                     (pattern.endswith("/*") and n.startswith(pattern[:-1]))]
            names += sorted(match, key=lambda n: (not n.endswith("index.md"), n))
            left -= set(match)
        lines.append("  - %s:" % title)
        lines += ["      - %s" % name for name in names]
    return "\n".join(lines)


def run(command, log=None):
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    said = done.stdout + (open(log, encoding="utf-8").read() if log and os.path.exists(log) else "")
    if done.returncode or "warning" in said.lower():
        sys.exit("%s\n%s: the documentation has warnings" % (said, command[0]))


def main():
    out = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build-docs"))
    source = os.path.join(out, "source")
    shutil.rmtree(source, ignore_errors=True)
    known = pages()
    for name, path in known.items():
        os.makedirs(os.path.dirname(os.path.join(source, name)), exist_ok=True)
        with open(path, encoding="utf-8") as file, open(os.path.join(source, name), "w", encoding="utf-8") as copy:
            copy.write(moved(name, path, file.read(), known))
    pictures = os.path.join(ROOT, "docs", "**", "*.")
    for path in glob.glob(pictures + "svg", recursive=True) + glob.glob(pictures + "png", recursive=True):
        shutil.copy(path, os.path.join(source, os.path.relpath(path, os.path.join(ROOT, "docs"))))
    with open(os.path.join(source, "style.css"), "w", encoding="utf-8") as file:
        file.write(STYLE)
    log = os.path.join(out, "doxygen.log")
    with open(os.path.join(out, "Doxyfile"), "w", encoding="utf-8") as file:
        file.write(DOXYGEN.format(out=source, python=sys.executable, script=os.path.abspath(__file__), log=log))
    run(["doxygen", os.path.join(out, "Doxyfile")], log)
    with open(os.path.join(out, "mkdocs.yml"), "w", encoding="utf-8") as file:
        file.write("site_name: fovea\nsite_description: sparse attention for language models on the CPU\ndocs_dir: source\n"
                   "site_dir: site\nuse_directory_urls: false\ntheme:\n  name: mkdocs\n  highlightjs: false\n"
                   "plugins: [search]\nextra_css: [style.css]\nmarkdown_extensions: [sane_lists, {toc: {permalink: true}}]\nnav:\n"
                   + navigation(known) + "\n")
    run(["mkdocs", "build", "--quiet", "--strict", "--clean", "-f", os.path.join(out, "mkdocs.yml")])
    print("%d pages and the API reference: %s" % (len(known), os.path.join(out, "site", "index.html")))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--filter"]:
        sys.stdout.write(filtered(sys.argv[2]))
    else:
        main()
