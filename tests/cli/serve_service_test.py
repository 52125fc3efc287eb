#!/usr/bin/env python3
"""Checks `fovea serve` as those who run it for others see it: service managers, sessions that outlive it, limits, and what can't be had.

Called as: serve_service_test.py BUILD/fovea SOURCE_FOLDER [unittest arguments].
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

from cli_runner import FOVEA, MODELS, model, run
from serve_runner import Server, ServeTest, main, tiny_model

sys.path.insert(0, MODELS)
from sanitized import sanitized

SOURCE = sys.argv[2] if len(sys.argv) > 2 else "."
HAND_OVER = ("sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=$1; export LISTEN_PID LISTEN_FDS; shift; exec "$@" 3<&$SOCKET', "sh")
SMALL_FILES = ("sh", "-c", 'trap "" XFSZ; ulimit -f 16; exec "$@"', "sh")  # of 8 KiB at most: a full disk


def text_of(length, seed=7):
    return "".join(chr(97 + (seed * index * index + index // 3) % 26) for index in range(length))


class ServiceTest(unittest.TestCase):
    """Where another program listens for the server, and waits for its word."""

    def hand_over(self, made, count=1, **env):
        env["SOCKET"] = str(made.fileno())
        return Server(model("story"), before=(*HAND_OVER, str(count)), pass_fds=(made.fileno(),), env=env)

    def test_a_socket_that_is_handed_over_is_taken(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket() as made, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            made.bind(("127.0.0.1", 0))
            made.listen()
            path = os.path.join(folder, "notices")
            notices.bind(path)
            notices.settimeout(60)
            server = self.hand_over(made, NOTIFY_SOCKET=path)
            self.assertEqual(notices.recv(100), b"READY=1")
            self.assertEqual(server.url, "http://127.0.0.1:%d" % made.getsockname()[1])
            self.assertEqual(server.get("/health"), (200, {"status": "ok"}))
            self.assertEqual(server.stop(), 0)
            self.assertEqual(notices.recv(100), b"STOPPING=1")
            server = self.hand_over(made)  # the manager's socket is as it was
            self.assertEqual(server.get("/health")[0], 200)
            self.assertEqual(server.stop(), 0)

    def test_a_unix_socket_that_is_handed_over_stays(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as made:
            path = os.path.join(folder, "s.sock")
            made.bind(path)
            made.listen()
            server = self.hand_over(made)
            self.assertEqual(server.url, "unix:" + path)
            self.assertEqual(server.get("/health")[0], 200)
            self.assertEqual(server.stop(), 0)
            self.assertTrue(os.path.exists(path))

    def test_what_is_no_such_socket_is_a_sentence(self):
        with socket.socket() as made, socket.socket() as listens:
            listens.bind(("127.0.0.1", 0))
            listens.listen()
            for handed, count, says in ((made, 1, "listens"), (listens, 2, "2 sockets")):
                server = self.hand_over(handed, count)
                self.assertEqual((server.url, server.stop()), (None, 1))
                self.assertIn(says, "".join(server.errors))

    def test_variables_for_another_process_are_not_ours(self):
        server = Server(model("story"), env={"LISTEN_PID": "1", "LISTEN_FDS": "1", "NOTIFY_SOCKET": "/nowhere"})
        self.assertEqual(server.get("/health")[0], 200)
        self.assertEqual(server.stop(), 0)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "there is no systemd-analyze")
    def test_the_units_are_sound(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("fovea.service", "fovea.socket"):
                with open(os.path.join(SOURCE, "service", name)) as file:
                    text = file.read().replace("ExecStart=fovea", "ExecStart=/bin/true").replace("Documentation=man:fovea-serve(1)\n", "")
                with open(os.path.join(folder, name), "w") as file:
                    file.write(text)
            paths = [os.path.join(folder, name) for name in ("fovea.service", "fovea.socket")]
            done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, check=False, timeout=60)
            said = [line for line in done.stderr.decode().splitlines() if "fovea" in line]
            self.assertEqual(said, [])
            done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=10", paths[0]], capture_output=True, check=False, timeout=60)
            if b"unrecognized" not in done.stderr:  # systemd 250
                self.assertEqual(done.returncode, 0, done.stdout.decode()[-300:] + done.stderr.decode())


class SessionTest(unittest.TestCase):
    """What was read outlives the server."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = tiny_model(self.folder.name)
        self.sessions = os.path.join(self.folder.name, "sessions")
        self.ask = {"prompt": text_of(2500), "max_tokens": 8, "temperature": 0}

    def tearDown(self):
        self.folder.cleanup()

    def serve(self, *flags, **keywords):
        return Server(self.path, "--session-dir", self.sessions, *flags, **keywords)

    def complete(self, server, **fields):
        status, answer = server.post("/v1/completions", dict(self.ask, **fields))
        self.assertEqual(status, 200, answer)
        return answer["choices"][0]["text"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]

    def test_the_next_server_goes_on(self):
        for spec, other, question in (("dense", "window:window=40,sinks=4", 1),
                                      ("fovea:pages=5,window=32", "fovea:pages=6,window=32", 128)):
            server = self.serve("--attention", spec)
            alone, cached = self.complete(server)
            self.assertEqual(cached, 0)
            self.assertEqual(server.stop(), 0)
            server = self.serve("--attention", spec, "-np", "2")
            self.assertEqual(self.complete(server), (alone, 2048))
            self.assertEqual(self.complete(server, prompt=self.ask["prompt"][:1500])[1], 1500 - question)  # of the slot now
            self.assertEqual(self.complete(server, prompt="b" + self.ask["prompt"])[1], 0)
            self.assertEqual(self.complete(server, cache_prompt=False), (alone, 0))
            self.assertEqual(self.complete(server, fovea={"attention": other})[1], 0)
            self.assertEqual(server.stop(), 0)

    def test_a_damaged_file_is_passed_over(self):
        server = self.serve()
        alone = self.complete(server)[0]
        self.assertEqual(server.stop(), 0)
        for name in os.listdir(self.sessions):
            with open(os.path.join(self.sessions, name), "r+b") as file:
                file.seek(-5000, os.SEEK_END)
                file.write(os.urandom(1000))
        server = self.serve()
        self.assertEqual(self.complete(server), (alone, 0))
        self.assertEqual(server.stop(), 0)

    def test_a_full_disk_is_a_sentence(self):
        server = self.serve("--slot-save-path", self.folder.name, before=SMALL_FILES)
        alone = self.complete(server)[0]
        status, answer = server.post("/slots/0?action=save", {"filename": "a"})
        self.assertEqual(status, 500)
        self.assertIn(self.folder.name, answer["error"]["message"])
        self.assertEqual(self.complete(server)[0], alone)  # the server goes on
        self.assertEqual(server.stop(), 1)
        self.assertIn(self.sessions, "".join(server.errors))
        self.assertEqual([name for name in os.listdir(self.sessions) if name.endswith(".fovea")], [])

    def test_a_folder_that_cannot_be_had_is_a_sentence(self):
        done = run("serve", "-m", self.path, "--port", "0", "--session-dir", self.path)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"is no folder", done.stderr)


