"""Exceptions: one class for each status of the library (include/fovea/status.h), each also what Python calls such a thing."""
from __future__ import annotations


class FoveaError(Exception):
    """Whatever the library refuses. The text says what was found and what is allowed; `status` is the number in C."""

    status: int = 0


class ArgumentError(FoveaError, ValueError):
    """An argument is out of its range."""

    status = -1


class SizeError(FoveaError, OverflowError):
    """A size overflows."""

    status = -2


class MemoryShortage(FoveaError, MemoryError):
    """Memory that a call needs is not to be had."""

    status = -3


class FullError(FoveaError, ValueError):
    """No room is left: a cache has `max_tokens`."""

    status = -4


class UnsupportedError(FoveaError, NotImplementedError):
    """Not supported by this build, processor or version."""

    status = -5


class CorruptError(FoveaError, ValueError):
    """A file is damaged, or of another kind."""

    status = -6


class FileError(FoveaError, OSError):
    """A file cannot be opened, read or written."""

    status = -7


class InterruptedCall(FoveaError, RuntimeError):
    """Stopped by the caller."""

    status = -8


class ProtectedError(FoveaError, ValueError):
    """The cache is full and every token protected."""

    status = -9


class DeadlineError(FoveaError, TimeoutError):
    """A deadline passed."""

    status = -10


class NotFiniteError(FoveaError, ValueError):
    """A NaN or an infinity in an array; the text says in which one and where."""

    status = -11


class ShapeError(FoveaError, ValueError):
    """Sizes of arrays do not fit each other."""

    status = -12


class PolicyError(FoveaError, ValueError):
    """A policy's text, or a policy that the cache or the call does not suit."""

    status = -13


class RangeError(FoveaError, ValueError):
    """A value is too large for the type that it is stored in."""

    status = -14


BY_STATUS: dict[int, type[FoveaError]] = {
    kind.status: kind
    for kind in (ArgumentError, SizeError, MemoryShortage, FullError, UnsupportedError, CorruptError, FileError, InterruptedCall,
                 ProtectedError, DeadlineError, NotFiniteError, ShapeError, PolicyError, RangeError)
}


def error(status: int, text: str) -> FoveaError:
    """The exception for `status`; the extension module calls this."""
    return BY_STATUS.get(status, FoveaError)(text)
