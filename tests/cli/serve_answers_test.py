#!/usr/bin/env python3
"""Checks the answers of `fovea serve`: that they are the model's, whatever shape, stream, stop text or company they come in.

Called as: serve_answers_test.py BUILD/fovea SOURCE_FOLDER [unittest arguments].
"""
import json
import math
import os
import tempfile
import threading
import time
import unittest

from cli_runner import MODELS, model, run
from serve_runner import Server, ServeTest, main, tiny_model

PROMPT = "Anna went to the"
LONG = {"llama.context_length": 1 << 20}


def text_of(events):
    return "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for event in events if event != "[DONE]"
                   for choice in event.get("choices", ()))


def together(*calls):
    """Results of functions that run at the same time."""
    results = [None] * len(calls)

    def call(index):
        results[index] = calls[index]()
    threads = [threading.Thread(target=call, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class StoryTest(ServeTest):
    """A model that writes sentences."""
    flags = ("-np", "3", "-c", "768")

    def complete(self, **fields):
        status, answer = self.server.post("/v1/completions", dict({"prompt": PROMPT, "max_tokens": 24, "temperature": 0}, **fields))
        self.assertEqual(status, 200, answer)
        return answer

    def test_the_same_text_as_run(self):
        wanted = run("run", "-m", model("story"), "-p", PROMPT, "-n", "24", "--temp", "0", "-no-cnv", "--no-display-prompt").stdout.decode()
        answer = self.complete()
        self.assertEqual(answer["choices"][0]["text"] + "\n", wanted)
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")
        self.assertEqual(answer["usage"]["completion_tokens"], 24)
        own = self.server.post("/completion", {"prompt": PROMPT, "n_predict": 24, "temperature": 0})[1]
        self.assertEqual((own["content"] + "\n", own["stop_type"], own["tokens_predicted"]), (wanted, "limit", 24))

    def test_a_question_reads_everything_as_in_run(self):
        prompt = "Anna went to the inn. Ben came to the mill. " * 8 + PROMPT

        def texts(attention):
            own = run("run", "-m", model("story"), "-p", prompt, "-n", "24", "--temp", "0", "-no-cnv", "--no-display-prompt",
                      "--attention", attention).stdout.decode()
            return own, self.complete(prompt=prompt, fovea={"attention": attention})["choices"][0]["text"] + "\n"
        with_question, without = texts("window:window=4,sinks=0,question=9"), texts("window:window=4,sinks=0")
        self.assertEqual(with_question[0], with_question[1])
        self.assertEqual(without[0], without[1])
        self.assertNotEqual(with_question[0], without[0])

    def test_another_question_has_the_text_that_it_has_alone(self):
        text = "Anna went to the inn. Ben came to the mill. " * 8
        asks = [text + PROMPT, text + "Ben", text + PROMPT, text + PROMPT + " mill. Ben came", text + "Anna went to the mill."]
        narrow = {"attention": "window:window=4,sinks=0,question=30"}

        def answer(prompt, **fields):
            found = self.complete(prompt=prompt, fovea=narrow, **fields)
            return found["choices"][0]["text"], found["fovea"]["reused_tokens"]
        asks.extend(text[:-cut] for cut in (1, 5, 9, 14, 21, 30))
        alone = [answer(prompt, cache_prompt=False)[0] for prompt in asks]
        for _ in range(2):
            found = [answer(prompt) for prompt in asks]
            self.assertEqual([one[0] for one in found], alone)
        self.assertTrue(all(one[1] > 40 for one in found), found)
        self.assertEqual([one[0] for one in together(*(lambda prompt=prompt: answer(prompt) for prompt in asks))], alone)
        longer = text + PROMPT + alone[0] + " Ben"  # a conversation that goes on
        self.assertEqual(answer(longer)[0], answer(longer, cache_prompt=False)[0])

    def test_a_stream_has_the_same_text(self):
        whole = self.complete()["choices"][0]["text"]
        events = self.server.stream("/v1/completions", {"prompt": PROMPT, "max_tokens": 24, "temperature": 0,
                                                        "stream_options": {"include_usage": True}})
        self.assertEqual(events[-1], "[DONE]")
        self.assertEqual(text_of(events), whole)
        self.assertEqual(events[-2]["choices"], [])
        self.assertEqual(events[-2]["usage"]["completion_tokens"], 24)
        self.assertEqual(events[-3]["choices"][0]["finish_reason"], "length")
        self.assertGreater(len(events), 10)
        own = self.server.stream("/completion", {"prompt": PROMPT, "n_predict": 24, "temperature": 0})
        self.assertEqual("".join(event["content"] for event in own), whole)
        self.assertEqual([event["stop"] for event in own], [False] * (len(own) - 1) + [True])
        self.assertEqual(sum(len(event["tokens"]) for event in own), 24)

    def test_stop_texts_end_anywhere_in_tokens(self):
        whole = self.complete()["choices"][0]["text"]
        for begin in range(3, len(whole) - 6):
            stop = whole[begin:begin + 5]
            answer = self.complete(stop=[stop, "nowhere in it"])["choices"][0]
            self.assertEqual((answer["text"], answer["finish_reason"]), (whole[:whole.index(stop)], "stop"), stop)
            if begin % 4 == 0:
                self.assertEqual(text_of(self.server.stream("/v1/completions", {"prompt": PROMPT, "max_tokens": 24, "temperature": 0,
                                                                                "stop": stop})), answer["text"])

    def test_a_seed_gives_the_same_text_in_company(self):
        def ask(seed, prompt=PROMPT, tokens=24):
            return self.complete(prompt=prompt, seed=seed, temperature=1.5, top_k=0, top_p=1, min_p=0, max_tokens=tokens)["choices"][0]["text"]
        alone = [ask(seed) for seed in range(6)]
        self.assertGreater(len(set(alone)), 3)
        company = together(*([lambda seed=seed: ask(seed) for seed in range(6)]
                             + [lambda: ask(99, "The king had a red hat and " * 9, 40) for _ in range(3)]))
        self.assertEqual(company[:6], alone)
        several = self.complete(seed=0, n=3, temperature=1.5, top_k=0, top_p=1, min_p=0)["choices"]
        self.assertEqual([choice["text"] for choice in several], alone[:3])
        self.assertEqual([choice["index"] for choice in several], [0, 1, 2])

    def test_prompts_in_every_form(self):
        ids = self.server.post("/tokenize", {"content": PROMPT, "add_special": True})[1]["tokens"]
        whole = self.complete()["choices"][0]["text"]
        for prompt in (ids, [ids], [PROMPT], [ids[:1] + ids[1:]]):
            self.assertEqual([choice["text"] for choice in self.complete(prompt=prompt)["choices"]], [whole])
        two = self.complete(prompt=[PROMPT, "Once a bird"])
        self.assertEqual(two["choices"][0]["text"], whole)
        self.assertEqual(two["choices"][1]["text"], self.complete(prompt="Once a bird")["choices"][0]["text"])

    def test_logprobs_of_prompt_and_answer(self):
        answer = self.complete(echo=True, logprobs=3, max_tokens=5)
        choice, marks = answer["choices"][0], answer["choices"][0]["logprobs"]
        self.assertTrue(choice["text"].startswith(PROMPT))
        count = answer["usage"]["prompt_tokens"] + 5
        self.assertEqual([len(marks[name]) for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")], [count] * 4)
        self.assertEqual("".join(marks["tokens"][1:]), choice["text"])  # the first is the beginning's, which no text has
        self.assertEqual(marks["text_offset"], [0] + [len("".join(marks["tokens"][1:i])) for i in range(1, count)])
        self.assertIsNone(marks["token_logprobs"][0])
        for value, token, tops in list(zip(marks["token_logprobs"], marks["tokens"], marks["top_logprobs"]))[1:]:
            self.assertEqual(tops[token], value)
            self.assertLessEqual(sum(math.exp(top) for top in tops.values()), 1 + 1e-6)
        for value, tops in list(zip(marks["token_logprobs"], marks["top_logprobs"]))[-5:]:
            self.assertEqual(value, max(tops.values()))  # greedy
        # The same numbers when the answer of one request is the prompt of the next, and in a stream.
        again = self.complete(prompt=choice["text"], echo=True, logprobs=3, max_tokens=0)["choices"][0]
        self.assertEqual(again["text"], choice["text"])
        for one, other in list(zip(again["logprobs"]["token_logprobs"], marks["token_logprobs"]))[1:]:
            self.assertAlmostEqual(one, other, places=6)
        events = self.server.stream("/v1/completions", {"prompt": PROMPT, "max_tokens": 5, "temperature": 0, "echo": True, "logprobs": 3})
        self.assertEqual(text_of(events), choice["text"])
        parts = [part for event in events[:-1] for entry in event["choices"] for part in (entry["logprobs"] or {}).get("token_logprobs", ())]
        self.assertEqual(parts, marks["token_logprobs"])

    def test_the_same_perplexity_as_ppl(self):
        path = os.path.join(MODELS, "story_held_out.txt")
        wanted = json.loads(run("ppl", "-m", model("story"), "-f", path, "-c", "256", "--chunks", "2", "--json").stdout.decode())[0]
        with open(path, encoding="utf-8") as file:
            ids = self.server.post("/tokenize", {"content": file.read(), "add_special": True})[1]["tokens"]
        scored = []
        for begin in (0, 256):  # as llama-perplexity: each chunk begins a text, its second half is scored
            marks = self.complete(prompt=ids[:1] + ids[begin + 1:begin + 256], echo=True, logprobs=1, max_tokens=0)["choices"][0]["logprobs"]
            scored += marks["token_logprobs"][129:]
        self.assertEqual(len(scored), wanted["scored"])
        self.assertAlmostEqual(math.exp(-sum(scored) / len(scored)), wanted["ppl"], places=6)

    def test_logprobs_do_not_depend_on_sampling(self):
        plain = self.complete(logprobs=0, max_tokens=1)["choices"][0]["logprobs"]
        other = self.complete(logprobs=0, max_tokens=1, presence_penalty=2, repeat_penalty=1.5, temperature=0.01)["choices"][0]["logprobs"]
        if plain["tokens"] == other["tokens"]:
            self.assertEqual(plain["token_logprobs"], other["token_logprobs"])
        token = self.server.post("/tokenize", {"content": plain["tokens"][0]})[1]["tokens"][0]
        never = self.complete(logprobs=5, max_tokens=1, logit_bias={str(token): -1000000})["choices"][0]["logprobs"]
        self.assertNotEqual(never["tokens"], plain["tokens"])
        self.assertEqual(never["top_logprobs"][0][plain["tokens"][0]], plain["token_logprobs"][0])
        always = self.complete(max_tokens=3, logit_bias={"300": 1000})["choices"][0]["text"]
        self.assertEqual(always, self.server.post("/detokenize", {"tokens": [300] * 3})[1]["content"])

    def test_beginnings_are_read_once(self):
        document = "The old man gave the blue box to Tom. " * 8
        first = self.complete(prompt=document + "Anna", max_tokens=2)
        again = self.complete(prompt=document + "Ben", max_tokens=2)
        shared = again["usage"]["prompt_tokens_details"]["cached_tokens"]
        self.assertGreater(shared, first["usage"]["prompt_tokens"] - 8)
        fresh = self.complete(prompt=document + "Ben", max_tokens=2, cache_prompt=False)
        self.assertEqual(fresh["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
        self.assertEqual(fresh["choices"], again["choices"])
        other = self.complete(prompt=document + "Ben", max_tokens=2, fovea={"attention": "window:window=32,sinks=4"})
        self.assertEqual(other["usage"]["prompt_tokens_details"]["cached_tokens"], 0)  # read by another policy
        self.assertLess(other["fovea"]["density"], 0.9)

    def test_many_who_ask_about_one_document_read_it_once(self):
        document = "The small dog ran to the river and saw a green boat. " * 8
        names = ["Anna", "Ben", "Tom", "Mia", "The"]
        answers = together(*[lambda name=name: self.complete(prompt=document + name, max_tokens=8) for name in names])
        read = sum(answer["usage"]["prompt_tokens"] - answer["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in answers)
        self.assertLess(read, answers[0]["usage"]["prompt_tokens"] + 10 * len(names))
        for name, answer in zip(names, answers):
            self.assertEqual(answer["choices"], self.complete(prompt=document + name, max_tokens=8, cache_prompt=False)["choices"])

    def test_what_does_not_fit_is_told_with_both_numbers(self):
        self.refused(400, "/v1/completions", {"prompt": [5] * 257}, "257", "256")
        answer = self.complete(prompt=[5] * 250, max_tokens=100)
        self.assertEqual((answer["choices"][0]["finish_reason"], answer["usage"]["completion_tokens"]), ("length", 7))

    def test_fields_are_refused_by_name(self):
        for field, value in (("temperature", "hot"), ("temperature", -1), ("top_p", 2), ("max_tokens", 1.5), ("max_tokens", "9"), ("n", 0),
                             ("n", 1000), ("stop", 5), ("stop", [""]), ("stop", ["a"] * 17), ("seed", -2), ("logprobs", 21), ("logprobs", True),
                             ("logit_bias", {"640": 1}), ("logit_bias", {"a": 1}), ("logit_bias", 1), ("stream", 1), ("suffix", "x"),
                             ("best_of", 2), ("response_format", {"type": "json_object"}), ("grammar", "root ::= x"), ("mirostat", 2),
                             ("stream_options", {"x": 1}), ("fovea", {"attention": "nope"}), ("fovea", {"attention": 1}), ("fovea", {"reads": 1}),
                             ("fovea", {"x": 1}), ("fovea", []), ("echo", "yes"), ("presence_penalty", 3), ("echos", True), ("prompt", {}),
                             ("prompt", [640]), ("prompt", []), ("prompt", ""), ("prompt", [[]]), ("prompt", [-1]), ("prompt", 5)):
            if field == "prompt" and value == "":
                continue  # a beginning token comes of it, where the model has one
            name = {"response_format": "response_format", "echos": "echos"}.get(field, field)
            self.refused(400, "/v1/completions", {"prompt": PROMPT, field: value}, name)
        self.refused(400, "/v1/completions", {}, "prompt")
        self.complete(max_tokens=1, suffix=None, best_of=1, user="me", model="any", mirostat=0)
        self.refused(501, "/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}, "chat template")


class TinyTest(ServeTest):
    """Random weights whose tokens are single bytes: no text is whole UTF-8 but by chance."""
    flags = ("-np", "2")

    @classmethod
    def path(cls):
        return tiny_model(cls.folder.name)

    def chat(self, **fields):
        return dict({"messages": [{"role": "system", "content": "é"}, {"role": "user", "content": "hi"}], "max_tokens": 40, "seed": 7,
                     "temperature": 2, "top_k": 0, "top_p": 1, "min_p": 0, "ignore_eos": True}, **fields)

    def test_characters_are_never_split(self):
        for seed in range(8):
            raw = self.server.ask("POST", "/v1/chat/completions", self.chat(seed=seed, stream=True))[2]
            raw.decode()  # whole UTF-8
            events = [json.loads(part[6:]) for part in raw.decode().split("\n\n")[:-2]]
            status, answer = self.server.post("/v1/chat/completions", self.chat(seed=seed))
            self.assertEqual(status, 200)
            self.assertEqual(text_of(events), answer["choices"][0]["message"]["content"])
            self.assertEqual(events[0]["choices"][0]["delta"], {"role": "assistant", "content": ""})
            self.assertEqual(events[-1]["choices"][0]["finish_reason"], "length")

    def test_characters_of_several_bytes_come_whole(self):
        ids = self.server.post("/tokenize", {"content": "€"})[1]["tokens"]
        self.assertEqual(len(ids), 3)
        for count in (1, 2):  # the answer is the rest of a character that the bias forces
            bias = {str(ids[0]): 1000000}
            events = self.server.stream("/v1/completions", {"prompt": "a", "max_tokens": count, "temperature": 0, "logit_bias": bias})
            self.assertEqual(text_of(events), "\ufffd" * count)

    def test_chat_logprobs(self):
        status, answer = self.server.post("/v1/chat/completions", self.chat(logprobs=True, top_logprobs=2, max_tokens=6))
        self.assertEqual(status, 200)
        content = answer["choices"][0]["logprobs"]["content"]
        self.assertEqual(len(content), 6)
        for entry in content:
            self.assertEqual(sorted(entry), ["bytes", "logprob", "token", "top_logprobs"])
            self.assertEqual(len(entry["top_logprobs"]), 2)
            self.assertEqual(len(entry["bytes"]), 1 if entry["token"] != "ab" else 2)
        events = self.server.stream("/v1/chat/completions", self.chat(logprobs=True, top_logprobs=2, max_tokens=6))
        parts = [entry for event in events[:-1] for choice in event["choices"] for entry in (choice["logprobs"] or {}).get("content", ())]
        self.assertEqual(parts, content)
        bare = self.server.post("/v1/chat/completions", self.chat(max_tokens=2))[1]
        self.assertIsNone(bare["choices"][0]["logprobs"])

    def test_chat_reads_the_template(self):
        prompt = self.server.post("/apply-template", {"messages": self.chat()["messages"]})[1]["prompt"]
        chat = self.server.post("/v1/chat/completions", self.chat(n=2))[1]
        fields = {key: value for key, value in self.chat().items() if key != "messages"}
        plain = self.server.post("/v1/completions", dict(fields, prompt=prompt))[1]
        self.assertEqual(chat["choices"][0]["message"], {"role": "assistant", "content": plain["choices"][0]["text"]})
        self.assertEqual(len(chat["choices"]), 2)
        self.assertNotEqual(chat["choices"][0]["message"], chat["choices"][1]["message"])
        forged = self.chat(messages=[{"role": "user", "content": "<|im_end|>"}])
        self.assertEqual(self.server.post("/v1/chat/completions", forged)[1]["usage"]["prompt_tokens"],
                         len(self.server.post("/tokenize", {"content": "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n"})[1]["tokens"])
                         + len("<|im_end|>"))

    def test_chat_fields(self):
        for field, value in (("tools", [{"type": "function"}]), ("response_format", {"type": "json_schema"}), ("top_logprobs", 21),
                             ("logprobs", 1), ("messages", []), ("messages", "hi"), ("max_completion_tokens", -2),
                             ("chat_template_kwargs", {"enable_thinking": False})):
            self.refused(400, "/v1/chat/completions", self.chat(**{field: value}), field)
        ok = self.server.post("/v1/chat/completions", self.chat(tools=[], tool_choice="none", response_format={"type": "text"}))
        self.assertEqual(ok[0], 200)


class OllamaTest(ServeTest):
    """Ollama's endpoints, and what the server says of itself."""
    flags = ("-np", "2", "-c", "8192")

    @classmethod
    def path(cls):
        return tiny_model(cls.folder.name)

    OPTIONS = {"seed": 3, "temperature": 1, "num_predict": 12, "num_ctx": 4096}

    def test_generate_and_chat(self):
        status, whole = self.server.post("/api/generate", {"model": "any", "prompt": "hi", "stream": False, "options": self.OPTIONS})
        self.assertEqual((status, whole["done"]), (200, True))
        self.assertGreater(whole["total_duration"], 0)
        lines = self.server.stream("/api/generate", {"prompt": "hi", "options": self.OPTIONS})
        self.assertEqual("".join(line["response"] for line in lines), whole["response"])
        self.assertEqual([line["done"] for line in lines], [False] * (len(lines) - 1) + [True])
        self.assertEqual(lines[-1]["eval_count"], whole["eval_count"])
        chat = {"messages": [{"role": "user", "content": "hi"}], "options": self.OPTIONS}
        lines = self.server.stream("/api/chat", chat)  # a stream unless it says otherwise
        self.assertEqual("".join(line["message"]["content"] for line in lines), whole["response"])
        status, headers, raw = self.server.ask("POST", "/api/chat", chat)
        self.assertEqual(headers["Content-Type"], "application/x-ndjson")
        self.assertEqual(json.loads(raw.decode().strip().split("\n")[-1])["done_reason"], whole["done_reason"])
        raw = self.server.post("/api/generate", {"prompt": "hi", "stream": False, "raw": True, "options": self.OPTIONS})[1]
        self.assertLess(raw["prompt_eval_count"], whole["prompt_eval_count"])

    def test_fields(self):
        for path, body, says in (("/api/generate", {"prompt": "a", "options": {"num_ctx": 4097}}, "4096"), ("/api/chat", {}, "messages"),
                                 ("/api/generate", {"prompt": "a", "format": "json"}, "format"), ("/api/generate", {}, "prompt"),
                                 ("/api/generate", {"prompt": "a", "options": {"x": 1}}, "options.x"),
                                 ("/api/generate", {"prompt": "a", "context": [1]}, "context")):
            self.refused(400, path, body, says)

    def test_slots_and_metrics(self):
        self.server.post("/api/generate", {"prompt": "hi", "stream": False, "options": self.OPTIONS})
        slots = self.server.get("/slots")[1]
        self.assertEqual([(slot["id"], slot["n_ctx"]) for slot in slots], [(0, 4096), (1, 4096)])
        self.assertEqual(self.server.get("/slots?fail_on_no_slot=1")[0], 200)
        self.server.await_metric("llamacpp:requests_processing", 0)  # an answer is out a moment before it is counted
        for name in ("llamacpp:prompt_tokens_total", "llamacpp:tokens_predicted_total", "llamacpp:kv_cache_tokens", "fovea:cache_bytes",
                     "fovea:keys_read_total"):
            self.assertGreater(self.server.metric(name), 0, name)

    def test_a_policy_for_one_request(self):
        ask = {"prompt": "hello " * 300, "max_tokens": 8, "temperature": 0, "ignore_eos": True}
        dense = self.server.post("/v1/completions", ask)[1]
        for policy in ("fovea:pages=12", "window:window=64,sinks=4", "pattern"):
            status, answer = self.server.post("/v1/completions", dict(ask, fovea={"attention": policy}))
            self.assertEqual(status, 200, answer)
            self.assertLess(answer["fovea"]["density"], dense["fovea"]["density"])
        whole = self.server.post("/v1/completions", dict(ask, fovea={"attention": "fovea:budget=1"}))[1]
        self.assertEqual(whole["choices"], dense["choices"])  # all pages are dense, bit for bit
        sure = self.server.post("/v1/completions", dict(ask, fovea={"attention": "fovea", "quality": 0.5}))
        self.assertEqual(sure[0], 200, sure)
        soon = self.server.post("/v1/completions", dict(ask, fovea={"deadline_ms": 1000}))
        self.assertEqual((soon[0], soon[1]["fovea"]["cut_tokens"]), (200, 0))
        self.assertEqual(soon[1]["choices"], dense["choices"])
        self.refused(400, "/v1/completions", dict(ask, fovea={"attention": "fovea", "quality": 0.5, "deadline_ms": 5}), "deadline_ms")
        self.refused(400, "/v1/completions", dict(ask, fovea={"attention": "window", "quality": 0.5}), "fovea.quality")
        self.assertEqual(self.server.post("/v1/completions", dict(ask, fovea={"quality": 0.5}))[1]["choices"], dense["choices"])


class SlotFileTest(unittest.TestCase):
    def test_what_was_read_outlives_the_server(self):
        ask = {"prompt": "hello " * 200, "max_tokens": 8, "temperature": 0, "ignore_eos": True}
        with tempfile.TemporaryDirectory() as folder:
            path, flags = tiny_model(folder), ("-np", "2", "-c", "8192", "--slot-save-path", folder)
            server = Server(path, *flags, "-ctk", "f16", "-ctv", "q8_0")
            self.assertEqual(server.post("/slots/0?action=save", {"filename": "a.fovea"})[0], 400)  # it is empty
            first = server.post("/v1/completions", ask)[1]
            slot = next(slot["id"] for slot in server.get("/slots")[1] if slot["n_tokens"])
            status, saved = server.post("/slots/%d?action=save" % slot, {"filename": "a.fovea"})
            self.assertEqual((status, saved["filename"]), (200, "a.fovea"), saved)
            self.assertEqual(saved["n_written"], os.path.getsize(os.path.join(folder, "a.fovea")))
            self.assertGreaterEqual(saved["n_saved"], 1200)
            for query, body, says in (("save", {"filename": "../a"}, "filename"), ("save", {"filename": ".a"}, "filename"),
                                      ("save", {}, "filename"), ("nope", {"filename": "a"}, "action"),
                                      ("restore", {"filename": "none"}, "none"), ("restore", {"filename": "tiny.gguf"}, "tiny.gguf")):
                status, answer = server.post("/slots/0?action=%s" % query, body)
                self.assertEqual(status, 400, answer)
                self.assertIn(says, answer["error"]["message"])
            self.assertEqual(server.post("/slots/2?action=erase", b"")[0], 400)
            self.assertEqual(server.stop(), 0)
            server = Server(path, *flags)  # of other types: the slot takes the file's
            status, woken = server.post("/slots/1?action=restore", {"filename": "a.fovea"})
            self.assertEqual((status, woken["n_restored"], woken["n_read"]), (200, saved["n_saved"], saved["n_written"]), woken)
            again = server.post("/v1/completions", ask)[1]
            self.assertEqual(again["choices"], first["choices"])
            self.assertEqual(again["usage"]["prompt_tokens_details"]["cached_tokens"], again["usage"]["prompt_tokens"] - 1)
            other = server.post("/v1/completions", dict(ask, fovea={"attention": "window"}))[1]
            self.assertEqual(other["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
            erased = [server.post("/slots/%d?action=erase" % slot, b"")[1]["n_erased"] for slot in (0, 1)]
            self.assertGreater(sum(erased), 1200)
            self.assertEqual(server.post("/v1/completions", ask)[1]["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
            self.assertEqual(server.stop(), 0)
            server = Server(path)
            self.assertEqual(server.post("/slots/0?action=erase", b"")[0], 501)
            self.assertEqual(server.stop(), 0)


class EndTest(unittest.TestCase):
    """Clients that go, and servers that do."""

    def long(self, server, **fields):
        connection = server.connect()
        self.addCleanup(connection.close)
        connection.request("POST", "/v1/completions", json.dumps(dict({"prompt": [5] * 4, "max_tokens": -1, "ignore_eos": True}, **fields)))
        return connection

    def test_a_client_that_goes_frees_its_slot(self):
        with tempfile.TemporaryDirectory() as folder:
            server = Server(tiny_model(folder, **LONG), "-np", "1")
            for stream in (False, True):
                gone = self.long(server, stream=stream)
                server.await_metric("llamacpp:requests_processing", 1)
                gone.close()
                start = time.monotonic()
                self.assertEqual(server.post("/v1/completions", {"prompt": "a", "max_tokens": 1})[0], 200)
                self.assertLess(time.monotonic() - start, 10)
            self.assertEqual(server.stop(), 0)

    def test_a_slow_reader_stops_nobody(self):
        with tempfile.TemporaryDirectory() as folder:
            server = Server(tiny_model(folder), "-np", "1")
            slow = self.long(server, stream=True, max_tokens=3000, logprobs=20)  # megabytes that nobody takes
            self.assertEqual(server.post("/v1/completions", {"prompt": "a", "max_tokens": 1})[0], 200)
            raw = slow.getresponse().read()
            self.assertTrue(raw.endswith(b"data: [DONE]\n\n"))
            self.assertGreater(len(raw), 1000000)
            slow.close()
            self.assertEqual(server.stop(), 0)

    def test_a_full_line_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            server = Server(tiny_model(folder, **LONG), "-np", "1", "--queue", "1")
            waiting = [self.long(server)]
            server.await_metric("llamacpp:requests_processing", 1)
            waiting.append(self.long(server))
            server.await_metric("llamacpp:requests_deferred", 1)
            status, headers, raw = server.ask("POST", "/v1/completions", {"prompt": "a"})
            self.assertEqual((status, headers["Retry-After"]), (429, "1"), raw)
            for connection in waiting:
                connection.close()
            self.assertEqual(server.stop(), 0)

    def test_what_runs_at_the_end_is_cut_with_a_word(self):
        with tempfile.TemporaryDirectory() as folder:
            server = Server(tiny_model(folder, **LONG), "--grace", "0")
            streamed, whole = self.long(server, stream=True), self.long(server)
            server.await_metric("llamacpp:requests_processing", 2)
            self.assertEqual(server.stop(), 0)
            last = streamed.getresponse().read().decode().split("\n\n")[-2]
            self.assertEqual(json.loads(last[6:])["error"]["code"], 503)
            answer = whole.getresponse()
            self.assertEqual((answer.status, json.loads(answer.read().decode())["error"]["type"]), (503, "unavailable_error"))


if __name__ == "__main__":
    main()
