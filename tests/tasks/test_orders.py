"""Classes of several models: columns go by name, and labels as well, through the commands."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import dfkd
from dfkd import cli
from dfkd.cli.distill import FAILED
from dfkd.datasets import load_data
from dfkd.errors import DfkdError
from dfkd.loading import load_model, save_artefact
from dfkd.tasks.names import check_distinct, read_names
from dfkd.tasks.orders import check_order, line_up

TEACHER = "bundled:digits_vgg"
DIGITS = tuple("0123456789")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

ORDERS = {
    "alike": ("abcd abcd", "abcd", [None, None]),
    "another order": ("abcd cabd", "abcd", [None, (1, 2, 0, 3)]),
    "other spelling": ("abcd CABD", "abcd", [None, (1, 2, 0, 3)]),
    "numbers that count down": ("0123 3210", "0123", [None, (3, 2, 1, 0)]),
    "numbers that count down first": ("3210 0123", "3210", [None, (3, 2, 1, 0)]),
    "the second has names": ("0123 abcd", "abcd", [None, None]),
    "the first has names": ("abcd 0123 abcd", "abcd", [None, None, None]),
    "numbers of classes": ("abcd 3210", "abcd", [None, (3, 2, 1, 0)]),
    "no names": ("0123 012", "0123", [None, None]),
}


def named(words: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(f"m{number}", tuple(word)) for number, word in enumerate(words.split())]


@pytest.mark.parametrize("case", ORDERS)
def test_one_order_for_all(case: str) -> None:
    words, names, columns = ORDERS[case]
    found = line_up(named(words))
    assert "".join(found.names) == names
    assert list(found.columns) == columns


STRANGERS = {
    "abcd abcx": "class 'd' of m0 is none of m1, which has 'x'",
    "abcd abc": "m0 knows 4 classes and m1 3",
    "0123 abc": "m1 knows 3 classes and m0 4",
    "abcd abdc 0123": "m2 names no classes, and m0 and m1 have theirs in different orders",
    "0123 abcd badc": "m0 names no classes, and m1 and m2",
    "aabc abca": "may give one name to several",
}


@pytest.mark.parametrize("words", STRANGERS)
def test_other_classes_and_unclear_orders_are_refused(words: str) -> None:
    with pytest.raises(DfkdError, match=STRANGERS[words]) as refusal:
        line_up(named(words))
    assert "`class_names=FILE`" in str(refusal.value)


@given(st.lists(st.permutations("abcde"), min_size=1, max_size=4))
def test_every_model_is_read_by_its_own_names(orders: list[list[str]]) -> None:
    found = line_up([(f"m{number}", order) for number, order in enumerate(orders)])
    for order, own in zip(orders, found.columns, strict=True):
        assert tuple(order[i] for i in own or range(5)) == found.names == tuple(orders[0])


@pytest.mark.parametrize("count", [2, 1000])
def test_refusals_stay_short(count: int) -> None:
    one, other = ([f"{letter * 500}\n{i}" for i in range(count)] for letter in "xy")
    silent = [str(i) for i in range(count)]
    for models in ((one, other), (one, one[::-1], silent), (one, other[1:])):
        with pytest.raises(DfkdError) as refusal:
            line_up([("run:" + "d" * 500, names) for names in models])
        assert len(str(refusal.value)) <= 300
        assert "\n" not in str(refusal.value)


def test_a_student_in_another_order_than_its_teacher_is_refused() -> None:
    with pytest.raises(DfkdError, match="output 1 of the student is 'c' and of the teacher 'b'"):
        check_order("acb", "abc")
    for student in ("abc", "xyz", "abcd", "012"):
        check_order(student, "abc")


def write(path: Path, text: bytes) -> Path:
    path.write_bytes(text)
    return path


def test_files_of_names_are_read_as_they_are_meant(tmp_path: Path) -> None:
    text = "\ufeff a\r\nb\u2028c\n d e \n\n \n".encode()
    assert read_names(write(tmp_path / "names", text)) == ["a", "b\u2028c", "d e"]


NO_NAMES = {
    b"": "holds no name",
    b" \n\n": "holds no name",
    b"a\n\nb": "line 2 is empty",
    b"\na": "line 1 is empty",
    b"a\nb\na \n": "'a' is in line 1 and in line 3",
    b"0\ttench": r"line 1 is no name alone: '0\\ttench'",
    b"a\rb\rc": "line 1 is no name alone",
    b"\xff\xfea\x00": "no UTF-8 text",
    b"x" * 5000 + b"\n" + b"x" * 5000: "is in line 1 and in line 2",
}


@pytest.mark.parametrize("text", NO_NAMES)
def test_files_that_name_no_classes_are_refused(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(DfkdError) as refusal:
        read_names(write(tmp_path / "names", text))
    assert NO_NAMES[text].replace("\\\\", "\\") in str(refusal.value).replace("\\\\", "\\")
    assert len(str(refusal.value)) <= 300
    with pytest.raises(DfkdError, match="cannot be read"):
        read_names(tmp_path / "nowhere")


def test_two_classes_of_one_name_are_refused() -> None:
    check_distinct(DIGITS, "m")
    with pytest.raises(DfkdError, match="classes 0 and 2 of m are both called 'a'"):
        check_distinct("aba", "m")


def digits(count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    data = load_data(TEACHER)
    return data.images[:count, 0].numpy(), data.labels[:count].numpy()


def write_digits(folder: Path, names: tuple[str, ...], count: int = 200) -> str:
    for index, (pixels, label) in enumerate(zip(*digits(count), strict=True)):
        path = folder / names[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def reversed_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bundled teacher with its outputs, and what they are called, in the other order."""
    folder = tmp_path_factory.mktemp("orev")
    loaded = load_model(TEACHER)
    order = list(range(9, -1, -1))
    with torch.no_grad():
        for parameter in (loaded.network.head.weight, loaded.network.head.bias):
            parameter.copy_(parameter[order])
    path, names = folder / "student.safetensors", [str(i) for i in order]
    save_artefact(path, loaded.network, loaded.factory, loaded.keywords, loaded.spec, names)
    return f"run:{folder}"


