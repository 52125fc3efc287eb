#!/usr/bin/env python3
"""Measures `fovea serve` beside llama-server of the same machine, in turns, with the same requests as token ids:

    bench/server_pair.py PEER MODEL [--build build] [--rounds 2] [--parts throughput,document,first] [--csv FILE]

PEER is a folder that tools/peer_build.sh has filled, or `none`: then fovea alone is measured.

  throughput  16 clients at a time, prompts of 512 tokens that have nothing in common, answers of 64, two threads: tokens of answers a second,
              from the first request to the last token
  document    8 clients ask about one document of 7,000 tokens at the same time, then again: what was read, and times to first tokens
  first       time to the first token of a prompt of 7,000 tokens, one client, one thread: llama-server, fovea dense, fovea with --attention fovea
              (and what share of the keys it read)

Rounds are A, B, A, B; each figure is printed with its smallest and largest. About six minutes on two idle cores. Standard library only.
"""
import argparse
import csv
import http.client
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import threading
import time

PROMPT, ANSWER, CLIENTS, DOCUMENT, READERS = 512, 64, 16, 7000, 8


class Server:
    """One that runs, whichever it is; both have llama-server's /completion."""

    def __init__(self, name, command, port, log):
        self.name, self.port = name, port
        self.process = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while self.status() != 200:
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit("%s does not come up: %s" % (name, " ".join(command)))
            time.sleep(0.1)

    def status(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/health")
            return connection.getresponse().status
        except OSError:
            return 0

    def ask(self, tokens, count, **fields):
        """Seconds to the first token and to the last, and the last event."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        body = dict({"prompt": tokens, "n_predict": count, "stream": True, "temperature": 0, "ignore_eos": True, "cache_prompt": True}, **fields)
        begin, first, last = time.monotonic(), None, None
        connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            sys.exit("%s: %s" % (self.name, answer.read().decode()))
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            first = first or time.monotonic()
            last = json.loads(line[6:])
        connection.close()
        return first - begin, time.monotonic() - begin, last

    def processor_seconds(self):
        """So far, of all its threads: says more than the clock where the machine has other work."""
        with open("/proc/%d/stat" % self.process.pid) as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def together(calls):
    """Results, and seconds in all."""
    results = [None] * len(calls)

    def call(index):
        results[index] = calls[index]()
    threads = [threading.Thread(target=call, args=(index,)) for index in range(len(calls))]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results, time.monotonic() - begin


class Bench:
    def __init__(self, options):
        self.options = options
        self.rows = []
        self.log = open(os.devnull if not options.log else options.log, "w")
        self.vocabulary = self.vocabulary_of()

    def vocabulary_of(self):
        done = subprocess.run([os.path.join(self.options.build, "fovea"), "tokenize", "-m", self.options.model, "-p", self.text(), "--ids"],
                              capture_output=True, check=True)
        return json.loads(done.stdout)

    @staticmethod
    def text():
        import pydoc_data.topics
        topics = pydoc_data.topics.topics
        return "\n".join(topics[name] for name in sorted(topics))[:80000]

    def tokens(self, count, seed):
        """Of the same text from another place: prompts that have nothing in common."""
        place = random.Random(seed).randrange(len(self.vocabulary) - count)
        return self.vocabulary[place:place + count]

    def start(self, name, threads, slots, context, *flags):
        port = free_port()
        common = ["-m", self.options.model, "-t", str(threads), "-np", str(slots), "-c", str(slots * context), "--no-webui", *flags]
        if name == "llama":
            command = [os.path.join(self.options.peer, "bin", "llama-server"), "-tb", str(threads), "-cb", *common]
        else:
            command = [os.path.join(self.options.build, "fovea"), "serve", *common]
        return Server(name, command, port, self.log)

    def sides(self, *names):
        return [name for name in names if name != "llama" or self.options.peer != "none"]

    def book(self, part, what, unit, values):
        self.rows.append((part, what, unit, statistics.median(values), min(values), max(values), len(values)))
        print("%-11s %-42s %10.2f %-9s (%.2f to %.2f, %d)" % (part, what, statistics.median(values), unit, min(values), max(values), len(values)), flush=True)

    def throughput(self):
        rates, alls, costs = {}, {}, {}
        for round_number in range(self.options.rounds):
            for name in self.sides("fovea", "llama"):
                server = self.start(name, 2, CLIENTS, 1024)
                server.ask(self.tokens(64, 1), 4)  # warm
                asks = [self.tokens(PROMPT, 1000 * round_number + client + 2) for client in range(CLIENTS)]
                before = server.processor_seconds()
                answers, seconds = together([lambda ask=ask: server.ask(ask, ANSWER) for ask in asks])
                costs.setdefault(name, []).append(server.processor_seconds() - before)
                made = sum(last.get("tokens_predicted", 0) for _, _, last in answers)
                assert made == CLIENTS * ANSWER, made
                rates.setdefault(name, []).append(made / seconds)
                alls.setdefault(name, []).append((made + CLIENTS * PROMPT) / seconds)
                server.stop()
        for name, values in rates.items():
            self.book("throughput", "%s, answers" % name, "tokens/s", values)
            self.book("throughput", "%s, prompts and answers" % name, "tokens/s", alls[name])
            self.book("throughput", "%s, processor time" % name, "s", costs[name])
        if len(rates) == 2:
            print("throughput: %.2f times llama-server's, by processor time %.2f" % (
                statistics.median(rates["fovea"]) / statistics.median(rates["llama"]),
                statistics.median(costs["llama"]) / statistics.median(costs["fovea"])))

    def document(self):
        for attention in ("dense", "fovea"):
            self.document_with(attention)

    def document_with(self, attention):
        server = self.start("fovea", 2, READERS, 8192, "--attention", attention)
        server.ask(self.tokens(64, 1), 4)
        text = self.tokens(DOCUMENT, 99)
        time.sleep(0.2)  # the warm-up is booked
        before = self.metric(server, "llamacpp:prompt_tokens_total")
        answers, _ = together([lambda seed=seed: server.ask(text + self.tokens(20, seed), 8) for seed in range(READERS)])
        self.book("document", "%s, first tokens, all at once" % attention, "s", [first for first, _, _ in answers])
        time.sleep(0.2)
        read = self.metric(server, "llamacpp:prompt_tokens_total") - before
        self.book("document", "%s, tokens read for %d askers of %d" % (attention, READERS, DOCUMENT), "tokens", [read])
        later = [server.ask(text + self.tokens(20, 100 + seed), 8)[0] * 1000 for seed in range(READERS)]
        self.book("document", "%s, first token later, one by one" % attention, "ms", later)
        answers, _ = together([lambda seed=seed: server.ask(text + self.tokens(20, 200 + seed), 8) for seed in range(READERS)])
        self.book("document", "%s, first token later, %d at once" % (attention, READERS), "ms", [first * 1000 for first, _, _ in answers])
        server.stop()

    @staticmethod
    def metric(server, name):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/metrics")
        return float(re.search(r"^%s (\S+)$" % re.escape(name), connection.getresponse().read().decode(), re.M).group(1))

    def first(self):
        times, costs = {}, {}
        flags = {"fovea dense": (), "fovea sparse": ("--attention", "fovea"), "llama": ()}
        density = None
        for round_number in range(self.options.rounds):
            for name in self.sides("fovea dense", "llama", "fovea sparse"):
                server = self.start(name.split()[0], 1, 1, 8192, *flags[name])
                server.ask(self.tokens(64, 1), 2)
                before = server.processor_seconds()
                first, _, last = server.ask(self.tokens(DOCUMENT, 500 + round_number), 1)
                costs.setdefault(name, []).append(server.processor_seconds() - before)
                times.setdefault(name, []).append(first)
                if name == "fovea sparse":
                    density = last["fovea"]["density"]
                server.stop()
        for name, values in times.items():
            self.book("first", name + (", %.3f of the keys read" % density if name == "fovea sparse" else ""), "s", values)
            self.book("first", name + ", processor time", "s", costs[name])
        for name in ("fovea dense", "fovea sparse"):
            if "llama" in times:
                print("first: %s is %.2f times sooner than llama-server, by processor time %.2f" % (
                    name, statistics.median(times["llama"]) / statistics.median(times[name]), statistics.median(costs["llama"]) / statistics.median(costs[name])))


def load():
    return " ".join(open("/proc/loadavg").read().split()[:3])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("peer")
    parser.add_argument("model")
    parser.add_argument("--build", default="build")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--parts", default="throughput,document,first")
    parser.add_argument("--csv", help="where the figures go, too")
    parser.add_argument("--log", help="what the servers say")
    options = parser.parse_args()
    bench, begin = Bench(options), time.monotonic()
    print("load before: %s" % load())
    for part in options.parts.split(","):
        getattr(bench, part)()
    print("load after: %s; %.0f s" % (load(), time.monotonic() - begin))
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("part", "what", "unit", "median", "smallest", "largest", "runs"))
            writer.writerows(bench.rows)


if __name__ == "__main__":
    main()
