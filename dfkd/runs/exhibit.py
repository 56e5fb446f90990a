"""What a visualisation shows, as plain values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

Pulse = Callable[[float, int], None]
"""Called with the share that is done, in [0, 1], and the number of the step."""


class Group(NamedTuple):
    """Some images under one heading.

    Attributes:
        name: the heading.
        note: beside it.
        images: N x C x H x W in [0, 1].
        captions: N texts.
    """

    name: str
    note: str
    images: Tensor
    captions: Sequence[str]


@dataclass(frozen=True)
class Exhibit:
    """All that a visualisation shows.

    Attributes:
        title: of the page.
        lead: a sentence or two under it.
        groups: of images.
        animation: uint8 F x N x C x H x W, where there is one.
        facts: figures, for the manifest.
        real: what real image had a part in it, in words; "" for none.
    """

    title: str
    lead: str
    groups: Sequence[Group]
    animation: Tensor | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    real: str = ""
