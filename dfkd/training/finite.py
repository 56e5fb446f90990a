"""Keep NaN and infinity from being written over a run's last good state.

NaN is a fault wherever it is. An infinity is one in whatever learns: weights, averages, optimisers'
moments. A method may begin with one of its own (a lowest cost so far), and so may a network: masks
of attention hold some from the start, under names that ``infinities`` collects before training.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError

_LEARNER = {
    "student": "the student's {}",
    "average": "the averaged student's {}",
    "optimizer": "the optimiser's {}",
    "adapters": "the adapters' {}",
    "adapters_optimizer": "the adapters' optimiser's {}",
}
"""What the entries of a learner's state are called; any other is the student's."""

STUDENT = "learner.lr or learner.weight_decay"
_SYNTHESIS = "rate of synthesis (dfkd recipes METHOD prints it)"


class _StateEntry(NamedTuple):
    """A tensor of a run's state: how users call it, what to lower, whether it may be infinite."""

    name: str
    value: Tensor
    lower: str = STUDENT
    infinite: bool = False


def infinities(distiller: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the students' tensors that hold infinities before the first step.

    Args:
        distiller: a ``Scheme``'s state.
    """
    kept = [
        _StateEntry(name, value)
        for learner in distiller["learners"]
        for part in ("student", "average")
        for name, value in _tensors(learner.get(part))
    ]
    found = _verdicts([_asked(torch.isinf, entry.value) for entry in kept])
    return frozenset(entry.name for entry, holds in zip(kept, found, strict=True) if holds)


def check_state(state: Mapping[str, Any], known: Collection[str] = ()) -> None:
    """Raise if an engine's state holds what is not finite and was not so before training.

    Args:
        state: with ``distiller``, ``synthesizer`` and ``account``, where it has these.
        known: what ``infinities`` gave.

    Raises:
        DfkdError: names the first tensor, the step, and what to lower.
    """
    distiller, account = state.get("distiller", {}), state.get("account", {})
    entries = list(_of_learners(distiller.get("learners", ()), known))
    for called, part, lower in (
        ("the scheme's {}", distiller.get("extras"), STUDENT),
        ("the synthesizer's {}", state.get("synthesizer"), _SYNTHESIS),
        ("an earlier student's {}", state.get("curve"), STUDENT),
    ):
        entries += [
            _StateEntry(called.format(n), value, lower, True) for n, value in _tensors(part)
        ]
    _check(entries, account.get("steps", 0))


def check_network(network: nn.Module, whose: str, steps: int, known: Collection[str] = ()) -> None:
    """Raise if a network's state holds what is not finite and was not so before training.

    Args:
        network: whose parameters and buffers are checked.
        whose: such as ``the student``.
        steps: how many it has taken.
        known: what ``infinities`` gave.

    Raises:
        DfkdError: names the first tensor, the step, and what to lower.
    """
    state = _tensors(network.state_dict())
    _check([_StateEntry(f"{whose}'s {n}", value, STUDENT, n in known) for n, value in state], steps)


def _of_learners(learners: Sequence[Any], known: Collection[str]) -> Iterator[_StateEntry]:
    for number, learner in enumerate(learners):
        which = f" (of student {number + 1})" if len(learners) > 1 else ""
        for part, state in learner.items():
            called = _LEARNER.get(part, f"the student's {part}.{{}}") + which
            for name, value in _tensors(state):
                yield _StateEntry(called.format(name), value, STUDENT, name in known)


def _tensors(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor within containers, and every float as one, with its path."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, float):
        # As itself only where it is a fault: float32 would make an infinity of a large number.
        yield path, torch.tensor(0.0 if math.isfinite(value) else value)
    elif isinstance(value, (Mapping, list, tuple)):
        parts = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, part in parts:
            yield from _tensors(part, f"{path}.{key}" if path else str(key))


def _check(entries: Sequence[_StateEntry], steps: int) -> None:
    questions = [torch.isnan if entry.infinite else not_finite for entry in entries]
    faults = [_asked(ask, entry.value) for ask, entry in zip(questions, entries, strict=True)]
    for entry, fault in zip(entries, _verdicts(faults), strict=True):
        if fault:
            (nan,) = _verdicts([_asked(torch.isnan, entry.value)])
            raise DfkdError(
                f"{_cut(entry.name)} holds {'NaN' if nan else 'infinity'} after step {steps}: the "
                "run has diverged and nothing is saved over an earlier checkpoint; start again "
                f"with a lower {entry.lower}"
            )


def _verdicts(faults: Sequence[Tensor | None]) -> list[bool]:
    """All answers at once: a device is waited for once, and not once a tensor."""
    found = [fault for fault in faults if fault is not None]
    answers = iter(
        torch.stack([fault.to(found[0].device) for fault in found]).tolist() if found else []
    )
    return [fault is not None and next(answers) for fault in faults]


def holds_any(question: Callable[[Tensor], Tensor], value: Tensor) -> bool:
    """Tell whether any number in ``value`` is as asked; False where torch cannot tell.

    Args:
        question: tensor -> booleans, such as ``torch.isnan``.
        value: of any type and layout.
    """
    return bool(found) if (found := _asked(question, value)) is not None else False


def _asked(question: Callable[[Tensor], Tensor], value: Tensor) -> Tensor | None:
    """Whether any number in ``value`` is as asked, on its device; None where torch cannot tell."""
    if not value.numel() or not (value.is_floating_point() or value.is_complex()):
        return None
    try:
        # torch asks numbers of 8 bits nothing, and all of them fit into 16.
        return question(value.bfloat16() if value.element_size() == 1 else value).any()
    except (NotImplementedError, RuntimeError):  # sparse, quantised: taken for sound
        return None


def not_finite(value: Tensor) -> Tensor:
    """Ask which numbers are NaN or infinite."""
    return ~torch.isfinite(value)


def _cut(name: str, most: int = 90) -> str:
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-most // 2 :]}"
