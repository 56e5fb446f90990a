"""Memory of a synthesis step: how much it takes, what fits, and how to take less.

Backward needs what forward has seen: nearly all of a step's memory, and proportional to its
batch. Recomputing a network's blocks instead of keeping them trades a second forward pass for it.
"""

import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from dfkd.errors import DfkdError
from dfkd.networks.modes import keep_inputs
from dfkd.teacher.tapped import TappedNetwork, TappedTrace
from dfkd.teacher.teacher import Teacher
from dfkd.training.memory import free_bytes

_MEMORY_SHARE = 0.5
"""Of the free memory that a step may take: the student and other programs need some, too."""


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of tensors made in its block while they live; ``peak`` is the most."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.peak = self._alive = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        result = function(*arguments, **(keywords or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: Any) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place in self._known:
            return

        def freed(_: object) -> None:
            self._alive -= size
            self._known.pop(place, None)

        self._known[place] = weakref.ref(storage, freed)
        self._alive += size
        self.peak = max(self.peak, self._alive)


def pass_bytes(teacher: Teacher, batch: int = 2) -> int:
    """Measure the bytes an image that a pass with statistics, and back, takes at its peak."""
    images = torch.rand((batch, *teacher.spec.shape), device=teacher.device).requires_grad_()
    with PeakMemory() as memory:
        trace = teacher.trace(images, statistics=teacher.remembers)
        loss = trace.logits.float().sum()
        if teacher.remembers:
            loss = loss + teacher.prior.relative_distance(trace.statistics)
        loss.backward()
    return int(memory.peak // batch)


def fitting_batch(teacher: Teacher, wanted: int, *, free: int | None = None) -> int:
    """Halve ``wanted`` images as often as needed for a step to fit.

    Args:
        teacher: what a step asks.
        wanted: images a step would have.
        free: bytes to count on; what is free on the teacher's device when left out.
    """
    room = _MEMORY_SHARE * (free_bytes(teacher.device) if free is None else free)
    each = pass_bytes(teacher)
    while wanted > 1 and wanted * each > room:
        wanted //= 2
    return wanted


def recomputing(teacher: Teacher) -> Teacher:
    """Build a teacher that keeps for backward only what enters the ``blocks``.

    Everything between is computed a second time when it is needed (Chen et al., 2016).

    Raises:
        DfkdError: a network that cannot be copied, or is held in eval mode.
    """
    if teacher.held:
        raise DfkdError(f"the teacher cannot be recomputed: {teacher.held}; leave `recompute` off")
    tapped = TappedNetwork(teacher)
    keep_inputs(tapped)
    for block in blocks(tapped.network):
        block.forward = _recomputed(block.forward)
    thrifty = teacher.like(teacher.network)
    thrifty.use_fast_trace(TappedTrace(teacher, tapped, None))
    return thrifty


def blocks(network: nn.Module) -> Iterator[nn.Module]:
    """Find the largest modules with at most the square root of the network's layers.

    Of a residual network its blocks, of MobileNetV2 its inverted bottlenecks. With about as
    many blocks as layers in one, what is kept and what is recomputed at a time are in balance.
    """
    limit = math.sqrt(_layers(network))

    def within(module: nn.Module) -> Iterator[nn.Module]:
        for child in module.children():
            count = _layers(child)
            if 1 < count <= limit and not isinstance(child, (nn.ModuleList, nn.ModuleDict)):
                yield child
            else:
                yield from within(child)

    return within(network)


def _layers(network: nn.Module) -> int:
    return sum(
        bool([*module.parameters(recurse=False), *module.buffers(recurse=False)])
        for module in network.modules()
    )


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*inputs: Any) -> Any:
        versions = _versions(inputs)
        # In eval mode nothing is random: no generator's state to put back.
        output = checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False)
        if versions != _versions(inputs):
            raise DfkdError(
                "a block of the teacher overwrites its input and cannot be recomputed; "
                "leave `recompute` off"
            )
        return output

    return run


def _versions(inputs: tuple[Any, ...]) -> list[int]:
    return [value._version for value in inputs if isinstance(value, Tensor)]
