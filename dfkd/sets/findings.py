"""What can be wrong with a written dataset, and what a check of one has found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dfkd.tasks.words import shown

MOST = 1000
"""Findings of one kind that are listed one by one."""


@dataclass(frozen=True)
class SetFinding:
    """One thing that is wrong with a set.

    Attributes:
        kind: a word or two, such as ``checksum``.
        line: what is wrong, and where nothing can be made again, what to do.
        shards: the shards that it concerns, by place.
        images: the images that it concerns, by their index in the set.
        mends: whether ``repair_set`` mends it.
    """

    kind: str
    line: str
    shards: tuple[int, ...] = ()
    images: tuple[int, ...] = ()
    mends: bool = False

    def __str__(self) -> str:
        return f"{self.kind}: {self.line}"


@dataclass(frozen=True)
class SetCheck:
    """What ``check_set`` returns: what was found, and what was counted on the way.

    Attributes:
        findings: the manifest's first, then shard by shard, then of the images; empty where the
            set is sound.
        complete: whether the set was closed.
        shards: that are there, damaged or not.
        planned: shards that the set is to have.
        images: that could be read.
        copies: images that are equal to an earlier one.
        near_copies: images that are hardly different from an earlier one.
        agreement: share of images that the teacher takes for what their labels say, by the stored
            answers; None where none could be read.
        answered: images that a teacher was shown again.
    """

    findings: tuple[SetFinding, ...]
    complete: bool = False
    shards: int = 0
    planned: int = 0
    images: int = 0
    copies: int = 0
    near_copies: int = 0
    agreement: float | None = None
    answered: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def damaged(self) -> tuple[int, ...]:
        """The shards that can be made again and should be."""
        mending = (one.shards for one in self.findings if one.mends)
        return tuple(sorted({index for shards in mending for index in shards}))


def some(indices: Sequence[object], most: int = 3) -> str:
    """Name the first few of many, for a line.

    >>> some([1, 2, 3]), some(range(9))
    ('1, 2, 3', '0, 1, 2, …')
    """
    return ", ".join(map(str, indices[:most])) + ", …" * (len(indices) > most)


def counted(number: int, noun: str) -> str:
    """Put a number before its noun.

    >>> counted(1, "image"), counted(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def at_most(findings: Iterator[SetFinding]) -> Iterator[SetFinding]:
    """Pass on the first ``MOST`` findings: a folder may hold a million foreign files."""
    for number, one in enumerate(findings):
        if number == MOST:
            yield SetFinding(one.kind, "and more than can be listed")
            return
        yield one


def brief(reason: object) -> str:
    """Shorten a foreign reason to what fits into a finding's line."""
    return shown(str(reason).partition("\n")[0], 90)
