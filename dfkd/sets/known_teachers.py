"""The teachers that a set was made from: told by their hashes, loaded by what the manifest says.

A manifest is data that somebody else may have written: of what it names only bundled networks,
finished runs and torchvision's and timm's architectures are loaded, without keywords. Everything
else the user must name.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from dfkd.datasets.written import SetManifest, TeacherEntry
from dfkd.errors import DfkdError
from dfkd.loading import load_teacher, parse_uri
from dfkd.sets.plan import Maker
from dfkd.tasks.words import shown
from dfkd.teacher import Teacher

_SAFE = ("bundled", "run", "torchvision", "timm")
_FAR = 0.01
"""Share of an image's largest answer by which stored ones may differ from those of now: float16
rounds by .0005, and other batches, devices and folded layers by less than ten times that."""


def load_maker(
    manifest: SetManifest,
    uri: str,
    entry: TeacherEntry | None = None,
    prior: str | None = None,
    ledger: Path | None = None,
) -> Teacher:
    """Load a teacher with images, class names and access as a set's manifest has them.

    Args:
        manifest: of the set.
        uri: a MODEL URI.
        entry: which of the set's teachers that is; the first, when left out.
        prior: what its images were compared with; a manifest opens no file.
        ledger: of its answers, where these were counted.

    Raises:
        DfkdError: see ``load_teacher``.
    """
    spec = manifest.image
    shape, names = "x".join(map(str, spec.shape)), manifest.class_names
    entry = entry or manifest.teachers[0]
    access = manifest.access[manifest.teachers.index(entry)] or None
    load = partial(
        load_teacher, uri, image=shape, mean=spec.mean, std=spec.std, prior=prior,
        access=access, ledger=ledger if access else None,
    )  # fmt: skip
    if entry.only_classes is None:
        return load(class_names=names)
    found = load(only_classes=list(entry.only_classes))
    found.task.names = names
    return found


def by_hash(manifest: SetManifest, teachers: Sequence[Teacher]) -> dict[str, Teacher]:
    """Return given teachers by their hashes.

    Raises:
        DfkdError: one that the set was not made from, or that takes other images.
    """
    known = {entry.hash for entry in manifest.teachers}
    found = {}
    for teacher in teachers:
        mark = teacher.fingerprint()
        if mark not in known:
            hashes = ", ".join(entry.hash[:12] for entry in manifest.teachers[:3])
            raise DfkdError(
                f"the set was made from another teacher: the weights of `teacher` have the hash "
                f"{mark[:12]}, those of the set's {hashes}"
            )
        if teacher.spec != manifest.image or teacher.num_classes != len(manifest.classes):
            raise DfkdError(
                "`teacher` has the set's weights, but takes other images or classes: load it with "
                f"what its manifest says ({shown(manifest.image, 120)})"
            )
        found[mark] = teacher
    return found


def makers_of(manifest: SetManifest, teachers: Sequence[Teacher] = ()) -> list[Maker]:
    """Return all teachers of a set in their order: those given, the others loaded.

    Raises:
        DfkdError: one that has to be given, or that is not what it was.
    """
    given = by_hash(manifest, teachers)
    priors = manifest.recipe.get("prior")
    if priors and len(given) < len(manifest.teachers):  # a manifest opens no file
        raise DfkdError(
            f"the set was made with a prior ({shown(priors, 80)}): give its teacher as `teacher`, "
            "loaded with that `prior`"
        )
    return [
        Maker(given.get(entry.hash) or _loaded(manifest, entry), entry.source)
        for entry in manifest.teachers
    ]


def check_loads(source: str) -> None:
    """Raise unless a manifest may have its teacher loaded: not where it names code."""
    if not _may_load(source):
        raise DfkdError(
            f"the set was made from {shown(source, 60)}, which its manifest cannot load: give that "
            "as `teacher`"
        )


def _loaded(manifest: SetManifest, entry: TeacherEntry) -> Teacher:
    named = shown(entry.source, 60)
    check_loads(entry.source)
    try:
        teacher = load_maker(manifest, entry.source, entry)
    except DfkdError as error:
        reason = shown(str(error), 120)
        raise DfkdError(f"{named} cannot be loaded ({reason}): give it as `teacher`") from None
    if teacher.fingerprint() != entry.hash:
        raise DfkdError(
            f"{named} has other weights than when the set was made from it: give those as `teacher`"
        )
    return teacher


def _may_load(source: str) -> bool:
    try:
        uri = parse_uri(source)
    except DfkdError:
        return False
    return uri.kind in _SAFE and not uri.keywords


def differing_answers(stored: Tensor, said: Tensor) -> list[int]:
    """List the rows in which stored answers are not the teacher's.

    Args:
        stored: N x classes, float16.
        said: N x classes, of now.
    """
    largest = torch.finfo(torch.half).max
    said = said.clamp(-largest, largest)
    far = (stored.float() - said).abs().amax(1)
    wrong = ~(far <= _FAR * said.abs().amax(1) + 1e-3)  # NaN is no answer either
    return [int(row) for row in wrong.nonzero()[:, 0]]
