"""The prior of a network that remembers nothing."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.teacher.priors.prior import Recording


class NoPrior:
    """Nothing is remembered: only the teacher's answers can be asked for."""

    name = "nothing"
    told = "only the teacher's answers are asked for"
    layers: Mapping[str, nn.Module] = {}

    def on(self, network: nn.Module) -> "NoPrior":
        """Return itself: no network remembers less."""
        return self

    def open(self) -> AbstractContextManager[Recording]:
        """Record nothing."""
        return nullcontext(self)

    def finished(self) -> tuple[()]:
        """Return an empty record."""
        return ()

    def distance(self, record: Any) -> Tensor:
        """Raise a ``DfkdError``: there is nothing to compare with."""
        raise DfkdError("this teacher remembers nothing of its data: use `method=drawings`")

    relative_distance = distance
