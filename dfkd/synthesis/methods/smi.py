"""Sparse Model Inversion: pixels of a transformer's images, and fewer patches as they grow.

Hu et al., "Sparse Model Inversion: Efficient Inversion of Vision Transformers for
Data-Free Applications", ICML 2024. The pixels x of one batch minimise

    CE(T(x), y) + tv_l2 * TV2(x)

At some iterations the patches to which the class token attends least, a share of those left, are
left out: their tokens are no longer computed, and their pixels stay as they are. Where no class
token's attention is seen, patches are judged by the gradient of CE that their pixels receive.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import check_within
from dfkd.losses.objective import Objective
from dfkd.networks.attending import Attentions
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.method import Method, descend
from dfkd.synthesis.steps import check
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from dfkd.teacher.patches import patches_of
from dfkd.training.augment import flip, jitter, with_flip
from generators.pixels import Pixels


@dataclass(frozen=True)
class SmiConfig:
    """The paper's setting; its code's, where the paper is silent.

    Attributes:
        batch_size: images optimised together, at least 1.
        iterations: Adam steps of a batch, at least 1.
        lr: Adam's rate, in the teacher's normalised units.
        betas: Adam's.
        tv_l2: weight of the total variation, taken in the same units, at least 0.
        drop: share of the patches left that is left out each time, in [0, 1).
        drops: when, as shares of ``iterations`` in [0, 1]; the paper's 50, 100, 200, 300 of 4,000.
        jitter: largest roll, as a share of the image's sides, in [0, 1].
        flip: probability of a mirror image; None leaves it to the teacher (``dfkd.runs.mirror``).
        capacity: images that the bank holds.
    """

    batch_size: int = 100
    iterations: int = 4000
    lr: float = 0.25
    betas: tuple[float, float] = (0.5, 0.99)
    tv_l2: float = 1e-4
    drop: float = 0.3
    drops: tuple[float, ...] = (0.0125, 0.025, 0.05, 0.075)
    jitter: float = 0.125
    flip: float | None = None
    capacity: int = 20_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # JSON and YAML bring lists
        object.__setattr__(self, "drops", tuple(self.drops))
        check_within(self, "[1, inf)", "batch_size", "iterations", "capacity")
        check_within(self, "(0, inf)", "lr")
        check_within(self, "[0, inf)", "tv_l2")
        check_within(self, "[0, 1)", "drop")
        check_within(self, "[0, 1]", "jitter", "flip")
        for name, most in (("drops", 1.0), ("betas", 0.999_999)):
            check(
                all(0 <= share <= most for share in getattr(self, name)),
                f"{name} must lie in [0, {'1]' if most == 1 else '1)'}, not {getattr(self, name)}",
            )

    def drops_at(self, position: int) -> int:
        """Return how many times patches are left out before an iteration; never before the 1st."""
        steps = [max(1, round(share * self.iterations)) for share in self.drops]
        return steps.count(position)


class Smi(Method):
    """The ``Synthesizer``: one update is one iteration on the pixels of the current batch.

    Raises:
        DfkdError: the teacher is no transformer whose patches can be left out.
    """

    parts = ("pixels", "optimizer", "bank")
    values = ("targets", "position", "left", "alive")

    def __init__(self, teacher: Teacher, config: SmiConfig, seed: int) -> None:
        super().__init__(teacher, with_flip(config, None), seed)
        teacher.require_gradient("smi")
        self.cut, self.owner = patches_of(teacher)
        self.objective = Objective.of(onehot=1.0, tv_l2=self.config.tv_l2)
        self.forward = PairedForward(teacher, self.objective.needs)
        self.bank = self.new_bank(self.config.capacity, seed)
        self._begin_batch()

    def update(self, student: nn.Module) -> Metrics:
        """Take one iteration; after a batch's last one bank it and begin the next."""
        for _ in range(self.config.drops_at(self.position)):
            self._leave_out()
        images, alive = self.pixels(), self.alive.float()
        # The patches that are shown move with the images: one jitter for both.
        moved = self._augment(torch.cat([images, alive], 1))
        shown, alive = moved[:, :-1], moved[:, -1:]
        with self.cut.only(self._most_alive(alive)):
            outputs = self.ask(self.forward, shown, targets=self.targets)
        loss, components = self.objective(outputs)
        before = self.pixels.values.detach().clone()
        descend(self.optimizer, loss)
        with torch.no_grad():  # Adam's momentum, and the variation, would move them on
            self.pixels.values.copy_(torch.where(self.alive, self.pixels.values, before))
        self.pixels.clip_()
        self.position += 1
        if self.position >= self.config.iterations:
            self.finish()
        return {"loss": loss.detach(), **components}

    def finish(self) -> None:
        """Bank the batch as it stands, and begin the next."""
        self.keep(self.pixels().detach(), self.targets)
        self._begin_batch()

    def sample(self, count: int) -> Batch:
        """Draw from the bank; before the first batch is complete bank it as it is."""
        if not self.images_made:
            self.finish()
        return self.bank.sample(count)

    def _begin_batch(self) -> None:
        """The next batch: its targets, noise, and all of its patches."""
        config, spec = self.config, self.teacher.spec
        count = config.batch_size
        self.targets = self.teacher.task.sample_targets(count, self._rng, self.device)
        noise = torch.randn((count, *spec.shape), generator=self._rng)
        self._optimise_from(spec.denormalize(noise).clamp(0, 1).to(self.device))
        self.position, self.left = 0, self.cut.patches
        self.alive = torch.ones(count, 1, *spec.shape[1:], dtype=torch.bool, device=self.device)

    def _optimise_from(self, images: Tensor) -> None:
        unit = sum(self.teacher.spec.std) / len(self.teacher.spec.std)  # lr is in these units
        self.pixels = Pixels(images, unit)
        self.optimizer = torch.optim.Adam(
            self.pixels.parameters(), self.config.lr, self.config.betas
        )

    def _augment(self, images: Tensor) -> Tensor:
        most = int(self.config.jitter * min(images.shape[2:]))
        return flip(jitter(images, most, self._rng), self.config.flip or 0.0, self._rng)

    def _by_patch(self, values: Tensor) -> Tensor:
        """Sum N x 1 x H x W values over each patch's pixels, N x P."""
        owner = self.owner.where(self.owner >= 0, self.cut.patches).flatten()
        sums = values.new_zeros(len(values), self.cut.patches + 1)
        return sums.index_add(1, owner, values.flatten(1))[:, :-1]

    def _most_alive(self, alive: Tensor) -> Tensor:
        """The patches that hold most of the pixels that are still optimised, N x those left."""
        return self._by_patch(alive).topk(self.left, 1).indices

    def _leave_out(self) -> None:
        """Leave out the patches that matter least, a share of those left."""
        kept = self._most_alive(self.alive.float())
        images = self.pixels().detach().requires_grad_()
        with self.cut.only(kept), Attentions() as seen:
            outputs = self.ask(self.forward, images, targets=self.targets)
        tokens = self.cut.prefix + self.left
        if self.cut.prefix and seen.last and seen.last.tokens == tokens:
            importance = seen.last.of(0, len(images))[:, self.cut.prefix :]
        else:
            loss = outputs.task.supervised(outputs.teacher.prediction, self.targets)
            (gradient,) = torch.autograd.grad(loss, images)
            importance = self._by_patch(gradient.abs().sum(1, keepdim=True)).gather(1, kept)
        self.left = max(1, int(self.left * (1 - self.config.drop)))
        best = kept.gather(1, importance.topk(self.left, 1).indices)
        chosen = torch.zeros(len(images), self.cut.patches + 1, device=self.device).bool()
        chosen = chosen.scatter(1, best, True)
        owner = self.owner.where(self.owner >= 0, self.cut.patches)
        self.alive = chosen[:, owner].unsqueeze(1)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``, bit-identical."""
        self._optimise_from(self.pixels().detach())
        super().load_state_dict(state)
