"""Recipes: what a run is made of, as data, from plain functions.

``recipe("nayer")`` returns the settings of that name; ``to_yaml`` and
``from_dict`` take them through a file and back, refusing unknown keys;
``build_synthesizer`` makes what they describe. How large their steps are: ``dfkd.recipes.batches``.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import TypeAdapter

from dfkd.errors import DfkdError, declared, in_words, nearest
from dfkd.protocols import Synthesizer
from dfkd.recipes import overlay
from dfkd.recipes.keywords import MethodName, RecipeSettings
from dfkd.recipes.methods import METHODS
from dfkd.recipes.settings import Recipe as Recipe
from dfkd.recipes.settings import laid_over
from dfkd.recipes.settings import with_scheme as with_scheme
from dfkd.synthesis.methods import dafl
from dfkd.synthesis.methods import deep_inversion_config as settings
from dfkd.synthesis.methods.deep_inversion_config import DeepInversionConfig
from dfkd.synthesis.selection import selected
from dfkd.teacher import Teacher
from dfkd.training.budget import Alternation

if TYPE_CHECKING:
    from typing_extensions import Unpack


def with_method(value: Recipe, name: str) -> Recipe:
    """Return the recipe of another method with what ``value`` changed of its own.

    That is scheme, start and seed, and those of the student's settings in which ``value`` differs
    from the recipe of its method.

    Raises:
        DfkdError: there is none of that name.
    """
    fresh, own = recipe(name), recipe(value.method).learner
    mine = {key: v for key, v in vars(value.learner).items() if v != getattr(own, key)}
    return replace(
        fresh,
        learner=replace(fresh.learner, **mine),
        scheme=value.scheme,
        scheme_config=value.scheme_config,
        init=value.init,
        trunk=value.trunk,
        seed=value.seed,
    )


def _dafl_cifar10() -> Recipe:
    """DAFL, the authors' CIFAR-10 setting (Chen et al., ICCV 2019): batches of 1,024."""
    return _dafl(dafl.cifar10())


def _dafl_cifar100() -> Recipe:
    """DAFL, the authors' weights for CIFAR-100 (Chen et al., ICCV 2019)."""
    return _dafl(dafl.cifar100())


def _dafl(config: dafl.DaflConfig) -> Recipe:
    base = RECIPES["dafl"]()
    alternation = replace(base.alternation, batch_size=config.synthesis_batch_size)
    return replace(base, synthesizer=config, alternation=alternation)


def _deep_inversion_imagenet_0() -> Recipe:
    """DeepInversion, ImageNet setting 0: 2,000 iterations at half resolution, 1,000 at full."""
    return _pixels(settings.imagenet(0))


def _deep_inversion_imagenet_1() -> Recipe:
    """DeepInversion, ImageNet setting 1: 2,000 iterations at full resolution."""
    return _pixels(settings.imagenet(1))


def _deep_inversion_imagenet_2() -> Recipe:
    """DeepInversion, ImageNet setting 2: 20,000 iterations at full resolution, no clipping."""
    return _pixels(settings.imagenet(2))


def _sre2l() -> Recipe:
    """SRe2L (Yin et al., NeurIPS 2023), for written datasets: 4,000 iterations on crops."""
    return _pixels(settings.sre2l())


def _cda() -> Recipe:
    """CDA (Yin and Shen, 2023), for written datasets: SRe2L with crops from easy to hard."""
    return _pixels(settings.cda())


def _psaq() -> Recipe:
    """PSAQ-ViT (Li et al., ECCV 2022), for transformers: ``prior=patch``, 1,000 iterations."""
    return _pixels(settings.psaq())


def _natural() -> Recipe:
    """Our pictures: of photographs two resolutions without fine colour, of small images blobs."""
    return _pixels(settings.natural())


def _pixels(config: DeepInversionConfig) -> Recipe:
    return Recipe("deep_inversion", config, alternation=Alternation(warmup_updates=None))


def with_round(value: Recipe) -> Recipe:
    """Fill in how many updates come first where the recipe leaves it to the method: one round.

    Args:
        value: a finished recipe, with all its settings.
    """
    if value.alternation.warmup_updates is not None:
        return value
    first = METHODS[value.method].round(value.synthesizer)
    return replace(value, alternation=replace(value.alternation, warmup_updates=first))


DEFAULT = "default"
"""Another name of the method that takes every teacher; it once had no other."""


def _of(name: str, published: bool = False) -> Callable[[], Recipe]:
    method = METHODS[name]
    config, alternation = (published and method.published) or (method.config, method.alternation)

    def build() -> Recipe:
        return Recipe(name, config(), method.learner, alternation=alternation)

    build.__doc__ = method.line + ("; the paper's sizes, for a GPU." if published else ".")
    return build


