#!/usr/bin/env python3
"""Packs every port as tools/pack_port.py does, runs its example here, and lets the tools of its ecosystem judge it.

Called as: ports_test.py BUILD/fovea SOURCE_FOLDER. CC names the compiler. The tools come from PyPI (idf-component-manager,
esp-idf-kconfig, platformio, kconfiglib, west) and Debian (arduino-builder); FV_PORT_TOOLS names a folder like VENV/bin that is
looked at before PATH. One that is not there is a skip. Nothing is fetched.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

# library.properties of the Arduino library specification 1.5: these must be there, the category one of the list.
ARDUINO_FIELDS = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"}
ARDUINO_CATEGORIES = {"Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing",
                      "Data Storage", "Data Processing", "Other", "Uncategorized"}
# library.json by PlatformIO's own schema. Its list of licences would be fetched; ours is SPDX's name of the MIT licence.
PLATFORMIO = """
import sys
from platformio.package.manifest.parser import ManifestParserFactory
from platformio.package.manifest.schema import ManifestSchema
ManifestSchema.load_spdx_licenses = staticmethod(lambda: {"licenses": [{"licenseId": "MIT"}]})
print(ManifestSchema().load_manifest(ManifestParserFactory.new_from_file(sys.argv[1]).as_dict())["name"])
"""
ZEPHYR_KCONFIG = """
import kconfiglib, sys
read = kconfiglib.Kconfig(sys.argv[1], warn_to_stderr=False)
read.syms["FOVEA"].set_value("y")
assert not read.warnings and read.syms["FOVEA_OPTIMIZE_SPEED"].str_value == "y", read.warnings
print(*read.syms)
"""
# The keys that Zephyr's scripts/zephyr_module.py knows and that we use.
ZEPHYR_MODULE = """
import sys, yaml
module = yaml.safe_load(open(sys.argv[1]))
assert set(module) <= {"name", "build", "samples", "tests"} and set(module["build"]) <= {"cmake", "kconfig"}, module
print(module["name"])
"""
WEST = """manifest:
  projects:
    - name: fovea
      url: https://example.org/fovea
      revision: main
      path: modules/lib/fovea
"""
PRINTK = "#include <stdio.h>\n#define printk printf\n"


class Skipped(Exception):
    pass


def run(*command, folder=None):
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    if done.returncode:
        raise RuntimeError("%s: exit %d\n%s" % (" ".join(command), done.returncode, done.stdout))
    return done.stdout


def expect(condition, sentence):
    if not condition:
        raise RuntimeError(sentence)


def tool(name):
    folders = (os.environ.get("FV_PORT_TOOLS"), os.environ.get("PATH"))
    found = shutil.which(name, path=os.pathsep.join(folder for folder in folders if folder))
    if not found:
        raise Skipped("no " + name)
    return found


def python_with(module):
    """A Python that has the module: that of the tools, or this one."""
    beside = os.path.join(os.environ.get("FV_PORT_TOOLS", ""), "python")
    python = beside if os.environ.get("FV_PORT_TOOLS") else sys.executable
    if subprocess.run([python, "-c", "import " + module], stderr=subprocess.DEVNULL).returncode:
        raise Skipped("no Python module " + module)
    return python


def example_runs(port, *path):
    """The example with the packed library, compiled for this machine."""
    folder = os.path.join(port, "host")
    os.makedirs(os.path.join(folder, "zephyr", "sys"))
    with open(os.path.join(folder, "zephyr", "sys", "printk.h"), "w", encoding="utf-8") as file:
        file.write(PRINTK)
    source = os.path.join(port, *path)
    with open(source, encoding="utf-8") as file:
        is_app = "app_main" in file.read()
    with open(os.path.join(folder, "entry.c"), "w", encoding="utf-8") as file:
        file.write("void app_main(void);\nint main(void) { app_main(); return 0; }\n" if is_app else "int no_entry;\n")
    program, core = os.path.join(folder, "example"), os.path.join(os.path.dirname(port), "fovea.o")
    flags = ["-std=c11", "-O0", "-Wall", "-Wextra", "-Werror", "-I", os.path.join(port, "src"), "-I", folder]
    if not os.path.exists(core):  # the same file in every package
        run(os.environ.get("CC", "cc"), *flags, "-c", os.path.join(port, "src", "fovea.c"), "-o", core)
    run(os.environ.get("CC", "cc"), *flags, source, os.path.join(folder, "entry.c"), core, "-o", program)
    output = run(program)
    shutil.rmtree(folder)
    expect(output == "token 47.0\nOK\n", output)


def arduino_properties(port):
    with open(os.path.join(port, "library.properties"), encoding="utf-8") as file:
        fields = dict(line.rstrip("\n").split("=", 1) for line in file)
    expect(ARDUINO_FIELDS <= set(fields), "missing: %s" % (ARDUINO_FIELDS - set(fields)))
    expect(fields["category"] in ARDUINO_CATEGORIES, fields["category"])
    expect(re.fullmatch(r"\d+\.\d+\.\d+", fields["version"]), fields["version"])
    expect(all(os.path.exists(os.path.join(port, "src", name)) for name in fields["includes"].split(",")), "includes")
    expect(os.path.exists(os.path.join(port, "examples", "smoke", "smoke.ino")), "a sketch has its folder's name")


def arduino_build(port):
    """arduino-builder finds the library by its properties and builds the sketch, for a platform that is this machine."""
    builder = tool("arduino-builder")
    for folder in ("build", "tools", "libraries", os.path.join("hardware", "fovea")):
        os.makedirs(os.path.join(port, "host", folder))
    shutil.copytree(os.path.join(sys.argv[2], "tests", "ports", "arduino_host"),
                    os.path.join(port, "host", "hardware", "fovea", "host"))
    with open(os.path.join(port, "host", "hardware", "fovea", "host", "cores", "host", "Arduino.h"), "w", encoding="utf-8") as file:
        file.write('#include "arduino_core.h"\n')
    shutil.copytree(port, os.path.join(port, "host", "libraries", "fovea"), ignore=shutil.ignore_patterns("host"))
    folders = [part for name in ("hardware", "tools", "libraries") for part in ("-" + name, os.path.join(port, "host", name))]
    output = run(builder, "-compile", *folders, "-fqbn", "fovea:host:native", "-build-path", os.path.join(port, "host", "build"),
                 os.path.join(port, "host", "libraries", "fovea", "examples", "smoke", "smoke.ino"))
    program = os.path.join(port, "host", "build", "smoke.ino.elf")
    expect(os.path.exists(program), output)
    expect(run(program) == "token 47.0\nOK\n", "the sketch prints something else")


def esp_component(port):
    run(tool("compote"), "component", "pack", "--name", "fovea", folder=port)
    packed = os.listdir(os.path.join(port, "dist"))
    expect(any(re.fullmatch(r"fovea_[\d.]+\.tgz", name) for name in packed), str(packed))


def esp_kconfig(port):
    run(python_with("kconfcheck"), "-m", "kconfcheck", os.path.join(port, "Kconfig"))


def esp_example(port):
    example_runs(port, "examples", "smoke", "main", "smoke_main.c")


def platformio_manifest(port):
    output = run(python_with("platformio"), "-c", PLATFORMIO, os.path.join(port, "library.json"))
    expect(output.strip() == "fovea", output)


def platformio_project(port):
    """PlatformIO reads the example's project; to build it, it would fetch a tool chain."""
    output = run(tool("pio"), "project", "config", "-d", os.path.join(port, "examples", "smoke"), "--json-output")
    expect("env:native" in output, output)


