"""The student's moving average: torch's ``AveragedModel`` with a decay that grows with age."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dfkd.networks.copying import copy_network
from dfkd.networks.modes import set_learning


class MovingAverage(AveragedModel):
    """Average the weights and floating-point buffers of a network over its training steps.

    Two parts are our own. ``AveragedModel`` copies by ``deepcopy``, which refuses locks and weights
    that hooks compute; and it goes by position, which caches of buffers shift, and makes a GPU wait
    for its counter at each step.

    Args:
        network: copied.
        decay: of the old average at each step, in (0, 1); after n steps at most (1 + n)/(10 + n).

    Attributes:
        module: the averaged network; takes no gradient.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(nn.Identity(), use_buffers=True)
        self.module = copy_network(network)
        set_learning(self.module, False)
        self.n_averaged.fill_(1)  # the copy is the first
        self._decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move towards ``model``, tied weights once; integers and what agrees already stay."""
        steps = int(self.n_averaged)
        weight = 1 - min(self._decay, (1 + steps) / (10 + steps))
        now = model.state_dict()
        whole = {n: v for n, v in self.module.state_dict().items() if isinstance(v, Tensor)}
        state = {n: v for n, v in whole.items() if _has_mean(v)}
        trained = dict(self.module.named_parameters(remove_duplicate=False))
        weights = {id(value): name for name, value in trained.items() if name in state}.values()
        torch._foreach_lerp_([state[n] for n in weights], [now[n] for n in weights], weight)
        for name in state.keys() - trained.keys():
            # Masks hold infinities, and between two of them there is no mean.
            kept, current = state[name], now[name]
            kept.copy_(torch.where(kept == current, kept, kept.lerp(current, weight)))
        for name in whole.keys() - state.keys():
            if whole[name].is_floating_point():
                whole[name].copy_(now[name])
        self.n_averaged += 1


def _has_mean(value: Tensor) -> bool:
    """Whether torch computes with such numbers: not with 8 bits, nor with sparse ones."""
    dense = value.layout is torch.strided
    return value.is_floating_point() and dense and value.element_size() > 1
