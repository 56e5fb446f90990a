"""A copy of a teacher's network whose taps stay open: what is compiled or recomputed."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.losses.statistics import LayerStatistics
from dfkd.networks.copying import copy_network
from dfkd.networks.layers import clean_name, unwrap
from dfkd.teacher.layout import layout_of, to_layout
from dfkd.teacher.priors import StatisticsPrior, name_of
from dfkd.teacher.statistics import Moments, input_moments
from dfkd.teacher.teacher import Teacher
from dfkd.teacher.trace import Trace


def tapped_prior(teacher: Teacher) -> StatisticsPrior:
    """Return a teacher's prior, of the only kind that open taps record for.

    Raises:
        DfkdError: it is of another kind.
    """
    if not isinstance(teacher.prior, StatisticsPrior):
        raise DfkdError(
            f"the prior {name_of(teacher.prior)} compares no layers' statistics: leave `compile` "
            "and `recompute` off"
        )
    return teacher.prior


class TappedNetwork(nn.Module):
    """N x C x H x W normalised images -> logits, and every layer's statistics as it is called."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        prior = tapped_prior(teacher)
        self.network = copy_network(unwrap(teacher.network))
        self._names: list[str] = []
        self._values: list[tuple[Tensor, Tensor]] = []
        self._forward = False
        for name, module in self.network.named_modules():
            if clean_name(name) in prior.layers:
                axis = prior.axes.get(clean_name(name), 1)
                module.register_forward_pre_hook(self._tap(clean_name(name), axis))

    def _tap(self, name: str, axis: int) -> Callable[[Any, tuple[Any, ...]], None]:
        def tap(module: Any, arguments: tuple[Any, ...]) -> None:
            values = input_moments(module, arguments[0], axis)
            if self._forward:  # and not in backward, where a block is recomputed
                self._names.append(name)
                self._values.append(values)

        return tap

    def forward(
        self, x: Tensor
    ) -> tuple[Tensor, tuple[str, ...], tuple[tuple[Tensor, Tensor], ...]]:
        """Return logits, the layers as they were called, and their (mean, biased variance)."""
        self._forward = True
        logits = self.network(x)
        names, values = tuple(self._names), tuple(self._values)
        # Left as it was found: with filled lists this would be another program to the compiler.
        self._names.clear()
        self._values.clear()
        self._forward = False
        return logits, names, values


class TappedTrace:
    """``Teacher.trace(images, statistics=True)`` by way of ``run``, for batches of ``shapes``.

    Args:
        teacher: whose specification and stored statistics to use.
        run: what a ``TappedNetwork`` does, compiled or not.
        shapes: N x C x H x W; None for all.
    """

    def __init__(
        self,
        teacher: Teacher,
        run: Callable[[Tensor], Any],
        shapes: frozenset[tuple[int, ...]] | None,
    ) -> None:
        self._shapes, self._run = shapes, run
        self._spec, self._task = teacher.spec, teacher.task
        self._prior = tapped_prior(teacher)
        self._order = layout_of(teacher.network)

    def accepts(self, images: Tensor) -> bool:
        """Tell whether ``images`` has one of the shapes."""
        return self._shapes is None or tuple(images.shape) in self._shapes

    def __call__(self, images: Tensor) -> Trace:
        """Logits and statistics, in the order of registration."""
        # One layout, so that nothing is compiled twice.
        normalised = to_layout(self._spec.normalize(images), self._order)
        logits, names, values = self._run(normalised)
        calls: dict[str, list[LayerStatistics]] = {name: [] for name in self._prior.layers}
        for name, (mean, var) in zip(names, values, strict=True):
            found = Moments(name, len(calls[name]), mean, var)
            calls[name].append(self._prior.beside(found))
        records = tuple(record for each in calls.values() for record in each)
        return Trace(self._task.read(logits), records, {})
