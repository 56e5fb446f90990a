"""Which layers remember statistics of their data, and the taps that read a batch's own.

A layer carries statistics if it has ``running_mean`` and ``running_var``
buffers: BatchNorm1d/2d/3d, SyncBatchNorm, FrozenBatchNorm2d, timm's fused
variants. A class list would miss some of them.

This is the hot path of data-free synthesis. ``BatchStatistics`` takes mean and
biased variance of a layer's input from one fused kernel and their gradient from
its closed form; ``dfkd.bench.reference`` keeps the slow, obvious version it is held to.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.losses.statistics import LayerStatistics
from dfkd.networks.layers import clean_name

VARIANCE_EPS = 1e-5
"""Batch-norm's usual addition to a variance: dead channels have none."""


def statistics_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Find the layers that carry statistics by their (cleaned) names, in registration's order."""
    return {
        clean_name(name): module
        for name, module in network.named_modules()
        if isinstance(getattr(module, "running_mean", None), Tensor)
        and isinstance(getattr(module, "running_var", None), Tensor)
    }


class BatchStatistics(torch.autograd.Function):
    """(mean, biased variance) over all but the channel dimension 1, accumulated in float32.

    Where a batch-norm was folded away, y = scale * z + shift is what is seen, and what is
    reported is z's: mean_z = (mean_y - shift)/scale, var_z = var_y/scale^2.

    For a loss L over M = N*H*W values a channel,
    dL/dz = (dL/dmean)/M + 2 (dL/dvar) (z - mean)/M: one multiply-add over z.
    Backward is itself made of differentiable operations: second derivatives are right.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and variance."""
        mean, var = mean_and_variance(z)
        ctx.save_for_backward(z, mean, scale)
        if scale is None or shift is None:
            return mean, var
        return (mean - shift) / scale, var / scale.square()

    @staticmethod
    def backward(ctx: Any, grad_mean: Tensor, grad_var: Tensor) -> tuple[Tensor, None, None]:
        """Return the closed form's gradient."""
        z, mean, scale = ctx.saved_tensors
        if scale is not None:
            grad_mean, grad_var = grad_mean / scale, grad_var / scale.square()
        count = z.numel() // z.shape[1]
        shape = (1, -1) + (1,) * (z.ndim - 2)
        slope = (2 / count) * grad_var
        offset = grad_mean / count - slope * mean
        gradient = torch.addcmul(offset.view(shape).to(z.dtype), z, slope.view(shape).to(z.dtype))
        return gradient, None, None


def mean_and_variance(z: Tensor) -> tuple[Tensor, Tensor]:
    """Compute every channel's mean and biased variance, in float32 (float64 for float64)."""
    if z.device.type not in ("cpu", "cuda"):
        var, mean = torch.var_mean(z.to(_wide(z)), [0, *range(2, z.ndim)], correction=0)
        return mean, var
    if torch.compiler.is_compiling():
        mean, var = _opaque_statistics(z)
        return mean, var
    return _kernel_statistics(z)


def _kernel_statistics(z: Tensor) -> tuple[Tensor, Tensor]:
    # Batch-norm's own training kernel: two passes (nothing cancels), no temporary, 10 to 20
    # times as fast on a CPU as var_mean. It wants running statistics to move: not ours.
    scratch = z.new_zeros((2, z.shape[1]), dtype=_wide(z))
    mean, var = torch.batch_norm_update_stats(z, scratch[0], scratch[1], 0.0)
    return mean, var


# To the compiler that kernel is one operation with nothing to look into: what it makes of
# var_mean itself is several times slower.
_opaque_statistics = torch.library.custom_op(
    "dfkd::mean_and_variance", _kernel_statistics, mutates_args=()
)


@_opaque_statistics.register_fake
def _statistics_shapes(z: Tensor) -> tuple[Tensor, Tensor]:
    mean = z.new_empty(z.shape[1], dtype=_wide(z))
    return mean, torch.empty_like(mean)


def _wide(z: Tensor) -> torch.dtype:
    return torch.float64 if z.dtype == torch.float64 else torch.float32


class Tap:
    """Records one layer's input statistics each time the layer is called."""

    def __init__(self, name: str, layer: nn.Module, copy_input: bool) -> None:
        self.name, self.layer, self.copy_input = name, layer, copy_input
        self.records: list[LayerStatistics] = []
        self._saved: list[tuple[Tensor, int]] = []

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        z = arguments[0].clone() if self.copy_input else arguments[0]
        scale, shift = (getattr(self.layer, name, None) for name in ("scale", "shift"))
        mean, var = BatchStatistics.apply(z, scale, shift)
        if mean.requires_grad:
            self._saved.append((z, z._version))
        call = len(self.records)
        name = f"{self.name}@{call}" if call else self.name
        stored: Any = self.layer
        self.records.append(
            LayerStatistics(name, mean, var, stored.running_mean, stored.running_var)
        )

    @property
    def overwritten(self) -> bool:
        """Whether an in-place operation has since changed an input that backward needs."""
        return any(z._version != version for z, version in self._saved)


@contextmanager
def open_taps(layers: dict[str, nn.Module], copied: set[str]) -> Iterator[list[Tap]]:
    """Open taps on ``layers`` while the block runs, in order; those in ``copied`` keep a copy."""
    taps = [Tap(name, layer, name in copied) for name, layer in layers.items()]
    handles = [tap.layer.register_forward_pre_hook(tap) for tap in taps]
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()
