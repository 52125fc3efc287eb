"""The model `fovea` of lm-evaluation-harness: `lm-eval run --model fovea --model_args path=MODEL.gguf,attention=fovea:budget=0.12`.

Versions of lm-eval that look for entry points (after 0.4.13) find it by themselves. With others: `python -m fovea.lm_eval run
--model fovea ...`, which is their command line with this model in it. model_args are cut at commas, so put semicolons between the keys
of a policy: `attention=fovea:budget=0.12;window=256`.
"""
from __future__ import annotations

import logging
import os
from typing import Any, Iterable, Iterator

import numpy
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from ._answer import answer
from ._engine import Engine
from ._errors import UnsupportedError
from ._sampling import Sampling

log = logging.getLogger("fovea")


def _log_sums(logits: numpy.ndarray[Any, Any]) -> numpy.ndarray[Any, Any]:
    """ln of the sum of exp of each row, summed in f64."""
    top = logits.max(axis=1, keepdims=True)
    found: numpy.ndarray[Any, Any] = top[:, 0] + numpy.log(numpy.exp(logits - top).sum(axis=1, dtype=numpy.float64))
    return found


def _shared(a: list[int], b: list[int]) -> int:
    return next((i for i, (one, other) in enumerate(zip(a, b)) if one != other), min(len(a), len(b)))


