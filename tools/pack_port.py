#!/usr/bin/env python3
"""Makes a package for an ecosystem of boards: the files of ports/NAME, and in src/ the core as fovea.h and fovea.c.

    tools/pack_port.py arduino|esp32s3|platformio|zephyr DIR [--url URL]

Standard library only. DIR is then an Arduino library, an ESP-IDF component, a PlatformIO library or a Zephyr module, complete
with its smallest example. --url is the address that the package names as the project's home.
"""
import argparse
import os
import shutil

import amalgamate

PORTS = os.path.join(amalgamate.SOURCE, "ports")
NAMES = ("arduino", "esp32s3", "platformio", "zephyr")


def fill(path, words):
    text = amalgamate.text_of(path)
    for word, value in words.items():
        text = text.replace("@%s@" % word, value)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def pack(name, folder, url):
    shutil.copytree(os.path.join(PORTS, name), folder, dirs_exist_ok=True)
    for place, _, files in os.walk(folder):
        for file in files:
            fill(os.path.join(place, file), {"VERSION": amalgamate.library_version(), "URL": url})
    amalgamate.write(os.path.join(folder, "src"))
    shutil.copy(os.path.join(PORTS, "example", "find_token.h"), os.path.join(folder, "src"))
    shutil.copy(os.path.join(amalgamate.SOURCE, "LICENSE"), folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("directory")
    parser.add_argument("--url", default="https://example.org/fovea")
    options = parser.parse_args()
    pack(options.name, options.directory, options.url)


if __name__ == "__main__":
    main()
