#!/usr/bin/env python3
"""Many clients of one server at a time, some of whom send garbage, go away or hardly read: every answer is the one that is given alone.

Called as: serve_stress_test.py BUILD/fovea SOURCE_FOLDER [unittest arguments]. FV_SERVE_SECONDS (5) is how long, FV_SERVE_CLIENTS (12) how
many, FV_SERVE_MODEL another model, FV_SERVE_TIMEOUT (60) how many seconds an answer may take.
"""
import json
import os
import random
import socket
import sys
import threading
import time
import unittest

from cli_runner import FOVEA, MODELS
from serve_runner import TIMEOUT, ServeTest, main, tiny_model

sys.path.insert(0, MODELS)
from sanitized import sanitized

SECONDS = float(os.environ.get("FV_SERVE_SECONDS", "5"))
CLIENTS = int(os.environ.get("FV_SERVE_CLIENTS", "12"))


def resident_bytes(process):
    with open("/proc/%d/status" % process.pid) as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS"))


class Client(threading.Thread):
    """One client, which does what its random numbers say until the end; what was wrong is in `faults`."""

    def __init__(self, test, number, end):
        super().__init__()
        self.test, self.random, self.end = test, random.Random(number), end
        self.server = test.server
        self.faults, self.answers = [], 0

    def run(self):
        acts = [self.whole] * 4 + [self.stream] * 4 + [self.garbage, self.go_away, self.read_slowly]
        while time.monotonic() < self.end and not self.faults:
            try:
                self.random.choice(acts)()
            except Exception as fault:  # pylint: disable=broad-except
                self.faults.append(repr(fault))

    def ask(self):
        return self.random.choice(self.test.asks)

    def same(self, text, wanted, ask):
        self.answers += 1
        if text != wanted:
            self.faults.append("%s: %r, alone %r" % (ask, text, wanted))

    def whole(self):
        ask, wanted = self.ask()
        status, answer = self.server.post("/v1/completions", ask)
        self.same(answer["choices"][0]["text"] if status == 200 else answer, wanted, ask)

    def stream(self):
        ask, wanted = self.ask()
        events = self.server.stream("/v1/completions", ask)
        self.same("".join(event["choices"][0]["text"] for event in events[:-1]), wanted, ask)

    def garbage(self):
        body = self.random.choice((b"", b"{", b"[" * 5000, b'{"prompt":', os.urandom(200), b'{"prompt":"a","max_tokens":"x"}', b"null",
                                   b'{"prompt":[[1,2],[99999999]]}', b'{"messages":[]}', json.dumps({"prompt": "a", "n": 1e9}).encode()))
        status, _, _ = self.server.ask("POST", self.random.choice(("/v1/completions", "/completion", "/tokenize", "/api/chat")), body)
        if status != 400:
            self.faults.append("garbage %r: %d" % (body[:40], status))

    def raw(self, ask):
        address = self.server.connect()
        body = json.dumps(dict(ask, stream=True)).encode()
        made = socket.create_connection((address.host, address.port), timeout=TIMEOUT)
        made.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return made

    def go_away(self):
        with self.raw(self.ask()[0]) as made:
            time.sleep(self.random.random() * 0.05)
            if self.random.random() < 0.5:
                made.recv(100)

    def read_slowly(self):
        with self.raw(dict(self.ask()[0], logprobs=5)) as made:
            for _ in range(10):
                made.recv(50)
                time.sleep(0.02)


class StressTest(ServeTest):
    flags = ("-np", "4", "-c", "4096")

    @classmethod
    def path(cls):
        return os.environ.get("FV_SERVE_MODEL") or tiny_model(cls.folder.name)

    def make_asks(self):
        numbers = random.Random(5)
        documents = ["".join(numbers.choice("abcdefgh \n") for _ in range(400)) for _ in range(3)]
        self.asks = []
        for index in range(24):
            prompt = numbers.choice(documents)[:numbers.choice((3, 50, 400))] + "".join(numbers.choice("xyz") for _ in range(index % 5))
            ask = {"prompt": prompt, "max_tokens": numbers.choice((1, 8, 60)), "seed": index, "temperature": numbers.choice((0, 1.5)),
                   "stop": numbers.choice(([], ["b"], ["ab", "q"])), "ignore_eos": index % 2 == 0}
            if index % 3 == 0:
                ask["fovea"] = {"attention": numbers.choice(("fovea:pages=5,window=32", "window:window=40,sinks=4"))}
            status, answer = self.server.post("/v1/completions", dict(ask, cache_prompt=False))
            self.assertEqual(status, 200, answer)
            self.asks.append((ask, answer["choices"][0]["text"]))

    def test_every_answer_is_the_one_given_alone(self):
        self.make_asks()
        before, end = None, time.monotonic() + SECONDS
        clients = [Client(self, number, end) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(SECONDS / 3)
        before = resident_bytes(self.server.process)
        for client in clients:
            client.join()
        after = resident_bytes(self.server.process)
        self.assertEqual([fault for client in clients for fault in client.faults], [])
        answers = sum(client.answers for client in clients)
        print("%d answers of %d clients in %.0f s, resident %.1f MiB, then %.1f MiB" %
              (answers, CLIENTS, SECONDS, before / 2**20, after / 2**20))
        self.assertGreater(answers, CLIENTS)
        if not sanitized(FOVEA):  # which keeps freed blocks
            self.assertLess(after, before + (24 << 20))
        self.server.await_metric("llamacpp:requests_processing", 0)


if __name__ == "__main__":
    main()
