"""Masks taken apart: which calls of attention, each causal, with a window or of rows that see the same, give what a mask says.

The core has no free masks. A mask whose rows each see keys side by side is a few such calls: causal attention, sliding windows
(also ahead), padding on either side, packed documents, prefixes. Rows with gaps are gathered: rows that see the same go together.
"""
from __future__ import annotations

import dataclasses
from typing import Any, Union

import numpy

from ._arrays import Array, attention
from ._policy import Policy

Integers = numpy.ndarray[Any, Any]
Place = Union[slice, Integers]
_SAME, _GROW, _SLIDE, _SHRINK, _OTHER = range(5)


@dataclasses.dataclass(frozen=True)
class Run:
    """Rows that one call does, over these keys: causal so that the last row sees the last key, or all rows all keys."""

    rows: Place
    keys: Place
    causal: bool
    window: int | None = None


def _kinds(first: Integers, end: Integers) -> Integers:
    """How the keys of row i + 1 follow those of row i, for each i but the last."""
    begin, stop = numpy.diff(first), numpy.diff(end)
    kinds = numpy.full(len(begin), _OTHER)
    for kind, by in ((_SAME, (0, 0)), (_GROW, (0, 1)), (_SLIDE, (1, 1)), (_SHRINK, (1, 0))):
        kinds[(begin == by[0]) & (stop == by[1])] = kind
    kinds[(first[1:] >= end[1:]) | (first[:-1] >= end[:-1])] = _OTHER
    return kinds


def _run(kind: int, row: int, last: int, first: Integers, end: Integers) -> Run:
    if kind == _SHRINK:  # causal from the end backwards
        return Run(numpy.arange(last, row - 1, -1), numpy.arange(end[last] - 1, first[row] - 1, -1), True)
    causal, keys = kind != _SAME or row == last, slice(int(first[row]), int(end[last]))
    return Run(slice(row, last + 1), keys, causal, int(end[last] - first[last]) if kind == _SLIDE else None)


def spans(first: Integers, end: Integers) -> list[Run]:
    """Calls for rows that see keys first[i] to end[i] - 1; rows that see none are in none of them."""
    kinds, runs, row = _kinds(first, end), [], 0
    changes = numpy.append(numpy.flatnonzero(numpy.diff(kinds)) + 1, len(kinds))
    while row < len(first):
        kind = int(kinds[row]) if row < len(kinds) else _OTHER
        last = row
        if kind != _OTHER:
            last = int(changes[numpy.searchsorted(changes, row, "right")])
            if kind == _GROW and last < len(kinds) and kinds[last] == _SLIDE:  # a window that fills, then moves
                kind, last = _SLIDE, int(changes[numpy.searchsorted(changes, last, "right")])
        if first[row] < end[row]:
            runs.append(_run(kind, row, last, first, end))
        row = last + 1
    return runs


def runs_of(mask: numpy.ndarray[Any, Any]) -> list[Run]:
    """Calls for a mask [rows, keys], True where a row sees a key. O(rows keys)."""
    keys = mask.shape[1]
    first, end = mask.argmax(1), keys - mask[:, ::-1].argmax(1)
    count = numpy.count_nonzero(mask, 1)
    gaps = count != end - first
    end = numpy.where(gaps | (count == 0), first, end)
    runs = spans(first, end)
    packed = numpy.packbits(mask[gaps & (count > 0)], 1)
    rows = numpy.flatnonzero(gaps & (count > 0))
    groups: dict[bytes, list[int]] = {}
    for row, line in zip(rows, packed):
        groups.setdefault(line.tobytes(), []).append(int(row))
    return runs + [Run(numpy.array(group), numpy.flatnonzero(mask[group[0]]), False) for group in groups.values()]


def window_spans(rows: int, keys: int, left: int, right: int) -> list[Run]:
    """flash-attn's windows: row i sits at keys - rows + i and sees from `left` before to `right` after; below 0: all."""
    place = numpy.arange(rows) + keys - rows
    first = numpy.zeros(rows, int) if left < 0 else numpy.clip(place - left, 0, keys)
    end = numpy.full(rows, keys) if right < 0 else numpy.clip(place + right + 1, 0, keys)
    return spans(first, end)


def attend(out: Array, lse: Array | None, q: Array, k: Array, v: Array, runs: list[Run], policy: str | Policy, scale: float | None,
           softcap: float = 0.0, layout: str = "NHD") -> None:
    """Attention by `runs`, into `out` and, if it is given, `lse`. Rows that are in no run stay as they are."""
    heads = () if layout == "HND" else (slice(None),)  # after the tokens
    for run in runs:
        if isinstance(run.keys, numpy.ndarray) and str(policy) != "dense":
            raise NotImplementedError("the mask has rows whose keys are not side by side, or see ahead: policy %s can't choose among "
                                      "them, \"dense\" can" % policy)
        rows, keys = (Ellipsis, run.rows) + heads, (Ellipsis, run.keys) + heads + (slice(None),)
        done = attention(q[rows + (slice(None),)], k[keys], v[keys], policy, run.causal, scale, lse is not None, layout=layout,
                         softcap=softcap, window=run.window)
        if lse is None:
            out[rows + (slice(None),)] = done
        else:
            out[rows + (slice(None),)], lse[rows] = done
