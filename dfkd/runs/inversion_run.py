"""One inversion: ``prepare``, ``train``, ``evaluate`` and ``save``, one after the other."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from dfkd.loading.uri import local_paths
from dfkd.networks import count_parameters
from dfkd.runs import manifest, pictures
from dfkd.runs.callbacks import Callback
from dfkd.runs.checks import check_same_run
from dfkd.runs.inversion_loop import InversionLoop
from dfkd.runs.inversion_order import Order, complete_config, identity_of
from dfkd.runs.inversion_result import InversionMetrics, InversionResult
from dfkd.runs.metrics import Seconds
from dfkd.runs.mirror import Mirror
from dfkd.runs.options import Compute, Output
from dfkd.runs.prepare import accelerate, compile_mode
from dfkd.runs.session import Session
from dfkd.synthesis.evolution import Evolution
from dfkd.synthesis.methods.deep_inversion import DeepInversion
from dfkd.synthesis.methods.deep_inversion_config import (
    DeepInversionConfig,
    default_config,
    traced_shapes,
)
from dfkd.tasks.prediction import Prediction, rows_of
from dfkd.teacher import Teacher
from dfkd.teacher.compilation import Workload
from dfkd.teacher.folding import fold
from dfkd.training import checkpoint, devices
from dfkd.training.interruption import interruption


class Inversion:
    """An inversion from its options to its files; the arguments are those of ``dfkd.invert``.

    Attributes:
        config: the setting as it is used, once prepared.
        metrics: what ``result.json`` holds, once evaluated.
        evolution: how the first batch came to be.
        loop: makes the pictures, once prepared.
        confidences: the teacher's of each picture in its class, once evaluated.

    Raises:
        DfkdError: whatever can be seen to be wrong before any work.
    """

    def __init__(
        self,
        teacher: Teacher,
        order: Order,
        compute: Compute,
        output: Output,
        callbacks: Sequence[Callback] = (),
        origin: manifest.Origin | None = None,
        evolution: Evolution | None = None,
    ) -> None:
        self._started = time.perf_counter()
        order.check(teacher, compute)
        self.teacher, self.order, self.compute = teacher, order, compute
        self.origin = origin or manifest.Origin()
        self.session = Session(output, local_paths((self.origin.teacher,)), callbacks)
        self.evolution = evolution or Evolution(teacher.spec)
        self._earlier: float = self.session.saved.get("seconds", 0.0)
        self._interrupted = [False]

    def run(self) -> InversionResult:
        """Do all of it. Ctrl-C ends the step at work, and keeps the pictures as they stand."""
        with interruption() as self._interrupted:
            self.prepare()
            self.train()
            self.evaluate()
            self.save()
        metrics, rows = self.metrics, self.session.rows
        return InversionResult(
            self.images, self.targets, metrics, self.config, self.session.directory, rows
        )

    @property
    def seconds(self) -> float:
        """Wall time, that of interrupted sessions included."""
        return self._earlier + time.perf_counter() - self._started

    def prepare(self) -> None:
        """Decide all that is open and build the synthesizer; what cannot be is said here."""
        teacher, order, saved = self.teacher, self.order, self.session.saved
        teacher.to(devices.resolve_device(self.compute.device))
        self._hash, self._digests = teacher.fingerprint(), teacher.digests()
        config, folded = order.config or default_config(teacher), fold(teacher).teacher
        identity = identity_of(order, config, self.compute, teacher, self._hash)
        check_same_run(saved.get("run", identity), identity)
        if saved:
            self.config, answer = DeepInversionConfig(**saved["config"]), saved["mirror"]
            answer = answer and Mirror(**answer)
        else:
            self.config, answer = complete_config(order, config, self.compute, teacher, folded)
        config = self.config
        batches = -(-order.count // config.batch_size)
        seconds = None if order.minutes is None else 60 * order.minutes
        traces = batches * config.total_iterations
        compiled = accelerate(
            folded,
            Workload(traced_shapes(config, teacher.spec), seconds, traces),
            compile=compile_mode(self.compute.compile, saved.get("compiled")),
            recompute=self.compute.recompute,
        )
        self.facts: dict[str, Any] = {
            "compiled": {"used": compiled.used, "reason": compiled.reason},
            "mirror": answer and asdict(answer),
            "decisions": [*teacher.notes, *([answer.summary()] if answer else [])],
        }
        # What a later session must not find out anew.
        settled = {
            "config": asdict(config), "mirror": self.facts["mirror"], "compiled": compiled.used,
            "run": identity,
        }  # fmt: skip
        synthesizer = DeepInversion(
            compiled.teacher,
            config,
            order.seed,
            classes=[teacher.task.aim(c) for c in order.classes],
            extra=order.extra,
        )
        self.loop = InversionLoop(
            synthesizer, order, batches, self.session, self.evolution, lambda: self.seconds,
            self._interrupted, settled,
        )  # fmt: skip
        if saved:
            checkpoint.restore(self.loop, saved)

    def train(self) -> None:
        """Make one batch after the other, until the budget is spent or Ctrl-C asks for an end."""
        with self.session:
            self.session.start(self.facts)
            self.loop.run()
        self.teacher.check_untouched(self._digests)

    def evaluate(self) -> None:
        """Count the pictures that the teacher recognises as their class."""
        images, logits, targets = (torch.cat(parts) for parts in zip(*self.loop.made, strict=True))
        kept, task = slice(self.order.count), self.teacher.task
        answer = Prediction(rows_of(logits.float(), kept, len(images)))
        self.images, aims = images[kept], targets[kept]
        self.confidences: list[float] = task.costs(answer, aims).neg().exp().tolist()
        met = task.labels(answer, aims) == answer.logits.argmax(1)
        self.targets = task.shown(aims)
        seconds = round(self.seconds, 2)
        self.metrics = InversionMetrics(
            own_top1=met.view(len(self.images), -1).all(1).float().mean().item(),
            images_synthesized=len(self.images),
            teacher_forwards=self.loop.synthesizer.teacher_images,
            teacher_parameters=count_parameters(self.teacher.network),
            steps=self.loop.steps,
            **self.facts,
            complete=self.loop.complete,
            seconds=Seconds(seconds, seconds, 0.0),
        )

    def save(self) -> None:
        """Write the pictures, ``result.json``, ``manifest.json``, the grid and the page."""
        directory, order = self.session.directory, self.order
        if directory is None:
            return
        record = manifest.inversion_manifest(
            {
                "method": self.metrics.method, "classes": list(order.classes),
                "count": order.count, "synthesizer": asdict(self.config),
            },
            order.seed, self.teacher, self.origin, self._hash,
        )  # fmt: skip
        record |= {name: self.facts[name] for name in ("mirror", "decisions")}
        record |= {"complete": self.loop.complete}
        names = [self.teacher.class_names[index] for index in self.targets.tolist()]
        figures, images = self.metrics.as_dict(), self.images.cpu()
        gallery = pictures.gallery_of_run(
            images, self.targets.tolist(), self.confidences, names, self.evolution
        )
        pictures.write_pictures(directory, images, self.targets, names, figures, record, gallery)
