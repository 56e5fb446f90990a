"""The teacher: a frozen network, how to feed it, and what it remembers of its data."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.networks.foreign import TRIAL
from dfkd.networks.layers import open_features, unwrap
from dfkd.networks.readiness import check_answer, is_quantised
from dfkd.networks.surroundings import own_surroundings
from dfkd.protocols import Source
from dfkd.tasks import Prediction, Task
from dfkd.tasks.subset import Subset
from dfkd.teacher.frozen import FrozenNetwork
from dfkd.teacher.priors import (
    PRIORS,
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
from dfkd.teacher.trace import FastTrace, Trace
from dfkd.teacher.trial import find_task

NO_PRIOR = NoPrior()


class Teacher(FrozenNetwork):
    """A frozen ``nn.Module`` with a space, a task and a prior.

    Args:
        network: normalised samples, N x C x H x W images as a rule -> answers that ``task`` reads.
        spec: the samples it expects, before normalisation: its space.
        class_names: one a class; ``"0"``, ``"1"``, ... when left out.
        task: what its output means, or the word for it (``dfkd.tasks.TASKS``): it is found in its
            first answer; ``classification``, when left out.
        prior: what it remembers of its data; its batch-norms' statistics, if any, when left out. A
            name of ``dfkd.teacher.priors.PRIORS``, such as ``"pack:FILE"``, or a ``Prior``.

    Attributes:
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
        super().__init__(network, spec)
        self._fast_trace: FastTrace | None = None
        self.source: Source | None = None
        self.notes: tuple[str, ...] = ()
        self.subset: Subset | None = None
        self._seen = False
        try:
            if isinstance(prior, str):
                prior = named_prior(prior, self._hookable, spec)
            self.prior: Prior = find_prior(network) if prior is None else prior
            if not isinstance(self.prior, PortablePrior):
                self.held = self.held or "its prior reads this network alone"
            raw = self._trial()
            self.task = find_task(raw, task or "classification", class_names, spec, self._ask)
            check_answer(self.task.read(raw).logits, self._noise_answer, "the teacher")
        except BaseException:
            self.restore()
            raise

    def _ask(self, images: Tensor) -> object:
        return self._answer(self.network, images.to(self.device))

    @torch.no_grad()
    def _noise_answer(self) -> Tensor:
        noise = torch.rand((TRIAL, *self.spec.shape), generator=torch.Generator().manual_seed(0))
        return self.task.read(self._ask(noise)).logits

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
                f"{method} matches batch-norm statistics, and this teacher stores none: give a "
                f"`prior` in their place ({self._priors}), or distil or synthesize with "
                "`method=drawings`, which needs only its answers"
            )

    @property
    def _priors(self) -> str:
        """What could be compared with instead, as words of an option."""
        patch = ("patch",) if PRIORS["patch"].fits(self._hookable) else ()
        return ", ".join((*patch, "pack:FILE", "external:MODEL"))

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
