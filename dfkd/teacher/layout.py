"""In which order a network's images and weights lie in memory: what it runs in, found by trying.

Convolutions and statistics are up to twice as fast where the channels of a pixel lie side by side
(``torch.channels_last``). A network may depend on the other order, as ``x.view(len(x), -1)`` after
a convolution does. One trial decides; afterwards the weights' own strides tell.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dfkd.networks.copying import trying
from dfkd.networks.foreign import says
from dfkd.networks.layers import unwrap
from dfkd.networks.modes import set_mode, without_cudnn_rnn
from dfkd.tasks.answers import find_logits
from dfkd.teacher.spec import ImageSpec

_TOLERANCE = 0.05
"""Largest relative difference of answers and gradients: rounding that crosses a kink stays below,
values that are read in another order do not."""


FLAT = "it has no weights that lie in planes"
CORRUPTS = "torch's backward pass of a strided 1x1 convolution of under 8 channels is not safe"


class Layout(NamedTuple):
    """What was decided for a network, and why it was where that is not ``channels_last``."""

    channels_last: bool
    reason: str = ""

    def told(self, whose: str) -> str:
        """Say what is out of the ordinary, in a line; empty where nothing is.

        Args:
            whose: the network, as in "the teacher".
        """
        plain = self.channels_last or self.reason == FLAT
        return "" if plain else f"{whose} stays in its own memory layout: {self.reason}"


class Seen(NamedTuple):
    """A pass: logits and the gradient that reaches the images (None: there is none)."""

    logits: Tensor
    gradient: Tensor | None


def settle(
    network: nn.Module,
    spec: ImageSpec,
    device: torch.device | str,
    modes: tuple[bool, ...] = (False, True),
) -> Layout:
    """Move ``network`` to ``device``, in place, and into the layout that it runs in.

    Tried on a copy: no value, buffer, gradient, mode or random number of the network moves.

    Args:
        network: normalised images of ``spec`` -> N x classes logits.
        spec: what it is tried with.
        device: where it goes.
        modes: those that it will run in: in training mode (True) it must run, in eval mode (False)
            answer and be differentiated alike.
    """
    network.to(device)
    original: nn.Module = unwrap(network)
    layout = _tried(original, spec, modes)
    lay_out(original, channels_last=layout.channels_last)
    return layout


@torch.no_grad()
def lay_out(network: nn.Module, *, channels_last: bool) -> None:
    """Give every 4-d tensor of ``network`` that layout; those of other ranks have none."""
    order = torch.channels_last if channels_last else torch.contiguous_format
    for value in _planes(network):
        value.data = value.data.to(memory_format=order)


class Sign:
    """Where a network's own strides tell its layout: looked for once, read often."""

    def __init__(self, network: nn.Module) -> None:
        self._runtime = next(_telling(network), None)

    def order(self) -> torch.memory_format:
        """Return ``channels_last`` where the weights lie so, else ``contiguous_format``."""
        if self._runtime is None:
            return torch.contiguous_format
        values, name = self._runtime
        _, last = _strides(values[name])
        wide = values[name].stride() == last
        return torch.channels_last if wide else torch.contiguous_format


def _telling(network: nn.Module) -> Iterator[tuple[dict[str, Any], str]]:
    """Where the tensors are whose two orders differ: of one channel or one pixel they are one."""
    for module in network.modules():
        for values in (module._parameters, module._buffers):
            for name, value in values.items():
                if value is not None and _is_plane(value) and len(set(_strides(value))) == 2:
                    yield values, name


def layout_of(network: nn.Module) -> torch.memory_format:
    """Find the order in which the weights of ``network`` lie."""
    return Sign(network).order()


