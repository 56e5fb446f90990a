"""Soft labels: written once, read for any batch, and enough to train a student by."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import dfkd
from dfkd.datasets.written.epochs import read_epoch
from dfkd.datasets.written.labels import (
    LabelStore,
    answers_as_rows,
    epoch_name,
    rows_as_answers,
    write_epoch,
)
from dfkd.datasets.written.views import plain_views
from dfkd.errors import DfkdError
from dfkd.runs.distillation import absent_teacher
from dfkd.sets.labelling import label_set
from dfkd.synthesis.stored_labels import StoredLabels

STUDENT = "dfkd.networks:resnet?depth=8&widths=(4,4,8)"


@pytest.fixture(scope="module")
def digits():
    return dfkd.load_teacher("bundled:digits_vgg")


@pytest.fixture
def data(digits, tmp_path):
    return dfkd.synthesize(digits, output=tmp_path / "set", per_class=3, steps=10).dataset


def test_labels_are_the_teachers_answers_to_what_is_shown(data, digits):
    assert label_set(data, digits, epochs=3)
    store = LabelStore(data, check=True)
    some = torch.tensor([7, 0, 29])
    for epoch in range(3):
        images, logits = store.batch(epoch, some)
        with torch.no_grad():
            assert torch.allclose(digits(images), logits, rtol=1e-3, atol=1e-2)
    assert not torch.equal(store.batch(0, some)[0], store.batch(1, some)[0])
    assert not (data.directory / "work").exists()


def test_without_labels_the_images_stand_for_themselves(data):
    images, logits = LabelStore(data).batch(0, torch.tensor([3, 1]))
    assert torch.equal(images, data.rows([3, 1], "images")["images"].float() / 255)
    assert torch.equal(logits, data.rows([3, 1], "logits")["logits"].float())


def test_top_k_keeps_the_largest_and_shares_out_the_rest():
    logits = torch.randn(5, 300, generator=torch.Generator().manual_seed(0)) * 3
    rows = answers_as_rows(logits, 20)
    found = rows_as_answers(rows, 300)
    wanted = logits.softmax(1)
    best = wanted.topk(20, dim=1).indices
    assert torch.allclose(found.softmax(1).gather(1, best), wanted.gather(1, best), atol=2e-3)
    assert torch.allclose(found.exp().sum(1), torch.ones(5), atol=5e-3)
    whole = rows_as_answers(answers_as_rows(logits, 0), 300)
    assert torch.allclose(whole, logits, atol=1e-2)


@pytest.mark.parametrize(("classes", "kept"), [(256, 1), (257, 2), (32768, 2), (32769, 4)])
def test_a_class_takes_the_bytes_that_its_index_needs(tmp_path, classes, kept):
    logits = torch.randn(3, classes, generator=torch.Generator().manual_seed(0))
    logits[:, -1] = 20.0
    path = tmp_path / "00000.safetensors"
    write_epoch(path, plain_views(3), answers_as_rows(logits, 2))
    _, rows = read_epoch(path, 3, classes, 2)
    assert rows["classes"].element_size() == kept
    assert torch.equal(rows_as_answers(rows, classes).argmax(1), logits.argmax(1))


def test_labelling_goes_on_and_several_may_share_it(data, digits):
    label_set(data, digits, epochs=3)
    content = [(data.directory / epoch_name(e)).read_bytes() for e in range(3)]
    (data.directory / epoch_name(1)).unlink()
    text = (data.directory / "labels.json").read_text()
    begun = text.replace(text.split('"epochs": [')[1].split('"')[1], "")
    (data.directory / "labels.json").write_text(begun.replace('""', "null"))
    with pytest.raises(DfkdError, match="unfinished labels"):
        LabelStore(data)
    assert label_set(data, digits, epochs=3)
    assert [(data.directory / epoch_name(e)).read_bytes() for e in range(3)] == content
    assert (data.directory / "labels.json").read_text() == text


def test_what_does_not_go_together_is_refused(data, digits):
    label_set(data, digits, epochs=1)
    with pytest.raises(DfkdError, match="other labels already"):
        label_set(data, digits, epochs=1, seed=3)
    other = dfkd.load_teacher("bundled:digits_vgg")
    with torch.no_grad():
        next(other.network.parameters()).add_(1e-3)
    with pytest.raises(DfkdError, match="another teacher"):
        label_set(data, other, epochs=1)
    for wrong in ({"epochs": 0}, {"top_k": 10}, {"top_k": -1}):
        with pytest.raises(DfkdError, match=next(iter(wrong))):
            label_set(data, digits, **({"epochs": 1} | wrong))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b"\xff" * 30),
        lambda path: path.unlink(),
    ],
)
def test_damaged_labels_are_refused_in_a_line(data, digits, damage):
    label_set(data, digits, epochs=1)
    damage(data.directory / epoch_name(0))
    with pytest.raises(DfkdError) as error:
        LabelStore(data).batch(0, torch.arange(2))
    assert len(str(error.value)) <= 300


def test_a_student_learns_from_the_set_alone(digits, tmp_path):
    data = dfkd.synthesize(
        digits, output=tmp_path / "set", method="redraw", per_class=20, steps=40
    ).dataset
    label_set(data, digits, epochs=2)
    student = dfkd.load_student("dfkd.networks:resnet?depth=8&widths=(8,16,32)", digits)
    tests = dfkd.load_data("bundled:digits_vgg")
    result = dfkd.distill(data, student, steps=100, evaluation=tests, output=tmp_path / "run")
    metrics = result.metrics
    assert metrics.teacher_forwards == 0
    assert metrics.teacher_accuracy is None
    assert metrics.student_accuracy > 0.35
    assert "no teacher is present" in metrics.decisions[0]
    assert [row["name"] for row in metrics.comparison] == ["student"]
    assert "images of the set" in metrics.agreement_on
    kept = load_file(tmp_path / "run" / "student.safetensors")
    assert all(torch.equal(kept[name], v) for name, v in result.student.state_dict().items())


def test_batches_go_on_where_they_were(data, digits):
    label_set(data, digits, epochs=3)
    whole, parted = (StoredLabels(LabelStore(data), 5, "cpu") for _ in range(2))
    for _ in range(4):
        whole.sample(17)
        parted.sample(17)
    later = StoredLabels(LabelStore(data), 5, "cpu")
    later.load_state_dict(parted.state_dict())
    for _ in range(5):
        one, other = whole.sample(17), later.sample(17)
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.prediction.logits, other.prediction.logits)


def test_every_pass_shows_every_image_once(data, digits):
    label_set(data, digits, epochs=2)
    source = StoredLabels(LabelStore(data), 0, "cpu")
    for _ in range(5):
        shown = torch.cat([source.sample(n).target for n in (11, 19)])
        assert shown.bincount().tolist() == [3] * 10


def test_an_absent_teacher_is_asked_nothing(data):
    teacher = absent_teacher(data)
    for ask in (teacher, teacher.predict, teacher.trace):
        with pytest.raises(DfkdError, match="no teacher is present"):
            ask(torch.zeros(1, 1, 8, 8))
    assert not teacher.present


def test_the_commands_label_and_distil(data, tmp_path):
    def dfkd_(*words):
        command = [sys.executable, "-m", "dfkd", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    place, run = str(data.directory), str(tmp_path / "run")
    unnamed = dfkd_("dataset", "label", place)
    assert unnamed.returncode == 2  # its teacher was a module from Python
    labelled = dfkd_("dataset", "label", place, "--teacher", "bundled:digits_vgg", "--epochs", "2")
    assert labelled.returncode == 0, labelled.stderr
    assert "2 epochs of labels for 30 images" in labelled.stdout
    trained = dfkd_("distill", f"set:{place}", STUDENT, "--steps", "5", "--out", run)
    assert trained.returncode in (0, 3), trained.stderr
    assert "no teacher is present" in trained.stdout
    planned = dfkd_("distill", f"set:{place}", STUDENT, "--dry-run", "--out", run + "1")
    assert planned.returncode == 0, planned.stderr
    refused = dfkd_("distill", f"set:{place}", STUDENT, "--method", "nayer", "--out", run + "2")
    assert refused.returncode == 2
    assert "brings its own images" in refused.stderr
    inside = dfkd_("distill", f"set:{place}", STUDENT, "--out", f"{place}/run")
    assert inside.returncode == 2


def test_a_run_goes_on_only_from_the_set_that_it_began_with(data, digits, tmp_path):
    student = dfkd.load_student(STUDENT, digits)
    dfkd.distill(data, student, steps=3, output=tmp_path / "run")
    label_set(data, digits, epochs=1)
    with pytest.raises(DfkdError, match="resume"):
        dfkd.distill(
            data, dfkd.load_student(STUDENT, digits), steps=6,
            output=dfkd.Output(tmp_path / "run", resume=True),
        )  # fmt: skip
