"""Policies: which keys a query reads. The text is that of the command line and of C: include/fovea/policy_text.h."""
from __future__ import annotations

from typing import TypedDict

from . import _fovea


class PolicyFields(TypedDict):
    """What the extension says of a policy."""

    text: str
    chooses: bool
    window: int
    sinks: int
    budget: float
    pages: int
    top_p: float
    quality: float
    certificate: bool
    tail: bool
    shadow: bool


class Policy:
    """Which keys each query reads: a line of text, checked and made canonical.

    `text` is a name and keys: ``dense``; ``window:window=512,sinks=16``; ``fovea:budget=0.12``. Keys may also be given as
    arguments, `-` being `_`. Numbers are shares (0 to 1), tokens, or pages of 16 tokens, as their names say:

    =============== ========================================================================================
    ``budget``      share of the visible keys that a row reads, above 0, at most 1
    ``pages``       the same in pages of 16 tokens
    ``top_p``       the same as a share of the estimated mass; at most one of the three
    ``floor``       least pages of ``budget`` and ``top_p``
    ``floor_share`` of a floor of more than 64 pages, the share of the visible keys that it holds at most
    ``window``      newest tokens that are always read
    ``sinks``       first tokens that are always read
    ``question``    last tokens of each prompt that read everything
    ``quality``     relative error that is aimed at; an estimate, no bound
    =============== ========================================================================================

    Raises PolicyError for a text that it can't be; the message names the key. Immutable.

    >>> Policy("fovea", budget=0.12)
    Policy('fovea:budget=0.12')
    >>> Policy("fovea:window=128,budget=0.12") == Policy("fovea", budget=0.12)
    True
    """

    __slots__ = ("_said",)
    _said: PolicyFields

    def __init__(self, text: str | Policy = "fovea", **keys: float | int | str | bool) -> None:
        parts = [str(text)] if ":" in str(text) or not keys else [str(text) + ":"]
        for name, value in keys.items():
            said = ("off", "on")[value] if isinstance(value, bool) else format(value, ".9g") if isinstance(value, float) else value
            parts.append("%s%s=%s" % ("," if not parts[-1].endswith(":") else "", name.replace("_", "-"), said))
        object.__setattr__(self, "_said", _fovea.policy("".join(parts)))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Policy is immutable: make another one")

    @property
    def text(self) -> str:
        """The canonical text: keys that have their default are left out."""
        return self._said["text"]

    @property
    def chooses(self) -> bool:
        """Whether it chooses by the queries; a Cache then keeps a copy of its keys in 2 bits a channel."""
        return self._said["chooses"]

    @property
    def budget(self) -> float:
        """Share of the visible keys, 0 where another amount is set."""
        return self._said["budget"]

    @property
    def pages(self) -> int:
        """Pages of 16 tokens, 0 where another amount is set."""
        return self._said["pages"]

    @property
    def top_p(self) -> float:
        """Share of the estimated mass, 0 where another amount is set."""
        return self._said["top_p"]

    @property
    def window(self) -> int:
        """Newest tokens that are always read."""
        return self._said["window"]

    @property
    def sinks(self) -> int:
        """First tokens that are always read."""
        return self._said["sinks"]

    @property
    def quality(self) -> float:
        """Relative error that is aimed at, 0 where none is."""
        return self._said["quality"]

    @property
    def certificate(self) -> bool:
        """Whether reports say how far the output may be from the dense one."""
        return self._said["certificate"]

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return "Policy(%r)" % self.text

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Policy) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)
