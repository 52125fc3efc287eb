#!/usr/bin/env python3
"""Asks `fovea serve` by clients as PyPI has them, none of them changed: openai, ollama, litellm, langchain-openai, lm-eval.

Called by tools/server_check.py in an environment that has them, as: client_checks.py BUILD/fovea SOURCE_FOLDER MODEL.
"""
import json
import math
import os
import subprocess
import sys
import tempfile
import unittest

SOURCE = sys.argv[2]
MODEL = sys.argv[3]
sys.path.insert(0, os.path.join(SOURCE, "tests", "cli"))
# No client may want anything of another host.
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TRANSFORMERS_OFFLINE="1", LITELLM_LOCAL_MODEL_COST_MAP="True", OPENAI_API_KEY="none")
# pylint: disable=wrong-import-position
import langchain_openai
import litellm
import lm_eval
import lm_eval.tasks
import ollama
import openai
from serve_runner import Server

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is the capital of France?"}]
TEXT = os.path.join(SOURCE, "tests", "model", "story_held_out.txt")
QUESTIONS = [("The opposite of hot is", [" cold", " green", " seven"], 0), ("Two and two make", [" purple", " four", " Paris"], 1),
             ("The capital of France is", [" Paris", " banana", " slowly"], 0), ("Fish live in the", [" fire", " alphabet", " water"], 2),
             ("At night the sky is", [" dark", " edible", " Tuesday"], 0), ("With their two wings birds can", [" concrete", " fly", " algebra"], 1)]


class ClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(MODEL, "-np", "4", "-c", "16384", "-a", "smol", "-t", "2")
        assert cls.server.url, cls.server.errors

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0, cls.server.errors


