"""What an answer read, for the eyes: HTML for notebooks, and a figure of matplotlib's."""
from __future__ import annotations

import html
import itertools
import json
import re
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from ._reads import Reads

_LEAST = 0.004  # share of a token's reading that is too little to be seen
_numbers = itertools.count(1)

_PAGE = """<div id="NAME" class="fovea-reads">
<style>#NAME span{white-space:pre-wrap} #NAME .answer span{cursor:pointer;border-bottom:1px dotted #888}
#NAME .answer span:hover,#NAME .answer span.held{background:#4e79a7;color:#fff} #NAME .document{max-height:28em;overflow-y:auto}
#NAME div{margin:.4em 0;line-height:1.5} #NAME .said{color:#666;min-height:1.5em}</style>
<div class="answer">ANSWER</div><div class="said">Point at a word to see what it read, click to hold it.</div><div class="document">DOCUMENT</div>
<script>(function(){var box=document.getElementById("NAME"),reads=READS,pages=box.querySelectorAll(".document span"),
words=box.querySelectorAll(".answer span"),said=box.querySelector(".said"),held=-1;
function show(word){var all=0,most=0,top=-1;pages.forEach(function(page){page.style.background=""});
reads[word].forEach(function(one){all+=one[1];if(one[1]>most){most=one[1];top=one[0]}});
reads[word].forEach(function(one){pages[one[0]].style.background="rgba(242,142,43,"+(0.9*one[1]/most).toFixed(3)+")"});
said.textContent=top<0?"It read its neighbours and the first page only.":"Of what it read, "+(100*all).toFixed(1)+
" % is in the shaded pages, "+(100*most).toFixed(1)+" % in the darkest.";return top}
words.forEach(function(word,i){word.onmouseenter=function(){if(held<0)show(i)};
word.onclick=function(){words.forEach(function(one){one.className=""});held=held===i?-1:i;if(held>=0){word.className="held";
var top=show(i),list=box.querySelector(".document");if(top>=0)list.scrollTop=pages[top].offsetTop-list.offsetTop-60}}})})();</script></div>"""


def html_of(reads: Reads) -> str:
    """The answer, and under it the document, shaded by what the word pointed at read; without scripts by what all words read."""
    weights = reads.distant()[:, :reads.prompt_pages]
    every = weights.mean(0) if len(weights) else numpy.zeros(reads.prompt_pages, numpy.float32)
    every = every / max(float(every.max(initial=0)), 1e-9)
    document = "".join('<span style="background:rgba(242,142,43,%.3f)">%s</span>' % (0.9 * share, html.escape(text))
                       for share, text in zip(every, reads.pages))
    answer = "".join("<span>%s</span>" % html.escape(token) for token in reads.tokens)
    rows = [[[int(page), round(float(row[page]), 4)] for page in numpy.flatnonzero(row >= _LEAST)] for row in weights]
    texts = {"NAME": "fovea-reads-%d-%d" % (next(_numbers), id(reads)), "READS": json.dumps(rows), "ANSWER": answer, "DOCUMENT": document}
    return re.sub("|".join(texts), lambda name: texts[name.group()], _PAGE)


def figure_of(reads: Reads, axes: Any = None) -> Any:
    """A figure of matplotlib's, answer tokens over pages of the document; drawn into `axes` if they are given."""
    axes, figure = axes_of(axes, (10, 1.2 + 0.22 * len(reads.tokens)))
    weights = reads.distant()[:, :reads.prompt_pages]
    picture = axes.imshow(weights, aspect="auto", interpolation="nearest", cmap="Oranges", vmin=0)
    labels = [token.replace("\n", "\u21b5") or " " for token in reads.tokens]
    axes.set_yticks(range(len(labels)), labels=labels, parse_math=False)
    axes.set_xlabel("page of %d tokens" % reads.page_tokens)
    axes.set_ylabel("token of the answer")
    figure.colorbar(picture, ax=axes, label="share of what it read")
    return figure


def axes_of(axes: Any, size: tuple[float, float]) -> tuple[Any, Any]:
    """Axes and their figure: a new one without pyplot, so that nothing is shown twice."""
    if axes is not None:
        return axes, axes.figure
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures want matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=size, layout="constrained")
    return figure.add_subplot(), figure
