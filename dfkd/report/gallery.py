"""Pictures of a page: a grid a class, pairs side by side, and how some came to be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup
from torch import Tensor

from dfkd.report.thumbnails import Thumbnail, thumbnails
from dfkd.report.units import percent, whole
from dfkd.tasks.words import shown

A_CLASS = 12
"""Images of a class on a page, at most."""
ON_A_PAGE = 2400
"""Images of all classes on a page: where classes are many each shows fewer."""
OPEN_CLASSES = 50
"""Up to so many classes are shown; beyond them each opens by a click."""
MOST_CLASSES = 1000
"""Classes on a page; of more the first are shown."""


class Panel(NamedTuple):
    """Some images under one heading: those of a class, or two that are alike.

    Attributes:
        name: the heading.
        note: beside it.
        pictures: the images.
    """

    name: str
    note: str
    pictures: Sequence[Thumbnail]


class Strip(NamedTuple):
    """How one image came to be.

    Attributes:
        name: what it became.
        pictures: from the first to the last moment.
    """

    name: str
    pictures: Sequence[Thumbnail]


@dataclass(frozen=True)
class Gallery:
    """The pictures of a page, each part empty where there is none.

    Attributes:
        panels: one a class.
        collapsed: whether they open by a click.
        omitted: classes that are not shown.
        confidences: the teacher's, of all images in their own class, in [0, 1].
        strips: how some images came to be.
        moments: headings of the strips' columns.
        note: on the strips, or how to get them.
    """

    panels: Sequence[Panel] = ()
    collapsed: bool = False
    omitted: int = 0
    confidences: Sequence[float] = ()
    strips: Sequence[Strip] = ()
    moments: Sequence[str] = ()
    note: str = ""

    def parts(self) -> dict[str, Any]:
        """Return the values that ``gallery.html.j2`` takes."""
        return {
            "gallery": self,
            "histogram": self._histogram(),
            "confidence_note": self._confidence_note(),
        }

    def _histogram(self) -> Markup:
        if not self.confidences:
            return Markup("")
        from dfkd.report import svg  # matplotlib is slow to import, and needed at the end
        from dfkd.report.histogram import plot_shares

        drawn = plot_shares(self.confidences, "the teacher’s confidence in the image’s own class")
        return svg.inline(drawn, f"Confidence of {len(self.confidences)} images: {self._range()}")

    def _range(self) -> str:
        ordered = sorted(self.confidences)
        middle = ordered[len(ordered) // 2]
        return f"half of the images have at least {percent(middle)}"

    def _confidence_note(self) -> str:
        if not self.confidences:
            return ""
        mean = sum(self.confidences) / len(self.confidences)
        return f"{whole(len(self.confidences))} images; mean {percent(mean)}; {self._range()}."


def images_a_class(classes: int) -> int:
    """Return how many images of each class a page shows.

    >>> images_a_class(10), images_a_class(400), images_a_class(20_000)
    (12, 6, 1)
    """
    return max(1, min(A_CLASS, ON_A_PAGE // max(1, classes)))


def class_panel(name: str, count: int, images: Tensor, confidences: Sequence[float]) -> Panel:
    """Make the panel of a class.

    Args:
        name: of the class.
        count: how many images it has in all.
        images: those to show, n x C x H x W.
        confidences: the teacher's in this class, n.
    """
    titles = [f"{shown(name, 60)}: confidence {percent(value)}" for value in confidences]
    pictures = thumbnails(images, titles)
    few = "" if count == len(pictures) else f"{len(pictures)} of "
    noun = "image" if count == 1 else "images"
    return Panel(shown(name, 80), f"{few}{whole(count)} {noun}", pictures)


def evolution_strips(
    frames: Tensor, names: Sequence[str], shares: Sequence[float]
) -> tuple[list[Strip], list[str]]:
    """Make the strips of an evolution, and the headings of their columns.

    Args:
        frames: moments x n x C x H x W, uint8.
        names: n texts, what each image became.
        shares: of the making, one a moment, in [0, 1].
    """
    moments = [percent(share, 0) for share in shares]
    strips = []
    for index, name in enumerate(names):
        titles = [f"{shown(name, 60)} at {moment}" for moment in moments]
        strips.append(Strip(shown(name, 60), thumbnails(frames[:, index], titles)))
    return strips, moments


def gallery_of(
    images: Tensor, labels: Sequence[int], confidences: Sequence[float], names: Mapping[int, str]
) -> Gallery:
    """Make the gallery of images that are all at hand.

    Args:
        images: N x C x H x W, float in [0, 1] or uint8.
        labels: N class indices.
        confidences: the teacher's in these classes, N.
        names: of the classes by index.
    """
    places: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    most = images_a_class(len(places))
    panels = []
    for label, all_own in sorted(places.items())[:MOST_CLASSES]:
        own = all_own[:most]
        values = [confidences[place] for place in own]
        panels.append(class_panel(names[label], len(all_own), images[own], values))
    return Gallery(panels, len(panels) > OPEN_CLASSES, len(places) - len(panels), list(confidences))
