"""One process at work on a set: claim a shard, make it, write it, until all are there; then close.

However many processes work on one directory, in whatever order, killed and begun again at any
moment: the finished set has the same bytes.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dfkd.access.teacher import accounted, meter_of
from dfkd.datasets.written import WrittenSet
from dfkd.datasets.written.manifest import MANIFEST
from dfkd.datasets.written.shards import shard_name, write_shard
from dfkd.errors import DfkdError, unwritable
from dfkd.runs import run_directory
from dfkd.runs.callbacks import Callback
from dfkd.runs.options import Compute, Output
from dfkd.runs.prepare import accelerate, compile_mode
from dfkd.sets.claims import Claims, Halted, share_work
from dfkd.sets.class_turns import in_turn
from dfkd.sets.closing import close, is_begun, missing_shards
from dfkd.sets.makers import ShardRows, make_pictures, make_sampled, student_against
from dfkd.sets.order import SetOrder
from dfkd.sets.plan import SET, WORK, Maker, check_same, outline, settings_of, settle_plan
from dfkd.synthesis.methods.deep_inversion_config import traced_shapes
from dfkd.teacher import Teacher
from dfkd.teacher.compilation import Workload
from dfkd.teacher.folding import fold
from dfkd.training import devices
from dfkd.training.interruption import interruption

_REPORT = 2.0


@dataclass(frozen=True)
class SetResult:
    """What ``dfkd.synthesize`` returns.

    Attributes:
        directory: of the set.
        complete: whether all of it is there; Ctrl-C leaves it to the next call.
        made: shards that this process made.
        shards: that the set has.
        seconds: wall time of this process.
        decisions: what was decided before the first image, in a line each.
        queries: of each teacher whose answers are counted, what was asked and paid for this set.
    """

    directory: Path
    complete: bool
    made: int
    shards: int
    seconds: float
    decisions: Sequence[str]
    queries: Sequence[Mapping[str, Any]] = ()

    @property
    def dataset(self) -> WrittenSet:
        """The set, once complete."""
        return WrittenSet(self.directory)


class SetRun:
    """The work of one process on a set; the arguments are those of ``dfkd.synthesize``.

    Raises:
        DfkdError: whatever can be seen to be wrong before any work.
    """

    def __init__(
        self, makers: Sequence[Maker], order: SetOrder, compute: Compute, output: Output,
        callbacks: Sequence[Callback] = (), reads: Sequence[Path] = (),
    ) -> None:  # fmt: skip
        if output.path is None:
            raise DfkdError("a set is written to a directory: name it as `output`")
        if compute.precision == "bf16" or compute.devices > 1:
            name = "devices" if compute.devices > 1 else "precision"
            raise DfkdError(
                f"a set is made in float32, by any number of processes with one `output`: leave "
                f"`{name}` out"
            )
        self._began = time.perf_counter()
        self.makers, self.order, self.compute = makers, order, compute
        self.directory, self._callbacks = output.path, callbacks
        run_directory.check_name(output.path)
        again = not output.overwrite and is_begun(output.path)
        run_directory.prepare(output.path, output.overwrite, again, SET, reads)
        if again and (output.path / MANIFEST).exists():
            check_same(output.path, outline(order, makers))
        elif output.overwrite:
            run_directory.create(output.path, overwrite=True, layout=SET)
        self._open_accounts(again)
        self._reported, self._interrupted = 0.0, [False]

    def run(self) -> SetResult:
        """Work until the set is complete, or Ctrl-C asks for an end."""
        device = devices.resolve_device(self.compute.device)
        for maker in self.makers:
            maker.teacher.to(device)
        self._digests = [maker.teacher.digests() for maker in self.makers]
        made = 0
        try:
            self.plan = settle_plan(self.directory, self.order, self.makers)
            for callback in self._callbacks:
                callback.on_start({"decisions": list(self.plan.decisions)})
            with interruption() as self._interrupted:
                if not self.plan.complete:
                    made = self._work(Claims(self.directory / WORK))
        except OSError as error:
            raise unwritable(error, self.directory) from error
        for maker, own in zip(self.makers, self._digests, strict=True):
            maker.teacher.check_untouched(own)
        complete = not missing_shards(self.directory, self.plan)
        spent = time.perf_counter() - self._began
        return SetResult(
            self.directory, complete, made, len(self.plan.shards), spent, self.plan.decisions,
            [account for one in self.makers if (account := accounted(one.teacher))],
        )  # fmt: skip

    def _open_accounts(self, again: bool) -> None:
        """Count the answers of metered teachers for this set, whichever process goes on with it."""
        for index, maker in enumerate(self.makers):
            if meter := meter_of(maker.teacher):
                meter.begin("/".join((*self.directory.parts[-2:], f"teacher {index}")), again)

    def _work(self, claims: Claims) -> int:
        """Make what nobody else makes and close the set; returns how many shards were made here."""

        def make(index: int) -> None:
            write_shard(self.directory / shard_name(index), self.make(index))
            self._report(1.0)

        def missing() -> list[int]:
            return missing_shards(self.directory, self.plan)

        made, complete = share_work(claims, missing, make, self._interrupted)
        if complete:
            close(self.directory, self.plan)
        return made

    def make(self, index: int) -> ShardRows:
        """Make the rows of one shard.

        Raises:
            Halted: Ctrl-C asked for an end.
        """
        entry = self.plan.shards[index]
        start = sum(shard.count for shard in self.plan.shards[:index])
        classes = self._targets[start : start + entry.count]
        method = self.plan.recipe
        maker, settings = self.makers[entry.teacher], settings_of(self.plan, self.order)

        def pulse(share: float) -> None:
            if self._interrupted[0]:
                raise Halted
            self._report(share)

        teacher = self._fast[entry.teacher]
        if self.order.pictures:
            return make_pictures(teacher, settings, classes, entry.seed, method["mixtures"], pulse)
        student = student_against(maker.teacher, entry.seed)
        recipe = self.order.recipe.with_(synthesizer=settings)
        return make_sampled(teacher, student, recipe, classes, entry.seed, method["steps"], pulse)

    @cached_property
    def _targets(self) -> list[int]:
        return in_turn([one.count for one in self.plan.classes])

    @cached_property
    def _fast(self) -> list[Teacher]:
        """Teachers that answer alike and cost less; compiled, which moves bits, where asked."""
        settings = settings_of(self.plan, self.order)
        compiled = compile_mode(self.compute.compile, False)
        found = []
        for maker in self.makers:
            folded, size = fold(maker.teacher).teacher, self.plan.shards[0].count
            traced = traced_shapes(settings, folded.spec) if self.order.pictures else ()
            work = Workload(tuple((size, *shape[1:]) for shape in traced), None, 1)
            found.append(accelerate(folded, work, compile=compiled).teacher)
        return found

    def _report(self, share: float) -> None:
        now = time.perf_counter()
        if share < 1 and now - self._reported < _REPORT:
            return
        self._reported = now
        total = len(self.plan.shards)
        done = total - len(missing_shards(self.directory, self.plan))
        progress = min(1.0, (done + (share if share < 1 else 0)) / total)
        for callback in self._callbacks:
            callback.on_log(progress, done, {}, ())
