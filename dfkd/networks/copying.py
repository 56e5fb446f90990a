"""Copies of networks, also of those that ``copy.deepcopy`` refuses, and trials on a copy."""

import bisect
import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.networks.foreign import says
from dfkd.networks.layers import clean_name

Network = TypeVar("Network", bound=nn.Module)


def copy_network(network: Network) -> Network:
    """Copy a network so that it shares no parameter and no buffer with ``network``.

    A weight that hooks compute (``nn.utils.weight_norm``, pruning) is computed anew in the next
    pass; what nothing can copy (locks, generators, open files) both networks use.

    Raises:
        DfkdError: a network whose own ``__deepcopy__`` fails.
    """
    memo: dict[int, Any] = {}
    try:
        return copy.deepcopy(network)
    except Exception:
        # What refers to the network itself fails for whatever else there is: it comes last.
        for last in (False, True):
            for module in network.modules():
                for value in vars(module).values():
                    _spare(value, memo, last)
    try:
        return copy.deepcopy(network, memo)
    except Exception as error:
        raise DfkdError(f"the network cannot be copied ({says(error)[:200]})") from error


def _copies(value: Any, memo: dict[int, Any]) -> bool:
    try:
        copy.deepcopy(value, dict(memo))
    except Exception:  # whatever it raises: it is not ours
        return False
    return True


def _spare(value: Any, memo: dict[int, Any], last: bool) -> None:
    """Note in ``memo`` what stands for the parts of ``value`` that cannot be copied.

    Args:
        last: objects that have parts are shared as well.
    """
    if id(value) in memo or isinstance(value, nn.Module):
        return
    if isinstance(value, Tensor) and not value.is_leaf:
        memo[id(value)] = value.detach().clone()
    if _copies(value, memo):
        return
    parts = _parts(value)
    for part in parts:
        _spare(part, memo, last)
    shared = (last or not parts) and not isinstance(value, (dict, list, tuple, set))
    if shared and not _copies(value, memo):
        memo[id(value)] = value


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, (list, tuple, set)):
        return list(value)
    return list(getattr(value, "__dict__", {}).values())


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Return parameters and persistent buffers by clean name: the tensors themselves."""
    return {
        clean_name(name): value
        for name, value in network.state_dict().items()
        if isinstance(value, Tensor) and not nn.parameter.is_lazy(value)
    }


def same_values(one: Tensor, other: Tensor) -> bool:
    """Tell whether two tensors of one device agree, also those that torch compares no values of.

    Args:
        one, other: of any type and layout.
    """
    if one.dtype != other.dtype or one.layout != other.layout:
        return False
    if one.layout is not torch.strided:
        one, other = one.to_dense(), other.to_dense()
    if one.element_size() == 1 and one.is_floating_point():
        one, other = one.view(torch.uint8), other.view(torch.uint8)
    return torch.equal(one, other)


def moved(before: Mapping[str, Tensor], network: nn.Module) -> list[str]:
    """List the tensors that differ from their copies in ``before``, by name."""
    now = state_of(network)
    return [
        name
        for name, value in before.items()
        if not value.is_meta and (name not in now or not same_values(value, now[name]))
    ]


@torch.no_grad()
def saved(network: nn.Module) -> dict[str, Tensor]:
    """Copy the tensors of ``state_of(network)``."""
    return {name: value.detach().clone() for name, value in state_of(network).items()}


@torch.no_grad()
def put_back(before: Mapping[str, Tensor], network: nn.Module) -> None:
    """Give the tensors of ``network`` that moved the values that they have in ``before``."""
    now = state_of(network)
    for name in moved(before, network):
        if name in now:
            now[name].copy_(before[name])


@contextmanager
def trying(network: nn.Module) -> Iterator[nn.Module]:
    """Yield a copy of ``network`` to try things on; draw no global random number.

    A network that cannot be copied is yielded itself; its modes and values are restored.
    """
    devices = {value.device for value in network.parameters() if value.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices)):
        try:
            trial = copy_network(network)
        except DfkdError:
            before, modes = saved(network), {m: m.training for m in network.modules()}
            try:
                yield network
            finally:
                put_back(before, network)
                for module, training in modes.items():
                    module.training = training
        else:
            yield trial


def check_separate(teacher: nn.Module, student: nn.Module) -> None:
    """Raise where a parameter or buffer of ``student`` lies in the memory of the teacher's.

    Raises:
        DfkdError: names the tensor, and what to do.
    """
    theirs = sorted((*_memory(value), name) for name, value in state_of(teacher).items())
    starts = [start for start, _, _ in theirs]
    for name, value in state_of(student).items():
        start, end = _memory(value)
        before = bisect.bisect_left(starts, end)
        taken = next((other for _, last, other in theirs[:before] if last > start), None)
        if taken is not None and end > start:
            raise DfkdError(
                f"the student's {name!r} is the teacher's own {taken!r}: training would change the "
                "teacher; build the student from copies (copy.deepcopy of the layers)"
            )


def _memory(value: Tensor) -> tuple[int, int]:
    """The addresses from its first byte to its last; none of a tensor without memory."""
    if value.is_meta or value.layout is not torch.strided or not value.numel():
        return 0, 0
    reach = sum((size - 1) * step for size, step in zip(value.shape, value.stride(), strict=True))
    return value.data_ptr(), value.data_ptr() + (reach + 1) * value.element_size()
