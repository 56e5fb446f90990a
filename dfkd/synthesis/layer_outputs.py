"""What a teacher's layers return: their shapes, which dimension holds channels, a few of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError, nearest
from dfkd.networks.foreign import TRIAL
from dfkd.networks.layers import named_layers, unwrap
from dfkd.tasks.words import first_few, shown
from dfkd.teacher import Teacher

_Item = TypeVar("_Item")
_WEIGHTY = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_CHANNELS_LAST = (nn.Linear, nn.LayerNorm)


@torch.no_grad()
def layer_outputs(teacher: Teacher) -> dict[str, torch.Size]:
    """Return the shapes of what the layers return, in the order of their last calls.

    Those are left out that return no tensor of floats with a row an image.
    """
    shapes: dict[str, torch.Size] = {}
    handles = []
    for name, module in named_layers(unwrap(teacher.network)).items():
        if not name or "parametrizations" in name.split("."):
            continue

        def note(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
            shapes.pop(name, None)
            if not isinstance(output, Tensor) or output.ndim < 2 or len(output) != TRIAL:
                return
            if output.is_floating_point():
                shapes[name] = output.shape

        handles.append(module.register_forward_hook(note))
    try:
        teacher.trace(teacher.spec.example(TRIAL, teacher.device))
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def channel_dim(teacher: Teacher, layer: str, shape: Sequence[int]) -> int:
    """Tell which dimension of a layer's output holds its channels.

    That is the last one of a linear layer or a layer norm, and of a sequence of tokens; else 1.

    Args:
        teacher: has the layer.
        layer: its name.
        shape: of its output.
    """
    modules = named_layers(unwrap(teacher.network))
    tokens = len(shape) == 3 and not any(isinstance(m, nn.Conv1d) for m in modules.values())
    last = tokens or isinstance(modules[layer], _CHANNELS_LAST)
    return len(shape) - 1 if last else 1


def check_layers(names: Iterable[str], outputs: Mapping[str, torch.Size], teacher: Teacher) -> None:
    """Raise unless every name is of a layer that returns a tensor with a row an image.

    Args:
        names: as the user has them.
        outputs: see ``layer_outputs``.
        teacher: has the layers.

    Raises:
        DfkdError: names the first that is not, and the nearest that is.
    """
    known = [name for name in named_layers(unwrap(teacher.network)) if name]
    for name in names:
        if name in outputs:
            continue
        if name in known:
            raise DfkdError(
                f"layer {shown(name, 60)} is never called, or returns no tensor with a row an "
                f"image: name another in `layers`, such as {first_few(outputs)}"
            )
        hint = nearest(name, known)
        if not hint.startswith("; did you mean"):
            hint = f": it has {first_few(outputs, 4)}"
        raise DfkdError(f"no layer {shown(name, 60)} in the teacher{hint}")


def spread_layers(
    outputs: Mapping[str, torch.Size], teacher: Teacher, count: int, first: bool = True
) -> list[str]:
    """Choose layers evenly over the depth: the ends of stages, and the first and last with weights.

    A stage ends where a map has its size for the last time: in most networks behind an activation.

    Args:
        outputs: see ``layer_outputs``.
        teacher: has the layers.
        count: at most so many.
        first: whether the first with weights is among them.

    Raises:
        DfkdError: no layer returns a tensor.
    """
    if not outputs:
        raise DfkdError("no layer of the teacher returns a tensor with a row an image")
    modules = named_layers(unwrap(teacher.network))
    weighty = [name for name in outputs if isinstance(modules[name], _WEIGHTY)]
    maps = {name: shape for name, shape in outputs.items() if max(shape[2:], default=0) > 1}
    ends = {tuple(shape[2:]): name for name, shape in maps.items()}
    chosen = {*weighty[: int(first)], *ends.values(), *weighty[-1:]}
    names = [name for name in outputs if name in chosen] or list(outputs)
    return spread_evenly(names, count)


def spread_evenly(names: Sequence[_Item], count: int) -> list[_Item]:
    """Choose up to ``count`` of ``names``, evenly spaced, with both ends.

    >>> spread_evenly("abcdefg", 3), spread_evenly("ab", 5)
    (['a', 'd', 'g'], ['a', 'b'])
    """
    count = min(count, len(names))
    if count == 1:
        return [names[len(names) // 2]]
    return [names[round(i * (len(names) - 1) / (count - 1))] for i in range(count)]
