"""A written dataset as one HTML page: nothing is fetched, nothing is executed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dfkd.datasets.written import SetManifest
from dfkd.report import html
from dfkd.report.gallery import Gallery
from dfkd.report.thumbnails import Thumbnail
from dfkd.report.units import percent, size_of_bytes, whole
from dfkd.tasks.words import first_few, shown
from dfkd.training.files import write_text

SHOW_PAGE = "show.html"
_LONGEST = 20_000
"""Letters of a recipe; a manifest that somebody else wrote may have more."""


class Alike(NamedTuple):
    """Two images that are alike; without pictures where many are.

    Attributes:
        pictures: the earlier one first.
        captions: one a picture.
    """

    pictures: Sequence[Thumbnail]
    captions: Sequence[str]


def write_show(
    directory: Path,
    manifest: SetManifest,
    gallery: Gallery,
    figures: Mapping[str, Any],
    equal: Sequence[Alike],
    near: Sequence[Alike],
) -> Path:
    """Write ``show.html`` into a set.

    Args:
        directory: of the set.
        manifest: of the set.
        gallery: its pictures.
        figures: ``agreement`` and ``confidence`` in [0, 1], ``bytes``, and among how many images
            duplicates were looked for (``compared``).
        equal: pairs of equal images.
        near: pairs of images that look alike.
    """
    document = html.environment().get_template("show.html.j2").render(
        title="A synthetic dataset",
        lead=_lead(manifest),
        highlights=_highlights(manifest, figures),
        duplicates=_duplicates(figures["compared"], manifest.count, len(equal), len(near)),
        equal=[one for one in equal if one.pictures],
        near=[one for one in near if one.pictures],
        left=sum(not one.pictures for one in [*equal, *near]),
        provenance=_provenance(manifest),
        recipe=json.dumps(manifest.recipe, indent=2, ensure_ascii=False)[:_LONGEST],
        **gallery.parts(),
    )  # fmt: skip
    path = directory / SHOW_PAGE
    write_text(path, document)
    return path


def _lead(manifest: SetManifest) -> str:
    made = [one for one in manifest.classes if one.count]
    channels, height, width = manifest.image.shape
    kind = {1: "grey images", 3: "colour images"}.get(channels, f"images of {channels} channels")
    sources = first_few(dict.fromkeys(shown(one.source, 60) for one in manifest.teachers))
    text = (
        f"{whole(manifest.count)} {kind} of {height} × {width} pixels in {whole(len(made))} "
        f"classes, made from {sources} by {shown(manifest.recipe.get('method', 'unknown'), 40)}."
    )
    return text + (" They were selected from another set." if manifest.selected else "")


def _highlights(manifest: SetManifest, figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    counts = [one.count for one in manifest.classes if one.count]
    spread = whole(counts[0]) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    shards = len(manifest.shards)
    size = f"in {whole(shards)} {'shard' if shards == 1 else 'shards'}"
    return [
        (whole(manifest.count), "Images", f"{spread} a class"),
        (percent(figures["agreement"]), "Own top-1", "the teacher’s answer is the label"),
        (percent(figures["confidence"]), "Confidence", "of the label, on average"),
        (size_of_bytes(figures["bytes"]), "On the disk", size),
    ]


def _duplicates(compared: int, total: int, equal: int, near: int) -> str:
    among = f"the first {whole(compared)} images" if compared < total else "all images"
    if not equal and not near:
        return f"None among {among}: no two are equal, and none looks like an earlier one."
    return (
        f"Among {among}, {whole(equal)} equal an earlier one, and {whole(near)} more look like one."
    )


def _provenance(manifest: SetManifest) -> list[tuple[str, str]]:
    hashes = first_few((one.hash[:16] for one in manifest.teachers), 4)
    versions = ", ".join(f"{shown(k, 20)} {shown(v, 30)}" for k, v in manifest.versions.items())
    real = "had a part in it" if manifest.real_data_used else "none"
    rows = [
        ("Seed", str(manifest.seed)),
        ("Teacher’s hash", hashes),
        ("Real data", real),
        ("Made with", versions),
    ]
    return rows + [("Decided", shown(line, 300)) for line in manifest.decisions]
