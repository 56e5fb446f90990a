"""Losses that learn: their modules, built for the shapes that two networks give."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.losses.loss import Loss
from dfkd.networks.seeding import seeded
from dfkd.teacher.outputs import PairOutputs

Losses = dict[str, Callable[[Any], Tensor]]


def build_losses(
    rows: Mapping[str, Loss], example: Callable[[], PairOutputs], seed: int
) -> tuple[Losses, nn.ModuleDict]:
    """Build the functions of losses by name, and the modules of those that learn.

    Args:
        rows: of the registry, by name.
        example: gives outputs to begin with, for their shapes; called only if they are needed.
        seed: draws the modules' weights.

    Raises:
        DfkdError: what a loss needs inside these networks cannot be compared.
    """
    learned = {name: row for name, row in rows.items() if row.learned}
    modules: dict[str, nn.Module] = {}
    if learned or any(row.inside for row in rows.values()):
        outputs = example()
        with seeded(seed):
            modules = {name: row.function(*row.values(outputs)) for name, row in learned.items()}
        with torch.no_grad():  # a loss that refuses such outputs does so before a run begins
            for name in rows.keys() - learned.keys():
                rows[name](outputs)
    losses: Losses = {**rows, **{name: _called(modules[name], learned[name]) for name in learned}}
    return losses, nn.ModuleDict(modules)


def _called(module: nn.Module, row: Loss) -> Callable[[Any], Tensor]:
    def loss(outputs: Any) -> Tensor:
        value: Tensor = module(*row.values(outputs))
        return value

    return loss
