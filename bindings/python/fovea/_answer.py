"""An answer with what it read."""
from __future__ import annotations

import dataclasses
from typing import Any, Iterable

import numpy

from . import _fovea
from ._engine import Sequence, Tokens, bytes_of
from ._reads import Reads, texts
from ._report import Report
from ._sampling import Sampling, TextStream

PAGE_TOKENS = 16


@dataclasses.dataclass(frozen=True)
class Answer:
    """What `answer` returns.

    ============= =====================================================================================
    text          the answer, without a stop text
    tokens        its ids, without the end token
    finish_reason "end" (an end token), "text" (a stop text), "limit" (max_tokens) or "context" (it is full)
    reads         `Reads`: what each of its tokens read; None if it was not asked for
    report        `Report`: what attention read in all, prompt included
    ============= =====================================================================================
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: str
    reads: Reads | None
    report: Report

    def __str__(self) -> str:
        return self.text


class _Watched:
    """Evaluates tokens and keeps what the last of each feed read."""

    def __init__(self, sequence: Sequence) -> None:
        self.watch = _fovea.Watch(sequence.engine)
        self.sequence = sequence
        self.rows: list[numpy.ndarray[Any, Any]] = []

    def feed(self, tokens: Tokens, *, prompt: bool) -> numpy.ndarray[Any, Any]:
        logits = numpy.frombuffer(self.watch._feed(self.sequence, bytes_of(tokens), prompt), numpy.float32)
        self.rows.append(numpy.frombuffer(self.watch._pages((len(self.sequence) - 1) // PAGE_TOKENS + 1), numpy.float32))
        return logits

    def reads(self, chosen: list[int], prompt_tokens: int) -> Reads:
        """Of the tokens that were chosen from what was fed."""
        engine, count = self.sequence.engine, len(chosen)
        held = self.sequence.tokens[:prompt_tokens] + chosen
        pieces = [engine.piece(token, special=True) for token in held]
        pages = [b"".join(pieces[first:first + PAGE_TOKENS]) for first in range(0, len(pieces), PAGE_TOKENS)]
        weights = numpy.zeros((count, len(pages)), numpy.float32)
        for number, row in enumerate(self.rows[:count]):
            weights[number, :len(row)] = row
        return Reads(texts([engine.piece(token) for token in chosen]), texts(pages), weights, PAGE_TOKENS,
                     -(-prompt_tokens // PAGE_TOKENS), prompt_tokens)


def answer(sequence: Sequence, prompt: str | Tokens, max_tokens: int | None = None, sampling: Sampling = Sampling(), *,
           stop: str | Iterable[str] = (), reads: bool = False) -> Answer:
    """Reads `prompt` after what the sequence holds and answers.

    prompt: text, tokenized as the context's start if nothing is held yet, with control tokens parsed; or ids. stop: texts that
    end the answer. reads: also which pages each token read, `Answer.reads`; each token then costs what dense attention costs, in
    plain loops. Raises what `Sequence.feed` raises.

    The last token is chosen and not evaluated: the sequence holds the prompt and the answer without it.
    """
    engine = sequence.engine
    if isinstance(prompt, str):
        prompt = engine.tokenize(prompt, add_special=len(sequence) == 0, parse_special=True)
    sampler, fed = sequence._sampler(prompt, sampling, False)
    stream = TextStream((stop,) if isinstance(stop, str) else stop)
    watched = _Watched(sequence) if reads else None
    feed = watched.feed if watched else sequence.feed
    prompt_tokens = len(sequence) + len(fed)
    room = sequence._room(fed, max_tokens)
    reason = "limit" if max_tokens is not None and 0 <= max_tokens <= len(room) else "context"
    text, chosen = "", []
    for number in room:
        token = sampler.next(feed(fed, prompt=number == 0))
        if engine.is_end(token):
            reason = "end"
            break
        sampler.accept(token)
        chosen.append(token)
        text += stream.add(engine.piece(token))
        if stream.stopped:
            reason = "text"
            break
        fed = [token]
    return Answer(text + stream.finish(), tuple(chosen), reason, watched.reads(chosen, prompt_tokens) if watched else None,
                  sequence.report)
