"""Both networks asked about the same images, with what a kind of knowledge looks at inside."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.distillation.knowledge.answers import Answers
from dfkd.distillation.knowledge.kinds import Kind
from dfkd.distillation.pairing import (
    Pairs,
    check_averaged,
    checked_pairs,
    embedding_layer,
    pair_layers,
)
from dfkd.errors import DfkdError
from dfkd.losses.attention import logit_gradients
from dfkd.networks.foreign import TRIAL, calling
from dfkd.networks.layers import classifier, last_map, named_layers, open_features, unwrap
from dfkd.networks.modes import eval_mode, without_cudnn_rnn
from dfkd.teacher import Teacher


class Asking:
    """Images and cached answers -> ``Answers``.

    Cached answers spare the teacher, unless something inside of it is wanted as well.

    Args:
        student: whose layers are looked at; ``network`` is what is called (a wrapper of it).
        kinds: what will be looked at.
        temperature: handed on in the answers; may change between two calls.
        pairs: (student's layer, teacher's layer) to compare, in any order; found by size when left
            out.
        autocast: context of both forward passes; logits come out as float32.

    Raises:
        DfkdError: the networks have no feature maps of one size, or no linear classifier of an
            averaged map.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: nn.Module,
        network: nn.Module,
        kinds: Iterable[Kind],
        temperature: float,
        pairs: Pairs = (),
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.teacher, self.network, self.temperature = teacher, network, temperature
        self._student, self._autocast = student, autocast
        self._layers = named_layers(student)
        kinds = tuple(kinds)
        self._gradients = any(kind.gradients for kind in kinds)
        grey = torch.full((2, *teacher.spec.shape), 0.5, device=teacher.device)
        grey = teacher.spec.normalize(grey)
        self._pairs: Pairs = ()
        # What torch.compile made does not see hooks that are opened later.
        networks = (student, unwrap(teacher.network))
        looking = [kind for kind in kinds if kind.features]
        if looking:
            vectors = all(kind.vectors for kind in looking)
            classes = teacher.num_classes if vectors else None
            found = pairs or pair_layers(*networks, grey, classes)
            self._pairs = checked_pairs(found, *networks, grey, vectors)
        elif pairs:
            raise DfkdError(
                "--pair names layers to compare, and the knowledge compares none: add one that "
                "does, such as hint or at (see dfkd knowledge)"
            )
        self._heads: list[Any] = []
        # Names in the student and in the teacher.
        self._last: list[str] = []
        self._embeddings: list[str] = []
        for network, whose in zip(networks, ("student", "teacher"), strict=True):
            if any(kind.heads for kind in kinds):
                head, last = classifier(network, teacher.num_classes), last_map(network, grey)
                check_averaged(network, head, last, grey, whose)
                self._heads.append(named_layers(network)[head])
                self._last.append(last)
            if any(kind.embeddings for kind in kinds):
                self._embeddings.append(embedding_layer(network, teacher.num_classes, grey))
        self._looked_at = [self._names(side) for side in (0, 1)]

    def _names(self, side: int) -> list[str]:
        """Layers of the student (0) or of the teacher (1), none of them twice."""
        names = [pair[side] for pair in self._pairs]
        names += [*self._last[side : side + 1], *self._embeddings[side : side + 1]]
        return list(dict.fromkeys(names))

    @property
    def compared(self) -> Pairs:
        """(student's layer, teacher's layer) of all that is looked at inside, each pair once.

        Those of the features come first, large maps before small ones.
        """
        ends = [(sides[0], sides[1]) for sides in (self._last, self._embeddings) if sides]
        return tuple(dict.fromkeys([*self._pairs, *ends]))

    @torch.no_grad()
    def example(self) -> Answers:
        """Answers to two grey images: the shapes of what a learnt loss will see."""
        grey = torch.full((2, *self.teacher.spec.shape), 0.5, device=self.teacher.device)
        # In train mode the norms would take the grey images into account.
        recurrent = without_cudnn_rnn(self._student.modules())
        with eval_mode(self._student), recurrent, torch.enable_grad():
            return self(grey)

    def __call__(
        self, images: Tensor, cached: Tensor | None = None, targets: Tensor | None = None
    ) -> Answers:
        """The student's answers are part of its graph, the teacher's of none.

        Args:
            images: N x C x H x W in [0, 1].
            cached: the teacher's logits to them, N x classes.
            targets: the classes that they were made for, N.
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
            calling("the student", images.shape, known=TRIAL),
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
        ends: tuple[Tensor | None, ...] = (None,) * 2
        if self._embeddings:
            ends = (
                _embedding(captured[self._embeddings[0]]),
                _embedding(inside[self._embeddings[1]].detach()),
            )
        return Answers(
            student_logits,
            teacher_logits.detach(),
            self.temperature,
            targets,
            tuple(value.float() for value in student_features),
            tuple(value.detach().float() for value in teacher_features),
            tuple(value.float() for value in student_gradients),
            tuple(value.float() for value in teacher_gradients),
            *tops,
            *ends,
        )

    def asks_teacher(self, cached: Tensor | None) -> bool:
        """Whether the teacher will be shown images whose answers are ``cached`` (or are not)."""
        return cached is None or bool(self._looked_at[1])


def _embedding(values: Tensor) -> Tensor:
    """N x D in float32: maps are averaged over their places."""
    return values.float().mean((2, 3)) if values.ndim == 4 else values.flatten(1).float()
