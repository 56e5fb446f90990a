"""One process or several: the only file that knows Fabric.

Everything else receives plain values from here: a device, an autocast context,
means over processes. Under several processes every rank makes the same images from
the same seed and trains on its slice, so a run's images and checkpoints do not
depend on how many processes share it. Gradients are averaged here, not by torch's
DistributedDataParallel: that wants one for whatever leads to the output, and knowledge of
features leaves a classifier without.
"""

import atexit
import os
import socket
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.training.devices import resolve_device, resolve_precision
from dfkd.training.sync_batchnorm import ProcessSum, synchronise_batchnorm

Autocast = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Runtime:
    """Where and how a run computes.

    Attributes:
        device: where every tensor lives.
        precision: ``"bf16"`` or ``"fp32"``.
        rank, world_size: this process among all.
    """

    device: torch.device
    precision: str
    rank: int
    world_size: int

    def autocast(self) -> AbstractContextManager[Any]:
        """Return a bf16 autocast where it was chosen, else a context that does nothing."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    @torch.no_grad()
    def broadcast_module(self, network: nn.Module) -> None:
        """Ready ``network`` for training by all: the first one's weights, batch-norm over all."""
        if self.world_size == 1:
            return
        synchronise_batchnorm(network)
        for value in network.state_dict().values():
            if not isinstance(value, Tensor):
                continue  # a layer's extra state: alike, as what made it
            first = value.contiguous()
            dist.broadcast(first, 0)
            value.copy_(first)

    def any_rank(self, flag: bool) -> bool:
        """Tell whether any process says yes: all must stop at the same step or the others hang."""
        if self.world_size == 1:
            return flag
        vote = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(vote, op=dist.ReduceOp.MAX)
        return bool(vote.item())

    def from_rank_zero(self, value: float) -> float:
        """Rank 0's number, in every process: clocks differ, and all must see the same time."""
        if self.world_size == 1:
            return value
        # As the bits of an integer: float32 would round a clock, and not every device has more.
        (bits,) = struct.unpack("=q", struct.pack("=d", value))
        shared = torch.tensor(bits, device=self.device)
        dist.broadcast(shared, 0)
        (first,) = struct.unpack("=d", struct.pack("=q", int(shared.item())))
        return float(first)

    @torch.no_grad()
    def all_reduce_gradients(self, module: nn.Module) -> None:
        """Average the gradients of ``module`` over processes, in place; without one none comes."""
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        if self.world_size == 1 or not gradients:
            return
        means = torch.cat([gradient.flatten() for gradient in gradients])  # one message for all
        dist.all_reduce(means)
        means /= self.world_size
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, mean in zip(gradients, torch.split(means, sizes), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def gather(self, values: Tensor) -> Tensor:
        """Gather the rows of all processes, in the same order everywhere; without gradients."""
        values = values.detach()
        if self.world_size == 1:
            return values
        rows = [torch.empty_like(values) for _ in range(self.world_size)]
        dist.all_gather(rows, values.contiguous())
        return torch.cat(rows)

    def all_gather_with_grad(self, values: Tensor) -> Tensor:
        """Gather the rows of all processes in one process's order, with gradients to all."""
        if self.world_size == 1:
            return values
        rows = values.new_zeros(len(values), self.world_size, *values.shape[1:])
        rows[:, self.rank] = values  # as ``Learner.prepare`` deals them out
        whole: Tensor = ProcessSum.apply(rows).flatten(0, 1)
        return whole

    def barrier(self) -> None:
        """Wait for the other processes."""
        if self.world_size > 1:
            dist.barrier()


SINGLE_PROCESS = Runtime(torch.device("cpu"), "fp32", 0, 1)
"""One process in float32: what is used where nothing else is said."""


def count_processes(devices: int) -> int:
    """Return how many processes a run has: those of ``torchrun``, else one a device.

    Raises:
        DfkdError: fewer than one device.
    """
    if devices < 1:
        raise DfkdError(f"`devices` must be at least 1, not {devices}")
    return int(os.environ.get("WORLD_SIZE", devices))


def init(device: str = "auto", precision: str = "auto", devices: int = 1) -> Runtime:
    """Start the runtime of this process, one of several with ``devices > 1`` or ``torchrun``.

    Raises:
        DfkdError: an unknown or absent device, an impossible count.
    """
    world_size = count_processes(devices)
    chosen = resolve_device(device)
    fabric = None
    if world_size > 1:
        import lightning_fabric  # takes seconds, which a single process need not spend

        if "MASTER_PORT" not in os.environ:
            os.environ["MASTER_PORT"] = str(_free_port())
        fabric = lightning_fabric.Fabric(
            accelerator=chosen.type, devices=_local_devices(world_size), strategy="ddp"
        )
        if not dist.is_initialized():  # else a caller's own, who also ends it
            atexit.register(_destroy_group)
        fabric.launch()
        chosen, world_size = fabric.device, fabric.world_size
    rank = fabric.global_rank if fabric else 0
    return Runtime(chosen, resolve_precision(precision, chosen), rank, world_size)


def _destroy_group() -> None:
    """End the process group: gloo's threads, met by the interpreter's end, abort the process.

    Such an abort comes rarely and after everything is written, and turns success into a failure
    (pytorch/pytorch#190489). Fabric does the same where the group is NCCL's.
    """
    if dist.is_initialized():
        dist.destroy_process_group()


def _local_devices(world_size: int) -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_first() -> bool:
    """Tell whether this process speaks for all: rank 0, or alone."""
    return not dist.is_initialized() or dist.get_rank() == 0
