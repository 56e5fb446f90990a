"""Optimisers of the student, by name: Muon, AdamW, SGD.

Muon (Jordan et al., 2024) replaces the momentum of a weight matrix by the nearest
orthogonal one, so that every direction of the matrix moves alike. On the small
convolutional students of this package it reaches in 1,200 steps what AdamW needs about
twice as many for (``ARCHITECTURE.md``, "What was tried").
"""

from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError, nearest

NAMES = ("muon", "adamw", "sgd")


def make_optimizer(
    network: nn.Module, name: str, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """An optimiser over what ``network`` trains; norms and biases are never decayed.

    Args:
        name: ``muon`` for the hidden layers' weights with AdamW for the rest, at the same
            rate; ``adamw``; ``sgd`` (Nesterov momentum 0.9).
        weight_decay: decoupled for Muon and AdamW, L2 for SGD.

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
    """torch's Muon over ``hidden``, each flattened to outputs x inputs; AdamW over ``groups``.

    Muon's step is scaled to the length of AdamW's (Liu et al., 2025), so that one rate,
    that of the first group, serves both.
    """

    def __init__(
        self, hidden: list[nn.Parameter], groups: list[dict[str, Any]], lr: float, decay: float
    ) -> None:
        self._hidden = hidden
        self._muon = torch.optim.Muon(
            [_matrix(p) for p in hidden], lr, decay, adjust_lr_fn="match_rms_adamw"
        )
        self._adamw = torch.optim.AdamW(groups, lr=lr, foreach=True)
        super().__init__([{"params": hidden}, *groups], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of both; parameters without a gradient stay."""
        for parameter, matrix in zip(
            self._hidden, self._muon.param_groups[0]["params"], strict=True
        ):
            # Seen anew each time: .to() may have moved or laid out the parameter elsewhere.
            matrix.data = _matrix(parameter)
            gradient = parameter.grad
            if gradient is not None:  # its memory may be in another order than the weight's
                gradient = gradient.permute(_order(parameter)).reshape(matrix.shape)
            matrix.grad = gradient
        for group in (*self._muon.param_groups, *self._adamw.param_groups):
            group["lr"] = self.param_groups[0]["lr"]
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """Those of the two."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self._muon.load_state_dict(state_dict["muon"])
        self._adamw.load_state_dict(state_dict["adamw"])


def _matrix(weight: Tensor) -> Tensor:
    """A view of a weight as outputs x inputs, the inputs in the order of its memory."""
    return weight.detach().permute(_order(weight)).view(len(weight), -1)


def _order(weight: Tensor) -> tuple[int, ...]:
    if weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last):
        return 0, 2, 3, 1
    return tuple(range(weight.ndim))
