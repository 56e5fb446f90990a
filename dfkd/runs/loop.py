"""The loop of a distillation: its engine, and what judges, measures and saves on the way."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from dfkd.datasets import GivenImages
from dfkd.datasets.written.labels import LabelStore
from dfkd.recipes.schemes import build_distiller
from dfkd.runs.accuracy_curve import Curve
from dfkd.runs.decisions import Decisions
from dfkd.runs.options import Compute
from dfkd.runs.prepare import accelerate, build_source, compile_mode, estimate_workload
from dfkd.runs.selector import Selector, marks_of
from dfkd.runs.session import Session
from dfkd.teacher import Teacher
from dfkd.training import checkpoint
from dfkd.training.budget import Budget, RunProgress
from dfkd.training.distributed import Runtime
from dfkd.training.engine import Engine
from dfkd.training.finite import infinities


class RunLoop:
    """Builds distiller, synthesizer and engine, and puts them back to where the run stopped.

    Args:
        teacher: as the user gave it.
        folded: answers as it does and costs less.
        student: on the same device, as it starts.
        decisions: with the recipe, filled in, and with what judges.
        budget: of the run.
        images: the user's own, in place of the method's.
        compute: how it is compiled.
        points: of the curve of accuracy over time.
        agrees: whether the student is trained to agree, and judged by that on the way.
        runtime: of the process.
        session: log, checkpoints and callbacks.

    Attributes:
        distiller: trains the student.
        engine: alternates synthesis and distillation.
        compiled: the teacher that they work with.
        curve: has the students that were kept on the way.
        selector: judges some there.
        known: tensors of the student that may hold infinity.
        settled: what a checkpoint holds beside the state.

    Raises:
        DfkdError: what does not fit together.
    """

    def __init__(
        self,
        teacher: Teacher,
        folded: Teacher,
        student: nn.Module,
        decisions: Decisions,
        budget: Budget,
        images: GivenImages | LabelStore | None,
        compute: Compute,
        points: int,
        agrees: bool,
        runtime: Runtime,
        session: Session,
    ) -> None:
        self._session, saved, recipe = session, session.saved, decisions.recipe
        self.settled: Mapping[str, Any] = {}
        # A folded convolution gives what its norm gave: what a user names is the teacher's own.
        looked_into = teacher if recipe.learner.pairs else folded
        # Before anything is compiled: what does not fit together is said at once.
        self.distiller = build_distiller(
            looked_into, student, recipe.learner, recipe.seed,
            recipe.scheme, recipe.scheme_config, runtime,
        )  # fmt: skip
        self.known = infinities(self.distiller.state_dict())
        self.curve = Curve(points, saved.get("curve"))
        session.watch(self.curve)
        # Judge the student where it is trained to agree; others are not compared.
        validation = decisions.validation
        self.selector = Selector(
            validation, lambda: self.distiller.source(),
            marks_of(budget, validation.seconds) if agrees else (),
            recipe.learner.patience, lambda: self.engine.end(), runtime.any_rank,
            saved.get("selector"),
        )  # fmt: skip
        session.watch(self.selector)
        self.compiled = accelerate(
            folded,
            estimate_workload(recipe, budget, teacher.spec, images is not None),
            compile=compile_mode(compute.compile, saved.get("compiled"), runtime.world_size),
            recompute=compute.recompute,
            autocast=runtime.autocast,
        )
        self.engine = Engine(
            build_source(recipe, self.compiled.teacher, images),
            self.distiller,
            budget,
            recipe.alternation,
            agree=runtime.any_rank,
            shared=runtime.from_rank_zero,
            report=self._report,
            save=self.checkpoint,
            marks=session.marks,
            keep=self._mark,
            save_every=session.output.checkpoint_every,
        )
        if saved:
            checkpoint.restore(self.engine, saved)
            self.selector.restore(student, *self.distiller.networks().values())

    def checkpoint(self) -> None:
        """Write the state of all, in the process that writes."""
        if self._session.writes:
            state = checkpoint.snapshot(self.engine.state_dict())
            state |= {"curve": self.curve.state_dict(), "selector": self.selector.state_dict()}
            state |= self.settled
            self._session.checkpoint(self.engine.account.steps, state, self.known)

    def _report(self, progress: float, account: RunProgress, metrics: dict[str, float]) -> None:
        counts = self.distiller.class_counts()
        self._session.log(progress, account.steps, account.seconds, metrics, counts)

    def _mark(self, mark: float, account: RunProgress) -> None:
        seconds, student = account.seconds, self.distiller.finished()
        self._session.mark(mark, account.steps, seconds, student)
