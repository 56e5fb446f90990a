"""One forward pass of both networks, with what is asked of it."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.losses.attention import logit_gradients
from dfkd.networks.foreign import TRIAL, calling
from dfkd.networks.layers import named_layers, open_features
from dfkd.networks.modes import eval_mode, frozen, without_cudnn_rnn
from dfkd.networks.pairing import LayerPairs
from dfkd.tasks import Prediction
from dfkd.teacher.compared import SIDES, ComparedLayers, as_embedding, needed
from dfkd.teacher.layout import fitted, layout_of
from dfkd.teacher.outputs import Outputs, PairOutputs
from dfkd.teacher.teacher import Teacher

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
        self._looked_at = ComparedLayers(teacher, self._parts, student, pairs, vectors)
        self._layers = {} if student is None else named_layers(student)
        of_student, of_teacher = (self._looked_at.names(side) for side in (0, 1))
        self._names = [of_student, list(dict.fromkeys([*of_teacher, *self._named]))]

    @property
    def compared(self) -> LayerPairs:
        """(student's layer, teacher's layer) of all that is compared inside, each pair once."""
        return self._looked_at.ends

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
        if end := self._looked_at.embeddings[1]:
            teacher = teacher._replace(embedding=as_embedding(trace.features[end]))
        return self._outputs(inputs, teacher, answer, targets)

    @torch.no_grad()
    def example(self) -> PairOutputs:
        """Return the outputs to grey samples: the shapes that a learned loss will see."""
        student = needed(self._student)
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
        network = needed(self._network)
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
            [captured[name] for name, _ in self._looked_at.pairs],
            [inside[name] for _, name in self._looked_at.pairs],
        )
        # Before they become float32: that is a copy under autocast, which no logit depends on.
        gradients: list[tuple[Tensor, ...]] = [(), ()]
        if self._gradients:
            classes = self.teacher.task.labels(teacher, None)
            gradients[1] = logit_gradients(features[1], teacher.logits, classes, create_graph=False)
            gradients[0] = logit_gradients(features[0], student.logits, classes, create_graph=True)
        sides = [
            self._looked_at.outputs(side, prediction, values, features[side], gradients[side])
            for side, (prediction, values) in enumerate(((student, captured), (teacher, inside)))
        ]
        return self._outputs(inputs, sides[1], sides[0], targets)

    def _outputs(
        self, inputs: Tensor, teacher: Outputs, student: Outputs | None, targets: Any
    ) -> PairOutputs:
        normalized = self.teacher.spec.normalize(inputs) if self._normalized else None
        own = self.teacher
        return PairOutputs(
            inputs, teacher, student, targets, own.task, own.prior, self.temperature, normalized
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
