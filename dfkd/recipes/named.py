"""Recipes: what a run is made of, as data, from plain functions.

``recipe("nayer")`` returns the settings of that name; ``build_synthesizer`` makes what they
describe. Through a file and back: ``dfkd.recipes.text``. How large their steps are:
``dfkd.recipes.batches``.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from dfkd.errors import DfkdError, nearest
from dfkd.protocols import Synthesizer
from dfkd.recipes.keywords import MethodName, RecipeSettings
from dfkd.recipes.methods import METHODS
from dfkd.recipes.settings import Recipe, laid_over
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
