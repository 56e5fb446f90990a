"""Which changes of an image leave its class as it is? The teacher is asked: nobody else can know.

Without data no one can say whether mirror images, shifts or negatives are fair to show a student.
The teacher answers: of the images that its memory has corrected, how many keep their class when
they are changed, beside how many keep it when they are moved by a pixel, which changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dfkd.errors import DfkdError, nearest
from dfkd.evaluation.accuracy import predictions
from dfkd.evaluation.heldout import HELD_OUT_BATCH, HeldOut
from dfkd.teacher import Teacher

LEAST_KEPT = 0.8
"""Least share of images that keep their class under a change, over that of images moved by a pixel.
Measured for mirror images: .90 Fashion (of real images .99), .93 spectrograms of vowels (.97) and
.98 MobileNetV2; .55 digits (.32) and .63 of a Fashion teacher that never saw one (.83)."""

HARMLESS = "pixel"
"""What every other change is held against."""


class Change(NamedTuple):
    """A way to change images.

    Attributes:
        line: what it does.
        variants: N x C x H x W in [0, 1] -> such images, one batch for each direction it can take.
        fits: whether images of C x H x W can be changed so.
    """

    line: str
    variants: Callable[[Tensor], list[Tensor]]
    fits: Callable[[tuple[int, ...]], bool] = lambda shape: True


class Invariance(NamedTuple):
    """What the teacher said of one change.

    Attributes:
        name: in ``CHANGES``.
        kept: share of the teacher's own images whose class stays, in [0, 1].
        low: lower end of its 95 % interval (Wilson, JASA 1927).
        high: upper end.
        drawings: the same share of drawings, which are nobody's data.
        holds: whether images changed so are answered alike, as near as can be told.
    """

    name: str
    kept: float
    low: float
    high: float
    drawings: float
    holds: bool


def keeps(changed: float, moved: float) -> bool:
    """Decide whether a change leaves the class as it is.

    Args:
        changed: share of images that keep their class under it, in [0, 1].
        moved: share that keeps it when moved by a pixel; where even that changes it none can tell.
    """
    return changed >= LEAST_KEPT * moved and moved >= LEAST_KEPT


def ask_invariances(
    teacher: Teacher, held_out: HeldOut, names: Iterable[str] | None = None
) -> dict[str, Invariance]:
    """Ask the teacher about changes of images; the harmless one is always among them.

    Args:
        teacher: frozen.
        held_out: images and the teacher's answers to them.
        names: of ``CHANGES``; all that fit the images when left out.

    Raises:
        DfkdError: no such change.
    """
    shape = tuple(held_out.images.shape[1:])
    wanted = dict.fromkeys([HARMLESS, *(CHANGES if names is None else names)])
    if unknown := wanted.keys() - CHANGES.keys():
        name = sorted(unknown)[0]
        raise DfkdError(f"no change is called {name!r}{nearest(name, CHANGES)}")
    places = [held_out.places(kind) for kind in (held_out.own_kind, "drawn")]
    own, drawn = (held_out.images[place] for place in places)
    answers = [held_out.logits_at(place) for place in places]
    found: dict[str, Invariance] = {}
    for name in wanted:
        if CHANGES[name].fits(shape):
            kept, drawings = (
                share_kept(teacher, images, before, name)
                for images, before in zip((own, drawn), answers, strict=True)
            )
            moved = found[HARMLESS].kept if found else kept
            low, high = _wilson(kept, len(own))
            found[name] = Invariance(name, kept, low, high, drawings, keeps(kept, moved))
    return found


def share_kept(teacher: Teacher, images: Tensor, before: Tensor, name: str) -> float:
    """Compute the share of images whose class stays under a change, the mean of its directions.

    Of labels that hold side by side all have to stay.

    Args:
        teacher: frozen.
        images: uint8 N x C x H x W.
        before: the teacher's rows of logits of them.
        name: of ``CHANGES``.
    """
    changed = CHANGES[name].variants(images.float() / 255)
    shares = []
    for one in changed:
        after = predictions(teacher, teacher.spec, one, batch_size=HELD_OUT_BATCH)
        same = (after.argmax(1) == before.argmax(1)).view(-1, teacher.task.rows).all(1)
        shares.append(float(same.float().mean()))
    return sum(shares) / len(shares)


def _wilson(share: float, count: int) -> tuple[float, float]:
    from scipy.stats import binomtest  # takes half a second

    interval = binomtest(round(share * count), count).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def _moved(images: Tensor, pixels: int, dim: int) -> list[Tensor]:
    return [images.roll(step, dim) for step in (pixels, -pixels)]


def _far(images: Tensor, dim: int) -> list[Tensor]:
    """Move by a fourteenth of the side: 2 pixels of 28, 16 of 224."""
    return _moved(images, max(1, round(images.shape[dim] / 14)), dim)


def _scaled(images: Tensor) -> list[Tensor]:
    """Enlarge, and shrink before a ground of the edge's values, by an eighth."""
    from kornia.geometry.transform import scale  # a second: only for those who ask

    factors = (images.new_full((len(images), 2), factor) for factor in (8 / 7, 7 / 8))
    return [scale(images, factor, padding_mode="border") for factor in factors]


