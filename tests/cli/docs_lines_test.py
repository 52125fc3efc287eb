#!/usr/bin/env python3
"""Checks the command lines of README.md and docs/: each names a verb and flags that exist; each that has no placeholder runs,
with a tiny model and small sizes in place of what a reader has. What needs the real model runs with FV_DOCS_MODEL=FILE.

A block after <!-- run: model --> is run as it stands, in the order of its page, where FV_DOCS_MODEL is set.
Called as: docs_lines_test.py BUILD/fovea SOURCE_FOLDER.
"""
import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

FOVEA = os.path.abspath(sys.argv[1]) if len(sys.argv) > 2 else ""
SOURCE = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else ""
LINE = re.compile(r"^    ((?:\$ )?(?:build/)?fovea [a-z][^\n]*(?:\\\n[^\n]*)*)", re.M)
SPAN = re.compile(r"`((?:build/)?fovea [a-z]+[^`\n]*)`")
MARKED = re.compile(r"^<!-- run: model -->\n\n((?:    [^\n]*\n|\n)+)", re.M)
MODELS = ("MODEL.gguf", "MODEL", "$MODEL", "M", "SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2", "FILE.gguf", "model.gguf")
SMALL = {"8192": "256", "4096": "128", "2048": "128", "512": "64", "0,7600": "0,64", "7600": "64", "8128": "64", "200": "2", "96": "8"}
FILES = {"TEXT", "DOC", "LONG.txt", "PROSE", "topics.txt", "prose.txt", "technical.txt", "document.txt"}
PLACEHOLDER = re.compile(r"…|\.\.\.|\b(SPEC|TYPE|BASE|N|K|X|FRACTION|VERB|DIR|MS|FILE|PEER)\b|\[|\|")


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def pages():
    return [os.path.join(SOURCE, "README.md")] + sorted(glob.glob(os.path.join(SOURCE, "docs", "**", "*.md"), recursive=True))


def words_of(line):
    """The words of a shell line without its comment; None for what is not one."""
    try:
        return shlex.split(re.sub(r"\\\n\s*", " ", line), comments=True)
    except ValueError:
        return None


def lines(pattern):
    for path in pages():
        for found in pattern.findall(text_of(path)):
            words = words_of(found)
            if words:
                yield os.path.relpath(path, SOURCE), words


class DocsLinesTest(unittest.TestCase):
    def help_of(self, verb):
        if verb not in self.helps:
            verbs = verb.split()
            done = subprocess.run([FOVEA] + verbs + ["--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.helps[verb] = done.stdout.decode() if done.returncode == 0 else None
        return self.helps[verb]

    def setUp(self):
        self.helps = {}

    def test_flags_exist(self):
        checked = 0
        for pattern in (LINE, SPAN):
            for path, words in lines(pattern):
                verb = " ".join(words[1:3]) if words[1:3] in (["bench", "attention"], ["bench", "machine"]) else words[1]
                text = self.help_of(verb)
                self.assertIsNotNone(text, "%s: there is no verb '%s'" % (path, verb))
                for word in words[2:]:
                    if re.match(r"--?[A-Za-z]", word):
                        flag = word.split("=")[0]
                        self.assertTrue(re.search(r"(?<![\w-])%s(?![\w-])" % re.escape(flag), text),
                                        "%s: fovea %s has no %s: %s" % (path, verb, flag, " ".join(words)))
                        checked += 1
        self.assertGreater(checked, 60)

    def test_lines_run(self):
        story, ran = os.path.join(SOURCE, "tests", "model", "story.gguf"), 0
        environment = dict(os.environ, LLAMA_ARG_CHAT_TEMPLATE="chatml", LLAMA_ARG_THREADS="1")
        with tempfile.TemporaryDirectory() as folder:
            text = text_of(os.path.join(SOURCE, "LICENSE"))
            for name in FILES:
                with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                    file.write(text if name == "TEXT" else text[:120])
            for path, words in lines(LINE):
                if PLACEHOLDER.search(" ".join(words)) or words[1] in ("bench", "serve", "tune") or "--tune" in words:
                    continue
                if words[1] in ("run", "read", "ppl", "eval") and "-m" not in words:
                    continue
                words = [story if word in MODELS else SMALL.get(word, word) for word in words[1:]]
                words = ["TEXT" if words[0] == "ppl" and word in FILES else word for word in words]
                words = ["1024" if words[0] == "eval" and word == "256" else word for word in words]
                words += ["-n", "2"] if words[0] in ("run", "eval") and "-n" not in words else []
                words += ["--score", "16"] if words[0] == "ppl" and "--score" not in words else []
                done = subprocess.run([FOVEA] + words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      cwd=folder, env=environment)
                self.assertEqual(done.returncode, 0, "%s: fovea %s\n%s" % (path, " ".join(words), done.stderr.decode()))
                ran += 1
        self.assertGreater(ran, 5)

    def test_marked_blocks_run(self):
        model = os.environ.get("FV_DOCS_MODEL")
        if not model:
            self.skipTest("blocks that need the real model: set FV_DOCS_MODEL=models/SmolLM2-135M-Instruct.Q4_1.gguf")
        for path in pages():
            blocks = [re.sub(r"^    ", "", block, flags=re.M) for block in MARKED.findall(text_of(path))]
            if not blocks:
                continue
            with tempfile.TemporaryDirectory() as folder:
                os.mkdir(os.path.join(folder, "build"))
                shutil.copy(FOVEA, os.path.join(folder, "build", "fovea"))
                script = "set -e\nMODEL=%s\n%s" % (shlex.quote(os.path.abspath(model)), "\n".join(blocks))
                done = subprocess.run(["sh", "-c", script], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT)
                said = done.stdout.decode(errors="replace")
                self.assertEqual(done.returncode, 0, "%s\n%s" % (path, said))
                self.assertIn("reused", said)


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: %s BUILD/fovea SOURCE_FOLDER" % sys.argv[0])
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])


if __name__ == "__main__":
    main()
