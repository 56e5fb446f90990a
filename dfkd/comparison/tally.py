"""A comparison as data: its runs in their order, and what their figures say together.

Nothing here trains or writes. ``runs`` says what is to be done, ``tally`` what came of it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

from dfkd.comparison.variants import refuse_twice
from dfkd.errors import DfkdError

Record = Mapping[str, Any]


class RunKey(NamedTuple):
    """One method (or other variant) with one seed.

    ``folder`` is its directory within the comparison's.
    """

    method: str
    seed: int

    @property
    def folder(self) -> str:
        return f"{folder_name(self.method)}/seed_{self.seed}"


def folder_name(variant: str) -> str:
    """Return a name that any file system takes.

    >>> folder_name("kd + 250*at")
    'kd+250_at'
    """
    return re.sub(r"[^\w.+-]", "_", variant.replace(" ", ""))


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise unless there is a seed, and none twice."""
    if not seeds:
        raise DfkdError("`seeds` wants at least one number, such as 0 1 2")
    refuse_twice(tuple(seeds), "`seeds`")


def runs(methods: Iterable[str], seeds: Iterable[int]) -> list[RunKey]:
    """List the runs seed by seed: cut short, all methods are compared on the first seeds."""
    names = tuple(methods)
    return [RunKey(method, seed) for seed in seeds for method in names]


def tally(
    methods: Sequence[str],
    results: Mapping[RunKey, Record],
    refused: Mapping[RunKey, str],
    classes: int,
    limit: float | None = None,
) -> list[dict[str, Any]]:
    """Return a row a method: means and standard deviations over the seeds that are finished.

    Accuracies are those of the last iterate, in [0, 1]; ``seconds_to`` is when a method's mean
    accuracy first was at least the best final one of any other, None where it never was.

    Args:
        methods: in the order of the rows.
        results: ``result.json`` of every finished run.
        refused: why a run could not be done.
        classes: below 1.5 / ``classes`` an accuracy is flagged ``chance``.
        limit: seconds that a run may take; who takes 5 % more is flagged ``overran``, for an
            update that has begun is finished.
    """
    rows = [_row(method, results, refused, classes) for method in methods]
    for row in rows:
        finals = [other["accuracy"] for other in rows if other is not row and other["accuracy"]]
        best = max((final["mean"] for final in finals), default=None)
        reached = (p["seconds"] for p in row["curve"] if best is not None and p["accuracy"] >= best)
        row["seconds_to"] = next(reached, None)
        row["overran"] = bool(limit and row["seconds"] and row["seconds"] > 1.05 * limit)
    return rows


def _row(
    method: str, results: Mapping[RunKey, Record], refused: Mapping[RunKey, str], classes: int
) -> dict[str, Any]:
    done = {run.seed: result for run, result in results.items() if run.method == method}
    found = list(done.values())
    accuracy = spread([result["student_accuracy"] for result in found])
    reasons = dict.fromkeys(text for run, text in refused.items() if run.method == method)
    return {
        "method": method,
        "seeds": list(done),
        "refused": "; ".join(reasons) or None,
        "accuracy": accuracy,
        "teacher_accuracy": found[0]["teacher_accuracy"] if found else None,
        "share_of_teacher": spread(
            [
                result["student_accuracy"] / result["teacher_accuracy"]
                for result in found
                if result["teacher_accuracy"]
            ]
        ),
        "robust_accuracy": spread(
            [result["robust_accuracy"] for result in found if "robust_accuracy" in result]
        ),
        **{
            key: mean(result[key] for result in found) if found else None
            for key in ("images_synthesized", "teacher_forwards", "student_steps")
        },
        "seconds": _mean_ratio(found, "total", None),
        "synthesis_seconds": _mean_ratio(found, "synthesis", None),
        "distillation_seconds": _mean_ratio(found, "distillation", None),
        "seconds_per_step": _mean_ratio(found, "distillation", "student_steps"),
        "seconds_per_update": _mean_ratio(found, "synthesis", "synthesis_updates"),
        "synthesis_share": _share(found),
        "collapsed": [seed for seed, result in done.items() if result["collapsed"]],
        "chance": bool(accuracy and accuracy["mean"] < 1.5 / classes),
        "curve": mean_curve([result["curve"] for result in found]),
    }


def spread(values: Sequence[float]) -> dict[str, Any] | None:
    """Return mean and sample standard deviation (n - 1) with the values; of one, no std."""
    if not values:
        return None
    deviation = stdev(values) if len(values) > 1 else None
    return {"mean": mean(values), "std": deviation, "values": list(values)}


def _mean_ratio(found: Sequence[Record], seconds: str, per: str | None) -> float | None:
    """Average some seconds over runs, each by a count; None where a run has none to count."""
    if not found or (per and not all(result[per] for result in found)):
        return None
    return mean(float(result["seconds"][seconds]) / (result[per] if per else 1) for result in found)


def _share(found: Sequence[Record]) -> float | None:
    times = [result["seconds"] for result in found]
    if not times or not all(time["total"] for time in times):
        return None
    return mean(float(time["synthesis"]) / float(time["total"]) for time in times)


def mean_curve(curves: Sequence[Sequence[Record]]) -> list[dict[str, Any]]:
    """Average the seeds' curves point by point: seconds, steps, and accuracy with its std."""
    points = []
    for together in zip(*curves, strict=True):
        accuracy = spread([point["accuracy"] for point in together])
        points.append(
            {
                "seconds": mean(point["seconds"] for point in together),
                "steps": mean(point["steps"] for point in together),
                "accuracy": accuracy and accuracy["mean"],
                "std": accuracy and accuracy["std"],
            }
        )
    return points
