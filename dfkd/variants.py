"""What a comparison's runs differ in, as recipes by name: methods, kinds of knowledge, schemes."""

from collections.abc import Iterable
from dataclasses import replace

from dfkd import recipes
from dfkd.catalogue import METHODS
from dfkd.errors import DfkdError
from dfkd.knowledge import KINDS
from dfkd.recipes import Recipe
from dfkd.schemes import SCHEMES, SchemeRow

VARIED = ("methods", "knowledge", "scheme")
ALONE = ("kd", "dkd", "l1", "mse", "kd_mean")
"""Kinds that say all that is to be learnt; the others are weighed beside ``kd``."""


def variants(
    vary: str, methods: str | None, only: str | None, assignments: list[str]
) -> dict[str, Recipe]:
    """The recipes to be compared, ``--set`` laid over each.

    Args:
        vary: one of ``VARIED``.
        methods: ``all`` or names separated by commas; one alone where something else is varied.
        only: where something else is varied: expressions, or schemes as ``SCHEME[:FORM]``,
            separated by commas; every one there is when left out.

    Raises:
        DfkdError: an unknown word, a name given twice, a setting that a recipe does not have.
    """
    if vary not in VARIED:
        raise DfkdError(f"--vary must be methods, knowledge or scheme, not {vary!r}")
    if vary == "methods":
        if only is not None:
            raise DfkdError("--only chooses knowledge or schemes: name methods with --methods")
        starts = {name: recipes.recipe(name) for name in method_names(methods or "all")}
    else:
        (base,) = _one(method_names(methods or "default"))
        words = _words(only, "--only") if only is not None else None
        build = _knowledge if vary == "knowledge" else _schemes
        starts = build(recipes.recipe(base), words)
    found = {}
    for name, start in starts.items():
        try:
            found[name] = recipes.override(start, assignments)
        except DfkdError as error:
            raise DfkdError(f"--set does not suit {name}: {error}") from None
    return found


def _one(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) > 1:
        raise DfkdError("knowledge and schemes are varied with one method: name it with --methods")
    return names


def _knowledge(base: Recipe, expressions: tuple[str, ...] | None) -> dict[str, Recipe]:
    """Every kind at the weight that ``dfkd knowledge`` lists, beside ``kd`` where it needs that."""
    if expressions is None:
        beside = [f"kd + {kind.weight:g}*{name}" for name, kind in KINDS.items()]
        expressions = tuple(
            name if name in ALONE else sum_ for name, sum_ in zip(KINDS, beside, strict=True)
        )
    return {
        words: replace(base, distiller=replace(base.distiller, knowledge=words))
        for words in expressions
    }


def _schemes(base: Recipe, names: tuple[str, ...] | None) -> dict[str, Recipe]:
    """Every scheme in each of the forms that need the one teacher alone."""
    if names is None:
        names = tuple(name for row in SCHEMES.items() for name in _forms(*row))
    found = {}
    for words in names:
        name, _, form = words.partition(":")
        plan = recipes.with_scheme(base, name)
        found[words] = recipes.override(plan, [f"arrangement.form={form}"]) if form else plan
    return found


def _forms(name: str, row: SchemeRow) -> Iterable[str]:
    return [name, *(f"{name}:{form}" for form in row.forms)] if row.alone else []


def method_names(words: str) -> tuple[str, ...]:
    """``all`` -> every method in the order of the catalogue; else the recipes named.

    Raises:
        DfkdError: no name, an unknown one (the nearest is suggested) or one given twice.
    """
    if words.strip() == "all":
        return tuple(METHODS)
    names = _words(words, "--methods")
    for name in names:
        recipes.recipe(name)
    return names


def _words(text: str, option: str) -> tuple[str, ...]:
    """Words between commas, none of them twice."""
    names = tuple(word.strip() for word in text.split(",") if word.strip())
    if not names:
        example = "all, or names such as default,nayer" if option == "--methods" else "names"
        raise DfkdError(f"{option} wants {example}")
    refuse_twice(names, option)
    return names


def refuse_twice(values: tuple[object, ...], option: str) -> None:
    """Raise where a value is there twice."""
    twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
    if twice:
        raise DfkdError(f"{option} has {twice[0]} twice; name each once")
