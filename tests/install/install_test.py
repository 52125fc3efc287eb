#!/usr/bin/env python3
"""Installs this build into an empty folder and uses it as others do: CMake, pkg-config, C++, the core alone, add_subdirectory(),
Debian packages. What the shared libraries export is what the headers declare.

Called as: install_test.py BUILD/fovea SOURCE_FOLDER. All of BUILD must be built.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = os.path.dirname(os.path.abspath(sys.argv[1])) if len(sys.argv) > 2 else ""
SOURCE = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else ""
HERE = os.path.dirname(os.path.abspath(__file__))
CC = os.environ.get("CC", "cc")
CXX = os.environ.get("CXX", "c++")
DECLARED = re.compile(r"\bFV_API\b[^;{(]*?\b(fv_\w+)\(")
INCLUDED = re.compile(r'^#include "(fovea/[\w/]+\.h)"', re.M)
STRICT = ["-Wall", "-Wextra", "-pedantic", "-Wundef", "-Wshadow", "-Werror", "-fsyntax-only"]


def cached(name, build=None):
    with open(os.path.join(build or BUILD, "CMakeCache.txt"), encoding="utf-8") as file:
        found = re.search(r"^%s:\w+=(.*)$" % re.escape(name), file.read(), re.M)
    return found.group(1) if found else ""


def text_of(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def run(*command, env=None, cwd=None, code=0):
    environment = {key: value for key, value in os.environ.items() if key not in ("DESTDIR", "CI")}
    environment.update(env or {})
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, env=environment,
                          cwd=cwd)
    if (done.returncode == 0) != (code == 0):
        raise AssertionError("%s: exit %d\n%s" % (" ".join(command), done.returncode, done.stdout))
    return done.stdout


def declared(headers):
    """Functions that are marked FV_API, of C sources without their comments."""
    return {name for path in headers
            for name in DECLARED.findall(re.sub(r"/\*.*?\*/|//[^\n]*", " ", text_of(path), flags=re.S))}


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="fovea-install-")
        cls.prefix = os.path.join(cls.folder, "first", "prefix")
        run("cmake", "--install", BUILD, "--prefix", cls.prefix)
        moved = os.path.join(cls.folder, "moved")
        os.rename(cls.prefix, moved)  # nothing may remember where it was installed
        cls.prefix = moved
        found = glob.glob(os.path.join(moved, "lib*", "**", "fovea.pc"), recursive=True)
        cls.libdir = os.path.dirname(os.path.dirname(found[0]))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def exports(self, library):
        lines = run("nm", "-D", "--defined-only", os.path.join(self.libdir, library)).splitlines()
        return {line.split()[-1] for line in lines if line}

    def dynamic(self, path):
        text = run("objdump", "-p", path)
        return re.findall(r"NEEDED +(\S+)", text), re.findall(r"SONAME +(\S+)", text)

    def pkg_config(self, *arguments):
        path = os.path.join(self.libdir, "pkgconfig")
        return run("pkg-config", *arguments, env={"PKG_CONFIG_PATH": path}).split()

    def works(self, program, says="fovea "):
        self.assertIn(says, run(program, env={"LD_LIBRARY_PATH": self.libdir}))

    def make(self, name, *options, env=None):
        """Configures and builds tests/install/NAME; its folder, and what the configuration said."""
        build = tempfile.mkdtemp(prefix=name + "-", dir=self.folder)
        said = run("cmake", "-S", os.path.join(HERE, name), "-B", build, "-DCMAKE_BUILD_TYPE=Debug",
                   "-DCMAKE_C_FLAGS_DEBUG=-O0", "-DCMAKE_C_COMPILER=" + CC, *options, env=env)
        run("cmake", "--build", build, "--parallel", "2", env=env)
        return build, said

    def test_exports_are_the_declarations(self):
        headers = glob.glob(os.path.join(SOURCE, "include", "fovea", "**", "*.h"), recursive=True)
        hosted = INCLUDED.findall(text_of(SOURCE, "include", "fovea", "fovea.h"))
        hosted = {os.path.join(SOURCE, "include", name) for name in hosted if name != "fovea/core.h"}
        everything = declared(headers)
        self.assertGreater(len(everything), 150)
        self.assertEqual(self.exports("libfovea.so"), everything)
        self.assertEqual(self.exports("libfovea_core.so"), declared(set(headers) - hosted))

    def test_every_declaration_is_marked(self):
        for path in glob.glob(os.path.join(SOURCE, "include", "fovea", "**", "*.h"), recursive=True):
            text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text_of(path), flags=re.S)
            text = re.sub(r"^[ \t]*#.*(\\\n.*)*", "", text, flags=re.M)
            text = re.sub(r"static inline[^{;]*\{(?:[^{}]|\{[^{}]*\})*\}", "", text)
            for statement in re.split(r"[;{}]", text):
                prototype = re.search(r"\bfv_\w+\([^()]*\)$", statement)
                if prototype and not re.search(r"\b(static|typedef)\b", statement):
                    self.assertRegex(statement, r"\bFV_API\b", path)

    def test_sonames(self):
        abi = re.search(r"#define FV_ABI_VERSION (\d+)", text_of(SOURCE, "include", "fovea", "version.h")).group(1)
        for library, most in (("libfovea_core", {"libc.so"}),
                              ("libfovea", {"libc.so", "libm.so", "libutf8proc.so", "libpthread.so", "libjansson.so"})):
            needed, soname = self.dynamic(os.path.join(self.libdir, library + ".so"))
            self.assertEqual(soname, ["%s.so.%s" % (library, abi)])
            self.assertLessEqual({name.split(".so")[0] + ".so" for name in needed}, most)

    def test_umbrellas_include_every_header(self):
        inner = os.path.join(SOURCE, "include")
        reached, waiting = set(), ["fovea/fovea.h"]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += INCLUDED.findall(text_of(inner, name))
        there = {os.path.relpath(path, inner) for path in glob.glob(os.path.join(inner, "fovea", "**", "*.h"), recursive=True)}
        apart = {name for name in there if name.startswith("fovea/reference/")}
        self.assertEqual(there - reached - apart, set(), "fovea.h or core.h should include it")

    def test_headers_compile_alone(self):
        include = os.path.join(self.prefix, "include")
        headers = [os.path.relpath(path, include) for path in glob.glob(os.path.join(include, "fovea", "**", "*.h"), recursive=True)]
        self.assertGreater(len(headers), 25)
        for compiler, standard, suffix in ((CC, "c11", "c"), (CXX, "c++11", "cpp")):
            if not shutil.which(compiler):
                self.skipTest("no C++ compiler: in C they compile")
            sources = []
            for header in headers:
                sources.append(os.path.join(self.folder, re.sub(r"\W", "_", header) + "." + suffix))
                with open(sources[-1], "w", encoding="utf-8") as file:
                    file.write("#include <%s>\nint only_%s;\n" % (header, re.sub(r"\W", "_", header)))
            run(compiler, "-std=" + standard, *STRICT, "-I", include, *sources)

    def test_pkg_config(self):
        source = os.path.join(HERE, "consumer", "consumer.c")
        shared, static = (os.path.join(self.folder, name) for name in ("pc_shared", "pc_static"))
        run(CC, source, *self.pkg_config("--cflags", "--libs", "fovea"), "-o", shared)
        self.assertIn("libfovea.so.0", self.dynamic(shared)[0])
        self.works(shared)
        words = self.pkg_config("--static", "--cflags", "--libs", "fovea")
        run(CC, source, *["-l:libfovea.a" if word == "-lfovea" else word for word in words], "-o", static)
        self.assertNotIn("libfovea.so.0", self.dynamic(static)[0])
        self.works(static)
        core = os.path.join(self.folder, "pc_core")
        run(CC, os.path.join(SOURCE, "examples", "smoke.c"), *self.pkg_config("--cflags", "--libs", "fovea-core"), "-lm", "-o", core)
        self.assertIn("libfovea_core.so.0", self.dynamic(core)[0])
        self.works(core, "OK")
        version = self.pkg_config("--modversion", "fovea")
        self.assertEqual(version[0], re.search(r'VERSION_STRING "(.*)"', text_of(SOURCE, "include", "fovea", "version.h")).group(1))

    def compile_as_told(self, name, code, command):
        """Compiles by the very line of the docs, in a folder where `code` is NAME.c; runs it, and what it says."""
        folder = tempfile.mkdtemp(prefix="docs-", dir=self.folder)
        with open(os.path.join(folder, name + ".c"), "w", encoding="utf-8") as file:
            file.write(re.sub(r"^    ", "", code, flags=re.M))
        environment = {"PKG_CONFIG_PATH": os.path.join(self.libdir, "pkgconfig"), "LD_LIBRARY_PATH": self.libdir, "CC": CC}
        return run("sh", "-ec", 'cc() { command "$CC" -std=c11 -Wall -Wextra -Werror "$@"; }\n' + command, cwd=folder, env=environment)

    def test_program_of_the_docs(self):
        """The 30 lines of docs/use-from-c.md, as they stand there."""
        text = text_of(SOURCE, "docs", "use-from-c.md")
        block = re.search(r"^    #include <fovea/array_attention.h>\n(?:    .*\n|\n)*?    }\n", text, re.M)
        command = re.search(r"^    (cc attend.c .*?) *#", text, re.M).group(1)
        self.assertEqual(self.compile_as_told("attend", block.group(0), command + "; ./attend"), "0\n")

    def test_program_of_the_tutorial(self):
        text = text_of(SOURCE, "docs", "tutorial.md")
        code = re.search(r"^<!-- run: c (\w+) -->\n\n((?:    .*\n|\n)+)", text, re.M)
        command = re.search(r"^<!-- run: c-run %s -->\n\n((?:    .*\n|\n)+)" % code.group(1), text, re.M)
        self.assertLessEqual(code.group(2).strip().count("\n") + 1, 40)
        said = self.compile_as_told(code.group(1), code.group(2), command.group(1))
        shown = re.search(r"^It prints something like\n\n((?:    .*\n)+)", text, re.M).group(1)
        self.assertEqual(said.split(), shown.split())

    def test_lines_of_the_docs(self):
        """Lines of C that are no whole program: with declarations around them they compile."""
        message = "fv_message message; "
        for page, begins, declarations in (
                ("README.md", "fv_array_attention_default(&call);", "const float *query, const void *keys, const void *values, float *out, "
                 "uint32_t tokens, uint32_t heads, uint32_t kv_heads, uint32_t head_dim) { fv_status status; fv_array_attention call; " + message),
                ("docs/use-from-c.md", "fv_sequence_open(", "fv_llm *llm, fv_segments *segments, fv_stepper *stepper, const int32_t *tokens, "
                 "uint32_t count, const int32_t *ids) { fv_status status = FV_OK; fv_sequence *text, *question; fv_session_config config; " + message),
                ("docs/add-a-port.md", "fv_pattern_size(", "void *memory) { fv_status status = FV_OK; fv_pattern_config config; "
                 "fv_pattern *pattern; size_t bytes; ")):
            lines = re.search(r"^    %s(?:.*\n    )*.*\n" % re.escape(begins), text_of(SOURCE, *page.split("/")), re.M)
            self.assertIsNotNone(lines, "%s has no lines of C that begin with %s" % (page, begins))
            code = "#include <fovea/fovea.h>\n#include <fovea/reference/pattern.h>\nfv_status f(%s\n%sreturn status; }\n" % (
                declarations, lines.group(0).replace("}, ...}", "}}"))
            self.compile_as_told("lines", code, "cc -Wno-uninitialized $(pkg-config --cflags fovea) -c lines.c")

    def test_units_of_the_server(self):
        if "without a server" in run(os.path.abspath(sys.argv[1]), "serve", "--help"):
            self.skipTest("the program has no server")
        folder = os.path.join(self.prefix, "lib", "systemd", "system")
        self.assertEqual(sorted(os.listdir(folder)), ["fovea.service", "fovea.socket"])

    def test_man_pages_and_completion(self):
        """A page for each verb, which man reads without a warning where it is there; bash completes verbs and flags."""
        folder = glob.glob(os.path.join(self.prefix, "**", "man1"), recursive=True)[0]
        verbs = re.findall(r"^  ([a-z]+)  ", run(sys.argv[1], "--help"), re.M)
        self.assertEqual(set(os.listdir(folder)), {"fovea.1"} | {"fovea-%s.1" % verb for verb in verbs})
        for name in sorted(os.listdir(folder)):
            text = text_of(folder, name)
            self.assertRegex(text, r'^\.TH "FOVEA[-A-Z]*" 1 "" "fovea [\d.]+"')
            if shutil.which("groff"):
                self.assertEqual(run("groff", "-man", "-Tutf8", "-ww", "-z", os.path.join(folder, name)), "", name)
        if not shutil.which("bash"):
            self.skipTest("no bash: the man pages are right")
        script = ". %s; COMP_WORDS=(%s $0 $1); COMP_CWORD=$2; _fovea; echo ${COMPREPLY[*]}" % (
            glob.glob(os.path.join(self.prefix, "**", "completions", "fovea"), recursive=True)[0], os.path.abspath(sys.argv[1]))
        self.assertEqual(run("bash", "-c", script, "tok", "", "1").split(), ["tokenize"])
        self.assertIn("--ids", run("bash", "-c", script, "tokenize", "--i", "2").split())
        self.assertEqual(run("bash", "-c", script, "run", "--ignore", "2").split(), ["--ignore-eos"])

    def test_find_package(self):
        names = [("core", "libfovea_core.so.0", "OK"), ("whole", "libfovea.so.0", "fovea ")]
        if shutil.which(CXX):
            names.append(("cxx", "libfovea.so.0", "fovea "))
        build, _ = self.make("consumer", "-DCMAKE_PREFIX_PATH=" + self.prefix, "-DKINDS=default;shared;static", "-DWHOLE=ON",
                             "-DCXX=" + (CXX if len(names) == 3 else "OFF"), "-DCORE=" + os.path.join(SOURCE, "examples", "smoke.c"))
        for kind, shared in (("default", True), ("shared", True), ("static", False)):
            for name, library, says in names:
                program = os.path.join(build, kind, "%s_%s" % (name, kind))
                self.assertEqual(library in self.dynamic(program)[0], shared, program)
                self.works(program, says)
        if len(names) < 3:
            self.skipTest("no C++ compiler: from C it works")

    def test_core_alone(self):
        """Where there is no pkg-config module at all: the core builds as a part of another tree, installs, and is found."""
        nothing = os.path.join(self.folder, "nothing")
        os.makedirs(nothing, exist_ok=True)
        bare = {"PKG_CONFIG_LIBDIR": nothing, "PKG_CONFIG_PATH": ""}
        build, said = self.make("subproject", "-DFOVEA=" + SOURCE, "-DFV_INSTALL=ON", env=bare)
        self.assertIn("there is no utf8proc", said)
        self.works(os.path.join(build, "core_part"), "OK")
        prefix = os.path.join(self.folder, "core")
        run("cmake", "--install", build, "--prefix", prefix)
        installed = set(os.listdir(os.path.join(prefix, "include", "fovea")))
        self.assertIn("core.h", installed)
        self.assertEqual(installed & {"fovea.h", "session.h", "pool.h"}, set())
        smoke = "-DCORE=" + os.path.join(SOURCE, "examples", "smoke.c")
        build, _ = self.make("consumer", "-DCMAKE_PREFIX_PATH=" + prefix, "-DKINDS=static", "-DWHOLE=OFF", smoke, env=bare)
        self.works(os.path.join(build, "static", "core_static"), "OK")
        # By itself, with everything left to it: the core, loudly; and whoever insists hears what is missing.
        said = run("cmake", "-S", SOURCE, "-B", os.path.join(self.folder, "plain"), "-DCMAKE_C_COMPILER=" + CC, env=bare)
        self.assertIn("the core alone is built", " ".join(said.split()))
        said = run("cmake", "-S", SOURCE, "-B", os.path.join(self.folder, "plain"), "-DFV_HOSTED=ON", env=bare, code=1)
        self.assertIn("FV_HOSTED=ON asks for it", " ".join(said.split()))

    def test_refusals(self):
        """Another system than Linux, and flags under which results are not what they are said to be."""
        for options, sentence in ((["-DCMAKE_SYSTEM_NAME=FreeBSD"], "for Linux only"),
                                  (["-DCMAKE_C_FLAGS=-ffast-math"], "-ffast-math"),
                                  (["-DCMAKE_C_FLAGS=-ffinite-math-only"], "-ffinite-math-only"),
                                  (["-DCMAKE_C_FLAGS=-fassociative-math -fno-signed-zeros -fno-trapping-math"], "-fassociative-math")):
            build = tempfile.mkdtemp(prefix="refused-", dir=self.folder)
            said = run("cmake", "-S", SOURCE, "-B", build, "-DCMAKE_C_COMPILER=" + CC, *options, code=1)
            self.assertIn(sentence, " ".join(said.split()))
        build_h = os.path.join(SOURCE, "src", "build.h")
        for flag in ("-ffast-math", "-Ofast", "-ffinite-math-only"):  # without CMake, say the core as one file
            self.assertIn("makes its results wrong", run(CC, flag, "-fsyntax-only", "-x", "c", build_h, code=1))
        posix = os.path.join(SOURCE, "src", "platform", "posix", "pages.c")
        includes = ["-I", os.path.join(SOURCE, "src"), "-I", os.path.join(SOURCE, "include")]
        self.assertIn("Linux only", run(CC, "-U__linux__", "-fsyntax-only", *includes, posix, code=1))

    def test_debian_packages(self):
        for tool in ("dpkg-deb", "dpkg-shlibdeps", "file", "cpack"):
            if not shutil.which(tool):
                self.skipTest("no %s" % tool)
        folder = os.path.join(self.folder, "deb")
        run("cpack", "-G", "DEB", "--config", os.path.join(BUILD, "CPackConfig.cmake"), "-B", folder, cwd=self.folder)
        packages = {os.path.basename(path).split("_")[0]: path for path in glob.glob(os.path.join(folder, "*.deb"))}
        self.assertEqual(set(packages), {"fovea", "libfovea0", "libfovea-dev"})
        depends = {name: run("dpkg-deb", "-f", path, "Depends") for name, path in packages.items()}
        self.assertIn("libutf8proc", depends["libfovea0"])
        self.assertIn("libc6", depends["libfovea0"])
        self.assertIn("libjansson", depends["fovea"])
        self.assertIn("libfovea0 (= ", depends["libfovea-dev"])
        contents = {name: run("dpkg-deb", "-c", path) for name, path in packages.items()}
        for name, file in (("fovea", r"/usr/bin/fovea\n"), ("fovea", r"/man1/fovea-run\.1\n"), ("libfovea0", r"/libfovea\.so\.0 -> "),
                           ("libfovea0", r"/libfovea_core\.so\.0 -> "), ("libfovea-dev", r"/fovea/fovea\.h\n"),
                           ("libfovea-dev", r"/libfovea\.so -> "), ("libfovea-dev", r"/libfovea\.a\n"),
                           ("libfovea-dev", r"/pkgconfig/fovea-core\.pc\n"), ("libfovea-dev", r"/foveaConfig\.cmake\n"),
                           ("libfovea-dev", r"/usr/share/doc/libfovea-dev/copyright\n")):
            self.assertRegex(contents[name], file)
        self.assertIn("activate-noawait ldconfig", run("dpkg-deb", "-I", packages["libfovea0"], "triggers"))
        self.assertIn("libfovea_core 0 libfovea0 ", run("dpkg-deb", "-I", packages["libfovea0"], "shlibs"))
        root = os.path.join(self.folder, "root")
        for path in packages.values():
            run("dpkg-deb", "-x", path, root)
        self.assertIn("fovea ", run(os.path.join(root, "usr", "bin", "fovea"), "--version"))


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: %s BUILD/fovea SOURCE_FOLDER" % sys.argv[0])
    if cached("FV_SANITIZE") == "ON" or "-fsanitize" in cached("CMAKE_C_FLAGS"):
        print("skipped: programs outside of the tree would need the sanitizer's flags")
        sys.exit(77)
    if cached("CMAKE_SYSTEM_PROCESSOR"):
        print("skipped: built for another processor")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])


if __name__ == "__main__":
    main()
