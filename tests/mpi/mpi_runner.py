#!/usr/bin/env python3
"""Starts the program under the launchers of MPI that are here, for the tests of this folder. Skips loudly where the build or
the machine has none.

A launcher's name is its library's: "mpich", "openmpi". Ranks of one machine, any number of them on any number of cores.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "cli"))
from cli_runner import FOVEA, SOURCE, clean_environment, model, run  # noqa: E402  (the fixtures of the program's tests)

REAL = os.path.join(SOURCE, "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
# Open MPI refuses root and more ranks than cores unless told; both look for other networks than the loopback in vain.
# Seconds that only what stands still takes, on a machine with any other work; after which a launcher without ranks is one of those.
PATIENCE, ALONE = 150, 30
FLAGS = {"mpich": [], "openmpi": ["--allow-run-as-root", "--oversubscribe", "--mca", "btl", "self,vader,tcp"]}


def launchers():
    """The libraries that the build has a module for and the machine a launcher."""
    folder = os.path.dirname(FOVEA)
    return [name for name in FLAGS if os.path.exists(os.path.join(folder, "fovea_mpi_%s.so" % name)) and
            shutil.which("mpirun." + name)]


def command(launcher, ranks, *arguments):
    return ["mpirun." + launcher, *FLAGS[launcher], "-n", str(ranks), FOVEA, *arguments]


def environment(extra=None):
    made = clean_environment(extra)
    made["ASAN_OPTIONS"] = "detect_leaks=0"  # what MPI libraries keep until the end
    return made


class Job:
    """A launcher at work. What it and its ranks write goes to files, so that it can be looked at meanwhile."""

    def __init__(self, words, stdin=b"", env=None, folder=None):
        self.files = [tempfile.TemporaryFile() for _ in range(3)]
        self.files[0].write(stdin)
        self.files[0].seek(0)
        self.process = subprocess.Popen(words, stdin=self.files[0], stdout=self.files[1], stderr=self.files[2], env=environment(env),
                                        cwd=folder)
        self.pid = self.process.pid

    def written(self, number):
        """So far; the files' own places are the ranks'."""
        return os.pread(self.files[number].fileno(), 1 << 30, 0)

    def await_output(self, seconds=PATIENCE):
        limit = time.time() + seconds
        while not self.written(1):
            if self.process.poll() is not None or time.time() > limit:
                raise AssertionError("nothing was written: %r" % self.written(2))
            time.sleep(0.02)

    def finish(self, seconds=PATIENCE):
        """Waits until all has ended. Open MPI's launcher (4.1) may stand still in PMIx_server_finalize() when a rank was killed and
        no rank is left, so that it is ended here: what a job promises, its ranks keep."""
        limit, alone = time.time() + seconds, None
        while self.process.poll() is None:
            if children(self.pid):
                alone = None
            elif alone is None:
                alone = time.time()
            if alone and time.time() - alone > ALONE:
                print("note: %s stands still after its ranks have ended" % self.process.args[0])
                self.process.kill()
            elif not alone and time.time() > limit:
                raise AssertionError("ranks are there after %d s: %r" % (seconds, self.written(2)))
            time.sleep(0.05)
        return subprocess.CompletedProcess(self.process.args, self.process.returncode, self.written(1), self.written(2))

    def end(self):
        """Ends a launcher that is still there, and waits for it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for file in self.files:
            file.close()


def mpirun(launcher, ranks, *arguments, stdin=b"", env=None):
    job = Job(command(launcher, ranks, *arguments), stdin, env)
    try:
        return job.finish()
    finally:
        job.end()


def children(process_id):
    """Processes below one, the program's only: (id, parent)."""
    found, parents = [], {process_id}
    listing = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,args="], stdout=subprocess.PIPE, check=True).stdout.decode()
    rows = [line.split(None, 2) for line in listing.splitlines()]
    grown = True
    while grown:
        grown = False
        for pid, parent, words in rows:
            if int(parent) in parents and int(pid) not in parents:
                parents.add(int(pid))
                grown = True
                if words.startswith(FOVEA):
                    found.append((int(pid), int(parent)))
    return found


def workers(launcher_id, ranks, seconds=PATIENCE):
    """The processes that do the ranks' work (those below their guards), by rank; waits until all are there. None: the launcher,
    a child of this process, has ended before they were seen."""
    limit = time.time() + seconds
    while time.time() < limit:
        found = children(launcher_id)
        guards = {pid for pid, _ in found}
        inner = [pid for pid, parent in found if parent in guards]
        if len(inner) == ranks:
            by_rank = {rank_of(pid): pid for pid in inner}
            if set(by_rank) == set(range(ranks)):
                return [by_rank[rank] for rank in range(ranks)]
        if has_ended(launcher_id):
            return None
        time.sleep(0.02)
    raise AssertionError("%d ranks did not start in %g s" % (ranks, seconds))


def has_ended(pid):
    """Of a child that nobody has waited for yet."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def rank_of(pid):
    try:
        with open("/proc/%d/environ" % pid, "rb") as file:
            pairs = dict(item.split(b"=", 1) for item in file.read().split(b"\0") if b"=" in item)
    except OSError:
        return None
    for name in (b"OMPI_COMM_WORLD_RANK", b"PMI_RANK"):
        if name in pairs:
            return int(pairs[name])
    return None


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: %s BUILD/fovea SOURCE_FOLDER" % sys.argv[0])
    if not launchers():
        print("skipped: no MPI: the build has no module for it (cmake -DFV_MPI=ON), or there is no mpirun.mpich or mpirun.openmpi")
        sys.exit(77)
    for name in FLAGS:
        if name not in launchers():
            print("skipped: %s is not here: only %s is tested" % (name, ", ".join(launchers())))
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
