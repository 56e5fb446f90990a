"""``dfkd.evaluate``: models side by side on real labelled images."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from dfkd.datasets import as_images, check_labels, relabelled
from dfkd.errors import DfkdError
from dfkd.evaluation.measurement import Measurement, measure_networks
from dfkd.evaluation.robustness import check_epsilon, robustness, select_evenly
from dfkd.networks.early_exits import EarlyExits
from dfkd.networks.surroundings import own_surroundings
from dfkd.tasks import Task
from dfkd.tasks.orders import line_up
from dfkd.teacher import Teacher
from dfkd.teacher.given import as_teachers, require_teacher
from dfkd.teacher.spec import ImageSpec


@dataclass(frozen=True)
class EvaluationRow(Measurement):
    """One network, or one exit of it, on one data set.

    Attributes:
        share_of_compute: an exit's part of its network's operations; None without exits.
        robust_accuracy: accuracy under attack, in [0, 1]; None where none was made.
    """

    share_of_compute: float | None = None
    robust_accuracy: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the row as a table takes it, without what was not measured."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@own_surroundings()
def evaluate(
    models: Teacher | Sequence[Teacher] | Mapping[str, Teacher],
    data: Any,
    *,
    epsilon: float | None = None,
) -> list[EvaluationRow]:
    """Measure models side by side on real images, and of early exits each one.

    Args:
        models: networks with the images that they take; their classes are matched by name.
        data: labelled images, in any form that ``dfkd.datasets.as_images`` takes; labels count as
            the first model does.
        epsilon: also measure the accuracy under attack when every value in [0, 1] may change by
            so much.

    Returns:
        A row a network, in their order, its exits after it.

    Raises:
        DfkdError: no model, other classes or images than the first model's, data that fits none.
    """
    for one in models.values() if isinstance(models, Mapping) else as_teachers(models):
        require_teacher(one)
    if isinstance(models, Mapping):
        return evaluate_named([*models.items()], data, epsilon)
    several = enumerate(as_teachers(models), 1)
    return evaluate_named([(f"model {i}", one) for i, one in several], data, epsilon)


def evaluate_named(
    models: Sequence[tuple[str, Teacher]], data: Any, epsilon: float | None
) -> list[EvaluationRow]:
    """Measure models by names of which two may be alike; see ``evaluate``."""
    if not models:
        raise DfkdError("name at least one MODEL to evaluate")
    check_epsilon(epsilon, measured=True)
    for _, one in models if epsilon is not None else ():
        one.require_gradient("accuracy under attack")
    lineup = line_up([(name, one.class_names) for name, one in models])
    images = as_images(data, models[0][1].spec, "data")
    for _, one in models:
        check_labels(images, one.num_classes, one.task.rows)
    parts: list[tuple[str, nn.Module, ImageSpec]] = []
    columns, families = [], []
    tasks: list[Task | None] = []
    for (name, model), own in zip(models, lineup.columns, strict=True):
        network = model.network
        exits = network.exits() if isinstance(network, EarlyExits) else {}
        families += [len(parts)] * (1 + len(exits)) if exits else [-1]
        parts.append((name, network, model.spec))
        parts += [(f"{name}, {exit}", part, model.spec) for exit, part in exits.items()]
        if own is not None and model.task.rows > 1:
            raise DfkdError(f"{name} has its labels in another order than {models[0][0]}")
        columns += [own] * (1 + len(exits))
        tasks += [model.task] + [model.student_task] * len(exits)
    measured = measure_networks(parts, images, columns, tasks)
    attacked: list[float | None] = [None] * len(parts)
    if epsilon is not None:
        few = select_evenly(images)
        attacked = [
            robustness([part], relabelled(few, own), epsilon, [task])[0][0]
            for part, own, task in zip(parts, columns, tasks, strict=True)
        ]
    return [
        EvaluationRow(
            **vars(row),
            share_of_compute=row.flops / measured[family].flops if family >= 0 else None,
            robust_accuracy=robust,
        )
        for row, family, robust in zip(measured, families, attacked, strict=True)
    ]
