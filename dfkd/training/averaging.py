"""The student's moving average: torch's ``AveragedModel`` with a decay that grows with age."""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dfkd.networks.copying import copy_network
from dfkd.networks.modes import set_learning


class MovingAverage(AveragedModel):
    """Average the weights and floating-point buffers of a network over its training steps.

    Args:
        network: copied by ``copy_network``: ``deepcopy``, which ``AveragedModel`` itself uses,
            refuses locks, generators and weights that hooks compute.
        decay: of the old average at each step, in (0, 1); after n steps at most (1 + n)/(10 + n).

    Attributes:
        module: the averaged network; takes no gradient.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(nn.Identity(), multi_avg_fn=self._move, use_buffers=True)
        self.module = copy_network(network)
        set_learning(self.module, False)
        self.n_averaged.fill_(1)  # the copy is the first
        self._decay = decay
        # Masks hold infinities, and between two of them there is no mean.
        self._infinite = {
            value.data_ptr()
            for value in chain(self.module.parameters(), self.module.buffers())
            if value.is_floating_point() and value.element_size() > 1
            if not value.is_meta and value.isinf().any()
        }

    @torch.no_grad()
    def _move(self, averages: Sequence[Tensor], current: Sequence[Tensor], _: Tensor | int) -> None:
        """Move tensors of one type towards the network's; counters and entries at rest stay."""
        if not averages[0].is_floating_point():
            return
        steps = int(self.n_averaged)  # on the CPU: the argument would make the device wait
        weight = 1 - min(self._decay, (1 + steps) / (10 + steps))
        moving: tuple[list[Tensor], list[Tensor]] = [], []
        for kept, now in zip(averages, current, strict=True):
            if kept.data_ptr() in self._infinite:
                kept.copy_(torch.where(kept == now, kept, kept.lerp(now, weight)))
            elif kept.shape == now.shape:  # a cache may have grown
                moving[0].append(kept)
                moving[1].append(now)
        if moving[0]:
            torch._foreach_lerp_(*moving, weight)