def to_layout(images: Tensor, order: torch.memory_format) -> Tensor:
    """Lay samples in that order; differentiable. Only N x C x H x W images have more than one.

    Args:
        images: samples; others than images come back contiguous.
        order: of their dimensions in memory.
    """
    if images.ndim != 4:
        return images.contiguous()
    if order is torch.channels_last:
        return images.contiguous(memory_format=order)
    # Of images with one channel both orders are the same, and a layer goes by their strides.
    plain, _ = _strides(images)
    return images if images.stride() == plain else images.reshape(-1).view(images.shape)


def fitted(images: Tensor, order: torch.memory_format) -> Tensor:
    """Lay images as a network of that layout can take them: a contiguous one takes no other."""
    return images if order is torch.channels_last else to_layout(images, order)


def _strides(value: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of N x C x H x W tensors, contiguous and channels_last."""
    _, channels, height, width = value.shape
    whole = channels * height * width
    return (whole, height * width, width, 1), (whole, 1, width * channels, channels)


def _is_plane(value: Tensor) -> bool:
    lazy = nn.parameter.is_lazy(value)
    return not lazy and value.ndim == 4 and value.layout is torch.strided


def _planes(network: nn.Module) -> Iterator[Tensor]:
    yield from filter(_is_plane, network.parameters())
    yield from filter(_is_plane, network.buffers())


def _tried(network: nn.Module, spec: ImageSpec, modes: tuple[bool, ...]) -> Layout:
    if next(_planes(network), None) is None:
        return Layout(False, FLAT)
    if any(map(_corrupts, network.modules())):
        return Layout(False, CORRUPTS)
    with trying(network) as trial:
        device = next(_planes(trial)).device
        seeds = torch.Generator().manual_seed(0)
        images = spec.normalize(torch.rand(2, *spec.shape, generator=seeds).to(device))
        wide = images.contiguous(memory_format=torch.channels_last)
        for training in modes:
            set_mode(trial, training)
            lay_out(trial, channels_last=False)
            expected = _attempt(trial, images)
            lay_out(trial, channels_last=True)
            for given in (wide, images):
                found = _attempt(trial, given)
                if isinstance(found, str):
                    return Layout(False, found)
                if training or isinstance(expected, str) or _alike(expected, found):
                    continue
                lay_out(trial, channels_last=False)
                again = _attempt(trial, images)
                # Who answers by chance answers otherwise in any layout.
                if isinstance(again, Seen) and _alike(expected, again):
                    return Layout(False, "it answers otherwise in channels_last")
                lay_out(trial, channels_last=True)
    return Layout(True)


def _corrupts(module: nn.Module) -> bool:
    # On some CPUs torch 2.14 writes past its memory there in channels_last: the process dies.
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels < 8
        and module.weight.device.type == "cpu"
    )


def _attempt(network: nn.Module, images: Tensor) -> Seen | str:
    """A pass forward and back, or what the network says against it."""
    images = images.detach().requires_grad_()
    try:
        with torch.enable_grad(), without_cudnn_rnn(network.modules()):
            logits = find_logits(network(images)).logits
            leaves = [images, *(p for p in network.parameters() if p.requires_grad)]
            if not logits.requires_grad:
                return Seen(logits, None)
            # No sum: what is normalised over the classes would have no gradient.
            loss = logits.float().square().sum() + logits.float()[:, 0].sum()
            gradient = torch.autograd.grad(loss, leaves, allow_unused=True)[0]
            return Seen(logits.detach(), gradient)
    except (Exception, SystemExit) as error:
        return says(error)


def _alike(expected: Seen, found: Seen) -> bool:
    if (expected.gradient is None) != (found.gradient is None):
        return False
    pairs = [(expected.logits, found.logits)]
    if expected.gradient is not None and found.gradient is not None:
        pairs.append((expected.gradient, found.gradient))
    return all(_near(mine, theirs) for mine, theirs in pairs)


def _near(expected: Tensor, found: Tensor) -> bool:
    if expected.is_meta:
        return True
    mine, theirs = (value.float().nan_to_num() for value in (expected, found))
    return bool((mine - theirs).norm() <= _TOLERANCE * mine.norm() + 1e-6)
