"""A model file opened, and what conversations with it have read: fovea's own names for models."""
from __future__ import annotations

import asyncio
import json
import os
from typing import Any, AsyncIterator, Iterable, Iterator, Mapping, Sequence as Series

import numpy

from . import _fovea
from ._errors import CorruptError, FileError, RangeError, UnsupportedError
from ._policy import Policy
from ._report import Report
from ._sampling import Sampler, Sampling

REPACK = {"auto": 0, "on": 1, "off": 2}
ADD_SPECIAL, PARSE_SPECIAL = 1, 2
ENDS = {"plain": 0, "turn": 1, "answer": 2}

Tokens = Iterable[int]



def ids_of(data: bytes) -> list[int]:
    return numpy.frombuffer(data, numpy.int32).tolist()  # type: ignore[no-any-return]


def bytes_of(tokens: Tokens) -> bytes:
    return numpy.asarray(tokens if isinstance(tokens, (list, tuple, numpy.ndarray)) else list(tokens)).astype(numpy.int32).tobytes()


def content_of(message: Mapping[str, Any]) -> str:
    """The text of a message: a string, or a list of parts that are text."""
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    if any(part.get("type") != "text" for part in content):
        raise UnsupportedError("messages are text here: images and sounds are not read")
    return "".join(part["text"] for part in content)


