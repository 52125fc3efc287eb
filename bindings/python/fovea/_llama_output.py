"""The dicts that completions are: OpenAI's shapes, as llama-cpp-python has them."""
from __future__ import annotations

import time
import uuid
from typing import Any, Dict, Iterable, Iterator

import numpy

Completion = Dict[str, Any]


class Head:
    """What all parts of one completion have in common."""

    def __init__(self, model: str) -> None:
        self.fields: Completion = {"id": "cmpl-%s" % uuid.uuid4(), "object": "text_completion", "created": int(time.time()),
                                   "model": model}

    def chunk(self, text: str, logprobs: dict[str, list[Any]] | None = None, finish_reason: str | None = None) -> Completion:
        """A part of a stream."""
        return {**self.fields, "choices": [{"text": text, "index": 0, "logprobs": logprobs, "finish_reason": finish_reason}]}

    def whole(self, text: str, logprobs: dict[str, list[Any]] | None, finish_reason: str, prompt: int, completion: int) -> Completion:
        """All at once, with tokens counted."""
        return {**self.chunk(text, logprobs, finish_reason), "usage": {
            "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}}


class LogprobList:
    """Log-probabilities of tokens as they come."""

    def __init__(self, top: int, offset: int) -> None:
        self.top, self.offset = top, offset
        self.clear()

    def clear(self) -> None:
        self.entries: dict[str, list[Any]] = {"tokens": [], "text_offset": [], "token_logprobs": [], "top_logprobs": []}

    def add(self, token: int, logits: numpy.ndarray[Any, Any] | None, text_of: Any) -> None:
        """logits: those that it was chosen from, or None for the first token of a text."""
        text = text_of(token)
        logprob, best = None, None
        if logits is not None:
            all_of_them = logits_to_logprobs(logits)
            order = numpy.argsort(-all_of_them, kind="stable")[:self.top]
            best = {text_of(int(one)): float(all_of_them[one]) for one in order}
            logprob = float(all_of_them[token])
            best[text] = logprob
        for name, value in zip(self.entries, (text, self.offset, logprob, best)):
            self.entries[name].append(value)
        self.offset += len(text)

    def take(self) -> dict[str, list[Any]] | None:
        """Those since the last call; None: there are none."""
        taken = self.entries
        self.clear()
        return taken if taken["tokens"] else None


def logits_to_logprobs(logits: Any, axis: int = -1) -> numpy.ndarray[Any, Any]:
    """ln softmax."""
    logits = numpy.asarray(logits, numpy.float32)
    shifted = logits - logits.max(axis=axis, keepdims=True)
    found: numpy.ndarray[Any, Any] = shifted - numpy.log(numpy.exp(shifted).sum(axis=axis, keepdims=True))
    return found


def _chat_logprobs(logprobs: dict[str, list[Any]] | None) -> dict[str, Any] | None:
    if logprobs is None:
        return None

    def one(text: Any, value: Any) -> dict[str, Any]:
        return {"token": text, "bytes": None, "logprob": value}

    return {"content": [{**one(text, value), "top_logprobs": [one(*pair) for pair in (top or {}).items()]} for text, value, top in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"])], "refusal": None}


def chat(completion: Completion) -> Completion:
    """A completion as an answer in a chat."""
    choice = completion["choices"][0]
    return {"id": "chat" + completion["id"], "object": "chat.completion", "created": completion["created"],
            "model": completion["model"], "choices": [{
                "index": 0, "message": {"role": "assistant", "content": choice["text"]},
                "logprobs": _chat_logprobs(choice["logprobs"]), "finish_reason": choice["finish_reason"]}],
            "usage": completion["usage"]}


def chat_chunks(chunks: Iterable[Completion]) -> Iterator[Completion]:
    """A stream likewise: first the role, then contents, last why it ended."""
    for number, chunk in enumerate(chunks):
        choice = chunk["choices"][0]
        head = {"id": "chat" + chunk["id"], "model": chunk["model"], "created": chunk["created"], "object": "chat.completion.chunk"}
        if number == 0:
            yield {**head, "choices": [{"index": 0, "delta": {"role": "assistant"}, "logprobs": None, "finish_reason": None}]}
        delta = {"content": choice["text"]} if choice["finish_reason"] is None else {}
        yield {**head, "choices": [{"index": 0, "delta": delta, "logprobs": _chat_logprobs(choice["logprobs"]),
                                    "finish_reason": choice["finish_reason"]}]}


def tool_call(completion: Completion, name: str) -> Completion:
    """An answer that is the arguments of the function `name`."""
    answer = chat(completion)
    call = {"name": name, "arguments": completion["choices"][0]["text"]}
    answer["choices"][0].update(finish_reason="tool_calls", message={
        "role": "assistant", "content": None, "function_call": call, "tool_calls": [{
            "id": "call__0_%s_%s" % (name, completion["id"]), "type": "function", "function": call}]})
    return answer
