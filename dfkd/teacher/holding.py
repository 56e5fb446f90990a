"""A network that puts itself into training mode, held in eval mode.

Some networks' ``train`` knows one mode only, some train their norms in every pass (test-time
adaptation): their running statistics would move while a teacher is asked.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

from torch import nn

RESTLESS = "it puts itself into training mode, and is held in eval mode"


def hold(modules: Iterable[nn.Module]) -> None:
    """Keep ``modules`` in eval mode whatever sets their mode, until they are let go.

    Copies of them are held as well.
    """
    for module in modules:
        if not is_held(module):
            kind: Any = type(module)
            module.__class__ = _held(kind)


def is_held(module: nn.Module) -> bool:
    """Tell whether a module is held now."""
    return hasattr(type(module), "held_class")


def let_go(modules: Iterable[nn.Module]) -> None:
    """Make ``modules`` what they were before ``hold``."""
    for module in modules:
        module.__class__ = getattr(type(module), "held_class", type(module))


@cache
def _held(kind: Any) -> Any:
    """``kind`` without a training mode; a property comes before what an object has of that name."""
    training = property(lambda module: False, lambda module, mode: None)
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind)(kind.__name__, (kind,), {"training": training, "held_class": kind, **named})
