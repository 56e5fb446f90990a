"""Devices, precision and processes: the only file that knows Fabric.

Everything else receives plain values from here: a device, an autocast context,
a ``backward``. Under several processes every rank makes the same images from
the same seed and trains on its slice, so a run's images and checkpoints do not
depend on how many processes share it.
"""

import os
import platform
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import lightning_fabric
import torch
import torch.distributed as dist
from torch import Tensor, nn

from dfkd.errors import DfkdError

Autocast = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Runtime:
    """Where and how a run computes.

    Attributes:
        device: where every tensor lives.
        precision: ``"bf16"`` or ``"fp32"``.
        rank, world_size: this process among all.
    """

    fabric: Any
    device: torch.device
    precision: str
    rank: int
    world_size: int

    def autocast(self) -> AbstractContextManager[Any]:
        """bf16 autocast where it was chosen, else nothing."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def setup(
        self, student: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Wrap for data-parallel training; alone in the world, both come back as they are."""
        if self.world_size == 1:
            return student, optimizer
        synchronise_batchnorm(student)
        network, wrapped = self.fabric.setup(student, optimizer)
        return network, wrapped

    def backward(self, loss: Tensor) -> None:
        """Gradients of ``loss``, averaged over processes."""
        self.fabric.backward(loss) if self.world_size > 1 else loss.backward()  # type: ignore[no-untyped-call]

    def agree(self, flag: bool) -> bool:
        """Whether any process says yes: all must stop at the same step or the others hang."""
        if self.world_size == 1:
            return flag
        vote = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(vote, op=dist.ReduceOp.MAX)
        return bool(vote.item())

    def barrier(self) -> None:
        """Wait for the other processes."""
        if self.world_size > 1:
            dist.barrier()


def resolve_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda``, ``mps`` -> a device that exists here."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    if name not in ("cpu", "cuda", "mps"):
        raise DfkdError(f"--device must be auto, cpu, cuda or mps, not {name!r}")
    if (name == "cuda" and not cuda) or (name == "mps" and not mps):
        raise DfkdError(f"this torch sees no {name} device; use --device auto")
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> str:
    """``auto`` -> bf16 where the hardware computes in it, else fp32."""
    if name not in ("auto", "bf16", "fp32"):
        raise DfkdError(f"--precision must be auto, bf16 or fp32, not {name!r}")
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        # Without the instructions bf16 on a CPU is emulated, and slower than float32.
        return "bf16" if torch.backends.cpu.get_cpu_capability() and _cpu_has_bf16() else "fp32"
    return "fp32"


def _cpu_has_bf16() -> bool:
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(supported())


def start(device: str = "auto", precision: str = "auto", devices: int = 1) -> Runtime:
    """The runtime of this process; ``devices > 1`` or ``torchrun`` makes it one of several.

    Raises:
        DfkdError: an unknown or absent device, an impossible count.
    """
    if devices < 1:
        raise DfkdError(f"--devices must be at least 1, not {devices}")
    place = resolve_device(device)
    world_size = int(os.environ.get("WORLD_SIZE", devices))
    fabric = None
    if world_size > 1:
        if "MASTER_PORT" not in os.environ:
            os.environ["MASTER_PORT"] = str(_free_port())
        fabric = lightning_fabric.Fabric(
            accelerator=place.type, devices=_local_devices(world_size), strategy="ddp"
        )
        fabric.launch()
        place, world_size = fabric.device, fabric.world_size
    rank = fabric.global_rank if fabric else 0
    return Runtime(fabric, place, resolve_precision(precision, place), rank, world_size)


def _local_devices(world_size: int) -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def hardware(device: torch.device) -> dict[str, Any]:
    """What the manifest says of the machine."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "device": str(device),
        "name": name or platform.machine(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
    }


class _ProcessSum(torch.autograd.Function):
    """Sum over processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch-norm over the batches of all processes; torch's own SyncBatchNorm refuses CPUs."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.running_mean is None or self.running_var is None:
            return super().forward(x)
        dimensions = [0, *range(2, x.ndim)]
        count = x.numel() // x.shape[1] * dist.get_world_size()
        wide = x.float()
        sums = torch.stack([wide.sum(dimensions), wide.square().sum(dimensions)])
        mean, square = _ProcessSum.apply(sums) / count
        var = (square - mean.square()).clamp_min(0)
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(var * (count / (count - 1)), momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        shape = (1, -1) + (1,) * (x.ndim - 2)
        scale = (var + self.eps).rsqrt() * self.weight
        shift = self.bias - mean * scale
        normalised: Tensor = x * scale.view(shape).to(x.dtype) + shift.view(shape).to(x.dtype)
        return normalised

    def _check_input_dim(self, input: Tensor) -> None:
        """Any dimension will do: 1-d, 2-d and 3-d norms are all turned into this class."""


def synchronise_batchnorm(network: nn.Module) -> None:
    """Let every BatchNorm of ``network`` see all processes, in place; its state stays as named."""
    for module in network.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            module.__class__ = SharedBatchNorm


def is_first() -> bool:
    """Whether this process speaks for all: rank 0, or alone."""
    return not dist.is_initialized() or dist.get_rank() == 0
