"""Find the logits in what a network returns, whatever it wraps them in."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.tasks.words import first_few, shown

KNOWN_FIELDS = (
    "logits", "out", "output", "outputs", "prediction", "predictions", "pred", "preds", "scores",
)  # fmt: skip
"""What networks call their answer, from the clearest word on."""
_DEEPEST = 4
"""Wrappers within wrappers; a value that holds itself ends somewhere."""
_MOST_NAMES = 6


class Answer(NamedTuple):
    """The logits of a network's answer.

    Attributes:
        logits: N x C as a rule; of another shape where the network gives nothing else.
        taken: where they were, for a reader; "" where the network returned them alone.
    """

    logits: Tensor
    taken: str = ""


def find_logits(raw: object) -> Answer:
    """Find the logits in what a network returned.

    They are the tensor itself; a field of ``KNOWN_FIELDS``, else the only tensor, of a dict, a
    dataclass or an object; the first value of a tuple or list, as of (main, auxiliary) answers.
    Sides of one pixel are dropped, and one number a sample becomes N x 1.

    Raises:
        DfkdError: there are none, or several that nothing tells apart; names the fields.

    >>> import torch
    >>> find_logits({"logits": torch.zeros(2, 3), "hidden": torch.zeros(2, 9)}).taken
    "the field 'logits' of a dict"
    >>> find_logits((torch.zeros(2, 3, 1, 1), torch.zeros(2, 3))).logits.shape
    torch.Size([2, 3])
    """
    steps: list[str] = []
    value = raw
    while not isinstance(value, Tensor) and len(steps) < _DEEPEST:
        value, step = _inside(value)
        steps.append(step)
    if not isinstance(value, Tensor):
        raise DfkdError(f"no logits in what the network returns: {_described(raw)}")
    return Answer(_flat(value), " of ".join([*reversed(steps), ""]).removesuffix(" of "))


def answer_at(raw: object, place: int | str) -> object:
    """Return one of several values that a network returned.

    Args:
        raw: a tuple, a list, or whatever has fields.
        place: of a value, counted from 0, or the name of a field.

    Raises:
        DfkdError: there is no such value; says which there are.

    >>> answer_at(("boxes", "scores"), 1)
    'scores'
    """
    held: dict[Any, Any] = dict(enumerate(raw)) if isinstance(raw, tuple | list) else {}
    held |= _fields(raw)
    if place in held:
        return held[place]
    kind = f"a {shown(type(raw).__name__, 40)}"
    if isinstance(raw, Tensor):
        kind = "one tensor: leave `answer` out"
    elif held:
        kind += f" of {first_few((f'{name} ({_size(one)})' for name, one in held.items()), 5)}"
    raise DfkdError(f"no `answer={shown(str(place), 40)}`: the network returns {kind}")


def _flat(value: Tensor) -> Tensor:
    """N x C of N x C x 1 x 1, and N x 1 of N."""
    if value.ndim == 1:
        return value[:, None]
    return value.flatten(1) if value.ndim > 2 and value[0, 0].numel() == 1 else value


def _inside(value: object) -> tuple[object, str]:
    """Return one step further in, and its name."""
    named = _fields(value)
    kind = type(value).__name__
    if named:
        known = next((name for name in KNOWN_FIELDS if _holds(named.get(name))), None)
        tensors = [name for name, held in named.items() if isinstance(held, Tensor)]
        if known is None and len(tensors) == 1:
            known = tensors[0]
        if known is not None:
            return named[known], f"the field {shown(known)!r} of a {shown(kind, 40)}"
    if isinstance(value, tuple | list) and value:
        return value[0], f"the first of {len(value)} values{_others(value)}"
    raise DfkdError(f"no logits in what the network returns: {_described(value)}")


def _others(values: tuple[Any, ...] | list[Any]) -> str:
    """Show what was not taken where it has another shape: it might be what was meant."""
    different = [
        f"`?answer={place}` would be {_size(one)}"
        for place, one in enumerate(values)
        if isinstance(one, Tensor) and one.shape[1:] != getattr(values[0], "shape", one.shape)[1:]
    ]
    return f" ({'; '.join([_size(values[0]), *different[:3]])})" if different else ""


def _size(value: object) -> str:
    """The shape of a value, whatever the number of samples; else its type."""
    if not isinstance(value, Tensor):
        return shown(type(value).__name__, 20)
    return " x ".join(["N", *map(str, value.shape[1:])])


def _holds(value: object) -> bool:
    return isinstance(value, Tensor | tuple | list | Mapping) or bool(_fields(value))


def _fields(value: object) -> dict[str, Any]:
    """What a value has by name; nothing where it is no record."""
    if isinstance(value, Mapping):
        return {name: held for name, held in value.items() if isinstance(name, str)}
    if isinstance(value, tuple):
        return {name: getattr(value, name) for name in getattr(value, "_fields", ())}
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name, None) for one in fields(value)}
    if hasattr(value, "__dict__") and not isinstance(value, type):
        return dict(_attributes(value))
    return {}


def _attributes(value: object) -> Iterator[tuple[str, Any]]:
    """Public attributes, and known ones that are properties."""
    yield from ((name, held) for name, held in vars(value).items() if not name.startswith("_"))
    for name in KNOWN_FIELDS:
        if name not in vars(value) and isinstance(found := getattr(value, name, None), Tensor):
            yield name, found


def _described(value: object) -> str:
    kind = f"a {shown(type(value).__name__, 40)}"
    named = list(_fields(value))
    if not named:
        empty = isinstance(value, tuple | list | Mapping)
        return f"{kind} without values" if empty and not value else kind
    listed = ", ".join(shown(name, 24) for name in named[:_MOST_NAMES])
    more = ", …" * (len(named) > _MOST_NAMES)
    return f"{kind} of {listed}{more}; call the answer `logits`, or return it alone"
