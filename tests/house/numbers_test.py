#!/usr/bin/env python3
"""Checks that the tables of docs/numbers.md are those that tools/bench_tables.py makes of bench/results.

Called as: numbers_test.py BUILD/fovea SOURCE_FOLDER.
"""
import os
import subprocess
import sys

sys.exit(subprocess.run([sys.executable, os.path.join(sys.argv[2], "tools", "bench_tables.py"), "--check"]).returncode)
