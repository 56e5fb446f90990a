"""What a teacher remembers of its training inputs: priors over what it is shown."""

from dfkd.teacher.priors.batch_norm import BatchNormPrior
from dfkd.teacher.priors.known import PRIORS, PriorRow, find_prior, named_prior
from dfkd.teacher.priors.nothing import NoPrior
from dfkd.teacher.priors.patch import PatchPrior
from dfkd.teacher.priors.prior import (
    ImagePrior,
    PortablePrior,
    Prior,
    Recording,
    name_of,
    opened,
    remembers,
)
from dfkd.teacher.priors.statistics import StatisticsPrior, TapRecording

__all__ = [
    "PRIORS",
    "BatchNormPrior",
    "ImagePrior",
    "NoPrior",
    "PatchPrior",
    "PortablePrior",
    "Prior",
    "PriorRow",
    "Recording",
    "StatisticsPrior",
    "TapRecording",
    "find_prior",
    "name_of",
    "named_prior",
    "opened",
    "remembers",
]