class LimitTest(ServeTest):
    flags = ("--cache-limit", "1", "-np", "6", "--api-key", "one,two", "--key-limit", "3")

    @classmethod
    def path(cls):
        return tiny_model(cls.folder.name)

    def complete(self, seed, key="one", **fields):
        ask = dict({"prompt": text_of(3000, seed), "max_tokens": 4, "temperature": 0}, **fields)
        return self.server.post("/v1/completions", ask, {"Authorization": "Bearer " + key})

    def metric(self, name):
        lines = self.server.ask("GET", "/metrics", headers={"X-Api-Key": "one"})[2].decode().splitlines()
        return float(dict(line.split() for line in lines if not line.startswith("#"))[name])

    def test_contexts_that_nobody_needs_make_room(self):
        for seed in range(7, 14):
            self.assertEqual(self.complete(seed)[0], 200)
            self.assertLessEqual(self.metric("fovea:cache_bytes"), 1 << 20)

    def test_where_all_are_needed_one_is_told(self):
        answers = []
        threads = [threading.Thread(target=lambda seed=seed: answers.append(
            self.complete(seed, ("one", "two")[seed % 2], max_tokens=3000, ignore_eos=True))) for seed in range(20, 26)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for status, answer in answers:
            if status != 200:
                self.assertEqual(status, 503)
                self.assertIn("memory for contexts", answer["error"]["message"])
        self.assertEqual({status for status, _ in answers}, {200, 503})
        self.assertEqual(self.complete(7)[0], 200)

    def test_a_key_has_its_share(self):
        busy = [self.server.connect() for _ in range(3)]
        headers = {"Authorization": "Bearer one"}
        for connection in busy:
            connection.request("POST", "/v1/completions", json.dumps({"prompt": "a", "max_tokens": 4000, "ignore_eos": True}), headers)
        while self.metric("llamacpp:requests_processing") < 3:
            pass
        self.refused(429, "/v1/completions", {"prompt": "a"}, "this key has 3 requests", headers=headers)
        self.assertEqual(self.server.get("/v1/models", **headers)[0], 200)
        self.assertEqual(self.server.post("/v1/completions", {"prompt": "a", "max_tokens": 1}, {"X-Api-Key": "two"})[0], 200)
        for connection in busy:
            connection.close()
        while self.metric("llamacpp:requests_processing") > 0:
            pass
        self.assertEqual(self.complete(7, max_tokens=1)[0], 200)


class SentenceTest(unittest.TestCase):
    """What can't be had is said, with the exit code of its kind."""

    def test_each(self):
        with tempfile.TemporaryDirectory() as folder:
            empty = os.path.join(folder, "empty")
            with open(empty, "w"):
                pass
            for flags, code, says in ((("--api-key-file", folder), 1, folder), (("--api-key-file", empty), 1, "no API key"),
                                      (("--key-limit", "1"), 2, "--api-key"), (("--ssl-key-file", empty, "--ssl-cert-file", empty), 1, "PEM"),
                                      (("--ssl-key-file", "/nowhere", "--ssl-cert-file", empty), 1, "/nowhere"),
                                      (("--session-limit", "0"), 2, "--session-limit")):
                done = run("serve", "-m", model("story"), "--port", "0", *flags)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(says, done.stderr.decode())

    @unittest.skipIf(sanitized(FOVEA), "a sanitizer takes terabytes of addresses")
    def test_memory(self):
        done = subprocess.run(["sh", "-c", 'ulimit -v 30000; exec "$@"', "sh", sys.argv[1], "serve", "-m", model("story"), "--port", "0"],
                              stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr.decode(), "memory|thread")


if __name__ == "__main__":
    main()