def evaluated(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["evaluate", *words]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(list(words)) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("form", ["folder", "npz"])
def test_models_in_different_orders_are_measured_alike(
    form: str, reversed_run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if form == "folder":
        data = write_digits(tmp_path, DIGITS, 60)
    else:
        images, labels = digits(60)
        np.savez(tmp_path / "d.npz", images=images, labels=labels)
        data = f"npz:{tmp_path / 'd.npz'}"
    for models in ([TEACHER, reversed_run], [reversed_run, TEACHER]):
        if form == "npz" and models[0] == reversed_run:
            continue  # its labels are numbers: those of the first model's outputs
        words = [*models, "--data", data, "--epsilon", "0.01"]
        out = evaluated(capsys, *words)
        assert "60 images of 10 classes" in out
        assert "in another order than those of" in out
        shares = [re.findall(r"([0-9.]+) ?%", line) for line in out.splitlines()]
        first, second = (row for row in shares if len(row) == 3)  # one, under attack, as the first
        assert first == second
        assert float(first[0]) == 100


def test_ensembles_merge_by_name(reversed_run: str) -> None:
    one, other = dfkd.load_teacher(TEACHER), dfkd.load_teacher(reversed_run)
    images = load_data(TEACHER).images[:50].float() / 255
    for combine, weights in (("mean", ()), ("weighted", (3, 1)), ("confidence", ())):
        for first, second in ((one, other), (other, one)):
            both = dfkd.ensemble([first, second], combine, weights)
            assert both.class_names == first.class_names
            torch.testing.assert_close(both(images), first(images), rtol=1e-4, atol=1e-4)


def test_the_command_says_whose_classes_were_moved(
    reversed_run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = "dfkd.networks:resnet?depth=8&widths=(4,4,4)"
    words = ["distill", TEACHER, student, "--scheme", "ensemble", "--teachers", reversed_run]
    run = ["--method", "drawings", "--steps", "2", "--eval", TEACHER, "--device", "cpu"]
    assert cli.main([*words, *run, "--out", str(tmp_path / "run")]) in (0, FAILED)
    out = capsys.readouterr().out
    assert out.count("are taken by name ('0' is output 0 there, 9 here)") == 1
    figures = json.loads((tmp_path / "run" / "result.json").read_text())
    assert figures["teacher_accuracy"] == pytest.approx(0.9962, abs=0.002)


def test_words_are_no_digits_until_somebody_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_digits(tmp_path / "words", WORDS)
    student = "dfkd.networks:resnet?depth=8&widths=(4,4,4)"
    hard = ["--knowledge", "hard", "--steps", "1", "--out", str(tmp_path / "run")]
    for words in (
        ["evaluate", TEACHER, "--data", data],
        ["distill", TEACHER, student, "--images", data, *hard],
        ["distill", TEACHER, student, "--method", "drawings", "--eval", data, *hard],
    ):
        said = refused(capsys, *words)
        assert "10 directories (eight, five, …), 10 classes (numbers), no name in common" in said
        assert "--class-names FILE" in said
        assert len(said) <= 310
    assert not (tmp_path / "run").exists()
    names = write(tmp_path / "names", "\n".join(WORDS).encode())
    out = evaluated(capsys, TEACHER, "--data", data, "--class-names", str(names))
    assert "200 images of 10 classes by name" in out
    assert "100.0" in out


def test_parts_of_a_set_are_named_and_numbers_with_words_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("train", "val"):
        write_digits(tmp_path / "split" / part, DIGITS, 20)
    said = refused(capsys, "evaluate", TEACHER, "--data", f"folder:{tmp_path / 'split'}")
    assert "holds train, val, and the pictures one level deeper" in said
    data = write_digits(tmp_path / "odd", tuple(f"{i}_{word}" for i, word in enumerate(WORDS)), 20)
    assert "no name in common" in refused(capsys, "evaluate", TEACHER, "--data", data)


def test_skipped_files_and_spellings_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_digits(tmp_path / "d", tuple(word.upper() for word in WORDS), 50)
    for path in sorted((tmp_path / "d" / "ONE").iterdir())[:2]:
        path.rename(path.with_suffix(".gif"))
    names = write(tmp_path / "names", "\n".join(WORDS).encode())
    out = evaluated(capsys, TEACHER, "--data", data, "--class-names", str(names))
    assert "48 images of 10 classes by name, however spelt (EIGHT = eight, FIVE = five" in out
    assert "(2 files skipped: .gif)" in out


def test_what_invert_writes_can_be_evaluated_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index, (pixels, label) in enumerate(zip(*digits(20), strict=True)):
        Image.fromarray(pixels).save(tmp_path / f"{index:05d}_class{label}.png")
    out = evaluated(capsys, TEACHER, "--data", f"folder:{tmp_path}")
    assert "20 images of 9 classes by the class in their names" in out
    assert "100.0" in out


def test_models_with_doubtful_names_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_model(TEACHER)
    named = {"double": "0123456788", "other": "012345678x", "words": "abcdefghij"}
    for name, classes in named.items():
        (tmp_path / name).mkdir()
        path = tmp_path / name / "student.safetensors"
        save_artefact(path, loaded.network, loaded.factory, loaded.keywords, loaded.spec, classes)
    double, other, words = (f"run:{tmp_path / name}" for name in ("double", "other", "words"))
    said = refused(capsys, "evaluate", double, "--data", TEACHER)
    assert "classes 8 and 9 of" in said
    assert "are both called '8'" in said
    said = refused(capsys, "evaluate", words, other, "--data", TEACHER)
    assert "class 'a' of" in said
    assert "which has '0'" in said
    out = evaluated(capsys, TEACHER, words, "--data", TEACHER)
    assert "digits_vgg: its classes have no names, and are taken in the order of the others" in out
