"""Random numbers for the images of a step: all processes together draw as one does."""

from typing import Any

import torch
from torch import Tensor

from dfkd.training.distributed import Runtime


class ShardedRNG:
    """Tensors from one seed; every process draws for all and takes its share."""

    def __init__(self, seed: int, runtime: Runtime) -> None:
        self._generator, self._runtime = torch.Generator().manual_seed(seed), runtime

    def normal(self, like: Tensor) -> Tensor:
        """Draw N(0, 1) of the shape, type and device of ``like``, which holds this rank's rows."""
        return self._share(torch.randn(self._shape(like), generator=self._generator), like)

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform in [-1, 1], likewise."""
        return self._share(2 * torch.rand(self._shape(like), generator=self._generator) - 1, like)

    def _shape(self, like: Tensor) -> tuple[int, ...]:
        return (self._runtime.world_size * len(like), *like.shape[1:])

    def _share(self, values: Tensor, like: Tensor) -> Tensor:
        # As ``Learner.receive`` deals the images out.
        return values[self._runtime.rank :: self._runtime.world_size].to(like)

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Go on there."""
        self._generator.set_state(state_dict["generator"].cpu())
