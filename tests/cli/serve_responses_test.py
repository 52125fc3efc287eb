#!/usr/bin/env python3
"""Checks `POST /v1/responses` of `fovea serve`: OpenAI's words, events in their order, and what is refused.

Called as: serve_responses_test.py BUILD/fovea SOURCE_FOLDER [unittest arguments].
"""
import json
import tempfile
import unittest

from serve_runner import Server, ServeTest, main, tiny_model

ASK = {"input": "Hi", "max_output_tokens": 12, "temperature": 0, "seed": 1}
ORDER = ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
CLOSE = ["response.output_text.done", "response.content_part.done", "response.output_item.done"]


class ResponsesTest(ServeTest):
    @classmethod
    def path(cls):
        return tiny_model(cls.folder.name)

    def chat(self, messages):
        status, answer = self.server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 12, "temperature": 0, "seed": 1})
        self.assertEqual(status, 200, answer)
        return answer["choices"][0]["message"]["content"]

    def ask(self, **body):
        status, answer = self.server.post("/v1/responses", dict(ASK, **body))
        self.assertEqual(status, 200, answer)
        return answer

    def test_it_is_the_answer_of_the_chat(self):
        user = {"role": "user", "content": "Hi"}
        answer = self.ask()
        message = answer["output"][0]
        self.assertEqual((answer["object"], message["type"], message["role"]), ("response", "message", "assistant"))
        self.assertEqual(message["content"][0]["text"], self.chat([user]))
        self.assertIn(answer["status"], ("completed", "incomplete"))
        self.assertEqual(answer["usage"]["total_tokens"], answer["usage"]["input_tokens"] + answer["usage"]["output_tokens"])
        told = self.ask(instructions="Be brief", input=[
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes.", "annotations": []}]}, user])
        self.assertEqual(told["output"][0]["content"][0]["text"],
                         self.chat([{"role": "system", "content": "Be brief"}, user, {"role": "assistant", "content": "Yes."}, user]))

    def test_events_come_in_their_order(self):
        status, headers, raw = self.server.ask("POST", "/v1/responses", dict(ASK, stream=True))
        self.assertEqual((status, headers["Content-Type"].split(";")[0]), (200, "text/event-stream"))
        events = []
        for part in raw.decode().strip().split("\n\n"):
            name, data = part.split("\n")
            events.append(json.loads(data[len("data: "):]))
            self.assertEqual(name, "event: " + events[-1]["type"])
        names, whole = [event["type"] for event in events], self.ask()
        self.assertEqual(names[:4], ORDER)
        self.assertEqual(names[-4:-1], CLOSE)
        self.assertEqual(names[-1], "response." + whole["status"])
        self.assertEqual(set(names[4:-4]) - {"response.output_text.delta"}, set())
        numbers = [event["sequence_number"] for event in events]
        self.assertEqual(numbers, sorted(set(numbers)))
        text = whole["output"][0]["content"][0]["text"]
        self.assertEqual("".join(event.get("delta", "") for event in events), text)
        self.assertEqual(events[-1]["response"]["output"][0]["content"][0]["text"], text)
        self.assertEqual(len({event["item_id"] for event in events if "item_id" in event}), 1)

    def test_what_is_not_there_is_refused_by_name(self):
        for field, value in (("store", True), ("previous_response_id", "resp_1"), ("background", True), ("n", 2), ("tools", [{"type": "web_search"}]),
                             ("text", {"format": {"type": "json_schema"}}), ("input", []), ("input", 1), ("input", [{"type": "item_reference", "id": "x"}]),
                             ("input", [{"role": "user"}]), ("instructions", 1), ("max_tokens", 3), ("truncation", "auto"), ("speed", 1)):
            status, answer = self.server.post("/v1/responses", dict(ASK, **{field: value}))
            self.assertEqual(status, 400, (field, answer))
            self.assertIn(field, answer["error"]["message"])


class CorsTest(ServeTest):
    def test_only_pages_of_named_origins_may_ask(self):
        with tempfile.TemporaryDirectory() as folder:
            path = tiny_model(folder)
            for origins, asked, wanted in (("https://a.example,http://b:1", "http://b:1", "http://b:1"), ("https://a.example", "https://a.example.evil", None),
                                           ("*", "http://c", "*"), (None, "http://c", None)):
                server = Server(path, "--api-key", "k", *(("--cors-origins", origins) if origins else ()))
                try:
                    status, headers, _ = server.ask("OPTIONS", "/v1/chat/completions", None, {"Origin": asked, "Access-Control-Request-Method": "POST"})
                    self.assertEqual((status, headers.get("Access-Control-Allow-Origin")), (204 if wanted else 401, wanted))
                    self.assertEqual(headers.get("Access-Control-Allow-Methods"), "GET, POST, OPTIONS" if wanted else None)
                    status, headers, _ = server.ask("GET", "/v1/models", None, {"Origin": asked, "Authorization": "Bearer k"})
                    self.assertEqual((status, headers.get("Access-Control-Allow-Origin")), (200, wanted))
                    self.assertIsNone(server.ask("GET", "/v1/models", None, {"Authorization": "Bearer k"})[1].get("Access-Control-Allow-Origin"))
                finally:
                    self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    main()
