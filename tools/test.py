#!/usr/bin/env python3
"""Runs every test that CMake knows and counts what is inside them. Standard library only.

    tools/test.py BUILD [-l] [-v] [-k WORD…] [-x WORD…] [-c] [-j JOBS]

A program's own tests are counted (cmocka, unittest, or a last line "N passed, M failed, K skipped"); one that reports
nothing counts as one test. Exit code 77 means that all of it was skipped. Whole outputs are in BUILD/test-logs/. The last
line is "N passed, M failed, K skipped"; exit 1 if a test failed or none ran.
"""
import argparse
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import time

TIMEOUT = 600  # seconds a program may take, unless CMake says otherwise
CMOCKA = re.compile(r"^\[\s+(OK|FAILED|ERROR|SKIPPED)\s+\] ([A-Za-z_]\w*)\b(?! ?test\(s\))", re.M)
TOTALS = re.compile(r"^(?:\w+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.M)
UNITTEST = re.compile(r"^Ran (\d+) tests? in .*\n\n(?:OK|FAILED)(?: \((.*)\))?$", re.M)
REASON = re.compile(r"^(?!\s*\d+ SKIPPED).*\bskip(?:ped|ping)?\b.*$", re.M | re.I)
FINE = re.compile(r"^\[ +(RUN|OK) +\]| \.\.\. ok$")  # left out of a failed program's output


class Result:
    def __init__(self, name):
        self.name, self.passed, self.failed, self.skipped = name, 0, 0, 0
        self.failures, self.reasons, self.seconds, self.output = [], [], 0.0, ""


def known_tests(build):
    listing = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"], stdout=subprocess.PIPE, check=True)
    tests = []
    for test in json.loads(listing.stdout.decode())["tests"]:
        properties = {entry["name"]: entry["value"] for entry in test.get("properties", [])}
        if "command" in test:
            tests.append((test["name"], test["command"], properties))
    return tests


def count(result, code, skip_code):
    """What the output says, corrected by the exit code: a failure is never lost."""
    text = result.output
    last_totals = TOTALS.findall(text)
    unittest = UNITTEST.search(text)
    if code == skip_code:
        result.skipped = 1
    elif last_totals:
        result.passed, result.failed, result.skipped = (int(value or 0) for value in last_totals[-1])
    elif unittest:
        numbers = dict(re.findall(r"(failures|errors|skipped)=(\d+)", unittest.group(2) or ""))
        result.skipped = int(numbers.get("skipped", 0))
        result.failed = int(numbers.get("failures", 0)) + int(numbers.get("errors", 0))
        result.passed = int(unittest.group(1)) - result.failed - result.skipped
        result.failures = re.findall(r"^(?:FAIL|ERROR): (\S+)", text, re.M)
    elif CMOCKA.search(text):
        states = {}
        for state, test in CMOCKA.findall(text):
            states[test] = state if states.get(test) in (None, "OK") else states[test]
        for test, state in states.items():
            result.passed += state == "OK"
            result.skipped += state == "SKIPPED"
            if state in ("FAILED", "ERROR"):
                result.failures.append(test)
        result.failed = len(result.failures)
    else:
        result.passed = int(code == 0)
    if code not in (0, skip_code) and result.failed == 0:
        result.failed = 1  # it crashed, or failed outside of its tests
    if result.skipped:
        result.reasons = [re.sub(r"^skip(ped|ping)?:? ", "", line.strip()) for line in REASON.findall(text)
                          if not TOTALS.match(line) and "[  SKIPPED ]" not in line and not line.startswith(("OK (", "FAILED ("))]
        result.reasons = list(dict.fromkeys(result.reasons)) or ["no reason was printed"]


def run(test, build):
    name, command, properties = test
    if any(word.endswith("_test.py") for word in command):
        command = command + ["-v"]  # unittest says only then why it skips
    result = Result(name)
    start = time.monotonic()
    environment = dict(os.environ)
    for entry in properties.get("ENVIRONMENT", []):
        key, _, value = entry.partition("=")
        environment[key] = value
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                               cwd=properties.get("WORKING_DIRECTORY", build), env=environment, start_new_session=True)
    try:
        output = process.communicate(timeout=float(properties.get("TIMEOUT", TIMEOUT)))[0]
        code, note = process.returncode, ""
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, code, note = process.communicate()[0], -1, "\nran past its time limit and was ended\n"
    if code < 0 and not note:
        note = "\nended by signal %d\n" % -code
    result.output = output.decode(errors="replace") + note
    result.seconds = time.monotonic() - start
    count(result, code, int(properties.get("SKIP_RETURN_CODE", 77)))
    with open(os.path.join(build, "test-logs", name + ".txt"), "w", encoding="utf-8") as log:
        log.write(result.output)
    return result


def show(result, verbose):
    state = "FAIL" if result.failed else "ok" if result.passed else "skip"
    counts = ["%d %s" % (value, word) for value, word in ((result.passed, "passed"), (result.failed, "failed"),
                                                         (result.skipped, "skipped")) if value]
    print("%-4s  %-32s %s, %.1f s" % (state, result.name, ", ".join(counts), result.seconds))
    for reason in result.reasons:
        print("      skipped: %s" % reason)
    for failure in result.failures:
        print("      failed: %s" % failure)
    if result.failed or verbose:
        lines = result.output.splitlines()
        if not verbose:
            lines = [line for line in lines if not FINE.search(line)][-60:]
        for line in lines:
            print("      | %s" % line)
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build", help="build folder")
    parser.add_argument("-l", "--list", action="store_true", help="print the names and stop")
    parser.add_argument("-v", "--verbose", action="store_true", help="print all output")
    parser.add_argument("-k", "--filter", nargs="+", default=[""], help="only programs whose name has one of these in it (=NAME: is NAME)")
    parser.add_argument("-x", "--without", nargs="+", default=[], help="but none whose name has one of these in it")
    parser.add_argument("-c", "--compiled", action="store_true", help="only what a compiler made, no scripts")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1, help="programs at a time")
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    tests = [test for test in known_tests(build) if any(word in "=" + test[0] for word in options.filter) and
             not any(word in "=" + test[0] for word in options.without)]
    if options.compiled:
        tests = [test for test in tests if not any(word.endswith(".py") for word in test[1])]
    if options.list:
        print("\n".join(name for name, _, _ in tests))
        return 0
    os.makedirs(os.path.join(build, "test-logs"), exist_ok=True)
    passed = failed = skipped = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for done in concurrent.futures.as_completed([pool.submit(run, test, build) for test in tests]):
            result = done.result()
            show(result, options.verbose)
            passed, failed, skipped = passed + result.passed, failed + result.failed, skipped + result.skipped
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
