"""``check_set``: what is wrong with a written dataset, whatever it was that damaged it."""

import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dfkd.datasets.written import SetManifest
from dfkd.datasets.written.manifest import MANIFEST, read_manifest
from dfkd.datasets.written.shards import shard_name
from dfkd.errors import DfkdError
from dfkd.sets.class_turns import in_turn
from dfkd.sets.content import SetContent
from dfkd.sets.duplicates import copies, look_alikes, think_alikes
from dfkd.sets.findings import SetCheck, SetFinding, at_most, counted, some
from dfkd.sets.foreign_files import foreign_files
from dfkd.sets.known_teachers import by_hash
from dfkd.sets.label_damage import label_damage
from dfkd.sets.order_again import order_of
from dfkd.sets.shard_damage import shard_damage
from dfkd.teacher import Teacher
from dfkd.teacher.given import as_teachers

_LEAST_AGREEMENT = 0.5
"""Share of images that a teacher should take for what they were made to be."""
_MOST_IMAGES = 10**10
_MOST_IN_TURN = 5_000_000
"""Images up to which the order of the labels is worked out."""


def check_set(
    directory: Path | str, teacher: Teacher | Sequence[Teacher] | None = None
) -> SetCheck:
    """List all that is wrong with a set, closed or not; nothing is written.

    Args:
        directory: of the set.
        teacher: that made it, or several: it is shown all its images again, and features tell
            near-copies that pixels do not.

    Raises:
        DfkdError: no such directory, or a teacher that the set was not made from. A damaged set
            raises nothing.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise DfkdError(f"{directory} is no directory: name that of a set")
    try:
        if not stat.S_ISREG((directory / MANIFEST).lstat().st_mode):
            line = f"{MANIFEST} is a link or no file: put the set's own file there"
            return SetCheck((SetFinding("link", line),))
        manifest = read_manifest(directory)
    except OSError:
        line = f"there is no {MANIFEST}: fetch it again; without it a set cannot be read or mended"
        return SetCheck((SetFinding("manifest missing", line),))
    except DfkdError as error:
        foreign = "is no manifest of a" in str(error)
        kind = "manifest format" if foreign else "manifest damaged"
        again = "; fetch the set again, or make it anew" if foreign else ""
        return SetCheck((SetFinding(kind, f"{error}{again}"),))
    if wrong := _nonsense(manifest):
        line = f"{MANIFEST} counts {wrong}: fetch the set again, or make it anew"
        return SetCheck((SetFinding("manifest damaged", line),))
    return _checked(directory, manifest, by_hash(manifest, as_teachers(teacher or ())))


def _checked(directory: Path, manifest: SetManifest, teachers: Mapping[str, Teacher]) -> SetCheck:
    findings = [*_plan(manifest), *at_most(foreign_files(directory, manifest))]
    content, present = SetContent(), 0
    for index, entry in enumerate(manifest.shards):
        path = directory / shard_name(index)
        if not manifest.complete and not path.exists() and not path.is_symlink():
            continue  # somebody may be at it
        found = shard_damage(directory, index, manifest)
        present += found is None or found.kind != "missing"
        if found is not None:
            findings.append(found)
            continue
        own = teachers.get(manifest.teachers[entry.teacher].hash)
        content.read(directory, index, manifest, own)
    whole = _Whole(content)
    findings += at_most(label_damage(directory, manifest))
    findings += [*content.findings, *whole.counts(manifest), *whole.images(), *whole.agreement()]
    return SetCheck(
        tuple(findings), manifest.complete, present, len(manifest.shards), len(whole.labels),
        len(whole.copies), len(whole.near), whole.share, content.answered,
    )  # fmt: skip


def _nonsense(manifest: SetManifest) -> str:
    """What no set can have, before anything is computed from it; "" where there is nothing."""
    if min(one.count for one in manifest.classes) < 0:
        return "fewer than no images of a class"
    if manifest.count > _MOST_IMAGES:
        return f"{manifest.count:.0e} images"
    seeds = (manifest.seed, *(one.seed for one in manifest.shards))
    return "seeds out of range" if not all(0 <= seed < 2**63 for seed in seeds) else ""


def _plan(manifest: SetManifest) -> Iterator[SetFinding]:
    """Whether the manifest fits itself."""
    if manifest.complete and any(entry.sha256 is None for entry in manifest.shards):
        line = f"{MANIFEST} calls the set complete and lacks checksums: run dfkd dataset merge"
        yield SetFinding("checksums missing", line)
    if manifest.selected is not None or "asked" not in manifest.recipe:
        return
    try:
        order = order_of(manifest)
        sizes = order.sizes(manifest.count)
    except DfkdError as error:
        yield SetFinding("plan", str(error))
        return
    if [entry.count for entry in manifest.shards] != sizes or order.seed != manifest.seed:
        line = f"the shards or the seed of {MANIFEST} do not follow from its recipe: fetch it again"
        yield SetFinding("plan", line)


class _Whole:
    """What only all of a set's images together show."""

    def __init__(self, content: SetContent) -> None:
        self.content = content
        self.index, self.labels, self.decisions = (
            _joined(parts) for parts in (content.indices, content.labels, content.decisions)
        )
        self.copies = copies(content.signs)
        near: dict[int, int] = {}
        if len(self.labels):
            near |= look_alikes(torch.cat(content.frequencies), self.labels)
            if content.features and content.answered == len(self.labels):
                near |= think_alikes(torch.cat(content.features), self.labels)
        flat = {
            int(place)
            for place in torch.isin(self.index, torch.tensor(content.constant).long()).nonzero()
        }
        self.near = {a: b for a, b in near.items() if a not in self.copies and a not in flat}
        alike = (self.decisions == self.labels).float().mean() if len(self.labels) else None
        self.share = None if alike is None else float(alike)

    def counts(self, manifest: SetManifest) -> Iterator[SetFinding]:
        """Compare labels with the manifest's class counts, and with the order that it lays down."""
        wanted = [entry.count for entry in manifest.classes]
        valid = self.labels[(self.labels >= 0) & (self.labels < len(wanted))]
        held = torch.bincount(valid, minlength=len(wanted)).tolist()
        if held != wanted and len(valid) == len(self.labels) == manifest.count:
            wrong = [i for i in range(len(wanted)) if held[i] != wanted[i]]
            yield SetFinding(
                "class counts",
                f"{MANIFEST} counts {len(wrong)} classes otherwise than the labels do (class "
                f"{wrong[0]}: {wanted[wrong[0]]}, and there are {held[wrong[0]]})",
            )
            return
        if manifest.selected is None and manifest.count <= _MOST_IN_TURN and len(self.labels):
            yield from self._order(manifest)

    def _order(self, manifest: SetManifest) -> Iterator[SetFinding]:
        planned = torch.tensor(in_turn([entry.count for entry in manifest.classes]))
        wrong = self.index[planned[self.index] != self.labels].tolist()
        start = 0
        for index, entry in enumerate(manifest.shards):
            mine = [one for one in wrong if start <= one < start + entry.count]
            start += entry.count
            if mine and not any(
                index in one.shards and one.kind == "labels" for one in self.content.findings
            ):
                line = f"{shard_name(index)} has labels of another order than the set's"
                mends = not manifest.complete
                yield SetFinding("labels", line, (index,), tuple(mine), mends=mends)

    def images(self) -> Iterator[SetFinding]:
        """List images that are worth nothing, or there more than once."""
        for kind, what, images in (
            ("constant", "of one colour", self.content.constant),
            ("saturated", "nearly all 0 or 255", self.content.saturated),
        ):
            if images:
                verb = "is" if len(images) == 1 else "are"
                line = f"{counted(len(images), 'image')} {verb} {what} (index {some(images)})"
                yield SetFinding(kind, line, images=tuple(images))
        for kind, pairs in (("duplicates", self.copies), ("near-duplicates", self.near)):
            if pairs:
                named = {int(self.index[a]): int(self.index[b]) for a, b in pairs.items()}
                shown = some([f"{a} like {b}" for a, b in named.items()])
                verb = "is" if kind == "duplicates" else "is nearly"
                verb = verb if len(named) == 1 else verb.replace("is", "are")
                line = f"{counted(len(named), 'image')} {verb} there before ({shown})"
                yield SetFinding(kind, line, images=tuple(named))

    def agreement(self) -> Iterator[SetFinding]:
        """Judge the labels by the teachers that were given."""
        answered = self.content.answered
        share = self.content.agreed / max(1, answered)
        if answered and share < _LEAST_AGREEMENT:
            line = f"the teacher takes {share:.0%} of the images for what their labels say"
            yield SetFinding("agreement", f"{line}: make them with more `steps`")


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts)) if parts else torch.zeros(0, dtype=torch.long)
