#!/usr/bin/env python3
"""Checks that `fovea serve` runs a model's own chat template: where its family is unknown, and for tools and variables.

Called as: serve_templates_test.py BUILD/fovea SOURCE_FOLDER [unittest arguments].
"""
import os
import tempfile
import unittest

from serve_runner import Server, ServeTest, main, tiny_model

OWN = r"""{%- for tool in tools or [] %}{{ tool | tojson + '\n' }}{% endfor %}
{%- for m in messages %}[{{ m.role }}] {{ m.content }}
{%- for call in m.tool_calls %}<tool_call>{{ call.function.arguments | tojson }}</tool_call>{% endfor %}{{ '\n' }}{% endfor %}
{%- if add_generation_prompt %}[assistant]{{ ' <think>' if enable_thinking }}{% endif %}"""
USER = {"role": "user", "content": "Hi {{ 1 }}"}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {}}}


class TemplateTest(ServeTest):
    @classmethod
    def path(cls):
        return tiny_model(cls.folder.name, **{"tokenizer.chat_template": OWN})

    def prompt(self, **body):
        status, answer = self.server.post("/apply-template", dict({"messages": [USER]}, **body))
        self.assertEqual(status, 200, answer)
        return answer["prompt"]

    def test_a_template_of_no_family_is_run(self):
        self.assertEqual(self.prompt(), "[user] Hi {{ 1 }}\n[assistant]")
        status, answer = self.server.post("/v1/chat/completions", {"messages": [USER], "max_tokens": 2})
        self.assertEqual(status, 200, answer)
        self.assertEqual(answer["choices"][0]["message"]["role"], "assistant")

    def test_tools_calls_and_variables_are_rendered(self):
        call = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": "{\"a\": \"<b>\"}"}}
        messages = [USER, {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "12"}]}]
        self.assertEqual(self.prompt(messages=messages, tools=[CLOCK], chat_template_kwargs={"enable_thinking": True}),
                         "{\"type\": \"function\", \"function\": {\"name\": \"clock\", \"parameters\": {}}}\n"
                         "[user] Hi {{ 1 }}\n[assistant] <tool_call>{\"a\": \"<b>\"}</tool_call>\n[tool] 12\n[assistant] <think>")

    def test_what_is_thought_is_told_apart(self):
        body = {"messages": [USER], "max_tokens": 3, "temperature": 0, "chat_template_kwargs": {"enable_thinking": True}}
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as file:
            file.write(OWN + "{# <think></think> #}")
            file.flush()
            server = Server(tiny_model(self.folder.name, "plain.gguf"), "--chat-template-file", file.name)
            try:
                message = server.post("/v1/chat/completions", body)[1]["choices"][0]["message"]
                events = server.stream("/v1/chat/completions", body)
            finally:
                self.assertEqual(server.stop(), 0)
        told = "".join(choice["delta"].get("reasoning_content", "") for event in events if event != "[DONE]" for choice in event["choices"])
        self.assertEqual(message["content"], "")
        self.assertEqual(told, message.get("reasoning_content", ""))

    def test_what_the_template_has_not_is_refused_by_name(self):
        for body, wanted in (({"chat_template_kwargs": {"mood": 1}}, "has no 'mood'"), ({"chat_template_kwargs": 1}, "chat_template_kwargs"),
                             ({"tools": [{}]}, "field 'tools'"), ({"tools": {}}, "field 'tools'"), ({"tool_choice": "required"}, "tool_choice"),
                             ({"messages": [{"role": "critic", "content": "x"}]}, "a role is"),
                             ({"messages": [{"role": "assistant"}]}, "'content' is missing"), ({"messages": [dict(USER, image=1)]}, "'image'")):
            status, answer = self.server.post("/v1/chat/completions", dict({"messages": [USER], "max_tokens": 1}, **body))
            self.assertEqual(status, 400, body)
            self.assertIn(wanted, answer["error"]["message"])

    def test_a_template_that_is_none(self):
        for text, flags, wanted in (("{% if %}", (), "line 1"), ("{% do x %}", (), "{% do %} is not in this version"),
                                    (OWN, ("--no-jinja",), "no known family")):
            server = Server(tiny_model(self.folder.name, "other.gguf", **{"tokenizer.chat_template": text}), *flags)
            try:
                status, answer = server.post("/v1/chat/completions", {"messages": [USER]})
            finally:
                self.assertEqual(server.stop(), 0)
            self.assertEqual(status, 501)
            self.assertIn(wanted, answer["error"]["message"])


if __name__ == "__main__":
    main()
