"""fovea: attention on a CPU, dense or sparse with every key kept, for NumPy, PyTorch and whatever speaks DLPack.

>>> import fovea, numpy as np
>>> rng = np.random.default_rng(0)
>>> q, k, v = (rng.standard_normal((2000, heads, 64), np.float32) for heads in (8, 2, 2))
>>> out, report = fovea.attention(q, k, v, "fovea:budget=0.12", return_report=True)
>>> out.shape, 0.12 < report.density < 0.4
((2000, 8, 64), True)

`attention` is one call over arrays, `Cache` what decoding keeps, `Policy` what is read, `Report` what was read; `Index`
finds nearest neighbours. Names of others:
`scaled_dot_product_attention` (torch), `fovea.flash_attn` (flash-attn), `merge_state` (FlashInfer).
"""
from __future__ import annotations

import os

from . import _fovea
from ._answer import Answer, answer
from ._arrays import attention
from ._bench import Bench, bench
from ._cache import Cache
from ._engine import Engine, Sequence
from ._errors import (ArgumentError, CorruptError, FileError, FoveaError, FullError, MemoryShortage, NotFiniteError, PolicyError,
                      RangeError, ShapeError, SizeError, UnsupportedError)
from ._index import Index, SearchReport
from ._json_guide import LlamaGrammar
from ._llama import Llama, LogitsProcessorList, StoppingCriteriaList
from ._llama_state import LlamaRAMCache, LlamaState
from ._merge import merge_state, merge_states
from ._policy import Policy
from ._reads import Reads
from ._report import Report
from ._sampling import Sampler, Sampling
from ._sdpa import scaled_dot_product_attention

__version__: str = _fovea.version

__all__ = ["Answer", "ArgumentError", "Bench", "Cache", "CorruptError", "Engine", "FileError", "FoveaError", "FullError", "Index", "Llama",
           "LlamaGrammar", "LlamaRAMCache", "LlamaState", "LogitsProcessorList", "MemoryShortage", "NotFiniteError", "Policy", "PolicyError",
           "RangeError", "Reads", "Report", "Sampler", "Sampling", "SearchReport", "Sequence", "ShapeError", "SizeError",
           "StoppingCriteriaList", "UnsupportedError", "answer", "attention", "bench", "get_num_threads", "isa", "merge_state",
           "merge_states", "scaled_dot_product_attention", "set_num_threads"]


def set_num_threads(count: int) -> None:
    """Threads that calls share out their work to, 1 to 1024; 0, the default, is one for each processor that the process may use.
    Small calls use the caller's alone. It changes no bit of any result."""
    _fovea.set_threads(count)


def get_num_threads() -> int:
    """How many that are."""
    return _fovea.get_threads()


def isa() -> str:
    """The instruction set that runs: "scalar", "avx2", "avx512", "neon", ..."""
    return _fovea.isa()


os.register_at_fork(after_in_child=_fovea.forked)
