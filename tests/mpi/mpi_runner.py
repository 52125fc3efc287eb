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
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "cli"))
from cli_runner import FOVEA, SOURCE, clean_environment, model, run  # noqa: E402  (the fixtures of the program's tests)

REAL = os.path.join(SOURCE, "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
# Open MPI refuses root and more ranks than cores unless told; both look for other networks than the loopback in vain.
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


def mpirun(launcher, ranks, *arguments, stdin=b"", env=None, timeout=120):
    return subprocess.run(command(launcher, ranks, *arguments), input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=environment(env), timeout=timeout)


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


def workers(process_id, ranks, seconds=20.0):
    """The processes that do the ranks' work (those below their guards), by rank; waits until all are there."""
    end = time.time() + seconds
    while time.time() < end:
        found = children(process_id)
        guards = {pid for pid, _ in found}
        inner = [pid for pid, parent in found if parent in guards]
        if len(inner) == ranks:
            by_rank = {rank_of(pid): pid for pid in inner}
            if set(by_rank) == set(range(ranks)):
                return [by_rank[rank] for rank in range(ranks)]
        time.sleep(0.02)
    raise AssertionError("%d ranks did not start in %g s" % (ranks, seconds))


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


def end(process):
    """Ends a launcher that is still there, and waits for it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.communicate()


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