class FoveaLM(TemplateLM):  # type: ignore[misc]
    """A GGUF file for lm-eval.

    path (or model, pretrained): the file. attention: what attention reads, "dense" or a policy. max_length (or context): tokens of a
    window; 0: as many as the model was trained on. threads, dtype, tune: as of `fovea.Engine`. max_gen_toks: most tokens of an
    answer that says none. Requests that begin alike, such as the choices of one question, are read once. batch_size and device
    are of no account.
    """

    def __init__(self, path: str | None = None, attention: str = "dense", max_length: int = 0, threads: int = 0, dtype: str = "f16",
                 tune: str | None = None, max_gen_toks: int = 256, model: str | None = None, pretrained: str | None = None,
                 context: int = 0, batch_size: Any = 1, max_batch_size: Any = None, device: Any = None) -> None:
        super().__init__()
        file = path or model or pretrained
        if not file:
            raise ValueError("--model fovea wants --model_args path=MODEL.gguf")
        self.max_gen_toks = int(max_gen_toks)
        self.engine = Engine(file, attention=str(attention).replace(";", ","), context=int(max_length) or int(context),
                             threads=int(threads), dtype=dtype, tune=tune)
        self.max_length = self.engine.context
        self.sequence = self.engine.sequence()

    # ---- tokens ----

    @property
    def eot_token_id(self) -> int:
        return int(self.engine.info["eos"])

    @property
    def prefix_token_id(self) -> int:
        """What a text with nothing before it begins with: the beginning token, or the end token if there is none."""
        return int(self.engine.info["bos"]) if self.engine.info["bos"] >= 0 else self.eot_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **keywords: Any) -> list[int]:
        bos = self.engine.piece(self.engine.info["bos"], special=True).decode() if self.engine.info["bos"] >= 0 else ""
        begun = bos != "" and string.startswith(bos)
        return self.engine.tokenize(string, parse_special=True,
                                    add_special=not begun if add_special_tokens is None else add_special_tokens)

    def tok_decode(self, tokens: Iterable[int], skip_special_tokens: bool = True) -> str:
        return self.engine.detokenize(tokens, special=not skip_special_tokens)

    @property
    def tokenizer_name(self) -> str:
        return "fovea-%s-%016x" % (os.path.basename(self.engine.model), self.engine.info["identity"])

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        return self.engine.metadata.get("tokenizer.chat_template") if chat_template else None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        if not add_generation_prompt:
            raise UnsupportedError("a chat that ends within an answer (gen_prefix) can't be rendered")
        return self.engine.detokenize(self.engine.chat(chat_history), special=True)

    # ---- what the model says ----

    def _hold(self, tokens: list[int], keep: int) -> None:
        """The sequence holds tokens[:keep]; what it held and begins so is not read again."""
        shared = min(_shared(self.sequence.tokens, tokens), keep)
        self.sequence.truncate(shared)
        if keep > shared:
            self.sequence.feed(tokens[shared:keep], None)

    def _score(self, context: list[int], continuation: list[int]) -> tuple[float, bool]:
        """ln of the continuation's probability, and whether it is the greedy one."""
        tokens = (context + continuation)[-(self.max_length + 1):]
        first = len(tokens) - len(continuation)  # of the tokens that are predicted
        if first < 1:
            raise ValueError("a continuation of %d tokens does not fit into a context of %d" % (len(continuation), self.max_length))
        self._hold(tokens, first - 1)
        total, greedy = 0.0, True
        for begin in range(first - 1, len(tokens) - 1, self.engine.info["batch"]):
            end = min(begin + self.engine.info["batch"], len(tokens) - 1)
            logits = self.sequence.feed(tokens[begin:end], "all")
            wanted = numpy.array(tokens[begin + 1:end + 1])
            said = logits[numpy.arange(len(wanted)), wanted]
            total += float((said - _log_sums(logits)).sum())
            greedy = greedy and bool((logits.argmax(axis=1) == wanted).all())
        return total, greedy

    def _loglikelihood_tokens(self, requests: list[Any], disable_tqdm: bool = False, **keywords: Any) -> list[tuple[float, bool]]:
        results: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        order = sorted(range(len(requests)), key=lambda number: requests[number][1] + requests[number][2])
        for number in _progress(order, disable_tqdm, "fovea: texts"):
            request, context, continuation = requests[number]
            results[number] = self._score(list(context), list(continuation))
            if request is not None:
                self.cache_hook.add_partial("loglikelihood", request, results[number])
        return results

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        results = []
        for (text,) in _progress([request.args for request in requests], disable_tqdm, "fovea: texts"):
            windows = get_rolling_token_windows(token_list=self.tok_encode(text, add_special_tokens=False), context_len=1,
                                                prefix_token=self.prefix_token_id, max_seq_len=self.max_length)
            results.append(sum(self._score(*make_disjoint_window(window))[0] for window in windows))
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), results[-1])
        return results

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        results = []
        for text, settings in _progress([request.args for request in requests], disable_tqdm, "fovea: answers"):
            until = settings.get("until") or []
            limit = int(settings.get("max_gen_toks", self.max_gen_toks))
            tokens = self.tok_encode(text)
            room = self.max_length - limit
            if len(tokens) > room:
                log.warning("a prompt of %d tokens is cut to its last %d: max_length is %d, max_gen_toks %d", len(tokens), room,
                            self.max_length, limit)
                tokens = tokens[-room:] if room > 0 else tokens[-1:]
            self._hold(tokens, len(tokens) - 1)
            found = answer(self.sequence, tokens[-1:], limit, _sampling(settings), stop=[until] if isinstance(until, str) else until)
            results.append(found.text)
            self.cache_hook.add_partial("generate_until", (text, settings), found.text)
        return results


def _sampling(settings: dict[str, Any]) -> Sampling:
    """Greedy unless the task samples; a temperature of its own without do_sample does."""
    temperature = float(settings.get("temperature", 0 if not settings.get("do_sample") else 1))
    if settings.get("do_sample") is False:
        temperature = 0
    return Sampling(temperature, int(settings.get("top_k", 0)), float(settings.get("top_p", 1)), float(settings.get("min_p", 0)),
                    seed=settings.get("seed", 1234))


def _progress(items: list[Any], disabled: bool, what: str) -> Iterator[Any]:
    from tqdm import tqdm
    return iter(tqdm(items, desc=what, disable=disabled))


register_model("fovea")(FoveaLM)

if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate
    cli_evaluate()
