"""States of a Llama, and a cache of them by their tokens."""
from __future__ import annotations

import collections
import os
import tempfile
from typing import Any, Sequence as Series

import numpy

from ._engine import Engine, Sequence


class LlamaState:
    """What `Llama.save_state` returns: a fork, which shares its memory with what goes on. Pickled it is bytes."""

    def __init__(self, sequence: Sequence, scores: numpy.ndarray[Any, Any], seed: int) -> None:
        self._held: Sequence | bytes = sequence
        self.tokens = sequence.tokens
        self.scores, self.seed = scores, seed

    @property
    def n_tokens(self) -> int:
        """Tokens held."""
        return len(self.tokens)

    @property
    def input_ids(self) -> numpy.ndarray[Any, Any]:
        """Their ids, int32."""
        return numpy.array(self.tokens, numpy.intc)

    @property
    def llama_state(self) -> bytes:
        """A session file's bytes; empty if there are no tokens."""
        if isinstance(self._held, bytes) or not self.tokens:
            return self._held if isinstance(self._held, bytes) else b""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "state")
            self._held.save(path)
            with open(path, "rb") as file:
                return file.read()

    @property
    def llama_state_size(self) -> int:
        """Bytes of the caches; of a state that was pickled those of its file."""
        return len(self._held) if isinstance(self._held, bytes) else self._held.nbytes

    def sequence(self, engine: Engine) -> Sequence:
        """A sequence of `engine` that holds the state."""
        if isinstance(self._held, Sequence) and self._held.engine is engine:
            return self._held.fork()
        made = engine.sequence()
        if self.tokens:
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "state")
                with open(path, "wb") as file:
                    file.write(self.llama_state)
                made.wake(path)
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": self.llama_state}


class LlamaRAMCache:
    """States by their tokens, for `Llama.set_cache`: the least recently used go when they take more than `capacity_bytes`. States
    that begin alike share memory, which is counted for each."""

    def __init__(self, capacity_bytes: int = 2 << 30) -> None:
        self.capacity_bytes = capacity_bytes
        self._states: collections.OrderedDict[tuple[int, ...], LlamaState] = collections.OrderedDict()

    @property
    def cache_size(self) -> int:
        """Bytes."""
        return sum(state.llama_state_size for state in self._states.values())

    def _nearest(self, key: Series[int]) -> tuple[int, ...] | None:
        best, longest = None, 0
        for tokens in self._states:
            shared = next((i for i, (a, b) in enumerate(zip(tokens, key)) if a != b), min(len(tokens), len(key)))
            if shared > longest:
                best, longest = tokens, shared
        return best

    def __getitem__(self, key: Series[int]) -> LlamaState:
        """The state that shares the longest beginning with `key`. KeyError: none does."""
        nearest = self._nearest(key)
        if nearest is None:
            raise KeyError("no state begins so")
        self._states.move_to_end(nearest)
        return self._states[nearest]

    def __contains__(self, key: Series[int]) -> bool:
        return self._nearest(key) is not None

    def __setitem__(self, key: Series[int], state: LlamaState) -> None:
        self._states.pop(tuple(key), None)
        self._states[tuple(key)] = state
        while len(self._states) > 1 and self.cache_size > self.capacity_bytes:
            self._states.popitem(last=False)


