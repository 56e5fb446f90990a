"""One distillation: ``prepare``, ``train``, ``evaluate`` and ``save``, one after the other."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor, nn

from dfkd.access.teacher import accounted, meter_of
from dfkd.datasets import GivenImages
from dfkd.datasets.written.labels import LabelStore
from dfkd.distillation.student_init import StudentInit, start_student
from dfkd.evaluation.health import measure_health
from dfkd.loading.uri import local_paths
from dfkd.networks.readiness import widen
from dfkd.recipes import Recipe, to_dict
from dfkd.recipes.named import with_round
from dfkd.runs import manifest, results
from dfkd.runs.asking import check_asking
from dfkd.runs.callbacks import Callback
from dfkd.runs.checks import by_agreement, check_given, check_run, check_same_run, with_epsilon
from dfkd.runs.decisions import decide
from dfkd.runs.loop import RunLoop
from dfkd.runs.metrics import RunMetrics
from dfkd.runs.options import Compute, Evaluation, Output, batch_size_of
from dfkd.runs.prepare import (
    check_shares,
    resolve_batch_size,
    told_sizes,
    without_synthesis,
)
from dfkd.runs.record import RunRecord
from dfkd.runs.result import Result
from dfkd.runs.session import Session
from dfkd.runs.symptoms import find_symptoms
from dfkd.teacher import Teacher
from dfkd.teacher.folding import fold
from dfkd.teacher.layout import settle
from dfkd.training import devices, distributed
from dfkd.training.budget import Budget
from dfkd.training.finite import check_network
from dfkd.training.sync_batchnorm import synchronise_batchnorm

_SHOWN = 64
"""Images of the grid, which are looked at as a sample of all."""


class Run:
    """A distillation from its options to its files; the arguments are those of ``dfkd.distill``.

    Attributes:
        recipe: with everything filled in, once prepared.
        loop: the engine, and what goes on at its marks, once prepared.
        engine: alternates synthesis and distillation.
        verdict: which student is kept, once trained.
        metrics: what ``result.json`` holds, once evaluated.

    Raises:
        DfkdError: whatever can be seen to be wrong before any work.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: nn.Module,
        recipe: Recipe,
        budget: Budget,
        *,
        evaluation: Evaluation | None,
        images: GivenImages | LabelStore | None,
        compute: Compute,
        output: Output,
        callbacks: Sequence[Callback],
        origin: manifest.Origin,
    ) -> None:
        self._began = time.perf_counter()
        self.teacher, self.student, self.budget = teacher, student, budget
        check_given(recipe, images)
        self.recipe = with_round(recipe) if images is None else without_synthesis(recipe)
        self.images, self.compute, self.origin = images, compute, origin
        known = evaluation or Evaluation()
        self._teacher_accuracy: float | None = known.teacher_accuracy
        self._unlabelled: GivenImages | None = known.unlabelled
        measured = evaluation if known.data is not None else None
        self.evaluation = with_epsilon(measured, recipe)
        self._agrees = by_agreement(recipe)
        check_run(self.recipe, teacher, student, measured, images, compute.device)
        self._widened = widen(student)
        models = (origin.teacher, origin.student, *origin.extra_teachers)
        data = (known.data, known.unlabelled, images)
        reads = local_paths(models, [one.name for one in data if one])
        self.session = Session(output, reads, callbacks)

    def prepare(self) -> None:
        """Decide all that is open and build the loop; what does not fit together is said here."""
        compute, saved = self.compute, self.session.saved
        size = batch_size_of(compute.batch_size)
        # What ``auto`` came to when the run that goes on was started.
        size = saved.get("batch_size") or size if size == "auto" else size
        check_shares(self.recipe, size, distributed.count_processes(compute.devices))
        self._open_account(saved)
        networks = self.teacher.network, self.student
        precision = devices.safe_precision(compute.precision, compute.device, *networks)
        runtime = distributed.init(compute.device, precision, compute.devices)
        self.runtime, self.session.leads = runtime, runtime.rank == 0
        teacher, student = self.teacher.to(runtime.device), self.student
        teacher.autocast = runtime.autocast
        if runtime.world_size > 1:
            synchronise_batchnorm(student)  # torch's own would refuse the trial on a CPU
        layout = settle(student, teacher.spec, runtime.device)
        recipe = resolve_batch_size(self.recipe, size, teacher)
        fitted = told_sizes(self.recipe, recipe, runtime.device) if size == "auto" else ""
        self._hash, self._digests = teacher.fingerprint(), teacher.digests()
        identity = manifest.identity(
            recipe, teacher, self._hash, student, self.images, self._unlabelled
        )
        check_same_run(saved.get("run", identity), identity)
        start = start_student(student, teacher.network, recipe.init, recipe.trunk)
        folded = fold(teacher).teacher
        self.decisions = decide(
            recipe, self.budget, teacher, folded, student, start, runtime, saved.get("decisions"),
            None if self._unlabelled is None else self._unlabelled.images,
            self.images if isinstance(self.images, LabelStore) else None,
        )  # fmt: skip
        self.recipe = self.decisions.recipe
        self.loop = loop = RunLoop(
            teacher, folded, student, self.decisions, self.budget, self.images, compute,
            self.evaluation.curve if self.evaluation else 0, self._agrees, runtime, self.session,
        )  # fmt: skip
        self.engine, self.distiller, self.compiled = loop.engine, loop.distiller, loop.compiled
        # What a later session must not find out anew.
        loop.settled = {
            "compiled": self.compiled.used,
            "batch_size": recipe.alternation.batch_size,
            "decisions": self.decisions.state_dict(),
            "run": identity,
            "ledger_name": self._account,
        }
        own = [self._widened, fitted, layout.told("the student")]
        if precision != compute.precision:
            own.append(
                "computes in float32: on a CPU, bf16 suits neither volumes nor whole numbers"
            )
        self.facts = self._facts(start, own)

    def _facts(self, start: StudentInit, own: Sequence[str]) -> dict[str, Any]:
        """What was decided, for whoever watches and for the result; ``own`` of the networks."""
        said = [f"of the student: {note}" for note in self.origin.notes]
        return {
            "init": start.as_dict(),
            "compiled": {"used": self.compiled.used, "reason": self.compiled.reason},
            "pairs": list(self.distiller.pairs),
            "images_given": self.images is not None,
            **self.decisions.as_dict(),
            "decisions": [*said, *filter(None, own), *self.decisions.lines],
        }

    def _open_account(self, saved: Mapping[str, Any]) -> None:
        """Count a metered teacher's answers for this run, under the name that it began with."""
        meter, path = meter_of(self.teacher), self.session.output.path
        check_asking(self.recipe, self.teacher, distributed.count_processes(self.compute.devices))
        self._account = saved.get("ledger_name") or "/".join(path.parts[-2:] if path else ("run",))
        if meter is not None:
            meter.begin(self._account, bool(saved))

    def train(self) -> None:
        """Spend the budget, then keep the better of the finished student and the one it began as.

        The student is on the disk before anything is measured, whatever happens to that.
        """
        validation, engine, selector = self.decisions.validation, self.engine, self.loop.selector
        spent = time.perf_counter() - self._began + self.decisions.cached_seconds
        # The budget pays for the decisions, and in advance for judging the student, while which
        # its clock stands still; a run that goes on has paid for that.
        judged = 0 if self.session.saved else 1 + len(selector.marks)
        engine.account.earlier_seconds += spent + validation.seconds * judged
        if self.runtime.world_size == 1:
            self.compiled.teacher.before_pass = engine.pulse
        try:
            with self.session as session:
                session.open(engine.account.steps)
                session.start(self.facts)
                self.complete = engine.run()
                self.loop.checkpoint()
        finally:
            self.compiled.teacher.before_pass = lambda: None
        if meter := meter_of(self.teacher):
            meter.finish()
        self.teacher.check_untouched(self._digests)
        finished = self.distiller.finished()
        check_network(finished, "the student", engine.account.steps, self.loop.known)
        self.verdict = verdict = validation.judged(finished, self._agrees, selector.best)
        asking = self.decisions.seconds + validation.seconds * (1 + len(selector.way))
        self.cost = results.run_cost(self.teacher, verdict.student, engine, asking)
        if directory := self.session.writes:
            built = verdict.kept.source if verdict.kept.share < 1 else self.distiller.source()
            source = built or self.origin.source
            results.save_student(directory, verdict.student, self.teacher, source)

    def evaluate(self) -> None:
        """Measure the student and the run's other networks; over time where a curve was asked."""
        self.metrics = RunMetrics(
            method=self.recipe.method if self.images is None else self.images.name,
            scheme=self.recipe.scheme,
            knowledge=self.recipe.learner.knowledge,
            **results.measured(
                self.teacher, self.verdict, self.distiller, self.cost, self.complete,
                self.decisions.validation, self.evaluation, self.loop.curve, self.loop.selector,
                self._teacher_accuracy if self._agrees else None,
            ),
            queries=accounted(self.teacher),
            **self.facts,
        )  # fmt: skip
        self._examine()

    def _examine(self) -> None:
        """Look at a sample of the images, and for what is wrong with the run."""
        source = self.engine.synthesizer
        self._sample: Tensor | None = None
        if self.teacher.present and (source.images_made or self.engine.account.steps):
            self._sample = source.sample(_SHOWN).inputs
            health = measure_health(self.teacher, self.verdict.student, self._sample)
            self.metrics = replace(self.metrics, health=asdict(health))
        result, plan = self.metrics.as_dict(), to_dict(self.recipe)
        given, minutes, names = (
            self.images is not None, self.budget.minutes, self.teacher.class_names,
        )  # fmt: skip
        record = RunRecord(self.session.rows, (), 1.0, result, plan, minutes, given, names)
        lines = [found.line() for found in find_symptoms(record)]
        self.metrics = replace(self.metrics, findings=lines)

    def save(self) -> None:
        """Write ``manifest.json``, ``result.json``, pictures and the page."""
        if directory := self.session.writes:
            record = manifest.manifest(
                self.recipe, self.budget, self.runtime, self.teacher, self.origin, self._hash,
                manifest.real_data(self.evaluation, self.images, self._unlabelled),
                manifest.foreign_data(self.images),
            )  # fmt: skip
            given = self.evaluation and self.evaluation.data, self.images, self._unlabelled
            record["read"] = manifest.readings(*given)
            record |= self.decisions.as_dict() | {"decisions": self.facts["decisions"]}
            record |= {"queries": self.metrics.queries} if self.metrics.queries else {}
            metrics = self.metrics.as_dict()
            shown = self._sample if self.engine.synthesizer.images_made else None
            results.write_results(directory, record, metrics, shown, self.teacher)
        self.runtime.barrier()

    def carry_out(self) -> Result:
        """Do all of it, and return what ``dfkd.distill`` does."""
        self.prepare()
        self.train()
        self.evaluate()
        self.save()
        directory, rows = self.session.directory, self.session.rows
        return Result(self.verdict.student, self.metrics, directory, not self.complete, rows)