class Engine(_fovea.Engine):
    """A GGUF file and what all conversations with it share: weights, threads, memory of their caches.

    Parameters
    ----------
    model : path
        A GGUF file; of a split one the first part.
    attention : policy
        "dense" or what `fovea.Policy` reads, such as "fovea:budget=0.12": of sequences that ask for nothing else.
    context : int
        Most tokens of a sequence; 0, the default: as many as the model was trained on. Memory comes as tokens come.
    threads : int
        0: one for each processor. They change no bit of any result.
    batch : int
        Most tokens of a step.
    dtype, value_dtype : "f32", "f16", "bf16", "q8_0" or "q4_0"
        How keys (and values, if they differ) are stored.
    tune : path, "none" or None
        What was tuned for the model; None: MODEL.fovea.json if it is there.
    repack : "auto", "on" or "off"
        Whether weights are interleaved for speed when the file is opened.
    memory_limit : int
        Bytes of all sequences' caches; 0: no limit.
    allow_keys : tuple of str
        Metadata keys that are not understood and change nothing.

    Raises FileError, CorruptError, UnsupportedError (architecture, tensor type or key, named), PolicyError, MemoryShortage.
    Any number of threads may use one engine, each with sequences of its own. It does not outlive a fork of the process.
    C: include/fovea/engine.h.
    """

    def __init__(self, model: str | os.PathLike[str], *, attention: str | Policy = "dense", context: int = 0, threads: int = 0,
                 batch: int = 512, dtype: str = "f16", value_dtype: str | None = None, tune: str | os.PathLike[str] | None = None,
                 repack: str = "auto", memory_limit: int = 0, exact_activations: bool = False, allow_keys: Series[str] = ()) -> None:
        if repack not in REPACK:
            raise ValueError("repack is auto, on or off, not %s" % repack)
        for name, value in (("context", context), ("threads", threads), ("batch", batch), ("memory_limit", memory_limit)):
            if value < 0:
                raise ValueError("%s: 0 or more, not %d" % (name, value))
        super().__init__(os.fsencode(model), threads, context, batch, dtype, value_dtype or dtype, str(attention),
                         None if tune is None else os.fsencode(tune), REPACK[repack], int(exact_activations), memory_limit,
                         tuple(key.encode() for key in allow_keys))
        self.model = os.fspath(model)
        self.attention = str(attention)
        self.info: dict[str, Any] = self._info
        self.vocabulary: int = self.info["vocabulary"]
        self.context: int = self.info["context"]

    @property
    def metadata(self) -> dict[str, Any]:
        """What the file says: {key: number, truth value or str}; arrays are None."""
        return {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") if isinstance(value, bytes) else value
                for key, value in self._metadata().items()}

    @property
    def nbytes(self) -> int:
        """Bytes of all sequences' caches now, shared ones once."""
        return self._bytes

    def tokenize(self, text: str | bytes, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """The ids of a text. add_special: with the beginning token where the model wants one; parse_special: the text of a
        control token is that token."""
        flags = ADD_SPECIAL * bool(add_special) | PARSE_SPECIAL * bool(parse_special)
        return ids_of(self._encode(text.encode() if isinstance(text, str) else bytes(text), flags))

    def detokenize(self, tokens: Tokens, *, special: bool = False) -> str:
        """The text of ids; control tokens give their text if `special`. ValueError: there is no such id."""
        return self._decode(bytes_of(tokens), special).decode("utf-8", "replace")

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of one token, which may be a part of a character."""
        return self._piece(token, special)

    def is_end(self, token: int) -> bool:
        """Whether `token` ends an answer."""
        return self._is_end(token)

    def chat(self, messages: Iterable[Mapping[str, Any]], format: str | None = None) -> list[int]:
        """The ids of a chat whose next turn is the assistant's, in the template `format` ("chatml", "llama3", ...; None: the
        model's, which is run if it is of no known family). What people write can't forge a turn: text of control tokens is text in it.

        Raises UnsupportedError (the file has no template, or one that can't be run), ValueError (another role or format).
        """
        turns = [(str(message["role"]), content_of(message)) for message in messages]
        try:
            return ids_of(self._chat(format, tuple((role.encode(), content.encode()) for role, content in turns)))
        except UnsupportedError:
            if format is not None or b"tokenizer.chat_template" not in self._metadata():
                raise
        asked = {"messages": [{"role": role, "content": content} for role, content in turns], "add_generation_prompt": True}
        return ids_of(self._template(json.dumps(asked).encode()))

    def sequence(self, attention: str | Policy | None = None, context: int = 0) -> Sequence:
        """An empty `Sequence`."""
        return Sequence(self, attention, context)

    def step(self, parts: Iterable[tuple[Sequence, Tokens]]) -> numpy.ndarray[Any, Any]:
        """One forward pass over tokens of many sequences: the weights are read once for all of them.

        parts: (sequence, its next tokens), at most `batch` tokens in all, no sequence twice. Returns the logits of the last
        token of each, f32 [parts, vocabulary]. If it raises, every sequence holds what it held. A row has the same bits
        whoever else is in the step.
        """
        logits = self._step(tuple((sequence, bytes_of(tokens)) for sequence, tokens in parts))
        return numpy.frombuffer(logits, numpy.float32).reshape(-1, self.vocabulary)

    def read(self, text: str | Tokens, path: str | os.PathLike[str] | None = None, attention: str | Policy | None = None) -> Sequence:
        """A sequence that holds `text`: woken from the session at `path` if one of these tokens and this model is there, else
        read, and kept there. What can't be used there is replaced. None: read."""
        sequence = self.sequence(attention)
        tokens = self.tokenize(text) if isinstance(text, str) else list(text)
        if path is not None and os.path.exists(path) and sequence._wakes(path, tokens):
            return sequence
        sequence.feed(tokens, None)
        if path is not None:
            sequence.save(path)
        return sequence

    def __repr__(self) -> str:
        return "<fovea.Engine: %s, %s, %d tokens>" % (os.path.basename(self.model), self.info["architecture"], self.context)


class Sequence(_fovea.Sequence):
    """What one conversation has in the cache. One call at a time: a second thread's raises RuntimeError.

    attention, context: the engine's, unless they are said. The cache has what this policy needs; `attention` may be set later to
    another one with the same needs.
    """

    def __init__(self, engine: Engine, attention: str | Policy | None = None, context: int = 0) -> None:
        super().__init__(engine, context, None if attention is None else str(attention))
        self.engine = engine
        self._attention = engine.attention if attention is None else str(attention)

    def feed(self, tokens: Tokens, logits: str | None = "last", *, prompt: bool = False) -> Any:
        """Evaluates `tokens` after those that are held.

        logits: "last": returns those of the last token, f32 [vocabulary]; "all": of all, f32 [tokens, vocabulary]; None.
        prompt: they are a prompt: its last ones, as many as the policy's `question` says, read everything.
        Threads that feed sequences of one engine at the same time share steps: the weights are read once for all. Ctrl-C ends
        it after a batch; what was evaluated stays. Raises FullError (nothing is evaluated), ValueError (an id outside the
        vocabulary), NotFiniteError and RangeError (damaged weights, or values beyond the cache's type: the text says where).
        """
        if logits not in ("last", "all", None):
            raise ValueError('logits: "last", "all" or None, not %r' % (logits,))
        found = self._feed(bytes_of(tokens), 0 if logits is None else 1 if logits == "last" else 2, prompt)
        if found is None:
            return None
        rows = numpy.frombuffer(found, numpy.float32)
        return rows if logits == "last" else rows.reshape(-1, self.engine.vocabulary)

    async def afeed(self, tokens: Tokens, logits: str | None = "last", *, prompt: bool = False) -> Any:
        """`feed` that others need not wait for: in a thread, in steps with whoever feeds at the same time."""
        return await asyncio.to_thread(self.feed, tokens, logits, prompt=prompt)

    def fork(self) -> Sequence:
        """A second sequence with the same tokens; both share memory until one of them writes. O(tokens / 1,024)."""
        fork = type(self).__new__(type(self))
        fork._fork(self)
        fork.engine, fork._attention = self.engine, self._attention
        return fork

    def truncate(self, tokens: int) -> None:
        """Forgets all tokens after the first `tokens`. Where layers with a sliding window have forgotten what those need, they are
        evaluated again. ValueError if there are fewer."""
        if tokens < 0 or tokens > len(self):
            raise ValueError("truncate: 0 to %d tokens, not %d" % (len(self), tokens))
        if not self._truncate(tokens):
            kept = self.tokens[:tokens]
            self._truncate(0)
            self.feed(kept, None)

    def generate(self, tokens: Tokens, max_tokens: int | None = None, sampling: Sampling = Sampling(), *,
                 ignore_end: bool = False) -> Iterator[int]:
        """Evaluates `tokens` as a prompt, then yields the answer's, one by one; a token is evaluated when the next one is wanted. It ends with
        an end token, which is not yielded, after `max_tokens`, or when the context is full."""
        sampler, fed = self._sampler(tokens, sampling, ignore_end)
        for number in self._room(fed, max_tokens):
            token = sampler.next(self.feed(fed, prompt=number == 0))
            if self.engine.is_end(token):
                return
            sampler.accept(token)
            yield token
            fed = [token]

    async def agenerate(self, tokens: Tokens, max_tokens: int | None = None, sampling: Sampling = Sampling(), *,
                        ignore_end: bool = False) -> AsyncIterator[int]:
        """`generate` for `async for`: the same tokens, evaluated in steps with all that generate at the same time."""
        sampler, fed = self._sampler(tokens, sampling, ignore_end)
        for number in self._room(fed, max_tokens):
            token = sampler.next(await self.afeed(fed, prompt=number == 0))
            if self.engine.is_end(token):
                return
            sampler.accept(token)
            yield token
            fed = [token]

    def _sampler(self, tokens: Tokens, sampling: Sampling, ignore_end: bool) -> tuple[Sampler, list[int]]:
        fed = [int(token) for token in tokens]
        sampler = Sampler(self.engine.vocabulary, sampling, self.context)
        sampler.accept(self.tokens)
        sampler.accept(fed)
        if ignore_end:
            for token in range(self.engine.vocabulary):
                if self.engine.is_end(token):
                    sampler.forbid(token)
        return sampler, fed

    def _room(self, fed: list[int], max_tokens: int | None) -> range:
        room = self.context - len(self) - len(fed) + 1  # the last one need not be evaluated
        return range(max(room, 1) if max_tokens is None or max_tokens < 0 else min(max(room, 1), max_tokens))

    def save(self, path: str | os.PathLike[str], end: str = "plain") -> None:
        """Writes what is held to `path`, whole or not at all, to be woken in another process. end: what the text ends with, for
        `fovea run --session`: "plain", a user's "turn" that is open, or an "answer". Raises FileError. O(bytes)."""
        if end not in ENDS:
            raise ValueError("end: plain, turn or answer, not %s" % end)
        self._save(path, ENDS[end])

    def wake(self, path: str | os.PathLike[str], tokens: int = 0) -> None:
        """Holds the first `tokens` (0: all) of a session file in place of what it held: the same bits as if they had been fed. They
        stay where they are mapped and are shared by all that wake from the file. Raises FileError, CorruptError,
        UnsupportedError (another model, or types or a policy with other needs), FullError."""
        self._wake(path, tokens)

    def _wakes(self, path: str | os.PathLike[str], tokens: list[int]) -> bool:
        """Wakes if the file holds these tokens, or more that begin so, for this model; else the sequence stays as it is."""
        try:
            if ids_of(_fovea.session_info(path)["ids"])[:len(tokens)] != tokens:
                return False
            self._wake(path, len(tokens))
        except (CorruptError, FileError, RangeError, UnsupportedError):
            return False
        return True

    @property
    def tokens(self) -> list[int]:
        """The ids that are held."""
        return ids_of(self._ids)

    @property
    def attention(self) -> str:
        """The policy of the next feed. Setting one that the cache has not what it needs for is a PolicyError."""
        return self._attention

    @attention.setter
    def attention(self, policy: str | Policy) -> None:
        self._set_policy(str(policy))
        self._attention = str(policy)

    @property
    def report(self) -> Report:
        """What was read since `reset_report`."""
        return Report(**self._report)

    def reset_report(self) -> None:
        """Counts from zero."""
        self._report_reset()

    @property
    def context(self) -> int:
        """Tokens that it can hold."""
        return self._sizes[1]

    @property
    def nbytes(self) -> int:
        """Bytes of its cache, those that it shares with others, too."""
        return self._sizes[2]

    def __len__(self) -> int:
        """Tokens held."""
        return self._sizes[0]

    def __repr__(self) -> str:
        return "<fovea.Sequence: %d tokens of %d, %s>" % (len(self), self.context, self._attention)
