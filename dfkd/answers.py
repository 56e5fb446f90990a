"""Both networks asked about the same images, with what a kind of knowledge looks at inside."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.features import classifier, named_layers, open_features, pair_layers
from dfkd.knowledge import Answers, Kind
from dfkd.teacher import Teacher


class Asking:
    """Images and cached answers -> ``Answers``.

    Cached answers spare the teacher, unless something inside of it is wanted as well.

    Args:
        student: whose layers are looked at; ``network`` is what is called (a wrapper of it).
        kinds: what will be looked at.
        autocast: context of both forward passes; logits come out as float32.

    Raises:
        DfkdError: the networks have no feature maps of one size, or no linear classifier.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: nn.Module,
        network: nn.Module,
        kinds: Iterable[Kind],
        temperature: float,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.teacher, self.network, self.temperature = teacher, network, temperature
        self._autocast, self._layers = autocast, named_layers(student)
        kinds = tuple(kinds)
        self._gradients = any(kind.gradients for kind in kinds)
        self._pairs: tuple[tuple[str, str], ...] = ()
        if any(kind.features for kind in kinds):
            grey = torch.full((2, *teacher.spec.shape), 0.5, device=teacher.device)
            self._pairs = pair_layers(student, teacher.network, teacher.spec.normalize(grey))
        self._heads: tuple[Any, Any] | None = None
        if any(kind.heads for kind in kinds):
            mine, theirs = (
                named_layers(part)[classifier(part, teacher.num_classes)]
                for part in (student, teacher.network)
            )
            self._heads = (mine, theirs)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(student's layer, teacher's layer) of the features, large maps first."""
        return self._pairs

    def __call__(self, images: Tensor, cached: Tensor | None = None) -> Answers:
        """The student's answers are part of its graph, the teacher's of none.

        Args:
            images: N x C x H x W in [0, 1].
            cached: the teacher's logits to them, N x classes.
        """
        mine, theirs = [pair[0] for pair in self._pairs], [pair[1] for pair in self._pairs]
        if self._gradients:
            images = images.detach().requires_grad_()  # or a frozen network would have no graph
        with self._autocast():
            teacher_features: tuple[Tensor, ...] = ()
            with torch.set_grad_enabled(self._gradients):
                if theirs:
                    trace = self.teacher.trace(images, features=theirs)
                    teacher_logits = trace.logits
                    teacher_features = tuple(trace.features[name] for name in theirs)
                else:
                    teacher_logits = self.teacher(images) if cached is None else cached
            with open_features(self._layers, mine, "student") as features:
                student_logits = self.network(self.teacher.spec.normalize(images))
        heads: tuple[Tensor | None, Tensor | None] = (None, None)
        if self._heads:
            heads = (self._heads[0].weight, self._heads[1].weight)
        return Answers(
            student_logits.float(),
            teacher_logits.float(),
            self.temperature,
            tuple(features[name].float() for name in mine),
            tuple(value.float() for value in teacher_features),
            *heads,
        )

    def asks_teacher(self, cached: Tensor | None) -> bool:
        """Whether the teacher will be shown images whose answers are ``cached`` (or are not)."""
        return cached is None or bool(self._pairs)
