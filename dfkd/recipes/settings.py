"""``Recipe``: what a run is made of, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dfkd.distillation.learner_config import LearnerConfig
from dfkd.errors import DfkdError, check_settings, nearest
from dfkd.recipes import overlay
from dfkd.recipes.keywords import Init, RecipeSettings, Trunk
from dfkd.recipes.methods import METHODS
from dfkd.recipes.schemes import SCHEMES
from dfkd.synthesis.selection import SelectionConfig
from dfkd.training.budget import Alternation

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class Recipe:
    """One run, apart from its networks and its budget.

    Attributes:
        method: makes the images; decides the type of ``synthesizer``.
        synthesizer: how the method makes them.
        learner: how a student learns, whatever the scheme.
        scheme: how teacher and students stand to one another; decides the type of
            ``scheme_config``.
        scheme_config: the settings of the scheme.
        alternation: when the synthesizer's turn comes, and images in a student's step.
        selection: what of the images the student is shown.
        init: where the student starts: ``teacher`` copies the layers that fit, ``random`` leaves
            its new weights, ``given`` those that it brings; ``auto`` decides.
        trunk: what becomes of copied layers from the input on that are the teacher's own:
            ``frozen`` leaves them, ``trained`` trains them like the rest.
        seed: of every random choice.
    """

    method: str = "redraw"
    synthesizer: Any = field(default_factory=METHODS["redraw"].config)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    scheme: str = "offline"
    scheme_config: Any = field(default_factory=SCHEMES["offline"].config)
    alternation: Alternation = field(default_factory=Alternation)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    init: Init = "auto"
    trunk: Trunk = "frozen"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise DfkdError(f"unknown method {self.method!r}{nearest(self.method, METHODS)}")
        check_scheme(self.scheme)
        for name, group, config in (
            (self.method, self.synthesizer, METHODS[self.method].config()),
            (self.scheme, self.scheme_config, SCHEMES[self.scheme].config()),
        ):
            if not isinstance(group, type(config)):
                raise DfkdError(f"{type(group).__name__} does not configure {name}")
        check_settings(self, quote="`")
        check_seed(self.seed)

    @property
    def several_teachers(self) -> bool:
        """Whether the scheme takes more than one teacher."""
        return SCHEMES[self.scheme].several_teachers

    def with_(self, **settings: "Unpack[RecipeSettings]") -> "Recipe":
        """Lay settings over these: whole groups, or of each group what changes.

        Another scheme brings the settings that it starts from; what is given goes over them.

        Raises:
            DfkdError: an unknown name (the nearest is suggested), a setting of another scheme or
                method, a value of the wrong type or out of range.
        """
        return laid_over(self, settings)


def check_seed(seed: int) -> None:
    """Raise unless generators take ``seed``, and those that are counted up from it."""
    if abs(seed) >= 2**62:
        raise DfkdError(f"`seed` must lie between -2^62 and 2^62, not {str(seed)[:30]}")


def laid_over(value: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Lay nested settings over ``value``; see ``Recipe.with_``."""
    name = str(settings.get("scheme", value.scheme))
    if name != value.scheme:
        value = with_scheme(value, name)
    group = settings.get("scheme_config")
    if isinstance(group, Mapping) and "scheme" not in settings:
        _check_owner(value, group)
    merged: Recipe = overlay.merge(value, settings)
    return merged


def _check_owner(value: Recipe, settings: Mapping[str, Any]) -> None:
    """Raise where a setting is another scheme's."""
    for name in settings:
        owners = (key for key, row in SCHEMES.items() if hasattr(row.config(), str(name)))
        if not hasattr(value.scheme_config, str(name)) and (owner := next(owners, "")):
            raise DfkdError(f"scheme {value.scheme} has no setting {name!r}; add `scheme={owner}`")


def check_scheme(name: str) -> None:
    """Raise unless there is a scheme of that name."""
    if name not in SCHEMES:
        raise DfkdError(f"unknown scheme {name!r}{nearest(name, SCHEMES)}")


def with_scheme(value: Recipe, name: str) -> Recipe:
    """Put ``value`` under another scheme, with the settings that it starts from.

    Raises:
        DfkdError: there is none of that name.
    """
    check_scheme(name)
    row = SCHEMES[name]
    learning = replace(value.learner, **row.learner)
    return replace(value, scheme=name, scheme_config=row.config(), learner=learning)
