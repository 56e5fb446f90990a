"""Make the images of one shard, from its seed and its targets alone.

Whoever makes a shard, and whatever was made before it, the images are the same. Methods that
optimise images for a target do just that. All others learn for a while, against a student that is
thrown away, and what they make then is sorted by the teacher's answers until every class has its
images.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.networks import initialise, resnet
from dfkd.networks.copying import copy_network
from dfkd.networks.foreign import within_memory
from dfkd.protocols import Synthesizer
from dfkd.recipes import Recipe, build_synthesizer
from dfkd.recipes.named import with_round
from dfkd.recipes.schemes import build_distiller
from dfkd.runs.inversion_order import check_losses
from dfkd.sets.claims import Halted
from dfkd.sets.class_turns import mixed
from dfkd.sets.order import with_size
from dfkd.synthesis.methods.deep_inversion import DeepInversion
from dfkd.synthesis.methods.deep_inversion_config import DeepInversionConfig
from dfkd.teacher import Teacher
from dfkd.training.augment import with_flip
from dfkd.training.budget import Budget
from dfkd.training.engine import Engine

ShardRows = dict[str, Tensor]
LEARNING_STEPS = 500
"""Steps of the student that a method learns against, where nobody says how many."""


_DRAWN = 256
"""Images that are drawn at once."""
_PATIENCE = 40
"""Draws in which no class gains an image, after which a set is given up."""


def make_pictures(
    teacher: Teacher, config: DeepInversionConfig, classes: Sequence[int], seed: int,
    mixtures: float, pulse: Callable[[float], None],
    watch: Callable[[DeepInversion, float], None] = lambda synthesizer, share: None,
) -> ShardRows:  # fmt: skip
    """Optimise one image for each target, all of the shard together.

    Args:
        teacher: asked; answers alike and may be compiled.
        config: complete, the flip decided.
        classes: one an image.
        seed: of the shard.
        mixtures: share of the images that are made for two classes.
        pulse: called before every step with the share that is done; may raise.
        watch: called before every step with the images at work and that share; it changes nothing.
    """
    labels = torch.tensor(classes)
    targets = mixed(labels, mixtures, teacher.num_classes, seed) if mixtures else labels
    config = with_size(config, len(classes))
    synthesizer = DeepInversion(teacher, config, seed, classes=targets)
    metrics: dict[str, Any] = {}
    for step in range(config.total_iterations):
        pulse(step / config.total_iterations)
        watch(synthesizer, step / config.total_iterations)
        with within_memory("synthesis"):
            metrics = synthesizer.step()
    check_losses(metrics, config.total_iterations)
    batch = synthesizer.finish()
    assert batch.prediction is not None
    rows = as_rows(teacher, batch.inputs, batch.prediction.logits, labels, seed)
    rows["iterations"] = torch.full_like(labels, config.total_iterations)
    for name, value in metrics.items():
        rows[f"loss_{name}"] = torch.full((len(labels),), float(value))
    if mixtures:
        rows["targets"] = targets.half()
    return rows


def make_sampled(
    teacher: Teacher, student: nn.Module, recipe: Recipe, classes: Sequence[int], seed: int,
    steps: int, pulse: Callable[[float], None],
) -> ShardRows:  # fmt: skip
    """Let a method learn, then draw from it until every class has as many images as it should.

    Args:
        teacher: asked; answers alike and may be folded.
        student: from random weights, see ``student_against``.
        recipe: of the method.
        classes: one an image; images come back in this order.
        seed: of the shard.
        steps: of the student that the method learns against.
        pulse: called with the share that is done; may raise.

    Raises:
        DfkdError: a class of which the method makes no images.
    """
    recipe = replace(
        with_round(recipe),
        seed=seed,
        learner=with_flip(recipe.learner, None),
        synthesizer=with_flip(recipe.synthesizer, None),
    )
    synthesizer = build_synthesizer(recipe, teacher)
    distiller = build_distiller(teacher, student, recipe.learner, recipe.seed)
    engine = Engine(synthesizer, distiller, Budget(steps=steps), recipe.alternation)
    teacher.before_pass = lambda: pulse(0.9 * min(1.0, engine.account.steps / steps))
    try:
        if not engine.run():
            raise Halted
    finally:
        teacher.before_pass = lambda: None
    rows = collect(teacher, synthesizer, distiller.student, classes, seed, pulse)
    rows["iterations"] = torch.full((len(classes),), engine.account.updates)
    return rows


def student_against(teacher: Teacher, seed: int) -> nn.Module:
    """Build the student that a method learns against: the teacher's network with other weights.

    Of a teacher that shows nothing but answers it is a small network of ours.
    """
    spec = teacher.spec
    whole = resnet(8, spec.channels, teacher.num_classes) if teacher.opaque else None
    return initialise(whole or copy_network(teacher.network), seed).requires_grad_(True)


def collect(
    teacher: Teacher, synthesizer: Synthesizer, student: nn.Module, classes: Sequence[int],
    seed: int, pulse: Callable[[float], None],
) -> ShardRows:  # fmt: skip
    """Draw images until there is one for each of ``classes``, in their order; none comes twice.

    Args:
        teacher: says what an image is of.
        synthesizer: has learned; learns on where it has too few of a class.
        student: whom its updates compete with.
        classes: one an image.
        seed: recorded with each image.
        pulse: called now and then with the share that is done; may raise.

    Raises:
        DfkdError: a class of which no images come.
    """
    places: dict[int, list[int]] = {}
    for place in reversed(range(len(classes))):
        places.setdefault(classes[place], []).append(place)
    found: dict[int, tuple[Tensor, Tensor]] = {}
    seen: set[bytes] = set()
    barren = 0
    while len(found) < len(classes):
        before = len(found)
        pulse(0.9 + 0.1 * before / len(classes))
        for image, logits in _drawn(teacher, synthesizer):
            waiting, sign = places.get(int(logits.argmax()), []), image.numpy().tobytes()
            if waiting and sign not in seen:
                seen.add(sign)
                found[waiting.pop()] = image, logits
        barren = 0 if len(found) > before else barren + 1
        if barren > _PATIENCE:
            missing = min(c for c, waiting in places.items() if waiting)
            raise DfkdError(
                f"the method makes no more images that the teacher takes for class {missing}: give "
                "it more `steps`, leave the class out, or choose natural, which makes every class"
            )
        if barren:
            synthesizer.update(student)
    images, logits = (torch.stack([found[i][k] for i in range(len(classes))]) for k in range(2))
    return as_rows(teacher, images, logits, torch.tensor(classes), seed)


def _drawn(teacher: Teacher, synthesizer: Synthesizer) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw a batch; yields uint8 images and the teacher's logits, on the CPU."""
    with torch.no_grad():
        stored = teacher.spec.encode(synthesizer.sample(_DRAWN).inputs)
        logits = teacher.predict(teacher.spec.decode(stored)).float().logits
    yield from zip(stored.cpu(), logits.cpu(), strict=True)


def as_rows(
    teacher: Teacher, images: Tensor, logits: Tensor, labels: Tensor, seed: int
) -> ShardRows:
    """Return the columns that every shard has.

    Args:
        teacher: of whom the answers are.
        images: N x C x H x W, in [0, 1] or uint8.
        logits: the teacher's to the images as stored, N x classes.
        labels: what they were made for, N.
        seed: of the shard.
    """
    logits, labels = logits.detach().float().cpu(), labels.cpu()
    largest = torch.finfo(torch.half).max
    probabilities = logits.softmax(1)
    own = probabilities.gather(1, labels[:, None])[:, 0]
    return {
        "images": teacher.spec.encode(images).cpu(),
        "labels": labels,
        "logits": logits.clamp(-largest, largest).half(),
        "seed": torch.full((len(labels),), seed),
        "confidence": own,
        "loss_cross_entropy": -logits.log_softmax(1).gather(1, labels[:, None])[:, 0],
    }
