#!/usr/bin/env python3
"""Texts as people hand them over: CR LF, a byte order mark, empty lines, half a character, a literal \\n, zero bytes. One rule for
every verb: bytes inside a text stay, a leading mark is dropped, and what looks unintended is reported.

Called as: texts_test.py BUILD/fovea SOURCE_FOLDER.
"""
import os
import re

import cli_runner
from cli_runner import TEXT, FolderTest, run
from tiny_gguf import TinyModel

TEMPLATE = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
MARK = b"\xef\xbb\xbf"


class Texts(FolderTest):
    def setUp(self):
        super().setUp()
        self.model = TinyModel().set("tokenizer.chat_template", TEMPLATE).write(os.path.join(self.folder, "m.gguf"))

    def file(self, content):
        path = os.path.join(self.folder, "odd")
        with open(path, "wb") as file:
            file.write(content)
        return path

    def prompt_tokens(self, typed):
        done = self.ok("run", "-m", self.model, "-n", "1", "-t", "1", "--temp", "0", stdin=typed)
        return int(re.search(r"^prompt: (\d+) ", done.stderr.decode(), re.M).group(1)), done.stderr.decode()

    def said(self, content, *verb):
        return self.ok(*verb, self.file(content)).stderr.decode()

    def each_verb(self, content):
        """What every verb that reads a file says of it."""
        text = content + TEXT.encode() * 60
        yield self.said(content, "run", "-m", self.model, "-no-cnv", "-n", "1", "-f")
        yield self.said(text, "ppl", "-m", self.model, "-c", "64", "--chunks", "1", "-f")
        yield self.said(content, "tokenize", "-m", self.model, "--ids", "-f")

    def test_lines_of_a_conversation_end_with_lf_or_crlf(self):
        count, _ = self.prompt_tokens(b"Say hi\n\nSay bye\n")
        self.assertEqual(self.prompt_tokens(b"Say hi\r\n\r\nSay bye\r\n")[0], count)
        self.assertEqual(self.prompt_tokens(MARK + b"Say hi\r\nSay bye")[0], count)
        self.assertIn("byte order mark", self.prompt_tokens(MARK + b"Say hi\n")[1])

    def test_a_cr_inside_a_line_stays(self):
        self.assertEqual(self.prompt_tokens(b"a\rb\n")[0], self.prompt_tokens(b"a b\n")[0])

    def test_a_byte_order_mark_is_dropped_and_said(self):
        plain = self.ok("tokenize", "-m", self.model, "--ids", "-f", self.file(b"in the rain"))
        marked = self.ok("tokenize", "-m", self.model, "--ids", "-f", self.file(MARK + b"in the rain"))
        self.assertEqual(marked.stdout, plain.stdout)
        for said in self.each_verb(MARK + b"in the rain"):
            self.assertIn("warning: %s begins with a byte order mark" % os.path.join(self.folder, "odd"), said)
        piped = self.ok("tokenize", "-m", self.model, "--ids", "--stdin", stdin=MARK + b"in the rain")
        self.assertEqual(piped.stdout, plain.stdout)
        self.assertIn(b"standard input begins with a byte order mark", piped.stderr)
        kept = self.ok("tokenize", "-m", self.model, "--ids", "-p", "\ufeffin the rain")
        self.assertNotEqual(kept.stdout, plain.stdout)  # only files have a mark

    def test_line_ends_of_windows_stay_and_are_said(self):
        for said in self.each_verb(b"in the\r\nrain\r\n\n"):
            self.assertIn("2 line ends CR LF", said)
        ids = self.ok("tokenize", "-m", self.model, "--ids", "-f", self.file(b"a\r\nb"))
        self.assertEqual(len(ids.stdout.split(b",")), 4)
        last = self.ok("run", "-m", self.model, "-no-cnv", "-n", "0", "-f", self.file(b"in\r\n"))
        self.assertEqual(last.stdout, b"in\n")  # one line end is dropped, as one of LF is

    def test_half_a_character_at_the_end_is_said(self):
        for said in self.each_verb(b"caf\xc3"):
            self.assertIn("byte 3 is 0xC3", said)
        self.assertIn("ends inside a character", self.said(b"caf\xc3", "tokenize", "-m", self.model, "-f"))
        self.assertNotIn("warning", self.said(b"caf\xc3\xa9", "tokenize", "-m", self.model, "-f"))

    def test_a_zero_byte_is_said(self):
        for said in self.each_verb(b"in\0the rain"):
            self.assertIn("zero byte at 2", said)
        self.fails(1, "run", "-m", self.model, "-n", "1", "-f", self.file(b"in\0the"), says=("byte 2", "-no-cnv"))

    def test_utf16_is_called_by_its_name(self):
        said = self.said("in the rain".encode("utf-16"), "tokenize", "-m", self.model, "-f")
        self.assertIn("UTF-16", said)
        self.assertNotIn("zero byte", said)

    def test_a_literal_backslash_n_is_said(self):
        prompt = ("-no-cnv", "-n", "1", "-p")
        self.assertIn(b"\\n as two characters", self.ok("run", "-m", self.model, *prompt, "in\\nthe").stderr)
        for fine in ("in\\\\nthe", "in\nthe\\n", "in the"):
            self.assertNotIn(b"two characters", self.ok("run", "-m", self.model, *prompt, fine).stderr)
        self.assertNotIn(b"two characters", self.ok("run", "-m", self.model, "-e", *prompt, "in\\nthe").stderr)

    def test_an_empty_prompt_is_no_question(self):
        for source in (("-p", ""), ("-f", self.file(b"")), ("-f", self.file(b"\r\n")), ("-f", self.file(MARK))):
            for more in ((), ("-no-cnv",)):
                done = run("run", "-m", self.model, "-n", "1", *source, *more)
                self.assertEqual(done.returncode, 1, (source, more))
                self.assertIn(b"the prompt is empty", done.stderr)


if __name__ == "__main__":
    cli_runner.main()
