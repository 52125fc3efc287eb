#!/usr/bin/env python3
"""What reaches a terminal and what comes from one: bars that fit, control characters of files, signals.

Called as: terminal_test.py BUILD/fovea SOURCE_FOLDER. Exit 77 if the tiny models are missing.
"""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import cli_runner
from cli_runner import FOVEA, TEXT, CliTest, FolderTest, clean_environment, model
from tiny_gguf import SPECIALS, TinyModel

LLAMA = model("llama_f32")
COMMAND = "\x1b]52;c;ZXZpbA==\x07"  # writes the clipboard
COLOUR = "\x1b[31m"
CONTROL = re.compile(b"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")  # but for newline and tab


class Terminal:
    """A program whose input, output and errors are one terminal of `columns`."""

    def __init__(self, *arguments, columns=80, env=None, echo=True):
        self.out = b""
        self.master, slave = pty.openpty()
        self.resize(columns)
        if not echo:
            modes = termios.tcgetattr(slave)
            modes[3] &= ~termios.ECHO
            termios.tcsetattr(slave, termios.TCSANOW, modes)
        environment = clean_environment({"TERM": "xterm", **(env or {})})
        self.program = subprocess.Popen([FOVEA, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment,
                                        start_new_session=True)
        os.close(slave)

    def resize(self, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self, until=None, seconds=60):
        """What came until `until` was seen, or until the program ended."""
        begin, end = len(self.out), time.monotonic() + seconds
        while time.monotonic() < end and not (until and until in self.out[begin:]):
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    part = os.read(self.master, 65536)
                except OSError:
                    break
                if not part:
                    break
                self.out += part
        return self.out[begin:]

    def write(self, data):
        """Types it, in pieces that the terminal's queue holds."""
        while data:
            _, ready, _ = select.select([], [self.master], [], 1)
            if select.select([self.master], [], [], 0)[0]:
                self.out += os.read(self.master, 65536)
            if ready:
                data = data[os.write(self.master, data[:256]):]

    def end(self):
        """The exit code, when all has been read."""
        self.read()
        code = self.program.wait(timeout=60)
        os.close(self.master)
        return code


class Bar(FolderTest):
    repeats = 40

    def drawings(self, columns, change=None):
        terminal = Terminal("run", "-m", LLAMA, "-f", self.text, "-c", "4096", "-n", "0", "-t", "1", "-ub", "16",
                            "--no-display-prompt", columns=columns, env={"NO_COLOR": "1"})
        if change:
            terminal.read(until=b"\x1b[?7h")
            terminal.resize(change)
        self.assertEqual(0, terminal.end())
        found = re.findall(rb"\x1b\[\?7l\r([^\r\n\x1b]*)\x1b\[K\x1b\[\?7h", terminal.out)
        self.assertTrue(found, terminal.out)
        return [drawing.decode() for drawing in found]

    def test_it_fits_at_any_width(self):
        for columns in (1, 4, 5, 12, 20, 33, 47, 60, 80, 200):
            for drawing in self.drawings(columns):
                self.assertLess(len(drawing), columns)
        self.assertRegex(self.drawings(12)[-1], r"^100%$")
        self.assertRegex(self.drawings(33)[-1], r"^reading \[#+\] 100%$")
        self.assertRegex(self.drawings(60)[-1], r"^reading \[#{10,24}\] 100% (\d+)/\1 tokens$")
        self.assertRegex(self.drawings(200)[-1], r"^reading \[#{24}\] 100% (\d+)/\1 tokens, [\d.]+ tokens/s, \d+:\d\d left$")

    def test_the_width_is_that_of_the_moment(self):
        last = self.drawings(200, change=30)[-1]
        self.assertLess(len(last), 30)


class Commands(FolderTest):
    """Nothing out of a file is a command to the terminal."""

    def hostile(self):
        tiny = TinyModel().set("x." + COMMAND + "key", COLOUR + "value\u009b31m").set("general.architecture", "lla" + COLOUR + "ma")
        tiny.tensor("blk.9.\x1b[2Jname\u009b2J", 1)
        return tiny.write(os.path.join(self.folder, "m.gguf"))

    def test_inspect_escapes_names_and_values(self):
        done = self.ok("inspect", self.hostile())
        self.assertFalse(CONTROL.search(done.stdout + done.stderr))
        for text in ("x.\\x1B]52;c;ZXZpbA==\\x07key", "blk.9.\\x1B[2Jname\\u009B2J", "lla\\x1B[31mma"):
            self.assertIn(text, done.stdout.decode())

    def test_json_escapes_what_terminals_obey_and_means_the_same(self):
        done = self.ok("inspect", self.hostile(), "--json")
        self.assertFalse(CONTROL.search(done.stdout))
        keys = {entry["key"]: entry["value"] for entry in json.loads(done.stdout)["metadata"]}
        self.assertEqual(COLOUR + "value\u009b31m", keys["x." + COMMAND + "key"])

    def test_errors_escape_what_they_quote(self):
        done = cli_runner.run("run", "-m", self.hostile(), "-p", "x")
        self.assertEqual(1, done.returncode)
        self.assertFalse(CONTROL.search(done.stderr))

    def test_a_token_is_obeyed_by_no_terminal_and_is_itself_in_a_file(self):
        path = TinyModel(specials=(*SPECIALS, COLOUR)).write(os.path.join(self.folder, "m.gguf"))
        arguments = ("tokenize", "-m", path, "--parse-special", "-p", "a" + COLOUR + "\tb\x07\u009bc")
        self.assertIn(COLOUR.encode(), self.ok(*arguments).stdout)
        terminal = Terminal(*arguments)
        self.assertEqual(0, terminal.end())
        self.assertFalse(CONTROL.search(terminal.out.replace(b"\r\n", b"\n")), terminal.out)
        self.assertIn(b"'\\x1B[31m'", terminal.out)

    def test_a_text_is_shown_with_its_commands_escaped(self):
        text = "in " + COLOUR + "\tthe\nrain\x07"
        arguments = ("run", "-m", LLAMA, "-p", text, "-n", "0")
        self.assertEqual(text.encode() + b"\n", self.ok(*arguments).stdout)
        terminal = Terminal(*arguments)
        self.assertEqual(0, terminal.end())
        self.assertIn(b"in \\x1B[31m", terminal.out)
        self.assertIn(b"rain\\x07\r\n", terminal.out)


class Signals(CliTest):
    def test_an_ignored_ctrl_c_stays_ignored(self):
        arguments = ("run", "-m", LLAMA, "-p", TEXT, "-n", "200", "--ignore-eos", "--temp", "0", "-t", "1")
        for handler, code in ((signal.SIG_IGN, 0), (signal.SIG_DFL, 130)):
            program = subprocess.Popen([FOVEA, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                                       env=clean_environment(), preexec_fn=lambda: signal.signal(signal.SIGINT, handler))
            program.stdout.read(len(TEXT) + 1)
            program.send_signal(signal.SIGINT)
            program.communicate(timeout=60)
            self.assertEqual(code, program.returncode)


if __name__ == "__main__":
    if not os.path.exists(LLAMA):
        sys.exit(77)
    cli_runner.main()
