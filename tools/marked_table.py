#!/usr/bin/env python3
"""Rows kept in a CSV file, and the table of a page that is made from them: for tools/quality.py and tools/tasks.py."""
import csv
import os
import sys


def rows_read(path):
    if not os.path.exists(path):
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def rows_write(path, columns, rows):
    """The file is replaced whole."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".part", "w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(path + ".part", path)


def put(page, begin, end, table, check, fault):
    """Puts `table` between the two lines of the page. check: changes nothing, and ends with `fault` if it is an old one."""
    with open(page) as file:
        before = file.read()
    if begin not in before or end not in before:
        sys.exit("%s: no lines '%s' and '%s'" % (page, begin, end))
    text = before[:before.index(begin) + len(begin)] + "\n" + table + "\n" + before[before.index(end):]
    if check:
        sys.exit(fault if text != before else 0)
    with open(page, "w") as file:
        file.write(text)
