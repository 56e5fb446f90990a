"""What can be wrong with a run, as a table: the evidence, the likely cause, the option to try.

A symptom is read from what a run records anyway. Thresholds lie well outside of what 14 methods
showed in healthy runs of 20 seconds (digits, seed 0): the images' classes were 5.1 to 10 of 10, the
student's .78 to 1.0 of the teacher's, at most .05 of the images were duplicates and .65 of the
values at an end, the teacher's confidence was .49 to .76, no layer was further off than .20 nats,
and training mode agreed by at most .06 more often than eval mode.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from dfkd.evaluation.health import effective_share
from dfkd.runs.pace import STEPS

_Row = Mapping[str, float | None]
_ADVERSARIES = ("adv", "js", "kd", "l1", "kd_mean")
"""Losses of images that grow with the student's disagreement."""
SAID_BY_FAILURE = ("no student step", "student at chance")
"""What ends a run as a failure, which its last line says anyway."""
_FEW = 100
"""Steps below which a curve says nothing."""
_RARE = 0.05
"""Of an even share of the images: a class below it is next to absent."""


class Finding(NamedTuple):
    """A symptom of a run: its name, what shows it, why it may be so, what to try."""

    name: str
    evidence: str
    cause: str
    remedy: str

    def line(self) -> str:
        """Return all of it in a line."""
        return f"{self.name}: {self.evidence}. {self.cause}; try {self.remedy}"


@dataclass(frozen=True)
class RunRecord:
    """What a run has recorded, during it or afterwards.

    Attributes:
        rows: of ``metrics.jsonl``, in order; null where a number was none.
        counts: how often the teacher answered each class so far.
        progress: share of the budget that is spent, in [0, 1].
        result: ``result.json``; empty while the run goes on.
        recipe: of the manifest; empty while it is not known.
        minutes: the budget, where it is one of time: who asks for few steps wants few.
        given: whether the images were there before the run: none were made in it.
        names: of the classes; their numbers where there are none.
    """

    rows: Sequence[_Row]
    counts: Sequence[int] = ()
    progress: float = 1.0
    result: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    minutes: float | None = None
    given: bool = False
    names: Sequence[str] = ()

    @property
    def health(self) -> Mapping[str, Any]:
        """What was measured at the end (``dfkd.evaluation.health``); empty where it was not."""
        return self.result.get("health") or {}

    @property
    def steps(self) -> int:
        """Steps of the student so far."""
        return int(self.rows[-1]["step"] or 0) if self.rows else 0

    @property
    def opposed(self) -> bool:
        """Whether images are made against the student: its loss may rise and all be well."""
        return any(f"synthesis/{name}" in row for row in self.rows[-1:] for name in _ADVERSARIES)

    def quarters(self, name: str) -> list[float]:
        """Average a metric over each quarter of its rows; empty where there are too few steps."""
        values = [row[name] for row in self.rows if row.get(name) is not None]
        if self.steps < _FEW or len(values) < 4:
            return []
        return [float(np.mean(part)) for part in np.array_split(np.array(values, float), 4)]


def _number(record: RunRecord) -> str:
    bad = next(((n, row["step"]) for row in record.rows for n, v in row.items() if v is None), None)
    return f"{bad[0]} is no number at step {bad[1]}" if bad else ""


def _no_step(record: RunRecord) -> str:
    first = next((row for row in record.rows if row["step"]), None)
    started = record.rows[-1]["seconds"] if first is None and record.rows else None
    if first is None and started is not None and record.progress > 0.5:
        return f"{record.progress:.0%} of the budget is spent, and the student has made no step"
    return ""


def _few_steps(record: RunRecord) -> str:
    if record.progress < 1 or not record.minutes or not 0 < record.steps < STEPS:
        return ""
    return f"the student made {record.steps} steps, and needs some {STEPS} to leave its start"


