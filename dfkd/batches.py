"""How many images a recipe puts into a step, and what shapes its teacher is asked for."""

from dataclasses import replace

from dfkd.compilation import Shape
from dfkd.methods import deep_inversion_settings as settings
from dfkd.methods.default import DefaultConfig
from dfkd.methods.drawings import DrawingsConfig
from dfkd.methods.nayer import NayerConfig
from dfkd.recipes import Recipe
from dfkd.spec import ImageSpec

BATCH_FIELDS = {
    "default": "refine_batch",
    "deep_inversion": "batch_size",
    "nayer": "synthesis_batch_size",
}
"""By a method's name, the setting that says how many images it optimises together."""


def largest_batch(value: Recipe) -> int:
    """Images in the larger of a recipe's two kinds of step."""
    name = BATCH_FIELDS.get(value.method)
    made = getattr(value.synthesizer, name) if name else 1
    return max(int(made), value.rhythm.batch_size)


def with_batch_size(value: Recipe, size: int) -> Recipe:
    """``size`` images in a student's step, and at most so many in a step of synthesis."""
    name, synthesizer = BATCH_FIELDS.get(value.method), value.synthesizer
    if name:
        # Two at least: one image has no statistics to speak of.
        made = max(2, min(size, getattr(synthesizer, name)))
        synthesizer = replace(synthesizer, **{name: made})
    return replace(value, synthesizer=synthesizer, rhythm=replace(value.rhythm, batch_size=size))


def traced(value: Recipe, spec: ImageSpec) -> tuple[tuple[Shape, ...], int]:
    """Shapes of the batches whose statistics a method reads, and how many it reads an update."""
    config = value.synthesizer
    if isinstance(config, DefaultConfig):
        return ((config.refine_batch, *spec.shape),), config.refine_steps
    if isinstance(config, DrawingsConfig):
        return (), 0
    if isinstance(config, NayerConfig):
        return ((config.synthesis_batch_size, *spec.shape),), config.g_steps
    return settings.traced_shapes(config, spec), 1
