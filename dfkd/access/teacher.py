"""A teacher of which only answers are seen, each of them counted."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from dfkd.access.answers import SMOOTHING, ClassAnswers
from dfkd.access.endpoint import LocalEndpoint
from dfkd.access.meter import TRIAL, Meter
from dfkd.errors import DfkdError
from dfkd.networks.fingerprint import check_untouched, digests
from dfkd.tasks import MultiLabel
from dfkd.tasks.subset import Subset
from dfkd.teacher.spec import ImageSpec, dequantize, quantize
from dfkd.teacher.teacher import Teacher

_WHOLE = 1e-3
"""Of a step of 8 bits: values that are nearer to whole ones are what bytes hold."""


class MeteredAnswers(nn.Module):
    """Normalised images -> logits, by way of a ``Meter``: no parameter, no gradient.

    Args:
        meter: asks.
        spec: of the images.
        smoothing: see ``AnswerForm``.
        classes: of those answered about the ones that count; None: all.
    """

    def __init__(
        self,
        meter: Meter,
        spec: ImageSpec,
        smoothing: float = SMOOTHING,
        classes: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.meter, self.spec, self.smoothing, self.classes = meter, spec, smoothing, classes

    @torch.no_grad()
    def forward(self, normalized: Tensor) -> Tensor:
        """Ask about each image as bytes; one that bytes do not hold as float32 where it may be."""
        info = self.meter.info
        images = self.spec.denormalize(normalized.detach().float())
        pixels = quantize(images)
        if info.floats and float((dequantize(pixels) - images).abs().max()) > _WHOLE / 255:
            pixels = images
        answers = self.meter.ask(pixels.permute(0, 2, 3, 1).cpu().numpy())
        form = info.form
        if self.classes is not None:
            answers, form = answers[:, self.classes], ClassAnswers(info.access, len(self.classes))
        return form.as_logits(answers, self.smoothing).to(normalized.device)

    def __deepcopy__(self, memo: Any) -> "MeteredAnswers":
        """Return this one: copies would count apart."""
        return self


class MeteredTeacher(Teacher):
    """A ``Teacher`` behind a ``Meter``; its trial pass is the first query.

    Args:
        meter: asks, and counts.
        spec: of the images; those that the endpoint takes.
        smoothing: where the decision alone is seen, see ``AnswerForm``.
        subset: of the endpoint's classes those that count; None: all.

    Raises:
        DfkdError: the endpoint takes other images; some of its classes cannot be told apart from
            what it answers.
    """

    opaque = True

    def __init__(
        self,
        meter: Meter,
        spec: ImageSpec,
        smoothing: float = SMOOTHING,
        subset: Subset | None = None,
    ) -> None:
        if spec.shape != meter.info.image:
            taken, wanted = ("x".join(map(str, shape)) for shape in (meter.info.image, spec.shape))
            raise DfkdError(f"the teacher takes {taken} images, not {wanted}: leave `image` out")
        info = meter.info
        if subset is not None and (info.access == "top1" or info.task == "multilabel"):
            told = (
                "the class alone is seen" if info.access == "top1" else "its labels are no choice"
            )
            raise DfkdError(f"`only_classes` cannot be told of this teacher: {told}; leave it out")
        self.meter = meter
        classes = None if subset is None else subset.indices
        network = MeteredAnswers(meter, spec, smoothing, classes)
        names = info.class_names if subset is None else subset.names
        task = MultiLabel(len(names), names) if info.task == "multilabel" else None
        with meter.asking(TRIAL):
            super().__init__(network, spec, names, task=task)
        self.subset = subset

    def to(self, device: torch.device | str) -> "MeteredTeacher":
        """Note where its images are made; a network of one's own behind it goes there."""
        if isinstance(endpoint := self.meter.endpoint, LocalEndpoint):
            endpoint.teacher.to(device)
        self._at = torch.device(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where its images are made."""
        return getattr(self, "_at", torch.device("cpu"))

    def like(self, network: nn.Module) -> Teacher:
        """Return this one: there is no faster one."""
        return self

    @property
    def differentiable(self) -> bool:
        """Whether its answers have a gradient; none comes through."""
        return False

    @property
    def takes_floats(self) -> bool:
        """Whether it can be asked about images between two steps of 8 bits."""
        return self.meter.info.floats

    @property
    def measurable(self) -> nn.Module | None:
        """The network to be measured on real images; only one's own is not asked for money."""
        endpoint = self.meter.endpoint
        return endpoint.teacher.network if isinstance(endpoint, LocalEndpoint) else None

    def affordable(self, count: int) -> int:
        """Return how many of ``count`` new images it can still be asked about."""
        return int(min(count, self.meter.left))

    def require_statistics(self, method: str) -> None:
        """Raise a ``DfkdError``: nothing inside it is seen."""
        self._hidden(f"{method} matches batch-norm statistics")

    def require_gradient(self, method: str) -> None:
        """Raise a ``DfkdError``: no gradient comes through."""
        self._hidden(f"{method} follows the teacher's gradient to the images")

    def require_inside(self, what: str) -> None:
        """Raise a ``DfkdError``: nothing inside it is seen."""
        self._hidden(what)

    def _hidden(self, what: str) -> NoReturn:
        raise DfkdError(
            f"{what}, and of this teacher only answers are seen (`access={self.meter.info.access}`)"
            ": use default, drawings, disguide or dfme, and knowledge of answers such as kd"
        )

    def fingerprint(self) -> str:
        """Return what tells it from others: endpoint and access."""
        said = f"{self.meter.info.identity}|{self._answers.smoothing:g}"
        if self._answers.classes is not None:
            said += f"|{self._answers.classes}"
        return hashlib.sha256(said.encode()).hexdigest()

    def digests(self) -> dict[str, str]:
        """Hash what lies behind it, where that is at hand."""
        return {} if self.measurable is None else digests(self.measurable)

    def check_untouched(self, before: Mapping[str, str]) -> None:
        """Raise where that has changed; see ``Teacher``."""
        if self.measurable is not None:
            check_untouched(before, self.measurable)

    def told(self) -> Iterator[str]:
        """Say what is seen of it, and what that costs, a line each."""
        meter = self.meter
        seen = meter.info.form.told(self._answers.smoothing)
        limit = "without a limit" if meter.budget is None else f"of {meter.budget:,} queries"
        price = f", at {meter.info.price:g} a query" if meter.info.price else ""
        yield f"answers only: {seen}; {limit}{price}, no gradient, no statistics"

    @property
    def _answers(self) -> MeteredAnswers:
        assert isinstance(self.network, MeteredAnswers)
        return self.network


def meter_of(teacher: Teacher) -> Meter | None:
    """Return what counts a teacher's answers; None where nothing does."""
    return teacher.meter if isinstance(teacher, MeteredTeacher) else None


def asking(teacher: Teacher, purpose: str) -> AbstractContextManager[None]:
    """Count what is asked within the block for ``purpose``, where anything is counted."""
    meter = meter_of(teacher)
    return nullcontext() if meter is None else meter.asking(purpose)


def accounted(teacher: Teacher) -> dict[str, Any] | None:
    """Return what was asked of a teacher and paid; None where nothing is counted."""
    meter = meter_of(teacher)
    return None if meter is None else meter.as_dict()
