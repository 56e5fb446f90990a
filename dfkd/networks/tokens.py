"""Leaving out some of a transformer's patches: what is left out is not computed.

No network is known here by its class. A trial finds the first module from which on tokens have no
places of their own any more, so that their number and order are free: whatever order the patches
come in there, the layers after it give the same, in that order. What enters it is cut.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.networks.attending import (
    AttendingCall,
    attending_calls,
    first_tensor,
    in_order,
    prefix_tokens,
)
from dfkd.networks.layers import named_layers
from dfkd.networks.modes import eval_mode

CLOSE = 1e-4
"""Of the largest value: how far two passes may differ whose sums are ordered otherwise."""
PROJECTIONS = 3
"""Of tokens on which the pixels' gradients are taken: a single one may be blind to a pixel."""
INSTEAD = "use `method=deep_inversion` with `prior=patch`, or drawings"


@dataclass(frozen=True)
class PatchCut:
    """Where some of a transformer's patches can be left out.

    Attributes:
        layer: the module whose input is cut.
        prefix: tokens before the patches, which no pixel reaches; the first is the class token.
        patches: P, tokens behind them.
        tokens_first: whether tokens come before images.
    """

    layer: nn.Module
    prefix: int
    patches: int
    tokens_first: bool

    @contextmanager
    def only(self, kept: Tensor) -> Iterator[None]:
        """Let only some patches of each image enter while the block runs.

        Args:
            kept: N x K, which of the P patches, in any order.
        """
        before = torch.arange(self.prefix, device=kept.device).expand(len(kept), -1)
        index = torch.cat([before, kept + self.prefix], 1)[..., None]

        def cut(module: Any, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
            found = first_tensor((*inputs, *keywords.values()))
            assert found is not None
            tokens = in_order(found, self.tokens_first)
            if tokens.shape[1] == self.prefix + self.patches:  # a block may be called again
                tokens = tokens.gather(1, index.expand(-1, -1, tokens.shape[2]))
            cut = in_order(tokens, self.tokens_first)
            changed = tuple(cut if value is found else value for value in inputs)
            return changed, {k: cut if value is found else value for k, value in keywords.items()}

        handle = self.layer.register_forward_pre_hook(cut, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


def find_cut(network: nn.Module, images: Tensor) -> PatchCut:
    """Find where a transformer's patches can be left out.

    Args:
        network: images -> answers; runs some times, in eval mode, and comes out as it went in.
        images: two of noise, N x C x H x W as the network takes them.

    Raises:
        DfkdError: there is no such place.
    """
    calls, named = attending_calls(network, images), named_layers(network)
    for call in _around_the_first(calls):
        taken, given = call.taken, call.given
        if taken is None or given is None or taken.shape != given.shape:
            continue
        prefix = prefix_tokens(call, len(images))
        patches = call.tokens - len(prefix)
        if prefix != list(range(len(prefix))) or patches < 2:
            continue
        cut = PatchCut(named[call.name], len(prefix), patches, call.tokens_first)
        if _order_is_free(network, images, cut, calls[-1], named[calls[-1].name]):
            return cut
    raise DfkdError(
        "patches can be left out of a transformer whose blocks take images x tokens x width after "
        f"their positions were added, as timm's and torchvision's vit; this is none: {INSTEAD}"
    )


def _around_the_first(calls: list[AttendingCall]) -> list[AttendingCall]:
    """The calls around the first layer that attends, outer ones first, and its own."""
    inner = next((call for call in calls if not any(one in calls for one in call.within)), None)
    return [call for call in calls if call is inner or inner in call.within]


def _order_is_free(
    network: nn.Module, images: Tensor, cut: PatchCut, last: AttendingCall, layer: nn.Module
) -> bool:
    """Whether patches may enter in any order and number: the last layer gives them in that order.

    Args:
        network, images, cut: of the trial.
        last, layer: the last call that attends, as it was, and its module.
    """
    turned = torch.randperm(cut.patches, generator=torch.Generator().manual_seed(0))
    kept = turned.to(images.device).expand(len(images), -1)
    found: list[Tensor] = []
    handle = layer.register_forward_hook(
        lambda module, inputs, output: found.append(_first(output, cut.tokens_first))
    )
    try:
        # With a gradient, as the first time: without one torch's own encoder is another kernel.
        with eval_mode(network), torch.enable_grad():
            for part in (kept, kept[:, : max(1, cut.patches // 2)]):
                with cut.only(part):
                    network(images.clone().requires_grad_())
    except Exception:  # whatever a network says to fewer tokens than it was made for
        return False
    finally:
        handle.remove()
    wanted, passes = _first(last.given, cut.tokens_first), len(found) // 2
    order = torch.cat([torch.arange(cut.prefix), turned + cut.prefix]).to(images.device)
    if not passes or found[passes - 1].shape != wanted.shape:
        return False
    gap = (found[passes - 1] - wanted[:, order]).abs().max()
    return bool(gap <= CLOSE * wanted.abs().max())


def _first(values: Any, tokens_first: bool) -> Tensor:
    tokens = first_tensor(values)
    assert tokens is not None
    return in_order(tokens.detach(), tokens_first)


def pixel_owners(network: nn.Module, images: Tensor, cut: PatchCut) -> Tensor:
    """Return which of the P patches reads each pixel, H x W, -1 for none: asked by gradients.

    Args:
        network, images: as in ``find_cut``.
        cut: what that found.

    Raises:
        DfkdError: patches overlap.
    """
    pixels = images.detach().clone().requires_grad_()
    tokens = _entering(network, pixels, cut)[:, cut.prefix :]
    numbers = torch.arange(1.0, cut.patches + 1, device=images.device)
    strongest, ratio = torch.zeros_like(images), torch.zeros_like(images)
    for seed in range(PROJECTIONS):
        weights = torch.randn(tokens.shape[2], generator=torch.Generator().manual_seed(seed))
        sums = (tokens @ weights.to(tokens)).sum(0)
        (once,) = torch.autograd.grad(sums.sum(), pixels, retain_graph=True)
        (times,) = torch.autograd.grad((sums * numbers).sum(), pixels, retain_graph=True)
        better = once.abs() > strongest.abs()
        strongest = torch.where(better, once, strongest)
        # The ratio of the two is the number of the patch, where a single one reads the pixel.
        ratio = torch.where(better, times / once, ratio)
    nearest = ratio.round()
    if ((ratio - nearest).abs() > 0.01).float().mean() > 0.01:
        raise DfkdError(
            f"patches can be left out where a pixel belongs to one of them, and these overlap: "
            f"{INSTEAD}"
        )
    return nearest.amax((0, 1)).long() - 1


def _entering(network: nn.Module, pixels: Tensor, cut: PatchCut) -> Tensor:
    """The tokens that enter the cut layer, N x T x D, part of the graph."""
    found: list[Tensor] = []

    def keep(module: Any, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        tokens = first_tensor((*inputs, *keywords.values()))
        assert tokens is not None
        found.append(in_order(tokens, cut.tokens_first))

    handle = cut.layer.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with eval_mode(network), torch.enable_grad():
            network(pixels)
    finally:
        handle.remove()
    return found[0]
