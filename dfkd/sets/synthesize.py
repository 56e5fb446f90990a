"""``dfkd.synthesize``: a synthetic dataset from teachers alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dfkd.errors import DfkdError
from dfkd.networks.surroundings import own_surroundings
from dfkd.recipes import Recipe, recipe
from dfkd.runs.callbacks import Callback
from dfkd.runs.options import Compute, Output
from dfkd.sets.order import SetOrder
from dfkd.sets.plan import Maker, check_makers
from dfkd.sets.run import SetResult, SetRun
from dfkd.synthesis.methods.deep_inversion_config import default_config
from dfkd.tasks.words import shown
from dfkd.teacher import Teacher
from dfkd.teacher.given import as_teachers

NATURAL = "natural"
"""The method that a set is made by where none is named: pictures, every class in its turn."""


def recipe_for(name: str, teacher: Teacher) -> Recipe:
    """Return a recipe by name; ``natural`` suits the size of the teacher's images."""
    found = recipe(name)
    return replace(found, synthesizer=default_config(teacher)) if name == NATURAL else found


@own_surroundings()
def synthesize(
    teacher: Teacher | Sequence[Teacher],
    *,
    output: Output | Path | str,
    method: Recipe | str = NATURAL,
    per_class: int | None = None,
    count: int | None = None,
    classes: Sequence[int] | None = None,
    priors: Sequence[float] | None = None,
    mixtures: float = 0.0,
    steps: int | None = None,
    shard_size: int | None = None,
    seed: int = 0,
    compute: Compute | None = None,
    callbacks: Sequence[Callback] = (),
) -> SetResult:
    """Write a synthetic dataset, with exactly as many images of each class as are asked for.

    Any number of processes may call it with one ``output``: they share the work. Killed at any
    moment and called again it goes on, to the same bytes.

    Args:
        teacher: who the images are made from; several take turns, shard by shard.
        output: the set's directory; an ``Output`` says whether an earlier set may be replaced.
        method: a recipe or its name. ``natural``, ``sre2l``, ``cda`` and all of
            ``deep_inversion`` make an image for a class; all others are drawn from and sorted.
        per_class: images of each class; or
        count: of all, in [1, inf), shared out evenly or by ``priors``.
        classes: indices of the classes to make; all when left out.
        priors: weights of those classes, in their order.
        mixtures: share of the images that are made for two classes at once, in [0, 1].
        steps: iterations of a batch of pictures; of other methods, of the student that they learn
            against. The method's own when left out.
        shard_size: images of a shard; those optimised together when left out.
        seed: the same seed and settings give the same bytes on the same kind of machine.
        compute: device and compilation, in one process and in float32.
        callbacks: watch the run; progress is the share of the set that is there.

    Returns:
        Where the set is; its ``dataset`` reads it.

    Raises:
        DfkdError: an order that cannot be filled, another set in ``output``, or no room there.
    """
    teachers = as_teachers(teacher)
    makers = [Maker(one) for one in teachers]
    check_makers(makers)
    chosen = recipe_for(method, teachers[0]) if isinstance(method, str) else method
    if not isinstance(chosen, Recipe):
        raise DfkdError(f"`method` must be a name or a recipe, not {shown(repr(chosen), 60)}")
    order = SetOrder(
        chosen, per_class, count, classes, priors, mixtures, steps, shard_size, seed,
    )  # fmt: skip
    output = output if isinstance(output, Output) else Output(output)
    return SetRun(makers, order, compute or Compute(), output, callbacks).run()
