"""Re-initialisation policies: draw all layers anew, the normalisations, or the first layer.

Generators that chase a student get stuck; the papers shake them loose by drawing
some of their weights again. Each policy takes the ``torch.Generator`` to draw
from and leaves the global random state as it was.

``std`` says how: a number draws convolutions and linear layers from N(0, std),
normalisations from N(1, std), biases zero (as DCGAN, Radford et al., ICLR 2016,
and FastDFKD do, std 0.02); ``None`` draws each layer as PyTorch builds it.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

Built = TypeVar("Built", bound=nn.Module)
NORM_TYPES = (_NormBase, nn.GroupNorm, nn.LayerNorm)
WEIGHTED_TYPES = (_ConvNd, nn.Linear)


def drawn(build: Callable[[], Built], generator: Generator) -> Built:
    """Build a module and draw its weights as PyTorch does, from ``generator`` alone."""
    with torch.random.fork_rng(devices=[]):
        module = build()
    reset_all(module, generator, std=None)
    return module


def reset_all(module: nn.Module, generator: Generator, std: float | None = 0.02) -> None:
    """Draw every layer anew; CMI does this every round, NAYER every few epochs.

    Raises:
        ValueError: some layer has parameters and no way to draw them.
    """
    for layer in _layers(module):
        _draw(layer, generator, std)


def reset_norms(module: nn.Module, generator: Generator, std: float | None = 0.02) -> None:
    """Draw only the normalisation layers anew, running statistics included."""
    for layer in _layers(module):
        if isinstance(layer, NORM_TYPES):
            _draw(layer, generator, std)


def reset_first(module: nn.Module, generator: Generator, std: float | None = 0.02) -> None:
    """Draw only the first convolution or linear layer anew (FastDFKD, after its warm-up).

    Raises:
        ValueError: there is no such layer.
    """
    first = next((layer for layer in _layers(module) if isinstance(layer, WEIGHTED_TYPES)), None)
    if first is None:
        raise ValueError("no convolution or linear layer to reset")
    _draw(first, generator, std)


def _layers(module: nn.Module) -> list[nn.Module]:
    """Modules with tensors of their own that ``reset_parameters`` or training would change."""
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, NORM_TYPES) or next(layer.parameters(recurse=False), None) is not None
    ]


@torch.no_grad()
def _draw(layer: nn.Module, generator: Generator, std: float | None) -> None:
    if std is None or not isinstance(layer, (*NORM_TYPES, *WEIGHTED_TYPES)):
        _draw_default(layer, generator)
        return
    if isinstance(layer, _NormBase):
        layer.reset_running_stats()
    weight, bias = layer.weight, layer.bias
    if isinstance(weight, Tensor):  # a normalisation without affine part has neither
        noise = torch.randn(weight.shape, generator=generator, device=generator.device)
        weight.copy_(noise * std + (1.0 if isinstance(layer, NORM_TYPES) else 0.0))
    if isinstance(bias, Tensor):
        bias.zero_()


def _draw_default(layer: nn.Module, generator: Generator) -> None:
    """The layer's own ``reset_parameters``, which knows only the global random state."""
    reset = getattr(layer, "reset_parameters", None)
    if not callable(reset):
        raise ValueError(f"{type(layer).__name__} has parameters but no reset_parameters()")
    limit = torch.iinfo(torch.int64).max
    seed = torch.randint(limit, (), generator=generator, device=generator.device)
    devices = {value.device for value in layer.parameters() if value.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(int(seed))
        reset()
