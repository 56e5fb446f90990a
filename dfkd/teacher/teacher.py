"""The teacher: a frozen network, how to feed it, and what it remembers of its data."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import Self

from dfkd.errors import DfkdError
from dfkd.networks.fingerprint import check_untouched, digests, fingerprint
from dfkd.networks.foreign import TRIAL, calling
from dfkd.networks.layers import named_layers, open_features, unwrap
from dfkd.networks.modes import set_learning, set_mode, without_cudnn_rnn
from dfkd.teacher.holding import RESTLESS, is_held, let_go
from dfkd.teacher.layout import Layout, Sign, fitted, lay_out, settle
from dfkd.teacher.spec import ImageSpec
from dfkd.teacher.statistics import LayerStatistics, open_taps, statistics_layers
from dfkd.teacher.trial import check_finite, count_classes, first_pass


class Trace(NamedTuple):
    """What a teacher shows of a batch: a plain value, no hook left behind.

    ``logits`` N x classes; ``statistics`` in the order of the network's layers;
    ``features`` the outputs of the layers asked for, by name.
    """

    logits: Tensor
    statistics: tuple[LayerStatistics, ...]
    features: dict[str, Tensor]


class FastTrace(Protocol):
    """Another way to the same ``Trace``, for the batches that it ``accepts``."""

    def accepts(self, images: Tensor) -> bool:
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

    Attributes:
        held: why it is held in eval mode (``dfkd.teacher.holding``), neither folded nor compiled
            nor recomputed; "" for any other.
        before_pass: called before each pass: whoever works with a teacher for long can be seen at
            work there, and stopped.
        layout: in which order it keeps its weights, once ``to`` has tried.

    Raises:
        DfkdError: the network does not return N x classes logits for ``spec``, fails, changes
            itself, has non-finite weights, or its class names are miscounted. It is then as it
            came.
    """

    def __init__(
        self, network: nn.Module, spec: ImageSpec, class_names: Sequence[str] | None = None
    ) -> None:
        self.network, self.spec = network, spec
        # What torch.compile made does not see hooks that are opened later: trace the original.
        self._hookable: nn.Module = unwrap(network)
        self._modes = {module: module.training for module in network.modules()}
        self._gradients = {p: p.requires_grad for p in network.parameters()}
        self._modules = tuple(network.modules())
        self._sign = Sign(network)
        self._layers = statistics_layers(network)
        self._named = named_layers(network)
        self._copied: set[str] = set()
        self._fast_trace: FastTrace | None = None
        self.before_pass: Callable[[], None] = lambda: None
        # Another teacher may hold it, or a part of it, already: that one lets it go.
        self.held = RESTLESS if any(map(is_held, self._modules)) else ""
        self._holds = False
        self.layout: Layout | None = None
        self._accepted: int | None = None
        check_finite(network)
        try:
            self.num_classes = count_classes(self._trial(), spec)
            self.class_names = tuple(class_names or map(str, range(self.num_classes)))
            if len(self.class_names) != self.num_classes:
                count = len(self.class_names)
                raise DfkdError(f"{count} class names for {self.num_classes} classes")
            if twice := [name for name, n in Counter(self.class_names).items() if n > 1]:
                raise DfkdError(f"several classes are called {twice[0][:40]!r}: name them apart")
        except BaseException:
            self.restore()
            raise

    @torch.no_grad()
    def _trial(self) -> object:
        """What the network says of two grey images; it is held in eval mode where it must be."""
        images = torch.full((TRIAL, *self.spec.shape), 0.5, device=self.device)
        with self._calling(images):
            self.network.eval()
            restless = any(module.training for module in self._modules)
            self.freeze()
        logits, self._holds = first_pass(self.network, lambda: self(images), restless)
        self.held = RESTLESS if self._holds else self.held
        self._accepted = len(images)
        return logits

    def like(self, network: nn.Module) -> "Teacher":
        """A teacher of the same images and classes, whose ``network`` answers alike."""
        other = Teacher(network, self.spec, self.class_names)
        other.layout = self.layout
        return other

    def freeze(self) -> None:
        """Eval mode, no parameter gradients; called by the constructor."""
        set_mode(self.network, False)
        set_learning(self.network, False)

    def restore(self) -> nn.Module:
        """The module with the modes and ``requires_grad`` flags it came with."""
        if self._holds:
            let_go(self._modules)
        for module, training in self._modes.items():
            module.training = training
        for parameter, requires_grad in self._gradients.items():
            parameter.requires_grad_(requires_grad)
        return self.network

    def __call__(self, images: Tensor) -> Tensor:
        """Images in [0, 1] -> logits; differentiable in the images."""
        self.before_pass()
        return self._answer(self.network, images)

    def _answer(self, network: nn.Module, images: Tensor) -> Tensor:
        if any(module.training for module in self._modules):
            self.freeze()  # somebody called .train() on a shared module: buffers would move
        with (
            self._calling(images),
            without_cudnn_rnn(self._modules) if torch.is_grad_enabled() else nullcontext(),
        ):
            logits: Tensor = network(fitted(self.spec.normalize(images), self._sign.order()))
        return logits

    def _calling(self, images: Tensor) -> AbstractContextManager[None]:
        return calling("the teacher", images.shape, known=self._accepted, resize="set --image")

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
                (those of the last call); see ``dfkd.networks.layers``.
        """
        self.before_pass()
        fast = self._fast_trace
        if fast and statistics and not features and fast.accepts(images):
            with self._calling(images):
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

    def use_fast_trace(self, fast: FastTrace) -> None:
        """Let ``fast`` trace the statistics of what it covers (``dfkd.teacher.tapped``)."""
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
        """Move the network, in place; channels_last where it runs so (``dfkd.teacher.layout``)."""
        if self.layout is None:
            self.layout = settle(self.network, self.spec, device, modes=(False,))
        else:
            self.network.to(device)
            lay_out(self._hookable, channels_last=self.layout.channels_last)
        return self

    @property
    def device(self) -> torch.device:
        """Where the network's first parameter or buffer lives."""
        tensors = (*self.network.parameters(), *self.network.buffers())
        return tensors[0].device if tensors else torch.device("cpu")

    def fingerprint(self) -> str:
        """SHA-256 over every parameter and buffer with its name: equal before and after a run."""
        return fingerprint(self.network)

    def digests(self) -> dict[str, str]:
        """The same of each of them, by name: what ``check_untouched`` compares."""
        return digests(self.network)

    def check_untouched(self, before: Mapping[str, str]) -> None:
        """Raise where something is no longer as it was when ``digests`` gave ``before``.

        Raises:
            DfkdError: names the first tensor that differs.
        """
        check_untouched(before, self.network)
