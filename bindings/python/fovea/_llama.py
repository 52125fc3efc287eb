"""llama-cpp-python's class: the same constructor, methods and dicts."""
from __future__ import annotations

import glob
import json
import os
import random
import sys
import warnings
from typing import Any, Iterable, Iterator, Mapping, Sequence as Series

import numpy

from . import _llama_output as output
from ._engine import Engine, content_of
from ._errors import UnsupportedError
from ._json_guide import JsonGuide, LlamaGrammar, first_bytes
from ._llama_state import LlamaState
from ._policy import Policy
from ._sampling import Sampler, Sampling, TextStream

# What a runner on a CPU may leave out: no bit of an answer depends on it.
HARMLESS = {"n_gpu_layers", "split_mode", "main_gpu", "tensor_split", "use_mmap", "use_mlock", "n_ubatch", "n_threads_batch",
            "offload_kqv", "flash_attn", "op_offload", "swa_full", "no_perf", "numa", "lora_scale", "draft_model"}
# What would change answers and is not there: its name, and the values that mean nothing.
REFUSED: dict[str, tuple[Any, ...]] = {
    "vocab_only": (False,), "kv_overrides": (None,), "rope_scaling_type": (None, -1), "pooling_type": (None, -1),
    "attention_type": (None, -1), "rope_freq_base": (0, None), "rope_freq_scale": (0, None), "yarn_ext_factor": (-1.0,),
    "yarn_attn_factor": (1.0, -1.0), "yarn_beta_fast": (32.0, -1.0), "yarn_beta_slow": (1.0, -1.0), "yarn_orig_ctx": (0,),
    "embedding": (False,), "lora_base": (None,), "lora_path": (None,), "tokenizer": (None,), "spm_infill": (False,)}
ELEMENTS: dict[Any, str] = {None: "f16", 0: "f32", 1: "f16", 2: "q4_0", 8: "q8_0", 30: "bf16"}  # ggml's numbers of types
FORMATS = {"llama-2": "llama2", "llama-3": "llama3", "mistral-instruct": "mistral", "qwen": "chatml",
           "chatml-function-calling": "chatml"}
RANDOM_SEED = 0xFFFFFFFF


def _refuse(what: str, given: Mapping[str, Any], table: Mapping[str, tuple[Any, ...]]) -> None:
    for name, value in given.items():
        if name in table and not any(value is meant or value == meant for meant in table[name]):
            raise UnsupportedError("%s: %s=%r is not there, and would change the answer" % (what, name, value))


def _as_list(functions: Any) -> list[Any]:
    return [] if functions is None else list(functions) if isinstance(functions, (list, tuple)) else [functions]


