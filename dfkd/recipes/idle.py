"""Settings that a recipe has and a command has no use for: they are refused, not ignored."""

from collections.abc import Sequence

from dfkd.errors import DfkdError
from dfkd.recipes.named import RECIPES
from dfkd.recipes.overlay import flat
from dfkd.recipes.settings import Recipe
from dfkd.recipes.text import to_dict
from dfkd.tasks.words import shown


def idle_settings(value: Recipe, used: Sequence[str]) -> list[str]:
    """List the settings, as ``name=value``, that are as in no recipe of the method, and not used.

    Args:
        value: of a command.
        used: what has a say: groups, or single settings such as ``alternation.batch_size``.

    >>> idle_settings(recipe("fast", learner=dict(lr=0.5)), ["method", "synthesizer"])
    ['learner.lr=0.5']
    """
    known = [flat(to_dict(build())) for build in RECIPES.values() if build().method == value.method]
    return [
        f"{name}={own}"
        for name, own in flat(to_dict(value)).items()
        if name not in used
        and name.partition(".")[0] not in used
        and all(own != one.get(name) for one in known)
    ]


def check_idle(value: Recipe, used: Sequence[str], why: str) -> None:
    """Raise where a recipe has settings that would be ignored.

    Args:
        value: of a command.
        used: see ``idle_settings``.
        why: what has a say in place of them, in words.

    Raises:
        DfkdError: names the first.
    """
    if idle := idle_settings(value, used):
        name, _, given = idle[0].partition("=")
        raise DfkdError(f"{name} ({shown(given, 40)}) would have no say: {why}; leave it out")
