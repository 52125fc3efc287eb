#!/usr/bin/env python3
"""Checks `fovea serve` from outside: starting, ending, keys, errors, and what is told without asking the model.

Called as: serve_test.py BUILD/fovea SOURCE_FOLDER [unittest arguments].
"""
import json
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

from cli_runner import model, run
from serve_runner import Server, ServeTest, main, tiny_model


class StartTest(unittest.TestCase):
    def test_ends_with_0_at_either_signal(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            server = Server(model("story"))
            self.assertEqual(server.get("/health"), (200, {"status": "ok"}))
            self.assertEqual(server.stop(how), 0)

    def test_a_port_that_is_taken_is_a_sentence(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            done = run("serve", "-m", model("story"), "--port", str(taken.getsockname()[1]))
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"another program has it", done.stderr)

    def test_what_cannot_be_served_is_a_sentence(self):
        for flags, code, says in ((("-m", "no.gguf"), 1, b"no.gguf"), ((), 2, b"-m"),
                                  (("-m", model("story"), "--api-prefix", "v"), 2, b"--api-prefix"),
                                  (("-m", model("story"), "--attention", "nope"), 2, b"nope"),
                                  (("-m", model("story"), "-c", "3", "-np", "4"), 1, b"too short"),
                                  (("-m", model("story"), "--api-key-file", "/nowhere"), 1, b"/nowhere"),
                                  (("-m", model("story"), "--slot-save-path", "/nowhere"), 1, b"/nowhere"),
                                  (("-m", model("story"), "--chat-template", "nope"), 1, b"chatml")):
            done = run("serve", "--port", "0", *flags)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(says, done.stderr)

    def test_unix_socket(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s.sock")
            for _ in range(2):  # one that was left is replaced
                server = Server(model("story"), "--host", path)
                self.assertEqual(server.url, "unix:" + path)
                self.assertEqual(server.get("/health")[0], 200)
                done = run("serve", "-m", model("story"), "--host", path)
                self.assertEqual(done.returncode, 1, done.stderr)
                server.process.kill()
                server.stop()
                self.assertTrue(os.path.exists(path))
            server = Server(model("story"), "--host", path)
            self.assertEqual(server.stop(), 0)
            self.assertFalse(os.path.exists(path))

    def test_environment(self):
        server = Server(model("story"), env={"LLAMA_API_KEY": "secret", "LLAMA_ARG_ALIAS": "mine"})
        self.assertEqual(server.get("/v1/models")[0], 401)
        status, answer = server.get("/v1/models", Authorization="Bearer secret")
        self.assertEqual((status, answer["data"][0]["id"]), (200, "mine"))
        self.assertEqual(server.stop(), 0)


class TlsTest(unittest.TestCase):
    def make(self, folder, name):
        key, certificate = os.path.join(folder, name + ".key"), os.path.join(folder, name + ".pem")
        try:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except OSError:
            self.skipTest("there is no openssl to make a certificate with")
        return key, certificate

    def test_https(self):
        with tempfile.TemporaryDirectory() as folder:
            key, certificate = self.make(folder, "a")
            server = Server(model("story"), "--ssl-key-file", key, "--ssl-cert-file", certificate)
            server.trust = ssl.create_default_context(cafile=certificate)
            self.assertTrue(server.url.startswith("https://127.0.0.1:"))
            self.assertEqual(server.get("/health"), (200, {"status": "ok"}))
            ask = {"prompt": "Anna", "max_tokens": 12, "temperature": 0}
            whole = server.post("/v1/completions", ask)[1]["choices"][0]["text"]
            events = server.stream("/v1/completions", ask)
            self.assertEqual("".join(event["choices"][0]["text"] for event in events[:-1]), whole)
            gone = server.connect()  # one that waits, and goes
            gone.request("POST", "/v1/completions", json.dumps({"prompt": "Anna", "ignore_eos": True, "n": 50}))
            gone.close()
            server.await_metric("llamacpp:requests_processing", 0)
            self.assertEqual(server.stop(), 0)
            other = self.make(folder, "b")[1]
            for flags, code in (((key, other), 1), ((certificate, certificate), 1), (("/nowhere", certificate), 1)):
                done = run("serve", "-m", model("story"), "--port", "0", "--ssl-key-file", flags[0], "--ssl-cert-file", flags[1])
                self.assertEqual(done.returncode, code, done.stderr)
            self.assertEqual(run("serve", "-m", model("story"), "--port", "0", "--ssl-key-file", key).returncode, 2)


class KeysTest(ServeTest):
    flags = ("--api-key", "one,two", "--api-prefix", "/name", "--max-body", "1")

    def test_keys(self):
        for headers, status in (({}, 401), ({"Authorization": "Bearer two"}, 200), ({"Authorization": "bearer one"}, 200),
                                ({"X-Api-Key": "one"}, 200), ({"Authorization": "Bearer on"}, 401),
                                ({"Authorization": "Bearer onee"}, 401), ({"Authorization": "Bearer "}, 401),
                                ({"Authorization": "Basic one"}, 401)):
            self.assertEqual(self.server.get("/name/v1/models", **headers)[0], status, headers)
        self.assertEqual(self.server.get("/name/health")[0], 200)
        self.assertEqual(self.server.get("/health")[0], 401)
        self.assertEqual(self.server.get("/v1/models", Authorization="Bearer one")[0], 404)

    def test_a_large_body_is_refused(self):
        headers = {"X-Api-Key": "one"}
        body = {"content": "a" * (1 << 20)}
        self.refused(413, "/name/tokenize", body, "1048576", headers=headers)
        self.assertEqual(self.server.post("/name/tokenize", {"content": "a" * 1000000}, headers)[0], 200)
        connection = self.server.connect()  # chunked: its size is not known before
        connection.request("POST", "/name/tokenize", iter([b"a" * 65536] * 20), headers, encode_chunked=True)
        self.assertEqual(connection.getresponse().status, 413)
        connection.close()


class FactsTest(ServeTest):
    flags = ("-a", "a name", "-c", "400", "-np", "2")

    @classmethod
    def path(cls):
        return tiny_model(cls.folder.name)

    def test_models_and_props(self):
        data = self.server.get("/v1/models")[1]["data"]
        self.assertEqual([(entry["id"], entry["meta"]["n_ctx"], entry["meta"]["n_vocab"]) for entry in data], [("a name", 200, 262)])
        props = self.server.get("/props")[1]
        self.assertEqual((props["total_slots"], props["default_generation_settings"]["n_ctx"], props["model_alias"]), (2, 200, "a name"))
        self.assertEqual(self.server.get("/api/tags")[1]["models"][0]["name"], "a name")
        self.assertRegex(self.server.get("/api/version")[1]["version"], r"^\d+\.\d+")
        shown = self.server.post("/api/show", {"model": "any"})[1]
        self.assertEqual(shown["model_info"]["general.architecture"], "llama")

    def test_text_to_tokens_and_back(self):
        tokens = self.server.post("/tokenize", {"content": "abé<s>"})[1]["tokens"]
        done = run("tokenize", "-m", self.path(), "-p", "abé<s>", "--ids", "--no-bos", "--parse-special")
        self.assertEqual(tokens, json.loads(done.stdout.decode()))
        self.assertEqual(self.server.post("/detokenize", {"tokens": tokens})[1], {"content": "abé<s>", "prompt": "abé<s>"})
        pieces = self.server.post("/tokenize", {"content": "é", "with_pieces": True})[1]["tokens"]
        self.assertEqual([entry["piece"] for entry in pieces], [[0xC3], [0xA9]])
        self.assertEqual(self.server.post("/tokenize", {"content": "", "add_special": True})[0], 200)

    def test_tokens_in_the_words_of_vllm(self):
        info = self.server.get("/tokenizer_info")[1]
        self.assertEqual((info["bos_token"], info["eos_token"]), ("<s>", "</s>"))
        self.assertIn("im_start", info["chat_template"])
        answer = self.server.post("/tokenize", {"model": "any", "prompt": "</s>ab", "add_special_tokens": False})[1]
        self.assertEqual(answer, {"tokens": [258, 256], "count": 2, "max_model_len": 200})
        self.refused(400, "/tokenize", {"content": "a", "prompt": "a"}, "exclude")

    def test_template(self):
        turns = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
        status, answer = self.server.post("/apply-template", {"messages": turns})
        self.assertEqual((status, answer), (200, {"prompt": "<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\n"}))

    def test_refusals_say_what_is_wrong(self):
        for path, body, says in (("/tokenize", b"", "empty"), ("/tokenize", b"{", "no JSON"), ("/tokenize", b"[]", "object"),
                                 ("/tokenize", b'{"content":"a","content":"b"}', "uplicate"),
                                 ("/tokenize", b'{"content":"\\u0000"}', "no JSON"), ("/tokenize", b'\xff{"content":1}', "no JSON"),
                                 ("/tokenize", b'{"content":' + b"[" * 100000, "deeper than 32"),
                                 ("/tokenize", {"content": 1}, "content"), ("/tokenize", {}, "content"),
                                 ("/tokenize", {"content": "a", "add_specail": True}, "add_special"),
                                 ("/tokenize", {"content": "a", "with_pieces": 1}, "with_pieces"),
                                 ("/detokenize", {"tokens": [262]}, "261"), ("/detokenize", {}, "tokens"),
                                 ("/apply-template", {"messages": []}, "messages"),
                                 ("/apply-template", {"messages": [{"role": "critic", "content": ""}]}, "critic"),
                                 ("/apply-template", {"messages": [{"role": "user", "content": "", "tool_calls": [{}]}]}, "tool_calls"),
                                 ("/apply-template", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "text parts")):
            self.refused(400, path, body, says)
        turn = {"role": "user", "content": "", "images": [], "tool_calls": None}  # as clients fill what they don't use
        self.assertEqual(self.server.post("/apply-template", {"messages": [turn]})[0], 200)
        status, answer = self.server.post("/api/chat", {"messages": []})
        self.assertEqual(status, 400)
        self.assertIn("messages", answer["error"])  # Ollama's clients want a text
        self.assertEqual(self.server.get("/nowhere")[0], 404)
        self.assertEqual(self.server.get("/tokenize")[0], 405)
        self.refused(501, "/v1/embeddings", {"input": "a"}, "embeddings")

    def test_half_a_request_harms_nobody(self):
        address = self.server.connect()
        for raw in (b"", b"GET", b"POST /tokenize HTTP/1.1\r\nContent-Length: 100\r\n\r\n{", b"\x16\x03\x01\x00", b"GET / HTTP/9.9\r\n\r\n"):
            with socket.create_connection((address.host, address.port)) as half:
                half.sendall(raw)
        for _ in range(100):  # data and the end at the same time: the connection is closed, not kept until its timeout
            with socket.create_connection((address.host, address.port)) as half:
                half.sendall(b"POST /tokenize HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        end = time.monotonic() + 30
        while len(os.listdir("/proc/%d/fd" % self.server.process.pid)) > 40 and time.monotonic() < end:
            time.sleep(0.05)
        self.assertLess(len(os.listdir("/proc/%d/fd" % self.server.process.pid)), 41)
        self.assertEqual(self.server.get("/health")[0], 200)


class LogTest(unittest.TestCase):
    def test_a_line_for_each_request_and_nothing_of_its_text(self):
        with tempfile.TemporaryDirectory() as folder:
            log = os.path.join(folder, "log")
            server = Server(model("story"), "--access-log", log)
            server.post("/tokenize", {"content": "a secret"})
            server.get("/nope?secret=1")
            self.assertEqual(server.stop(), 0)
            with open(log) as file:
                text = file.read()
        lines = [json.loads(line) for line in text.splitlines()]
        self.assertEqual([(line["method"], line["path"], line["status"], line["complete"]) for line in lines],
                         [("POST", "/tokenize", 200, True), ("GET", "/nope", 404, True)])
        self.assertNotIn("secret", text)


if __name__ == "__main__":
    main()
