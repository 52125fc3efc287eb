"""How the next token is chosen, and an answer's text as it grows."""
from __future__ import annotations

import codecs
import dataclasses
import os
from typing import Any, Iterable

import numpy

from . import _fovea


@dataclasses.dataclass(frozen=True)
class Sampling:
    """llama.cpp's default chain: penalties, top-k, top-p, min-p, temperature, draw.

    ================= ====================================================================================
    temperature       0 or less: the most likely token
    top_k             0 or less: off
    top_p             1 or more: off
    min_p             0 or less: off
    repeat_penalty    1: off; of tokens among the last `repeat_last`, the prompt's, too
    repeat_last       0: no penalties; -1: all tokens
    presence_penalty  0: off
    frequency_penalty 0: off
    seed              None: another one each time. Same seed, same logits: same tokens on every machine
    ================= ====================================================================================
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    repeat_last: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None


class Sampler(_fovea.Sampler):
    """Chooses tokens of one sequence, one after the other.

    Raises ValueError: settings out of their range.
    """

    def __init__(self, vocabulary: int, sampling: Sampling = Sampling(), context: int = 0) -> None:
        s = sampling
        seed = int.from_bytes(os.urandom(4), "little") if s.seed is None else s.seed & 0xFFFFFFFF
        super().__init__(vocabulary, s.temperature, s.top_k, s.top_p, s.min_p, s.repeat_penalty, s.repeat_last,
                         s.presence_penalty, s.frequency_penalty, seed, context or 1)

    def next(self, logits: numpy.ndarray[Any, Any]) -> int:
        """The next token from its logits, f32 [vocabulary], which stay as they are. It is not accepted by that. O(vocabulary)."""
        return self._next(numpy.ascontiguousarray(logits, numpy.float32).tobytes())

    def accept(self, tokens: int | Iterable[int]) -> None:
        """Counts tokens for the penalties: those of the prompt, and each that was chosen."""
        for token in (tokens,) if isinstance(tokens, int) else tokens:
            self._accept(int(token))

    def forbid(self, token: int) -> None:
        """Never chooses `token` from now on."""
        self._forbid(token)


class TextStream:
    """Bytes of tokens in, text out: whole characters only, nothing that may become a stop text, nothing after one."""

    def __init__(self, stops: Iterable[str] = (), errors: str = "replace") -> None:
        self._stops = [stop.encode() for stop in stops if stop]
        self._held = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors)
        self.stopped = False  # a stop text was met

    def add(self, piece: bytes) -> str:
        """What can be shown now."""
        if self.stopped:
            return ""
        held = self._held + piece
        met = [place for place in (held.find(stop) for stop in self._stops) if place >= 0]
        if met:
            self.stopped, self._held = True, b""
            return self._decoder.decode(held[:min(met)], True)
        keep = max((count for stop in self._stops for count in range(1, min(len(stop), len(held) + 1))
                    if held.endswith(stop[:count])), default=0)
        self._held = held[len(held) - keep:]
        return self._decoder.decode(held[:len(held) - keep])

    def finish(self) -> str:
        """The rest: the answer is over."""
        held, self._held = self._held, b""
        return "" if self.stopped else self._decoder.decode(held, True)
