"""What is to be seen of a teacher: the arguments of ``dfkd.visualize``, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from dfkd.errors import DfkdError, check_settings
from dfkd.recipes import recipe
from dfkd.teacher import Teacher

What = Literal["classes", "channels", "reconstruction", "walk", "evolution"]
_DEFAULT_CLASSES = 10
_MOST_EVOLVING = 16
_MOST_IMAGES = 4096

_OWN: Mapping[str, tuple[str, ...]] = {
    "classes": ("classes", "evolution", "walk"),
    "layers": ("channels", "reconstruction"),
    "channels": ("channels",),
    "picture": ("reconstruction",),
}
"""For which choices of ``what`` an argument has a meaning."""


@dataclass(frozen=True)
class VisualizationOrder:
    """The arguments of ``dfkd.visualize`` that say what is to be seen.

    Attributes:
        what: is shown.
        classes: indices; those of a walk are visited in turn.
        count: pictures a class, or channels a layer.
        layers: dotted module names.
        channels: indices, of each layer.
        picture: the file of an image, for ``reconstruction``.
        method: whose generator learns, for ``walk``.
        steps: of the optimiser; of the student, for ``walk``.
        frames: of an animation.
        seed: of all of it.

    Raises:
        DfkdError: a value out of range, one that has no meaning here, or one that is missing.
    """

    what: What = "classes"
    classes: tuple[int, ...] | None = None
    count: Annotated[int, "[1, 256]"] = 8
    layers: tuple[str, ...] | None = None
    channels: tuple[int, ...] | None = None
    picture: Path | None = None
    method: str = "nayer"
    steps: Annotated[int, "[1, inf)"] | None = None
    frames: Annotated[int, "[2, 60]"] = 30
    seed: Annotated[int, "[0, inf)"] = 0

    def __post_init__(self) -> None:
        check_settings(self, "`")
        for name, own in _OWN.items():
            if getattr(self, name) is not None and self.what not in own:
                raise DfkdError(f"`{name}` belongs to `what={own[0]}`, not to {self.what}")
            if getattr(self, name) == ():
                raise DfkdError(f"`{name}` wants at least one")
        if self.what == "reconstruction" and self.picture is None:
            raise DfkdError("`what=reconstruction` wants an image to reconstruct: give `picture`")
        if self.what == "walk":
            recipe(self.method)  # or it is refused here
            if self.classes is not None and len(self.classes) < 2:
                raise DfkdError("a walk wants at least two `classes`, or none to choose itself")
        if self.what == "evolution" and len(self.classes or ()) > _MOST_EVOLVING:
            raise DfkdError(f"`what=evolution` shows at most {_MOST_EVOLVING} `classes`")
        if self.what == "channels" and len(self.channels or ()) > 256:
            raise DfkdError("`channels` takes at most 256 indices")
        if self.count * len(self.classes or ()) > _MOST_IMAGES:
            raise DfkdError(f"at most {_MOST_IMAGES} pictures: lower `count`, or fewer `classes`")

    def check(self, teacher: Teacher) -> None:
        """Raise where what is to be seen is of classes, and the teacher has labels."""
        if teacher.task.rows > 1 and self.what not in ("channels", "reconstruction"):
            raise DfkdError(
                f"`what={self.what}` shows classes, and this teacher has labels that hold side by "
                "side: take `what=channels`, or invert"
            )

    def class_list(self, teacher: Teacher) -> list[int]:
        """Return the classes to show; the teacher's first few where none are named.

        Raises:
            DfkdError: one that the teacher has not.
        """
        last = teacher.num_classes - 1
        wanted = self.classes or tuple(range(min(last + 1, _DEFAULT_CLASSES)))
        for index in wanted:
            if not 0 <= index <= last:
                raise DfkdError(
                    f"class {index} is out of range: the teacher has classes 0 to {last}"
                )
        return list(wanted)
