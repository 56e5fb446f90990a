"""The order of a written set, from its manifest: the inverse of ``SetOrder.identity``."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from dfkd.datasets.written import SetManifest
from dfkd.errors import DfkdError
from dfkd.recipes import from_dict
from dfkd.runs.inversion_order import with_steps
from dfkd.sets.order import SetOrder
from dfkd.sets.plan import learning_steps, settings_of
from dfkd.synthesis.methods.deep_inversion_config import DeepInversionConfig
from dfkd.tasks.words import shown

_OWN = tuple(field.name for field in fields(SetOrder) if field.name != "recipe")


def order_of(manifest: SetManifest) -> SetOrder:
    """Return what was asked of ``dfkd.synthesize`` when a set was begun.

    Raises:
        DfkdError: the manifest does not say, or says something that cannot be asked.
    """
    try:
        asked = manifest.recipe["asked"]
        own = {name: _hashable(asked[name]) for name in _OWN}
        settings = _nested({key: value for key, value in asked.items() if key not in own})
        order = SetOrder(from_dict(settings), **own)
        same = order.identity() == asked and _follows(manifest, order)
    except (DfkdError, TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        reason = shown(str(error).partition("\n")[0], 100)
        raise DfkdError(
            f"the manifest does not say how the set was made ({reason}): fetch it again, or make "
            "the set anew with dfkd synthesize"
        ) from None
    if not same:
        raise DfkdError(
            "the manifest's settings do not follow from what was asked: fetch it again, or make "
            "the set anew with dfkd synthesize"
        )
    return order


def _follows(manifest: SetManifest, order: SetOrder) -> bool:
    """Whether the settings that were settled on are those asked for, but for what was open."""
    settled, wanted = settings_of(manifest, order), order.recipe.synthesizer
    if isinstance(wanted, DeepInversionConfig) and order.steps:
        wanted = with_steps(wanted, order.steps)
    if getattr(wanted, "flip", 0.0) is None:
        wanted = replace(wanted, flip=settled.flip)
    steps = learning_steps(order, any(manifest.access))
    further = {"method": order.recipe.method, "steps": steps, "mixtures": order.mixtures}
    return bool(settled == wanted) and further.items() <= manifest.recipe.items()


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The groups of settings that dotted names stand for."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *groups, key = name.split(".")
        group = found
        for part in groups:
            group = group.setdefault(part, {})
        group[key] = value
    return found
