#!/usr/bin/env python3
"""Writes the prompt of `make demo`: a long document followed by a question about something in it.

    tools/document.py --fovea build/fovea --model FILE --out FILE [--tokens 7000]

The document is the reference of Python's statements, which every full Python installation carries (pydoc_data); without
it, the help texts of the built-in types. It is cut at the end of a paragraph so that the whole prompt has about --tokens
tokens of the model (never more), counted with `fovea tokenize`. Standard library only.
"""
import argparse
import json
import subprocess
import sys

TOPICS = ["pass", "assert", "del", "return", "break", "continue", "global", "nonlocal", "if", "while", "for", "with",
          "raise", "try", "import", "lambda", "booleans", "integers", "floating", "numbers", "lists", "dict",
          "context-managers", "exceptions", "class", "function", "comparisons", "calls", "naming"]
# Without the document the demo's small model gets this one wrong.
QUESTION = 'What does the "pass" statement do? Answer in one sentence from the text above.'
HELP_QUESTION = 'What does the method "append" of a list do? Answer in one sentence from the text above.'
ROOM = 256  # tokens that the chat template and the answer take


def reference_text():
    """The statements first, then all that is left: enough for any prompt size."""
    import pydoc_data.topics

    topics = pydoc_data.topics.topics
    names = [name for name in TOPICS if name in topics] + sorted(set(topics) - set(TOPICS))
    return "\n\n".join(topics[name].strip() for name in names)


def help_text():
    import builtins
    import pydoc

    kinds = [list, dict, str, set, tuple, bytes, int, float]
    kinds += [kind for _, kind in sorted(vars(builtins).items()) if isinstance(kind, type) and kind not in kinds]
    return "\n\n".join(pydoc.plain(pydoc.render_doc(kind)).strip() for kind in kinds)


def run(command, text=None):
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, universal_newlines=True)
    if done.returncode != 0:
        sys.exit("%s: %s failed" % (sys.argv[0], " ".join(command[:2])))
    return done.stdout


def context_of(fovea, model):
    """The context that the model was trained for, or None if the file does not say."""
    for entry in json.loads(run([fovea, "inspect", "-m", model, "--json"]))["metadata"]:
        if entry["key"].endswith(".context_length"):
            return entry["value"]
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fovea", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--tokens", type=int, default=7000)
    options = parser.parse_args()
    try:
        text, question, source = reference_text(), QUESTION, "Python's own language reference (pydoc_data)"
    except ImportError:
        text, question, source = help_text(), HELP_QUESTION, "the help texts of Python's built-in types"

    def count(prompt):
        ids = run([options.fovea, "tokenize", "-m", options.model, "--stdin", "--ids"], prompt)
        return ids.count(",") + 1

    wanted = options.tokens
    context = context_of(options.fovea, options.model)
    if context and wanted > context - ROOM:
        wanted = context - ROOM
        print("the model was trained for %d tokens: the prompt gets %d, not %d" % (context, wanted, options.tokens),
              file=sys.stderr)

    def prompt_of(length):
        end = text.rfind("\n\n", 0, length) if length < len(text) else len(text)
        return text[:max(end, 0)].rstrip() + "\n\n" + question + "\n"

    low, high = 0, min(len(text), 8 * wanted)  # characters; a prompt of `low` fits, one of `high` is taken as too long
    tokens = count(prompt_of(low))
    if tokens > wanted:
        sys.exit("%s: --tokens %d is less than the question alone (%d)" % (sys.argv[0], wanted, tokens))
    while high - low > 64:
        middle = (low + high) // 2
        got = count(prompt_of(middle))
        if got <= wanted:
            low, tokens = middle, got
        else:
            high = middle
    with open(options.out, "w", encoding="utf-8") as file:
        file.write(prompt_of(low))
    print("document: %s, %d tokens with the question, in %s" % (source, tokens, options.out), file=sys.stderr)


if __name__ == "__main__":
    main()
