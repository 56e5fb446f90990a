"""Draws from a bank by what the student still gets wrong (SSD-KD, Liu et al., 2024)."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

_LEAST = 1e-6
"""Of a priority: what the student has learned is drawn now and then."""


class Drawn(NamedTuple):
    """Which samples, (N,), and how much each counts, (N,): the largest 1."""

    places: Tensor
    weight: Tensor


class Priorities:
    """A number for each place of a bank: how far the student is from the teacher there.

    Args:
        capacity: of the bank.
        device: of the bank.
        exponent: of a priority; 0 would draw all alike.
        importance: in [0, 1], how much of the draw's bias the weights undo.
    """

    def __init__(
        self, capacity: int, device: torch.device, exponent: float, importance: float
    ) -> None:
        self.exponent, self.importance = exponent, importance
        self.values = torch.ones(capacity, device=device)
        self._next = 0

    def arrived(self, slots: Tensor, filled: int) -> None:
        """Give what is new the largest priority so far: it is to be seen once.

        Args:
            slots: places of the new samples.
            filled: how many places held a sample before.
        """
        first = self.values[: max(1, filled)]
        self.values[slots.to(self.values.device)] = first.max()

    def in_turn(self, count: int, filled: int) -> Tensor:
        """Return the next ``count`` places of ``filled`` whose priority is to be measured."""
        places = (self._next + torch.arange(min(count, filled))) % filled
        self._next = (self._next + len(places)) % filled
        return places

    def measured(self, places: Tensor, student_logits: Tensor, teacher_logits: Tensor) -> None:
        """Note the divergence of the student's answers from the teacher's.

        Args:
            places: N.
            student_logits, teacher_logits: M x classes, M/N rows a sample side by side.
        """
        rows = F.kl_div(
            student_logits.log_softmax(1),
            teacher_logits.log_softmax(1),
            reduction="none",
            log_target=True,
        ).sum(1)
        values = rows.view(len(places), -1).mean(1).clamp(min=0).nan_to_num(0.0, posinf=0.0)
        self.values[places.to(self.values.device)] = values

    def draw(self, count: int, decided: Tensor, classes: Tensor, generator: Generator) -> Drawn:
        """Draw samples; all different unless there are fewer.

        A sample's chance is its priority to the exponent, over how often the teacher decides for
        its class in the bank: no class is more of the batch for being more of the bank.

        Args:
            count: N.
            decided: the teacher's class of each stored sample, (filled,).
            classes: how often each class occurs among them.
            generator: on the CPU, the same draws on any device.
        """
        filled = len(decided)
        chance = (self.values[:filled] + _LEAST) ** self.exponent / classes[decided]
        # The smallest of exponential variables is each with a chance like its rate.
        shape = (filled,) if count <= filled else (count, filled)
        waits = -torch.rand(shape, generator=generator).log().to(chance.device) / chance
        index = waits.topk(count, largest=False).indices if count <= filled else waits.argmin(1)
        weight = (chance / chance.mean())[index] ** -self.importance
        return Drawn(index, weight / weight.max())

    def state_dict(self) -> dict[str, Any]:
        """Return the priorities (copies), and whose turn it is to be measured."""
        return {"values": self.values.clone(), "next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.values.copy_(state["values"])
        self._next = state["next"]
