"""What the student is taught: kinds of knowledge, and weighted sums of them.

``parse`` reads a sum, ``Asking`` asks both networks for what its terms look at, and ``KINDS`` has
a loss for each.
"""

from dfkd.distillation.knowledge.answers import Answers
from dfkd.distillation.knowledge.asking import Asking
from dfkd.distillation.knowledge.expression import parse
from dfkd.distillation.knowledge.kinds import KINDS, Kind, begin

__all__ = ["KINDS", "Answers", "Asking", "Kind", "begin", "parse"]
