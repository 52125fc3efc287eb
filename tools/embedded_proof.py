#!/usr/bin/env python3
"""What the core needs on a chip, read from its objects: symbols, globals, stack, bytes. Standard library only.

    tools/embedded_proof.py TARGET          # stacks of the public functions, deepest first, then what is wrong

Used by tools/embedded_size.py and tests/freestanding/. Stack is GCC's count (-fcallgraph-info=su) along the deepest chain; an
indirect call counts as the worst of what its slot can hold, a function of the caller's (clock, store, workers) as nothing,
and so do libgcc's helpers.
"""
import fnmatch
import glob
import os
import re
import subprocess
import sys

import embedded

ALLOWED = {"memcpy", "memmove", "memset", "memcmp"}
DOUBLE = re.compile(r"^__aeabi_(d|f2d|i2d|ui2d|l2d|ul2d|cd)|^__\w*df|^__\w*df\w*$|extendsfdf")
HELPERS_FOLDER = os.path.join(embedded.SOURCE, "tests", "freestanding")
OFTEN = {"score": ["fv_score_page_*_scalar"], "score_page": ["fv_score_page_*_scalar"], "sum": ["fv_value_sum_*_scalar"], "narrow": ["fv_narrow_*_scalar"],
         "unpack": ["fv_unpack_*_scalar"], "dequant": ["fv_dequant_*_scalar"], "floats": ["fv_product_*_scalar"], "task": ["*_task"], "step": ["step_*"], "fill": ["list_*"],
         "accept": ["slot_accept"]}
RUNNERS = {"step_run", "step_task"}  # make such calls themselves
LARGER = {"parts", "score_own_f32", "value_own_f32", "transpose16_f32", "mix_f32", "copy_rows_f32", "finish16_f32", "mean_add_f32",
          "largest_f32"}  # slots that no scalar kernel fills: NULL on a chip
CALLERS = {"observer", "run", "read", "write", "sync", "clock"}  # functions that the user of the library hands in


def tool(target_name, name):
    return re.sub("gcc$", name, embedded.TARGETS[target_name].compiler)


