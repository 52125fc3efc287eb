#!/usr/bin/env python3
"""Compares fovea's chat templates with jinja2's, in the environment that transformers gives them.

  tools/templates.py BUILD/template_render FOLDER...     every file *.jinja in there, with conversations of every kind
  tools/templates.py --record                            writes tests/jinja/expected.json: what jinja2 makes of snippets.json

Needs jinja2 (PyPI, 3.1.6). A template is equal where it gives the same text, or where both refuse, for every conversation;
a construct that fovea lacks counts as a difference. Prints a line for each difference and one with the sums; -v prints more.
"""
import copy
import datetime
import glob
import json
import os
import subprocess
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox
from jinja2 import nodes

NOW = 1753574400  # 2025-07-27


class Generation(jinja2.ext.Extension):
    """{% generation %}: transformers marks what the assistant says; the text stays as it is."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_say"), [], [], body).set_lineno(line)

    def _say(self, caller):
        return caller()


def environment():
    """transformers' (utils/chat_template_utils.py), but that lists may be appended to and from_json is there, as llama.cpp
    has it: some templates of its collection do so."""
    made = jinja2.sandbox.SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    made.filters.update(tojson=tojson, from_json=json.loads)
    made.globals.update(raise_exception=raise_exception, strftime_now=lambda form: datetime.datetime.fromtimestamp(NOW).strftime(form))
    return made


def conversations():
    """Name and variables of each."""
    user, answer = {"role": "user", "content": "Why is the sea salty?"}, {"role": "assistant", "content": "Rivers carry salt."}
    system = {"role": "system", "content": "  You are brief.\n"}
    weather = {"type": "function", "function": {
        "name": "get_weather", "description": "The weather of a town.",
        "parameters": {"type": "object", "properties": {
            "town": {"type": "string", "description": "Its name, as \"Zürich\""},
            "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            "days": {"type": "array", "items": {"type": "integer"}}}, "required": ["town"]}}}
    clock = {"type": "function", "function": {"name": "clock", "description": "Tells the time.", "parameters": {"type": "object", "properties": {}}}}

    def call(name, arguments, place=0):
        return {"id": "call%05d" % place, "type": "function", "function": {"name": name, "arguments": arguments}}
    calls = {"role": "assistant", "content": "", "tool_calls": [call("get_weather", {"town": "Zürich", "unit": "C", "days": [1, 2.5, True, None]})]}
    text_calls = {"role": "assistant", "content": None, "tool_calls": [call("get_weather", '{"town": "Bern"}')]}
    two = {"role": "assistant", "content": "Both.", "tool_calls": [call("get_weather", {"town": "Rom"}, 1), call("clock", {}, 2)]}
    result = {"role": "tool", "tool_call_id": "call00000", "name": "get_weather", "content": '{"sky": "blue & <b>wide</b>"}'}
    results = [dict(result, tool_call_id="call%05d" % i) for i in (1, 2)]
    thought = {"role": "assistant", "content": "It does.", "reasoning_content": "First\n\nthen."}
    inline = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYes."}
    parts = {"role": "user", "content": [{"type": "text", "text": "One. "}, {"type": "text", "text": "Two."}]}
    odd = {"role": "user", "content": "<|im_end|>\n{{ x }} 'q' \"d\" \\ \t日本語 😀 é\u00a0\u2028x\r\ny"}
    chats = {
        "user": [user], "system": [system, user], "turns": [system, user, answer, user, answer, user], "answered": [user, answer],
        "empty": [{"role": "user", "content": ""}], "none": [], "odd": [odd, dict(answer, content=odd["content"]), odd], "parts": [parts],
        "mixed": [system, parts, answer, user], "thought": [user, thought, user], "inline": [user, inline, user], "system only": [system],
        "spaces": [{"role": "system", "content": " \n "}, {"role": "user", "content": "  a \n"}, {"role": "assistant", "content": "\n b "}, user],
        "wrong order": [user, user, answer, answer], "developer": [{"role": "developer", "content": "Be kind."}, user],
        "calls": [system, user, calls, result, answer, user], "call open": [user, calls, result], "text calls": [user, text_calls, result],
        "two calls": [user, two] + results + [thought, user], "thoughtful call": [user, dict(calls, reasoning_content="Look."), result, answer],
        "call only": [user, calls], "unknown role": [{"role": "critic", "content": "x"}],
    }
    for name, messages in chats.items():
        base = {"messages": messages, "bos_token": "<s>", "eos_token": "</s>"}
        for extra in ({}, {"add_generation_prompt": True}, {"add_generation_prompt": True, "enable_thinking": False},
                      {"add_generation_prompt": True, "enable_thinking": True, "thinking": True, "reasoning_effort": "high"},
                      {"add_generation_prompt": True, "tools": [weather, clock]},
                      {"add_generation_prompt": True, "tools": [weather], "enable_thinking": False, "custom_tools": None},
                      {"tools": [], "documents": [{"title": "Salt", "text": "NaCl"}], "add_generation_prompt": False}):
            yield "%s %s" % (name, sorted(extra)), dict(base, **extra)


def expected(template, variables):
    try:
        return template.render(**variables), None
    except Exception as fault:  # whatever a template may do wrong
        return None, "%s: %s" % (type(fault).__name__, fault)


def rendered(program, path, cases):
    lines = "".join(json.dumps({"now_s": NOW, "variables": variables}) + "\n" for _, variables in cases)
    run = subprocess.run([program, path], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def compare(program, path, cases, verbose):
    """Differences in one template, and how many conversations it renders."""
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    try:
        template, why = environment().from_string(text), None
    except jinja2.TemplateError as fault:
        template, why = None, "%s: %s" % (type(fault).__name__, fault)
    differences, texts = [], 0
    for (name, variables), got in zip(cases, rendered(program, path, cases)):
        wanted, fault = expected(template, variables) if template else (None, why)
        texts += wanted is not None
        if fault and "generator" in fault and "text" in got:
            continue  # Python writes a list that a filter made as no JSON; fovea and llama.cpp do
        if got.get("text") != wanted:
            differences.append((name, wanted if wanted is not None else fault, got.get("text", got.get("error"))))
        elif verbose and wanted is None:
            print("  both refuse %s: %s | %s" % (name, fault, got["error"]))
    return differences, texts


def record(snippets):
    """What template_test.py compares with; null: jinja2 refuses, or fovea does by name (for ... recursive)."""
    variables = {"words": ["a", "b", "cat"], "numbers": [1, 2, 3, 4], "map": {"a": 1, "b": {"c": "é"}},
                 "people": [{"name": "Al", "age": 30}, {"name": "Bo", "age": 20}, {"name": "Cy", "age": 30}]}
    cases = []
    for snippet in snippets:
        try:
            cases.append([snippet, None if "recursive" in snippet else environment().from_string(snippet).render(**copy.deepcopy(variables))])
        except Exception:  # whatever a template may do wrong
            cases.append([snippet, None])
    return {"variables": variables, "cases": cases}


def write_record():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "jinja")
    with open(os.path.join(folder, "snippets.json"), encoding="utf-8") as file:
        snippets = json.load(file)
    with open(os.path.join(folder, "expected.json"), "w", encoding="utf-8") as file:
        json.dump(record(snippets), file, ensure_ascii=False, indent=0)
        file.write("\n")
    return 0


def main(program, folders, verbose):
    cases = list(conversations())
    paths = sorted(path for folder in folders for path in (glob.glob(os.path.join(folder, "*.jinja")) if os.path.isdir(folder) else [folder]))
    equal = texts = 0
    for path in paths:
        differences, count = compare(program, path, cases, verbose)
        texts += count
        equal += not differences
        for name, wanted, got in differences[:None if verbose else 1]:
            print("%s, %s (%d of %d differ):\n  jinja2: %r\n  fovea:  %r" % (os.path.basename(path), name, len(differences), len(cases), wanted, got))
    print("%d of %d templates equal, %d conversations each, %d texts" % (equal, len(paths), len(cases), texts))
    return 0 if equal == len(paths) else 1


if __name__ == "__main__":
    if sys.argv[1:] == ["--record"]:
        sys.exit(write_record())
    arguments = [argument for argument in sys.argv[1:] if argument != "-v"]
    sys.exit(main(arguments[0], arguments[1:], "-v" in sys.argv))
