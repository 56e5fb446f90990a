"""Both networks asked about the same images, with what a kind of knowledge looks at inside."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.features import (
    classifier,
    last_map,
    named_layers,
    open_features,
    pair_layers,
)
from dfkd.knowledge import Answers, Kind
from dfkd.losses.attention import logit_gradients
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
        grey = torch.full((2, *teacher.spec.shape), 0.5, device=teacher.device)
        grey = teacher.spec.normalize(grey)
        if any(kind.features for kind in kinds):
            self._pairs = pair_layers(student, teacher.network, grey)
        self._heads: list[Any] = []
        self._last: list[str] = []  # names of the last maps, the student's and the teacher's
        if any(kind.heads for kind in kinds):
            for part in (student, teacher.network):
                self._heads.append(named_layers(part)[classifier(part, teacher.num_classes)])
                self._last.append(last_map(part, grey))
        # Layers of the student and of the teacher, none of them twice.
        self._looked_at = [
            list(
                dict.fromkeys([*(pair[side] for pair in self._pairs), *self._last[side : side + 1]])
            )
            for side in (0, 1)
        ]

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
        with self._autocast(), torch.set_grad_enabled(self._gradients):
            inside: dict[str, Tensor] = {}
            if self.asks_teacher(cached):
                trace = self.teacher.trace(images, features=self._looked_at[1])
                cached, inside = trace.logits, trace.features
            assert cached is not None
            teacher_logits = cached.float()
            teacher_features = [inside[name] for name in theirs]
        with (
            self._autocast(),
            open_features(self._layers, self._looked_at[0], "student") as captured,
        ):
            student_logits = self.network(self.teacher.spec.normalize(images)).float()
        student_features = [captured[name] for name in mine]
        # Before they become float32: that is a copy under autocast, which no logit depends on.
        student_gradients: tuple[Tensor, ...] = ()
        teacher_gradients: tuple[Tensor, ...] = ()
        if self._gradients:
            classes = teacher_logits.argmax(1)
            teacher_gradients = logit_gradients(
                teacher_features, teacher_logits, classes, create_graph=False
            )
            student_gradients = logit_gradients(
                student_features, student_logits, classes, create_graph=True
            )
        tops: tuple[Tensor | None, ...] = (None,) * 4
        if self._heads:
            maps = (captured[self._last[0]].float(), inside[self._last[1]].detach().float())
            tops = (*maps, *(head.weight for head in self._heads))
        return Answers(
            student_logits,
            teacher_logits.detach(),
            self.temperature,
            tuple(value.float() for value in student_features),
            tuple(value.detach().float() for value in teacher_features),
            tuple(value.float() for value in student_gradients),
            tuple(value.float() for value in teacher_gradients),
            *tops,
        )

    def asks_teacher(self, cached: Tensor | None) -> bool:
        """Whether the teacher will be shown images whose answers are ``cached`` (or are not)."""
        return cached is None or bool(self._pairs or self._heads)
