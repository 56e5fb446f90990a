"""What every export says of an image, and of the set that it is from."""

import hashlib
import io
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from dfkd.datasets.written import SetManifest, ShardEntry, WrittenSet
from dfkd.datasets.written.manifest import parse_manifest
from dfkd.errors import DfkdError
from dfkd.training.files import write_text

NOTE = "dfkd_set.json"
"""The file of an export that says what set it is."""
NOTE_FORMAT = "dfkd export 1"
PICTURE_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""How Pillow calls pictures of so many channels; PNG holds no others that mean the same."""
VECTORS = ("logits", "targets")
"""Columns that are more than a number an image."""
RESERVED = ("label", "class_name", "synset", "file_name", "image")
"""Names that a column of a shard cannot take from what every export says."""


class ExportedSample(NamedTuple):
    """An image on its way out.

    Attributes:
        key: its place in the set, in as many digits for all.
        image: uint8, C x H x W.
        label: its class.
        facts: what else is known, as JSON has it; a number that is not finite is None.
        vectors: float16, one value a class: the teacher's logits, and targets of a mixture.
    """

    key: str
    image: Tensor
    label: int
    facts: dict[str, Any]
    vectors: dict[str, Tensor]


def exported_samples(data: WrittenSet) -> Iterator[ExportedSample]:
    """Go through a set in its order, with one shard in memory."""
    classes, place = data.manifest.classes, 0
    width = max(5, len(str(len(data) - 1)))
    for shard in range(len(data.manifest.shards)):
        rows = data.shard_rows(shard)
        images, labels = rows.pop("images"), rows.pop("labels").tolist()
        vectors = {name: rows.pop(name) for name in VECTORS if name in rows}
        numbers = {name: values.tolist() for name, values in rows.items()}
        for row, label in enumerate(labels):
            own = classes[label]
            facts: dict[str, Any] = {"label": label, "class_name": own.name}
            facts |= {"synset": own.synset} if own.synset else {}
            named = {name: _plain(values[row]) for name, values in numbers.items()}
            facts |= {name: value for name, value in named.items() if name not in RESERVED}
            sides = {name: values[row] for name, values in vectors.items()}
            yield ExportedSample(f"{place:0{width}d}", images[row], label, facts, sides)
            place += 1


def _plain(value: Any) -> Any:
    return value if math.isfinite(value) else None


def picture(image: Tensor) -> tuple[str, bytes]:
    """Encode an image without loss: PNG where that holds its channels, a NumPy array elsewhere.

    Args:
        image: uint8, C x H x W.

    Returns:
        The file's ending and its bytes.
    """
    values, stream = image.numpy(), io.BytesIO()
    if len(values) not in PICTURE_MODES:
        np.save(stream, values)
        return ".npy", stream.getvalue()
    pixels = values[0] if len(values) == 1 else values.transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG")
    return ".png", stream.getvalue()


class ContentHash:
    """A hash of images with their labels, whatever their order."""

    def __init__(self) -> None:
        self._digests: list[bytes] = []

    def add(self, image: Tensor, label: int) -> None:
        """Take in one image, uint8 C x H x W, and its class."""
        values = image.contiguous().numpy()
        name = f"{label} {'x'.join(map(str, values.shape))} ".encode()
        self._digests.append(hashlib.sha256(name + values.tobytes()).digest())

    def hexdigest(self) -> str:
        """Return the hash of all that was taken in."""
        return hashlib.sha256(b"".join(sorted(self._digests))).hexdigest()


def content_hash(data: WrittenSet) -> str:
    """Return the hash of all images and labels of a set."""
    found = ContentHash()
    for sample in exported_samples(data):
        found.add(sample.image, sample.label)
    return found.hexdigest()


@dataclass(frozen=True)
class ExportNote:
    """What an export says of its set: it belongs to the images whose hash it has.

    Attributes:
        content: ``content_hash`` of the set.
        manifest: of the set, its shards as one.
    """

    content: str
    manifest: SetManifest

    @classmethod
    def of(cls, data: WrittenSet) -> "ExportNote":
        """Return the note on a set."""
        whole = (ShardEntry(len(data), data.manifest.seed),)
        return cls(content_hash(data), replace(data.manifest, shards=whole))

    def to_text(self) -> str:
        """Return it as JSON."""
        values = {
            "format": NOTE_FORMAT,
            "content": self.content,
            "manifest": asdict(self.manifest),
        }
        return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def parse_note(text: str, source: Path) -> ExportNote:
    """Read a note; nothing in it is trusted.

    Raises:
        DfkdError: it is damaged.
    """
    try:
        values = json.loads(text)
        content, manifest = values["content"], values["manifest"]
        if values["format"] != NOTE_FORMAT or not isinstance(content, str):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DfkdError(f"{source} is damaged: its {NOTE} says nothing of a set") from None
    return ExportNote(content, parse_manifest(manifest, source))


def write_note(place: Path, data: WrittenSet) -> None:
    """Write the note of an export."""
    write_text(place / NOTE, ExportNote.of(data).to_text())