def _chosen_tool(o: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The function that must be called; None: none may be."""
    functions = list(o["functions"] or ()) + [tool["function"] for tool in o["tools"] or ()]
    choice = o["function_call"] if o["function_call"] is not None else o["tool_choice"]
    if not functions or choice == "none":
        return None
    if not isinstance(choice, Mapping):
        raise UnsupportedError("create_chat_completion(): tools that the model chooses from are not there: name one by tool_choice")
    if o["stream"]:
        raise UnsupportedError("create_chat_completion(): a stream of a function's arguments is not there")
    name = choice.get("function", choice)["name"]
    found: list[Mapping[str, Any]] = [function for function in functions if function["name"] == name]
    if not found:
        raise ValueError("Tool choice '%s' not found in tools." % name)
    return found[0]


def _tool_message(tool: Mapping[str, Any], messages: Series[Mapping[str, Any]]) -> dict[str, str]:
    before = [content_of(message) for message in messages[:1] if message["role"] == "system"]
    told = "Answer with the arguments of the function %s in JSON, of this schema: %s" % (
        tool["name"], json.dumps(tool.get("parameters", {}), ensure_ascii=False))
    about = [tool["description"]] if tool.get("description") else []
    return {"role": "system", "content": "\n".join(before + about + [told])}


def _after_system(messages: Series[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list(messages[1:] if messages and messages[0]["role"] == "system" else messages)


class StoppingCriteriaList(list):  # type: ignore[type-arg]
    """Functions of (ids, logits); an answer ends where one returns True."""

    def __call__(self, input_ids: Any, logits: Any) -> bool:
        return any(one(input_ids, logits) for one in self)


class LogitsProcessorList(list):  # type: ignore[type-arg]
    """Functions of (ids, logits) that return other logits, one after the other."""

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        for one in self:
            scores = one(input_ids, scores)
        return scores


class Llama:
    """A model as llama-cpp-python has it: `from fovea import Llama` in place of `from llama_cpp import Llama`.

    Arguments that change no answer on a CPU are taken and of no account (n_gpu_layers, use_mmap, n_ubatch, flash_attn, ...); those
    that would change it and are not there are an UnsupportedError with their name (lora_path, rope_freq_base, embedding, ...).

    Parameters
    ----------
    model_path : path of a GGUF file
    n_ctx : int
        Tokens of the context; 0: as many as the model was trained on.
    n_batch, n_threads, seed, logits_all, last_n_tokens_size, chat_format, chat_handler, verbose :
        as there. n_threads None is one for each processor.
    type_k, type_v : int or str
        ggml's number of a type, or its name here ("q8_0"). None is f16.
    attention : policy
        What attention reads: "dense", or what `fovea.Policy` takes, such as "fovea:budget=0.12".
    tune : path, "none" or None
        As of `fovea.Engine`.

    `engine` and `sequence` are what is beneath. Raises ValueError (no such file, or an argument out of its range) and what
    `fovea.Engine` raises.

    Examples
    --------
    llm = Llama(model_path="model.gguf", n_ctx=2048)
    llm("Q: Name the planets. A: ", max_tokens=32, stop=["Q:"])["choices"][0]["text"]
    """

    def __init__(self, model_path: str | os.PathLike[str], *, seed: int = RANDOM_SEED, n_ctx: int = 512, n_batch: int = 512,
                 n_threads: int | None = None, logits_all: bool = False, last_n_tokens_size: int = 64, chat_format: str | None = None,
                 chat_handler: Any = None, type_k: int | str | None = None, type_v: int | str | None = None, verbose: bool = True,
                 attention: str | Policy = "dense", tune: str | os.PathLike[str] | None = None, **others: Any) -> None:
        unknown = sorted(set(others) - HARMLESS - set(REFUSED))
        if unknown:
            raise TypeError("Llama() has no argument %s" % ", ".join(unknown))
        _refuse("Llama()", others, REFUSED)
        if not os.path.exists(model_path):
            raise ValueError("Model path does not exist: %s" % os.fspath(model_path))
        self._arguments = dict(others, model_path=model_path, seed=seed, n_ctx=n_ctx, n_batch=n_batch, n_threads=n_threads,
                               logits_all=logits_all, last_n_tokens_size=last_n_tokens_size, chat_format=chat_format,
                               chat_handler=chat_handler, type_k=type_k, type_v=type_v, verbose=verbose, attention=str(attention),
                               tune=tune)
        self.model_path, self.verbose, self.chat_format, self.chat_handler = os.fspath(model_path), verbose, chat_format, chat_handler
        self.last_n_tokens_size, self.n_threads, self.cache = last_n_tokens_size, n_threads, None
        self._logits_all, self._seed = logits_all, seed & 0xFFFFFFFF
        key, value = (ELEMENTS.get(kind, kind) for kind in (type_k, type_v))
        for kind in (key, value):
            if not isinstance(kind, str):
                raise ValueError("type_k, type_v: ggml's numbers of f32, f16, q4_0, q8_0, bf16 (0, 1, 2, 8, 30), not %r" % (kind,))
        self.engine = Engine(model_path, attention=attention, context=n_ctx, threads=n_threads or 0,
                             batch=min(n_ctx, n_batch) if n_ctx else n_batch, dtype=str(key), value_dtype=str(value), tune=tune)
        self.n_batch = self.engine.info["batch"]
        self.sequence = self.engine.sequence()
        self._scores_made: numpy.ndarray[Any, Any] | None = None
        self._logits: numpy.ndarray[Any, Any] | None = None  # of the last token; None: it has to be evaluated (again)
        self._sampler: Sampler | None = None
        self._firsts: Any = None
        if verbose:
            print("fovea.Llama: %r" % self.engine, *self.engine.info["remarks"], sep="\n", file=sys.stderr)

    # ---- tokens ----

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = False) -> list[int]:
        """The ids of `text`; special: the text of a control token is that token."""
        return self.engine.tokenize(text, add_special=add_bos, parse_special=special)

    def detokenize(self, tokens: Series[int], prev_tokens: Any = None, special: bool = False) -> bytes:
        """The bytes of ids, which may end in a part of a character. Without the space after a beginning token."""
        text = b"".join(self.engine.piece(int(token), special=special) for token in tokens)
        return text[1:] if len(tokens) > 0 and tokens[0] == self.token_bos() and text[:1] == b" " else text

    def tokenizer(self) -> _Tokenizer:
        """encode(text) and decode(ids)."""
        return _Tokenizer(self)

    def token_bos(self) -> int:
        """The beginning token; -1: there is none, likewise below."""
        return int(self.engine.info["bos"])

    def token_eos(self) -> int:
        """The end token."""
        return int(self.engine.info["eos"])

    def token_nl(self) -> int:
        """The token of a line's end."""
        return (self.tokenize(b"\n", add_bos=False) or [-1])[-1]

    def n_ctx(self) -> int:
        """Tokens of the context."""
        return self.engine.context

    def n_vocab(self) -> int:
        """Tokens of the vocabulary."""
        return self.engine.vocabulary

    def n_embd(self) -> int:
        """Elements of an embedding."""
        return int(self.engine.info["embedding"])

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says, as texts; arrays are left out."""
        said = self.engine.metadata.items()
        return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in said if value is not None}

    # ---- what was evaluated ----

    @property
    def n_tokens(self) -> int:
        """Tokens that are held."""
        return len(self.sequence)

    @property
    def input_ids(self) -> numpy.ndarray[Any, Any]:
        """int32 [n_ctx]: those that are held, then zeros."""
        ids = numpy.zeros(self.n_ctx(), numpy.intc)
        ids[:self.n_tokens] = self.sequence.tokens
        return ids

    @property
    def _input_ids(self) -> numpy.ndarray[Any, Any]:
        return numpy.array(self.sequence.tokens, numpy.intc)

    @property
    def scores(self) -> numpy.ndarray[Any, Any]:
        """Logits, f32 [n_ctx, n_vocab], of all tokens that were evaluated: with `logits_all`; else zeros [n_batch, n_vocab]."""
        if self._scores_made is None:
            self._scores_made = numpy.zeros((self.n_ctx() if self._logits_all else self.n_batch, self.n_vocab()), numpy.float32)
        return self._scores_made

    @property
    def _scores(self) -> numpy.ndarray[Any, Any]:
        return self.scores[:self.n_tokens]

    @property
    def eval_tokens(self) -> list[int]:
        """The ids that are held."""
        return self.sequence.tokens

    @property
    def eval_logits(self) -> list[list[float]]:
        """Logits of the tokens that are held (logits_all), or of the last one."""
        if self._logits_all:
            return self._scores.tolist()  # type: ignore[no-any-return]
        return [] if self._logits is None else [self._logits.tolist()]

    def reset(self) -> None:
        """Forgets all tokens."""
        self.sequence.truncate(0)
        self._logits = None

    def eval(self, tokens: Series[int]) -> None:
        """Evaluates tokens after those that are held; several are a prompt (`Sequence.feed`), but with logits_all. FullError: they don't
        fit; nothing is evaluated."""
        if not self._logits_all:
            self._logits = None
            self._logits = self.sequence.feed(tokens, prompt=len(tokens) > 1)
            return
        for first in range(0, len(tokens), self.n_batch):
            batch = tokens[first:first + self.n_batch]
            held = self.n_tokens
            self.scores[held:held + len(batch)] = self.sequence.feed(batch, "all")
            self._logits = self.scores[held + len(batch) - 1]

    def save_state(self) -> LlamaState:
        """What is held, to go back to. It shares its memory with what goes on; pickled it is bytes. O(n_tokens / 1024)."""
        return LlamaState(self.sequence.fork(), self._scores.copy() if self._logits_all else self.scores[:0], self._seed)

    def load_state(self, state: LlamaState) -> None:
        """Goes back to a state, also one of another Llama of the same model and settings."""
        self.sequence = state.sequence(self.engine)
        self._logits, self._seed = None, state.seed
        if self._logits_all:
            self.scores[:len(state.scores)] = state.scores

    def set_cache(self, cache: Any) -> None:
        """States by their tokens, such as `fovea.LlamaRAMCache`: completions begin with what they share with one."""
        self.cache = cache

    def set_seed(self, seed: int) -> None:
        """The seed of the next sampling."""
        self._seed = seed & 0xFFFFFFFF

    # ---- tokens that are chosen ----

    def _make_sampler(self, o: Mapping[str, Any]) -> Sampler:
        _refuse("sampling", o, {"typical_p": (1.0,), "mirostat_mode": (0,)})
        temperature, top_k, top_p, min_p = o.get("temp", 0.8), o.get("top_k", 40), o.get("top_p", 0.95), o.get("min_p", 0.05)
        if temperature < 0:  # drawn from all, as they are
            temperature, top_k, top_p, min_p = 1.0, 0, 1.0, 0.0
        return Sampler(self.n_vocab(), Sampling(
            temperature, top_k, top_p, min_p, o.get("repeat_penalty", 1.0), self.last_n_tokens_size, o.get("presence_penalty", 0.0),
            o.get("frequency_penalty", 0.0), None if self._seed == RANDOM_SEED else self._seed), self.n_ctx())

    def _guide(self, grammar: Any) -> JsonGuide | None:
        if grammar is None or isinstance(grammar, JsonGuide):
            return grammar
        if not isinstance(grammar, LlamaGrammar):
            raise UnsupportedError("sampling: grammar=%r is not there: fovea.LlamaGrammar.from_json_schema() is" % (grammar,))
        engine = self.engine
        if self._firsts is None:
            self._firsts = first_bytes(engine.vocabulary, engine.piece, engine.is_end)
        return JsonGuide(grammar.schema, engine.piece, engine.is_end, self._firsts)

    def sample(self, top_k: int = 40, top_p: float = 0.95, min_p: float = 0.05, typical_p: float = 1.0, temp: float = 0.80,
               repeat_penalty: float = 1.0, frequency_penalty: float = 0.0, presence_penalty: float = 0.0, tfs_z: float = 1.0,
               mirostat_mode: int = 0, mirostat_eta: float = 0.1, mirostat_tau: float = 5.0, penalize_nl: bool = True,
               logits_processor: Any = None, grammar: Any = None, idx: int | None = None) -> int:
        """The next token, from the logits of the last one (idx: of that one, with logits_all). tfs_z and penalize_nl are of no
        account, as there; typical_p, mirostat and grammars other than `LlamaGrammar` are not there."""
        if self._logits is None or (idx is not None and not 0 <= idx < self.n_tokens):
            raise ValueError("sample: no token was evaluated, or not that one")
        if idx is not None and idx != self.n_tokens - 1 and not self._logits_all:
            raise ValueError("sample: logits of tokens before the last one are kept with logits_all=True")
        logits = self._logits if idx is None or idx == self.n_tokens - 1 else self.scores[idx]
        sampler = self._sampler or self._make_sampler(locals())
        for process in _as_list(logits_processor):
            logits = process(self._input_ids, numpy.array(logits))
        guide = self._guide(grammar)
        token = guide.draw(sampler.next, logits) if guide else sampler.next(logits)
        sampler.accept(token)
        return token

    def generate(self, tokens: Series[int], top_k: int = 40, top_p: float = 0.95, min_p: float = 0.05, typical_p: float = 1.0,
                 temp: float = 0.80, repeat_penalty: float = 1.0, reset: bool = True, frequency_penalty: float = 0.0,
                 presence_penalty: float = 0.0, tfs_z: float = 1.0, mirostat_mode: int = 0, mirostat_tau: float = 5.0,
                 mirostat_eta: float = 0.1, penalize_nl: bool = True, logits_processor: Any = None, stopping_criteria: Any = None,
                 grammar: Any = None) -> Iterator[int]:
        """Yields tokens after `tokens`, end tokens, too, for as long as they are asked for. What is held and begins as `tokens` do
        is not evaluated again; reset=False goes on after all that is held. `send(tokens)` adds tokens after the last one."""
        sampler, guide = self._make_sampler(locals()), self._guide(grammar)
        fed = [int(token) for token in tokens]
        if reset:
            fed = self._reuse(fed)
        while True:
            if fed:
                self.eval(fed)
            self._sampler = sampler
            try:
                token = self.sample(logits_processor=logits_processor, grammar=guide)
            finally:
                self._sampler = None
            if any(one(self._input_ids, self._logits) for one in _as_list(stopping_criteria)):
                return
            more: Any = yield token
            if guide and guide.final:
                return
            fed = [token] + [int(one) for one in more or ()]

    def _reuse(self, tokens: list[int]) -> list[int]:
        """Goes back to what is held and begins as `tokens` do; the rest of them, one at least unless its logits are there."""
        held = self.sequence.tokens
        shared = self.longest_token_prefix(held, tokens)
        if shared == len(tokens) == len(held) and self._logits is not None:
            return []
        shared = min(shared, len(tokens) - 1)
        self.sequence.truncate(max(shared, 0))
        self._logits = None
        if self.verbose and shared > 0:
            print("fovea.Llama: %d tokens of the prompt were held, %d are evaluated" % (shared, len(tokens) - shared), file=sys.stderr)
        return tokens[max(shared, 0):]

    # ---- completions ----

    def create_completion(self, prompt: str | Series[int], suffix: str | None = None, max_tokens: int | None = 16,
                          temperature: float = 0.8, top_p: float = 0.95, min_p: float = 0.05, typical_p: float = 1.0,
                          logprobs: int | None = None, echo: bool = False, stop: str | Iterable[str] | None = None,
                          frequency_penalty: float = 0.0, presence_penalty: float = 0.0, repeat_penalty: float = 1.0, top_k: int = 40,
                          stream: bool = False, seed: int | None = None, tfs_z: float = 1.0, mirostat_mode: int = 0,
                          mirostat_tau: float = 5.0, mirostat_eta: float = 0.1, model: str | None = None, stopping_criteria: Any = None,
                          logits_processor: Any = None, grammar: Any = None, logit_bias: Mapping[Any, float] | None = None) -> Any:
        """Text after a prompt: a dict of OpenAI's shape, or with `stream` an iterator of such dicts.

        max_tokens None or 0: as many as the context has room for. logprobs: that many of the most likely tokens, for each token;
        with echo for the prompt's, too, which wants logits_all. Ids and texts as in llama-cpp-python; a suffix (infilling) is
        refused. Raises ValueError (the prompt does not fit: it is never cut) and what `eval` raises.
        """
        o = dict(locals())
        parts = _Completion(self, o)
        return parts.stream() if stream else parts.whole()

    def __call__(self, prompt: str | Series[int], *arguments: Any, **keywords: Any) -> Any:
        """`create_completion`."""
        return self.create_completion(prompt, *arguments, **keywords)

    def create_chat_completion(self, messages: Series[Mapping[str, Any]], functions: Any = None, function_call: Any = None,
                               tools: Any = None, tool_choice: Any = None, temperature: float = 0.2, top_p: float = 0.95,
                               top_k: int = 40, min_p: float = 0.05, typical_p: float = 1.0, stream: bool = False,
                               stop: str | Iterable[str] | None = None, seed: int | None = None, response_format: Any = None,
                               max_tokens: int | None = None, presence_penalty: float = 0.0, frequency_penalty: float = 0.0,
                               repeat_penalty: float = 1.0, tfs_z: float = 1.0, mirostat_mode: int = 0, mirostat_tau: float = 5.0,
                               mirostat_eta: float = 0.1, model: str | None = None, logits_processor: Any = None, grammar: Any = None,
                               logit_bias: Mapping[Any, float] | None = None, logprobs: bool | None = None,
                               top_logprobs: int | None = None) -> Any:
        """The assistant's answer to messages: a dict of OpenAI's shape, or with `stream` an iterator of such dicts.

        The template is `chat_format`, or the model's own; a `chat_handler` is called in its place. response_format {"type":
        "json_object"}, with a "schema" or without, has the answer be such JSON. With `tool_choice` {"type": "function", "function":
        {"name": ...}} it is the arguments of that one of `tools`; the model is told of it in a message of the system's. Tools that it
        may choose from are refused, and so is a stream of such arguments.
        """
        o = {name: value for name, value in locals().items() if name != "self"}
        if self.chat_handler is not None:
            return self.chat_handler(llama=self, **o)
        tool = _chosen_tool(o)
        if tool is not None:
            schema = tool.get("parameters", {"type": "object"})
            o["grammar"], messages = LlamaGrammar(schema), [_tool_message(tool, messages), *_after_system(messages)]
        elif response_format is not None and response_format.get("type") == "json_object":
            o["grammar"] = LlamaGrammar(response_format.get("schema"))
        elif response_format not in (None, {"type": "text"}):
            raise UnsupportedError("create_chat_completion(): response_format=%r is not there" % (response_format,))
        format = None if self.chat_format is None else FORMATS.get(self.chat_format, self.chat_format)
        for name in ("messages", "functions", "function_call", "tools", "tool_choice", "response_format", "top_logprobs"):
            del o[name]
        o["logprobs"] = top_logprobs or 0 if logprobs else None
        found = self.create_completion(self.engine.chat(messages, format), **o)
        if tool is not None:
            return output.tool_call(found, tool["name"])
        return output.chat_chunks(found) if stream else output.chat(found)

    def create_chat_completion_openai_v1(self, *arguments: Any, **keywords: Any) -> Any:
        """`create_chat_completion` as the classes of the `openai` package, which must be installed."""
        from openai.types.chat import ChatCompletion, ChatCompletionChunk
        found = self.create_chat_completion(*arguments, **keywords)
        return (ChatCompletionChunk(**chunk) for chunk in found) if keywords.get("stream") else ChatCompletion(**found)

    def create_embedding(self, input: Any, model: str | None = None) -> Any:
        """Refused: there are no embeddings here."""
        raise UnsupportedError("embeddings are not there: fovea.Llama generates text")

    embed = create_embedding

    # ---- the rest ----

    @staticmethod
    def logits_to_logprobs(logits: Any, axis: int = -1) -> numpy.ndarray[Any, Any]:
        """ln softmax of logits."""
        return output.logits_to_logprobs(logits, axis)

    @staticmethod
    def longest_token_prefix(a: Series[int], b: Series[int]) -> int:
        """Tokens that both begin with."""
        return next((i for i, (one, other) in enumerate(zip(a, b)) if one != other), min(len(a), len(b)))

    @classmethod
    def from_pretrained(cls, repo_id: str, filename: str | None, additional_files: Any = None,
                        local_dir: str | os.PathLike[str] | None = None, local_dir_use_symlinks: Any = "auto",
                        cache_dir: str | os.PathLike[str] | None = None, **keywords: Any) -> Llama:
        """A model that is on this machine already: in `local_dir`, or in Hugging Face's cache. filename: a name or a pattern.
        Nothing is downloaded: FileNotFoundError says how to."""
        home = os.environ.get("HF_HOME", os.path.join(os.path.expanduser("~"), ".cache", "huggingface"))
        hub = os.fspath(cache_dir or os.environ.get("HF_HUB_CACHE", os.path.join(home, "hub")))
        pattern = filename or "*.gguf"
        folder = os.path.join(glob.escape(hub), "models--" + repo_id.replace("/", "--"), "snapshots", "*")
        found = sorted(glob.glob(os.path.join(glob.escape(os.fspath(local_dir)) if local_dir else folder, pattern)))
        if not found:
            raise FileNotFoundError("%s, %s is not on this machine, and fovea downloads nothing: hf download %s --include '%s'"
                                    % (repo_id, pattern, repo_id, pattern))
        names = {os.path.basename(path) for path in found}
        if len(names) > 1:
            raise ValueError("%s: %s is the pattern of several files: %s" % (repo_id, pattern, ", ".join(sorted(names))))
        return cls(model_path=max(found, key=os.path.getmtime), **keywords)

    def close(self) -> None:
        """Lets the model go; no call after it."""
        self.__dict__.pop("sequence", None)
        self.__dict__.pop("engine", None)

    def __getstate__(self) -> dict[str, Any]:
        return self._arguments

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class _Tokenizer:
    def __init__(self, llama: Llama) -> None:
        self.tokenize, self.detokenize = llama.tokenize, llama.detokenize

    def encode(self, text: str, add_bos: bool = True, special: bool = True) -> list[int]:
        return self.tokenize(text.encode("utf-8", "ignore"), add_bos, special)

    def decode(self, tokens: Series[int]) -> str:
        return self.detokenize(tokens).decode("utf-8", "ignore")


class _Completion:
    """One call of create_completion: its arguments checked, its tokens made into text."""

    def __init__(self, llama: Llama, o: dict[str, Any]) -> None:
        _refuse("create_completion()", o, {"suffix": (None,)})
        self.llama, self.o = llama, o
        self.given = o["prompt"] if isinstance(o["prompt"], str) else llama.detokenize(o["prompt"]).decode("utf-8", "replace")
        self.prompt = self._tokens(o["prompt"])
        room = llama.n_ctx() - len(self.prompt)
        if room <= 0:
            raise ValueError("Requested tokens (%d) exceed context window of %d" % (len(self.prompt), llama.n_ctx()))
        asked = o["max_tokens"]
        self.limit = room if asked is None or asked <= 0 else min(asked, room)
        if o["logprobs"] is not None and o["echo"] and not llama._logits_all:
            raise ValueError("logprobs of an echoed prompt are there for models that were made with logits_all=True")
        stop = o["stop"]
        self.text = TextStream((stop,) if isinstance(stop, str) else stop or (), "ignore")
        self.tokens: list[int] = []
        self.finish_reason = "length"
        self.logprobs = None if o["logprobs"] is None else output.LogprobList(o["logprobs"], 0 if o["echo"] else len(self.given))
        self.head = output.Head(o["model"] or llama.model_path)

    def _tokens(self, prompt: Any) -> list[int]:
        llama = self.llama
        if not isinstance(prompt, str):
            return [int(token) for token in prompt] or [llama.token_bos()]
        tokens = llama.tokenize(prompt.encode(), special=True) if prompt else [llama.token_bos()]
        if tokens[:2] == [llama.token_bos()] * 2:
            warnings.warn("the prompt begins with two beginning tokens: the model adds one by itself", RuntimeWarning, stacklevel=4)
        return tokens

    def _text_of(self, token: int) -> str:
        return self.llama.engine.piece(token).decode("utf-8", "ignore")

    def _processors(self) -> list[Any]:
        processors, bias = _as_list(self.o["logits_processor"]), self.o["logit_bias"]
        if bias:
            places = numpy.array([int(token) for token in bias]), numpy.array([float(value) for value in bias.values()], numpy.float32)

            def add(ids: Any, logits: Any) -> Any:
                logits = numpy.array(logits, numpy.float32)
                logits[places[0]] += places[1]
                return logits

            processors.append(add)
        return processors

    def _prepare(self) -> None:
        llama, seed = self.llama, self.o["seed"]
        if llama.cache is not None:
            try:
                state = llama.cache[self.prompt]
                if llama.longest_token_prefix(state.tokens, self.prompt) > llama.longest_token_prefix(llama.eval_tokens, self.prompt):
                    llama.load_state(state)
            except KeyError:
                pass
        if seed is not None:
            llama.set_seed(seed)
        elif llama._seed != RANDOM_SEED:
            llama.set_seed(random.Random(llama._seed).randint(0, 2 ** 32 - 2))

    def _pieces(self) -> Iterator[str]:
        """Text that can be shown, token by token; `tokens` and `logprobs` grow meanwhile."""
        llama, o = self.llama, self.o
        self._prepare()
        ids = llama.generate(self.prompt, top_k=o["top_k"], top_p=o["top_p"], min_p=o["min_p"], typical_p=o["typical_p"],
                             temp=o["temperature"], repeat_penalty=o["repeat_penalty"], frequency_penalty=o["frequency_penalty"],
                             presence_penalty=o["presence_penalty"], mirostat_mode=o["mirostat_mode"], grammar=o["grammar"],
                             logits_processor=self._processors(), stopping_criteria=o["stopping_criteria"])
        self.finish_reason = "stop"  # if the generator ends, a criterion did it
        for token in ids:
            if llama.engine.is_end(token):
                break
            self.tokens.append(token)
            if self.logprobs is not None:
                if o["echo"] and len(self.tokens) == 1:
                    self._add_prompt(self.logprobs)
                self.logprobs.add(token, llama._logits, self._text_of)
            yield self.text.add(llama.engine.piece(token))
            if self.text.stopped:
                break
            if len(self.tokens) >= self.limit:
                self.finish_reason = "length"
                break
        yield self.text.finish()
        if llama.cache is not None:
            llama.cache[llama.eval_tokens] = llama.save_state()

    def _add_prompt(self, logprobs: output.LogprobList) -> None:
        begins = self.prompt[0] == self.llama.token_bos()
        for place, token in enumerate(self.prompt):
            if place > 0 or not begins:
                logprobs.add(token, self.llama.scores[place - 1] if place > 0 else None, self._text_of)

    def whole(self) -> output.Completion:
        text = "".join(self._pieces())
        return self.head.whole((self.given if self.o["echo"] else "") + text, self.logprobs.take() if self.logprobs else None,
                               self.finish_reason, len(self.prompt), len(self.tokens))

    def stream(self) -> Iterator[output.Completion]:
        if self.o["echo"]:
            yield self.head.chunk(self.given)
        for text in self._pieces():
            if text:
                yield self.head.chunk(text, self.logprobs.take() if self.logprobs else None)
        yield self.head.chunk("", None, self.finish_reason)
