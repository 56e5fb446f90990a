"""Batch-norm over several processes, on any device.

torch's own SyncBatchNorm refuses CPUs, and Grad-CAM cannot differentiate it twice.
"""

from functools import partial
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

_Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm
_FORWARDS = (nn.BatchNorm2d.forward, nn.SyncBatchNorm.forward)


class ProcessSum(torch.autograd.Function):
    """Sum over processes; its gradient is the sum of theirs, and so on for theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Sum the gradient over processes."""
        # By way of itself: Grad-CAM differentiates this step once more.
        total: Tensor = ProcessSum.apply(gradient)
        return total


def synchronise_batchnorm(network: nn.Module) -> None:
    """Let every BatchNorm of ``network`` see all processes, in place; classes and names stay."""
    for module in network.modules():
        # A subclass may have a forward pass of its own.
        if isinstance(module, _Norm) and type(module).forward in _FORWARDS:
            vars(module)["forward"] = partial(_forward, module)


def _forward(norm: _Norm, x: Tensor) -> Tensor:
    if not norm.training or not dist.is_initialized():
        plain: Any = type(norm).forward
        return cast(Tensor, plain(norm, x))
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mean, var, count = _moments(wide)
    _update_statistics(norm, mean.detach(), var.detach() * (count / (count - 1)))
    shape = (1, -1) + (1,) * (x.ndim - 2)
    normalised = (wide - mean.view(shape)) * (var + norm.eps).rsqrt().view(shape)
    if norm.affine:
        normalised = normalised * norm.weight.view(shape) + norm.bias.view(shape)
    return normalised.to(x.dtype)


def _moments(x: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return mean and biased variance of every channel over all processes, and the count.

    Every process has as many numbers. Its sum of squares is about its own mean, and the means'
    spread is added (Chan et al., 1979): E[x^2] - E[x]^2 is the difference of two large numbers
    where a mean is large.
    """
    own = torch.var_mean(x, [0, *range(2, x.ndim)], correction=0)
    rows = x.new_zeros(dist.get_world_size(), 2, x.shape[1])
    rows[dist.get_rank()] = torch.stack(own)
    variances, means = ProcessSum.apply(rows).unbind(1)
    mean = means.mean(0)
    var = variances.mean(0) + (means - mean).square().mean(0)
    return mean, var, len(rows) * x.numel() // x.shape[1]


def _update_statistics(norm: _Norm, mean: Tensor, var: Tensor) -> None:
    """Move running statistics, if any; without a momentum they are the mean of all batches'."""
    if norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None  # kept with them
    norm.num_batches_tracked += 1
    momentum = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(var, momentum)
