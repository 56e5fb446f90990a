"""Which layers remember statistics of their data, and the taps that read a batch's own.

A layer carries statistics if it has ``running_mean`` and ``running_var``
buffers: BatchNorm1d/2d/3d, SyncBatchNorm, FrozenBatchNorm2d, timm's fused
variants. A class list would miss some of them.

This is the hot path of data-free synthesis. ``BatchStatistics`` computes mean
and biased variance of a layer's input in one pass and their gradient in closed
form in another; ``tests/twins.py`` keeps the slow, obvious version it is held to.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

WRAPPER_PREFIXES = ("module.", "_orig_mod.")


class LayerStatistics(NamedTuple):
    """Statistics of one layer's input for one batch, beside the stored ones; all of shape (C,).

    ``var`` is the biased variance. ``running_mean`` and ``running_var`` are the
    teacher's own buffers: never write to them.
    """

    name: str
    mean: Tensor
    var: Tensor
    running_mean: Tensor
    running_var: Tensor


def clean_name(name: str) -> str:
    """A module's dotted name without what DataParallel and torch.compile put before it."""
    for prefix in WRAPPER_PREFIXES:
        name = name.removeprefix(prefix)
        name = name.replace("." + prefix, ".")
    return name


def statistics_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Layers that carry statistics by their (cleaned) names, in the order of registration."""
    return {
        clean_name(name): module
        for name, module in network.named_modules()
        if isinstance(getattr(module, "running_mean", None), Tensor)
        and isinstance(getattr(module, "running_var", None), Tensor)
    }


class BatchStatistics(torch.autograd.Function):
    """(mean, biased variance) over all but the channel dimension 1, accumulated in float32.

    For a loss L over M = N*H*W values a channel,
    dL/dz = (dL/dmean)/M + 2 (dL/dvar) (z - mean)/M: one multiply-add over z.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> tuple[Tensor, Tensor]:
        dimensions = [0, *range(2, z.ndim)]
        # var_mean has no fused bf16 accumulation on every device: widen first where needed.
        wide = z if z.dtype == torch.float64 else z.float()
        if wide.ndim == 4 and wide.is_contiguous(memory_format=torch.channels_last):
            # Rows of an (NHW, C) view: sums as a product with ones run at memory speed.
            mean, var = _row_statistics(wide.permute(0, 2, 3, 1).reshape(-1, wide.shape[1]))
        else:
            var, mean = torch.var_mean(wide, dimensions, correction=0)
        ctx.save_for_backward(z, mean)
        return mean, var

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_mean: Tensor, grad_var: Tensor) -> Tensor:
        z, mean = ctx.saved_tensors
        count = z.numel() // z.shape[1]
        shape = (1, -1) + (1,) * (z.ndim - 2)
        slope = (2 / count) * grad_var
        offset = grad_mean / count - slope * mean
        return torch.addcmul(offset.view(shape).to(z.dtype), z, slope.view(shape).to(z.dtype))


def _row_statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Column means and biased variances of an (M, C) matrix; shifted by its first row."""
    # Without the shift E[z^2] - E[z]^2 cancels where |mean| >> std.
    mean = rows.mean(0)
    var = torch.linalg.vecdot(rows - mean, rows - mean, dim=0) / rows.shape[0]
    return mean, var


class Tap:
    """Records one layer's input statistics each time the layer is called."""

    def __init__(self, name: str, layer: nn.Module, copy_input: bool) -> None:
        self.name, self.layer, self.copy_input = name, layer, copy_input
        self.records: list[tuple[LayerStatistics, Tensor, int]] = []

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        z = arguments[0]
        with torch.autocast(z.device.type, enabled=False):
            mean, var = BatchStatistics.apply(z.clone() if self.copy_input else z)  # type: ignore[no-untyped-call]
        call = len(self.records)
        name = f"{self.name}@{call}" if call else self.name
        stored: Any = self.layer
        record = LayerStatistics(name, mean, var, stored.running_mean, stored.running_var)
        self.records.append((record, z, z._version))

    @property
    def overwritten(self) -> bool:
        """Whether an in-place operation has since changed an input that backward needs."""
        return any(z._version != version for _, z, version in self.records)


@contextmanager
def open_taps(layers: dict[str, nn.Module], copied: set[str]) -> Iterator[list[Tap]]:
    """Taps on ``layers`` while the block runs, in order; those in ``copied`` keep a copy."""
    taps = [Tap(name, layer, name in copied) for name, layer in layers.items()]
    handles = [tap.layer.register_forward_pre_hook(tap) for tap in taps]
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()
