"""``labels.json``: what was asked of the teacher about a set, and which epochs are there."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from dfkd.datasets.written.answers import LOGIT_BITS
from dfkd.datasets.written.views import ViewConfig
from dfkd.errors import DfkdError, check_settings
from dfkd.tasks.words import shown
from dfkd.training.files import write_text

LABELS = "labels.json"
MOST_EPOCHS = 10_000
KEPT, DRAWN = 1, 2
"""Formats: views that lie beside the answers, and views that follow from seed, epoch and image."""
_LONGEST = 10_000_000


@dataclass(frozen=True)
class LabelManifest:
    """What the labels of a set are.

    Attributes:
        views: what the teacher was shown.
        seed: of the views.
        top_k: how many answers a label keeps, the largest; 0: all.
        teacher: hash of the weights that answered.
        images: of the set.
        epochs: SHA-256 of each epoch's file; None while it is not written.
        bits: of an answer.
        format: ``KEPT`` or ``DRAWN``; files that name none are of the first version.
    """

    views: ViewConfig
    seed: int
    top_k: Annotated[int, "[0, inf)"]
    teacher: str
    images: int
    epochs: tuple[str | None, ...]
    bits: int = 16
    format: int = KEPT

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    @property
    def complete(self) -> bool:
        """Whether all epochs are there."""
        return all(self.epochs)

    def differences(self, other: "LabelManifest") -> list[str]:
        """Tell in what the labels of another differ, epochs aside: its value after ``not``."""
        mine, theirs = self._facts(), other._facts()
        return [f"{name} {value}, not {theirs[name]}" for name, value in mine.items()
                if value != theirs[name]]  # fmt: skip

    def _facts(self) -> dict[str, Any]:
        views = {name: f"{value:g}" for name, value in asdict(self.views).items()}
        return {
            "format": self.format, "seed": self.seed, **views, "top_k": self.top_k,
            "bits": self.bits, "teacher": self.teacher[:12], "images": self.images,
        }  # fmt: skip


def epoch_name(epoch: int) -> str:
    """Return the file of an epoch within its set.

    >>> epoch_name(3)
    'labels/00003.safetensors'
    """
    return f"labels/{epoch:05d}.safetensors"


def label_text(manifest: LabelManifest) -> str:
    """Return it as JSON."""
    return json.dumps(asdict(manifest), indent=1) + "\n"


def write_label_manifest(directory: Path, manifest: LabelManifest) -> None:
    """Write ``labels.json``: whole or not at all."""
    write_text(directory / LABELS, label_text(manifest))


def read_label_manifest(directory: Path) -> LabelManifest | None:
    """Read ``labels.json``; None where the set has no labels.

    Raises:
        DfkdError: it is damaged, or of a format that is not known.
    """
    path = directory / LABELS
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _LONGEST:
            raise ValueError("it is too long")
        values = json.loads(path.read_text("utf-8"))
        _check_format(path, values)
        found = TypeAdapter(LabelManifest).validate_python(values)
        if not 1 <= len(found.epochs) <= MOST_EPOCHS or found.bits not in LOGIT_BITS:
            raise ValueError(f"{len(found.epochs)} epochs, {found.bits} bits")
        if not 0 <= found.seed < 2**63:
            raise ValueError(f"seed {found.seed}")
        check_settings(found)
        return found
    except UnknownLabelsError:
        raise
    except (OSError, ValueError, ValidationError, RecursionError) as error:
        reason = shown(str(error).partition("\n")[0], 80)
        raise DfkdError(
            f"{path} is damaged ({reason}): remove it and labels/ beside it, and run dfkd dataset "
            "label again"
        ) from None


class UnknownLabelsError(DfkdError):
    """Labels of another version."""


def _check_format(path: Path, values: Any) -> None:
    named = values.get("format", KEPT) if isinstance(values, Mapping) else KEPT
    if isinstance(named, int) and named > DRAWN:
        raise UnknownLabelsError(
            f"{path} is of format {named}, and this version reads up to {DRAWN}: take a later dfkd"
        )
    if named not in (KEPT, DRAWN):
        raise ValueError(f"format {named!r}")
