"""Pairs of layers of student and teacher, found by the sizes of their maps or named."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.networks.layers import (
    INPUT_SUFFIX,
    classifier,
    feature_maps,
    last_map,
    named_layers,
    open_features,
    require_single_network,
)
from dfkd.networks.modes import eval_mode

LayerPairs = tuple[tuple[str, str], ...]


def pair_layers(
    student: nn.Module, teacher: nn.Module, images: Tensor, widths: Sequence[int] | None = None
) -> LayerPairs:
    """Pair (student's, teacher's) layers of every spatial size that both have, large to small.

    Of the layers of one size the last to be called: the end of a stage.

    Args:
        student: its layers come first in each pair.
        teacher: a single network, not an ensemble.
        images: N x C x H x W, normalised, as both networks take them.
        widths: how many numbers they answer with, where vectors do as well as maps: two networks
            without a size in common are then compared in what enters their classifiers.

    Raises:
        DfkdError: no size in common, or a teacher that stands for several.
    """
    require_single_network(teacher)
    mine, theirs = (
        {tuple(shape[2:]): name for name, shape in feature_maps(network, images).items()}
        for network in (student, teacher)
    )
    shared = sorted(set(mine) & set(theirs), reverse=True)
    if not shared and widths is not None:
        ends = (embedding_layer(network, widths, images) for network in (student, teacher))
        mine_last, theirs_last = ends
        return ((mine_last, theirs_last),)
    if not shared:
        raise DfkdError(
            "feature maps are compared (by the method's own knowledge, where `knowledge` names "
            "none), and student and teacher have none of one size: name layers with `pairs`, or "
            "compare answers alone with `knowledge=kd`"
        )
    return tuple((mine[size], theirs[size]) for size in shared)


def read_pair(words: str) -> tuple[str, str]:
    """Parse ``teacher.layer3=student.block2``, in any order, into (student's, teacher's) layer.

    Raises:
        DfkdError: not of that form.

    >>> read_pair("teacher.layer3=student.block2")
    ('block2', 'layer3')
    """
    named = {}
    for side in words.split("="):
        whose, _, layer = side.strip().partition(".")
        named[whose] = layer
    if words.count("=") != 1 or set(named) != {"student", "teacher"} or not all(named.values()):
        raise DfkdError(f"a pair is written teacher.LAYER=student.LAYER, not {words!r}")
    return named["student"], named["teacher"]


@torch.no_grad()
def checked_pairs(
    pairs: LayerPairs, student: nn.Module, teacher: nn.Module, images: Tensor, vectors: bool = False
) -> LayerPairs:
    """Check that paired layers return maps of one height and width; sort them, large maps first.

    Args:
        pairs: (student's layer, teacher's layer) each.
        student: has the first layer of each pair.
        teacher: has the second.
        images: N x C x H x W, normalised, as both networks take them.
        vectors: whether two vectors N x C are as good; they come last.

    Raises:
        DfkdError: no such layers, or other sizes.
    """
    shapes = []
    for side, (network, whose) in enumerate(((student, "student"), (teacher, "teacher"))):
        names = list(dict.fromkeys(pair[side] for pair in pairs))
        with eval_mode(network), open_features(named_layers(network), names, whose) as captured:
            network(images)
        shapes.append({name: tuple(value.shape) for name, value in captured.items()})
    for mine, theirs in pairs:
        sizes = shapes[0][mine][2:], shapes[1][theirs][2:]
        if sizes[0] != sizes[1] or len(sizes[0]) not in ((0, 2) if vectors else (2,)):
            told = f"{shapes[0][mine]} in the student, {shapes[1][theirs]} in the teacher"
            raise DfkdError(
                f"teacher.{theirs}=student.{mine} are no maps of one height and width"
                f"{' nor two vectors' if vectors else ''}: {told}"
            )
    return tuple(sorted(pairs, key=lambda pair: -math.prod(shapes[0][pair[0]][2:])))


@torch.no_grad()
def check_averaged(network: nn.Module, head: str, last: str, images: Tensor, whose: str) -> None:
    """Raise where linear layer ``head`` reads something else than layer ``last``'s averaged map.

    An activation that is no module comes after the last map that can be seen, and a pooling by
    maxima makes of it what no weight can be put to.

    Args:
        network: the one that is checked.
        head: name of its classifier.
        last: name of the layer that returns its last map.
        images: N x C x H x W, normalised.
        whose: "teacher" or "student", used in error messages.
    """
    layers = named_layers(network)
    with eval_mode(network), open_features(layers, (last, head + INPUT_SUFFIX), whose) as captured:
        network(images)
    maps, read = captured[last].mean((2, 3)), captured[head + INPUT_SUFFIX]
    if maps.shape != read.shape:
        return  # ``class_activation_map`` has the numbers
    room = torch.finfo(maps.dtype).eps ** 0.5 * maps.abs().max()
    if not maps.is_meta and (maps - read).abs().max() > room:
        raise DfkdError(
            f"cam weighs the map that a classifier averages, and the {whose}'s reads something "
            f"else than the average of {last!r}, the last map that a layer of it returns: compare "
            "something else, as `knowledge=kd + at` does"
        )


def embedding_layer(network: nn.Module, widths: Sequence[int], images: Tensor) -> str:
    """Return the name of a network's last features: its classifier's input, else its last map.

    Raises:
        DfkdError: it has neither.
    """
    try:
        return classifier(network, widths) + INPUT_SUFFIX
    except DfkdError:
        return last_map(network, images)