def _few_classes(record: RunRecord) -> str:
    counts = record.counts or record.result.get("class_counts") or ()
    if sum(counts) < 20 * len(counts) or not counts:
        return ""
    share = effective_share(counts)
    found = f"the images show the teacher {share * len(counts):.1f} of {len(counts)} classes"
    return found if share < 0.35 else ""


def _rare_classes(record: RunRecord) -> str:
    counts = record.result.get("class_counts") or ()
    few = record.result.get("student_steps", _FEW) < _FEW
    if few or sum(counts) < 20 * len(counts) or not counts or _few_classes(record):
        return ""
    least = _RARE * sum(counts) / len(counts)
    rare = [index for index, count in enumerate(counts) if count < least]
    if not rare:
        return ""
    names = record.names if len(record.names) == len(counts) else [*map(str, range(len(counts)))]
    named = ", ".join(names[index][:30] for index in rare[:3]) + ", …" * (len(rare) > 3)
    return f"the images show the teacher next to nothing of {len(rare)} classes ({named})"


def _few_answers(record: RunRecord) -> str:
    health = record.health
    if not health or health["student_classes"] >= 0.5 * health["teacher_classes"]:
        return ""
    return (
        f"the student answers with {health['student_classes']:.1f} classes where the teacher has "
        f"{health['teacher_classes']:.1f}"
    )


def _chance(record: RunRecord) -> str:
    held_out = record.result.get("held_out")
    if not held_out or not held_out["best"]["guessing"]:
        return ""
    share = held_out["best"]["agreement"]
    return f"it agrees with the teacher on {share:.0%} of held-out images, as a constant does"


def _duplicates(record: RunRecord) -> str:
    share = record.health.get("duplicates", 0.0)
    # Of 64 images drawn from a store of 90 half are drawn twice.
    return f"{share:.0%} of the images equal another one" if share > 0.5 else ""


def _saturated(record: RunRecord) -> str:
    share = record.health.get("saturated", 0.0)
    return f"{share:.0%} of the values are exactly 0 or 1" if share > 0.9 else ""


def _gap(record: RunRecord) -> str:
    gaps = record.health.get("gaps") or {}
    name = max(gaps, key=lambda layer: gaps[layer], default="")
    if not name or gaps[name] < 1:
        return ""
    return f"layer {name} is {gaps[name]:.2g} nats from what it remembers (others: see result.json)"


def _runaway(record: RunRecord) -> str:
    agreed = record.quarters("distillation/agreement")
    if not record.opposed or not agreed or agreed[-1] > max(agreed) - 0.25:
        return ""
    return f"agreement on the images fell from {max(agreed):.0%} to {agreed[-1]:.0%}"


def _drift(record: RunRecord) -> str:
    health = record.health
    if not health or record.result.get("student_steps", 0) < _FEW:
        return ""
    if health["agreement_training"] - health["agreement"] < 0.3:
        return ""
    return (
        f"it agrees on {health['agreement_training']:.0%} of the images by the batch's statistics "
        f"and on {health['agreement']:.0%} by its own"
    )


def _rate_high(record: RunRecord) -> str:
    loss = record.quarters("distillation/kd")
    agreed = record.quarters("distillation/agreement")
    if not loss or not agreed or record.opposed:
        return ""
    if loss[-1] < 3 * min(loss[:2]) or agreed[-1] > 0.5:
        return ""
    return f"the student's loss rose from {min(loss[:2]):.3g} to {loss[-1]:.3g}"


def _rate_low(record: RunRecord) -> str:
    loss = record.quarters("distillation/kd")
    agreed = record.quarters("distillation/agreement")
    known = (record.result.get("held_out") or {}).get("start", {}).get("agreement", 0.0)
    if not loss or not agreed or record.progress < 0.5 or known > 0.5:
        return ""
    moved = not 0.9 * loss[0] <= loss[-1] <= 1.1 * loss[0]
    if moved or agreed[-1] > agreed[0] + 0.05 or agreed[-1] > 0.5:
        return ""
    return f"the student's loss went from {loss[0]:.3g} to {loss[-1]:.3g} in {record.steps} steps"


