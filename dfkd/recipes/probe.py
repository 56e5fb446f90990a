"""What a teacher has to offer, and which methods that allows: as data, not as text."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from dfkd.distillation.adapters import build_losses
from dfkd.errors import DfkdError
from dfkd.evaluation.first_look import look_first
from dfkd.evaluation.holding_out import hold_out, unclocked
from dfkd.evaluation.invariances import Invariance, ask_invariances
from dfkd.losses.objective import parse
from dfkd.losses.registry import find_loss
from dfkd.networks import count_parameters
from dfkd.networks.layers import classifier, feature_maps, unwrap
from dfkd.networks.surroundings import own_surroundings
from dfkd.recipes.method_row import MethodRow
from dfkd.recipes.methods import METHODS
from dfkd.recipes.named import check_gradient
from dfkd.teacher import Teacher
from dfkd.teacher.folding import fold
from dfkd.teacher.forward import PairedForward
from dfkd.teacher.given import require_teacher
from dfkd.teacher.patches import patches_of
from dfkd.teacher.priors import corrects, name_of, suggestion, told_of
from dfkd.teacher.spec import ImageSpec

_ANSWERS = "needs only the teacher's answers"


@dataclass(frozen=True)
class StatisticsLayer:
    """A layer that remembers mean and variance of its input.

    ``updated`` is false where they are still 0 and 1: no data has ever passed. ``unfolded``
    says why it cannot be folded into a convolution (``dfkd.teacher.folding``), "" where it can.
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
        prior: what images are compared with, or what could be, as a line.
        fingerprint: SHA-256 of its state.
        methods: advice on each, the default first.
        invariances: which changes of an image leave its class as it is, where that was asked.
        findings: what is out of the ordinary, a line each.
    """

    network: str
    parameters: int
    spec: ImageSpec
    class_names: tuple[str, ...]
    layers: tuple[StatisticsLayer, ...]
    prior: str
    fingerprint: str
    methods: tuple[MethodAdvice, ...]
    invariances: tuple[Invariance, ...] = ()
    findings: tuple[str, ...] = ()

    def advice(self, method: str) -> MethodAdvice:
        """Return the advice on one method; ``KeyError`` for one that is not known."""
        return {advice.name: advice for advice in self.methods}[method]


@own_surroundings()
def probe(teacher: Teacher, *, invariances: bool = False) -> Probe:
    """Look at ``teacher`` without training or changing anything.

    Args:
        teacher: frozen.
        invariances: also ask it which changes of an image leave its class as it is; takes some
            seconds, and a minute at 224 x 224.
    """
    require_teacher(teacher)
    reasons = fold(teacher).reasons
    layers = tuple(_describe(name, layer, reasons[name]) for name, layer in teacher.layers.items())
    return Probe(
        network=type(teacher.network).__name__,
        parameters=count_parameters(teacher.network),
        spec=teacher.spec,
        class_names=teacher.class_names,
        layers=layers,
        prior=_prior_line(teacher),
        fingerprint=teacher.fingerprint(),
        methods=_advise(teacher, layers),
        invariances=_ask(teacher) if invariances else (),
        findings=look_first(teacher),
    )


def _prior_line(teacher: Teacher) -> str:
    """``NAME: what it is``, or which one fits where there is none."""
    if not teacher.remembers and not teacher.prior_note:
        return suggestion(unwrap(teacher.network))
    return f"{name_of(teacher.prior)}: {told_of(teacher.prior)}"


def _ask(teacher: Teacher) -> tuple[Invariance, ...]:
    held_out = hold_out(teacher, unclocked(teacher.spec))
    return tuple(ask_invariances(teacher, held_out).values())


def _describe(name: str, layer: nn.Module, unfolded: str) -> StatisticsLayer:
    stored: Any = layer
    mean, var = (getattr(stored, name, None) for name in ("running_mean", "running_var"))
    if mean is None or var is None:  # what is remembered of it lies elsewhere: in the prior
        return StatisticsLayer(name, type(layer).__name__, 0, True, unfolded)
    updated = bool((mean != 0).any()) or bool((var != 1).any())
    return StatisticsLayer(name, type(layer).__name__, mean.numel(), updated, unfolded)


def _advise(teacher: Teacher, layers: tuple[StatisticsLayer, ...]) -> tuple[MethodAdvice, ...]:
    remembered: int | bool = sum(layer.updated for layer in layers)
    if teacher.prior_note:
        remembered, found = teacher.remembers, told_of(teacher.prior)
    elif remembered:
        found = f"{remembered} layers remember statistics of the training data"
    elif layers:
        found = "its statistics are still 0 and 1: no data ever passed (are weights missing?)"
    else:
        found = "no layer stores batch-norm statistics"
    draws = "drawings stay uncorrected"
    if teacher.differentiable:
        by = "them" if remembered and corrects(teacher.prior) else "the student's disagreement"
        draws = f"drawings will be corrected by {by}"
    advice = []
    for name, method in METHODS.items():
        needs = [found] if method.statistics else []
        possible = bool(remembered) or not method.statistics
        try:
            check_gradient(name, teacher)
            needs += _required_layers(teacher, method) if possible else []
        except DfkdError as lacking:
            possible, needs = False, [str(lacking)]
        if name == "redraw":
            needs = [f"{found}: {draws}"]
        advice.append(MethodAdvice(name, possible, "; ".join(needs) or _ANSWERS))
    return tuple(advice)


def _required_layers(teacher: Teacher, method: MethodRow) -> list[str]:
    """What a method and the knowledge that it starts from look at beside answers and statistics.

    Raises:
        DfkdError: the teacher lacks it: a copy of it could not be its student.
    """
    network, needs = teacher.network, []
    if method.patches:
        count = patches_of(teacher)[0].patches
        needs.append(f"its {count} patches can be left out one by one")
    if method.classifier:
        head = classifier(network, teacher.task.widths)
        needs.append(f"looks at its linear classifier, {head}")
    rows = {name: find_loss(name) for name in parse(method.learner.knowledge)}
    vectors = all(row.vectors for row in rows.values() if row.features)
    paths = {path for row in rows.values() for path in row.needs}
    build_losses(rows, PairedForward(teacher, paths, network, vectors=vectors).example, 0)
    if any(row.features for row in rows.values()):
        example = teacher.spec.example(2, teacher.device)
        shapes = feature_maps(network, teacher.spec.normalize(example)).values()
        sizes = dict.fromkeys("x".join(map(str, shape[2:])) for shape in shapes)
        needs.append(f"the student needs feature maps of one of its sizes, {', '.join(sizes)}")
    return needs
