#!/usr/bin/env python3
"""Checks that two ranks with a slow and lossy network between them, 200 ms one way and one packet in a hundred lost, say what
one process says; and that a network that stops for good ends the job within its time limit, with a sentence.

Each rank has a network namespace of its own; what they send each other goes through this process, which delays and drops
it. Skips loudly without root, ip(8) or /dev/net/tun.

Called as: mpi_delay_test.py BUILD/fovea SOURCE_FOLDER [unittest arguments].
"""
import fcntl
import heapq
import json
import os
import random
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from mpi_runner import FOVEA, environment, launchers, main, model, run

ADDRESSES = ("10.77.0.1", "10.77.0.2")
DELAY, LOSS = 0.2, 0.01
# No shared memory, which would go past the network; both libraries look for the address of the network that is there.
NETWORK = {
    "mpich": ["-launcher", "ssh", "-iface", "far0", "-genv", "UCX_TLS", "tcp,self"],
    "openmpi": ["--allow-run-as-root", "--bind-to", "none", "--mca", "pml", "ob1", "--mca", "btl", "self,tcp", "--mca",
                "btl_tcp_if_include", "far0", "--mca", "oob_tcp_if_include", "far0"],
}
# A launcher calls this in place of ssh: options, the host, then the words of a command for its shell.
AGENT = """#!/bin/sh
while :; do case $1 in -*) shift;; *) break;; esac; done
case $1 in %s) space=%s;; *) space=%s;; esac
shift
exec ip netns exec $space sh -c "$*"
"""


def ip(*words):
    subprocess.run(["ip", *words], check=True, stdout=subprocess.DEVNULL)


class Network:
    """Two namespaces and the wire between them."""

    def __init__(self):
        self.spaces = ["fovea-%d-%d" % (os.getpid(), side) for side in (0, 1)]
        self.files, self.is_cut, self.carried, self.lost, self.stops = [], False, 0, 0, False
        for side, space in enumerate(self.spaces):
            ip("netns", "add", space)
            file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            name = "fv%d%d" % (os.getpid() % 100000, side)
            fcntl.ioctl(file, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x0002 | 0x1000))  # TUNSETIFF: tap, no head
            self.files.append(file)
            ip("link", "set", name, "netns", space, "name", "far0")
            ip("-n", space, "addr", "add", ADDRESSES[side] + "/24", "dev", "far0")
            ip("-n", space, "link", "set", "far0", "up")
            ip("-n", space, "link", "set", "lo", "up")
        self.thread = threading.Thread(target=self.carry)
        self.thread.start()

    def carry(self):
        """Frames of one side arrive at the other, in their order, after the delay; or never."""
        chance, waiting, serial = random.Random(7), [], 0
        while not self.stops:
            rest = max(0.0, min(0.05, waiting[0][0] - time.monotonic())) if waiting else 0.05
            for file in select.select(self.files, [], [], rest)[0]:
                try:
                    frame = os.read(file, 65536)
                except BlockingIOError:
                    continue
                self.carried += 1
                if self.is_cut or chance.random() < LOSS:
                    self.lost += 1
                    continue
                serial += 1
                heapq.heappush(waiting, (time.monotonic() + DELAY, serial, self.files[1 - self.files.index(file)], frame))
            while waiting and waiting[0][0] <= time.monotonic():
                try:
                    os.write(waiting[0][2], waiting[0][3])
                except OSError:
                    pass  # its queue is full: lost as well
                heapq.heappop(waiting)

    def clear(self):
        """Ends what runs on both sides: launchers wait for their other half as long as TCP does."""
        for space in self.spaces:
            for pid in subprocess.run(["ip", "netns", "pids", space], stdout=subprocess.PIPE, check=True).stdout.split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def close(self):
        self.clear()
        self.stops = True
        self.thread.join()
        for file in self.files:
            os.close(file)
        for space in self.spaces:
            ip("netns", "delete", space)


class DelayTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        try:
            self.network = Network()
        except (OSError, subprocess.CalledProcessError) as error:
            self.skipTest("no network between namespaces: %s" % error)
        self.addCleanup(self.network.close)
        self.agent = os.path.join(folder.name, "agent")
        with open(self.agent, "w") as file:
            file.write(AGENT % (ADDRESSES[0], *self.network.spaces))
        os.chmod(self.agent, 0o755)

    def command(self, launcher, *arguments):
        hosts = {"mpich": ["-hosts", ",".join(ADDRESSES), "-launcher-exec", self.agent],
                 "openmpi": ["--host", ",".join(ADDRESSES), "--mca", "plm_rsh_agent", self.agent]}
        return ["ip", "netns", "exec", self.network.spaces[0], "mpirun." + launcher, *NETWORK[launcher], *hosts[launcher], "-n",
                "2", FOVEA, *arguments]

    def test_same_text(self):
        words = ["run", "-m", model("story"), "-p", "Once upon a time", "-n", "12", "--temp", "0", "-t", "1", "--json"]
        alone = json.loads(run(*words).stdout)
        for launcher in launchers():
            with self.subTest(launcher=launcher):
                done = subprocess.run(self.command(launcher, *words, "--timeout", "60"), stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, env=environment(), timeout=400)
                self.assertEqual(done.returncode, 0, done.stderr)
                told = json.loads(done.stdout)
                self.assertEqual((told["text"], told["tokens"]), (alone["text"], alone["tokens"]))
                self.assertGreater(self.network.carried, 24)  # a row there and one back for each token
        print("carried %d packets, lost %d" % (self.network.carried, self.network.lost), file=sys.stderr)

    def test_a_network_that_stops(self):
        for launcher in launchers():
            with self.subTest(launcher=launcher):
                self.network.is_cut = False
                process = subprocess.Popen(
                    self.command(launcher, "run", "-m", model("story"), "-p", "Once", "-n", "4000", "-c", "8192", "--ignore-eos",
                                 "--temp", "0", "-t", "1", "--timeout", "4"),
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
                self.assertTrue(process.stdout.read(8))  # it tells its story
                self.network.is_cut = True
                said = b""
                while b"stands still, and the job ends" not in said:
                    part = process.stderr.read1(4096)
                    self.assertTrue(part, said)
                    said += part
                self.assertIn(b"fovea: error: rank 1 on ", said)
                self.network.clear()
                process.communicate()


if __name__ == "__main__":
    if os.geteuid() != 0 or not shutil.which("ip") or not os.path.exists("/dev/net/tun"):
        print("skipped: namespaces with a network between them need root, ip and /dev/net/tun")
        sys.exit(77)
    main()
