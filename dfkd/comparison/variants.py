"""What a comparison's runs differ in, as recipes by name: methods, kinds of knowledge, schemes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dfkd import recipes
from dfkd.errors import DfkdError
from dfkd.losses.objective import parse
from dfkd.losses.registry import KNOWLEDGE, find_loss
from dfkd.recipes import Recipe
from dfkd.recipes.methods import METHODS
from dfkd.recipes.schemes import SCHEMES

VARIED = {
    "methods": ("method",),
    "knowledge": ("learner.knowledge",),
    "scheme": ("scheme", "scheme_config.form"),
}
"""What can be varied, and the settings in which the rows then differ."""

STANDALONE_LOSSES = ("kd", "dkd", "l1", "mse", "kd_mean", "dist", "sigmoid_kd")
"""Kinds that say all that is to be learnt; the others are weighed beside ``kd``."""


def variants(
    vary: str,
    methods: str | None,
    only: str | None,
    assignments: list[str],
    *,
    several: bool = False,
    images: bool = False,
) -> dict[str, Recipe]:
    """Return the recipes to be compared, with the assignments laid over each.

    A scheme's own settings (``scheme_config``) go to the schemes that have them, layers to compare
    (``learner.pairs``) to the knowledge that compares layers.

    Args:
        vary: one of ``VARIED``.
        methods: ``all`` or names separated by commas; one alone where something else is varied.
        only: where something else is varied: expressions, or schemes as ``SCHEME[:FORM]``,
            separated by commas; every one that can be when left out.
        assignments: ``key=value`` laid over each recipe that has the setting.
        several: whether there are several teachers, which an ensemble wants.
        images: whether the user gives images, which one form of ``adversarial`` wants.

    Raises:
        DfkdError: an unknown word, a name given twice, a setting that no recipe has.
    """
    if vary not in VARIED:
        raise DfkdError(f"`vary` must be methods, knowledge or scheme, not {vary!r}")
    _check_assignments(vary, assignments)
    if vary == "methods":
        if only is not None:
            raise DfkdError("`only` chooses knowledge or schemes: name methods with `methods`")
        starts = {name: recipes.recipe(name) for name in method_names(methods or "all")}
    else:
        (base,) = _one(method_names(methods or "default"))
        words = _words(only, "`only`") if only is not None else None
        if vary == "knowledge":
            starts = _knowledge(recipes.recipe(base), words)
        else:
            starts = _schemes(recipes.recipe(base), words or _every_scheme(several, images))
            if alone := not several and [n for n, p in starts.items() if p.several_teachers]:
                raise DfkdError(f"`only` {alone[0]} wants more than one teacher: add `teachers`")
    shared = _shared(vary, starts, assignments)
    found = {}
    for name, start in starts.items():
        try:
            found[name] = recipes.override(start, shared[name])
        except DfkdError as error:
            raise DfkdError(f"`set` does not suit {name}: {error}") from None
    _refuse_twins(found)
    return found


def _check_assignments(vary: str, assignments: Sequence[str]) -> None:
    """Raise where one sets what the rows are named after."""
    for key in (assignment.partition("=")[0].strip() for assignment in assignments):
        if key in VARIED[vary]:
            flag = "`methods`" if vary == "methods" else "`only`"
            example = ", such as robust:ard" if key == "scheme_config.form" else ""
            raise DfkdError(f"`set` {key} is what the rows differ in: name them by {flag}{example}")


def _refuse_twins(found: Mapping[str, Recipe]) -> None:
    """Raise where two variants are one recipe in two spellings: their runs would share a folder."""
    seen: dict[str, tuple[Mapping[str, float], Recipe]] = {}
    for name, plan in found.items():
        learner = replace(plan.learner, knowledge="kd")
        value = parse(plan.learner.knowledge), replace(plan, learner=learner)
        twin = next((other for other, its in seen.items() if its == value), None)
        if twin is not None:
            raise DfkdError(f"{twin!r} and {name!r} are one and the same: leave one out")
        seen[name] = value


def _shared(
    vary: str, starts: Mapping[str, Recipe], assignments: Sequence[str]
) -> dict[str, list[str]]:
    """Return by variant the assignments that are meant for it."""
    shared: dict[str, list[str]] = {name: [] for name in starts}
    for assignment in assignments:
        key = assignment.partition("=")[0]
        meant = [name for name, start in starts.items() if _suits(vary, key, start)]
        # What suits none is everybody's: the first one says what is wrong with it.
        for name in meant or starts:
            shared[name].append(assignment)
    return shared


def _suits(vary: str, key: str, start: Recipe) -> bool:
    group, _, name = key.partition(".")
    if vary == "scheme" and group == "scheme_config":
        return hasattr(start.scheme_config, name)
    if vary == "knowledge" and key == "learner.pairs":
        return any(find_loss(kind).features for kind in parse(start.learner.knowledge))
    return True


def _one(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) > 1:
        raise DfkdError("knowledge and schemes are varied with one method: name it with `methods`")
    return names


def _knowledge(base: Recipe, expressions: tuple[str, ...] | None) -> dict[str, Recipe]:
    """Every kind at the weight that ``dfkd knowledge`` lists, beside ``kd`` where it needs that."""
    if expressions is None:
        beside = [f"kd + {kind.weight:g}*{name}" for name, kind in KNOWLEDGE.items()]
        expressions = tuple(
            name if name in STANDALONE_LOSSES else sum_
            for name, sum_ in zip(KNOWLEDGE, beside, strict=True)
        )
    return {
        words: replace(base, learner=replace(base.learner, knowledge=words))
        for words in expressions
    }


def _schemes(base: Recipe, names: tuple[str, ...]) -> dict[str, Recipe]:
    """By ``SCHEME[:FORM]``."""
    found = {}
    for words in names:
        name, _, form = words.partition(":")
        plan = recipes.with_scheme(base, name)
        found[words] = recipes.override(plan, [f"scheme_config.form={form}"]) if form else plan
    return found


def _every_scheme(several: bool, images: bool) -> tuple[str, ...]:
    """Every scheme in each of the forms for which there is all that they want."""
    names = []
    for name, row in SCHEMES.items():
        if not row.wrapped_type or (several and row.several_teachers):
            forms = row.forms + (row.forms_with_images if images else ())
            names += [name, *(f"{name}:{form}" for form in forms)]
    return tuple(names)


def method_names(words: str) -> tuple[str, ...]:
    """Return the names of recipes in ``words``; of ``all``, every method as catalogued.

    Raises:
        DfkdError: no name, an unknown one (the nearest is suggested) or one given twice.
    """
    if words.strip() == "all":
        return tuple(METHODS)
    names = _words(words, "`methods`")
    for name in names:
        recipes.recipe(name)
    return names


def _words(text: str, option: str) -> tuple[str, ...]:
    """Words between commas, none of them twice."""
    names = tuple(word.strip() for word in text.split(",") if word.strip())
    if not names:
        example = "all, or names such as default,nayer" if option == "`methods`" else "names"
        raise DfkdError(f"{option} wants {example}")
    refuse_twice(names, option)
    return names


def refuse_twice(values: tuple[object, ...], option: str) -> None:
    """Raise where a value is there twice."""
    twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
    if twice:
        raise DfkdError(f"{option} has {twice[0]} twice; name each once")
