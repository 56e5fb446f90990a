"""A walk through what a generator has learned: from one latent to the next, frame by frame.

Every method with a generator has a ``Decoder`` at its end. What enters that is its latent,
wherever it came from: noise, or noise and an embedding of the class.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.networks import initialise
from dfkd.networks.copying import copy_network
from dfkd.recipes import Recipe, build_synthesizer, recipe
from dfkd.recipes.methods import METHODS
from dfkd.recipes.named import with_round
from dfkd.recipes.schemes import build_distiller
from dfkd.runs.latent_way import latent_way
from dfkd.teacher import Teacher
from dfkd.teacher.folding import fold
from dfkd.training.augment import with_flip
from dfkd.training.budget import Budget
from dfkd.training.engine import Engine
from generators.decoders import Decoder

WALK_STEPS = 500
"""Steps of the student that the generator learns against, where nobody says how many."""


class Walk(NamedTuple):
    """Images along a way through latents.

    Attributes:
        images: F x C x H x W in [0, 1].
        stops: frames at which a chosen latent is reached.
        answers: the teacher's probabilities, F x classes.
    """

    images: Tensor
    stops: list[int]
    answers: Tensor


class _Latest:
    """The latents that last entered a decoder, and that decoder."""

    decoder: Decoder | None = None
    latents: Tensor

    def listen(self, synthesizer: Any) -> bool:
        """Hear from every decoder that a method has; returns whether there is one."""
        own = [part for part in vars(synthesizer).values() if isinstance(part, nn.Module)]
        decoders = {m for part in own for m in part.modules() if isinstance(m, Decoder)}

        def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if len(inputs[0]) > 1 and isinstance(module, Decoder):
                self.decoder, self.latents = module, inputs[0].detach()

        for decoder in decoders:  # a copy that a method makes of one keeps the hook
            decoder.register_forward_pre_hook(note)
        return bool(decoders)


def walk(
    teacher: Teacher, method: str, classes: Sequence[int] | None, frames: int,
    steps: int | None = None, seed: int = 0,
    pulse: Callable[[float, int], None] = lambda share, step: None,
) -> Walk:  # fmt: skip
    """Let a method's generator learn, then walk from a latent of one class to one of the next.

    Args:
        teacher: asked; bit-identical afterwards.
        method: a recipe's name, of a method with a generator.
        classes: whose latents to visit, at least two; the two that the teacher is surest of when
            left out.
        frames: images along the way.
        steps: of the throw-away student that the generator learns against.
        seed: of all of it.
        pulse: called with the share of the learning that is done, and the student's step.

    Raises:
        DfkdError: a method without a generator, or a class that it makes no image of.
    """
    chosen = with_round(recipe(method))
    if METHODS[chosen.method].statistics and not teacher.layers:
        raise DfkdError(
            f"{method} matches batch-norm statistics, and this teacher stores none: `method=dfad` "
            "needs only its answers"
        )
    latest = _learned(teacher, chosen, steps or WALK_STEPS, seed, pulse)
    assert latest.decoder is not None
    ends = _ends(teacher, latest, classes)
    way, stops = latent_way([latest.latents[row] for row in ends], frames)
    images = _decoded(teacher, latest, way)
    with torch.no_grad():
        answers = teacher(images).float().softmax(1).cpu()
    return Walk(images.cpu(), stops, answers)


def _learned(
    teacher: Teacher,
    chosen: Recipe,
    steps: int,
    seed: int,
    pulse: Callable[[float, int], None],
) -> _Latest:
    """Train the generator against a student that is thrown away."""
    ready = replace(
        chosen,
        seed=seed % 2**31,
        learner=with_flip(chosen.learner, None),
        synthesizer=with_flip(chosen.synthesizer, None),
    )
    fast = fold(teacher).teacher
    synthesizer, latest = build_synthesizer(ready, fast), _Latest()
    refusal = DfkdError(
        f"{chosen.method} has no generator that draws whole images from latents: nayer, dafl, "
        "dfad and zskt have; choose one as `method`"
    )
    if not latest.listen(synthesizer):
        raise refusal
    student = initialise(copy_network(teacher.network), ready.seed).requires_grad_(True)
    distiller = build_distiller(fast, student, ready.learner, ready.seed)
    engine = Engine(synthesizer, distiller, Budget(steps=steps), ready.alternation)
    account = engine.account
    fast.before_pass = lambda: pulse(min(1.0, account.steps / steps), account.steps)
    try:
        if not engine.run():
            raise KeyboardInterrupt
    finally:
        fast.before_pass = lambda: None
    if latest.decoder is None:
        raise refusal
    return latest


def _ends(teacher: Teacher, latest: _Latest, classes: Sequence[int] | None) -> list[int]:
    """Choose for each class the latent whose image the teacher is surest of."""
    with torch.no_grad():
        answers = teacher(_decoded(teacher, latest, latest.latents[:0])).float().softmax(1)
    surest, rows = answers.max(0)
    if classes is None:
        order = surest.argsort(descending=True).tolist()
        apart = [index for index in order if int(rows[index]) != int(rows[order[0]])]
        if not apart:
            raise DfkdError("the generator makes one image only: give it more `steps`")
        classes = [order[0], apart[0]]
    found = set(answers.argmax(1).tolist())
    if absent := [index for index in classes if index not in found]:
        raise DfkdError(
            f"the generator made no image that the teacher takes for class {absent[0]} "
            f"({teacher.class_names[absent[0]]}): give it more `steps`, or choose other `classes`"
        )
    return [int(rows[index]) for index in classes]


@torch.no_grad()
def _decoded(teacher: Teacher, latest: _Latest, latents: Tensor) -> Tensor:
    """Decode latents among those of the batch that was captured, whose statistics norms take.

    Without any latents, the batch itself.
    """
    decoder, batch = latest.decoder, latest.latents
    assert decoder is not None
    images: Tensor = decoder(torch.cat([batch, latents])).float()
    if not isinstance(decoder.end, nn.Sigmoid):
        images = teacher.spec.denormalize(images)
    return (images[len(batch) :] if len(latents) else images).clamp(0, 1)
