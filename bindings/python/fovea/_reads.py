"""Which pages of the context each token of an answer read: plain data, which others draw."""
from __future__ import annotations

import codecs
import dataclasses
from typing import Any, Sequence

import numpy

from ._reads_view import figure_of, html_of

LEFT_OUT_FIRST, LEFT_OUT_LAST = 1, 4  # pages: as `fovea run --show-reads` leaves them out


@dataclasses.dataclass(frozen=True)
class Reads:
    """What the tokens of an answer read.

    ============ ==========================================================================================================
    tokens       the answer, token by token: str [n]; joined they are its text
    pages        the context, page by page, the answer at its end: str [p]; joined they are its text, control tokens included
    weights      share of all that token i read that it read in page j, all layers and heads alike: f32 [n, p]. A row sums to
                 1, or is 0 where the model has layers with sliding windows only
    page_tokens  tokens of a page: 16. Page j holds tokens j * page_tokens and on; the last one may be shorter
    prompt_pages pages that were there before the answer began: `pages[:prompt_pages]` is the document and the question
    ============ ==========================================================================================================
    """

    tokens: tuple[str, ...]
    pages: tuple[str, ...]
    weights: numpy.ndarray[Any, Any]
    page_tokens: int
    prompt_pages: int
    prompt_tokens: int

    def distant(self) -> numpy.ndarray[Any, Any]:
        """`weights` without the first page and the last four that a token sees: sinks and neighbours, which would always come
        first. f32 [n, p]."""
        weights = self.weights.copy()
        weights[:, :LEFT_OUT_FIRST] = 0
        for token in range(len(self.tokens)):
            seen = (self.prompt_tokens + token - 1) // self.page_tokens + 1
            weights[token, max(seen - LEFT_OUT_LAST, 0):] = 0
        return weights

    def passages(self, token: int, count: int = 3) -> list[tuple[float, str]]:
        """The `count` pages that token number `token` read most, as (share, text), the largest first; without sinks and
        neighbours, as `distant` has it."""
        row = self.distant()[token]
        order = numpy.argsort(-row, kind="stable")[:count]
        return [(float(row[page]), self.pages[page]) for page in order if row[page] > 0]

    def _repr_html_(self) -> str:
        """For notebooks: the answer, and the document shaded by what the word pointed at read, without sinks and neighbours."""
        return html_of(self)

    def figure(self, axes: Any = None) -> Any:
        """The same as a figure of matplotlib's (`pip install matplotlib`), tokens over pages; drawn into `axes` if they are given."""
        return figure_of(self, axes)

    def __repr__(self) -> str:
        return "<fovea.Reads: %d tokens over %d pages>" % (len(self.tokens), len(self.pages))


def texts(pieces: Sequence[bytes]) -> tuple[str, ...]:
    """Bytes as text: a character whose bytes are in two pieces is in the second; bytes that are none become U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return tuple(decoder.decode(piece, number == len(pieces) - 1) for number, piece in enumerate(pieces))
