"""What a run came to, as attributes; ``as_dict`` is what ``result.json`` holds."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dfkd.evaluation.validation import Standing, Verdict

_MEASURED_SOMETIMES = (
    "agreement_of_others", "comparison", "robust_accuracy", "robustness", "exits", "earliest_exit",
    "expected", "queries", "mean_average_precision", "labels",
)  # fmt: skip
"""Keys that ``result.json`` has only where there is something to say."""


@dataclass(frozen=True)
class HeldOutAgreement:
    """How the student stands to its teacher on synthetic images that it never learnt from.

    Attributes:
        images: how many.
        start, end: the student's standing before and after training.
        best: that of the student that the run keeps.
        kept: which one it is: as the run began, as it ended, or one on the way.
        share: of the budget at which it was that one.
        way: (share of the budget, agreement, divergence) of the students that were judged there.
    """

    images: int
    start: Standing
    end: Standing
    best: Standing
    kept: Literal["start", "end", "way"]
    share: float
    way: tuple[tuple[float, float, float], ...] = ()

    @classmethod
    def of(
        cls, verdict: Verdict, way: Iterable[tuple[float, float, float]] = ()
    ) -> "HeldOutAgreement":
        """Build it from a run's verdict, and from what was judged on the way."""
        share = verdict.kept.share
        kept: Literal["start", "end", "way"] = (
            "start" if share == 0 else "end" if share == 1 else "way"
        )
        best = verdict.kept.standing
        return cls(verdict.images, verdict.start, verdict.end, best, kept, share, tuple(way))

    @property
    def agreement(self) -> float:
        """Share of the images on which the kept student decides as its teacher, in [0, 1]."""
        return self.best.agreement

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of ``agreement`` at 95 % confidence."""
        from scipy.stats import binomtest  # takes half a second: once, at a run's end

        hits = round(self.agreement * self.images)
        low, high = binomtest(hits, self.images).proportion_ci(0.95, method="wilson")
        return float(low), float(high)

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics as ``result.json`` has them."""
        standings = {name: getattr(self, name)._asdict() for name in ("start", "end", "best")}
        way = [list(row) for row in self.way]
        facts = {"images": self.images, "kept": self.kept, "share": self.share, "way": way}
        return {**facts, **standings}


@dataclass(frozen=True)
class Seconds:
    """Wall time, and what of it went into images, into the student, and into asking and judging."""

    total: float
    synthesis: float
    distillation: float
    asking: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RunCost:
    """What a run took.

    Attributes:
        teacher_parameters, student_parameters: how many each network has.
        student_steps, synthesis_updates: how many were taken.
        images_synthesized, teacher_forwards: images made, and images shown to the teacher.
        seconds: wall time, in its parts.
        class_counts: how often the teacher answered each class.
        collapsed: whether one class has more than nine tenths of the answers.
        peak_memory_bytes: of this process, where the system tells.
    """

    teacher_parameters: int
    student_parameters: int
    student_steps: int
    synthesis_updates: int
    images_synthesized: int
    teacher_forwards: int
    seconds: Seconds
    class_counts: list[int]
    collapsed: bool
    peak_memory_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How good a student is; accuracies are None without real labelled images.

    Attributes:
        teacher_accuracy, student_accuracy: on real labelled images, in [0, 1].
        agreement: share of images on which it decides as its teacher, in [0, 1].
        agreement_on: the images of ``agreement``.
        agreement_of_others: likewise of the run's other networks, by name.
        comparison: a row a network: accuracy, size, latency and the like.
        robust_accuracy, robustness: under attack, and how it was attacked.
        mean_average_precision: by network, of labels that hold side by side; else None.
        labels: a row a label and network: how often it is right, and how it ranks.
        exits, earliest_exit: a row an early exit; the first that is nearly as good as the whole.
    """

    teacher_accuracy: float | None
    student_accuracy: float | None
    agreement: float
    agreement_on: str
    agreement_of_others: dict[str, float] | None = None
    comparison: list[dict[str, Any]] | None = None
    robust_accuracy: float | None = None
    robustness: dict[str, Any] | None = None
    mean_average_precision: dict[str, float | None] | None = None
    labels: list[dict[str, Any]] | None = None
    exits: list[dict[str, Any]] | None = None
    earliest_exit: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunMetrics(Quality, RunCost):
    """All that ``result.json`` says of a distillation.

    Attributes:
        method, scheme, knowledge: the recipe's; where images were given, their name.
        held_out: agreement with the teacher on images that no student learnt from.
        curve: accuracy over time, where it was asked for.
        failure: why a run that came to its end is no success; empty otherwise.
        complete: whether the budget was spent, and the student took a step.
        init, compiled, pairs, mirror, decisions: what was decided before the first step.
        images_given: whether the images were there before the run.
        health: what a sample of the images looks like (``dfkd.evaluation.health``).
        findings: what is wrong with the run, a line each (``dfkd.runs.symptoms``).
        fidelity: where the student agrees with its teacher (``dfkd.evaluation.fidelity``).
        expected: the student's accuracy as it is predicted, where the teacher's is known.
        queries: what a teacher of which only answers are seen was asked, by purpose, and paid.
    """

    method: str
    scheme: str
    knowledge: str
    held_out: HeldOutAgreement
    curve: list[dict[str, Any]]
    failure: str
    complete: bool
    init: dict[str, Any]
    compiled: dict[str, Any]
    pairs: list[str]
    mirror: dict[str, Any] | None
    decisions: list[str]
    images_given: bool = False
    health: dict[str, Any] | None = None
    findings: list[str] = field(default_factory=list)
    fidelity: dict[str, Any] | None = None
    expected: dict[str, float] | None = None
    queries: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics as ``result.json`` has them."""
        found = asdict(self) | {"held_out": self.held_out.as_dict()}
        for name in _MEASURED_SOMETIMES:
            # No exit need be good enough, which is something to say of exits.
            if found[name] is None and not (name == "earliest_exit" and self.exits is not None):
                del found[name]
        return found
