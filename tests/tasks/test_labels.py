"""Names to classes: what is meant for sure, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfkd.tasks import synsets
from dfkd.tasks.labels import REMEDY, directory_names, match, why_not

UNNAMED = [str(number) for number in range(10)]
IMAGENET = list(synsets._categories())
WHAT = ("directory", "directories")

MEANT = {
    "names": (["coat", "bag"], ["bag", "shoe", "coat"], [2, 0], "name"),
    "numbers of classes without names": (["3", "0"], UNNAMED, [3, 0], "name"),
    "numbers that are names": (["180", "90"], ["0", "90", "180", "270"], [2, 1], "name"),
    "names that count down": (["0", "9"], UNNAMED[::-1], [9, 0], "name"),
    "case": (["BAG", "Coat"], ["bag", "coat"], [0, 1], "spelling"),
    "what joins words": (["ankle_boot", "T-shirt-top"], ["T-shirt/top", "Ankle boot"], [1, 0], ""),
    "composed letters": (["cafe\u0301"], ["bar", "caf\u00e9"], [1], "spelling"),
    "names that differ in case alone": (["cardigan"], ["Cardigan", "cardigan"], [1], "name"),
    "numbers of named classes": (["1", "0"], ["bag", "coat"], [1, 0], "number"),
    "numbers with zeros": (["00", "07"], UNNAMED, [0, 7], "number"),
    "numbers with zeros that are names": (["090"], ["0", "90", "180"], [1], "number"),
    "numbers that names have in their places": (["1"], ["class 0", "class 1"], [1], "number"),
    "numbers of no classes": (["12", "3"], [], [12, 3], "number"),
    "synsets": (["n01440764", "n02102040"], IMAGENET, [0, 217], "synset"),
    "synsets of longer names": (["n02102040"], [f"{n}, x" for n in IMAGENET], [217], "synset"),
    "synsets of a thousand": (["n02102040"], list(map(str, range(1000))), [217], "synset"),
    "synsets as names": (["n02102040"], ["n02102040", "n01440764"], [0], "name"),
}


@pytest.mark.parametrize("case", MEANT)
def test_what_is_meant(case: str) -> None:
    names, classes, places, how = MEANT[case]
    found = match(names, classes)
    assert found is not None
    assert list(found.indices) == places
    assert found.how == (how or "spelling")


REFUSED = {
    "words of numbers": (["zero", "one"], UNNAMED, "10 classes (numbers), no name in common"),
    "as many words as numbers": (["b", "a"], ["0", "1"], "2 classes (numbers), no name"),
    "numbers before words": (["7_coat", "3_dress"], UNNAMED, "(3_dress, 7_coat)"),
    "numbers before known words": (["7_coat", "3_dress"], ["dress", "coat"], "no name in common"),
    "a sign": (["-1", "3"], UNNAMED, "no class is called '-1'"),
    "a sign that case and joints would hide": (["-1", "3"], ["cat", "1", "3"], "called '-1'"),
    "a sign in front of no number": (["_1"], ["-1"], "no name in common"),
    "beyond the last": (["1", "10"], UNNAMED, "no class is called '10'"),
    "counted from one": (["1"], ["speaker 1", "speaker 2", "speaker 3"], "no name in common"),
    "a sign after a joint": (["by_-1"], ["by 1", "by 2"], "no name in common"),
    "a number among words": (["0", "1"], ["90", "cat"], "no name in common"),
    "more than there are words": (["0", "5"], ["cat", "dog"], "no name in common"),
    "degrees of mere numbers": (["0", "90", "180", "270"], ["0", "1", "2", "3"], "called '180'"),
    "numbers among words": (["0", "1"], ["1", "cat"], "no class is called '0'"),
    "other digits": (["٣", "²"], UNNAMED, "no name in common"),
    "a huge number": (["1" * 5000], UNNAMED, "no name in common"),
    "one that nobody knows": (["bag", "coat"], ["bag", "coats"], "'coat'; did you mean 'coats'?"),
    "two of one class": (["Bag", "bag"], ["bag", "coat"], "'Bag' and 'bag' may be the same"),
    "two of one number": (["1", "01"], UNNAMED, "no class is called '01'"),
    "either of two classes": (["CARDIGAN"], ["Cardigan", "cardigan"], "no name in common"),
    "a class that is there twice": (["k0"], ["k0", "k0", "k1"], "no name in common"),
    "words that nobody named": (["dog", "cat"], [], "(cat, dog), and nobody has named the classes"),
    "synsets of others": (["n01440764"], IMAGENET[::-1], "no name in common"),
    "synsets of few": (["n01440764"], UNNAMED, "no name in common"),
    "no synset of these": (["n00000000"], IMAGENET, "1,000 classes (tench, goldfish, …)"),
    "split words": (["train", "val"], UNNAMED, "2 directories (train, val), 10 classes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_known_is_never_numbered(case: str) -> None:
    names, classes, reason = REFUSED[case]
    assert match(names, classes) is None
    assert reason in why_not(names, classes, WHAT)


def test_no_synset_is_known_without_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synsets, "find_spec", lambda name: None)
    synsets.table.cache_clear()
    try:
        assert match(["n01440764"], IMAGENET) is None
    finally:
        synsets.table.cache_clear()


NAMES = st.lists(
    st.sampled_from(
        [
            "0",
            "1",
            "2",
            "01",
            "-1",
            "a",
            "A",
            "a_b",
            "A b",
            "a-b",
            "train",
            "n01440764",
            "n01443537",
        ]
    ),
    min_size=1,
    max_size=5,
    unique=True,
)


@given(NAMES, NAMES, st.randoms())
def test_no_order_counts(names: list[str], classes: list[str], random: object) -> None:
    found, shuffled, moved = match(names, classes), names[:], classes[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = match(shuffled, classes)
    assert (again is None) == (found is None)
    assert why_not(names, classes, WHAT) == why_not(shuffled, classes, WHAT)
    if found is None or again is None:
        return
    assert len(set(found.indices)) == len(names)
    assert dict(zip(names, found.indices, strict=True)) == dict(
        zip(shuffled, again.indices, strict=True)
    )
    if found.how in ("name", "spelling"):
        random.shuffle(moved)  # type: ignore[attr-defined]
        other = match(names, moved)
        assert other is not None
        assert [classes[i] for i in found.indices] == [moved[i] for i in other.indices]


@pytest.mark.parametrize("length", [1, 30, 5000])
@pytest.mark.parametrize("count", [1, 3, 2000])
@pytest.mark.parametrize("shared", [0, 1])
def test_messages_stay_short(length: int, count: int, shared: int) -> None:
    def make(letter: str) -> list[str]:
        return [f"{letter * length}\n{number}" for number in range(count)]

    names, classes = make("x"), make("y")
    classes[:shared] = names[:shared]
    said = f"{'f' * 60}: {why_not([*names, 'x'], classes, WHAT)}; {REMEDY}"
    assert len(said) <= 300
    assert "\n" not in said


@given(st.lists(st.text(max_size=8), min_size=2, max_size=12, unique=True), st.randoms())
def test_exported_directories_are_the_classes_that_they_were(names, random):
    written = list(enumerate(directory_names(names)))
    random.shuffle(written)
    found = match([directory for _, directory in written], names)
    assert found is not None
    assert list(found.indices) == [index for index, _ in written]