def platformio_example(port):
    example_runs(port, "examples", "smoke", "src", "smoke_platformio.c")


def zephyr_kconfig(port):
    run(python_with("kconfiglib"), "-c", ZEPHYR_KCONFIG, os.path.join(port, "Kconfig"))


def zephyr_module(port):
    run(python_with("yaml"), "-c", ZEPHYR_MODULE, os.path.join(port, "zephyr", "module.yml"))


def zephyr_west(port):
    """The manifest that docs/add-a-port.md shows."""
    west, space = tool("west"), os.path.join(port, "space")
    os.makedirs(os.path.join(space, "manifest"))
    with open(os.path.join(space, "manifest", "west.yml"), "w", encoding="utf-8") as file:
        file.write(WEST)
    run("git", "init", "-q", "manifest", folder=space)
    run(west, "init", "-l", "manifest", folder=space)
    run(west, "manifest", "--validate", folder=space)
    expect("modules/lib/fovea" in run(west, "list", folder=space), "west does not list the module")


def zephyr_example(port):
    example_runs(port, "samples", "smoke", "src", "smoke_zephyr.c")


TESTS = {
    "arduino": [arduino_properties, arduino_build],
    "esp32s3": [esp_component, esp_kconfig, esp_example],
    "platformio": [platformio_manifest, platformio_project, platformio_example],
    "zephyr": [zephyr_kconfig, zephyr_module, zephyr_west, zephyr_example],
}


def documented(source):
    with open(os.path.join(source, "docs", "add-a-port.md"), encoding="utf-8") as file:
        text = file.read()
    expect(all("    " + line in text for line in WEST.splitlines()), "docs/add-a-port.md shows another west.yml")


def main():
    source = sys.argv[2]
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory() as folder:
        tests = [("documented", documented, source)]
        for name, checks in TESTS.items():
            port = os.path.join(folder, name)
            run(sys.executable, os.path.join(source, "tools", "pack_port.py"), name, port)
            tests += [(check.__name__, check, port) for check in checks]
        for name, check, argument in tests:
            try:
                check(argument)
                passed += 1
            except Skipped as reason:
                print("skipped %s: %s" % (name, reason))
                skipped += 1
            except (RuntimeError, OSError) as problem:
                print("%s: %s" % (name, problem))
                failed += 1
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
