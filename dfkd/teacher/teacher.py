"""The teacher: a frozen network, how to feed it, and what it remembers of its data."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import Self

from dfkd.errors import DfkdError, nearest
from dfkd.networks.fingerprint import check_untouched, digests, fingerprint
from dfkd.networks.foreign import TRIAL, calling
from dfkd.networks.layers import named_layers, open_features, unwrap
from dfkd.networks.modes import set_learning, set_mode, without_cudnn_rnn
from dfkd.networks.readiness import check_answer, is_quantised, materialise, own_type, take_float32
from dfkd.networks.surroundings import check_has_weights, check_module, own_surroundings
from dfkd.protocols import Source
from dfkd.tasks import TASKS, Prediction, Task
from dfkd.tasks.subset import Subset
from dfkd.teacher.holding import RESTLESS, is_held, let_go
from dfkd.teacher.layout import Layout, Sign, fitted, lay_out, settle
from dfkd.teacher.priors import (
    AnsweringPrior,
    NoPrior,
    PortablePrior,
    Prior,
    answering,
    find_prior,
    name_of,
    named_prior,
    opened,
    remembers,
)
from dfkd.teacher.spec import ImageSpec, check_asked
from dfkd.teacher.trial import answers_within_one, check_finite, first_pass

NO_PRIOR = NoPrior()


class Trace(NamedTuple):
    """What a teacher shows of a batch: a plain value, no hook left behind.

    Attributes:
        prediction: its answer, read by its task.
        statistics: what its prior recorded; of batch-norms one entry a layer, in their order.
        features: the outputs of the layers asked for, by name.
    """

    prediction: Prediction
    statistics: Any
    features: dict[str, Tensor]

    @property
    def logits(self) -> Tensor:
        """The prediction's rows of logits; N x classes where a sample is a row."""
        return self.prediction.logits


class FastTrace(Protocol):
    """Another way to the same ``Trace``, for the batches that it ``accepts``."""

    def accepts(self, images: Tensor) -> bool:
        """Tell whether it was made for such a batch."""

    def __call__(self, images: Tensor) -> Trace:
        """Logits and statistics."""


