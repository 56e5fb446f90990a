"""CMI (Fang et al., IJCAI 2021): a generator for every batch, and batches unlike one another.

Each round starts a generator and its latents from scratch and optimises both. A contrastive loss
on the teacher's features, high where images look alike, sets them apart from those of all rounds.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.losses.contrastive import instance_discrimination, spatial_means
from dfkd.losses.objective import Objective
from dfkd.networks.layers import INPUT_SUFFIX
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.method import Method, descend
from dfkd.synthesis.steps import check, keep_best
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from dfkd.training.augment import crop, flip, padded_crop
from generators.latents import build_decoder, gaussian
from generators.reset import drawn, reset_all

_BETAS = (0.5, 0.999)
PADDING, SCALE = 4 / 32, 0.25  # of a global view, in image sides; least area of a local one


@dataclass(frozen=True)
class CmiConfig:
    """The paper's names and settings for CIFAR; a value out of range is a ``DfkdError``.

    Attributes:
        bn, oh, adv, cr: weights of batch-norm distance, cross-entropy, adversary and contrast.
        cr_T, cr_dim: temperature of the contrast; width of its head (the hidden layer's is ours).
        cr_negatives: earlier images that a round's are told from, as many as there are; each
            costs two passes of the teacher a round.
        capacity: images that the bank holds, for the contrast and for the student.
        g_steps, lr_g: Adam steps a round, betas 0.5 and 0.999, and their learning rate.
        synthesis_batch_size: images a round makes.
        latent_dim, ngf: see ``Decoder``.
    """

    bn: float = 1.0
    oh: float = 1.0
    adv: float = 0.5
    cr: float = 0.8
    cr_T: float = 0.1  # noqa: N815
    cr_dim: int = 256
    cr_negatives: int = 4096
    capacity: int = 40_960
    g_steps: int = 200
    lr_g: float = 1e-3
    synthesis_batch_size: int = 256
    latent_dim: int = 256
    ngf: int = 64

    def __post_init__(self) -> None:
        counts = (self.g_steps, self.capacity, self.cr_dim, self.latent_dim, self.ngf)
        check(
            min(counts) >= 1 and min(self.synthesis_batch_size - 2, self.cr_negatives) >= 0,
            f"a batch of at least 2, cr_negatives at least 0, other counts at least 1: {self}",
        )
        weights = (self.bn, self.oh, self.adv, self.cr)
        check(min(weights) >= 0 < self.bn + self.oh, f"weights >= 0, bn or oh positive: {self}")
        check(min(self.lr_g, self.cr_T) > 0, f"lr_g and cr_T must be positive: {self}")


class Cmi(Method):
    """The ``Synthesizer``. The student watches in eval mode and stays as it is, bit by bit.

    The contrast compares spatial means of what enters every batch-norm (the authors take a
    ResNet-34's four stages). A teacher with folded norms shows what leaves them instead: the
    same means, each channel scaled and shifted, which the head's first layer can undo.

    Args:
        teacher: stores batch-norm statistics, else a ``DfkdError``.
        config: the setting.
        seed: see ``Method``.
    """

    parts = ("generator", "head", "head_optimizer", "bank")
    values = ("round",)

    def __init__(self, teacher: Teacher, config: CmiConfig | None = None, seed: int = 0) -> None:
        teacher.require_statistics("cmi")
        if not teacher.layers:
            raise DfkdError(
                "cmi looks at the teacher's layers that its prior reads, and this one reads none: "
                "use `method=default` or another `prior`"
            )
        super().__init__(teacher, config or CmiConfig(), seed)
        c: CmiConfig = self.config
        decoder = build_decoder(teacher.spec.shape, self._rng, c.latent_dim, c.ngf)
        self.generator = decoder.to(self.device)
        self._inputs = [name + INPUT_SUFFIX for name in teacher.layers]
        self.objective = Objective.of(bn=c.bn, onehot=c.oh, adv=c.adv)
        self.forward = PairedForward(teacher, self.objective.needs, layers=self._inputs)
        with torch.no_grad():  # a pass of the teacher shows how wide its features are
            width = self._features(torch.zeros(1, *teacher.spec.shape, device=self.device)).shape[1]
        self.head = drawn(lambda: _head(width, c.cr_dim), self._rng).to(self.device)
        self.head_optimizer = torch.optim.Adam(self.head.parameters(), c.lr_g, betas=_BETAS)
        self.bank = self.new_bank(c.capacity, seed)
        self.round = self.teacher_images = 0

    def update(self, student: nn.Module) -> Metrics:
        """Make one round (Algorithm 1); metrics are those of the batch that is kept."""
        config, count = self.config, self.config.synthesis_batch_size
        reset_all(self.generator, self._rng, std=0.02)
        latents = gaussian(count, config.latent_dim, self._rng, self.device).requires_grad_()
        targets = self.teacher.task.sample_targets(count, self._rng, self.device)
        cached = self._recall()
        free = [*self.generator.parameters(), latents]
        optimizer = torch.optim.Adam(free, config.lr_g, betas=_BETAS)
        best: dict[str, Tensor] = {}
        for _ in range(config.g_steps):
            images = self.run(self.generator, latents)
            local_view, global_view = self._views(images)
            outputs = self.ask(self.forward, global_view, student, targets=targets)
            loss, components = self.objective(outputs)
            means = spatial_means(outputs.teacher.layers.values())
            pairs = [(self._features(local_view), means), *cached]
            local, whole = (self.head(torch.cat(side)) for side in zip(*pairs, strict=True))
            contrastive = instance_discrimination(
                local, whole, temperature=config.cr_T, current=count
            )
            loss = loss + config.cr * contrastive
            self.head_optimizer.zero_grad(set_to_none=True)
            descend(optimizer, loss)
            self.head_optimizer.step()
            # The images precede the step: the loss is theirs.
            components |= {"contrastive": contrastive, "loss": loss, "images": images}
            best = keep_best(best, components)
        self.keep(best.pop("images"), targets)
        self.round += 1
        return best

    def sample(self, count: int) -> Batch:
        """Draw from the bank; before the first round, from the untrained generator."""
        if self.round:
            return self.bank.sample(count)
        latents = gaussian(max(2, count), self.config.latent_dim, self._rng, self.device)
        with torch.no_grad():
            images = self.run(self.generator, latents)[:count]
        self.images_made += count
        return Batch(images)

    def _views(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """A part of each image, enlarged, and the whole, shifted; both mirrored or not."""
        local = crop(images, SCALE, self._rng)
        whole = padded_crop(images, round(PADDING * max(images.shape[2:])), self._rng)
        return flip(local, 0.5, self._rng), flip(whole, 0.5, self._rng)

    def _features(self, images: Tensor) -> Tensor:
        self.teacher_images += len(images)
        with self.teacher.autocast():
            trace = self.teacher.trace(images, features=self._inputs)
        return spatial_means(trace.features.values())

    @torch.no_grad()
    def _recall(self) -> list[list[Tensor]]:
        """Local and global features of earlier images, part by part; kept for the whole round."""
        c, count = self.config, min(self.config.cr_negatives, len(self.bank))
        parts = torch.split(self.bank.sample(count).inputs, c.synthesis_batch_size) if count else ()
        return [[self._features(view) for view in self._views(part)] for part in parts]


def _head(width: int, dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, dim), nn.ReLU(), nn.Linear(dim, dim))
