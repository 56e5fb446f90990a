"""Optimisers of the student, by name: Muon, AdamW, SGD.

Muon (Jordan et al., 2024) replaces the momentum of a weight matrix by the nearest
orthogonal one, so that every direction of the matrix moves alike. On the small
convolutional students of this package it reaches in 1,200 steps what AdamW needs about
twice as many for (``assets/NOTEBOOK.md``).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError, nearest

NAMES = ("muon", "adamw", "sgd")


def make_optimizer(
    network: nn.Module,
    name: str,
    lr: float,
    weight_decay: float,
    beside: Sequence[nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """Make an optimiser of what ``network`` trains; norms and biases are never decayed.

    Args:
        network: at least one of its parameters trains.
        name: ``muon`` for the hidden layers' weights with AdamW for the rest, at the same
            rate; ``adamw``; ``sgd`` (Nesterov momentum 0.9).
        lr: learning rate.
        weight_decay: decoupled for Muon and AdamW, L2 for SGD.
        beside: parameters of small heads on ``network``, for AdamW or SGD.

    Raises:
        DfkdError: nothing to train, or no such optimiser.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    if not parameters:
        raise DfkdError("the student has no trainable parameters")
    if name not in NAMES:
        raise DfkdError(f"no optimizer {name!r}{nearest(name, NAMES)}")
    matrices = [p for p in network.parameters() if p.ndim > 1]
    # The first and the last layer have coordinates that mean something (channels, classes), and
    # a depthwise filter is no matrix between channels: all of them stay with AdamW.
    inner = [p for p in matrices[1:-1] if p.requires_grad and p.shape[1] > 1]
    hidden = inner if name == "muon" else []
    parameters = [*parameters, *beside]
    others = [p for p in parameters if p.ndim > 1 and all(p is not h for h in hidden)]
    groups: list[dict[str, Any]] = [
        {"params": others, "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True, foreach=True)
    if hidden:
        return MuonAndAdamW(hidden, groups, lr, weight_decay)
    return torch.optim.AdamW(groups, lr=lr, foreach=True)


class MuonAndAdamW(torch.optim.Optimizer):
    """Train hidden weights by Muon, each flattened to outputs x inputs, and the others by AdamW.

    Muon's step is scaled to the length of AdamW's (Liu et al., 2025), so that one rate serves
    both. torch's own Muon takes matrices alone and computes in bfloat16: seven times as slow on a
    CPU that emulates it, and the rounding of a sum decides over the fourth digit of a step, so that
    two processes would not train as one. This one computes in the weights' type.

    Args:
        hidden: weights of two or more dimensions; the first of ``param_groups``.
        groups: what AdamW trains.
        lr: learning rate of all groups at first.
        weight_decay: of the hidden weights, decoupled.
        momentum: of the hidden weights' moving average of gradients, in [0, 1).
    """

    def __init__(
        self,
        hidden: Iterable[nn.Parameter],
        groups: Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        self._adamw = torch.optim.AdamW(groups, lr=lr, foreach=True)
        muon = {"params": hidden, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__([muon, *self._adamw.param_groups], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step of both; parameters without a gradient stay.

        Args:
            closure: computes the loss and its gradients anew.

        Returns:
            The closure's loss, if there is one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        muon = self.param_groups[0]
        for weight in muon["params"]:
            if weight.grad is not None:
                self._move(weight, muon["lr"], muon["weight_decay"], muon["momentum"])
        # One state and one set of groups for both: loading them replaces the objects.
        self._adamw.state, self._adamw.param_groups = self.state, self.param_groups[1:]
        self._adamw.step()
        return loss

    def _move(self, weight: Tensor, lr: float, decay: float, momentum: float) -> None:
        gradient, state = weight.grad, self.state[weight]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        average = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(average, momentum)  # Nesterov's
        direction = orthogonal(ahead.flatten(1)).view_as(weight)
        length = 0.2 * max(len(weight), weight[0].numel()) ** 0.5
        weight.mul_(1 - lr * decay).sub_(direction, alpha=lr * length)


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """About the orthogonal matrix nearest to ``matrix``: singular values in 0.7 to 1.2.

    Newton-Schulz iteration with Jordan et al.'s quintic, whose coefficients lift small
    singular values fastest and do not settle at 1.

    >>> values = torch.linalg.svdvals(orthogonal(torch.diag(torch.tensor([3.0, 1.0, 0.1]))))
    >>> bool(((values > 0.6) & (values < 1.3)).all())
    True
    """
    wide = matrix.T if len(matrix) > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = 3.4445 * wide + (2.0315 * gram @ gram - 4.7750 * gram) @ wide
    result: Tensor = wide.T if len(matrix) > matrix.shape[1] else wide
    return result
