"""The losses by name: one row says what a loss is, what it needs, and where it is from.

A row names its function and, as dotted paths, what of two networks' outputs
(``dfkd.teacher.outputs.PairOutputs``) the function takes. Every loss is there for both sides: a
method weighs it for its images, ``--knowledge`` for the student. The rows stand by what they are
of, in ``of_answers``, ``of_features`` and ``of_images``.
"""

from dataclasses import replace

from dfkd.losses.loss import Loss
from dfkd.losses.modifiers import MODIFIERS
from dfkd.losses.of_answers import OF_ANSWERS
from dfkd.losses.of_features import OF_FEATURES
from dfkd.losses.of_images import OF_IMAGES

LOSSES: dict[str, Loss] = OF_ANSWERS | OF_FEATURES | OF_IMAGES

KNOWLEDGE = {name: loss for name, loss in LOSSES.items() if loss.teaches}
"""What a student can be taught: the rows that ``dfkd knowledge`` lists."""


def find_loss(name: str) -> Loss:
    """Return the row of ``NAME`` or ``NAME@MODIFIER``; the names are known (``objective.parse``).

    >>> find_loss("kd@std").needs
    ('student.logits', 'teacher.logits')
    """
    base, _, modifier = name.partition("@")
    row = LOSSES[base]
    return replace(row, modifier=MODIFIERS[modifier].function) if modifier else row
