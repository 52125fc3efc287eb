#!/usr/bin/env python3
"""Checks that the tables of docs/results.md are those that tools/bench_tables.py, tools/quality.py and tools/tasks.py
make of bench/results.

Called as: numbers_test.py BUILD/fovea SOURCE_FOLDER.
"""
import os
import subprocess
import sys

tools = os.path.join(sys.argv[2], "tools")
results = os.path.join(sys.argv[2], "docs", "results.md")
sys.exit(max(subprocess.run([sys.executable, os.path.join(tools, command[0])] + command[1:]).returncode for command in (
    ["bench_tables.py", "--check"], ["quality.py", "report", "--into", results, "--check"],
    ["tasks.py", "report", "--into", results, "--check"])))
