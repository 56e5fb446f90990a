"""ImageNet's synsets (``n01440764``), as directories of its pictures are called."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

SYNSET = re.compile(r"n[0-9]{8}")
CLASSES = 1000


def synset_indices(
    names: Sequence[str], classes: Sequence[str], folded: Callable[[str], str]
) -> list[int | None]:
    """Map synsets to class indices if ``classes`` are ImageNet's 1,000; else return None for each.

    1,000 classes without names count as ImageNet's: no other order of them is in use. timm brings
    the list of synsets; where it is not installed none is known.
    """
    if not all(map(SYNSET.fullmatch, names)) or not _are_those_of_imagenet(classes, folded):
        return [None] * len(names)
    known = {synset: index for index, synset in enumerate(table())}
    return [known.get(name) for name in names]


def synsets_of(classes: Sequence[str], folded: Callable[[str], str]) -> tuple[str | None, ...]:
    """Return the synset of each class where ``classes`` are ImageNet's 1,000; else None for each.

    Args:
        classes: names, or numbers.
        folded: makes spellings of a name alike.
    """
    known = table() if _are_those_of_imagenet(classes, folded) else ()
    return known or (None,) * len(classes)


def _are_those_of_imagenet(classes: Sequence[str], folded: Callable[[str], str]) -> bool:
    if len(classes) != CLASSES:
        return False
    if tuple(classes) == tuple(map(str, range(CLASSES))):
        return True
    # Lists of their names differ in a few words ("crane", "crane bird"), and in what they add.
    own = (folded(name.partition(",")[0]) for name in classes)
    alike = sum(a == folded(b) for a, b in zip(own, _categories(), strict=True))
    return alike >= 0.9 * CLASSES


@cache
def table() -> tuple[str, ...]:
    """Return the synsets of the 1,000 classes in order; nothing where timm is not installed."""
    found = find_spec("timm")  # a file beside the package: nothing of it is imported
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder, "data", "_info", "imagenet_synsets.txt")
        if path.is_file():
            lines = tuple(path.read_text(encoding="utf-8").split())
            return lines if len(lines) == CLASSES else ()
    return ()


@cache
def _categories() -> tuple[str, ...]:
    from torchvision.models import MobileNet_V2_Weights

    return tuple(MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])
