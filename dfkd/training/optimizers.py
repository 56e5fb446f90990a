"""Optimisers of the student, by name: Muon, AdamW, SGD.

Muon (Jordan et al., 2024) replaces the momentum of a weight matrix by the nearest
orthogonal one, so that every direction of the matrix moves alike. On the small
convolutional students of this package it reaches in 1,200 steps what AdamW needs about
twice as many for (``assets/NOTEBOOK.md``).
"""

from collections.abc import Sequence
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
    """Muon over ``hidden``, each flattened to outputs x inputs; AdamW over ``groups``.

    Muon's step is scaled to the length of AdamW's (Liu et al., 2025), so that one rate,
    that of the first group, serves both. torch's own Muon computes in bfloat16, where the
    rounding of a sum decides over the fourth digit of a step: two processes would not train
    as one. This one computes in the weights' type.
    """

    def __init__(
        self,
        hidden: list[nn.Parameter],
        groups: list[dict[str, Any]],
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        self._hidden, self._decay, self._beta = hidden, weight_decay, momentum
        self._momenta = [torch.zeros_like(parameter) for parameter in hidden]
        self._adamw = torch.optim.AdamW(groups, lr=lr, foreach=True)
        super().__init__([{"params": hidden}, *groups], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step of both; parameters without a gradient stay."""
        lr = self.param_groups[0]["lr"]
        for weight, momentum in zip(self._hidden, self._momenta, strict=True):
            if weight.grad is None:
                continue
            momentum.lerp_(weight.grad, 1 - self._beta)
            ahead = weight.grad.lerp(momentum, self._beta)  # Nesterov's
            direction = orthogonal(ahead.flatten(1)).view_as(weight)
            length = 0.2 * max(len(weight), weight[0].numel()) ** 0.5
            weight.mul_(1 - lr * self._decay).sub_(direction, alpha=lr * length)
        for group in self._adamw.param_groups:
            group["lr"] = lr
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """Return Muon's momenta in the order of its weights, and AdamW's state."""
        return {"momenta": self._momenta, "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        for momentum, saved in zip(self._momenta, state_dict["momenta"], strict=True):
            momentum.copy_(saved)
        self._adamw.load_state_dict(state_dict["adamw"])


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
