"""A row of the registry of methods: all that the rest of the package must know of one."""

from collections.abc import Callable
from typing import Any, NamedTuple

from dfkd.distillation.learner_config import LearnerConfig
from dfkd.protocols import Synthesizer
from dfkd.teacher.spec import ImageSpec
from dfkd.training.budget import Alternation

Shapes = tuple[tuple[int, ...], ...]


def untraced(config: Any, spec: ImageSpec) -> Shapes:
    """Return no shape: of a method that reads no statistics, or features beside them."""
    return ()


class MethodRow(NamedTuple):
    """A row of the catalogue.

    Attributes:
        config: gives the setting that ``--method`` starts from, a frozen dataclass.
        build: (teacher, setting, seed) -> the ``Synthesizer``.
        line: what it does, and its paper.
        alternation: how its updates and the student's steps take turns.
        learner: how its paper trains the student (its loss; the optimiser is everybody's).
        batch: the setting that says how many images are optimised together, "" for none.
        passes: the setting that says how many passes of the teacher an update makes, "" for one.
        drawn: the setting that says how many images an update draws, "" for none.
        alone: its images do not depend on the student.
        round: setting -> updates that make one round, where an update is less than one.
        share: of a budget in minutes, the most that an update should take (``dfkd.runs.pace``).
        statistics: whether the teacher must store some.
        gradient: whether its answers must carry a gradient to the images.
        classifier: whether the teacher must end with a linear layer.
        patches: whether it must be a transformer some of whose patches can be left out.
        shapes: of the traced batches, where they are not simply ``batch`` images.
        published: setting and alternation as printed, where the row's own are smaller. The
            alternation of CMI and ADI, and how many rounds NAYER makes first, are ours.
    """

    config: Callable[[], Any]
    build: Callable[..., Synthesizer]
    line: str
    alternation: Alternation = Alternation()
    learner: LearnerConfig = LearnerConfig()
    batch: str = ""
    passes: str = ""
    drawn: str = ""
    alone: bool = False
    round: Callable[[Any], int] = lambda setting: 1
    share: float = 0.1
    statistics: bool = True
    gradient: bool = True
    classifier: bool = False
    patches: bool = False
    shapes: Callable[[Any, ImageSpec], Shapes] | None = None
    published: tuple[Callable[[], Any], Alternation] | None = None
