"""Batch-norm over several processes, on any device."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class ProcessSum(torch.autograd.Function):
    """Sum over processes; its gradient is the sum of theirs, and so on for theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Sum the gradients of all processes."""
        # By way of itself: Grad-CAM differentiates this step once more.
        total: Tensor = ProcessSum.apply(gradient)
        return total


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch-norm over the batches of all processes; torch's own SyncBatchNorm refuses CPUs."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        dimensions = [0, *range(2, x.ndim)]
        count = x.numel() // x.shape[1] * dist.get_world_size()
        wide = x.float()
        sums = torch.stack([wide.sum(dimensions), wide.square().sum(dimensions)])
        mean, square = ProcessSum.apply(sums) / count
        var = (square - mean.square()).clamp_min(0)
        self._remember(mean, var * (count / (count - 1)))
        shape = (1, -1) + (1,) * (x.ndim - 2)
        scale = (var + self.eps).rsqrt()
        scale = scale * self.weight if self.affine else scale
        shift = self.bias - mean * scale if self.affine else -mean * scale
        normalised: Tensor = x * scale.view(shape).to(x.dtype) + shift.view(shape).to(x.dtype)
        return normalised

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor) -> None:
        """Running statistics, where they are kept; without a momentum the mean of all batches'."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None  # kept with them
        self.num_batches_tracked += 1
        momentum = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(var, momentum)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any dimension will do: 1-d, 2-d and 3-d norms are all turned into this class."""


def synchronise_batchnorm(network: nn.Module) -> None:
    """Let every BatchNorm of ``network`` see all processes, in place; its state stays as named."""
    for module in network.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            module.__class__ = SharedBatchNorm
