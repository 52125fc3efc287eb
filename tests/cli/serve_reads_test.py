#!/usr/bin/env python3
"""Checks `fovea.reads` of the server: what tokens are said to have read is what `run --show-reads` says, in any shape and company.

Called as: serve_reads_test.py BUILD/fovea SOURCE_FOLDER [unittest arguments].
"""
import json
import os

from cli_runner import TEXT, model, run
from serve_answers_test import together
from serve_runner import ServeTest, main, tiny_model

PROMPT = TEXT * 6
CHOOSING = "fovea:budget=0.3,window=16,sinks=16,dense-below=0"
SPACE = " \t\n\v\f\r"
ALL = {"attention": CHOOSING, "reads": {"passages": 64}}


def words_of(reads):
    """Lists of tokens' entries, a word each: it begins with white space, as in `run --show-reads`."""
    words = []
    for entry in reads:
        begins = entry["token"][:1] in SPACE and (not words or "".join(other["token"] for other in words[-1]).strip(SPACE))
        if begins or not words:
            words.append([])
        words[-1].append(entry)
    return words


def means(word):
    """{position: share}, the mean over the word's tokens."""
    shares = {}
    for entry in word:
        for passage in entry["passages"]:
            shares[passage["position"]] = shares.get(passage["position"], 0) + passage["share"] / len(word)
    return shares


