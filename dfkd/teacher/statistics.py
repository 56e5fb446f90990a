"""Which layers remember statistics of their data, and the taps that read a batch's own.

A layer carries statistics if it has ``running_mean`` and ``running_var``
buffers: BatchNorm1d/2d/3d, SyncBatchNorm, FrozenBatchNorm2d, timm's fused
variants. A class list would miss some of them.

This is the hot path of data-free synthesis. ``BatchStatistics`` takes mean and
biased variance of a layer's input from one fused kernel and their gradient from
its closed form; ``dfkd.bench.reference`` keeps the slow, obvious version it is held to.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

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


class Moments(NamedTuple):
    """Mean and biased variance, of shape (C,), of what entered a layer in one of its calls.

    Attributes:
        layer: its name.
        call: 0 for the first call of a pass.
        mean: of each channel.
        var: of each channel.
    """

    layer: str
    call: int
    mean: Tensor
    var: Tensor

    @property
    def label(self) -> str:
        """The layer's name; that of a later call is ``NAME@1``, ``NAME@2``, ..."""
        return f"{self.layer}@{self.call}" if self.call else self.layer


def with_channels_second(z: Tensor, axis: int) -> Tensor:
    """Return ``z`` with its channels in dimension 1: of tokens, M x C from N x T x C.

    Args:
        z: what enters a layer.
        axis: of its channels, 1 or -1.
    """
    return z if axis == 1 or z.ndim == 2 else z.flatten(0, -2)


def input_moments(layer: nn.Module, z: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Compute mean and biased variance of a layer's input; of a folded norm, of the norm's."""
    scale, shift = getattr(layer, "folded_affine", (None, None))
    columns = with_channels_second(z, axis)
    found: tuple[Tensor, Tensor] = BatchStatistics.apply(columns, scale, shift)
    return found


class Tap:
    """Records one layer's input statistics each time the layer is called."""

    def __init__(self, name: str, layer: nn.Module, copy_input: bool, axis: int = 1) -> None:
        self.name, self.layer, self.copy_input, self.axis = name, layer, copy_input, axis
        self.records: list[Moments] = []
        self._saved: list[tuple[Tensor, int]] = []

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        z = arguments[0].clone() if self.copy_input else arguments[0]
        mean, var = input_moments(self.layer, z, self.axis)
        if mean.requires_grad:
            self._saved.append((z, z._version))
        self.records.append(Moments(self.name, len(self.records), mean, var))

    @property
    def overwritten(self) -> bool:
        """Whether an in-place operation has since changed an input that backward needs."""
        return any(z._version != version for z, version in self._saved)


@contextmanager
def open_taps(
    layers: Mapping[str, nn.Module], copied: set[str], axes: Mapping[str, int] | None = None
) -> Iterator[list[Tap]]:
    """Open taps on ``layers`` while the block runs, in order.

    Args:
        layers: by name.
        copied: those that keep a copy of what enters.
        axes: -1 for those whose channels come last.
    """
    at = axes or {}
    taps = [Tap(name, one, name in copied, at.get(name, 1)) for name, one in layers.items()]
    handles = [tap.layer.register_forward_pre_hook(tap) for tap in taps]
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()
