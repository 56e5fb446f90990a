"""What a caller has set for all of torch, put aside while this package works."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from dfkd.errors import DfkdError


@contextmanager
def own_surroundings() -> Iterator[None]:
    """Compute with gradients, in float32 and on the CPU where nothing else is said.

    Images and students learn by gradients, whatever mode the call stands in.
    """
    kind = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if kind is not torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, kind)
        yield


def check_module(network: object, whose: str) -> None:
    """Raise unless a network is a module that can be trained or followed.

    Args:
        network: what was given.
        whose: "the teacher" or "the student", used in error messages.

    Raises:
        DfkdError: something else.
    """
    if isinstance(network, str):
        raise DfkdError(
            f"{whose} is a text, {network[:60]!r}: dfkd.load_{whose[4:]} makes a network of a "
            "MODEL URI"
        )
    if not isinstance(network, nn.Module):
        raise DfkdError(
            f"{whose} is a {type(network).__name__} and must be an nn.Module: put a function into "
            "the forward method of one"
        )


def check_has_weights(network: nn.Module, whose: str, device: torch.device | str) -> None:
    """Raise where a network is to work on ``device`` and its tensors cannot.

    Args:
        network: a module.
        whose: "the teacher" or "the student", used in error messages.
        device: where it is to run.

    Raises:
        DfkdError: they have no values, or were made under ``torch.inference_mode()``.
    """
    tensors = (*network.parameters(), *network.buffers())
    if any(value.is_inference() for value in tensors if not is_lazy(value)):
        raise DfkdError(
            f"{whose} was built under torch.inference_mode(), whose tensors take no gradients: "
            "build or load it outside"
        )
    here = {value.device.type for value in network.parameters()}
    if "meta" in here and torch.device(device).type != "meta":
        raise DfkdError(
            f"{whose} is on the meta device and has no weights: build it on the CPU, or call "
            ".to_empty(device='cpu') and load its weights"
        )
