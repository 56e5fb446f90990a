"""Answers under the current batch's statistics: NormShift-KD (2026), of which an abstract is known.

What is read into it. Images that are no data, noise or drawings, drive a network's layers far from
where training had them. So the norms are made to see inputs in place: a batch-norm normalises by
the mean and variance of the *batch at hand* in place of its stored ones; before a layer-norm or a
group-norm, which stores none, the batch is aligned channel by channel to mean 0 and variance 1.
The paper's rejection sampling for balance is what our methods' balanced banks do already.

Nothing is remembered and no image is corrected: only answers change, and only those that a student
learns from. What judges it asks the network as it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.networks.layers import clean_name
from dfkd.teacher.priors.nothing import NoPrior
from dfkd.teacher.statistics import statistics_layers

ALIGNED = (nn.LayerNorm, nn.GroupNorm)
EPS = 1e-5


class NormShiftPrior(NoPrior):
    """Norms that see the batch's own statistics whenever the teacher is asked for answers.

    Args:
        network: whose norms shift; no buffer, mode or weight changes.

    Raises:
        DfkdError: it has no batch-, layer- or group-norm.
    """

    name = "norm_shift"
    told = "norms take the current batch's statistics while the student's answers are asked for"

    def __init__(self, network: nn.Module) -> None:
        self.norms = shifting_norms(network)
        if not self.norms:
            raise DfkdError(
                "`prior=norm_shift` shifts batch-, layer- and group-norms, and this network has "
                "none: leave `prior` out"
            )

    def on(self, network: nn.Module) -> "NormShiftPrior":
        """Return the same for a network that answers alike."""
        return NormShiftPrior(network)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Shift the norms while the block runs."""
        handles = [norm.register_forward_pre_hook(_shift) for norm in self.norms.values()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def shifting_norms(network: nn.Module) -> dict[str, nn.Module]:
    """Find the norms that can be shifted by name: those with statistics, layer- and group-norms."""
    stored = set(statistics_layers(network).values())
    return {
        clean_name(name): module
        for name, module in network.named_modules()
        if isinstance(module, ALIGNED) or module in stored
    }


def _shift(norm: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    z = arguments[0]
    if len(z) < 2:  # one image is no batch
        return None
    if isinstance(norm, nn.LayerNorm):
        axis = z.ndim - len(norm.normalized_shape)
        # torchvision's and timm's layer-norms of maps take channels second and move them.
        axis = axis if z.shape[axis] == norm.normalized_shape[0] else 1
    else:
        axis = 1
    return aligned(
        z, axis, getattr(norm, "running_mean", None), getattr(norm, "running_var", None)
    ), *arguments[1:]


def aligned(z: Tensor, axis: int, mean: Tensor | None = None, var: Tensor | None = None) -> Tensor:
    """Give every channel of a batch a mean and a variance; differentiable.

    Args:
        z: two samples at least.
        axis: of the channels.
        mean: to give each channel, of shape (C,); 0 when left out.
        var: likewise, biased; 1 when left out.

    >>> aligned(torch.tensor([[1.0], [3.0]]), 1).round(decimals=3)
    tensor([[-1.],
            [ 1.]])
    """
    others = [dimension for dimension in range(z.ndim) if dimension != axis]
    own_var, own_mean = torch.var_mean(z, others, correction=0, keepdim=True)
    scaled = (z - own_mean) * (own_var + EPS).rsqrt()
    if mean is None or var is None:
        return scaled
    shape = own_mean.shape
    return scaled * (var + EPS).sqrt().view(shape).to(z.dtype) + mean.view(shape).to(z.dtype)
