"""What enters a teacher's layers: which of them tell most, and where their channels are."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError, nearest
from dfkd.networks.layers import named_layers, unwrap
from dfkd.teacher.statistics import with_channels_second
from dfkd.teacher.teacher import Teacher

WEIGHING = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose inputs tell something where a network has no norms."""
FEWEST_NORMS = 2
"""Below that many norms the weighing layers are taken as well."""


class LayerInput(NamedTuple):
    """What entered a layer in one of a pass's calls."""

    label: str
    layer: nn.Module
    value: Tensor


@contextmanager
def open_inputs(teacher: Teacher, names: Sequence[str] | None = None) -> Iterator[list[LayerInput]]:
    """Collect what enters layers while the block runs, in the order of their calls.

    Args:
        teacher: frozen.
        names: of the layers; all when left out. What is no tensor of numbers is passed over.
    """
    layers = named_layers(unwrap(teacher.network))
    wanted = layers if names is None else {name: layers[name] for name in names}
    found: list[LayerInput] = []
    calls: Counter[str] = Counter()

    def watch(name: str) -> Any:
        def hook(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            if arguments and isinstance(arguments[0], Tensor) and arguments[0].is_floating_point():
                label = f"{name}@{calls[name]}" if calls[name] else name
                found.append(LayerInput(label, module, arguments[0].clone()))
            calls[name] += 1

        return hook

    handles = [layer.register_forward_pre_hook(watch(name)) for name, layer in wanted.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def choose_inputs(teacher: Teacher, names: Sequence[str] = ()) -> dict[str, int]:
    """Choose layers whose inputs are worth their statistics, and find where the channels are.

    Args:
        teacher: asked about two and three grey images.
        names: the layers; where none is named every normalisation layer, or, of a network with
            fewer than two, every convolution and linear layer but the first.

    Returns:
        The axis of the channels, 1 or -1, by the layers' names, in the order of their calls.

    Raises:
        DfkdError: an unknown layer, one whose input has no channels of its own, or none at all.
    """
    known = named_layers(unwrap(teacher.network))
    for name in names:
        if name not in known:
            raise DfkdError(
                f"no layer {name[:80]!r} in the teacher{nearest(name, filter(None, known))}"
            )
    shapes = [_shapes(teacher, count) for count in (2, 3)]
    axes: dict[str, int] = {}
    for label, (layer, axis, rows) in shapes[0].items():
        # Rows that do not grow with the batch are of no image.
        if axis and 2 * shapes[1].get(label, (layer, 0, 0))[2] == 3 * rows:
            axes.setdefault(label.partition("@")[0], axis)
    for name in names:
        if name not in axes:
            raise DfkdError(
                f"what enters the teacher's layer {name[:80]!r} has no channels an image: name "
                "layers that take feature maps, tokens or vectors"
            )
    return {name: axes[name] for name in names or _telling(known, axes)}


def _telling(known: Mapping[str, nn.Module], axes: Mapping[str, int]) -> list[str]:
    """The layers that are taken where none is named."""
    norms = [name for name in axes if is_norm(known[name])]
    if len(norms) >= FEWEST_NORMS:
        return norms
    weighing = [name for name in axes if isinstance(known[name], WEIGHING)][1:]
    found = [name for name in axes if name in {*norms, *weighing}]
    if not found:
        raise DfkdError(
            "the teacher has no normalisation, convolution or linear layer beyond its first: name "
            "`layers` whose inputs to describe"
        )
    return found


def is_norm(layer: nn.Module) -> bool:
    """Tell whether a layer normalises what it gets: by the name of its class, as libraries do."""
    return "norm" in type(layer).__name__.lower() and not any(layer.children())


def _shapes(teacher: Teacher, count: int) -> dict[str, tuple[nn.Module, int, int]]:
    """By label the layer, its channels' axis (0: none) and how many rows of channels enter."""
    with open_inputs(teacher) as found:
        teacher.trace(teacher.spec.example(count, teacher.device))
    shapes = {}
    for label, layer, value in found:
        if label and "parametrizations" not in label.split("."):
            axis = channel_axis(layer, value)
            channels = value.shape[axis] if axis else 1
            shapes[label] = (layer, axis, value.numel() // max(1, channels))
    return shapes


def channel_axis(layer: nn.Module, value: Tensor) -> int:
    """Return where the channels of a layer's input are: 1, -1, or 0 where it has none.

    A convolution's and a batch-norm's are the second dimension, a linear layer's the last. A norm
    has them where its weights fit; where both ends do, last, but for classes named ...2d.
    """
    if value.ndim < 2 or not value.numel():
        return 0
    if value.ndim == 2 or isinstance(layer, WEIGHING[1:]) or hasattr(layer, "num_groups"):
        return 1
    if isinstance(layer, nn.Linear):
        return -1
    if hasattr(layer, "running_mean") or hasattr(layer, "num_features"):
        return 1
    own: Any = layer
    shape: Any = getattr(own, "normalized_shape", None)
    if shape is None:
        shape = getattr(getattr(own, "weight", None), "shape", ())
    sizes = [shape] if isinstance(shape, int) else list(shape)
    if len(sizes) != 1:  # of whole maps, or of an activation without weights
        return 1 if value.ndim >= 4 else -1
    last, second = value.shape[-1] == sizes[0], value.shape[1] == sizes[0]
    if last and second:
        return 1 if type(layer).__name__.lower().endswith("2d") else -1
    return -1 if last else int(second)


def input_rows(value: Tensor, axis: int, images: int) -> Tensor:
    """Return a layer's input image by image: N x positions x C, in float64.

    Args:
        value: what enters, batch first.
        axis: of its channels, 1 or -1.
        images: N.
    """
    columns = with_channels_second(value.double(), axis)
    if columns.ndim > 2:
        columns = columns.movedim(1, -1).flatten(0, -2)
    return columns.reshape(images, -1, columns.shape[1])
