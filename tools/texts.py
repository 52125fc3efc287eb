#!/usr/bin/env python3
"""Makes the three texts that quality is measured on, from what Python and Debian carry: English technical text, prose and
source code.

    tools/texts.py FOLDER

writes FOLDER/technical.txt (Python's pydoc_data.topics, sorted by key, joined by blank lines), FOLDER/prose.txt (the history
of the Debian project, package debian-history, fetched with apt-get) and FOLDER/source.txt (modules of Python's standard
library, sorted by name). A text that is there already stays. Prints a SHA-256 of each: figures belong to a text.
"""
import glob
import gzip
import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tempfile

SOURCE_BYTES = 600000


def technical():
    import pydoc_data.topics
    return "\n\n".join(pydoc_data.topics.topics[key] for key in sorted(pydoc_data.topics.topics))


def prose():
    """Without indentation and the line breaks inside paragraphs, as prose is usually read."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        subprocess.run(["apt-get", "download", "-q", "debian-history"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        package = glob.glob(os.path.join(folder, "debian-history_*.deb"))[0]
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        path = os.path.join(folder, "usr/share/doc/debian-history/docs/project-history.en.txt.gz")
        with gzip.open(path, "rt", encoding="utf-8") as file:
            text = file.read()
    paragraphs = re.split(r"\n\s*\n", text)
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def source():
    folder, text = sysconfig.get_paths()["stdlib"], ""
    for path in sorted(glob.glob(os.path.join(folder, "*.py"))):
        with open(path, encoding="utf-8") as file:
            text += file.read() + "\n\n"
        if len(text) > SOURCE_BYTES:
            return text
    return text


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.makedirs(sys.argv[1], exist_ok=True)
    for make in (technical, prose, source):
        path = os.path.join(sys.argv[1], make.__name__ + ".txt")
        if not os.path.exists(path):
            text = make()
            with open(path + ".part", "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(path + ".part", path)
        with open(path, "rb") as file:
            data = file.read()
        print("%s  %s  %d bytes" % (hashlib.sha256(data).hexdigest(), path, len(data)))


if __name__ == "__main__":
    main()
