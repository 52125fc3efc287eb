#!/usr/bin/env python3
"""What `make demo` does once the program is built: a model reads one long document twice, densely and with `fovea`, and
answers the same questions each time; then both are shown side by side, with the passages that an answer read.

    tools/demo.py BUILD

Environment: FOVEA_MODEL (another GGUF file), DEMO_TOKENS (size of the document with a question, default 7000), THREADS
(default: one), DEMO_ATTENTION (default: fovea). Standard library only.
"""
import collections
import json
import os
import subprocess
import sys
import textwrap

HERE = os.path.dirname(os.path.abspath(__file__))
SMOLLM2 = os.path.join("models", "SmolLM2-135M-Instruct.Q4_1.gguf")
MORE = 'What does the "break" statement do? Answer in one sentence from the text above.'
ANSWER_TOKENS = 96


def say(text=""):
    print(text, file=sys.stderr, flush=True)


def call(command, quiet=False):
    """What a command printed. Its progress and messages go to the terminal, unless it is to be quiet."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if quiet else None, universal_newlines=True)
    if done.returncode:
        sys.exit("%s: failed (exit %d)" % (" ".join(command), done.returncode))
    return done.stdout


def model_file():
    model = os.environ.get("FOVEA_MODEL")
    if model:
        if not os.access(model, os.R_OK):
            sys.exit("FOVEA_MODEL: cannot read %s" % model)
        return model
    if not os.path.exists(SMOLLM2):
        call([os.path.join(HERE, "install.sh"), "model"])
    call([sys.executable, os.path.join(HERE, "model.py"), "smollm2"])
    return SMOLLM2


def document(fovea, model, folder):
    """A file with the document alone, and the question that its maker ends it with."""
    path = os.path.join(folder, "demo_document.txt")
    call([sys.executable, os.path.join(HERE, "document.py"), "--fovea", fovea, "--model", model, "--tokens",
          os.environ.get("DEMO_TOKENS", "7000"), "--out", path])
    with open(path, encoding="utf-8") as file:
        text, _, question = file.read().rstrip("\n").rpartition("\n\n")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n\n")
    return path, question


class Reader:
    """One policy: it reads the document once, keeps the session, and answers from it."""
    def __init__(self, fovea, model, attention, session):
        self.attention, self.session, self.read = attention, session, None
        self.flags = ["-m", model, "-t", os.environ.get("THREADS", "1")]
        self.fovea = fovea

    def read_document(self, path):
        say("\nreading the document, attention %s" % self.attention)
        self.read = json.loads(call([self.fovea, "read", *self.flags, "-f", path, "--chat", "--attention", self.attention,
                                     "-o", self.session, "--json"]))

    def ask(self, question, *flags):
        return json.loads(call([self.fovea, "run", *self.flags, "--session", self.session, "-p", question, "-st", "--temp", "0",
                                "-n", str(ANSWER_TOKENS), "--json", *flags], quiet=True))


def passages(answer, count=3):
    """The passages that the words of an answer read most, over all of its words, with their share."""
    shares, texts = collections.Counter(), {}
    for word in answer.get("reads", []):
        for passage in word["passages"]:
            shares[passage["position"]] += passage["share"]
            texts[passage["position"]] = passage["text"]
    total = len(answer.get("reads", [])) or 1
    return [(position, share / total, " ".join(texts[position].split())) for position, share in shares.most_common(count)]


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  %-*s  %*s  %*s" % (widths[0], row[0], widths[1], row[1], widths[2], row[2]))


def report(readers, questions, answers):
    print("\nOne document, read and asked twice")
    table([("", *(reader.attention for reader in readers)),
           ("tokens read", *("%d" % reader.read["tokens"] for reader in readers)),
           ("seconds to read them", *("%.1f" % reader.read["seconds"] for reader in readers)),
           ("tokens/s of the answers", *("%.1f" % speed(answers[reader]) for reader in readers)),
           ("keys read for a token", *("%.0f %%" % (100 * answers[reader][0]["density"]) for reader in readers)),
           ("keys and values read for a token", *("%.1f MB" % (answers[reader][0]["bytes_per_token"] / 1e6) for reader in readers)),
           ("seconds to the second question's first token",
            *("%.2f" % answers[reader][1]["prompt"]["seconds"] for reader in readers))])
    for number, question in enumerate(questions):
        print("\nQuestion: %s" % question)
        for reader in readers:
            text = " ".join(answers[reader][number]["text"].split())
            print(textwrap.fill("%s: %s" % (reader.attention, text), 100, initial_indent="  ", subsequent_indent="    "))


def speed(answers):
    return sum(answer["decode"]["tokens"] for answer in answers) / sum(answer["decode"]["seconds"] for answer in answers)


def main():
    build = sys.argv[1]
    fovea = os.path.join(build, "fovea")
    model = model_file()
    path, question = document(fovea, model, build)
    questions = [question, MORE]
    readers = [Reader(fovea, model, attention, os.path.join(build, "demo-%s.fovea" % name))
               for name, attention in (("dense", "dense"), ("sparse", os.environ.get("DEMO_ATTENTION", "fovea")))]
    answers = {}
    for reader in readers:
        reader.read_document(path)
        say("asking it %d questions" % len(questions))
        answers[reader] = [reader.ask(question) for question in questions]
    report(readers, questions, answers)
    say("\nlooking up what the first answer read")
    print("\nWhat the first answer of %s read most, sinks and nearest tokens left out" % readers[1].attention)
    for position, share, text in passages(readers[1].ask(question, "--show-reads")):
        print("  %4.1f %% at token %5d: %s" % (100 * share, position, text))
    print("\nTry next:")
    print("  %s run -m %s --session %s -p \"What is a lambda?\"    # the document is read already" % (fovea, model, readers[1].session))
    print("  %s run -m %s -f YOUR.txt --attention fovea               # a text of your own, its question at the end" % (fovea, model))
    print("  %s ppl -m %s -f %s -c 4096 --attention fovea   # what it costs in quality" % (fovea, model, path))


if __name__ == "__main__":
    main()