class ReadsTest(ServeTest):
    flags = ("-np", "3", "-c", "1536")

    @classmethod
    def path(cls):
        return model("llama_f32")

    def complete(self, **fields):
        status, answer = self.server.post("/v1/completions", dict({"prompt": PROMPT, "max_tokens": 12, "temperature": 0, "ignore_eos": True, "fovea": ALL}, **fields))
        self.assertEqual(status, 200, answer)
        return answer["choices"][0]

    def test_the_same_passages_as_run(self):
        path = os.path.join(self.folder.name, "text")
        with open(path, "w") as file:
            file.write(PROMPT)
        done = run("run", "-m", self.path(), "-f", path, "-n", "12", "--temp", "0", "--json", "--ignore-eos", "-no-cnv", "--show-reads",
                   "--attention", CHOOSING)
        wanted = json.loads(done.stdout.decode("utf-8", "replace"))["reads"]
        words = words_of(self.complete()["reads"])
        self.assertEqual(len(words), len(wanted))
        for word, other in zip(words, wanted):
            shares, passages = means(word), other["passages"]
            self.assertGreater(len(passages), 0)
            for passage in passages:  # at an edge of a word's newest pages a token may have one more or less
                self.assertAlmostEqual(shares.get(passage["position"], 0), passage["share"], delta=1e-5)

    def test_places_are_of_the_prompt_and_the_answer(self):
        answer = self.complete(max_tokens=120)
        text = PROMPT + answer["text"]
        pieces = [entry["piece"] for entry in self.server.post("/tokenize", {"content": PROMPT, "with_pieces": True, "add_special": True})[1]["tokens"]]
        seen = {}
        for entry in answer["reads"]:
            self.assertLess(sum(passage["share"] for passage in entry["passages"]), 1)
            for passage in entry["passages"]:
                seen[passage["position"]] = text[passage["begin"]:passage["end"]]
        self.assertGreater(len(seen), 8)
        self.assertGreater(max(seen), 200)  # the answer's own first tokens, too
        for position, passage in seen.items():
            if position + 16 <= len(pieces):
                self.assertEqual(passage, "".join(pieces[position:position + 16]))

    def test_characters_are_not_bytes(self):
        prompt = "Ünï " * 40
        answer = self.complete(prompt=prompt)
        seen = [passage for entry in answer["reads"] for passage in entry["passages"]]
        self.assertTrue(seen)
        for passage in seen:
            self.assertTrue(0 < passage["begin"] < passage["end"] <= len(prompt) + len(answer["text"]))
            self.assertLess(abs(passage["begin"] * 6 / 4 - passage["position"]), 24)

    def test_any_shape_and_company(self):
        ask = {"prompt": PROMPT, "n_predict": 12, "temperature": 0, "ignore_eos": True, "fovea": ALL}
        wanted = self.complete()
        others = [lambda: self.complete(fovea={"attention": CHOOSING}), self.complete, lambda: self.complete(prompt="in the inn " * 20),
                  lambda: self.complete(n=2)]
        plain, same, _, two = together(*others)
        self.assertEqual((same["text"], same["reads"]), (wanted["text"], wanted["reads"]))
        self.assertEqual((two["text"], two["reads"]), (wanted["text"], wanted["reads"]))
        self.assertEqual(plain["text"], wanted["text"])  # bits are as without
        self.assertNotIn("reads", plain)
        for fields in ({}, {"echo": True}):
            events = self.server.stream("/v1/completions", {"prompt": PROMPT, "max_tokens": 12, "temperature": 0, "ignore_eos": True, "fovea": ALL, **fields})
            told = [entry for event in events if event != "[DONE]" for choice in event["choices"] for entry in choice.get("reads", ())]
            self.assertEqual(told, wanted["reads"], fields)
        whole = self.server.post("/completion", ask)[1]
        events = self.server.stream("/completion", ask)
        self.assertEqual(whole["reads"], wanted["reads"])
        self.assertEqual([entry for event in events for entry in event.get("reads", ())], wanted["reads"])

    def test_a_stop_text_has_read_nothing(self):
        whole = self.complete()
        pieces = [entry["token"] for entry in whole["reads"]]
        stop = next(piece for piece in pieces[1:] if "\ufffd" not in piece)
        cut = self.complete(stop=[stop])
        count = pieces.index(stop)
        self.assertEqual(cut["text"], "".join(pieces[:count]))
        self.assertEqual(cut["reads"], whole["reads"][:count])

    def test_layers(self):
        reads = self.complete(fovea={"attention": CHOOSING, "reads": {"layers": True, "passages": 3}})["reads"]
        for entry in reads:
            self.assertEqual(len(entry["layers"]), 2)
            self.assertLessEqual(len(entry["passages"]), 3)
            for passages in entry["layers"]:
                shares = [passage["share"] for passage in passages]
                self.assertEqual(shares, sorted(shares, reverse=True))
                self.assertLess(sum(shares), 1)
        for position, share in {passage["position"]: passage["share"] for passage in reads[-1]["passages"]}.items():
            layers = [passage["share"] for passages in reads[-1]["layers"] for passage in passages if passage["position"] == position]
            self.assertLessEqual(share, max(layers, default=1) + 1e-6)  # a mean of the layers' shares

    def test_refusals(self):
        for reads, says in ((1, "fovea.reads"), ("all", "fovea.reads"), ({"passages": 0}, "fovea.reads.passages"), ({"passages": 65}, "64"),
                            ({"layers": 1}, "fovea.reads.layers"), ({"layer": True}, "layers")):
            self.refused(400, "/v1/completions", {"prompt": "a", "fovea": {"reads": reads}}, says)
        self.assertNotIn("reads", self.complete(fovea={"reads": False}))
        self.assertEqual(max(len(entry["passages"]) for entry in self.complete(fovea={"reads": True})["reads"]), 8)


class ChatReadsTest(ServeTest):
    flags = ("-np", "1", "-c", "512")

    @classmethod
    def path(cls):
        return tiny_model(cls.folder.name)

    def test_chat(self):
        turns = [{"role": "user", "content": "abcdefghij" * 20}]
        ask = {"messages": turns, "max_tokens": 6, "seed": 1, "ignore_eos": True, "fovea": {"reads": True}}
        prompt = self.server.post("/apply-template", {"messages": turns})[1]["prompt"]
        status, answer = self.server.post("/v1/chat/completions", ask)
        self.assertEqual(status, 200, answer)
        whole = answer["choices"][0]
        self.assertEqual(len(whole["reads"]), 6)
        for entry in whole["reads"]:
            for passage in entry["passages"]:
                text = prompt[passage["begin"]:passage["end"]]
                tokens = self.server.post("/tokenize", {"content": text})[1]["tokens"]
                self.assertEqual(len(tokens), 16, text)
        events = self.server.stream("/v1/chat/completions", ask)
        told = [entry for event in events if event != "[DONE]" for choice in event["choices"] for entry in choice.get("reads", ())]
        self.assertEqual(told, whole["reads"])


if __name__ == "__main__":
    main()
