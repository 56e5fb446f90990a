"""Of what ``dfkd.visualize`` shows, the pictures of classes: finished, and on their way."""

from collections.abc import Mapping, Sequence

from dfkd.errors import DfkdError
from dfkd.report.units import percent
from dfkd.runs.callbacks import Callback
from dfkd.runs.exhibit import Exhibit, Group, Pulse
from dfkd.runs.inversion_order import Order
from dfkd.runs.inversion_run import Inversion
from dfkd.runs.options import Compute, Output
from dfkd.runs.visualization_order import VisualizationOrder
from dfkd.synthesis.evolution import Evolution
from dfkd.synthesis.layer_outputs import spread_evenly
from dfkd.teacher import Teacher

STILLS = 8
"""Frames of a film that a page shows."""


class _Passed(Callback):
    """Hands an inversion's progress on."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse

    def on_log(
        self, progress: float, step: int, metrics: Mapping[str, float], class_counts: Sequence[int]
    ) -> None:
        """Hand it on."""
        self._pulse(progress, step)


def _inverted(
    teacher: Teacher, order: VisualizationOrder, count: int, compute: Compute, pulse: Pulse
) -> Inversion:
    """Make pictures of the classes, followed on their way."""
    if not teacher.remembers:
        raise DfkdError(
            f"`what={order.what}` is made from batch-norm statistics, and this teacher stores "
            "none: `what=channels` and `what=reconstruction` need only its gradient"
        )
    moments = order.frames if order.what == "evolution" else 2
    classes = order.class_list(teacher)
    wanted = Order(classes, count, order.steps, None, order.seed)
    run = Inversion(
        teacher, wanted, compute, Output(), [_Passed(pulse)],
        evolution=Evolution(teacher.spec, moments, count),
    )  # fmt: skip
    if run.run().interrupted:
        raise KeyboardInterrupt
    return run


def show_classes(
    teacher: Teacher, order: VisualizationOrder, compute: Compute, pulse: Pulse
) -> Exhibit:
    """Make class impressions by DeepInversion, a group a class."""
    classes = order.class_list(teacher)
    run = _inverted(teacher, order, order.count * len(classes), compute, pulse)
    images, own = run.images.cpu(), run.confidences
    groups = []
    for place, index in enumerate(classes):
        rows = list(range(place, len(images), len(classes)))
        captions = [percent(own[row], 0) for row in rows]
        groups.append(Group(teacher.class_names[index], "", images[rows], captions))
    lead = (
        f"Pictures of {len(classes)} classes, drawn from the weights alone; the teacher recognises "
        f"{percent(run.metrics.own_top1)} of them. Under each, its confidence."
    )
    return Exhibit("Class impressions", lead, groups, facts={"own_top1": run.metrics.own_top1})


def show_evolution(
    teacher: Teacher, order: VisualizationOrder, compute: Compute, pulse: Pulse
) -> Exhibit:
    """Make a picture a class, and show how each came to be."""
    classes = order.class_list(teacher)
    run = _inverted(teacher, order, len(classes), compute, pulse)
    frames = run.evolution.stacked()
    kept = spread_evenly(range(len(frames)), STILLS)
    shares = [percent(run.evolution.shares[i], 0) for i in kept]
    groups = [
        Group(teacher.class_names[index], "", teacher.spec.decode(frames[kept, place]), shares)
        for place, index in enumerate(classes[: frames.shape[1]])
    ]
    lead = (
        f"From noise to picture, in {len(frames)} frames; the teacher recognises "
        f"{percent(run.metrics.own_top1)} of the pictures."
    )
    facts = {"own_top1": run.metrics.own_top1, "frames": len(frames)}
    return Exhibit("How pictures come to be", lead, groups, frames, facts)
