"""The outputs and inputs of a network's named layers, and which layers have which role.

Names are dotted module names; ``NAME.input`` is what enters the layer instead of what leaves it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dfkd.errors import DfkdError, nearest
from dfkd.networks.modes import eval_mode

INPUT_SUFFIX = ".input"
WRAPPER_PREFIXES = ("module.", "_orig_mod.")


def clean_name(name: str) -> str:
    """Strip from a module's dotted name what DataParallel and torch.compile put before it."""
    for prefix in WRAPPER_PREFIXES:
        name = name.removeprefix(prefix)
        name = name.replace("." + prefix, ".")
    return name


def unwrap(network: nn.Module) -> nn.Module:
    """Return the module inside a compiled one, which alone sees hooks that are opened later."""
    original: nn.Module = getattr(network, "_orig_mod", network)
    return original


def named_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Return the modules by their names, without the prefixes of wrappers."""
    return {clean_name(name): module for name, module in network.named_modules()}


@contextmanager
def open_features(
    layers: Mapping[str, nn.Module], names: Sequence[str], whose: str
) -> Iterator[dict[str, Tensor]]:
    """Capture features by name while the block runs, those of each layer's last call.

    They are part of the graph: a loss of the logits has a gradient with respect to them.

    Args:
        layers: the network's modules by name, see ``named_layers``.
        names: the layers to capture; ``NAME.input`` captures a layer's input.
        whose: "teacher" or "student", used in error messages.

    Raises:
        DfkdError: no such layer, or one that is not called, or that takes or returns no tensor.
    """
    captured: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name in names:
            stack.callback(_open(layers, name, captured, whose).remove)
        yield captured
    for name in names:
        if name not in captured:
            raise DfkdError(
                f"the {whose} never calls its layer {name!r}, so that it has no features: "
                "name one that it calls (a list of layers is not called, those in it are)"
            )


def _open(
    layers: Mapping[str, nn.Module], name: str, captured: dict[str, Tensor], whose: str
) -> RemovableHandle:
    def keep(value: Any, verb: str) -> Tensor:
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise DfkdError(f"layer {name!r} {verb} a {kind}; features must be tensors")
        captured[name] = value
        # The network goes on with a copy: an in-place activation would overwrite the feature.
        return value.clone()

    if name in layers:
        return layers[name].register_forward_hook(
            lambda module, inputs, output: keep(output, "returns")
        )
    layer = name.removesuffix(INPUT_SUFFIX)
    if name.endswith(INPUT_SUFFIX) and layer in layers:
        return layers[layer].register_forward_pre_hook(
            lambda module, inputs: (keep(inputs[0], "takes"), *inputs[1:])
        )
    raise DfkdError(f"no layer {name!r} in the {whose}{nearest(name, filter(None, layers))}")


def classifier(network: nn.Module, widths: Sequence[int]) -> str:
    """Return the name of the last registered linear layer that gives the logits.

    Args:
        network: unchanged.
        widths: how many outputs it may have (``dfkd.tasks.Task``).

    Raises:
        DfkdError: there is none, or one for each of several networks.
    """
    remedy = "`method=default` and `knowledge=kd` need none"
    if is_ensemble(network):
        raise DfkdError(f"several teachers as one have no classifier of their own: {remedy}")
    found = [
        name
        for name, module in named_layers(network).items()
        if isinstance(module, nn.Linear) and module.out_features in widths
    ]
    if not found:
        raise DfkdError(
            f"the network has no linear layer with {widths[0]} outputs at its end: {remedy}"
        )
    return found[-1]


def is_ensemble(network: nn.Module) -> bool:
    """Tell whether ``network`` stands for several, so that layers found by type are ambiguous."""
    return any(getattr(module, "several", False) for module in network.modules())


def require_single_network(network: nn.Module) -> None:
    """Raise a ``DfkdError`` where ``is_ensemble``, which says how to do without."""
    if is_ensemble(network):
        raise DfkdError(
            "several teachers as one have no feature maps of their own: compare answers alone with "
            "`knowledge=kd`, or maps of one that you name with `pairs` "
            "teacher.members.0.LAYER=student.LAYER"
        )


@torch.no_grad()
def feature_maps(network: nn.Module, images: Tensor) -> dict[str, torch.Size]:
    """Return the shapes N x C x H x W of all feature maps, in the order of their last calls.

    A map of one pixel is none. The network runs in eval mode and comes out as it went in.
    """
    shapes: dict[str, torch.Size] = {}
    handles = []
    for name, module in named_layers(network).items():
        if "parametrizations" in name.split("."):
            continue  # what it returns is a weight

        def note(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and max(output.shape[2:]) > 1:
                shapes.pop(name, None)
                shapes[name] = output.shape

        handles.append(module.register_forward_hook(note))
    try:
        with eval_mode(network):
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def last_map(network: nn.Module, images: Tensor) -> str:
    """Return the name of the layer that makes the last feature map, which a classifier averages.

    Raises:
        DfkdError: no layer returns a map, or it would be one of several networks'.
    """
    require_single_network(network)
    maps = list(feature_maps(network, images))
    if not maps:
        raise DfkdError(
            "feature maps are looked at (by the method's own knowledge, where `knowledge` names "
            "none), and a network has none: `knowledge=kd` compares answers alone"
        )
    return maps[-1]
