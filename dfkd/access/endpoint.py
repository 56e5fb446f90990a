"""Who answers: the seam between the meter and a server, or a network of one's own."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from dfkd.access.answers import ANSWER_FORMS, AnswerForm
from dfkd.errors import DfkdError
from dfkd.tasks import task_name
from dfkd.teacher import Teacher
from dfkd.teacher.spec import dequantize


@dataclass(frozen=True)
class Info:
    """What an endpoint says of itself.

    Attributes:
        name: tells it from all others: answers are kept by it.
        access: what is seen of its answers.
        image: C, H and W.
        class_names: one a class.
        price: of a query, in whatever the user counts in; 0 where nothing is asked.
        rate: images a second that it takes, or None.
        batch: images that it takes in a request.
        floats: whether it takes images as float32 in [0, 1] beside bytes.
        task: what its answers mean, of ``ANSWER_FORMS``; None where it does not say: the first.

    Raises:
        DfkdError: a task whose answers have no form here.
    """

    name: str
    access: str
    image: tuple[int, int, int]
    class_names: tuple[str, ...]
    price: float = 0.0
    rate: float | None = None
    batch: int = 256
    floats: bool = False
    task: str | None = None

    def __post_init__(self) -> None:
        if self.task is not None and self.task not in ANSWER_FORMS:
            raise DfkdError(
                f"{self.name[:80]} answers for the task {self.task[:40]!r}; an API has "
                f"{', '.join(ANSWER_FORMS)}"
            )

    @property
    def form(self) -> AnswerForm:
        """What its answers look like."""
        task = self.task or next(iter(ANSWER_FORMS))
        return ANSWER_FORMS[task](self.access, len(self.class_names))

    @property
    def identity(self) -> str:
        """What tells its answers from all others in a ledger."""
        said = () if self.task in (None, next(iter(ANSWER_FORMS))) else (self.task,)
        return "|".join((self.name, self.access, *said))


@dataclass(frozen=True)
class Reply:
    """An answer, and how many queries it cost in all, repetitions of its request included."""

    values: Any
    counted: int


class UnansweredError(Exception):
    """A request that failed, and may be repeated.

    Args:
        reason: in a few words.
        counted: queries that the server says it counted for it all the same; None: it is not known.
        wait: seconds that the server asks to wait, where it does.
    """

    def __init__(self, reason: str, counted: int | None = None, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.counted, self.wait = reason, counted, wait


class AccessError(DfkdError):
    """What an endpoint, or the account of it, refuses."""

    final = True


class RefusedError(AccessError):
    """A request that need not be repeated; ``counted`` as in ``UnansweredError``."""

    def __init__(self, reason: str, counted: int = 0) -> None:
        super().__init__(reason)
        self.counted = counted


class Endpoint(Protocol):
    """Answers images.

    Attributes:
        info: what it says of itself.
        remembers: whether a request that is sent again, by the same id, is answered from memory and
            counted once: it can then be found out what became of one.
    """

    info: Info
    remembers: bool

    def ask(self, identity: str, images: Any) -> Reply:
        """Answer N x H x W x C images, uint8 or float32, under the id of a request.

        Raises:
            UnansweredError: it may be tried again.
            RefusedError: it need not.
        """

    def count(self) -> int | None:
        """Return how many queries it has counted from the beginning; None: it does not say."""


class LocalEndpoint:
    """A network of one's own, of which no more is seen than an API would show.

    Args:
        teacher: answers; its weights, statistics and gradients stay behind this.
        access: of ``dfkd.access.answers.ACCESS_KINDS``.

    Raises:
        DfkdError: a task whose answers have no form here.
    """

    remembers = False

    def __init__(self, teacher: Teacher, access: str) -> None:
        self.teacher, self._counted = teacher, 0
        name = f"local {teacher.fingerprint()}"
        self.info = Info(
            name, access, teacher.spec.shape, teacher.class_names, floats=True,
            task=task_name(teacher.task) or type(teacher.task).__name__,
        )  # fmt: skip

    @torch.no_grad()
    def ask(self, identity: str, images: Any) -> Reply:
        """Return the answers; nothing can fail that a repetition would mend."""
        pixels = torch.tensor(images).permute(0, 3, 1, 2).contiguous()
        values = dequantize(pixels) if pixels.dtype == torch.uint8 else pixels.float()
        place = self.teacher.device
        with torch.autocast(place.type, enabled=False):  # a server knows nothing of our precision
            answers = self.teacher(values.to(place))
        self._counted += len(images)
        return Reply(self.info.form.restricted(answers), len(images))

    def count(self) -> int:
        """Return the images answered in this process."""
        return self._counted
