#!/usr/bin/env python3
"""Writes a C table of the classes of characters, from the unicodedata of the Python that runs it: what src/text/unicode_class.c
looks up where there is no utf8proc, as when pip builds the package.

    unicode_ranges.py FILE
"""
import sys
import unicodedata

CLASSES = {"L": "LETTER", "N": "NUMBER", "M": "MARK", "P": "PUNCTUATION", "S": "SYMBOL"}  # by a category's first letter


def ranges():
    """[first, last, class], rising; what is in none is of another class."""
    found = []
    for code in range(sys.maxunicode + 1):
        kind = CLASSES.get(unicodedata.category(chr(code))[0])
        if kind and found and found[-1][1] == code - 1 and found[-1][2] == kind:
            found[-1][1] = code
        elif kind:
            found.append([code, code, kind])
    return found


def main():
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write("/* Unicode %s, by unicode_ranges.py */\n" % unicodedata.unidata_version)
        file.writelines("{0x%X, 0x%X, FV_UNICODE_%s},\n" % tuple(row) for row in ranges())


if __name__ == "__main__":
    main()
