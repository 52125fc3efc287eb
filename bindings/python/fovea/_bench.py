"""Quality against bytes: what policies read of a text, and how far a model's predictions are from those with dense attention."""
from __future__ import annotations

import dataclasses
import html
import os
from typing import Any, Iterable

import numpy

from ._engine import Engine, Sequence, Tokens
from ._policy import Policy
from ._reads_view import axes_of

POLICIES = ("window:window=256", "fovea:budget=0.05", "fovea:budget=0.12", "fovea:budget=0.25")


@dataclasses.dataclass(frozen=True)
class Measured:
    """One policy over the compared tokens.

    ============ ==========================================================================================
    policy       its text
    bytes        bytes that attention read for a token, all layers: mean
    density      share of the visible keys that was read
    divergence   Kullback-Leibler divergence from the dense predictions, nats a token: mean
    same_top     share of tokens whose likeliest next token is the dense one
    perplexity   of the text
    ============ ==========================================================================================
    """

    policy: str
    bytes: float
    density: float
    divergence: float
    same_top: float
    perplexity: float


@dataclasses.dataclass(frozen=True)
class Bench:
    """What `bench` measured: `rows`, dense first. str() is a table; a notebook shows a table and a curve; `figure()` is
    matplotlib's."""

    rows: tuple[Measured, ...]
    tokens: int
    compared: int

    def __str__(self) -> str:
        lines = ["%-28s %12s %8s %10s %9s %11s" % ("policy", "bytes/token", "density", "KL", "same top", "perplexity")]
        lines += ["%-28s %12.0f %7.1f%% %10.5f %8.2f%% %11.4f" % (row.policy, row.bytes, 100 * row.density, row.divergence,
                                                               100 * row.same_top, row.perplexity) for row in self.rows]
        return "\n".join(lines + ["the last %d of %d tokens" % (self.compared, self.tokens)])

    def _repr_html_(self) -> str:
        cells = "".join("<tr><td style='text-align:left'>%s</td>%s</tr>" % (html.escape(row.policy), "".join("<td>%s</td>" % one for one in (
            format(int(row.bytes), ","), "%.1f&nbsp;%%" % (100 * row.density), "%.5f" % row.divergence, "%.2f&nbsp;%%" % (100 * row.same_top),
            "%.4f" % row.perplexity))) for row in self.rows)
        head = "".join("<th>%s</th>" % name for name in ("policy", "bytes a token", "keys read", "KL", "same top", "perplexity"))
        return "<div>%s<table><tr>%s</tr>%s</table>the last %d of %d tokens</div>" % (self._curve(), head, cells, self.compared, self.tokens)

    def _curve(self) -> str:
        """Divergence over bytes, both by their largest, as SVG."""
        most, worst = max(row.bytes for row in self.rows) or 1, max(row.divergence for row in self.rows) or 1
        points = [(40 + 400 * row.bytes / most, 150 - 130 * row.divergence / worst, row) for row in self.rows]
        dots = "".join('<circle cx="%.1f" cy="%.1f" r="4" fill="#f28e2b"><title>%s</title></circle><text x="%.1f" y="%.1f" font-size="10">%s</text>'
                       % (x, y, html.escape(row.policy), x + 6, y + (14 if row is self.rows[0] else -6), html.escape(row.policy)) for x, y, row in points)
        return ('<svg width="600" height="180" role="img" aria-label="KL against bytes"><path d="M40 10V150H450" fill="none" stroke="#888"/>'
                '<text x="180" y="170" font-size="11">bytes a token: 0 to %s</text><text x="2" y="10" font-size="11">KL %.2g</text>%s</svg>'
                % (format(int(most), ","), worst, dots))

    def figure(self, axes: Any = None) -> Any:
        """Divergence over bytes, drawn by matplotlib, into `axes` if they are given."""
        axes, figure = axes_of(axes, (7, 4))
        for row in self.rows:
            axes.plot(row.bytes, row.divergence, "o")
            axes.annotate(row.policy, (row.bytes, row.divergence), textcoords="offset points", xytext=(5, 5), fontsize=8)
        axes.set_xlabel("bytes that attention reads for a token")
        axes.set_ylabel("KL divergence from dense, nats")
        axes.set_xlim(left=0)
        return figure


class _Sums:
    """Of one policy, token by token."""

    def __init__(self, sequence: Sequence) -> None:
        self.sequence, self.divergence, self.loss, self.same = sequence, 0.0, 0.0, 0

    def add(self, token: int, following: int, dense: Any) -> Any:
        """Feeds one token; `dense` are the log-probabilities to compare with, None for its own. Returns its log-probabilities."""
        logits = self.sequence.feed([token]).astype(numpy.float64)
        logits -= logits.max()
        logits -= numpy.log(numpy.exp(logits).sum())
        if dense is not None:
            self.divergence += float((numpy.exp(dense) * (dense - logits)).sum())
        self.same += dense is None or bool(dense.argmax() == logits.argmax())
        self.loss -= float(logits[following])
        return logits

    def row(self, compared: int) -> Measured:
        report = self.sequence.report
        return Measured(self.sequence.attention, report.bytes_read / compared, report.density, max(self.divergence, 0.0) / compared,
                        self.same / compared, float(numpy.exp(self.loss / compared)))


def bench(model: Engine | str | os.PathLike[str], text: str | Tokens, policies: Iterable[str | Policy] = POLICIES,
          compared: int = 128) -> Bench:
    """Quality against bytes for a model and a text.

    model    : an `Engine`, or a GGUF file's path
    text     : text or ids, at least 2 tokens; what does not fit the context is an error
    policies : what is set beside "dense"
    compared : the last tokens, whose predictions are compared; they come one by one, as an answer's do. Those before them are
               read, under each policy, and not compared

    All sequences go through the text side by side. Time: that of reading the text once for each policy. Raises what `Sequence.feed`
    raises and ValueError for a text of fewer than 2 tokens.
    """
    engine = model if isinstance(model, Engine) else Engine(model)
    tokens = engine.tokenize(text) if isinstance(text, str) else [int(one) for one in text]
    if len(tokens) < 2 or compared < 1:
        raise ValueError("bench: a text of 2 tokens or more, of which 1 or more are compared; found %d and %d" % (len(tokens), compared))
    compared = min(compared, len(tokens) - 1)
    texts = ["dense"] + [one for one in (str(policy) for policy in policies) if one != "dense"]
    every = [_Sums(engine.sequence(one, context=len(tokens))) for one in texts]
    start = len(tokens) - 1 - compared
    for sums in every:
        if start:
            sums.sequence.feed(tokens[:start], None)
        sums.sequence.reset_report()
    for place in range(start, len(tokens) - 1):
        dense = None
        for sums in every:
            logits = sums.add(tokens[place], tokens[place + 1], dense)
            dense = logits if dense is None else dense
    return Bench(tuple(sums.row(compared) for sums in every), len(tokens), compared)
