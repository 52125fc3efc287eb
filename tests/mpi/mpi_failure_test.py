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
import tempfile
import time
import unittest

from mpi_runner import FOVEA, PATIENCE, Job, command, launchers, main, model, mpirun, run, workers

RUNS = int(os.environ.get("FV_RUNS", "3"))
# Long enough to be killed in.
LONG = ("run", "-m", model("story"), "-p", "Once upon a time", "-n", "200000", "-c", "250000", "--ignore-eos", "-t", "1")


class FailureTest(unittest.TestCase):
    def start(self, words, folder=None):
        job = Job(words, folder=folder)
        self.addCleanup(job.end)
        return job

    def start_long(self, launcher, ranks, *more):
        return self.start(command(launcher, ranks, *LONG, *more))

    def ends(self, job, *says):
        done = job.finish()
        self.assertNotEqual(done.returncode, 0)
        text = done.stderr.decode("utf-8", "replace")
        for words in says:
            self.assertIn(words, text)

    def test_a_rank_that_is_killed(self):
        host = socket.gethostname()
        for launcher in launchers():
            for number in range(RUNS):
                with self.subTest(launcher=launcher, number=number):
                    rank = random.randrange(3)
                    job = self.start_long(launcher, 3)
                    pids = workers(job.pid, 3)
                    time.sleep(random.random() * 1.5)
                    os.kill(pids[rank], signal.SIGKILL)
                    self.ends(job, "rank %d on %s: was killed by signal 9" % (rank, host))

    def test_a_rank_that_dies_before_the_others_meet_it(self):
        """While it is stopped the others wait for it, within the library of MPI."""
        for launcher in launchers():
            with self.subTest(launcher=launcher):
                job = self.start_long(launcher, 2)
                pids = workers(job.pid, 2)
                os.kill(pids[1], signal.SIGKILL)  # as soon as it is there
                self.ends(job, "rank 1 on ", "was killed by signal 9")

    def test_ranks_that_do_not_come_together(self):
        """A launcher that says there are two ranks, and starts one; both libraries wait for the other without a limit."""
        script = 'if [ "${PMI_RANK:-$OMPI_COMM_WORLD_RANK}" = 1 ]; then exec sleep 600; else exec "$0" "$@"; fi'
        for launcher in launchers():
            with self.subTest(launcher=launcher):
                words = command(launcher, 2, "run", "-m", model("story"), "-p", "a", "-n", "1", "--timeout", "2")
                at = words.index(FOVEA)
                job = self.start(words[:at] + ["sh", "-c", script] + words[at:])
                self.ends(job, "rank 0 on ", "not all of 2 ranks started within 2 seconds")

    def test_a_rank_that_stands_still(self):
        """All at the same time: each waits for its time-out, which must be long enough to start in."""
        jobs = [(rank, self.start_long(launcher, 2, "--timeout", "8")) for launcher in launchers() for rank in (0, 1)]
        stopped = []
        try:
            for rank, job in jobs:
                job.await_output()  # the ranks have met
                stopped.append(workers(job.pid, 2)[rank])
                os.kill(stopped[-1], signal.SIGSTOP)
            for rank, job in jobs:
                with self.subTest(command=job.process.args[0], rank=rank):
                    self.ends(job, "rank %d on " % rank, "nothing was heard for 8 seconds")
        finally:
            for pid in stopped:
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
                    job = self.start(command(launcher, 2, *reads[1 - number % 2], kept))
                    pids = workers(job.pid, 2)
                    time.sleep(random.random() * 0.3)
                    try:
                        os.kill(pids[random.randrange(2)], signal.SIGKILL)
                    except (OSError, TypeError):
                        pass  # it has read all
                    job.finish()
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
                self.assertNotEqual(done.returncode, 0, done.stderr)
                self.assertEqual(done.stderr.count(b"fovea: error:"), 1, done.stderr)

    def test_a_file_of_other_weights(self):
        """Of the same name and shapes, on another machine: one rank is in another folder."""
        script = 'if [ "${PMI_RANK:-$OMPI_COMM_WORLD_RANK}" = 1 ]; then cd other; fi; exec "$0" "$@"'
        with tempfile.TemporaryDirectory() as folder:
            with open(model("story"), "rb") as file:
                sound = file.read()
            half = len(sound) // 2
            os.mkdir(os.path.join(folder, "other"))
            for path, data in (("m.gguf", sound), ("other/m.gguf", sound[:half] + bytes(byte ^ 1 for byte in sound[half:]))):
                with open(os.path.join(folder, path), "wb") as copy:
                    copy.write(data)
            for launcher in launchers():
                for more in ((), ("--ranks-per-stage", "2")):
                    with self.subTest(launcher=launcher, more=more):
                        words = command(launcher, 2, "run", "-m", "m.gguf", "-p", "a", "-n", "1", *more)
                        at = words.index(FOVEA)
                        job = self.start(words[:at] + ["sh", "-c", script, os.path.abspath(FOVEA)] + words[at + 1:], folder=folder)
                        self.ends(job, "rank 1 on %s: m.gguf is another model here" % socket.gethostname())

    def test_no_process_is_left(self):
        job = self.start_long(launchers()[0], 3)
        pids = workers(job.pid, 3)
        job.end()
        limit = time.time() + PATIENCE
        while time.time() < limit:
            if not any(os.path.exists("/proc/%d" % pid) for pid in pids):
                return
            time.sleep(0.05)
        self.fail("ranks outlive their launcher")


if __name__ == "__main__":
    main()
