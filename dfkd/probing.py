"""What a teacher has to offer, and which methods that allows: as data, not as text."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from dfkd.catalogue import METHODS
from dfkd.errors import DfkdError
from dfkd.features import classifier
from dfkd.folding import fold
from dfkd.networks import count_parameters
from dfkd.spec import ImageSpec
from dfkd.teacher import Teacher


@dataclass(frozen=True)
class StatisticsLayer:
    """A layer that remembers mean and variance of its input.

    ``updated`` is false where they are still 0 and 1: no data has ever passed. ``unfolded``
    says why it cannot be folded into a convolution (``dfkd.folding``), "" where it can.
    """

    name: str
    kind: str
    channels: int
    updated: bool
    unfolded: str


@dataclass(frozen=True)
class MethodAdvice:
    """Whether a method can work on a teacher, and why (not)."""

    name: str
    possible: bool
    reason: str


@dataclass(frozen=True)
class Probe:
    """Facts about a teacher.

    Attributes:
        network: the class of the module.
        parameters: learnable scalars.
        spec: the images it takes.
        class_names: one a class.
        layers: those with statistics, in the order of registration.
        fingerprint: SHA-256 of its state.
        methods: advice on each, the default first.
    """

    network: str
    parameters: int
    spec: ImageSpec
    class_names: tuple[str, ...]
    layers: tuple[StatisticsLayer, ...]
    fingerprint: str
    methods: tuple[MethodAdvice, ...]

    def advice(self, method: str) -> MethodAdvice:
        """The advice on one method; ``KeyError`` for one that is not known."""
        return {advice.name: advice for advice in self.methods}[method]


def probe(teacher: Teacher) -> Probe:
    """Look at ``teacher`` without training or changing anything."""
    reasons = fold(teacher).reasons
    layers = tuple(_describe(name, layer, reasons[name]) for name, layer in teacher.layers.items())
    return Probe(
        network=type(teacher.network).__name__,
        parameters=count_parameters(teacher.network),
        spec=teacher.spec,
        class_names=teacher.class_names,
        layers=layers,
        fingerprint=teacher.fingerprint(),
        methods=_advise(teacher, layers),
    )


def _describe(name: str, layer: nn.Module, unfolded: str) -> StatisticsLayer:
    stored: Any = layer
    mean, var = stored.running_mean, stored.running_var
    updated = bool((mean != 0).any()) or bool((var != 1).any())
    return StatisticsLayer(name, type(layer).__name__, mean.numel(), updated, unfolded)


def _advise(teacher: Teacher, layers: tuple[StatisticsLayer, ...]) -> tuple[MethodAdvice, ...]:
    remembered = sum(layer.updated for layer in layers)
    if remembered:
        found = f"{remembered} layers remember statistics of the training data"
    elif layers:
        found = "its statistics are still 0 and 1: no data ever passed (are weights missing?)"
    else:
        found = "no layer stores batch-norm statistics"
    try:
        lacking = ""
        classifier(teacher.network, teacher.num_classes)
    except DfkdError as error:
        lacking = str(error)
    draws = "drawings will be corrected by them" if remembered else "drawings stay uncorrected"
    answers = "needs only the teacher's answers"
    special = {"default": f"{found}: {draws}"}
    advice = []
    for name, method in METHODS.items():
        if method.statistics:
            advice.append(MethodAdvice(name, remembered > 0, found))
        elif method.classifier and lacking:
            advice.append(MethodAdvice(name, False, lacking))
        else:
            advice.append(MethodAdvice(name, True, special.get(name, answers)))
    return tuple(advice)
