#!/usr/bin/env python3
"""Checks that the program says the same under mpirun with 2, 3 and 4 ranks as by itself: texts, perplexity, reports of what
was read; and what goes over a border between stages.

Called as: mpi_same_test.py BUILD/fovea SOURCE_FOLDER [unittest arguments].
"""
import json
import os
import re
import signal
import socket
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from mpi_runner import FOVEA, PATIENCE, REAL, Job, command, launchers, main, model, mpirun, run, workers

POLICY = "fovea:pages=6,window=32,sinks=16,dense-below=0"
# What a clock or the memory of a process says differs, and all that is of the first rank alone.
OF_THIS_RUN = ("seconds", "_ns", "per_second", "peak_memory_bytes", "memory_limit_bytes", "seed", "threads", "repacked_bytes",
               "weight_bytes", "processors", "processors_by")


def steady(value):
    """A result without what differs from run to run."""
    if isinstance(value, dict):
        return {key: steady(item) for key, item in value.items() if not key.endswith(OF_THIS_RUN)}
    if isinstance(value, list):
        return [steady(item) for item in value]
    return value


def ask(path, body, seconds=PATIENCE, route="/completion"):
    """What a server on a socket answers, once it is there."""
    limit = time.time() + seconds
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(seconds)
                line.connect(path)
                line.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (route.encode(), len(body)) + body)
                parts = []
                while not parts or parts[-1]:
                    parts.append(line.recv(65536))
                head, answer = b"".join(parts).split(b"\r\n\r\n", 1)
                if b" 503 " not in head.split(b"\r\n")[0] or time.time() > limit:
                    assert b" 200 " in head.split(b"\r\n")[0], (head, answer)
                    return answer
        except (FileNotFoundError, ConnectionRefusedError):
            if time.time() > limit:
                raise
        time.sleep(0.05)  # the model is not there yet


class SameTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def text(self, words):
        path = os.path.join(self.folder, "text")
        with open(path, "w") as file:
            for number in range(words):
                file.write("%s the %s of day %d. " % (("Once", "Then", "So")[number % 3], ("cat", "sun", "old dog")[number % 5 % 3], number))
        return path

    def same(self, verb, *arguments, ranks=(2, 3, 4), per_stage=1):
        """The verb's JSON by itself and under each launcher; the first of them."""
        alone = run(verb, *arguments, "--json")
        self.assertEqual(alone.returncode, 0, alone.stderr)
        expected = steady(json.loads(alone.stdout))
        for launcher in launchers():
            for count in ranks:
                with self.subTest(launcher=launcher, ranks=count):
                    done = mpirun(launcher, count, verb, *arguments, "--json", "--ranks-per-stage", str(per_stage))
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertEqual(steady(json.loads(done.stdout)), expected)
        return expected

    def test_text_of_a_long_prompt_that_chooses(self):
        path = self.text(150)
        got = self.same("run", "-m", model("story"), "-f", path, "-n", "24", "--temp", "0", "-t", "1", "-c", "2048", "-ub", "64",
                        "--attention", POLICY)
        self.assertGreater(got["prompt"]["selected_keys"], 0)
        self.assertGreater(got["decode"]["selected_keys"], 0)

    def test_text_of_contexts_over_ranks(self):
        """Stages by context ranks: 1 x 2 and 2 x 2."""
        path = self.text(150)
        for policy in ("dense", POLICY):
            got = self.same("run", "-m", model("story"), "-f", path, "-n", "12", "--temp", "0", "-t", "1", "-c", "2048", "-ub", "256",
                            "--attention", policy, ranks=(2, 4), per_stage=2)
            self.assertGreater(got["prompt_tokens"], 1024)  # more than one segment

    def test_perplexity_of_contexts_over_ranks(self):
        self.same("ppl", "-m", model("story"), "-f", self.text(220), "-c", "1536", "--chunks", "1", "-t", "1", "--score", "64",
                  "--attention", POLICY, ranks=(4,), per_stage=2)

    def test_a_context_over_ranks_has_one_seed(self):
        for launcher in launchers():
            done = mpirun(launcher, 2, "run", "-m", model("story"), "-p", "Once", "-n", "20", "--temp", "1.5", "-t", "1", "--json",
                          "--ranks-per-stage", "2")
            self.assertEqual(done.returncode, 0, done.stderr)
            told = json.loads(done.stdout)
            alone = run("run", "-m", model("story"), "-p", "Once", "-n", "20", "--temp", "1.5", "-t", "1", "--json", "-s", str(told["seed"]))
            self.assertEqual(told["tokens"], json.loads(alone.stdout)["tokens"])
        done = mpirun(launchers()[0], 2, "serve", "-m", model("story"), "--ranks-per-stage", "2")
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn(b"--ranks-per-stage is for", done.stderr)
        done = mpirun(launchers()[0], 3, "run", "-m", model("story"), "--ranks-per-stage", "2")
        self.assertNotEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"3 ranks are no multiple of 2 ranks per stage", done.stderr)

    def test_text_of_sliding_windows(self):
        self.same("run", "-m", model("gemma3_f32"), "-p", "the rain in the inn " * 12, "-n", "16", "--temp", "0", "-t", "2", "-ub", "32",
                  ranks=(2, 4))

    def test_perplexity_of_several_policies(self):
        path = self.text(120)
        self.same("ppl", "-m", model("story"), "-f", path, "-c", "512", "--chunks", "2", "-t", "1", "-ub", "128", "--attention", POLICY,
                  "--attention", "window:window=64", ranks=(2, 4))

    def test_perplexity_by_decoding(self):
        path = self.text(60)
        self.same("ppl", "-m", model("story"), "-f", path, "-c", "256", "--chunks", "1", "--score", "24", "--pass", "decode", "-t", "1",
                  "--attention", POLICY, ranks=(3,))

    def test_text_of_a_real_model(self):
        if not os.path.exists(REAL):
            self.skipTest("skipped: no models/SmolLM2 (tools/model.py smollm2)")
        self.same("run", "-m", REAL, "-f", self.text(40), "-n", "8", "--temp", "0", "-t", "1", "-ub", "128", ranks=(2, 4))

    def test_layers_beside_a_large_vocabulary_are_divided_evenly(self):
        """The first rank has embedding and vocabulary and few layers; the others have alike many."""
        if not os.path.exists(REAL):
            self.skipTest("skipped: no models/SmolLM2 (tools/model.py smollm2)")
        done = mpirun(launchers()[0], 4, "run", "-m", REAL, "-p", "a", "-n", "1", "-c", "512", "-v", "-t", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        ends = [(int(first), int(last)) for first, last in re.findall(rb"rank \d on .*: layers (\d+) to (\d+),", done.stderr)]
        counts = [last - first + 1 for first, last in ends]
        self.assertEqual((len(counts), sum(counts)), (4, 30))
        self.assertLessEqual(max(counts[1:]) - min(counts[1:]), 1)

    def test_layers_are_divided_as_told(self):
        launcher = launchers()[0]
        told = ("run", "-m", model("story"), "-p", "Once", "-n", "4", "--temp", "0", "-v", "-t", "1")
        done = mpirun(launcher, 3, *told, "--split", "1,3,1")
        self.assertEqual(done.returncode, 0, done.stderr)
        for says in (b"rank 0 on ", b": layers 0 to 0,", b": layers 1 to 3,", b": layers 4 to 4,"):
            self.assertIn(says, done.stderr)
        self.assertEqual(done.stdout, mpirun(launcher, 2, *told).stdout)
        done = mpirun(launcher, 2, *told, "--split", "answers")
        self.assertEqual((done.returncode, done.stdout), (0, mpirun(launcher, 2, *told).stdout), done.stderr)
        self.assertIn(b": layers 0 to 1,", done.stderr)  # of five: the vocabulary's product is worth one
        for split, says in (("1,3", b"3"), ("2,2,2", b"5"), ("0,3,2", b"0"), ("x", b"x")):
            done = mpirun(launcher, 3, *told, "--split", split)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(says, done.stderr)
        done = mpirun(launcher, 6, *told)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b"has 5 layers, too few for 6 stages", done.stderr)

    def test_bytes_over_a_border(self):
        """The hidden row and at most 64 bytes for a token: what more tests cost than fewer, so that openings count for nothing."""
        width = 64
        for launcher in launchers():
            bytes_of = {}
            for sizes in (("-p", "0", "-n", "20"), ("-p", "0", "-n", "120"), ("-p", "20", "-n", "0"), ("-p", "120", "-n", "0")):
                done = mpirun(launcher, 2, "bench", "-m", model("story"), *sizes, "-r", "1", "--no-warmup", "-t", "1", "-o", "json")
                self.assertEqual(done.returncode, 0, done.stderr)
                (row,) = json.loads(done.stdout)
                self.assertEqual(row["n_ranks"], 2)
                tokens = row["n_prompt"] + row["n_gen"]
                bytes_of[row["n_gen"] > 0, tokens] = row["border_bytes_per_token"] * tokens
            for decodes, most in ((True, 64), (False, 2)):
                per_token = (bytes_of[decodes, 120] - bytes_of[decodes, 20]) / 100
                self.assertGreaterEqual(per_token, 4 * width)
                self.assertLessEqual(per_token, 4 * width + most)

    def test_server(self):
        """Answers over HTTP are those of the program alone, and SIGTERM ends all ranks with 0."""
        words = ("-m", model("story"), "-p", "Once upon a", "-n", "12", "--temp", "0", "-t", "1")
        alone = run("run", "-no-cnv", "--no-display-prompt", *words).stdout.decode()
        path = os.path.join(self.folder, "s.sock")
        for launcher in launchers():
            with self.subTest(launcher=launcher):
                job = Job(command(launcher, 2, "serve", "-m", model("story"), "--host", path, "-t", "1"))
                self.addCleanup(job.end)
                body = json.dumps({"prompt": "Once upon a", "n_predict": 12, "temperature": 0}).encode()
                answer = json.loads(ask(path, body))
                self.assertEqual(answer["content"].strip(), alone.strip())
                os.kill(workers(job.pid, 2)[0], signal.SIGTERM)
                done = job.finish()
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_server_of_many_at_once(self):
        """Steps of some are in one stage while others are in another: answers, prompts of several chunks, log-probabilities, one that
        reads the whole prompt's; each says what it says alone in one process."""
        bodies = [{"prompt": "%s the %s" % (first, second), "n_predict": 30 + number, "temperature": 0} for number, (first, second) in
                  enumerate((a, b) for a in ("Once", "Then", "So") for b in ("cat", "old dog"))]
        bodies.append({"prompt": "the cat and the sun. " * 60, "n_predict": 20, "temperature": 0})
        bodies.append({"prompt": "an old dog in the rain. " * 50, "n_predict": 20, "temperature": 0.8, "seed": 7})
        bodies.append({"prompt": "Once upon a time", "n_predict": 25, "temperature": 0, "n_probs": 3})
        echo = {"prompt": "So the sun and the cat", "max_tokens": 9, "temperature": 0, "echo": True, "logprobs": 2}
        arguments = ("serve", "-m", model("story"), "-t", "1", "--parallel", "5", "-c", "8192", "-ub", "64", "--attention", POLICY)

        def talk(words, at_once):
            path = os.path.join(self.folder, "m.sock")
            job = Job(words + ["--host", path])
            self.addCleanup(job.end)
            ask(path, json.dumps({"prompt": "a", "n_predict": 1}).encode())
            long = json.loads(ask(path, json.dumps({"prompt": "the rain and the sun. " * 90, "n_predict": 9, "temperature": 0}).encode()))
            with ThreadPoolExecutor(1 + len(bodies) if at_once else 1) as pool:
                echoed = pool.submit(ask, path, json.dumps(echo).encode(), PATIENCE, "/v1/completions")
                texts = list(pool.map(lambda body: json.loads(ask(path, json.dumps(body).encode())), bodies))
            (choice,) = json.loads(echoed.result())["choices"]
            return job, long["content"], choice, [(text["content"], text["tokens_predicted"], text.get("completion_probabilities")) for text in texts]

        job, *expected = talk([FOVEA, *arguments], False)
        job.process.send_signal(signal.SIGTERM)
        job.process.wait(PATIENCE)
        for launcher in launchers():
            for ranks in (2, 3):
                with self.subTest(launcher=launcher, ranks=ranks):
                    job, *got = talk(command(launcher, ranks, *arguments), True)
                    self.assertEqual(got, expected)
                    os.kill(workers(job.pid, ranks)[0], signal.SIGTERM)
                    done = job.finish()
                    self.assertEqual(done.returncode, 0, done.stderr)

    def test_sessions(self):
        """Read and asked by ranks: what one process says. Neither wakes the other's."""
        path = self.text(40)
        kept, alone = os.path.join(self.folder, "kept"), os.path.join(self.folder, "alone")
        read = ("read", "-m", model("story"), "-f", path, "-t", "1", "-ub", "64", "-c", "2048")
        ask_it = ("run", "-m", model("story"), "-p", "Then the", "-n", "12", "--temp", "0", "-t", "1", "-c", "2048",
                  "-no-cnv", "--session")
        self.assertEqual(run(*read, "-o", alone).returncode, 0)
        expected = run(*ask_it, alone)
        self.assertEqual(expected.returncode, 0, expected.stderr)
        for launcher in launchers():
            with self.subTest(launcher=launcher):
                done = mpirun(launcher, 2, *read, "-o", kept)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(len([name for name in os.listdir(self.folder) if name.endswith(".rank1")]), 1)
                done = mpirun(launcher, 2, *ask_it, kept)
                self.assertEqual((done.returncode, done.stdout), (0, expected.stdout), done.stderr)
        for ranks, file, says in ((3, kept, b"was saved by 2 ranks with layers"), (2, alone, b"was saved by one process")):
            done = mpirun(launchers()[0], ranks, *ask_it, file)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(says, done.stderr)
        done = run(*ask_it, kept)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b"was saved by 2 ranks with layers", done.stderr)

    def test_a_prompt_cache(self):
        kept = os.path.join(self.folder, "kept")
        words = ("run", "-m", model("story"), "-p", "Once upon a time there was", "-n", "8", "--temp", "0", "-t", "1", "-no-cnv")
        expected = run(*words)
        for _ in range(2):  # makes it, takes it up
            done = mpirun(launchers()[0], 2, *words, "--prompt-cache", kept)
            self.assertEqual((done.returncode, done.stdout), (0, expected.stdout), done.stderr)
        self.assertEqual(len(os.listdir(self.folder)), 2)
        done = mpirun(launchers()[0], 2, *words, "--prompt-cache", kept, "--ranks-per-stage", "2")
        self.assertEqual(done.returncode, 1, done.stderr)

    def test_only_rank_0_speaks(self):
        for launcher in launchers():
            done = mpirun(launcher, 3, "run", "-m", model("story"), "-p", "Once", "-n", "4", "--temp", "0", "-t", "1")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stderr.count(b"stopped:"), 1, done.stderr)
            done = mpirun(launcher, 3, "--version")
            self.assertEqual((done.returncode, done.stdout.count(b"fovea")), (0, 1), done.stderr)
            done = mpirun(launcher, 2, "run", "--nonsense")
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertEqual(done.stderr.count(b"--nonsense"), 1, done.stderr)

    def test_standard_input_is_rank_0_s(self):
        done = mpirun(launchers()[0], 2, "run", "-m", model("story"), "-f", "-", "-n", "4", "--temp", "0", "-t", "1", stdin=b"Once upon a")
        alone = run("run", "-m", model("story"), "-f", "-", "-n", "4", "--temp", "0", "-t", "1", stdin=b"Once upon a")
        self.assertEqual((done.returncode, done.stdout), (0, alone.stdout), done.stderr)


if __name__ == "__main__":
    main()