def _confident(record: RunRecord) -> str:
    confidence = record.health.get("confidence", 0.0)
    temperature = (record.recipe.get("learner") or {}).get("temperature", 20.0)
    if confidence < 0.99 or temperature > 2:
        return ""
    return f"its mean highest probability is {confidence:.2%} at temperature {temperature:g}"


class Symptom(NamedTuple):
    """A row: ``shows`` gives the evidence or "", then the likely cause and the option to try.

    ``given`` has the last two for images that were there before the run; None: they are the same.
    Of what shows in synthesis alone it is empty: such a run has none.
    """

    shows: Callable[[RunRecord], str]
    cause: str
    remedy: str
    given: tuple[str, ...] | None = None

    def found(self, name: str, record: RunRecord) -> Iterator[Finding]:
        """Yield what it finds in a run."""
        cause, remedy = (self.given or ("", "")) if self._differs(record) else self[1:3]
        if cause and (evidence := self.shows(record)):
            yield Finding(name, evidence, cause, remedy)

    def _differs(self, record: RunRecord) -> bool:
        return record.given and self.given is not None


SYMPTOMS: dict[str, Symptom] = {
    "no number": Symptom(_number, "a rate is too high", "a tenth of `learner.lr`"),
    "no student step": Symptom(
        _no_step, "the first images took the time", "more `minutes`, or `batch_size=32`"
    ),
    "too few steps": Symptom(
        _few_steps, "a student learns little in so few", "more `minutes`, or `batch_size=32`"
    ),
    "images of few classes": Symptom(
        _few_classes, "synthesis has collapsed", "`method=default`, or a larger `batch_size`",
        ("the images that were given are so", "images of all classes"),
    ),
    "rare classes": Symptom(
        _rare_classes, "synthesis finds no way to them", "`method=default`, or more `minutes`",
        ("the images that were given are so", "images of all classes"),
    ),
    "answers of few classes": Symptom(
        _few_answers, "the student has collapsed", "a tenth of `learner.lr`, or more `minutes`"
    ),
    "student at chance": Symptom(
        _chance, "it has not learned yet", "more `minutes`, or `init=teacher`"
    ),
    "duplicates": Symptom(
        _duplicates, "the images are few, or the same is made again",
        "more `minutes` or `method=default`",
        ("the images that were given are few, or the same", "more of them"),
    ),
    "saturated pixels": Symptom(
        _saturated,
        "the images' rate is too high",
        "a tenth of `synthesizer.refine_lr` or its like",
        ("the images that were given are so", "images whose values are not cut off"),
    ),
    "statistics gap": Symptom(
        _gap, "the images do not reach what it has seen, or `mean` and `std` do not fit",
        "more steps of an update, such as `synthesizer.refine_steps=20`",
        ("the images are others than it has seen, or `mean` and `std` do not fit",
         "images such as it was trained on"),
    ),
    "adversary running away": Symptom(
        _runaway, "images change faster than the student learns",
        "a larger `alternation.steps_per_update`, or a smaller weight of the adversary",
        (),
    ),
    "batch-norm drift": Symptom(
        _drift, "the student's norms remember other images", "more steps, or half of `learner.lr`"
    ),
    "rate too high": Symptom(_rate_high, "the student leaps", "a tenth of `learner.lr`"),
    "rate too low": Symptom(_rate_low, "the student hardly moves", "ten times `learner.lr`"),
    "over-confident teacher": Symptom(
        _confident, "its answers say little beside the class", "`learner.temperature=20`"
    ),
}  # fmt: skip
"""By name, the gravest first."""


def find_symptoms(record: RunRecord) -> list[Finding]:
    """Look for every symptom; a run that is well has none."""
    return [one for name, row in SYMPTOMS.items() for one in row.found(name, record)]
