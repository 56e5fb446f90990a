"""A network truncated at one of its layers: later layers are neither computed nor kept."""

from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.networks.copying import copy_network
from dfkd.networks.layers import named_layers
from dfkd.networks.modes import set_mode


class Truncated(nn.Module):
    """A copy of a network, in eval mode: images -> what one of its layers returns.

    Layers that the pass has not begun when that one is done are not part of it.

    Args:
        network: unchanged.
        layer: its name; where a pass calls it more than once, the last call counts.
        images: an example of what the network takes.
    """

    def __init__(self, network: nn.Module, layer: str, images: Tensor) -> None:
        super().__init__()
        self.module = copy_network(network)
        set_mode(self.module, False)
        # In a tuple: as a plain attribute the layer would be registered a second time.
        self._end = (named_layers(self.module)[layer],)
        self._calls = _calls(self.module, self._end[0], images)
        self._forget(images)

    def forward(self, images: Tensor) -> Tensor:
        """Return the layer's output; its hook leaves the network by an exception."""
        left = self._calls

        def stop(module: nn.Module, inputs: Any, output: Tensor) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise _Reached(output)

        handle = self._end[0].register_forward_hook(stop)
        try:
            self.module(images)
        except _Reached as reached:
            return reached.value
        finally:
            handle.remove()
        raise DfkdError("the network ended before it came to the layer: its way is not fixed")

    @torch.no_grad()
    def _forget(self, images: Tensor) -> None:
        """Drop the layers that are not begun before the end."""
        begun: set[nn.Module] = set()
        done: set[nn.Module] = set()
        handles = []
        for module in self.module.modules():
            handles.append(module.register_forward_pre_hook(lambda m, _: begun.add(m)))
            handles.append(module.register_forward_hook(lambda m, *_: done.add(m)))
        self(images)
        for handle in handles:
            handle.remove()
        _drop(self.module, begun, done)


class _Reached(Exception):  # noqa: N818 - no error: it is how a pass ends early
    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value


@torch.no_grad()
def _calls(network: nn.Module, layer: nn.Module, images: Tensor) -> int:
    """How often a pass calls ``layer``."""
    calls: list[int] = []
    handle = layer.register_forward_hook(lambda *_: calls.append(1))
    network(images)
    handle.remove()
    return len(calls)


def _drop(module: nn.Module, begun: set[nn.Module], done: set[nn.Module]) -> None:
    for name, child in module.named_children():
        # What is done may have used its parts' weights without calling them: all of it stays.
        if child in done:
            continue
        if any(part in begun for part in child.modules()):
            _drop(child, begun, done)
        else:
            setattr(module, name, nn.Identity())
