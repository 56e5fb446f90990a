"""Which layers of a network attend, and to what: found by what a pass computes.

Neither the names of classes nor those of attributes are asked: attention is a softmax over the
pairs of tokens, or one of torch's fused kernels, wherever a network calls it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dfkd.networks.layers import named_layers
from dfkd.networks.modes import eval_mode

HEADS = ("num_heads", "num_attention_heads", "n_heads", "heads", "nhead")
"""What modules that attend call the number of their heads: only to guess before a pass."""
FUSED = "scaled_dot_product"
SOFTMAX = ("aten::_softmax", "aten::_safe_softmax")


@dataclass(frozen=True)
class Attention:
    """One attention that a pass has computed.

    Attributes:
        tokens: T, how many attend to each other.
        operands: (queries, keys), each rows x T x D with any dimensions before, or the weights
            themselves, rows x T x T; part of no graph.
        scale: of the queries' products with the keys.
    """

    tokens: int
    operands: tuple[Tensor, ...]
    scale: float = 1.0

    def of(self, token: int, images: int) -> Tensor:
        """Return to what a token attends, a mean over heads, N x T, rows that sum to 1.

        Args:
            token: which.
            images: N: the rows are a multiple of it.
        """
        row = self.operands[0][..., token : token + 1, :].float()
        if len(self.operands) == 2:
            row = (row @ self.operands[1].float().transpose(-1, -2) * self.scale).softmax(-1)
        return row.reshape(images, -1, self.tokens).mean(1)


class Attentions(TorchDispatchMode):
    """Notes every attention of tokens to themselves in its block; ``last`` is the last one."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.count = 0
        self.last: Attention | None = None

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        result = function(*arguments, **(keywords or {}))
        name = function._schema.name
        if FUSED in name and "backward" not in name:
            queries, keys = arguments[:2]
            scale = (keywords or {}).get("scale")
            scale = queries.shape[-1] ** -0.5 if scale is None else scale
            if queries.shape[-2] == keys.shape[-2]:
                self._note(Attention(keys.shape[-2], (queries, keys), scale))
        elif name in SOFTMAX and result.ndim > 2 and result.shape[-1] == result.shape[-2]:
            self._note(Attention(result.shape[-1], (result,)))
        return result

    def _note(self, found: Attention) -> None:
        self.count, self.last = self.count + 1, found


def may_attend(network: nn.Module) -> bool:
    """Tell whether a module says of itself that it has heads; ``attending_calls`` knows better."""
    return any(
        isinstance(getattr(module, name, None), int)
        for module in network.modules()
        for name in HEADS
    )


@dataclass(eq=False)
class AttendingCall:
    """A module's call in a trial pass.

    Attributes:
        name: of the module.
        taken: its first tensor, else None.
        given: the first tensor that it returned, likewise.
        tokens: of the last attention inside it; 0 for none.
        within: the calls that it made itself, and theirs.
    """

    name: str
    taken: Tensor | None = field(repr=False)
    given: Tensor | None = field(default=None, repr=False)
    tokens: int = 0
    within: list["AttendingCall"] = field(default_factory=list, repr=False)

    @property
    def tokens_first(self) -> bool:
        """Whether tokens come before images: T x N x D, as in torch's encoder by default."""
        return self.given is not None and self.given.shape[0] == self.tokens


def first_tensor(values: Any) -> Tensor | None:
    """Return a tensor, or the first one of a tuple or list; None where there is none."""
    if isinstance(values, tuple | list):
        values = next((value for value in values if isinstance(value, Tensor)), None)
    return values if isinstance(values, Tensor) else None


def attending_calls(network: nn.Module, images: Tensor) -> list[AttendingCall]:
    """Return the calls of modules that hand on tokens with attention inside, outer ones first.

    Args:
        network: runs once, in eval mode, and comes out as it went in.
        images: N x C x H x W as the network takes them, at least two. Tokens are N x T x D or
            T x N x D, or a multiple of N where a network attends within windows.
    """
    calls: list[AttendingCall] = []
    # With a gradient: without one, torch's own encoder is a single kernel.
    with (
        Attentions() as seen,
        _watched(network, seen, calls),
        eval_mode(network),
        torch.enable_grad(),
    ):
        network(images.detach().clone().requires_grad_())
    return [call for call in calls if call.tokens and _are_tokens(call.given, call, len(images))]


def attending_layers(network: nn.Module, images: Tensor) -> list[AttendingCall]:
    """Return the calls of the innermost modules that attend and hand on tokens.

    Args:
        network, images: see ``attending_calls``.
    """
    calls = attending_calls(network, images)
    return [call for call in calls if not any(inner in calls for inner in call.within)]


def in_order(values: Tensor, tokens_first: bool) -> Tensor:
    """Return tokens as N x T x D, where T may come first; and the other way round."""
    return values.transpose(0, 1) if tokens_first else values


def prefix_tokens(call: AttendingCall, images: int) -> list[int]:
    """Return the places of tokens that no pixel reaches, such as a class token; none in windows.

    Args:
        call: of the first layer that attends, for images that differ everywhere.
        images: how many they were.
    """
    if call.taken is None or call.taken.ndim != 3:
        return []
    tokens = in_order(call.taken.detach().float(), call.tokens_first)
    if len(tokens) != images:
        return []
    same = (tokens - tokens[:1]).abs().amax((0, 2)) <= 1e-6 * tokens.abs().amax()
    return [place for place, alike in enumerate(same.tolist()) if alike]


def _are_tokens(given: Tensor | None, call: AttendingCall, images: int) -> bool:
    """Whether a value has as many tokens as attend to each other inside the call."""
    if given is None or given.ndim != 3:
        return False
    rows, length = given.shape[:2]
    return (length == call.tokens and rows % images == 0) or (rows, length) == (call.tokens, images)


@contextmanager
def _watched(network: nn.Module, seen: Attentions, calls: list[AttendingCall]) -> Iterator[None]:
    """List every call of a module with what it takes and gives while the block runs."""
    stack: list[tuple[AttendingCall, int]] = []
    handles = []
    for name, module in named_layers(network).items():

        def enter(module: Any, inputs: Any, keywords: Any, name: str = name) -> None:
            taken = first_tensor((*inputs, *keywords.values()))
            call = AttendingCall(name, taken)
            for outer, _ in stack:
                outer.within.append(call)
            stack.append((call, seen.count))
            calls.append(call)

        def leave(module: Any, inputs: Any, output: Any) -> None:
            call, before = stack.pop()
            call.given = first_tensor(output)
            if seen.count > before and seen.last:
                call.tokens = seen.last.tokens

        handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
        handles.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
