"""CMI (Fang et al., IJCAI 2021): a generator for every batch, and batches unlike one another.

Each round starts a generator and its latents from scratch and optimises both. A contrastive loss
on the teacher's features, high where images look alike, sets them apart from those of all rounds.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.losses.contrastive import instance_discrimination, spatial_means
from dfkd.networks.layers import INPUT_SUFFIX
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis import terms
from dfkd.synthesis.bank import ImageBank
from dfkd.synthesis.objective import Evidence, Term
from dfkd.synthesis.steps import (
    check,
    forward_pair,
    keep_best,
    pack_state,
    quantize_and_label,
    unpack_state,
)
from dfkd.teacher import Teacher
from dfkd.training.augment import crop, flip, padded_crop
from generators.latents import build_decoder, gaussian, random_targets
from generators.reset import drawn, reset_all

BETAS = (0.5, 0.999)
PADDING, SCALE = 4 / 32, 0.25  # of a global view, in image sides; least area of a local one
_PARTS = ("generator", "head", "head_optimizer", "bank")
_STATE = ("round", "images_made", "teacher_images")


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
        synthesis_batch_size: images a round makes; latent_dim, ngf: see ``Decoder``.
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


class Cmi:
    """The ``Synthesizer``. The student watches in eval mode and stays as it is, bit by bit.

    The contrast compares spatial means of what enters every batch-norm (the authors take a
    ResNet-34's four stages). A teacher with folded norms shows what leaves them instead: the
    same means, each channel scaled and shifted, which the head's first layer can undo.

    Args:
        teacher: stores batch-norm statistics, else a ``DfkdError``.
        seed: of all that is random here; the global random state is left alone.
        autocast: context in which generator, teacher and student run; losses are float32.
    """

    def __init__(
        self, teacher: Teacher, config: CmiConfig | None = None, seed: int = 0, *,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:  # fmt: skip
        teacher.require_statistics("cmi")
        self.teacher, self._autocast, self.device = teacher, autocast, teacher.device
        self.config = c = config or CmiConfig()
        self._rng = torch.Generator().manual_seed(seed)
        self.generator = build_decoder(teacher.spec.shape, self._rng, c.latent_dim, c.ngf).to(
            self.device
        )
        inputs = [name + INPUT_SUFFIX for name in teacher.layers]
        self._observe = partial(forward_pair, teacher, autocast=autocast, features=inputs)
        with torch.no_grad():  # a pass of the teacher shows how wide its features are
            width = self._features(torch.zeros(1, *teacher.spec.shape, device=self.device)).shape[1]
        self.head = drawn(lambda: _head(width, c.cr_dim), self._rng).to(self.device)
        self.head_optimizer = torch.optim.Adam(self.head.parameters(), c.lr_g, betas=BETAS)
        self.bank = ImageBank(c.capacity, teacher.spec, teacher.num_classes, seed, self.device)
        self.round = self.images_made = self.teacher_images = 0

    def update(self, student: nn.Module) -> Metrics:
        """One round (Algorithm 1); metrics are those of the batch that is kept."""
        config, count = self.config, self.config.synthesis_batch_size
        objective = (
            Term("statistics", terms.statistics, config.bn)
            + Term("cross_entropy", terms.cross_entropy, config.oh)
            + Term("adversarial", terms.decision_adversarial, config.adv)
        )
        reset_all(self.generator, self._rng, std=0.02)
        latents = gaussian(count, config.latent_dim, self._rng, self.device).requires_grad_()
        targets = random_targets(count, self.teacher.num_classes, self._rng, self.device)
        cached = self._recall()
        free = [*self.generator.parameters(), latents]
        optimizer = torch.optim.Adam(free, config.lr_g, betas=BETAS)
        best: dict[str, Tensor] = {}
        for _ in range(config.g_steps):
            with self._autocast():
                images = self.generator(latents).float()
            local_view, global_view = self._views(images)
            trace, student_logits = self._observe(global_view, student, statistics=True)
            loss, parts = objective(Evidence(global_view, targets, trace, student_logits))
            pairs = [(self._features(local_view), spatial_means(trace.features.values())), *cached]
            local, whole = (self.head(torch.cat(side)) for side in zip(*pairs, strict=True))
            contrastive = instance_discrimination(
                local, whole, temperature=config.cr_T, current=count
            )
            loss = loss + config.cr * contrastive
            optimizer.zero_grad(set_to_none=True)
            self.head_optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            self.head_optimizer.step()
            # The images precede the step: the loss is theirs.
            parts |= {"contrastive": contrastive, "loss": loss, "images": images}
            best = keep_best(best, parts)
        # Rounded to 8 bits, labelled by the teacher as they are then, and banked.
        self.bank.add(
            *quantize_and_label(self.teacher, best.pop("images"), self._autocast), targets
        )
        self.round += 1
        self.images_made += count
        self.teacher_images += count * (2 * config.g_steps + 1)
        return {f"synthesis/{name}": value for name, value in best.items()}

    def sample(self, count: int) -> Batch:
        """``count`` images of the bank; before the first round, of the untrained generator."""
        if self.round:
            return self.bank.sample(count)
        latents = gaussian(max(2, count), self.config.latent_dim, self._rng, self.device)
        with torch.no_grad(), self._autocast():
            images = self.generator(latents).float()[:count]
        self.images_made += count
        return Batch(images)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the round's own Adam and latents, which are new every round; copies."""
        return pack_state(self, _PARTS, _STATE)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``, bit-identical."""
        unpack_state(self, state, _PARTS, _STATE)

    def _views(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """A part of each image, enlarged, and the whole, shifted; both mirrored or not."""
        local = crop(images, SCALE, self._rng)
        whole = padded_crop(images, round(PADDING * max(images.shape[2:])), self._rng)
        return flip(local, 0.5, self._rng), flip(whole, 0.5, self._rng)

    def _features(self, images: Tensor) -> Tensor:
        trace, _ = self._observe(images)
        return spatial_means(trace.features.values())

    @torch.no_grad()
    def _recall(self) -> list[list[Tensor]]:
        """Local and global features of earlier images, part by part; kept for the whole round."""
        c, count = self.config, min(self.config.cr_negatives, len(self.bank))
        parts = torch.split(self.bank.sample(count).images, c.synthesis_batch_size) if count else ()
        self.teacher_images += 2 * count
        return [[self._features(view) for view in self._views(part)] for part in parts]


def _head(width: int, dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, dim), nn.ReLU(), nn.Linear(dim, dim))
