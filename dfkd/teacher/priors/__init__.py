"""What a teacher remembers of its training inputs: priors over what it is shown."""

from dfkd.teacher.priors.around import prior_around
from dfkd.teacher.priors.batch_norm import BatchNormPrior
from dfkd.teacher.priors.external import ExternalPrior
from dfkd.teacher.priors.known import (
    PRIORS,
    NamedModel,
    PriorRow,
    find_prior,
    named_prior,
    suggestion,
)
from dfkd.teacher.priors.norm_shift import NormShiftPrior
from dfkd.teacher.priors.nothing import NoPrior
from dfkd.teacher.priors.pack import PackPrior
from dfkd.teacher.priors.patch import PatchPrior
from dfkd.teacher.priors.prior import (
    AnsweringPrior,
    ImagePrior,
    PortablePrior,
    Prior,
    Recording,
    answering,
    corrects,
    name_of,
    opened,
    remembers,
    told_of,
)
from dfkd.teacher.priors.statistics import StatisticsPrior, TapRecording

__all__ = [
    "PRIORS",
    "AnsweringPrior",
    "BatchNormPrior",
    "ExternalPrior",
    "ImagePrior",
    "NamedModel",
    "NoPrior",
    "NormShiftPrior",
    "PackPrior",
    "PatchPrior",
    "PortablePrior",
    "Prior",
    "PriorRow",
    "Recording",
    "StatisticsPrior",
    "TapRecording",
    "answering",
    "corrects",
    "find_prior",
    "name_of",
    "named_prior",
    "opened",
    "prior_around",
    "remembers",
    "suggestion",
    "told_of",
]