class Teacher:
    """A frozen ``nn.Module`` with a space, a task and a prior.

    Freezing means eval mode and ``requires_grad=False`` on every parameter;
    ``restore`` gives the module back as it came. Parameters and buffers are
    bit-identical after any use (``fingerprint`` proves it).

    Args:
        network: normalised samples, N x C x H x W images as a rule -> answers that ``task`` reads.
        spec: the samples it expects, before normalisation: its space.
        class_names: one a class; ``"0"``, ``"1"``, ... when left out.
        task: what its output means, or the word for it (``dfkd.tasks.TASKS``): it is found in its
            first answer; ``classification``, when left out.
        prior: what it remembers of its data; its batch-norms' statistics, if any, when left out. A
            name of ``dfkd.teacher.priors.PRIORS``, such as ``"pack:FILE"``, or a ``Prior``.

    Attributes:
        autocast: the context that its passes are to run in; the caller opens it.
        held: why it is held in eval mode (``dfkd.teacher.holding``), neither folded nor compiled
            nor recomputed; "" for any other.
        before_pass: called before each pass: whoever works with a teacher for long can be seen at
            work there, and stopped.
        layout: in which order it keeps its weights, once ``to`` has tried.
        source: what builds its network, where that is known.
        notes: what was decided in loading it, a line each.
        subset: which of its model's classes it knows, where somebody chose (``load_teacher``).
        present: whether it can be asked; of a written dataset (``dfkd.teacher.absent``) it cannot.
        opaque: whether only its answers are seen (``dfkd.access``), each of which is counted.

    Raises:
        DfkdError: the task cannot read the network's answer to ``spec``, the network fails, changes
            itself or has non-finite weights, or its class names are miscounted. It is then as it
            came.
    """

    present = True
    opaque = False

    @own_surroundings()
    def __init__(
        self,
        network: nn.Module,
        spec: ImageSpec,
        class_names: Sequence[str] | None = None,
        *,
        task: Task | str | None = None,
        prior: Prior | str | None = None,
    ) -> None:
        check_module(network, "the teacher")
        if not callable(getattr(spec, "normalize", None)):
            raise DfkdError(
                f"`spec` is a {type(spec).__name__} and says which samples the teacher takes: "
                "dfkd.ImageSpec(channels, height, width)"
            )
        self.network, self.spec = network, spec
        materialise(network, spec.normalize(spec.example(TRIAL, self.device)), "the teacher")
        self.autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
        # What torch.compile made does not see hooks that are opened later: trace the original.
        self._hookable: nn.Module = unwrap(network)
        self._modes = {module: module.training for module in network.modules()}
        self._gradients = {p: p.requires_grad for p in network.parameters()}
        self._modules = tuple(network.modules())
        self._sign = Sign(network)
        if isinstance(prior, str):
            prior = named_prior(prior, self._hookable, spec)
        self.prior: Prior = find_prior(network) if prior is None else prior
        self._named = named_layers(network)
        self._fast_trace: FastTrace | None = None
        self.before_pass: Callable[[], None] = lambda: None
        # Another teacher may hold it, or a part of it, already: that one lets it go.
        self.held = RESTLESS if any(map(is_held, self._modules)) else ""
        if not isinstance(self.prior, PortablePrior):
            self.held = self.held or "its prior reads this network alone"
        self._holds = False
        self.layout: Layout | None = None
        self.source: Source | None = None
        self.notes: tuple[str, ...] = ()
        self.subset: Subset | None = None
        self._accepted: int | None = None
        self._seen = False
        self._casts = take_float32(network)
        try:
            check_finite(network)
            raw = self._trial()
            self.task = self._found_task(raw, task or "classification", class_names)
            check_answer(self.task.read(raw).logits, self._noise_answer, "the teacher")
        except BaseException:
            self.restore()
            raise

    @torch.no_grad()
    def _trial(self) -> object:
        """What the network says of two grey images; it is held in eval mode where it must be."""
        images = self.spec.example(TRIAL, self.device)
        with self._calling(images):
            self.network.eval()
            restless = any(module.training for module in self._modules)
            self.freeze()
        self.before_pass()
        raw, self._holds = first_pass(
            self.network, lambda: self._answer(self.network, images), restless
        )
        self.held = RESTLESS if self._holds else self.held
        self._accepted = len(images)
        return raw

    def _found_task(self, raw: object, task: Task | str, names: Sequence[str] | None) -> Task:
        if not isinstance(task, str):
            return task
        if task not in TASKS:
            raise DfkdError(f"no task {task[:40]!r}{nearest(task, TASKS)}")
        found: Task = TASKS[task](raw, self.spec.shape, names, self._answers_within_one)
        return found

    def _answers_within_one(self) -> bool:
        return answers_within_one(
            lambda images: self._answer(self.network, images), self.spec, self.device
        )

    @torch.no_grad()
    def _noise_answer(self) -> Tensor:
        noise = torch.rand((TRIAL, *self.spec.shape), generator=torch.Generator().manual_seed(0))
        return self.task.read(self._answer(self.network, noise.to(self.device))).logits

    @property
    def num_classes(self) -> int:
        """What its task counts: classes, or labels."""
        return self.task.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """One a class."""
        return self.task.names

    def like(self, network: nn.Module) -> "Teacher":
        """Build a teacher of the same samples and task from a ``network`` that answers alike."""
        prior = self.prior.on(unwrap(network)) if isinstance(self.prior, PortablePrior) else None
        other = Teacher(network, self.spec, task=self.task, prior=prior)
        other.layout, other.autocast = self.layout, self.autocast
        return other

    def freeze(self) -> None:
        """Eval mode, no parameter gradients; called by the constructor."""
        set_mode(self.network, False)
        set_learning(self.network, False)

    def restore(self) -> nn.Module:
        """Give back the module with the modes and ``requires_grad`` flags it came with."""
        if self._holds:
            let_go(self._modules)
        if self._casts is not None:
            self._casts.remove()
        for module, training in self._modes.items():
            module.training = training
        for parameter, requires_grad in self._gradients.items():
            parameter.requires_grad_(requires_grad)
        return self.network

    def __call__(self, images: Tensor) -> Tensor:
        """Return the rows of logits for images in [0, 1]; differentiable in the images.

        Raises:
            DfkdError: no floats, or, the first time, numbers from 0 to 255.
        """
        check_asked(self.spec, images, values=not self._seen)
        self._seen = True
        return self.predict(images).logits

    def predict(self, images: Tensor) -> Prediction:
        """Return the whole answer to samples of the space; differentiable in them."""
        self.before_pass()
        # What torch.compile made does not see a prior's hooks either.
        shifted = isinstance(self.prior, AnsweringPrior)
        with answering(self.prior):
            raw = self._answer(self._hookable if shifted else self.network, images)
        return self.task.read(raw)

    def _answer(self, network: nn.Module, images: Tensor) -> Any:
        check_asked(self.spec, images)
        if any(module.training for module in self._modules):
            self.freeze()  # somebody called .train() on a shared module: buffers would move
        with (
            self._calling(images),
            without_cudnn_rnn(self._modules) if torch.is_grad_enabled() else nullcontext(),
        ):
            return network(fitted(self.spec.normalize(images), self._sign.order()))

    def _calling(self, images: Tensor) -> AbstractContextManager[None]:
        return calling("the teacher", images.shape, known=self._accepted, resize="set `image`")

    def trace(
        self, images: Tensor, statistics: bool = False, features: Sequence[str] = ()
    ) -> Trace:
        """Run one forward pass and return what happened inside; differentiable in the images.

        Statistics are those of each layer's *input* (biased variance), in float32
        even under autocast. A layer that is called twice is recorded twice, as
        ``name`` and ``name@1``.

        Args:
            images: N x C x H x W in [0, 1].
            statistics: let the prior record.
            features: dotted module names whose outputs to return, ``NAME.input`` for what enters
                (those of the last call); see ``dfkd.networks.layers``.
        """
        self.before_pass()
        fast = self._fast_trace
        if fast and statistics and not features and fast.accepts(images):
            with self._calling(images):
                return fast(images)
        prior = self.prior if statistics else NO_PRIOR
        # Features first: what they hand on is a copy, and the taps must see that one.
        with (
            open_features(self._named, features, "teacher") as captured,
            opened(prior, images) as recording,
            answering(self.prior),
        ):
            raw = self._answer(self._hookable, images)
        record = recording.finished()
        if record is None:
            return self.trace(images, statistics, features)
        return Trace(self.task.read(raw), record, captured)

    def use_fast_trace(self, fast: FastTrace) -> None:
        """Let ``fast`` trace the statistics of what it covers (``dfkd.teacher.tapped``)."""
        self._fast_trace = fast

    @property
    def layers(self) -> dict[str, nn.Module]:
        """Layers that the prior reads, by name."""
        return dict(self.prior.layers)

    @property
    def prior_note(self) -> str:
        """The name of a prior that was given; "" for the one that the network has itself."""
        name = name_of(self.prior)
        return "" if name == name_of(find_prior(self._hookable)) else name

    @property
    def remembers(self) -> bool:
        """Whether its prior has anything to compare images with."""
        return remembers(self.prior)

    @property
    def student_task(self) -> Task:
        """The task as students answer it: by logits, where the teacher ends in a softmax."""
        return self.task.of_students

    @cached_property
    def differentiable(self) -> bool:
        """Whether its answers, or what the prior records, carry a gradient to the images."""
        with torch.enable_grad():
            images = self.spec.example(TRIAL, self.device).requires_grad_()
            found = self.trace(images, statistics=self.remembers)
            if self.carries(found.logits) or not self.remembers:
                return self.carries(found.logits)
            return self.prior.relative_distance(found.statistics).requires_grad

    def carries(self, logits: Tensor) -> bool:
        """Tell whether its ``logits`` carry a gradient; what went through whole numbers does not.

        torch marks them as if they did.
        """
        return logits.requires_grad and not any(map(is_quantised, self._modules))

    def require_statistics(self, method: str) -> None:
        """Raise unless some layer carries statistics; never let a missing loss be a silent zero."""
        if not self.remembers:
            raise DfkdError(
                f"{method} matches batch-norm statistics, and this teacher stores none; "
                "use `method=drawings`, which needs only the teacher's answers, or give a `prior`"
            )

    def require_gradient(self, method: str) -> None:
        """Raise unless images can be made by following what the teacher says of them."""
        if not self.differentiable:
            raise DfkdError(
                f"{method} follows the teacher's gradient to the images, and its answers carry "
                "none: take no_grad() or detach() out of its forward, or use `method=drawings`"
            )

    def require_inside(self, what: str) -> None:
        """Raise unless the network can be looked into; ``what`` does, in words."""

    def affordable(self, count: int) -> int:
        """Return how many of ``count`` new images it can still be asked about: all."""
        return count

    @property
    def takes_floats(self) -> bool:
        """Whether it can be asked about images between two steps of 8 bits."""
        return True

    @property
    def measurable(self) -> nn.Module | None:
        """The network, where it may be measured on real images; None where it may not."""
        return self.network

    def to(self, device: torch.device | str) -> Self:
        """Move the network, in place; channels_last where it runs so (``dfkd.teacher.layout``)."""
        check_has_weights(self.network, "the teacher", device)
        if torch.device(device).type == "mps" and own_type(self.network) is torch.float64:
            raise DfkdError("the teacher is of float64, which mps has not: call .float() on it")
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
        """Hash every parameter and buffer with its name (SHA-256): equal before and after a run."""
        return fingerprint(self.network)

    def digests(self) -> dict[str, str]:
        """Hash each of them by name, for ``check_untouched``."""
        return digests(self.network)

    def check_untouched(self, before: Mapping[str, str]) -> None:
        """Raise where something is no longer as it was when ``digests`` gave ``before``.

        Raises:
            DfkdError: names the first tensor that differs.
        """
        check_untouched(before, self.network)
