"""A network's first pass as a teacher: what it says, and whether it stays as it is meanwhile."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError, nearest
from dfkd.networks.copying import moved, put_back, saved, state_of
from dfkd.networks.foreign import TRIAL
from dfkd.networks.layers import clean_name
from dfkd.tasks import TASKS, Task
from dfkd.tasks.answers import find_logits
from dfkd.teacher.holding import hold, let_go
from dfkd.teacher.spec import ImageSpec
from dfkd.training.finite import holds_any, not_finite

Answers = TypeVar("Answers")
_CONTRASTS = (0.3, 1.0, 3.0, 30.0, 1e3, 1e6)
"""Of noise that a network is shown to see where its answers end, in units of [0, 1]."""
_DRAWS = 3
"""Batches of each contrast."""
_STATISTICS = ("running_mean", "running_var")


def first_pass(
    network: nn.Module, ask: Callable[[], Answers], restless: bool
) -> tuple[Answers, bool]:
    """Return what ``ask`` gives, and whether ``network`` is held in eval mode from now on.

    It is where it is ``restless`` already, or comes out of the pass in training mode or changed.

    Raises:
        DfkdError: it changes itself even so. Whatever is raised, it is as it came.
    """
    before, held = saved(network), False
    try:
        answers = ask()
        training = any(module.training for module in network.modules())
        if restless or training or moved(before, network):
            put_back(before, network)
            hold(network.modules())
            held = True
            answers = ask()
        if changed := moved(before, network):
            raise DfkdError(
                f"the teacher changes its own {changed[0]!r} whenever it is asked, even in "
                "eval mode, and a teacher stays as it is: give one that only reads its weights "
                "and buffers"
            )
    except BaseException:
        if held:
            let_go(network.modules())
        raise
    finally:
        put_back(before, network)
    return answers, held


def check_finite(network: nn.Module) -> None:
    """Raise where a weight is no number, by its name.

    Buffers other than a norm's statistics may be infinite: masks of attention are.
    """
    weights = {clean_name(name) for name, _ in network.named_parameters(remove_duplicate=False)}
    for name, value in state_of(network).items():
        if value.is_meta:
            continue
        finite = name in weights or name.rpartition(".")[2] in _STATISTICS
        if holds_any(not_finite if finite else torch.isnan, value):
            raise DfkdError(f"the teacher's weights hold NaN or infinity (first in {name!r})")


def trial_noise(network: nn.Module, spec: ImageSpec) -> Tensor:
    """Return two images of noise, normalised, on the network's device: unlike everywhere."""
    noise = torch.rand(TRIAL, *spec.shape, generator=torch.Generator().manual_seed(0))
    first = next(iter(network.parameters()), None)
    images = spec.normalize(noise)
    return images if first is None else images.to(first.device, first.dtype)


@torch.no_grad()
def answers_within_one(
    ask: Callable[[Tensor], object], spec: ImageSpec, device: torch.device | str
) -> bool:
    """Tell whether whatever a network is shown, all that it says lies in [0, 1].

    Noise of far more contrast than images have drives logits out of it, and sigmoids to its ends.

    Args:
        ask: images of ``spec``, not normalised -> what the network returns; of two at once.
        spec: its images.
        device: where it is.
    """
    generator = torch.Generator().manual_seed(0)
    for contrast in _CONTRASTS * _DRAWS:
        noise = torch.randn((TRIAL, *spec.shape), generator=generator)
        said = find_logits(ask((0.5 + contrast * noise).to(device))).logits.float()
        said = said[said.isfinite()]
        if bool(((said < 0) | (said > 1)).any()):
            return False
    return True


def find_task(
    raw: object,
    task: Task | str,
    names: Sequence[str] | None,
    spec: ImageSpec,
    ask: Callable[[Tensor], object],
) -> Task:
    """Find the task that a word names in a network's first answers; return any other as it is.

    Args:
        raw: its answers to two samples.
        task: of ``dfkd.tasks.TASKS``, or a task.
        names: of the classes, where they are known.
        spec: its samples.
        ask: samples, not normalised, on the CPU -> what the network returns.

    Raises:
        DfkdError: no such task, or answers that it cannot read.
    """
    if not isinstance(task, str):
        return task
    if task not in TASKS:
        raise DfkdError(f"no task {task[:40]!r}{nearest(task, TASKS)}")
    found: Task = TASKS[task](raw, spec.shape, names, lambda: answers_within_one(ask, spec, "cpu"))
    return found
