"""What pictures are wanted, and the setting that they are made with."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dfkd.errors import DfkdError
from dfkd.losses.objective import Term
from dfkd.recipes.overlay import flat
from dfkd.runs.mirror import Mirror, ask_mirror
from dfkd.runs.options import Compute, batch_size_of
from dfkd.runs.prepare import resolve_size
from dfkd.synthesis.methods.deep_inversion_config import DeepInversionConfig
from dfkd.teacher import Teacher
from dfkd.teacher.spec import facts_of
from dfkd.training.augment import with_flip
from dfkd.training.budget import Budget


@dataclass(frozen=True)
class Order:
    """The arguments of ``dfkd.invert`` that say what pictures are wanted."""

    classes: Sequence[int]
    count: int = 16
    steps: int | None = None
    minutes: float | None = None
    seed: int = 0
    config: DeepInversionConfig | None = None
    extra: Term | None = None

    def check(self, teacher: Teacher, compute: Compute) -> None:
        """Raise unless ``teacher`` can make them, computed in this way."""
        if self.count < 1:
            raise DfkdError(f"`count` must be at least 1, not {self.count}")
        if not self.classes:
            raise DfkdError("inversion needs at least one class")
        last = teacher.num_classes - 1
        for index in self.classes:
            if not isinstance(index, int):
                raise DfkdError(f"`classes` are whole numbers such as [1, 7], not {index!r}")
            if not 0 <= index <= last:
                raise DfkdError(
                    f"class {index} is out of range: the teacher has classes 0 to {last}"
                )
        if self.steps is not None or self.minutes is not None:
            Budget(self.minutes, self.steps)  # refuses both at once and values that are no budget
        if compute.precision == "bf16" or compute.devices > 1:
            name = "devices" if compute.devices > 1 else "precision"
            raise DfkdError(f"invert computes in float32 and in one process: leave `{name}` out")


def complete_config(
    order: Order, config: DeepInversionConfig, compute: Compute, teacher: Teacher, fast: Teacher
) -> tuple[DeepInversionConfig, Mirror | None]:
    """Fill in what ``config`` leaves open, by the teacher's answers and by the order.

    Args:
        order: what is wanted.
        config: as the user has it.
        compute: how many images are optimised together.
        teacher: as the user gave it.
        fast: a teacher that answers alike and costs less.

    Returns:
        The setting, and what the teacher said of mirror images where it was asked.
    """
    size, answer = batch_size_of(compute.batch_size), None
    if size is not None:
        config = replace(config, batch_size=resolve_size(size, teacher, config.batch_size))
    if config.flip is None:
        # A few pictures say little: unless a size was asked for, more images are shown.
        most = config.batch_size if size else max(32, config.batch_size)
        answer = ask_mirror(teacher, fast, order.minutes, most)
        config = with_flip(config, answer.keeps)
    batches = -(-order.count // config.batch_size)
    even = -(-order.count // batches)
    config = replace(config, batch_size=even, capacity=even)
    return config if order.steps is None else with_steps(config, order.steps), answer


def identity_of(
    order: Order, config: DeepInversionConfig, compute: Compute, teacher: Teacher, teacher_hash: str
) -> dict[str, Any]:
    """Return what a resumed run must have in common with the earlier one, as plain values."""
    size = batch_size_of(compute.batch_size)
    config = replace(config, batch_size=size) if isinstance(size, int) else config
    prior = {"prior": teacher.prior_note} if teacher.prior_note else {}
    return flat({
        "teacher": teacher_hash[:16], **prior, "image": facts_of(teacher.spec), "seed": order.seed,
        "classes": list(order.classes), "count": order.count, "steps": order.steps,
        "synthesizer": asdict(config),
    })  # fmt: skip


def with_steps(config: DeepInversionConfig, steps: int) -> DeepInversionConfig:
    """Rescale a setting to ``steps`` iterations a batch, shared between resolutions as before."""
    scale = steps / config.total_iterations
    low = min(round(scale * config.low_resolution_iterations), steps - 1)
    return replace(
        config,
        low_resolution_iterations=low,
        iterations=steps - low,
        warmup=round(scale * config.warmup),
    )


def check_losses(losses: Mapping[str, Any], steps: int) -> None:
    """Raise where the last step's losses tell that its pictures have diverged."""
    for name, value in losses.items():
        if not math.isfinite(value):
            raise DfkdError(
                f"{name} is {float(value)} after {steps} steps: lower lr, or the losses' weights "
                "(`synthesizer.lr=...`)"
            )
