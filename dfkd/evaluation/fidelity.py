"""Where a student answers as its teacher and where it does not, on held-out images."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from dfkd.datasets import evenly
from dfkd.evaluation.accuracy import agreement, predictions
from dfkd.evaluation.heldout import HELD_OUT_BATCH, HeldOut
from dfkd.evaluation.invariances import CHANGES
from dfkd.teacher import Teacher

SHAKEN = ("pixel", "noise", "brightness")
"""Changes of ``CHANGES`` under which a student should follow its teacher, whatever that answers."""


class Fidelity(NamedTuple):
    """How alike the two answer.

    Attributes:
        kinds: agreement on the held-out images of each kind, in [0, 1].
        classes: agreement on the images that the teacher takes for each class; None where it takes
            none for it.
        overconfidence: mean confidence of the student, less its agreement: above 0 it is surer than
            it should be.
        shaken: agreement on images that were changed, by the change; none where the teacher is not
            there to be asked.
    """

    kinds: Mapping[str, float]
    classes: tuple[float | None, ...]
    overconfidence: float
    shaken: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for ``result.json``."""
        plain = self._asdict()
        kinds, shaken = dict(self.kinds), dict(self.shaken)
        return plain | {"kinds": kinds, "classes": list(self.classes), "shaken": shaken}


def measure_fidelity(teacher: Teacher, student: nn.Module, held_out: HeldOut) -> Fidelity:
    """Measure where a student agrees with its teacher.

    Args:
        teacher: frozen.
        student: in eval mode; unchanged.
        held_out: images of the kinds that students are judged by.
    """
    wanted, logits = held_out.logits, held_out.answers(student, teacher)
    rows, classes = held_out.rows, wanted.argmax(1)
    agreed = (logits.argmax(1) == classes).float()
    own = agreed.view(-1, rows).mean(1)
    kinds = {kind: float(own[held_out.places(kind)].mean()) for kind in held_out.counts}
    if rows == 1:
        by_class = [agreed[classes == index] for index in range(wanted.shape[1])]
    else:  # of each label, where it is on
        on = classes.view(-1, rows).bool()
        by_class = [agreed.view(-1, rows)[on[:, index], index] for index in range(rows)]
    asks = teacher.present and not teacher.opaque  # an answer may cost something
    confidence = logits.softmax(1).amax(1).mean()
    return Fidelity(
        kinds,
        tuple(float(part.mean()) if len(part) else None for part in by_class),
        float(confidence - agreed.mean()),
        {name: _shaken(teacher, student, held_out, name) for name in SHAKEN if asks},
    )


def _shaken(teacher: Teacher, student: nn.Module, held_out: HeldOut, name: str) -> float:
    """Agreement on the first variant of a change, on as many images as one batch has."""
    chosen = evenly(len(held_out), HELD_OUT_BATCH)
    changed = CHANGES[name].variants(held_out.images[chosen].float() / 255)[0]
    own = teacher.student_task
    answers = (
        predictions(network, teacher.spec, changed, batch_size=HELD_OUT_BATCH, task=own)
        for network in (student, teacher)
    )
    return agreement(*answers)
