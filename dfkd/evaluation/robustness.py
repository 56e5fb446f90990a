"""How often a network is right on images that were moved to make it wrong."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dfkd.datasets import ImageData, LabelledImages, check_fits, evenly
from dfkd.errors import DfkdError
from dfkd.evaluation.accuracy import compute_logits, in_unit_range, predictions
from dfkd.networks.attack import pgd
from dfkd.networks.modes import eval_mode, without_cudnn_rnn
from dfkd.tasks import Task
from dfkd.tasks.classification import both_classes
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec

STEPS, IMAGES = 20, 1000
"""Of the attack in figures and tables, and how many images it is made on at most."""


def select_evenly(data: ImageData, count: int = IMAGES) -> LabelledImages:
    """Select at most ``count`` images at even distances."""
    return data.select(evenly(len(data.labels), count))


def check_epsilon(epsilon: float | None, measured: bool) -> None:
    """Raise where the accuracy under attack is wanted, and it or any accuracy cannot be had."""
    if epsilon is None:
        return
    if not measured:
        raise DfkdError("accuracy under attack needs real labelled images: give `evaluation`")
    if not 0 < epsilon <= 1:
        raise DfkdError(f"epsilon is a change of values in [0, 1], above 0, not {epsilon:g}")


def robustness(
    models: Sequence[tuple[str, nn.Module, ImageSpec]],
    data: ImageData,
    epsilon: float,
    tasks: Sequence[Task | None] = (),
) -> tuple[list[float], dict[str, Any]]:
    """Attack each network on its own; return their accuracies and how they were attacked.

    Args:
        models: names, networks and what each takes.
        data: labelled images, of which ``IMAGES`` are taken at most.
        epsilon: largest change of a value, in units of [0, 1].
        tasks: what the answers of each network mean; None, or all left out: classes.
    """
    few = select_evenly(data)
    accuracies = [
        robust_accuracy(network, spec, few, epsilon=epsilon, steps=STEPS, task=task)
        for (_, network, spec), task in zip(models, tasks or [None] * len(models), strict=True)
    ]
    return accuracies, {"epsilon": epsilon, "steps": STEPS, "images": len(few.labels)}


def robust_accuracy(
    network: nn.Module | Teacher,
    spec: ImageSpec,
    data: LabelledImages,
    *,
    epsilon: float,
    steps: int = 20,
    step_size: float | None = None,
    seed: int = 0,
    batch_size: int = 256,
    count: int | None = None,
    task: Task | None = None,
) -> float:
    """Share of images that a network in eval mode gets right after an attack on it by ``pgd``.

    The attack ascends the cross-entropy of the labels from a random start, and its last iterate
    counts (Madry et al., ICLR 2018); it bounds what a stronger attack would leave from above.

    Args:
        network: expects images normalised by ``spec``, or a ``Teacher``; modes are restored.
        spec: shape and normalisation of the images.
        data: images and labels.
        epsilon: largest change of a value, in units of [0, 1], such as 8/255.
        steps: of the attack.
        step_size: of one step; by default 2.5 epsilon / steps, as in the paper.
        seed: of the random starts.
        batch_size: images attacked at once.
        count: only the first so many images.
        task: what the answers of a network mean; classes, when left out. A teacher has its own.

    Returns:
        Within [0, 1]; the plain accuracy at epsilon 0.

    Raises:
        DfkdError: data that does not fit, no image, or an attack that ``pgd`` refuses.
    """
    if count is not None and count < 1:
        raise DfkdError(f"count must be at least 1, not {count}")
    model = network.network if isinstance(network, Teacher) else network
    check_fits(data, spec)
    # The labels are read against the classes before a loss indexes with them.
    read = network.task if isinstance(network, Teacher) else task
    check_fits(data, spec, predictions(model, spec, data.images[:1], task=read).shape[1])
    size = 2.5 * epsilon / max(steps, 1) if step_size is None else step_size
    generator = Generator().manual_seed(seed)
    place = next((t.device for t in (*model.parameters(), *model.buffers())), torch.device("cpu"))

    def answer(images: Tensor) -> Tensor:
        said = compute_logits(model, spec.normalize(images))
        return both_classes(said) if read is None else read.read(said).logits

    attack = partial(pgd, answer, epsilon=epsilon, step_size=size, steps=steps, generator=generator)
    with eval_mode(model), without_cudnn_rnn(model.modules()):
        batches = (torch.split(part[:count], batch_size) for part in (data.images, data.labels))
        right = sum(
            _resisted(attack, answer, images.to(place), labels.to(place))
            for images, labels in zip(*batches, strict=True)
        )
    return right / data.labels[:count].numel()


def _resisted(
    attack: Callable[..., Tensor],
    answer: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
) -> int:
    """How many labels of a batch are still answered right after the attack on its images."""
    targets = labels.flatten()
    wrongness = partial(F.cross_entropy, target=targets, reduction="sum")
    moved = attack(images=in_unit_range(images), loss=wrongness)
    with torch.no_grad():
        return int((answer(moved).argmax(1) == targets).sum())
