"""Calls of foreign networks: whatever they raise becomes one line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from dfkd.errors import DfkdError

LONGEST_LINE = 300
"""Characters of an error message, at most."""
TRIAL = 2
"""Images of a network's first pass."""
NO_SHAPE = (LookupError, AttributeError, NameError, TypeError, ArithmeticError, ImportError)
"""Errors that images of another size would not mend."""
NO_SHAPE_WORDS = ("dtype", "scalar type", "input type", "on device", "same device", "cuda")
LESS = ": memory is spent; `batch_size=auto` takes as many images as fit, `recompute` less"
"""Remedy for spent memory."""
WIDER = ": this machine cannot do it in 16 bits; set `precision=fp32`"
"""Remedy where a layer, such as an LSTM on many CPUs, has no kernel for narrow floats."""
NO_KERNEL_WORDS = (
    "primitive descriptor",
    "not implemented for 'bfloat16'",
    "not implemented for 'half'",
    "expected scalar type float but found bfloat16",
)
MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


def says(error: BaseException) -> str:
    """Return ``TypeError: message``, the first line of the message."""
    lines = str(error).strip().splitlines()
    return type(error).__name__ + (f": {' '.join(lines[0].split())}" if lines else "")


def is_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory is spent, on any device."""
    words = str(error).lower()
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or any(found in words for found in MEMORY_WORDS)


@contextmanager
def calling(
    whose: str, shape: Sequence[int], *, known: int | None = None, resize: str = ""
) -> Iterator[None]:
    """Turn whatever a network's own code raises into one line; a ``DfkdError`` passes.

    Args:
        whose: the network's role, used in messages, as in "the teacher".
        shape: N x C x H x W of its input.
        known: how many images it has taken at once; None at the first trial.
        resize: what to do where it may be these images that do not fit.

    Raises:
        DfkdError: at most ``LONGEST_LINE`` characters with the network's own words; exits included.
    """
    try:
        yield
    except DfkdError:
        raise
    except (Exception, SystemExit) as error:
        raise DfkdError(_line(whose, shape, error, known, resize)) from error


@contextmanager
def within_memory(what: str) -> Iterator[None]:
    """Turn spent memory into one line that names what takes less; all else passes.

    Args:
        what: fails for want of it, as in "synthesis".

    Raises:
        DfkdError: memory is spent.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, DfkdError) or not is_memory(error):
            raise
        raise DfkdError(_quoted(f"{what} fails", error, LESS)) from error


def _line(
    whose: str, shape: Sequence[int], error: BaseException, known: int | None, resize: str
) -> str:
    count, image = shape[0], "x".join(map(str, shape[1:]))
    start, end = f"{whose} fails on {count} {image} images", ": mend it in its own code"
    if is_memory(error):
        end = LESS
    elif any(found in str(error).lower() for found in NO_KERNEL_WORDS):
        end = WIDER
    elif known is not None and count != known:
        end = f": it took {known}; where their number is to blame set `batch_size`"
    elif known is None and resize and _may_be_the_shape(error):
        start = f"{whose} does not accept {image} images"
        end = f"; {resize} (or, where {count} at once are the trouble, let it take any number)"
    return _quoted(start, error, end)


def _quoted(start: str, error: BaseException, end: str) -> str:
    words, room = says(error), LONGEST_LINE - len(start) - len(end) - 3
    words = words if len(words) <= room else words[: room - 1] + "…"
    return f"{start} ({words}){end}"


def _may_be_the_shape(error: BaseException) -> bool:
    if isinstance(error, (*NO_SHAPE, SystemExit)):
        return False
    words = str(error).lower()
    return not any(found in words for found in NO_SHAPE_WORDS)
