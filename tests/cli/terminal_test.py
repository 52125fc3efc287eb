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
        os.set_blocking(self.master, False)
        self.resize(columns)
        if not echo:
            modes = termios.tcgetattr(slave)
            modes[3] &= ~termios.ECHO
            termios.tcsetattr(slave, termios.TCSANOW, modes)
        self.modes = self.modes_now()
        environment = clean_environment({"TERM": "xterm", **(env or {})})
        control = lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is its
        self.program = subprocess.Popen([FOVEA, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment,
                                        start_new_session=True, preexec_fn=control)
        os.close(slave)

    def modes_now(self):
        return termios.tcgetattr(self.master)[3] & (termios.ICANON | termios.ECHO)

    def resize(self, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def take(self, seconds):
        """Whether the terminal is still open; reads what is there, or comes within that time."""
        if select.select([self.master], [], [], seconds)[0]:
            try:
                part = os.read(self.master, 65536)
            except BlockingIOError:
                return True
            except OSError:  # nobody has the other side any more
                return False
            self.out += part
            return bool(part)
        return True

    def read(self, until=None, seconds=60):
        """What came until `until` was seen, or until the program ended."""
        begin, end = len(self.out), time.monotonic() + seconds
        while time.monotonic() < end and not (until and until in self.out[begin:]) and self.take(0.1):
            continue
        return self.out[begin:]

    def write(self, data):
        """Types it as fast as the terminal takes it, reading what comes meanwhile."""
        while data and self.take(0):
            try:
                data = data[os.write(self.master, data[:256]):]
            except BlockingIOError:
                self.take(0.01)

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


class Typing(FolderTest):
    """A conversation on a terminal, with libedit."""
    PROMPT = b"\x1b[?2004h> "

    def setUp(self):
        super().setUp()
        tiny = TinyModel().set("tokenizer.chat_template", "<|im_start|>").set("llama.context_length", 1 << 20)
        self.model = tiny.write(os.path.join(self.folder, "m.gguf"))
        self.flags = ("run", "-m", self.model, "-n", "1", "-t", "1", "--temp", "0", "-c", "65536")

    def open(self, *flags, **options):
        terminal = Terminal(*self.flags, *flags, **options)
        if self.PROMPT not in terminal.read(until=b"> "):
            terminal.write(b"\x04")
            terminal.end()
            self.skipTest("this build has no libedit")
        return terminal

    def tokens_of(self, terminal):
        """Ends the conversation; tokens of all its turns."""
        self.assertEqual(0, terminal.end(), terminal.out)
        return int(re.search(rb"prompt: (\d+) tokens", terminal.out).group(1))

    def tokens_typed(self, typed):
        terminal = self.open()
        terminal.write(typed)
        terminal.read(until=self.PROMPT)
        terminal.write(b"\x04")
        return self.tokens_of(terminal)

    def tokens_given(self, text):
        done = self.ok(*self.flags, "-f", "-", stdin=text + b"\n")
        return int(re.search(rb"prompt: (\d+) tokens", done.stderr).group(1))

    def same(self, typed, text):
        self.assertEqual(self.tokens_given(text), self.tokens_typed(typed), typed[:80])

    def test_a_line_of_any_length_arrives_whole(self):
        text = b"a long question " * 330
        self.same(text + b"\n", text)

    def test_without_an_editor_a_line_that_the_system_cuts_is_told(self):
        """As in a build without libedit: with errors elsewhere, input comes by the system's lines, at most 4,095 bytes each."""
        for length, told in ((4000, False), (5000, True)):
            master, slave = pty.openpty()
            with subprocess.Popen([FOVEA, *self.flags], stdin=slave, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  env=clean_environment({}), start_new_session=True) as program:
                os.close(slave)
                for part in [b"a" * 500] * (length // 500) + [b"\n\x04"]:
                    os.write(master, part)
                    time.sleep(0.02)
                errors = program.stderr.read()
                self.assertEqual(0, program.wait(), errors)
            os.close(master)
            self.assertEqual(told, b"at most 4095 bytes" in errors, errors)

    def test_lines_that_go_on(self):
        self.same(b"one\\\ntwo\\\nthree\n", b"one\ntwo\nthree")
        self.same(b"look:\\\n```c\n\nx\n```\n", b"look:\n```c\n\nx\n```")

    def test_the_end_of_input_ends_a_block(self):
        terminal = self.open()
        terminal.write(b"```\nx\n")
        terminal.read(until=b". ")
        terminal.write(b"\x04")
        terminal.read(until=self.PROMPT)
        terminal.write(b"\x04")
        self.assertEqual(self.tokens_given(b"```\nx\n"), self.tokens_of(terminal))

    def test_a_paste_is_one_turn(self):
        self.same(b"\x1b[200~one\rtwo\n\tthree\x1b[201~ more\n", b"one\ntwo\n\tthree more")
        long = b"\n".join(b"line %d of a pasted text" % i for i in range(200))
        self.same(b"\x1b[200~" + long + b"\x1b[201~\n", long)

    def test_lines_are_edited(self):
        self.same(b"abX\x7f\n", b"ab")
        self.same(b"ac\x1b[Db\n", b"abc")  # left, then insert
        self.same("a\u00e9\u20ac".encode() + b"\x7f\n", "a\u00e9".encode())
        self.same(b"a\xffb\n", b"a\xffb")

    def test_the_last_turns_come_back(self):
        terminal = self.open()
        terminal.write(b"a question\n")
        terminal.read(until=self.PROMPT)
        terminal.write(b"\x1b[A\n")
        terminal.read(until=self.PROMPT)
        terminal.write(b"\x04")
        twice = self.tokens_of(terminal)
        self.assertGreater(twice, 2 * self.tokens_given(b"a question") - 4)

    def test_what_is_typed_during_an_answer_waits(self):
        terminal = self.open()
        text = b"typed ahead " * 500
        terminal.write(b"a\n" + text + b"\n\x04")
        self.assertGreater(self.tokens_of(terminal), len(text))

    def test_the_terminal_is_given_back(self):
        for end, code in ((b"\x04", 0), (b"\x03", 130), (signal.SIGTERM, -signal.SIGTERM)):
            terminal = Terminal(*self.flags)
            terminal.read(until=b"> ")
            if isinstance(end, bytes):
                terminal.write(end)
            else:
                terminal.program.send_signal(end)
            terminal.read()
            self.assertEqual(code, terminal.program.wait(timeout=60), end)
            self.assertEqual(terminal.modes, terminal.modes_now(), end)
            os.close(terminal.master)


class Signals(CliTest):
    def test_an_ignored_ctrl_c_stays_ignored(self):
        arguments = ("run", "-m", LLAMA, "-p", TEXT, "-n", "3000", "-c", "4096", "--ignore-eos", "--temp", "0", "-t", "1")
        for handler, code in ((signal.SIG_IGN, 0), (signal.SIG_DFL, 130)):
            program = subprocess.Popen([FOVEA, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                                       env=clean_environment(), preexec_fn=lambda: signal.signal(signal.SIGINT, handler))
            program.stdout.read(len(TEXT) + 1)
            program.send_signal(signal.SIGINT)
            if code == 130:
                program.communicate(timeout=60)
                self.assertEqual(code, program.returncode)
                continue
            time.sleep(0.5)  # it goes on, or has come to its end
            self.assertIn(program.poll(), (None, 0))
            program.kill()
            program.communicate()


if __name__ == "__main__":
    if not os.path.exists(LLAMA):
        sys.exit(77)
    cli_runner.main()
