"""Answers that are JSON, of a schema if there is one: which texts can still become such an answer."""
from __future__ import annotations

import functools
import json
import re
from typing import Any, Callable

import numpy

from ._errors import UnsupportedError

TRIES_FIRST = 3  # tokens drawn that do not fit, after which all that begin with a byte that does not are out,
TRIES = 24  # and after which the likeliest ones that do are looked for
KEPT = 8    # of those, as many are drawn from
SPACE = re.compile(r"\n[ \t]{0,20}| ?")
NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,16})?([eE][-+]?[0-9]{1,3})?")
INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,15})")
PREFIX = re.compile(r"-?((0|[1-9][0-9]{0,15})(\.([0-9]{1,16}([eE]([-+]?[0-9]{0,3})?)?)?|[eE]([-+]?[0-9]{0,3})?)?)?")
INTEGER_PREFIX = re.compile(r"-?(0|[1-9][0-9]{0,15})?")
KNOWN = {"type", "properties", "required", "items", "enum", "const", "title", "description", "default", "examples", "$schema", "$id",
         "additionalProperties", "anyOf", "oneOf", "minItems", "maxItems"}
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


class _More(Exception):
    """The text ends before the value does."""


class _Wrong(Exception):
    """No text that begins so is a value."""


def check_schema(schema: Any) -> None:
    """UnsupportedError: it asks for more than is looked at."""
    if not isinstance(schema, dict):
        raise UnsupportedError("a JSON schema is an object here, not %r" % (schema,))
    unknown = sorted(set(schema) - KNOWN)
    if unknown:
        raise UnsupportedError("JSON schema: %s is not known here; there are %s" % (", ".join(unknown), ", ".join(sorted(KNOWN))))
    kinds = schema.get("type", [])
    if not set([kinds] if isinstance(kinds, str) else kinds) <= set(TYPES):
        raise UnsupportedError("JSON schema: type is one of %s, not %r" % (", ".join(TYPES), kinds))
    inner = list(schema.get("properties", {}).values()) + schema.get("anyOf", []) + schema.get("oneOf", [])
    for one in inner + ([schema["items"]] if "items" in schema else []):
        check_schema(one)


class _Reader:
    """Reads a value from a text as far as it goes."""

    def __init__(self, text: str) -> None:
        self.text, self.place = text, 0

    def peek(self) -> str:
        if self.place == len(self.text):
            raise _More
        return self.text[self.place]

    def space(self) -> None:
        found = SPACE.match(self.text, self.place)
        self.place = found.end() if found else self.place

    def word(self, word: str) -> None:
        there = self.text[self.place:self.place + len(word)]
        if not word.startswith(there):
            raise _Wrong
        if len(there) < len(word):
            raise _More
        self.place += len(word)

    def one_of(self, words: list[str]) -> None:
        self.any_of([functools.partial(self.word, word) for word in words])

    def any_of(self, readers: list[Callable[[], None]]) -> None:
        """The one that reads furthest; more, if one wants it and no other reads all that there is."""
        start, best, wants_more = self.place, -1, False
        for reader in readers:
            self.place = start
            try:
                reader()
                best = max(best, self.place)
            except _More:
                wants_more = True
            except _Wrong:
                pass
        if best < len(self.text) and wants_more:
            raise _More
        if best < 0:
            raise _Wrong
        self.place = best

    def string(self) -> str:
        start = self.place
        self.word('"')
        while self.peek() != '"':
            char = self.peek()
            if char < " ":
                raise _Wrong
            self.place += 1
            if char == "\\":
                escape = self.peek()
                if escape not in '"\\/bfnrtu':
                    raise _Wrong
                self.place += 1
                for _ in range(4 if escape == "u" else 0):
                    if self.peek() not in "0123456789abcdefABCDEF":
                        raise _Wrong
                    self.place += 1
        self.place += 1
        return self.text[start:self.place]

    def number(self, whole: re.Pattern[str], prefix: re.Pattern[str]) -> None:
        found = whole.match(self.text, self.place)
        end = found.end() if found else self.place
        begun = prefix.match(self.text, self.place)
        if begun and begun.end() == len(self.text) and (not found or end < len(self.text)):
            raise _More
        if not found:
            raise _Wrong
        self.place = end

    def value(self, schema: Any) -> None:
        for name in ("anyOf", "oneOf"):
            if name in schema:
                return self.any_of([functools.partial(self.value, one) for one in schema[name]])
        if "const" in schema or "enum" in schema:
            allowed = [schema["const"]] if "const" in schema else schema["enum"]
            return self.one_of([json.dumps(one, ensure_ascii=False) for one in allowed])
        kinds = schema.get("type", "object" if "properties" in schema else TYPES)
        self.any_of([functools.partial(self.of_type, kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)])

    def of_type(self, kind: str, schema: Any) -> None:
        if kind == "object":
            self.object(schema)
        elif kind == "array":
            self.array(schema)
        elif kind == "string":
            self.string()
        elif kind == "boolean":
            self.one_of(["true", "false"])
        elif kind == "null":
            self.word("null")
        else:
            self.number(*((INTEGER, INTEGER_PREFIX) if kind == "integer" else (NUMBER, PREFIX)))

    def array(self, schema: Any) -> None:
        self.word("[")
        self.space()
        count = 0
        while self.peek() != "]" or count < schema.get("minItems", 0):
            if count >= schema.get("maxItems", 1 << 30):
                raise _Wrong
            if count:
                self.word(",")
                self.space()
            self.value(schema.get("items", {}))
            self.space()
            count += 1
        self.place += 1

    def object(self, schema: Any) -> None:
        """Members of a schema come in its order, and those that are required must."""
        properties = schema.get("properties")
        left, required = list(properties or ()), set(schema.get("required", ()))
        self.word("{")
        self.space()
        count = 0
        while self.peek() != "}" or required & set(left):
            if count:
                self.word(",")
                self.space()
            self.value(self.member(properties, left, required))
            self.space()
            count += 1
        self.place += 1

    def member(self, properties: Any, left: list[str], required: set[str]) -> Any:
        """Reads a name and a colon; the schema of what follows."""
        start = self.place
        if properties is None:
            self.string()
        else:
            last = next((i for i, name in enumerate(left) if name in required), len(left) - 1)
            self.one_of([json.dumps(name, ensure_ascii=False) for name in left[:last + 1]])
            name = json.loads(self.text[start:self.place])
            del left[:left.index(name) + 1]
        self.word(":")
        self.space()
        return {} if properties is None else properties[name]


