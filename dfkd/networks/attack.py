"""Adversarial images: projected gradient ascent of a loss of a network's logits.

Our own: libraries of attacks take labels and draw from torch's global generator, and here any
loss is ascended with a seed of its own. Tests compare it with one of them.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from dfkd.errors import DfkdError


def pgd(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    generator: Generator | None = None,
    random_start: bool = True,
    start: Tensor | None = None,
) -> Tensor:
    """Ascend ``loss`` within a ball by projected gradients: x <- P(x + step * sign(dloss/dx)).

    P clamps to the ball |x - images| <= epsilon in every value and to [0, 1] (Madry et al.,
    ICLR 2018, section 2.1). One step of size epsilon without a random start is FGSM (Goodfellow
    et al., ICLR 2015).

    The caller chooses the network's mode: a batch-norm in train mode would move its buffers here,
    and its images would depend on each other. No parameter's ``grad`` is touched, parameters may
    be frozen, and the caller's ``no_grad`` does not matter.

    Args:
        network: images in [0, 1] -> logits; it normalises by itself.
        images: N x C x H x W in [0, 1].
        loss: logits -> a scalar or N values, to be maximised; each image's part of it must depend
            on that image alone.
        epsilon: of the ball, in units of [0, 1], such as 8/255.
        step_size: of one step, in the same units.
        steps: 0 leaves the random start.
        generator: of the random start, drawn where it lives; without it the global random state.
        random_start: begin anywhere in the ball with equal chance, not at the images.
        start: begin there instead, or at the nearest point of the ball; like ``images``.

    Returns:
        Images like ``images``, without a graph.

    Raises:
        DfkdError: a negative epsilon, step size or number of steps.

    >>> images = torch.full((1, 1, 1, 2), 0.5)
    >>> weight = torch.tensor([[3.0, -1.0]])
    >>> moved = pgd(lambda x: x.flatten(1) @ weight.T, images, torch.sum,
    ...             epsilon=0.25, step_size=0.125, steps=4)
    >>> moved.flatten()
    tensor([0.7500, 0.2500])
    """
    _check(epsilon, step_size, steps)
    images = images.detach()
    low, high = (images - epsilon).clamp(0, 1), (images + epsilon).clamp(0, 1)
    moved = images if start is None else start.detach()
    if random_start and start is None:
        moved = images + epsilon * _uniform(images, generator)
    moved = moved.clamp(low, high)
    for _ in range(steps):
        with torch.enable_grad():
            moved.requires_grad_()
            (gradient,) = torch.autograd.grad(loss(network(moved)).sum(), moved)
        moved = (moved.detach() + step_size * gradient.sign()).clamp(low, high)
    return moved


def _check(epsilon: float, step_size: float, steps: int) -> None:
    # "not >=" also refuses nan.
    if not (epsilon >= 0 and step_size >= 0 and steps >= 0):
        raise DfkdError(
            "an attack needs epsilon, step_size and steps of at least 0, not "
            f"{epsilon:g}, {step_size:g} and {steps}"
        )


def _uniform(images: Tensor, generator: Generator | None) -> Tensor:
    """Draw values in [-1, 1) like ``images``, where the generator lives."""
    device = images.device if generator is None else generator.device
    noise = torch.rand(images.shape, generator=generator, device=device, dtype=images.dtype)
    return (2 * noise - 1).to(images.device)
