"""A student that watches images being made and comes out of it as it went in."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def watching(student: nn.Module) -> Iterator[None]:
    """Eval mode and no parameter gradients while the block runs; then every flag as before.

    In eval mode no buffer moves, and without parameter gradients a loss that is
    differentiated *through* the student leaves nothing in its ``.grad``.
    """
    modes = {module: module.training for module in student.modules()}
    learning = [parameter for parameter in student.parameters() if parameter.requires_grad]
    student.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter in learning:
            parameter.requires_grad_(True)
