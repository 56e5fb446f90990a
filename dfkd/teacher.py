"""The teacher: a frozen network, how to feed it, and what it remembers of its data."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import Self

from dfkd.errors import DfkdError
from dfkd.features import named_layers, open_features
from dfkd.fingerprint import fingerprint
from dfkd.spec import ImageSpec
from dfkd.statistics import LayerStatistics, open_taps, statistics_layers
from dfkd.watching import differentiable


class Trace(NamedTuple):
    """What a teacher shows of a batch: a plain value, no hook left behind.

    ``logits`` N x classes; ``statistics`` in the order of the network's layers;
    ``features`` the outputs of the layers asked for, by name.
    """

    logits: Tensor
    statistics: tuple[LayerStatistics, ...]
    features: dict[str, Tensor]


class FastTrace(Protocol):
    """Another way to the same ``Trace``, for the batches that it ``covers``."""

    def covers(self, images: Tensor) -> bool:
        """Whether it was made for such a batch."""

    def __call__(self, images: Tensor) -> Trace:
        """Logits and statistics."""


class Teacher:
    """A frozen ``nn.Module`` with an ``ImageSpec`` and class names.

    Freezing means eval mode and ``requires_grad=False`` on every parameter;
    ``restore`` gives the module back as it came. Parameters and buffers are
    bit-identical after any use (``fingerprint`` proves it).

    Args:
        network: N x C x H x W normalised images -> N x classes logits.
        spec: the images it expects, before normalisation.
        class_names: one a class; ``"0"``, ``"1"``, ... when left out.

    Raises:
        DfkdError: the network does not return N x classes logits for ``spec``,
            has non-finite weights, or its class names are miscounted.
    """

    def __init__(
        self, network: nn.Module, spec: ImageSpec, class_names: Sequence[str] | None = None
    ) -> None:
        self.network, self.spec = network, spec
        # What torch.compile made does not see hooks that are opened later: trace the original.
        self._hookable: nn.Module = getattr(network, "_orig_mod", network)
        self._modes = {module: module.training for module in network.modules()}
        self._gradients = {p: p.requires_grad for p in network.parameters()}
        self._modules = tuple(network.modules())
        self._layers = statistics_layers(network)
        self._named = named_layers(network)
        self._copied: set[str] = set()
        self._fast_trace: FastTrace | None = None
        _check_finite(network)
        self.freeze()
        try:
            self.num_classes = _count_classes(self)
            self.class_names = tuple(class_names or map(str, range(self.num_classes)))
            if len(self.class_names) != self.num_classes:
                count = len(self.class_names)
                raise DfkdError(f"{count} class names for {self.num_classes} classes")
        except DfkdError:
            self.restore()
            raise

    def freeze(self) -> None:
        """Eval mode, no parameter gradients; called by the constructor."""
        self.network.eval().requires_grad_(False)

    def restore(self) -> nn.Module:
        """The module with the modes and ``requires_grad`` flags it came with."""
        for module, training in self._modes.items():
            module.training = training
        for parameter, requires_grad in self._gradients.items():
            parameter.requires_grad_(requires_grad)
        return self.network

    def __call__(self, images: Tensor) -> Tensor:
        """Images in [0, 1] -> logits; differentiable in the images."""
        return self._answer(self.network, images)

    def _answer(self, network: nn.Module, images: Tensor) -> Tensor:
        if any(module.training for module in self._modules):
            self.freeze()  # somebody called .train() on a shared module: buffers would move
        with differentiable(self._modules) if torch.is_grad_enabled() else nullcontext():
            logits: Tensor = network(self.spec.normalize(images))
        return logits

    def trace(
        self, images: Tensor, statistics: bool = False, features: Sequence[str] = ()
    ) -> Trace:
        """One forward pass with what happened inside; differentiable in the images.

        Statistics are those of each layer's *input* (biased variance), in float32
        even under autocast. A layer that is called twice is recorded twice, as
        ``name`` and ``name@1``.

        Args:
            images: N x C x H x W in [0, 1].
            statistics: record every layer that carries running statistics.
            features: dotted module names whose outputs to return, ``NAME.input`` for what enters
                (those of the last call); see ``dfkd.features``.
        """
        fast = self._fast_trace
        if fast and statistics and not features and fast.covers(images):
            return fast(images)
        watched = self._layers if statistics else {}
        # Features first: what they hand on is a copy, and the taps must see that one.
        with (
            open_features(self._named, features, "teacher") as captured,
            open_taps(watched, self._copied) as taps,
        ):
            logits = self._answer(self._hookable, images)
        overwritten = {tap.name for tap in taps if tap.overwritten}
        if overwritten:
            # An in-place operation changed what the closed-form backward reads.
            # Such layers keep a copy from now on; the forward pass is repeated once.
            self._copied |= overwritten
            return self.trace(images, statistics, features)
        records = tuple(record for tap in taps for record in tap.records)
        return Trace(logits, records, captured)

    def trace_with(self, fast: FastTrace) -> None:
        """Let ``fast`` trace the statistics of what it covers (``dfkd.tapped``)."""
        self._fast_trace = fast

    @property
    def layers(self) -> dict[str, nn.Module]:
        """Layers that carry statistics, by name."""
        return dict(self._layers)

    def require_statistics(self, method: str) -> None:
        """Raise unless some layer carries statistics; never let a missing loss be a silent zero."""
        if not self._layers:
            raise DfkdError(
                f"{method} matches batch-norm statistics, and this teacher stores none; "
                "use --method drawings, which needs only the teacher's answers"
            )

    def to(self, device: torch.device | str) -> Self:
        """Move the network, in place; channels_last where it has 4-d weights."""
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    @property
    def device(self) -> torch.device:
        """Where the network's first parameter or buffer lives."""
        tensors = (*self.network.parameters(), *self.network.buffers())
        return tensors[0].device if tensors else torch.device("cpu")

    def fingerprint(self) -> str:
        """SHA-256 over every parameter and buffer with its name: equal before and after a run."""
        return fingerprint(self.network)


def _check_finite(network: nn.Module) -> None:
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not value.is_meta and not bool(value.isfinite().all()):
            raise DfkdError(f"the teacher's weights hold NaN or infinity (first in {name!r})")


@torch.no_grad()
def _count_classes(teacher: Teacher) -> int:
    """Classes, from a forward pass of two grey images; explains whatever does not fit."""
    spec = teacher.spec
    images = torch.full((2, *spec.shape), 0.5, device=teacher.device)
    shape = "x".join(map(str, spec.shape))
    try:
        logits = teacher(images)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DfkdError(
            f"the network does not accept {shape} images ({reason}); set --image"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[0] != 2:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DfkdError(
            f"the network must return N x classes logits for {shape} images, not {found}"
        )
    if logits.shape[1] < 2:
        raise DfkdError("the network has one output; distillation needs at least two classes")
    return logits.shape[1]
