#!/usr/bin/env python3
"""Starts `fovea serve` for tests and talks to it: raw HTTP by the standard library."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from cli_runner import FOVEA, clean_environment, model, run
from tiny_gguf import CHATML, TinyModel

TIMEOUT = float(os.environ.get("FV_SERVE_TIMEOUT", "60"))  # seconds that an answer may take


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=TIMEOUT)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Server:
    """A server of its own, until stop()."""
    trust = None  # an ssl.SSLContext

    def __init__(self, path, *flags, env=None, before=(), **keywords):
        self.process = subprocess.Popen([*before, FOVEA, "serve", "-m", path, "-t", "1", "--port", "0", *flags], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, env=clean_environment(env), **keywords)
        self.errors, self.url = [], None
        for line in self.process.stderr:
            self.errors.append(line.decode("utf-8", "replace"))
            if line.startswith(b"listening on "):
                self.url = line.decode().split()[-1]
                break
        threading.Thread(target=lambda: self.errors.extend(line.decode("utf-8", "replace") for line in self.process.stderr),
                         daemon=True).start()

    def connect(self):
        if self.url.startswith("unix:"):
            return UnixConnection(self.url[len("unix:"):])
        host, port = re.match(r"https?://([^/:]+):(\d+)", self.url).groups()
        if self.url.startswith("https:"):
            return http.client.HTTPSConnection(host, int(port), timeout=TIMEOUT, context=self.trust)
        return http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)

    def ask(self, method, path, body=None, headers=None):
        """Status, headers, bytes."""
        connection = self.connect()
        try:
            raw = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
            connection.request(method, path, raw, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, path, **headers):
        status, _, raw = self.ask("GET", path, headers=headers)
        return status, json.loads(raw.decode())

    def post(self, path, body, headers=None):
        status, _, raw = self.ask("POST", path, body, headers)
        return status, json.loads(raw.decode())

    def stream(self, path, body):
        """The events of an answer that is streamed: objects, and "[DONE]"."""
        status, headers, raw = self.ask("POST", path, dict(body, stream=True))
        assert status == 200, raw
        if headers["Content-Type"].startswith("text/event-stream"):
            parts = [part for part in raw.decode().split("\n\n") if part]
            assert all(part.startswith("data: ") for part in parts), parts
            return [part[6:] if part == "data: [DONE]" else json.loads(part[6:]) for part in parts]
        return [json.loads(line) for line in raw.decode().split("\n") if line]

    def metric(self, name):
        lines = self.ask("GET", "/metrics")[2].decode().splitlines()
        return float(dict(line.split() for line in lines if not line.startswith("#"))[name])

    def await_metric(self, name, value):
        """Until the metric has that value; for a minute at most."""
        end = time.monotonic() + 60
        while self.metric(name) != value:
            assert time.monotonic() < end, "%s is %g, not %g" % (name, self.metric(name), value)
            time.sleep(0.02)

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(60)
        self.process.stderr.close()
        return code


def tiny_model(folder, name="tiny.gguf", **metadata):
    """Random weights, tokens that are bytes, a chat template."""
    made = TinyModel().set("tokenizer.chat_template", CHATML)
    for key, value in metadata.items():
        made.set(key, value)
    path = os.path.join(folder, name)
    made.write(path)
    return path


class ServeTest(unittest.TestCase):
    """A server for all tests of the class, of the model that path() names."""
    flags = ()

    @classmethod
    def path(cls):
        return model("story")

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.server = Server(cls.path(), *cls.flags)
        if not cls.server.url:
            raise AssertionError("".join(cls.server.errors))

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        cls.folder.cleanup()
        assert code == 0, (code, cls.server.errors)

    def refused(self, code, path, body, *says, headers=None):
        status, answer = self.server.post(path, body, headers)
        self.assertEqual(status, code, answer)
        error = answer["error"]
        if path.startswith("/api/"):  # as Ollama has it
            error = {"code": code, "message": error}
        self.assertEqual(error["code"], code)
        for text in says:
            self.assertIn(text, error["message"])
        return answer


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: %s BUILD/fovea SOURCE_FOLDER" % sys.argv[0])
    done = run("serve")
    if b"without a server" in done.stderr:
        print("skipped: %s" % done.stderr.decode().strip())
        sys.exit(77)
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
