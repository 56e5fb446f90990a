"""Calls of version 0.1, for one version more: their keywords become today's groups."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from dfkd import recipes
from dfkd.errors import DfkdError
from dfkd.recipes import Recipe
from dfkd.runs.callbacks import Callback
from dfkd.runs.options import Compute, Evaluation, Output, batch_size_of
from dfkd.synthesis.methods.deep_inversion_config import DeepInversionConfig, default_config
from dfkd.teacher import Teacher
from dfkd.training.augment import with_flip

COMPUTE = ("device", "precision", "devices", "compile", "recompute", "batch_size")
OUTPUT = {
    "out": "directory", "overwrite": "overwrite", "resume": "resume",
    "checkpoint_every": "checkpoint_every",
}  # fmt: skip
_EVALUATION = ("curve", "epsilon")
_RECIPE = ("method", "seed", "init")
_WATCHING = ("begun", "show")


def warn(old: str, new: str) -> None:
    """Say that ``old`` goes with the next version, at the line of the user that used it."""
    warnings.warn(f"{old} is deprecated: use {new}", DeprecationWarning, stacklevel=3)


@dataclass(frozen=True)
class Call:
    """The arguments of ``distill`` that 0.1 had other keywords for."""

    recipe: str | Recipe
    evaluation: Any
    compute: Compute | None
    output: Any
    callbacks: Sequence[Callback]


def distill_call(call: Call, old: Mapping[str, Any]) -> Call:
    """Translate the keywords of ``distill`` in 0.1.

    Args:
        call: what was said in today's words.
        old: the other keywords.

    Raises:
        TypeError: a keyword that no version had.
        DfkdError: one that would be ignored.
    """
    _check("distill", old, (*_RECIPE, *COMPUTE, *OUTPUT, *_EVALUATION, *_WATCHING))
    compute = _group(call.compute, Compute, "compute", _computed(old))
    output = _group(call.output, Output, "output", {OUTPUT[k]: old[k] for k in OUTPUT if k in old})
    evaluation = call.evaluation
    if measured := {name: old[name] for name in _EVALUATION if old.get(name)}:
        if evaluation is None:
            raise DfkdError(f"{next(iter(measured))} is measured on real images: give evaluation")
        if isinstance(evaluation, Evaluation):
            _refuse(next(iter(measured)), "evaluation")
        evaluation = Evaluation(evaluation, **measured)
    callbacks = [*call.callbacks, *_callbacks(old.get("begun"), old.get("show"))]
    return Call(_recipe(call.recipe, old), evaluation, compute, output, callbacks)


def invert_call(
    teacher: Teacher,
    config: DeepInversionConfig | None,
    compute: Compute | None,
    old: Mapping[str, Any],
) -> tuple[DeepInversionConfig | None, Compute | None]:
    """Translate the keywords of ``invert`` in 0.1.

    Args:
        teacher: whose images' size has a setting of its own.
        config: as given.
        compute: as given.
        old: the other keywords.

    Raises:
        TypeError: a keyword that no version had.
        DfkdError: one that would be ignored.
    """
    _check("invert", old, ("mirrored", "compile", "recompute", "batch_size"))
    if old.get("mirrored") is not None:
        config = with_flip(config or default_config(teacher), old["mirrored"])
    return config, _group(compute, Compute, "compute", _computed(old))


class ActsAsImages:
    """What ``invert`` returns may be used as the tensor of images that 0.1 returned."""

    images: Tensor

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        """Call torch's functions with the images."""
        warn("the result of invert as a tensor", "its images")
        images = [one.images if isinstance(one, ActsAsImages) else one for one in arguments]
        return function(*images, **(keywords or {}))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        warn(f"the result of invert as a tensor ({name})", f"its images.{name}")
        return getattr(self.images, name)

    def __getitem__(self, index: Any) -> Tensor:
        return self.images[index]

    def __len__(self) -> int:
        return len(self.images)


def _check(function: str, old: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in old:
        if name not in known:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
    if old:
        groups = "recipe, evaluation, compute, output and callbacks"
        warnings.warn(
            f"{', '.join(old)}: deprecated keywords of dfkd.{function}, which now come in {groups}",
            DeprecationWarning,
            stacklevel=5,  # the line of the user: own_surroundings adds a frame
        )


def _computed(old: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: old[name] for name in COMPUTE if name in old}
    if "batch_size" in found:
        found["batch_size"] = batch_size_of(found["batch_size"])
    return found


def _group(given: Any, kind: type[Any], name: str, values: Mapping[str, Any]) -> Any:
    """``given``, or a new group of the old keywords; both at once would leave one ignored."""
    if values and given is not None:
        _refuse(next(iter(values)), name)
    return kind(**values) if values else given


def _recipe(recipe: str | Recipe, old: Mapping[str, Any]) -> str | Recipe:
    if isinstance(recipe, Recipe):
        if ignored := [name for name in ("method", "seed") if name in old]:
            _refuse(ignored[0], "recipe")
        return replace(recipe, init=old["init"]) if old.get("init") else recipe
    if "method" in old:
        if recipe != "default":
            _refuse("method", "recipe")
        recipe = str(old["method"])
    changes = {name: old[name] for name in ("seed", "init") if old.get(name) is not None}
    return replace(recipes.recipe(recipe), **changes) if changes else recipe


def _refuse(name: str, group: str) -> None:
    raise DfkdError(f"{name} is a part of {group}, which is given as well: say it there")


def _callbacks(
    begun: Callable[..., object] | None, show: Callable[..., object] | None
) -> list[Callback]:
    """A ``Callback`` that calls what 0.1 called before the first step, and every two seconds."""
    callback = Callback()
    if begun:
        callback.on_start = begun  # type: ignore[method-assign, assignment]
    if show:
        callback.on_log = show  # type: ignore[method-assign, assignment]
    return [callback] if begun or show else []
