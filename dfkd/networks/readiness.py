"""What has to happen to a network before it can be run like any other: sizes, numbers, parts."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

from dfkd.errors import DfkdError
from dfkd.networks.foreign import calling
from dfkd.networks.layers import clean_name, unwrap
from dfkd.networks.modes import eval_mode

_QUANTISED = ("torch.ao.nn.quantized", "torch.nn.quantized", "torch.ao.nn.intrinsic.quantized")


@torch.no_grad()
def materialise(network: nn.Module, samples: Tensor, whose: str) -> None:
    """Let lazy layers find their sizes in one pass, in eval mode; without any do nothing.

    Args:
        network: changed in place; its modes stay.
        samples: as it takes them.
        whose: "the teacher" or "the student", used in error messages.

    Raises:
        DfkdError: it fails, or has lazy layers that it does not call.
    """
    if not any(map(is_lazy, _tensors(network))):
        return
    with calling(whose, samples.shape, resize="set `image`"), eval_mode(network):
        network(samples)
    if left := [n for n, p in network.named_parameters() if is_lazy(p)]:
        raise DfkdError(
            f"{whose} never calls its lazy layer of {clean_name(left[0])!r}, which therefore has "
            "no size: call it once, or take it out"
        )


def own_type(network: nn.Module) -> torch.dtype:
    """Return the one floating-point type of a network's parameters; float32 of several or none."""
    found = {value.dtype for value in network.parameters() if value.is_floating_point()}
    return found.pop() if len(found) == 1 else torch.float32


def take_float32(network: nn.Module) -> RemovableHandle | None:
    """Let a network of another floating-point type take float32 samples.

    Args:
        network: casts what it is given from here on, until the handle is removed; copies do so too.

    Returns:
        None where it is of float32.
    """
    if own_type(network) is torch.float32:
        return None
    return unwrap(network).register_forward_pre_hook(_cast)


def _cast(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    kind = own_type(module)  # of a copy it may be another by now
    return tuple(
        value.to(kind) if isinstance(value, Tensor) and value.is_floating_point() else value
        for value in inputs
    )


def widen(student: nn.Module) -> str:
    """Turn a student of another floating-point type into float32, in place, and say so in a line.

    In 16 bits a step is soon smaller than what a weight can move by, and its average stands still.

    Returns:
        "" where it is of float32.
    """
    hooks = unwrap(student)._forward_pre_hooks  # a copy of a teacher's network has its
    for number in [number for number, hook in hooks.items() if hook is _cast]:
        del hooks[number]
    kind = own_type(student)
    if kind is torch.float32:
        return ""
    student.float()
    name = str(kind).removeprefix("torch.")
    return f"the student came in {name}: it learns, and is kept, in float32"


def is_quantised(module: nn.Module) -> bool:
    """Tell whether a layer is one of torch's quantised ones, of whole numbers."""
    return type(module).__module__.startswith(_QUANTISED)


def check_answer(logits: Tensor, ask: Callable[[], Tensor], whose: str) -> None:
    """Raise where a network answers neither grey images nor noise in numbers.

    Who divides by an image's spread has no answer to grey: noise decides.

    Args:
        logits: to grey images.
        ask: gives the logits of noise.
        whose: "the teacher" or "the student".

    Raises:
        DfkdError: both hold NaN or infinity.
    """
    if logits.is_meta or bool(logits.isfinite().all()) or bool(ask().isfinite().all()):
        return
    raise DfkdError(
        f"{whose} answers NaN or infinity to any image: look for a division by 0, a log of 0 or "
        "masked logits in its forward, for NaN among its weights, and at `mean` and `std`"
    )


def check_learnable(student: nn.Module) -> None:
    """Raise where parts of a student cannot learn.

    Raises:
        DfkdError: they are of whole numbers, or have gradients that no optimiser here takes.
    """
    for name, module in student.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse:
            raise DfkdError(
                f"the student's {clean_name(name)!r} has sparse gradients, which no optimiser here "
                "takes: build it with sparse=False"
            )
        if is_quantised(module):
            raise DfkdError(
                f"the student's {clean_name(name)!r} is quantised ({type(module).__name__}) and "
                "cannot learn: give the network before quantisation, and quantise what it becomes"
            )


def _tensors(network: nn.Module) -> Iterator[Any]:
    yield from network.parameters()
    yield from network.buffers()
