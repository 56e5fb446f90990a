"""Critics in training: they learn to tell real from fake, and hold still while others fool them."""

import copy
import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.losses import critic as losses
from dfkd.networks.modes import frozen
from dfkd.training.distributed import Runtime
from dfkd.training.sharded_rng import ShardedRNG

GAN_BETAS = (0.5, 0.999)


class CriticTrainer:
    """One critic for each thing that is judged, with their optimiser.

    Args:
        critics: things N x ... -> N scores; moved to the device.
        loss: a kind of ``dfkd.losses.critic``.
        lr: learning rate of Adam, betas 0.5 and 0.999.
        noise: instance noise (Sonderby et al., ICLR 2017), in standard deviations of what is real.
        seed: of the noise.
        device: where the critics live.
        runtime: processes; critics are the same in all of them.
    """

    def __init__(
        self,
        critics: Iterable[nn.Module],
        loss: losses.Kind,
        lr: float,
        noise: float,
        seed: int,
        device: torch.device,
        runtime: Runtime,
    ) -> None:
        self.critics = nn.ModuleList(critics).to(device)
        self._loss, self._noise, self._runtime, self._lr = loss, noise, runtime, lr
        self._optimizer = torch.optim.Adam(self.critics.parameters(), lr, betas=GAN_BETAS)
        self._draws = ShardedRNG(seed, runtime)

    def set_progress(self, progress: float) -> None:
        """Half a cosine, as the student's: against one that hardly moves any critic wins."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    def critic_loss(self, real: Sequence[Tensor], fake: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the critics' loss, summed, and the share that they tell apart, averaged.

        Part of the critics' graph alone.
        """
        values, shares = [], []
        for critic, truth, other in zip(self.critics, real, fake, strict=True):
            scores = [critic(self._with_noise(side.detach(), truth)) for side in (truth, other)]
            values.append(losses.critic_loss(*scores, kind=self._loss))
            shares.append(losses.critic_accuracy(*map(Tensor.detach, scores), kind=self._loss))
        return torch.stack(values).sum(), torch.stack(shares).mean()

    def step(self, loss: Tensor) -> None:
        """Take one step of the critics."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._runtime.all_reduce_gradients(self.critics)
        self._optimizer.step()

    def frozen(self) -> AbstractContextManager[None]:
        """Freeze the critics for a block: no gradient reaches them and no buffer moves."""
        return frozen(self.critics)

    def generator_loss(self, real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
        """Return the loss of whoever made the fakes, averaged; call it within ``frozen``."""
        values = [
            losses.fooling_loss(critic(self._with_noise(other, truth)), kind=self._loss)
            for critic, truth, other in zip(self.critics, real, fake, strict=True)
        ]
        return torch.stack(values).mean()

    def _with_noise(self, values: Tensor, truth: Tensor) -> Tensor:
        if not self._noise:
            return values
        deviation = self._runtime.gather(truth).std()  # of all processes' images, as one would see
        return values + self._noise * deviation * self._draws.normal(values)

    def state_dict(self) -> dict[str, Any]:
        """Return critics, optimiser, and where the noise goes on; copies."""
        state = {
            "critics": self.critics.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "draws": self._draws.state_dict(),
        }
        return copy.deepcopy(state)

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Continue exactly where ``state_dict`` was taken."""
        self.critics.load_state_dict(state_dict["critics"])
        self._optimizer.load_state_dict(copy.deepcopy(state_dict["optimizer"]))
        self._draws.load_state_dict(state_dict["draws"])
