"""The prior of a transformer: the patches of a real image are unlike each other.

PSAQ-ViT (Li et al., "Patch Similarity Aware Data-Free Quantization for Vision Transformers",
ECCV 2022). Nothing is stored and nothing remembered: it is what holds of all images that a
transformer was trained on, measured where it attends.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.losses.patches import MOST_ENTROPY, patch_entropy
from dfkd.networks.attending import attending_layers, first_tensor, in_order, prefix_tokens
from dfkd.networks.foreign import calling
from dfkd.networks.layers import named_layers
from dfkd.teacher.spec import ImageSpec
from dfkd.teacher.trial import trial_noise


class Place(NamedTuple):
    """Where a layer's patches are among its tokens.

    Attributes:
        patches: their places.
        tokens_first: whether tokens come before images.
    """

    patches: tuple[int, ...]
    tokens_first: bool


class PatchPrior:
    """The entropy of the similarities between patches, at each layer that attends.

    More of it is not always better: images of Fashion-MNIST lack 1.6 nats of the most that is
    possible, drawings 1.7 and noise 2.7, and 20 steps take drawings to 0.3, of which the teacher
    takes a third for what they were. So the default corrects no drawing by it; methods that ask
    for classes as well may weigh it.

    A record has one tensor a layer, N x patches x D: what its attention gives. The class token and
    others that no pixel reaches are left out.

    Args:
        network: a transformer whose layers hand on N x T x D tokens, or T x N x D; windows count as
            images of their own.
        spec: the images that it takes: it is shown two of noise.

    Raises:
        DfkdError: no layer of it attends to patches.
    """

    name = "patch"
    corrects = False

    def __init__(self, network: nn.Module, spec: ImageSpec) -> None:
        self.spec = spec
        self._places = attending_places(network, spec)
        if not self._places:
            raise DfkdError(
                "`prior=patch` compares the patches that a transformer attends to, and no layer of "
                "this network hands on such tokens (images x tokens x width): leave `prior` out"
            )
        named = named_layers(network)
        self.layers: Mapping[str, nn.Module] = {name: named[name] for name in self._places}

    def on(self, network: nn.Module) -> "PatchPrior":
        """Return the same prior of another network that has the same layers."""
        return PatchPrior(network, self.spec)

    @contextmanager
    def open(self) -> Iterator["PatchRecording"]:
        """Record the patches of each layer while the block runs."""
        recording = PatchRecording()
        handles = [
            layer.register_forward_hook(recording.hook(self._places[name]))
            for name, layer in self.layers.items()
        ]
        try:
            yield recording
        finally:
            for handle in handles:
                handle.remove()

    def distance(self, record: Sequence[Tensor]) -> Tensor:
        """Return how much entropy is missing, summed over layers: PSAQ-ViT's loss + a constant."""
        return self._missing(record).sum()

    def relative_distance(self, record: Sequence[Tensor]) -> Tensor:
        """Return the same a layer, in nats: depth and width of the network do not matter."""
        return self._missing(record).mean()

    def _missing(self, record: Sequence[Tensor]) -> Tensor:
        return MOST_ENTROPY - torch.stack([patch_entropy(tokens) for tokens in record])


class PatchRecording:
    """The patches of all layers, in the order of their calls."""

    def __init__(self) -> None:
        self._captured: list[Tensor] = []

    def hook(self, place: Place) -> Any:
        """Return a forward hook that keeps what is at ``place``."""

        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            tokens = first_tensor(output)
            assert tokens is not None
            self._captured.append(in_order(tokens, place.tokens_first)[:, list(place.patches)])

        return keep

    def finished(self) -> tuple[Tensor, ...]:
        """Return N x patches x D of each layer."""
        return tuple(self._captured)


def attending_places(network: nn.Module, spec: ImageSpec) -> dict[str, Place]:
    """Find the layers that attend to patches by name, and where those are among their tokens.

    Args:
        network: comes out as it went in.
        spec: the images that it takes.

    Raises:
        DfkdError: it fails; in one line.
    """
    images = trial_noise(network, spec)
    with calling("the teacher", images.shape, resize="set `image`"):
        calls = attending_layers(network, images)
    if not calls:
        return {}
    prefix, length = prefix_tokens(calls[0], len(images)), calls[0].tokens
    places = {}
    for call in calls:
        skipped = prefix if call.tokens == length else []
        patches = tuple(place for place in range(call.tokens) if place not in skipped)
        if len(patches) > 1:
            places[call.name] = Place(patches, call.tokens_first)
    return places