def output_of(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout


def symbols(target_name, objects):
    """Names that are defined, undefined, writable."""
    defined, undefined, writable = set(), set(), set()
    for line in output_of(tool(target_name, "nm"), *objects).splitlines():
        word = line.split()
        if len(word) == 2 and word[0] == "U":
            undefined.add(word[1])
        elif len(word) == 3:
            defined.add(word[2])
            if word[1] in "dDbBCsS":
                writable.add(word[2])
    return defined, undefined - defined, writable


def called(label):
    """The name in a call at file:line:column of the source, and the file."""
    path, line, column = label.rsplit(":", 2)
    text = embedded.text_of(path).split("\n")[int(line) - 1][int(column) - 1:]
    found = re.search(r"(\w+)\(", text)
    return found.group(1) if found else text


class Graph:
    """Functions, their frames and calls, from the .ci files beside objects."""
    def __init__(self, objects):
        self.frame, self.calls, self.problems, self.by_name = {}, {}, [], {}
        edges = []
        for path in (name[:-len("o")] + "ci" for name in objects):
            text = embedded.text_of(path)
            for title, label in re.findall(r'node: \{ title: "([^"]*)" label: "([^"]*)"', text):
                size = re.search(r"(\d+) bytes \((\w[^)]*)\)", label)
                if size:
                    self.frame[title] = int(size.group(1))
                    self.by_name.setdefault(title.split(":")[-1].split(".")[0], []).append(title)
                    if "static" not in size.group(2):
                        self.problems.append("%s has a frame that grows as it runs" % title)
            edges += re.findall(r'edge: \{ sourcename: "([^"]*)" targetname: "([^"]*)" label: "([^"]*)"', text)
        for source, target, label in edges:
            if target.endswith(":fv_parallel_run"):
                target = self.loop(target, label)
            if source.endswith(":fv_parallel_run") and target == "__indirect_call":
                continue  # counted with each of its callers
            targets = [target] if target != "__indirect_call" else self.slot(source, label)
            self.calls.setdefault(source, set()).update(targets)
        self.deepest = {}

    def loop(self, title, label):
        """A call of fv_parallel_run() and the task that it is given, as one function."""
        path, line, _ = label.rsplit(":", 2)
        text = "".join(embedded.text_of(path).split("\n")[int(line) - 1:int(line) + 2])
        task = re.search(r"fv_parallel_run\(.*?\b(\w+_task)\b", text)
        if not task:
            self.problems.append("%s: no task is named" % label)
            return title
        made = title + "(" + task.group(1) + ")"
        self.frame[made] = self.frame[title]
        self.calls[made] = {title.rsplit(":", 1)[0] + ":" + task.group(1)}
        return made

    def slot(self, source, label):
        name = called(label)
        if name in CALLERS or name in LARGER:
            return []
        patterns = OFTEN.get(name, ["fv_%s_scalar" % name])
        titles = [title for known, titles in self.by_name.items() for title in titles
                  if any(fnmatch.fnmatch(known, pattern) for pattern in patterns)]
        titles = [title for title in titles if re.split("[.$]", title.split(":")[-1])[0] not in RUNNERS]
        if name in ("task", "step", "fill"):  # handed over within a file
            files = {title.rsplit(":", 1)[0] for title in self.users(source)}
            titles = [title for title in titles if title.rsplit(":", 1)[0] in files]
        if not titles:
            self.problems.append("%s: what %s can call is not known" % (label, name))
        return titles

    def users(self, source):
        """The function itself with its file; a public one's file is where its frame's neighbours are."""
        if ":" in source:
            return [source]
        name = {"fv_linear_run": "linear.c"}.get(source)
        return [title for title in self.frame if ":" in title and (name is None or "/" + name in title)]

    def stack(self, title, path=()):
        if title in path:
            self.problems.append("recursion: %s" % " -> ".join(path[path.index(title):] + (title,)))
            return 0
        if title not in self.deepest:
            below = [self.stack(callee, path + (title,)) for callee in self.calls.get(title, ())]
            self.deepest[title] = self.frame.get(title, 0) + max(below, default=0)
        return self.deepest[title]


def public_functions():
    names = set()
    for path in glob.glob(os.path.join(embedded.SOURCE, "include", "fovea", "**", "*.h"), recursive=True):
        names |= set(re.findall(r"^(?:FV_API )?[a-z][\w *]*\b(fv_\w+)\(", embedded.text_of(path), re.M))
    return names


def stacks(objects):
    graph = Graph(objects)
    found = {name: graph.stack(name) for name in public_functions() if name in graph.frame}
    return found, sorted(set(graph.problems))


def helpers(target_name):
    """libgcc's functions that a target may need: those of its line in tests/freestanding/helpers.txt."""
    for line in embedded.text_of(os.path.join(HELPERS_FOLDER, "helpers.txt")).splitlines():
        name, _, words = line.partition(":")
        if name == target_name:
            return set(words.split())
    return set()


def problems(target_name, objects, deepest=1024):
    """All that is wrong with the core on a target, as sentences."""
    _, undefined, writable = symbols(target_name, objects)
    wrong = ["%s needs %s" % (target_name, name) for name in sorted(undefined - ALLOWED - helpers(target_name))]
    wrong += ["%s needs %s, in double precision" % (target_name, name) for name in sorted(undefined) if DOUBLE.match(name)]
    wrong += ["%s has the writable global %s" % (target_name, name) for name in sorted(writable)]
    depth, graph_problems = stacks(objects)
    wrong += graph_problems
    wrong += ["%s: %s takes %d bytes of stack, more than %d" % (target_name, name, size, deepest)
              for name, size in sorted(depth.items()) if size > deepest]
    return wrong


def main():
    target_name = sys.argv[1]
    objects = embedded.core_objects(target_name)
    depth, _ = stacks(objects)
    for size, name in sorted(((size, name) for name, size in depth.items()), reverse=True)[:40]:
        print("%6d %s" % (size, name))
    print("\n".join(problems(target_name, objects)))


if __name__ == "__main__":
    main()
