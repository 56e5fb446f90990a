"""SpaceshipNet (Yu et al., CVPR 2023): new images from old ones, by exchange of features.

A generator is trained on one batch a round. What the student sees is not that batch: maps that
the generator made on the way to its images are remembered, two samples exchange half of the
channels of such a map, and the generator goes on from there. The noise that this brings is the
student's to ignore: it also imitates where the teacher looks (``cam``, ``grad_cam``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from dfkd.losses.objective import Objective
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.method import Method, descend
from dfkd.synthesis.steps import check, keep_best
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from generators.latents import build_decoder, gaussian

_BETAS = (0.5, 0.999)
DEPTHS = 3  # the coarse map and what the first two stages make of it: at 32 pixels all there are


@dataclass(frozen=True)
class SpaceshipConfig:
    """The paper's settings for CIFAR-100; a value out of range is a ``DfkdError``.

    Attributes:
        bn, oh: weights of batch-norm distance and cross-entropy; there is no adversary.
        g_steps, lr_g: Adam steps a round, betas 0.5 and 0.999, and their learning rate.
        lr_z: the same of the round's latents; 0 leaves them as drawn, as the authors' code does.
        synthesis_batch_size: images that the generator is trained on in a round, classes evenly.
        swap_p: probability that a batch for the student exchanges features.
        capacity: samples whose maps are kept, 213 kB each at 3x32x32. The authors keep all on disk.
        latent_dim, ngf: see ``Decoder``.
    """

    bn: float = 1.0
    oh: float = 0.5
    g_steps: int = 200
    lr_g: float = 1e-3
    lr_z: float = 1e-3
    synthesis_batch_size: int = 256
    swap_p: float = 0.7
    capacity: int = 1024
    latent_dim: int = 256
    ngf: int = 64

    def __post_init__(self) -> None:
        counts = (self.synthesis_batch_size - 1, self.g_steps, self.capacity, self.ngf)
        check(min(*counts, self.latent_dim) >= 1, f"a batch of 2, other counts of 1: {self}")
        check(min(self.bn, self.oh) >= 0 < self.bn + self.oh, f"weights >= 0, one more: {self}")
        check(self.lr_z >= 0 < self.lr_g, f"lr_g must be positive and lr_z not negative: {self}")
        check(0 <= self.swap_p <= 1, f"swap_p in [0, 1]: {self}")


class Spaceship(Method):
    """The ``Synthesizer``. The student's state has no say in the images.

    There is one generator, as in the authors' code: later rounds train it on, so that older maps
    are decoded by other weights than those that made them. A bounded memory keeps them close. The
    authors' code also crops and mirrors what the teacher is shown; that is left out here.

    Args:
        teacher: stores batch-norm statistics, else a ``DfkdError``.
        config: the setting.
        seed: see ``Method``.
    """

    parts = ("generator",)
    values = ("remembered",)

    def __init__(
        self, teacher: Teacher, config: SpaceshipConfig | None = None, seed: int = 0
    ) -> None:
        teacher.require_statistics("spaceship")
        super().__init__(teacher, config or SpaceshipConfig(), seed)
        c: SpaceshipConfig = self.config
        self.objective = Objective.of(bn=c.bn, onehot=c.oh)
        self.forward = PairedForward(teacher, self.objective.needs)
        # In eval mode but for the steps of a round: what is decoded must not move its statistics.
        g = build_decoder(teacher.spec.shape, self._rng, c.latent_dim, c.ngf).to(self.device).eval()
        self.generator = g
        with torch.no_grad():
            maps = g.features(torch.zeros(1, c.latent_dim, device=self.device))[:DEPTHS]
        # Behind a batch-norm values are far from where float16 ends.
        shapes = [(c.capacity, *m.shape[1:]) for m in maps]
        self._memory = [torch.empty(s, dtype=torch.half, device=self.device) for s in shapes]
        self.remembered = 0

    def update(self, student: nn.Module) -> Metrics:
        """Make one round; metrics are those of the batch of lowest loss, whose maps are kept."""
        config, count = self.config, self.config.synthesis_batch_size
        latents = gaussian(count, config.latent_dim, self._rng, self.device).requires_grad_()
        first = self.teacher.task.sample_targets(1, self._rng, self.device)
        targets = (first + torch.arange(count, device=self.device)) % self.teacher.task.targets
        optimizer = torch.optim.Adam(self.generator.parameters(), config.lr_g, betas=_BETAS)
        optimizer.add_param_group({"params": [latents], "lr": config.lr_z})
        best: dict[str, Tensor] = {}
        self.generator.train()
        for _ in range(config.g_steps):
            with self.teacher.autocast():
                maps = self.generator.features(latents)
                images = self.generator.from_features(len(maps) - 1, maps[-1]).float()
            loss, components = self.objective(self.ask(self.forward, images, targets=targets))
            descend(optimizer, loss)
            # The maps precede the step: the loss is theirs.
            made = {f"depth {d}": m.detach().half() for d, m in enumerate(maps[:DEPTHS])}
            made |= {"loss": loss.detach(), **components}
            best = keep_best(best, made)
        self.generator.eval()
        self._remember([best.pop(f"depth {d}") for d in range(DEPTHS)])
        return best

    @torch.no_grad()
    def sample(self, count: int) -> Batch:
        """Make ``count`` images: exchange and decode maps at one depth, drawn for the batch.

        No targets: after an exchange an image is meant for two classes. Before the first round
        the maps are those of the untrained generator.
        """
        depth = int(torch.randint(DEPTHS, (), generator=self._rng))  # on the CPU: no sync
        with self.teacher.autocast():
            if self.remembered:
                maps = self._recall(depth, count)
            else:
                latents = gaussian(count, self.config.latent_dim, self._rng, self.device)
                maps = self.generator.features(latents)[depth]
            moved = paired_halves(count, maps.shape[1], self._rng)
            moved &= torch.rand((), generator=self._rng) < self.config.swap_p
            maps = exchange(maps, moved.to(self.device))
            images = self.generator.from_features(depth, maps).float()
        self.images_made += count
        return Batch(images)

    def state_dict(self) -> dict[str, Any]:
        """Everything but Adam and the latents, which are new every round; copies, not aliases."""
        filled = min(self.remembered, self.config.capacity)
        memory = [column[:filled].clone() for column in self._memory]
        return {**super().state_dict(), "memory": memory}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``, bit-identical."""
        super().load_state_dict(state)
        for column, values in zip(self._memory, state["memory"], strict=True):
            column[: len(values)] = values

    def _remember(self, maps: Sequence[Tensor]) -> None:
        """The maps of a round, depth by depth; the oldest make room."""
        kept = range(max(0, len(maps[0]) - self.config.capacity), len(maps[0]))
        slots = torch.tensor([(self.remembered + i) % self.config.capacity for i in kept])
        for column, values in zip(self._memory, maps, strict=True):
            column[slots.to(self.device)] = values[kept.start :]
        self.remembered += len(maps[0])

    def _recall(self, depth: int, count: int) -> Tensor:
        """``count`` remembered maps; none comes twice before all have come."""
        filled = min(self.remembered, self.config.capacity)
        index = torch.randperm(filled, generator=self._rng).repeat(-(-count // filled))[:count]
        return self._memory[depth][index.to(self.device)].float()


def paired_halves(count: int, channels: int, rng: Generator) -> Tensor:
    """Draw which channels move, count x channels: half, alike in samples i and count - 1 - i.

    Drawn anew for every pair. (The authors draw for every sample: what one gives away the other
    of its pair need not get.)
    """
    pairs = (count + 1) // 2
    moved = torch.rand(pairs, channels, generator=rng).argsort(1) < channels // 2
    return torch.cat([moved, moved[: count // 2].flip(0)])


def exchange(maps: Tensor, moved: Tensor) -> Tensor:
    """Exchange the channels that are ``moved`` between samples i and N - 1 - i (CFE).

    Args:
        maps: N x C x H x W.
        moved: N x C.
    """
    return torch.where(moved[:, :, None, None], maps.flip(0), maps)
