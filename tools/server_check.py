#!/usr/bin/env python3
"""Checks the server by the clients that people use, as PyPI has them, in an environment of their own. `make test-server` runs it;
it wants PyPI and the model SmolLM2. Everything stays in build-server/.

    tools/server_check.py [BUILD] [unittest arguments]
"""
import os
import re
import subprocess
import sys
import venv

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = os.path.join(ROOT, "build-server")
MODEL = os.path.join(ROOT, "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
PACKAGES = ("openai", "ollama", "litellm", "langchain-openai", "lm-eval[api]")


def skip(reason):
    print("skipped: %s" % reason)
    print("0 passed, 0 failed, 1 skipped")
    return 0


def environment():
    """The python that has the clients; None: they can't be had."""
    python = os.path.join(WORK, "env", "bin", "python")
    if not os.path.exists(python):
        venv.create(os.path.join(WORK, "env"), with_pip=True)
    done = subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=False)
    return python if done.returncode == 0 else None


def main():
    build = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build"))
    if subprocess.run([sys.executable, os.path.join(ROOT, "tools", "model.py"), "smollm2"], check=False).returncode != 0 or not os.path.exists(MODEL):
        return skip("the model SmolLM2 can't be had")
    python = environment()
    if not python:
        return skip("the clients can't be had from PyPI: is there no network?")
    checks = subprocess.Popen([python, "-W", "ignore", os.path.join(ROOT, "tests", "clients", "client_checks.py"), os.path.join(build, "fovea"), ROOT,
                               MODEL, "-v", *sys.argv[2:]], cwd=WORK, stderr=subprocess.PIPE, text=True)
    said = ""
    for line in checks.stderr:
        sys.stderr.write(line)
        said += line
    code = checks.wait()
    ran = sum(int(count) for count in re.findall(r"^Ran (\d+) tests? in", said, re.M))
    failed = sum(int(count) for count in re.findall(r"(?:failures|errors)=(\d+)", said)) or (1 if code else 0)
    print("%d passed, %d failed" % (max(ran - failed, 0), failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
