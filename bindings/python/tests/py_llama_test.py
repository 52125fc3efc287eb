#!/usr/bin/env python3
"""fovea.Llama beside what llama-cpp-python's README and signatures promise: shapes of dicts, streams, states, refusals."""
import json
import os
import pickle
import tempfile
import unittest

import numpy as np

import fovea
from fovea import Llama
from fovea._json_guide import state_of

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "tests", "model", "story.gguf")
PROMPT = "Once upon a time there was a little"


def llama(**keywords):
    return Llama(model_path=MODEL, **{"verbose": False, "n_ctx": 256, "chat_format": "chatml", **keywords})


class LlamaTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.llm = llama()
        cls.all_logits = llama(logits_all=True)

    def test_a_completion_has_openais_shape(self):
        out = self.llm("Q: Name the planets in the solar system? A: ", max_tokens=12, stop=["Q:", "\n"], echo=True)
        self.assertEqual(list(out), ["id", "object", "created", "model", "choices", "usage"])
        self.assertTrue(out["id"].startswith("cmpl-"))
        self.assertEqual((out["object"], out["model"]), ("text_completion", MODEL))
        choice = out["choices"][0]
        self.assertEqual(list(choice), ["text", "index", "logprobs", "finish_reason"])
        self.assertTrue(choice["text"].startswith("Q: Name the planets in the solar system? A: "))
        self.assertIn(choice["finish_reason"], ("stop", "length"))
        usage = out["usage"]
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"])
        self.assertEqual(usage["prompt_tokens"], len(self.llm.tokenize(b"Q: Name the planets in the solar system? A: ")))

    def test_streams_say_the_same(self):
        whole = self.llm(PROMPT, max_tokens=20, temperature=0)
        chunks = list(self.llm(PROMPT, max_tokens=20, temperature=0, stream=True))
        self.assertEqual("".join(chunk["choices"][0]["text"] for chunk in chunks), whole["choices"][0]["text"])
        self.assertEqual({chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]}, {None})
        self.assertEqual(chunks[-1]["choices"][0]["finish_reason"], whole["choices"][0]["finish_reason"])
        self.assertEqual(len({chunk["id"] for chunk in chunks}), 1)
        text = whole["choices"][0]["text"]
        stop = text[5:8]
        wanted = (text[:text.index(stop)], "stop")
        cut = self.llm(PROMPT, max_tokens=20, temperature=0, stop=stop)["choices"][0]
        self.assertEqual((cut["text"], cut["finish_reason"]), wanted)
        chunks = [chunk["choices"][0] for chunk in self.llm(PROMPT, max_tokens=20, temperature=0, stop=[stop], stream=True)]
        self.assertEqual(("".join(chunk["text"] for chunk in chunks), chunks[-1]["finish_reason"]), wanted)

    def test_chats(self):
        messages = [{"role": "system", "content": "You are an assistant who perfectly describes images."},
                    {"role": "user", "content": [{"type": "text", "text": "Describe this image in detail please."}]}]
        out = self.llm.create_chat_completion(messages=messages, max_tokens=8, temperature=0)
        self.assertEqual((out["object"], out["id"][:9]), ("chat.completion", "chatcmpl-"))
        message = out["choices"][0]["message"]
        self.assertEqual(message["role"], "assistant")
        chunks = list(self.llm.create_chat_completion(messages=messages, max_tokens=8, temperature=0, stream=True))
        self.assertEqual(chunks[0]["choices"][0]["delta"], {"role": "assistant"})
        self.assertEqual({chunk["object"] for chunk in chunks}, {"chat.completion.chunk"})
        self.assertEqual("".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks), message["content"])
        self.assertEqual((chunks[-1]["choices"][0]["delta"], chunks[-1]["choices"][0]["finish_reason"]),
                         ({}, out["choices"][0]["finish_reason"]))
        with self.assertRaisesRegex(fovea.UnsupportedError, "chat_format"):
            llama(chat_format=None).create_chat_completion(messages=messages)
        with self.assertRaisesRegex(ValueError, "chatml"):
            llama(chat_format="alpaca").create_chat_completion(messages=messages)
        handled = llama(chat_handler=lambda llama, messages, **others: (messages, others["max_tokens"]))
        self.assertEqual(handled.create_chat_completion(messages, max_tokens=3), (messages, 3))

    def test_logprobs(self):
        out = self.all_logits(PROMPT, max_tokens=5, temperature=0, logprobs=3, echo=True)["choices"][0]
        said = out["logprobs"]
        self.assertEqual("".join(said["tokens"]).strip(), out["text"].strip())
        self.assertIsNone(self.all_logits.create_completion([5, 6, 7], max_tokens=1, logprobs=1, echo=True)["choices"][0]["logprobs"]
                          ["token_logprobs"][0])
        for text, logprob, top in zip(said["tokens"][-5:], said["token_logprobs"][-5:], said["top_logprobs"][-5:]):
            self.assertAlmostEqual(top[text], logprob)
            self.assertAlmostEqual(max(top.values()), logprob)  # greedy
        chat = self.llm.create_chat_completion([{"role": "user", "content": "x"}], max_tokens=2, logprobs=True, top_logprobs=2)
        self.assertEqual(len(chat["choices"][0]["logprobs"]["content"]), chat["usage"]["completion_tokens"])
        with self.assertRaisesRegex(ValueError, "logits_all"):
            self.llm(PROMPT, logprobs=1, echo=True)

    def test_tokens(self):
        ids = self.llm.tokenize(b"a little girl", add_bos=True)
        self.assertEqual(ids[0], self.llm.token_bos())
        self.assertEqual(self.llm.detokenize(ids), b"a little girl")
        self.assertEqual(self.llm.tokenizer().decode(self.llm.tokenizer().encode("a dog")).strip(), "a dog")
        self.assertEqual((self.llm.n_ctx(), self.llm.n_vocab()), (256, self.llm.engine.vocabulary))
        self.assertEqual(self.llm.metadata["general.architecture"], "llama")

    def test_eval_sample_generate(self):
        llm, ids = self.all_logits, self.all_logits.tokenize(PROMPT.encode())
        llm.reset()
        llm.eval(ids)
        self.assertEqual((llm.n_tokens, list(llm.input_ids[:len(ids)]), llm.scores.shape), (len(ids), ids, (256, llm.n_vocab())))
        fresh = fovea.Engine(MODEL, context=256).sequence().feed(ids, "all")
        self.assertTrue((llm.scores[:len(ids)] == fresh).all())
        greedy = llm.sample(temp=0)
        self.assertEqual(greedy, int(fresh[-1].argmax()))
        self.assertEqual(llm.sample(temp=0, idx=3), int(fresh[3].argmax()))
        found = []
        for token in llm.generate(ids, temp=0.0):
            found.append(token)
            if len(found) == 6:
                break
        self.assertEqual(found[0], greedy)
        with_bias = llm.create_completion(PROMPT, max_tokens=3, temperature=0, logit_bias={greedy: -100.0})
        self.assertNotEqual(llm.tokenize(with_bias["choices"][0]["text"].encode(), add_bos=False)[:1], [greedy])
        stopped = llm.create_completion(PROMPT, temperature=0, stopping_criteria=fovea.StoppingCriteriaList(
            [lambda input_ids, logits: len(input_ids) >= len(ids) + 2]))
        self.assertEqual((stopped["choices"][0]["finish_reason"], stopped["usage"]["completion_tokens"]), ("stop", 2))
        only = fovea.LogitsProcessorList([lambda input_ids, scores: np.where(np.arange(len(scores)) == 9, 0, -np.inf)])
        self.assertEqual(list(zip(range(3), llm.generate(ids, logits_processor=only))), [(0, 9), (1, 9), (2, 9)])

    def test_seeds(self):
        runs = [llama(seed=5)(PROMPT, max_tokens=12)["choices"][0]["text"] for _ in range(2)]
        self.assertEqual(*runs)
        told = [self.llm(PROMPT, max_tokens=12, temperature=2.0, seed=seed)["choices"][0]["text"] for seed in (1, 2, 1)]
        self.assertEqual(told[0], told[2])
        self.assertNotEqual(told[0], told[1])

    def test_states(self):
        llm, ids = llama(), self.llm.tokenize(PROMPT.encode())
        llm.eval(ids)
        state = llm.save_state()
        llm.eval([5])
        wanted = llm.sample(temp=0)
        for kept in (state, pickle.loads(pickle.dumps(state))):
            for other in (llm, llama()):
                other.load_state(kept)
                self.assertEqual(other.n_tokens, len(ids))
                other.eval([5])
                self.assertEqual(other.sample(temp=0), wanted)
        llm.set_cache(fovea.LlamaRAMCache())
        first = llm(PROMPT, max_tokens=4, temperature=0)["choices"][0]["text"]
        llm.reset()
        self.assertEqual(llm(PROMPT, max_tokens=4, temperature=0)["choices"][0]["text"], first)
        self.assertIn(ids, llm.cache)
        copied = pickle.loads(pickle.dumps(self.llm))
        self.assertEqual(copied(PROMPT, max_tokens=4, temperature=0)["choices"][0]["text"], first)

    def test_what_is_held_is_not_evaluated_again(self):
        llm, ids = llama(), self.llm.tokenize(PROMPT.encode())
        fed = []
        feed = llm.sequence.feed
        llm.sequence.feed = lambda tokens, **keywords: (fed.append(len(tokens)), feed(tokens, **keywords))[1]
        llm(ids, max_tokens=1)
        llm(ids, max_tokens=1)
        llm(ids + [9, 10], max_tokens=1)
        llm(ids[:4], max_tokens=1)
        self.assertEqual(fed, [len(ids), 2, 1])

    def test_json_modes_and_a_function_that_is_called(self):
        schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "kind": {"enum": ["a", "b"]}},
                  "required": ["name", "age"]}
        messages = [{"role": "system", "content": "You answer in JSON."}, {"role": "user", "content": "Jason is 25 years old"}]
        for seed in range(3):
            ask = lambda **keywords: self.llm.create_chat_completion(messages, seed=seed, temperature=1.5, max_tokens=60, **keywords)
            out = ask(response_format={"type": "json_object", "schema": schema})["choices"][0]
            text = out["message"]["content"]
            self.assertNotEqual(state_of(text, schema), "wrong")
            if out["finish_reason"] == "stop":
                self.assertIsInstance(json.loads(text)["age"], int)
            self.assertTrue(ask(response_format={"type": "json_object"})["choices"][0]["message"]["content"].startswith("{"))
            tools = [{"type": "function", "function": {"name": "UserDetail", "parameters": schema}}]
            call = ask(tools=tools, tool_choice={"type": "function", "function": {"name": "UserDetail"}})["choices"][0]
            self.assertEqual((call["finish_reason"], call["message"]["content"]), ("tool_calls", None))
            self.assertEqual(call["message"]["tool_calls"][0]["function"]["name"], "UserDetail")
            self.assertNotEqual(state_of(call["message"]["tool_calls"][0]["function"]["arguments"], schema), "wrong")
        with self.assertRaisesRegex(fovea.UnsupportedError, "pattern"):
            ask(response_format={"type": "json_object", "schema": {"type": "string", "pattern": "a*"}})

    def test_what_can_become_json(self):
        text = json.dumps({"a": [1, -2.5e-3, True, None, 'x\\"y', {"b": {}}, "\u00e9"], "c": []})
        for end in range(len(text)):
            self.assertEqual(state_of(text[:end], {"type": "object"}), "begun", text[:end])
        self.assertEqual(state_of(text, {"type": "object"}), "whole")
        one = {"type": "object", "properties": {"n": {"type": ["integer", "null"]}, "s": {"type": "string"}}, "required": ["s"]}
        for good in ('{"n": 12, "s": "x"}', '{"s":""}', '{\n  "n": null,\n  "s": "1"\n}'):
            self.assertEqual(state_of(good, one), "whole", good)
        self.assertEqual(state_of('{"n":', one), "begun")
        for bad in ("[", "{}", '{"x', '{"n": 1.', '{"s": "a", "n', '{"n": 1}', '{"s":  "', '{"s": "\n'):
            self.assertEqual(state_of(bad, one), "wrong", bad)
        self.assertEqual([state_of(text, {"anyOf": [{"type": "integer"}, {"type": "number"}]}) for text in ("1", "1.", "1.5", "1.5.")],
                         ["whole", "begun", "whole", "wrong"])
        self.assertEqual([state_of(text, {"type": "array", "items": {"enum": [1, 12]}, "minItems": 2}) for text in ("[12]", "[1, 1", "[1,12]")],
                         ["wrong", "begun", "whole"])

    def test_refusals(self):
        for name, value in {"embedding": True, "lora_path": "x", "rope_freq_base": 1e6, "vocab_only": True, "tokenizer": 1}.items():
            with self.assertRaisesRegex(fovea.UnsupportedError, name):
                llama(**{name: value})
        llama(n_gpu_layers=-1, use_mlock=True, n_ubatch=64, flash_attn=True, rope_freq_base=0.0, yarn_ext_factor=-1.0)
        with self.assertRaisesRegex(TypeError, "n_cxt"):
            llama(n_cxt=3)
        with self.assertRaisesRegex(ValueError, "does not exist"):
            Llama("/nonexistent/model.gguf")
        with self.assertRaisesRegex(ValueError, "exceed context window of 256"):
            self.llm([5] * 256)
        for name, value in {"mirostat_mode": 2, "typical_p": 0.5, "suffix": "x", "grammar": "x"}.items():
            with self.assertRaisesRegex(fovea.UnsupportedError, name):
                self.llm(PROMPT, **{name: value})
        with self.assertRaisesRegex(fovea.UnsupportedError, "tools"):
            self.llm.create_chat_completion([{"role": "user", "content": "x"}], tools=[{"type": "function", "function": {"name": "f"}}])
        with self.assertRaisesRegex(fovea.UnsupportedError, "embeddings"):
            self.llm.create_embedding("x")
        full = self.llm([5] * 250, max_tokens=None, temperature=0)
        self.assertEqual(full["usage"]["total_tokens"] if full["choices"][0]["finish_reason"] == "length" else 256, 256)

    def test_models_of_this_machine(self):
        with tempfile.TemporaryDirectory() as folder:
            snapshot = os.path.join(folder, "models--me--story-GGUF", "snapshots", "abc")
            os.makedirs(snapshot)
            os.symlink(MODEL, os.path.join(snapshot, "story-Q8_0.gguf"))
            llm = Llama.from_pretrained(repo_id="me/story-GGUF", filename="*Q8_0.gguf", cache_dir=folder, verbose=False)
            self.assertEqual(llm.n_ctx(), 512)
            with self.assertRaisesRegex(FileNotFoundError, "hf download me/other"):
                Llama.from_pretrained(repo_id="me/other", filename="*.gguf", cache_dir=folder)


if __name__ == "__main__":
    unittest.main()