def state_of(text: str, schema: Any) -> str:
    """"whole", "begun" or "wrong": whether `text` is a value of the schema, can become one, or can't."""
    reader = _Reader(text)
    try:
        reader.value(schema)
    except _More:
        return "begun"
    except _Wrong:
        return "wrong"
    return "whole" if reader.place == len(text) else "wrong"


class LlamaGrammar:
    """llama-cpp-python's name for what answers may be: JSON of a schema here. Others are refused."""

    def __init__(self, schema: Any = None) -> None:
        check_schema(schema or {})
        self.schema = schema

    @classmethod
    def from_json_schema(cls, json_schema: str, verbose: bool = True) -> LlamaGrammar:
        """Of a schema's text. UnsupportedError: it asks for what is not looked at (patterns, references, limits)."""
        return cls(json.loads(json_schema))

    @classmethod
    def from_string(cls, grammar: str, verbose: bool = True) -> LlamaGrammar:
        """Refused: GBNF is not read here."""
        raise UnsupportedError("grammars in GBNF are not read here: LlamaGrammar.from_json_schema(), or response_format")


def first_bytes(count: int, piece: Callable[[int], bytes], is_end: Callable[[int], bool]) -> Any:
    """The first byte of each token's text; 256: it ends an answer; 257: it has no text."""
    return numpy.array([256 if is_end(token) else (piece(token)[:1] or [257])[0] for token in range(count)])


class JsonGuide:
    """Draws tokens whose text keeps an answer JSON of the schema: objects, unless it says what else. firsts: of `first_bytes`."""

    def __init__(self, schema: Any, piece: Callable[[int], bytes], is_end: Callable[[int], bool], firsts: Any) -> None:
        self.schema = schema or {"type": "object"}
        check_schema(self.schema)
        self.piece, self.is_end, self.firsts = piece, is_end, firsts
        self.text = b""

    def _fits(self, token: int) -> bool:
        if self.is_end(token):
            return self.whole
        piece = self.piece(token)
        return piece != b"" and state_of((self.text + piece).decode("utf-8", "surrogateescape"), self.schema) != "wrong"

    @property
    def whole(self) -> bool:
        """Whether the answer is complete as it is."""
        return state_of(self.text.decode("utf-8", "surrogateescape"), self.schema) == "whole"

    @property
    def final(self) -> bool:
        """Whether it is complete and nothing can follow."""
        return self.text[-1:] in (b"}", b"]", b'"') and self.whole

    def draw(self, next_of: Callable[[Any], int], logits: Any) -> int:
        """The token that `next_of` draws from logits without those that do not fit."""
        logits = numpy.array(logits, numpy.float32)
        for tried in range(TRIES):
            token = next_of(logits)
            if numpy.isfinite(logits[token]) and self._fits(token):
                return self._take(token)
            logits[token] = -numpy.inf
            if tried == TRIES_FIRST:
                logits[~self._begin_well()] = -numpy.inf
        fitting: list[int] = []
        for token in numpy.argsort(-logits, kind="stable"):
            if numpy.isfinite(logits[token]) and self._fits(int(token)):
                fitting.append(int(token))
                if len(fitting) == KEPT:
                    break
        if not fitting:
            raise UnsupportedError("the vocabulary has no token that keeps %r JSON of the schema" % self.text[-40:])
        masked = numpy.full(len(logits), -1e30, numpy.float32)
        masked[fitting] = logits[fitting]
        token = next_of(masked)
        return self._take(token if token in fitting else fitting[0])

    def _begin_well(self) -> Any:
        """Which tokens begin with a byte that fits, or end an answer that is whole: bool [vocabulary]."""
        text = self.text.decode("utf-8", "surrogateescape")
        after_ascii = state_of(text + "\u00e9", self.schema) != "wrong"
        fits = [state_of(text + chr(byte), self.schema) != "wrong" if byte < 0x80 else after_ascii for byte in range(256)]
        return numpy.array([*fits, self.whole, False])[self.firsts]

    def _take(self, token: int) -> int:
        if not self.is_end(token):
            self.text += self.piece(token)
        return token