RECIPES: dict[str, Callable[[], Recipe]] = {
    **{name: _of(name) for name in METHODS},
    **{f"{name}_published": _of(name, True) for name, row in METHODS.items() if row.published},
    DEFAULT: _of("redraw"),
    "dafl_cifar10": _dafl_cifar10,
    "dafl_cifar100": _dafl_cifar100,
    "deep_inversion_imagenet_0": _deep_inversion_imagenet_0,
    "deep_inversion_imagenet_1": _deep_inversion_imagenet_1,
    "deep_inversion_imagenet_2": _deep_inversion_imagenet_2,
    "sre2l": _sre2l,
    "cda": _cda,
    "psaq": _psaq,
    "natural": _natural,
}
"""A recipe for every method, and the other published settings; ``default`` is ReDraw's."""


def recipe(name: MethodName | str = DEFAULT, **settings: "Unpack[RecipeSettings]") -> Recipe:
    """Return the recipe of that name with settings laid over it; see ``Recipe.with_``.

    Args:
        name: of a method, or another of ``dfkd recipes``.
        **settings: whole groups, or mappings of what changes in one.

    Raises:
        DfkdError: there is none of that name (the nearest is suggested), or what ``with_`` refuses.

    >>> recipe("fast", learner=dict(temperature=4), init="random").learner.temperature
    4.0
    """
    if name not in RECIPES:
        raise DfkdError(f"unknown method or recipe {name!r}{nearest(name, RECIPES)}")
    return laid_over(RECIPES[name](), settings)


def to_dict(value: Recipe) -> dict[str, Any]:
    """Return a recipe as plain containers, as JSON and YAML have them."""
    plain: dict[str, Any] = TypeAdapter(dict[str, Any]).dump_python(
        dataclasses.asdict(value), mode="json"
    )
    return plain


def to_yaml(value: Recipe) -> str:
    """Write a recipe as YAML in the order of its fields."""
    return yaml.safe_dump(to_dict(value), sort_keys=False)


def described(value: Recipe) -> str:
    """Return the YAML with a comment wherever a setting's type says what its values may be."""
    lines: list[str] = []
    hints, outer = _types(None), _types(value)
    for line in to_yaml(value).splitlines():
        name, inner = line.strip().partition(":")[0], line.startswith(" ")
        wanted = declared((hints if inner else outer).get(name))
        if not inner:
            hints = _types(getattr(value, name, None))
        lines.append(f"{line}  # {in_words(wanted)}" if wanted else line)
    return "\n".join(lines)


def _types(group: Any) -> dict[str, Any]:
    return {f.name: f.type for f in getattr(type(group), "__dataclass_fields__", {}).values()}


def from_dict(values: Mapping[str, Any], base: Recipe | None = None) -> Recipe:
    """Lay nested mappings over ``base`` (or over the recipe that ``method`` names).

    Raises:
        DfkdError: an unknown key (the nearest is named) or a value of the wrong type.
    """
    values = overlay.renamed(values)
    start = base or recipe(str(values.get("method", DEFAULT)))
    if "method" in values and values["method"] != start.method:
        start = with_method(start, str(values["method"]))
    return laid_over(start, values)


def from_yaml(text: str, base: Recipe | None = None) -> Recipe:
    """Read YAML and lay it over ``base``; see ``from_dict``."""
    return from_dict(read_yaml(text), base)


def read_yaml(text: str) -> dict[str, Any]:
    """Read a YAML mapping; tags and anything but a mapping are refused by a ``DfkdError``."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise DfkdError(f"the configuration cannot be read{line}: {problem}") from None
    if not isinstance(values, dict):
        raise DfkdError("the configuration must be a YAML mapping such as 'learner: {lr: 0.01}'")
    return values


def override(base: Recipe, assignments: list[str]) -> Recipe:
    """Apply ``key.path=value`` settings together; values are YAML scalars or lists.

    Together, because two settings may only be valid with one another.
    """
    return from_dict(overlay.assigned(assignments), base)


def check_gradient(method: str, teacher: Teacher) -> None:
    """Raise a ``DfkdError`` where ``method`` wants a gradient that the teacher does not give."""
    if METHODS[method].gradient:
        teacher.require_gradient(method)


def build_synthesizer(value: Recipe, teacher: Teacher) -> Synthesizer:
    """Build the synthesizer that a recipe names, on the teacher's device.

    Raises:
        DfkdError: the teacher lacks what the method needs.
    """
    check_gradient(value.method, teacher)
    source = METHODS[value.method].build(teacher, value.synthesizer, value.seed)
    return selected(source, teacher, value.selection)
