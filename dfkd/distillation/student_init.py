"""Where a student starts: from random weights, or from those of its teacher that fit."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.networks.copying import same_values, state_of
from dfkd.networks.layers import clean_name


class StudentInit(NamedTuple):
    """What a student was given.

    ``copied`` names tensors, ``share`` is their part of its parameters, ``frozen`` names the
    layers that are left as they came; ``teachers``: all of its weights are its teacher's.
    """

    mode: str
    copied: tuple[str, ...] = ()
    share: float = 0.0
    frozen: tuple[str, ...] = ()
    teachers: bool = False

    @property
    def trained(self) -> bool:
        """Whether somebody trained what it starts with, all of it."""
        return self.mode == "given" or self.teachers

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for ``result.json``."""
        layers, frozen = list(self.copied), list(self.frozen)
        return {"mode": self.mode, "share": self.share, "layers": layers, "frozen": frozen}


_MODES = ("auto", "teacher", "random", "given")


def check_mode(mode: str) -> None:
    """Raise unless it is a word for where students start."""
    if mode not in _MODES:
        raise DfkdError(f"`init` must be {', '.join(_MODES[:-1])} or {_MODES[-1]}, not {mode!r}")


def matching_names(teacher: nn.Module, student: nn.Module) -> tuple[str, ...]:
    """State entries of one name and one shape in both networks, wrapper prefixes aside."""
    shapes = {name: value.shape for name, value in state_of(teacher).items()}
    return tuple(
        name
        for name, value in student.state_dict().items()
        if isinstance(value, Tensor)
        and value.is_floating_point()
        and shapes.get(clean_name(name)) == value.shape
    )


def shared_trunk(teacher: nn.Module, student: nn.Module) -> tuple[str, ...]:
    """Find the student's layers, from the input on, that are its teacher's by name and shape.

    The order is that of registration, as good as always that of computation. Copied
    and left alone, these layers compute what they compute in the teacher. All of a student
    is no trunk: it would have nothing to learn.
    """
    mine, theirs = _layers(student), _layers(teacher)
    names = []
    for (name, layer), (taught_name, taught) in zip(mine.items(), theirs.items(), strict=False):
        if clean_name(name) != clean_name(taught_name) or _shapes(layer) != _shapes(taught):
            break
        names.append(name)
    return tuple(names) if len(names) < len(mine) else ()


def _layers(network: nn.Module) -> dict[str, nn.Module]:
    """Modules that hold tensors of their own, in the order of registration."""
    return {
        name: module
        for name, module in network.named_modules()
        if [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    }


def _shapes(layer: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state_of(layer).items()}


@torch.no_grad()
def start_student(
    student: nn.Module, teacher: nn.Module, mode: str, trunk: str = "trained"
) -> StudentInit:
    """Copy from the teacher into ``student`` what ``mode`` says.

    That is all that fits (``teacher``), or nothing: the student was drawn (``random``), or brings
    weights of its own (``given``).

    Layers fit by name and shape: of a shallower network of the same widths these
    are the stem, the first block of each stage and the classifier (the way DistilBERT
    starts). ``auto`` copies where that covers at least half of the student's parameters.
    With ``trunk="frozen"`` the layers of ``shared_trunk`` take no gradient from here on.

    Raises:
        DfkdError: an unknown mode or trunk, or ``teacher`` where nothing fits.
    """
    if trunk not in ("frozen", "trained"):
        raise DfkdError(f"trunk must be frozen or trained, not {trunk!r}")
    check_mode(mode)
    names = matching_names(teacher, student)
    sizes = {name: parameter.numel() for name, parameter in student.named_parameters()}
    share = sum(sizes.get(name, 0) for name in names) / max(1, sum(sizes.values()))
    if mode == "teacher" and not names:
        raise DfkdError("no layer of the student fits the teacher's; use `init=random`")
    source = state_of(teacher)
    target = student.state_dict()
    if mode == "given":
        alike = all(same_values(target[name], source[clean_name(name)]) for name in names)
        return StudentInit("given", teachers=share == 1 and alike)
    if mode == "random" or (mode == "auto" and share < 0.5):
        return StudentInit("random")
    for name in names:
        target[name].copy_(source[clean_name(name)])
    frozen = shared_trunk(teacher, student) if trunk == "frozen" else ()
    for name in frozen:
        student.get_submodule(name).requires_grad_(False)
    return StudentInit("teacher", names, share, frozen, share == 1)


def is_frozen(module: nn.Module) -> bool:
    """Tell whether a module has parameters of its own and none of them takes a gradient."""
    own = list(module.parameters(recurse=False))
    return bool(own) and not any(parameter.requires_grad for parameter in own)
