"""How images evolve: copies of the first few, at evenly spaced moments of their making."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.synthesis.methods.deep_inversion import DeepInversion
from dfkd.teacher.spec import ImageSpec


class Evolution:
    """Notes images at ``moments`` evenly spaced shares of their making, the end among them.

    Between two moments noting costs a comparison.

    Args:
        spec: size of the images; those at half resolution are enlarged, every pixel to a square.
        moments: how many copies are kept, at least 2.
        count: how many images of a batch.

    Attributes:
        frames: copies so far, each uint8 n x C x H x W.
        shares: of the making at which they were taken, in [0, 1].
        complete: whether the finished images are among them.

    Raises:
        DfkdError: fewer than two moments, or no image.
    """

    def __init__(self, spec: ImageSpec, moments: int = 8, count: int = 6) -> None:
        if moments < 2 or count < 1:
            raise DfkdError(f"`frames` must be at least 2, not {moments}")
        self.spec, self.moments, self.count = spec, moments, count
        self.frames: list[Tensor] = []
        self.shares: list[float] = []
        self.complete = False

    def is_due(self, share: float) -> bool:
        """Tell whether a copy is to be taken when ``share`` in [0, 1] of the making is done."""
        waiting = len(self.frames) < self.moments - 1 and not self.complete
        return waiting and share * (self.moments - 1) >= len(self.frames) - 1e-9

    def note(self, share: float, images: Tensor) -> None:
        """Keep a copy, if one is due, of images N x C x h x w; their values are clamped."""
        if self.is_due(share):
            self._keep(share, images)

    def watch(self, synthesizer: DeepInversion, share: float) -> None:
        """Keep a copy, if one is due, of the batch that is being made."""
        if self.is_due(share):
            with torch.no_grad():
                self._keep(share, synthesizer.pixels())

    def finish(self, images: Tensor) -> None:
        """Keep the finished images; nothing is noted afterwards."""
        if not self.complete:
            self._keep(1.0, images)
            self.complete = True

    def stacked(self) -> Tensor:
        """Return all copies, uint8 moments x n x C x H x W."""
        return torch.stack(self.frames)

    def _keep(self, share: float, images: Tensor) -> None:
        images = images[: self.count].detach().float().clamp(0, 1)
        if images.shape[2:] != (self.spec.height, self.spec.width):
            images = F.interpolate(images, (self.spec.height, self.spec.width), mode="nearest")
        self.frames.append(self.spec.encode(images).cpu())
        self.shares.append(share)

    def state_dict(self) -> dict[str, Any]:
        """Everything an exact resume needs."""
        kept = {"frames": list(self.frames), "shares": list(self.shares)}
        return kept | {"complete": self.complete}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.frames, self.shares = list(state["frames"]), list(state["shares"])
        self.complete = state["complete"]
