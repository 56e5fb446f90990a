"""A row of the registry of losses: what a loss is, what it needs, and where it is from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from torch import Tensor

from dfkd.errors import DfkdError

LOGITS = ("student.logits", "teacher.logits")


@dataclass(frozen=True)
class Loss:
    """A row of the registry.

    Attributes:
        function: tensors -> scalar; of a learned loss the class of its module, which is built from
            the same values and called with them.
        needs: paths of the positional arguments.
        line: what it is.
        source: the paper, or whoever else has it.
        weight: where to start: of the order that its paper or its scale suggests beside ``kd``.
        keywords: paths of keyword arguments, by their names.
        learned: it has parameters, which are trained with the student and thrown away with the run.
        vectors: features without places, N x C, do as well as maps.
        relation: it compares the images of a batch with each other: several processes then put
            their shares together.
        teaches: a student that minimises it alone, or beside ``kd``, becomes like its teacher.
        modifier: changes the outputs before the loss takes them (``NAME@MODIFIER``); None: nothing.
    """

    function: Callable[..., Any]
    needs: tuple[str, ...]
    line: str
    source: str = ""
    weight: float = 1.0
    keywords: Mapping[str, str] = field(default_factory=dict)
    learned: bool = False
    vectors: bool = False
    relation: bool = False
    teaches: bool = True
    modifier: Callable[[Any], Any] | None = None

    @property
    def summary(self) -> str:
        """The line with its source."""
        return f"{self.line} ({self.source})" if self.source else self.line

    @property
    def features(self) -> bool:
        """Whether it compares feature maps of both networks."""
        return "student.features" in self.needs

    @property
    def student(self) -> bool:
        """Whether it takes anything of the student's side."""
        return any(path.startswith("student.") for path in self.needs)

    @property
    def of_logits(self) -> bool:
        """Whether it takes logits of either side, so that a modifier of logits has a meaning."""
        return any(path in LOGITS for path in self.needs)

    @property
    def inside(self) -> bool:
        """Whether it compares more than the two networks' outputs."""
        return any(path.startswith("student.") and path not in LOGITS for path in self.needs)

    def values(self, outputs: Any) -> tuple[Any, ...]:
        """Return what ``needs`` names, modified where the loss is.

        Raises:
            DfkdError: the loss needs a student, and the outputs have none.
        """
        if outputs.student is None and self.student:
            raise DfkdError("this objective needs a student, and none was given")
        if self.modifier is not None:
            outputs = self.modifier(outputs)
        return tuple(attrgetter(path)(outputs) for path in self.needs)

    def __call__(self, outputs: Any) -> Tensor:
        """Compute the loss of one forward pass of both networks.

        Raises:
            DfkdError: the outputs lack a student, or what the function refuses.
        """
        keywords = {name: attrgetter(path)(outputs) for name, path in self.keywords.items()}
        value: Tensor = self.function(*self.values(outputs), **keywords)
        return value
