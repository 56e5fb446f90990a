"""One forward pass of both networks, with what is asked of it."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.losses.attention import logit_gradients
from dfkd.networks.foreign import TRIAL, calling
from dfkd.networks.layers import classifier, last_map, named_layers, open_features, unwrap
from dfkd.networks.modes import eval_mode, frozen, without_cudnn_rnn
from dfkd.networks.pairing import (
    LayerPairs,
    check_averaged,
    checked_pairs,
    embedding_layer,
    pair_layers,
)
from dfkd.tasks import Prediction
from dfkd.tasks.classification import both_rows
from dfkd.teacher.layout import fitted, layout_of
from dfkd.teacher.margins import norm_margins
from dfkd.teacher.outputs import Outputs, PairOutputs
from dfkd.teacher.teacher import Teacher

SIDES = ("student", "teacher")
INSIDE = {"features", "gradients", "last_map", "head", "embedding"}
"""Parts of ``Outputs`` that are no answer: whoever needs them looks into the network."""


class PairedForward:
    """Samples -> ``PairOutputs``.

    Called with a student that makers ask, it gives gradients to the samples and none to the
    student; ``learn`` is the student's own pass. Cached answers spare the teacher, unless
    something inside of it is needed as well.

    Args:
        teacher: frozen.
        needs: paths of ``PairOutputs`` that losses take (``Objective.needs``).
        student: whose layers are compared; makers, which compare none, leave it out.
        network: what is called in the student's place: a module that holds it.
        pairs: (student's layer, teacher's layer) to compare, in any order; found by size when left
            out.
        vectors: whether every loss of features takes vectors as well as maps.
        layers: of the teacher, whose outputs a maker takes by name.

    Attributes:
        temperature: handed on in the outputs; may change between two calls.

    Raises:
        DfkdError: the networks have no feature maps of one size, no linear classifier of an
            averaged map, or ``pairs`` name layers that nothing compares.
    """

    def __init__(
        self,
        teacher: Teacher,
        needs: Collection[str],
        student: nn.Module | None = None,
        *,
        network: nn.Module | None = None,
        pairs: LayerPairs = (),
        vectors: bool = False,
        layers: Sequence[str] = (),
    ) -> None:
        self.teacher, self.temperature = teacher, 1.0
        self._named = list(layers)
        self._student = student
        self._network = student if network is None else network
        self._parts = [{p.partition(".")[2] for p in needs if p.startswith(s)} for s in SIDES]
        if inside := sorted(self._parts[1] & INSIDE):
            teacher.require_inside(f"{' and '.join(inside)} of the teacher are compared")
        self._gradients = "gradients" in self._parts[0]
        if self._gradients and not teacher.differentiable:
            raise DfkdError(
                "the knowledge compares gradients, and the teacher's answers carry none to the "
                "image: take no_grad() or detach() out of its forward, or leave grad_cam away"
            )
        self._normalized = "normalized" in needs
        networks = (student, unwrap(teacher.network))
        example = teacher.spec.normalize(teacher.spec.example(TRIAL, teacher.device))
        self._pairs: LayerPairs = ()
        if "features" in self._parts[0]:
            self._pairs = self._paired(networks, pairs, example, vectors)
        elif pairs:
            raise DfkdError(
                "`pairs` names layers to compare, and the knowledge compares none: add one that "
                "does, such as hint or at (see dfkd knowledge)"
            )
        self._margins: tuple[Tensor | None, ...] = ()
        if "margins" in self._parts[1]:
            self._margins = norm_margins(networks[1], [pair[1] for pair in self._pairs])
        # Names of layers and the classifiers' modules, the student's and the teacher's.
        self._heads: list[Any] = [None, None]
        self._last: list[str | None] = [None, None]
        self._embeddings: list[str | None] = [None, None]
        for side, one in enumerate(networks):
            if {"head", "last_map"} & self._parts[side]:
                one = self._present(one)
                check_single_row(teacher)
                head, last = classifier(one, teacher.task.widths), last_map(one, example)
                check_averaged(one, head, last, example, SIDES[side])
                self._heads[side], self._last[side] = named_layers(one)[head], last
            if "embedding" in self._parts[side]:
                layer = embedding_layer(self._present(one), teacher.task.widths, example)
                self._embeddings[side] = layer
        self._layers = {} if student is None else named_layers(student)
        self._names = [self._hooked(side) for side in (0, 1)]

    def _present(self, network: nn.Module | None) -> nn.Module:
        if network is None:
            raise DfkdError("a loss of the student's layers needs the student beforehand")
        return network

    def _paired(
        self,
        networks: tuple[nn.Module | None, nn.Module],
        pairs: LayerPairs,
        example: Tensor,
        vectors: bool,
    ) -> LayerPairs:
        both = (self._present(networks[0]), networks[1])
        widths = self.teacher.task.widths if vectors else None
        found = pairs or pair_layers(*both, example, widths)
        return checked_pairs(found, *both, example, vectors)

    def _hooked(self, side: int) -> list[str]:
        """Layers of the student (0) or of the teacher (1), none of them twice."""
        names = [pair[side] for pair in self._pairs]
        names += filter(None, (self._last[side], self._embeddings[side]))
        names += self._named if side else []
        return list(dict.fromkeys(names))

    @property
    def compared(self) -> LayerPairs:
        """(student's layer, teacher's layer) of all that is compared inside, each pair once.

        Those of the features come first, large maps before small ones.
        """
        ends = [(s[0], s[1]) for s in (self._last, self._embeddings) if s[0] and s[1]]
        return tuple(dict.fromkeys([*self._pairs, *ends]))

    def asks_teacher(self, cached: Prediction | None) -> bool:
        """Return whether the teacher is shown samples whose answers are ``cached`` (or not)."""
        return cached is None or bool(self._names[1])

    def __call__(
        self,
        inputs: Tensor,
        student: nn.Module | None = None,
        *,
        targets: Any = None,
        training: bool = False,
    ) -> PairOutputs:
        """Show both networks a maker's samples; gradients lead to the samples alone.

        Args:
            inputs: samples of the teacher's space.
            student: comes out as it went in, bit by bit; None: only the teacher is asked.
            targets: what the samples are made for.
            training: the student's mode meanwhile.
        """
        with self.teacher.autocast():
            trace = self.teacher.trace(
                inputs, statistics="statistics" in self._parts[1], features=self._names[1]
            )
            answer = None
            if student is not None:
                with frozen(student, training=training):
                    answer = Outputs(student_prediction(student, self.teacher, inputs))
        named = {name: trace.features[name] for name in self._named}
        teacher = Outputs(trace.prediction.float(), trace.statistics, layers=named)
        if end := self._embeddings[1]:
            teacher = teacher._replace(embedding=_embedding(trace.features[end]))
        return self._outputs(inputs, teacher, answer, targets)

    @torch.no_grad()
    def example(self) -> PairOutputs:
        """Return the outputs to grey samples: the shapes that a learned loss will see."""
        student = self._present(self._student)
        samples = self.teacher.spec.example(TRIAL, self.teacher.device)
        # In train mode the norms would take the grey images into account.
        recurrent = without_cudnn_rnn(student.modules())
        with eval_mode(student), recurrent, torch.enable_grad():
            return self.learn(samples)

    def learn(
        self, inputs: Tensor, cached: Prediction | None = None, targets: Any = None
    ) -> PairOutputs:
        """Let the student answer in its own mode and graph; the teacher's side has none.

        Args:
            inputs: samples of the teacher's space.
            cached: the teacher's answers to them.
            targets: what they were made for.
        """
        network = self._present(self._network)
        if self._gradients:
            inputs = inputs.detach().requires_grad_()  # or a frozen network would have no graph
        inside: dict[str, Tensor] = {}
        with self.teacher.autocast(), torch.set_grad_enabled(self._gradients):
            if self.asks_teacher(cached):
                trace = self.teacher.trace(inputs, features=self._names[1])
                # Whose rows count how much is the batch's to say, not the teacher's.
                weight = None if cached is None else cached.weight
                cached, inside = trace.prediction, trace.features
                cached = cached if weight is None else cached._replace(weight=weight)
            assert cached is not None
            teacher = cached.float()
        with (
            self.teacher.autocast(),
            open_features(self._layers, self._names[0], "student") as captured,
            calling("the student", inputs.shape, known=TRIAL),
        ):
            raw = network(self.teacher.spec.normalize(inputs))
            student = self.teacher.student_task.read(raw).float()
        features = (
            [captured[name] for name, _ in self._pairs],
            [inside[name] for _, name in self._pairs],
        )
        # Before they become float32: that is a copy under autocast, which no logit depends on.
        gradients: list[tuple[Tensor, ...]] = [(), ()]
        if self._gradients:
            classes = self.teacher.task.labels(teacher, None)
            gradients[1] = logit_gradients(features[1], teacher.logits, classes, create_graph=False)
            gradients[0] = logit_gradients(features[0], student.logits, classes, create_graph=True)
        sides = [
            self._side(side, prediction, values, features[side], gradients[side])
            for side, (prediction, values) in enumerate(((student, captured), (teacher, inside)))
        ]
        return self._outputs(inputs, sides[1], sides[0], targets)

    def _side(
        self,
        side: int,
        prediction: Prediction,
        values: dict[str, Tensor],
        features: list[Tensor],
        gradients: tuple[Tensor, ...],
    ) -> Outputs:
        if side == 1:
            prediction = prediction.detached()
            features = [value.detach() for value in features]
            values = {name: value.detach() for name, value in values.items()}
        last, end, head = self._last[side], self._embeddings[side], self._heads[side]
        return Outputs(
            prediction,
            features=tuple(value.float() for value in features),
            margins=self._margins if side else (),
            gradients=tuple(value.float() for value in gradients),
            last_map=values[last].float() if last else None,
            head=both_rows(head.weight) if head is not None else None,
            embedding=_embedding(values[end]) if end else None,
        )

    def _outputs(
        self, inputs: Tensor, teacher: Outputs, student: Outputs | None, targets: Any
    ) -> PairOutputs:
        normalized = self.teacher.spec.normalize(inputs) if self._normalized else None
        own = self.teacher
        return PairOutputs(
            inputs, teacher, student, targets, own.task, own.prior, self.temperature, normalized
        )


def check_single_row(teacher: Teacher) -> None:
    """Raise where several rows of an answer share one classifier: no class is *the* class."""
    if teacher.task.rows > 1:
        raise DfkdError(
            "class activation maps are of the one class that an image has, and this teacher's "
            "labels hold side by side: use `knowledge=kd`, or grad_cam for its maps"
        )


def student_prediction(student: nn.Module, teacher: Teacher, inputs: Tensor) -> Prediction:
    """Return a student's answer to samples, in float32, in the mode that it is in.

    Args:
        student: what to call.
        teacher: whose space and task it shares.
        inputs: samples of that space.

    Raises:
        DfkdError: it fails; in one line.
    """
    with calling("the student", inputs.shape, known=TRIAL):
        raw = student(fitted(teacher.spec.normalize(inputs), layout_of(student)))
        return teacher.student_task.read(raw).float()


def _embedding(values: Tensor) -> Tensor:
    """N x D in float32: maps are averaged over their places."""
    return values.float().mean((2, 3)) if values.ndim == 4 else values.flatten(1).float()
