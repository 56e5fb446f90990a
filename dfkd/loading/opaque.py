"""A network that cannot be looked into: a program with weights, which answers."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self


class Opaque(nn.Module):
    """Answers as ``program`` does, and shows its tensors as buffers; it has no layers to see.

    TorchScript and exported graphs are modules in name only: they know no hooks, modes or
    copies as others do, and none of it is asked of them.

    Args:
        program: images -> answers; has parameters and buffers.
        batch: how many images it takes at once, where it takes no other number; None: any.
        mark: hash of its file, kept as a buffer: a frozen program has no weights to tell it by.
    """

    def __init__(self, program: nn.Module, batch: int | None = None, mark: bytes = b"") -> None:
        super().__init__()
        self._program = [program]  # in a list, so that it is no part of this module
        self.batch, self._mark = batch, mark
        if mark:
            self.register_buffer("file", torch.tensor(list(mark), dtype=torch.uint8))
        for name, value in (*program.named_parameters(), *program.named_buffers()):
            value.requires_grad_(False)
            self.register_buffer(name.replace(".", "/"), value)

    def forward(self, images: Tensor) -> Any:
        """Answer to N x C x H x W images; ``batch`` at a time where it is set."""
        program: Callable[[Tensor], Any] = self._program[0]
        if self.batch is None:
            return program(images)
        parts = images.split(self.batch)
        answers = [_first(program(_filled(part, self.batch)))[: len(part)] for part in parts]
        return torch.cat(answers)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the program's own tensors: others in their place would be unknown to it."""
        with torch.no_grad():
            for value in self.buffers():
                value.data = fn(value.data)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Opaque":
        return Opaque(copy.deepcopy(self._program[0], memo), self.batch, self._mark)


def _filled(images: Tensor, count: int) -> Tensor:
    missing = count - len(images)
    return torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]) if missing else images


def _first(answer: Any) -> Tensor:
    while isinstance(answer, (list, tuple)) and answer:
        answer = answer[0]
    if not isinstance(answer, Tensor):
        raise TypeError(f"a program of a fixed batch returns a {type(answer).__name__}")
    return answer
