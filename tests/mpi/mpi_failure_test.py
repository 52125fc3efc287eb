#!/usr/bin/env python3
"""Checks what happens under mpirun when something fails: a rank is killed at any moment, or stands still, or can't open the
model. The job ends in time, with a sentence that names rank and host, and files that were written stay whole.

Called as: mpi_failure_test.py BUILD/fovea SOURCE_FOLDER [unittest arguments]. FV_RUNS: ranks that are killed with each
launcher (default 3).
"""
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from mpi_runner import FOVEA, command, end, environment, launchers, main, model, mpirun, run, workers

RUNS = int(os.environ.get("FV_RUNS", "3"))
# Long enough to be killed in.
LONG = ("run", "-m", model("story"), "-p", "Once upon a time", "-n", "200000", "-c", "250000", "--ignore-eos", "-t", "1")
PATIENCE = 20  # seconds beyond a time-out: a machine that is busy


class FailureTest(unittest.TestCase):
    def start(self, launcher, ranks, *arguments):
        process = subprocess.Popen(command(launcher, ranks, *arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=environment())
        self.addCleanup(end, process)
        return process

    def ends(self, process, seconds, *says):
        begin = time.time()
        out, errors = process.communicate(timeout=seconds + PATIENCE)
        self.assertNotEqual(process.returncode, 0)
        text = errors.decode("utf-8", "replace")
        for words in says:
            self.assertIn(words, text)
        return time.time() - begin, out

    def test_a_rank_that_is_killed(self):
        host = socket.gethostname()
        for launcher in launchers():
            for number in range(RUNS):
                with self.subTest(launcher=launcher, number=number):
                    rank = random.randrange(3)
                    process = self.start(launcher, 3, *LONG)
                    pids = workers(process.pid, 3)
                    time.sleep(random.random() * 1.5)
                    os.kill(pids[rank], signal.SIGKILL)
                    self.ends(process, 10, "rank %d on %s: was killed by signal 9" % (rank, host))

    def test_a_rank_that_dies_before_the_others_meet_it(self):
        """While it is stopped the others wait for it, within the library of MPI."""
        for launcher in launchers():
            with self.subTest(launcher=launcher):
                process = self.start(launcher, 2, *LONG)
                pids = workers(process.pid, 2)
                os.kill(pids[1], signal.SIGKILL)  # as soon as it is there
                self.ends(process, 5, "rank 1 on ", "was killed by signal 9")

    def test_ranks_that_do_not_come_together(self):
        """A launcher that says there are two ranks, and starts one; both libraries wait for the other without a limit."""
        script = 'if [ "${PMI_RANK:-$OMPI_COMM_WORLD_RANK}" = 1 ]; then sleep 15; else exec "$0" "$@"; fi'
        for launcher in launchers():
            with self.subTest(launcher=launcher):
                words = command(launcher, 2, "run", "-m", model("story"), "-p", "a", "-n", "1", "--timeout", "2")
                at = words.index(FOVEA)
                process = subprocess.Popen(words[:at] + ["sh", "-c", script] + words[at:], stdin=subprocess.DEVNULL,
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
                self.addCleanup(end, process)
                self.ends(process, 15, "rank 0 on ", "not all of 2 ranks started within 2 seconds")

    def test_a_rank_that_stands_still(self):
        for launcher in launchers():
            for rank in (0, 1):
                with self.subTest(launcher=launcher, rank=rank):
                    process = self.start(launcher, 2, *LONG, "--timeout", "2")
                    pids = workers(process.pid, 2)
                    time.sleep(1)
                    os.kill(pids[rank], signal.SIGSTOP)
                    try:
                        self.ends(process, 2, "rank %d on " % rank, "nothing was heard for 2 seconds")
                    finally:
                        for pid in pids:
                            try:
                                os.kill(pid, signal.SIGKILL)
                            except OSError:
                                pass

    def test_a_rank_that_is_killed_while_it_keeps_a_session(self):
        """What was there stays, or what is new is there whole."""
        with tempfile.TemporaryDirectory() as folder:
            kept, texts = os.path.join(folder, "kept"), []
            alike = ("-m", model("story"), "-c", "2048", "-t", "1")
            reads, asks = [], ("run", *alike, "-p", "So", "-n", "8", "--temp", "0", "-no-cnv", "--session")
            for words in ("the cat and the sun. ", "an old dog in the rain. "):
                path = os.path.join(folder, "text%d" % len(texts))
                with open(path, "w") as file:
                    file.write(words * 60)
                reads.append(("read", *alike, "-f", path, "-o"))
                self.assertEqual(run(*reads[-1], path + ".alone").returncode, 0)
                texts.append(run(*asks, path + ".alone").stdout)
            self.assertNotEqual(*texts)
            for launcher in launchers():
                self.assertEqual(mpirun(launcher, 2, *reads[0], kept).returncode, 0)
                for number in range(RUNS):
                    process = self.start(launcher, 2, *reads[1 - number % 2], kept)
                    pid = workers(process.pid, 2)[random.randrange(2)]
                    time.sleep(random.random() * 0.3)
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except OSError:
                        pass  # it has read all
                    process.communicate(timeout=10 + PATIENCE)
                    done = mpirun(launcher, 2, *asks, kept)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertIn(done.stdout, texts)

    def test_what_a_rank_cannot_open(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.gguf")
            with open(model("story"), "rb") as file, open(path, "wb") as copy:
                copy.write(file.read()[:-100000])
            for launcher in launchers():
                done = mpirun(launcher, 2, "run", "-m", path, "-p", "a", "-n", "1")
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertEqual(done.stderr.count(b"fovea: error:"), 1, done.stderr)

    def test_no_process_is_left(self):
        process = self.start(launchers()[0], 3, *LONG)
        pids = workers(process.pid, 3)
        end(process)
        for _ in range(100):
            if not any(os.path.exists("/proc/%d" % pid) for pid in pids):
                return
            time.sleep(0.05)
        self.fail("ranks outlive their launcher")


if __name__ == "__main__":
    main()