def _turned(images: Tensor) -> list[Tensor]:
    from kornia.geometry.transform import rotate

    angles = (images.new_full((len(images),), angle) for angle in (10.0, -10.0))
    return [rotate(images, angle, padding_mode="border") for angle in angles]


def _blurred(images: Tensor) -> list[Tensor]:
    from kornia.filters import gaussian_blur2d

    return [gaussian_blur2d(images, (3, 3), (0.7, 0.7), border_type="replicate")]


def _noisy(images: Tensor) -> list[Tensor]:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return [(images + 0.05 * noise).clamp(0, 1)]


def _contrasted(images: Tensor) -> list[Tensor]:
    middle = images.mean((1, 2, 3), keepdim=True)
    return [(middle + factor * (images - middle)).clamp(0, 1) for factor in (0.7, 1.4)]


def _is_square(shape: tuple[int, ...]) -> bool:
    return shape[-1] == shape[-2]


CHANGES: Mapping[str, Change] = {
    "pixel": Change("moved sideways by a pixel", lambda x: _moved(x, 1, -1)),
    "mirror": Change(
        "left and right exchanged; of signals and spectrograms: time reversed",
        lambda x: [x.flip(-1)],
    ),
    "upside_down": Change("top and bottom exchanged", lambda x: [x.flip(-2)]),
    "quarter_turn": Change(
        "turned by 90 degrees, either way", lambda x: [x.rot90(k, (-2, -1)) for k in (1, 3)],
        _is_square,
    ),
    "half_turn": Change("turned by 180 degrees", lambda x: [x.rot90(2, (-2, -1))]),
    "sideways": Change("moved sideways by 1/14 of the width", lambda x: _far(x, -1)),
    "vertical": Change("moved up or down by 1/14 of the height", lambda x: _far(x, -2)),
    "scale": Change("an eighth larger or smaller", _scaled),
    "rotation": Change("turned by 10 degrees, either way", _turned),
    "brightness": Change(
        ".15 brighter or darker", lambda x: [(x + d).clamp(0, 1) for d in (0.15, -0.15)]
    ),
    "contrast": Change("contrast times .7 or 1.4", _contrasted),
    "negative": Change("light and dark exchanged", lambda x: [1 - x]),
    "noise": Change("Gaussian noise of .05", _noisy),
    "blur": Change("Gaussian blur of .7 pixels", _blurred),
    "channels": Change(
        "colours exchanged", lambda x: [x.roll(k, 1) for k in (1, 2)], lambda shape: shape[0] == 3
    ),
}  # fmt: skip
"""Changes that a teacher can be asked about; the first is the harmless one."""
