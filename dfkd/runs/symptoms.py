"""What can be wrong with a run, as a table: the evidence, the likely cause, the option to try.

A symptom is read from what a run records anyway. Thresholds lie well outside of what 14 methods
showed in healthy runs of 20 seconds (digits, seed 0): the images' classes were 5.1 to 10 of 10, the
student's .78 to 1.0 of the teacher's, at most .05 of the images were duplicates and .65 of the
values at an end, the teacher's confidence was .49 to .76, no layer was further off than .20 nats,
and training mode agreed by at most .06 more often than eval mode.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from dfkd.runs import evidence
from dfkd.runs.record import RunRecord

SAID_BY_FAILURE = ("no student step", "student at chance")
"""What ends a run as a failure, which its last line says anyway."""


class Finding(NamedTuple):
    """A symptom of a run: its name, what shows it, why it may be so, what to try."""

    name: str
    evidence: str
    cause: str
    remedy: str

    def line(self) -> str:
        """Return all of it in a line."""
        return f"{self.name}: {self.evidence}. {self.cause}; try {self.remedy}"


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
    "no number": Symptom(evidence.no_number, "a rate is too high", "a tenth of `learner.lr`"),
    "no student step": Symptom(
        evidence.no_step, "the first images took the time", "more `minutes`, or `batch_size=32`"
    ),
    "too few steps": Symptom(
        evidence.few_steps,
        "a student learns little in so few",
        "more `minutes`, or `batch_size=32`",
    ),
    "images of few classes": Symptom(
        evidence.few_classes,
        "synthesis has collapsed",
        "`method=default`, or a larger `batch_size`",
        ("the images that were given are so", "images of all classes"),
    ),
    "rare classes": Symptom(
        evidence.rare_classes,
        "synthesis finds no way to them",
        "`method=default`, or more `minutes`",
        ("the images that were given are so", "images of all classes"),
    ),
    "answers of few classes": Symptom(
        evidence.few_answers,
        "the student has collapsed",
        "a tenth of `learner.lr`, or more `minutes`",
    ),
    "student at chance": Symptom(
        evidence.guessing, "it has not learned yet", "more `minutes`, or `init=teacher`"
    ),
    "duplicates": Symptom(
        evidence.many_duplicates,
        "the images are few, or the same is made again",
        "more `minutes` or `method=default`",
        ("the images that were given are few, or the same", "more of them"),
    ),
    "saturated pixels": Symptom(
        evidence.many_saturated,
        "the images' rate is too high",
        "a tenth of `synthesizer.refine_lr` or its like",
        ("the images that were given are so", "images whose values are not cut off"),
    ),
    "statistics gap": Symptom(
        evidence.widest_gap,
        "the images do not reach what it has seen, or `mean` and `std` do not fit",
        "more steps of an update, such as `synthesizer.refine_steps=20`",
        (
            "the images are others than it has seen, or `mean` and `std` do not fit",
            "images such as it was trained on",
        ),
    ),
    "adversary running away": Symptom(
        evidence.runaway,
        "images change faster than the student learns",
        "a larger `alternation.steps_per_update`, or a smaller weight of the adversary",
        (),
    ),
    "batch-norm drift": Symptom(
        evidence.norm_drift,
        "the student's norms remember other images",
        "more steps, or half of `learner.lr`",
    ),
    "rate too high": Symptom(evidence.rising_loss, "the student leaps", "a tenth of `learner.lr`"),
    "rate too low": Symptom(
        evidence.flat_loss, "the student hardly moves", "ten times `learner.lr`"
    ),
    "over-confident teacher": Symptom(
        evidence.over_confidence,
        "its answers say little beside the class",
        "`learner.temperature=20`",
    ),
}
"""By name, the gravest first."""


def find_symptoms(record: RunRecord) -> list[Finding]:
    """Look for every symptom; a run that is well has none."""
    return [one for name, row in SYMPTOMS.items() for one in row.found(name, record)]
