"""Early exits: a network with heads at its depths, and the network truncated at one of them."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.networks.layers import feature_maps, named_layers, open_features
from dfkd.networks.truncated import Truncated


class Head(nn.Module):
    """Classes from a map: N x channels x H x W -> N x width -> N x classes.

    A 3x3 filter a channel at half the resolution, a 1x1 convolution to ``width`` channels and the
    mean over all positions: about what the paper's bottleneck does, for less than a stage.
    """

    def __init__(self, channels: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.bottleneck = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 2, 1, groups=channels, bias=False),
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Linear(width, num_classes)

    def embedding(self, maps: Tensor) -> Tensor:
        """Return the classifier's input, N x width, as wide as the network's last map."""
        embedding: Tensor = self.bottleneck(maps).mean((2, 3))
        return embedding

    def forward(self, maps: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.embedding(maps))
        return logits


class EarlyExits(nn.Module):
    """A network with a head at each of its depths; called, it answers as the network does.

    Args:
        network: normalised images -> N x classes logits.
        shape: channels, height and width of an image.
        num_classes: how many there are.
        layers: where the heads sit; left out: at the last map of each size but the smallest.

    Attributes:
        layers: where the heads sit, shallow first.
        last: the layer whose map is the network's last.

    Raises:
        DfkdError: a network whose maps have one size, or layers that return no maps.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: Sequence[int],
        num_classes: int,
        layers: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.shape, self.num_classes = tuple(shape), num_classes
        grey = self._grey(network)
        maps = feature_maps(network, grey)
        self.layers = tuple(layers) or _depths(maps)
        for name in self.layers:
            if name not in maps:
                raise DfkdError(f"an exit needs a feature map, and layer {name!r} returns none")
        self.last = list(maps)[-1]
        width = maps[self.last][1]
        # Registered before the network, so that the last linear layer is still the network's own;
        # ``module`` is a wrapper's prefix, so that its layers keep the names they are known by.
        self.heads = nn.ModuleList(Head(maps[n][1], width, num_classes) for n in self.layers)
        self.heads.to(grey.device).train(network.training)
        self.module = network

    def _grey(self, network: nn.Module) -> Tensor:
        tensors = (*network.parameters(), *network.buffers())
        return torch.zeros(2, *self.shape, device=tensors[0].device if tensors else None)

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's own logits; run no head."""
        logits: Tensor = self.module(images)
        return logits

    def answers(self, images: Tensor) -> list[Tensor]:
        """Return the logits of every exit and of the network, shallow to deep, in one pass."""
        with open_features(named_layers(self.module), self.layers, "student") as maps:
            deepest = self.module(images)
        shallow = [head(maps[n]) for head, n in zip(self.heads, self.layers, strict=True)]
        return [*shallow, deepest]

    def exit(self, index: int) -> nn.Module:
        """Copy the network as far as one exit, in eval mode; compute nothing behind it."""
        part = Truncated(self.module, self.layers[index], self._grey(self.module))
        return nn.Sequential(part, copy.deepcopy(self.heads[index])).eval()

    def exits(self) -> dict[str, nn.Module]:
        """Return the network as far as each exit, by name, shallow first."""
        return {f"exit {index + 1}": self.exit(index) for index in range(len(self.layers))}

    @property
    def keywords(self) -> dict[str, Any]:
        """What ``with_exits`` needs besides the network's own factory."""
        return {"shape": self.shape, "num_classes": self.num_classes, "layers": self.layers}


def _depths(maps: Mapping[str, torch.Size]) -> tuple[str, ...]:
    """The last layer of every size but the last one, in the order of their calls."""
    last = {tuple(shape[2:]): name for name, shape in maps.items()}
    end = tuple(list(maps.values())[-1][2:]) if maps else ()
    found = {name for size, name in last.items() if size != end}
    if not found:
        raise DfkdError(
            "early exits sit where a network halves its maps, and the student's have one size: "
            "take a deeper student, or `scheme_config.form=generations`"
        )
    return tuple(name for name in maps if name in found)
