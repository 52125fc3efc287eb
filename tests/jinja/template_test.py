#!/usr/bin/env python3
"""Templates of our own against what jinja2 made of them (expected.json, written by tools/templates.py --record from
snippets.json), each a few constructs; and against jinja2 itself where it is installed.

Called as: template_test.py BUILD/fovea SOURCE_FOLDER.
"""
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE, PROGRAM = None, None
# What this version refuses by name and jinja2 does.
REFUSED = {"{%- for m in people recursive %}{% endfor %}": "line 1: for ... recursive is not in this version"}


def rendered(template, variables):
    with tempfile.NamedTemporaryFile("w", suffix=".jinja", encoding="utf-8", newline="") as file:
        file.write(template)
        file.flush()
        line = json.dumps({"now_s": 1753574400, "variables": variables}) + "\n"
        run = subprocess.run([PROGRAM, file.name], input=line.encode(), stdout=subprocess.PIPE, check=True, env=dict(os.environ, TZ="UTC"))
    return json.loads(run.stdout)


class Templates(unittest.TestCase):
    def test_equal_what_jinja2_made(self):
        with open(os.path.join(SOURCE, "tests/jinja/expected.json"), encoding="utf-8") as file:
            recorded = json.load(file)
        self.assertGreater(len(recorded["cases"]), 80)
        for template, wanted in recorded["cases"]:
            with self.subTest(template=template):
                got = rendered(template, recorded["variables"])
                self.assertEqual(got.get("text"), wanted, got.get("error"))
                if template in REFUSED:
                    self.assertEqual(got["error"], REFUSED[template])

    def test_the_record_is_of_these_snippets(self):
        with open(os.path.join(SOURCE, "tests/jinja/snippets.json"), encoding="utf-8") as file:
            snippets = json.load(file)
        with open(os.path.join(SOURCE, "tests/jinja/expected.json"), encoding="utf-8") as file:
            self.assertEqual([template for template, _ in json.load(file)["cases"]], snippets)

    def test_equal_jinja2_itself(self):
        try:
            import jinja2
        except ImportError:
            self.skipTest("jinja2 is not installed: compared with its record only")
        if jinja2.__version__ != "3.1.6":
            self.skipTest("jinja2 %s is another than that of the record" % jinja2.__version__)
        sys.path.insert(0, os.path.join(SOURCE, "tools"))
        import templates
        with open(os.path.join(SOURCE, "tests/jinja/expected.json"), encoding="utf-8") as file:
            recorded = json.load(file)
        os.environ["TZ"] = "UTC"
        time.tzset()
        self.assertEqual(templates.record([template for template, _ in recorded["cases"]]), recorded)

    def test_a_fault_names_line_and_construct(self):
        for template, wanted in (("a\n\n{% do x %}", "line 3: {% do %} is not in this version"),
                                 ("{% include 'x' %}", "line 1: {% include %} is not in this version"),
                                 ("\n{{ x|sorted }}", "line 2: the filter sorted is not in this version"),
                                 ("{{ 'x' is odder }}", "line 1: the test odder is not in this version"),
                                 ("{{ 'x'.casefold() }}", "line 1: the method casefold() is not in this version"),
                                 ("{{ f(*x) }}", "line 1: arguments by * and ** are not in this version"),
                                 ("\n\n{{ lipsum() }}", "line 3: lipsum() is not in this version"),
                                 ("{% if x %}\n", "line 1: elif else endif is missing at the end"),
                                 ("{{ raise_exception('one at a time') }}", "the chat template says: one at a time")):
            with self.subTest(template=template):
                self.assertEqual(rendered(template, {}).get("error"), wanted)


if __name__ == "__main__":
    PROGRAM, SOURCE = os.path.join(os.path.dirname(sys.argv[1]), "template_render"), sys.argv[2]
    del sys.argv[1:3]
    unittest.main()
