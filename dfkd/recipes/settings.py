"""``Recipe``: what a run is made of, as data."""

from dataclasses import dataclass, field, replace
from typing import Any

from dfkd.distillation.learner_config import LearnerConfig
from dfkd.errors import DfkdError, nearest
from dfkd.recipes.methods import METHODS
from dfkd.recipes.schemes import SCHEMES
from dfkd.training.budget import Alternation


@dataclass(frozen=True)
class Recipe:
    """One run, apart from its networks and its budget.

    Attributes:
        method: who makes the images; decides the type of ``synthesizer``.
        init: ``auto``, ``teacher`` or ``random``: where the student starts.
        learner: how a student learns, whatever the scheme.
        scheme: how teacher and students stand to one another; decides the type of
            ``scheme_config``.
        trunk: what becomes of copied layers from the input on that are the teacher's own:
            ``frozen`` leaves them, ``trained`` trains them like the rest.
        seed: of every random choice.
    """

    method: str = "default"
    synthesizer: Any = field(default_factory=METHODS["default"].config)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    scheme: str = "offline"
    scheme_config: Any = field(default_factory=SCHEMES["offline"].config)
    alternation: Alternation = field(default_factory=Alternation)
    init: str = "auto"
    trunk: str = "frozen"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise DfkdError(f"unknown method {self.method!r}{nearest(self.method, METHODS)}")
        wanted = type(METHODS[self.method].config())
        if not isinstance(self.synthesizer, wanted):
            raise DfkdError(f"{type(self.synthesizer).__name__} does not configure {self.method}")
        check_scheme(self.scheme)
        if not isinstance(self.scheme_config, type(SCHEMES[self.scheme].config())):
            raise DfkdError(f"{type(self.scheme_config).__name__} does not configure {self.scheme}")

    @property
    def several_teachers(self) -> bool:
        """Whether the scheme takes more than one teacher."""
        return SCHEMES[self.scheme].several_teachers


def check_scheme(name: str) -> None:
    """Raise unless there is a scheme of that name."""
    if name not in SCHEMES:
        raise DfkdError(f"unknown scheme {name!r}{nearest(name, SCHEMES)}")


def with_scheme(value: Recipe, name: str) -> Recipe:
    """``value`` under another scheme, with the settings that it starts from.

    Raises:
        DfkdError: there is none of that name.
    """
    check_scheme(name)
    row = SCHEMES[name]
    learning = replace(value.learner, **row.learner)
    return replace(value, scheme=name, scheme_config=row.config(), learner=learning)