class OpenaiTest(ClientTest):
    def setUp(self):
        self.client = openai.OpenAI(base_url=self.server.url + "/v1", api_key="none", max_retries=0)

    def test_models(self):
        self.assertEqual([entry.id for entry in self.client.models.list()], ["smol"])

    def test_chat_and_stream_are_the_same(self):
        ask = {"model": "smol", "messages": TURNS, "temperature": 0, "max_completion_tokens": 24, "seed": 1}
        answer = self.client.chat.completions.create(**ask)
        text = answer.choices[0].message.content
        self.assertIn("Paris", text)
        self.assertEqual(answer.usage.prompt_tokens + answer.usage.completion_tokens, answer.usage.total_tokens)
        again = self.client.chat.completions.create(**ask)
        self.assertEqual(again.usage.prompt_tokens_details.cached_tokens, answer.usage.prompt_tokens - 1)
        chunks = list(self.client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **ask))
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), text)
        self.assertEqual(chunks[-1].usage.completion_tokens, answer.usage.completion_tokens)

    def test_chat_logprobs(self):
        answer = self.client.chat.completions.create(model="smol", messages=TURNS, temperature=0, max_tokens=6, logprobs=True, top_logprobs=3)
        entries = answer.choices[0].logprobs.content
        self.assertEqual(len(entries), answer.usage.completion_tokens)
        self.assertEqual(b"".join(bytes(entry.bytes) for entry in entries).decode(), answer.choices[0].message.content)
        for entry in entries:
            self.assertEqual((len(entry.top_logprobs), entry.top_logprobs[0].logprob), (3, entry.logprob))

    def test_completions(self):
        answer = self.client.completions.create(model="smol", prompt=["The sea is", "Once upon"], max_tokens=5, temperature=0, n=1, logprobs=2, echo=True)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1])
        for choice, begins in zip(answer.choices, ("The sea is", "Once upon")):
            self.assertTrue(choice.text.startswith(begins))
            self.assertEqual("".join(choice.logprobs.tokens), choice.text)
            self.assertIsNone(choice.logprobs.token_logprobs[0])
            self.assertTrue(all(value <= 0 for value in choice.logprobs.token_logprobs[1:]))

    def test_errors_are_the_clients_own(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(model="smol", messages=TURNS, temperature=-1)
        self.assertIn("temperature", str(caught.exception))

    def test_fovea_fields(self):
        answer = self.client.chat.completions.create(model="smol", messages=TURNS, max_tokens=4, extra_body={"fovea": {"attention": "fovea"}})
        self.assertTrue(answer.model_extra["fovea"]["attention"].startswith("fovea"))

    def test_the_asynchronous_client(self):
        import asyncio

        async def ask():
            async with openai.AsyncOpenAI(base_url=self.server.url + "/v1", api_key="none", max_retries=0) as client:
                calls = [client.completions.create(model="smol", prompt="The sea is", max_tokens=8, temperature=0) for _ in range(8)]
                return {answer.choices[0].text for answer in await asyncio.gather(*calls)}
        self.assertEqual(len(asyncio.run(ask())), 1)


class OllamaTest(ClientTest):
    def setUp(self):
        self.client = ollama.Client(host=self.server.url)

    def test_list_and_show(self):
        self.assertEqual([entry.model for entry in self.client.list().models], ["smol"])
        self.assertIn("completion", self.client.show("smol").capabilities)

    def test_chat_and_stream_are_the_same(self):
        options = {"temperature": 0, "num_predict": 24}
        whole = self.client.chat("smol", TURNS, options=options)
        self.assertIn("Paris", whole.message.content)
        self.assertTrue(whole.done and whole.eval_count > 0 and whole.eval_duration > 0)
        parts = list(self.client.chat("smol", TURNS, options=options, stream=True))
        self.assertEqual("".join(part.message.content for part in parts), whole.message.content)
        self.assertEqual([part.done for part in parts], [False] * (len(parts) - 1) + [True])

    def test_generate(self):
        answer = self.client.generate("smol", TURNS[1]["content"], system=TURNS[0]["content"], options={"temperature": 0, "num_predict": 24})
        self.assertIn("Paris", answer.response)
        raw = self.client.generate("smol", "The sea is", raw=True, options={"temperature": 0, "num_predict": 4})
        self.assertEqual(raw.eval_count, 4)

    def test_errors_are_the_clients_own(self):
        with self.assertRaises(ollama.ResponseError) as caught:
            self.client.chat("smol", TURNS, options={"top_p": 7})
        self.assertEqual(caught.exception.status_code, 400)
        self.assertIn("top_p", caught.exception.error)


class LitellmTest(ClientTest):
    def ask(self, **fields):
        return litellm.completion(model="openai/smol", messages=TURNS, api_base=self.server.url + "/v1", api_key="none", temperature=0, max_tokens=24, **fields)

    def test_chat_and_stream_are_the_same(self):
        text = self.ask().choices[0].message.content
        self.assertIn("Paris", text)
        self.assertEqual("".join(part.choices[0].delta.content or "" for part in self.ask(stream=True)), text)

    def test_text_completion(self):
        answer = litellm.text_completion(model="text-completion-openai/smol", prompt="The sea is", api_base=self.server.url + "/v1", api_key="none",
                                         max_tokens=4, temperature=0)
        self.assertEqual(answer.usage.completion_tokens, 4)

    def test_ollama(self):
        answer = litellm.completion(model="ollama_chat/smol", messages=TURNS, api_base=self.server.url, temperature=0, max_tokens=24)
        self.assertIn("Paris", answer.choices[0].message.content)


class LangchainTest(ClientTest):
    def test_invoke_and_stream_are_the_same(self):
        model = langchain_openai.ChatOpenAI(model="smol", base_url=self.server.url + "/v1", api_key="none", temperature=0, max_tokens=24)
        turns = [(turn["role"], turn["content"]) for turn in TURNS]
        answer = model.invoke(turns)
        self.assertIn("Paris", answer.content)
        self.assertGreater(answer.usage_metadata["input_tokens"], 10)
        self.assertEqual("".join(part.content for part in model.stream(turns)), answer.content)
        self.assertEqual(len(model.batch([turns, turns])), 2)

    def test_completions(self):
        model = langchain_openai.OpenAI(model="smol", base_url=self.server.url + "/v1", api_key="none", temperature=0, max_tokens=4)
        self.assertTrue(model.invoke("The sea is"))


class LmEvalTest(ClientTest):
    """lm-eval asks the server for tokens, too: no tokenizer of another library is needed."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()

    def tearDown(self):
        self.folder.cleanup()

    def evaluate(self, name, task, documents, **model):
        data = os.path.join(self.folder.name, name + ".jsonl")
        with open(data, "w") as file:
            file.writelines(json.dumps(document) + "\n" for document in documents)
        with open(os.path.join(self.folder.name, name + ".yaml"), "w") as file:
            json.dump(dict(task, task=name, dataset_path="json", dataset_kwargs={"data_files": {"test": data}}, test_split="test"), file)
        tasks = lm_eval.tasks.TaskManager(include_path=self.folder.name, include_defaults=False)
        arguments = dict({"model": "smol", "base_url": self.server.url + "/v1/completions", "max_length": 4096}, **model)
        results = lm_eval.simple_evaluate("local-completions", arguments, tasks=[name], task_manager=tasks, bootstrap_iters=0)
        return results["results"][name], results["samples"][name]

    def tokens(self, text):
        return self.server.post("/tokenize", {"content": text})[1]["tokens"]

    def test_perplexity_is_that_of_fovea_ppl(self):
        with open(TEXT) as file:
            text = file.read()[:3000]
        text = text[:text.rindex(" ")]
        tokens = self.tokens(text)
        first = self.server.post("/detokenize", {"tokens": tokens[:1]})[1]["content"]
        rest = text[len(first):]
        self.assertEqual(self.tokens(rest), tokens[1:])
        path = os.path.join(self.folder.name, "text")
        with open(path, "w") as file:
            file.write(text)
        done = subprocess.run([sys.argv[1], "ppl", "-m", MODEL, "-f", path, "-c", str(len(tokens)), "--score", str(len(tokens) - 1), "--json"],
                              capture_output=True, check=True)
        wanted = json.loads(done.stdout)[0]["ppl"]
        task = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
                "metric_list": [{"metric": "byte_perplexity"}]}
        results, _ = self.evaluate("held_out", task, [{"text": rest}], custom_prefix_token_id=tokens[0])
        found = math.exp(math.log(results["byte_perplexity,none"]) * len(rest.encode()) / (len(tokens) - 1))
        print("perplexity of %d tokens: fovea ppl %.6f, lm-eval %.6f" % (len(tokens) - 1, wanted, found))
        self.assertLess(abs(found / wanted - 1), 2e-5)

    def test_multiple_choice(self):
        documents = [{"question": question, "choices": choices, "gold": gold} for question, choices, gold in QUESTIONS]
        task = {"output_type": "multiple_choice", "doc_to_text": "{{question}}", "doc_to_choice": "{{choices}}", "doc_to_target": "{{gold}}",
                "target_delimiter": "", "metric_list": [{"metric": "acc"}]}
        results, samples = self.evaluate("facts", task, documents, num_concurrent=4, batch_size=2)
        self.assertGreaterEqual(results["acc,none"], 5 / 6)
        by_question = {sample["doc"]["question"]: sample for sample in samples}
        for question, choices, _ in QUESTIONS:  # each figure is the one that the text has
            for choice, found in zip(choices, by_question[question]["resps"]):
                loss = self.loss(question, choice)
                self.assertLess(abs(float(found[0][0]) + loss), 1e-4 * loss, (question, choice, found))

    def loss(self, question, choice):
        """Of the choice, by fovea ppl."""
        count = len(self.tokens(question + choice))
        scored = count - len(self.tokens(question))
        done = subprocess.run([sys.argv[1], "ppl", "-m", MODEL, "-p", question + choice, "-c", str(count), "--score", str(scored), "--json"],
                              capture_output=True, check=True)
        return math.log(json.loads(done.stdout)[0]["ppl"]) * scored


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
