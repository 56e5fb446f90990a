"""Soft labels: written once, read for any batch, and enough to train a student by."""

import json
import shutil
import threading
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

import dfkd
from dfkd.cli.entry import main
from dfkd.datasets.written import WrittenSet
from dfkd.datasets.written.answers import answers_as_rows, rows_as_answers
from dfkd.datasets.written.drawn_views import draw_views
from dfkd.datasets.written.epochs import read_epoch, write_epoch
from dfkd.datasets.written.label_manifest import (
    KEPT,
    LabelManifest,
    epoch_name,
    read_label_manifest,
    write_label_manifest,
)
from dfkd.datasets.written.labels import LabelStore
from dfkd.datasets.written.views import ViewConfig
from dfkd.errors import DfkdError
from dfkd.runs.distillation import absent_teacher
from dfkd.sets import label_work
from dfkd.sets.check import check_set
from dfkd.sets.labelling import label_set
from dfkd.synthesis.stored_labels import StoredLabels

STUDENT = "dfkd.networks:resnet?depth=8&widths=(4,4,8)"


@pytest.fixture(scope="module")
def digits():
    return dfkd.load_teacher("bundled:digits_vgg")


@pytest.fixture(scope="module")
def made(digits, tmp_path_factory):
    place = tmp_path_factory.mktemp("made") / "set"
    return dfkd.synthesize(digits, output=place, per_class=3, steps=10).directory


@pytest.fixture
def data(made, tmp_path):
    shutil.copytree(made, tmp_path / "set")
    return WrittenSet(tmp_path / "set")


def test_labels_are_the_teachers_answers_to_what_is_shown(data, digits):
    assert label_set(data, digits, epochs=3, bits=16)
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
    found = rows_as_answers(rows, 300, 20)
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
    write_epoch(tmp_path / epoch_name(0), answers_as_rows(logits, 2))
    manifest = LabelManifest(ViewConfig(), 0, 2, "", 3, (None,), 16, 2)
    _, rows = read_epoch(tmp_path, manifest, 0, classes)
    assert rows["classes"].element_size() == kept
    assert torch.equal(rows_as_answers(rows, classes, 2).argmax(1), logits.argmax(1))


@pytest.mark.parametrize(("bits", "within"), [(4, 0.12), (8, 0.008), (16, 0.001)])
@pytest.mark.parametrize("top_k", [0, 7])
def test_fewer_bits_keep_nearly_the_distribution(bits, within, top_k):
    logits = torch.randn(200, 11, generator=torch.Generator().manual_seed(0)) * 4
    rows = answers_as_rows(logits, top_k, bits)
    assert (
        {8: 1, 4: 0.5}.get(bits, 2) * (top_k or 11)
        <= rows["codes" if bits < 16 else "values" if top_k else "logits"][0].nbytes
        < (top_k or 11) * bits / 8 + 1
    )
    found = rows_as_answers(rows, 11, top_k, bits).softmax(1)
    assert (found - logits.softmax(1)).abs().max() < within + 0.011 * (top_k > 0)


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


def content(data):
    files = sorted(path for path in data.directory.rglob("*") if path.is_file())
    return {path.relative_to(data.directory).as_posix(): path.read_bytes() for path in files}


def sums_are_true(data):
    found = read_label_manifest(data.directory)
    for epoch, known in enumerate(found.epochs if found else ()):
        path = data.directory / epoch_name(epoch)
        assert known is None or not path.exists() or label_work.digest(path) == known


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"seed": 3}, "seed 0, not 3"),
        ({"views": ViewConfig(mix=0.1)}, "mix 0.5, not 0.1"),
        ({"bits": 4}, "bits 8, not 4"),
        ({"top_k": 2}, "top_k 0, not 2"),
        ({"epochs": 1}, "labels of 2 epochs, and `epochs` 1 is fewer"),
        ({"top_k": 10}, "top_k"),
        ({"top_k": -1}, "top_k"),
        ({"epochs": 0}, "epochs"),
        ({"bits": 5}, "bits"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(data, digits, asked, said):
    label_set(data, digits, epochs=2)
    before = content(data)
    with pytest.raises(DfkdError, match=said) as error:
        label_set(data, digits, **({"epochs": 2} | asked))
    assert len(str(error.value)) <= 300
    assert content(data) == before


def test_another_teacher_is_refused(data, digits):
    other = dfkd.load_teacher("bundled:digits_vgg")
    with torch.no_grad():
        next(other.network.parameters()).add_(1e-3)
    with pytest.raises(DfkdError, match="another teacher"):
        label_set(data, other, epochs=1)


def test_more_epochs_are_added_and_those_there_stay(data, digits, tmp_path):
    label_set(data, digits, epochs=2)
    before = content(data)
    seen = []
    shown = dfkd.Callback()
    shown.on_log = lambda *_: (seen.append(1), sums_are_true(data))
    label_set(data, digits, epochs=4, callbacks=[shown])
    assert len(seen) == 2
    after = content(data)
    assert all(after[name] == kept for name, kept in before.items() if name != "labels.json")
    shutil.rmtree(data.directory / "labels")
    (data.directory / "labels.json").unlink()
    label_set(data, digits, epochs=4)
    assert content(data) == after
    LabelStore(data, check=True)


def test_killed_at_any_step_and_begun_again_it_ends_with_the_same_bytes(data, digits, monkeypatch):
    def labelled(epochs):
        return label_set(data, digits, epochs=epochs)

    start = content(data)
    labelled(1)
    labelled(3)
    wanted, place = content(data), data.directory
    names = ("write_first", "write_label_manifest", "tidy", "read_epoch")
    real = {name: getattr(label_work, name) for name in names}
    step = 0
    while True:
        for name in set(content(data)) - set(start):
            (place / name).unlink()
        (place / "labels").mkdir(exist_ok=True)
        left = [step]

        def killed(name, *given, left=left):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return real[name](*given)

        for name in names:
            monkeypatch.setattr(label_work, name, lambda *g, name=name: killed(name, *g))
        ended = False
        try:
            labelled(1)
            (place / epoch_name(0)).write_bytes(b"rot")
            labelled(3)
            ended = True
        except KeyboardInterrupt:
            pass
        for name in names:
            monkeypatch.setattr(label_work, name, real[name])
        if (place / epoch_name(0)).exists() and (place / epoch_name(0)).stat().st_size > 3:
            sums_are_true(data)
        labelled(3)
        assert content(data) == wanted, step
        if ended:
            break
        step += 1
    assert step > 7


def test_of_two_first_runs_that_differ_one_is_refused(data, digits):
    told = []

    def label(seed):
        try:
            label_set(data, digits, epochs=3, seed=seed)
        except DfkdError as error:
            told.append(str(error))

    both = [threading.Thread(target=label, args=(seed,)) for seed in (1, 2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(told) == 1
    assert "not 1" in told[0] or "not 2" in told[0]
    kept = LabelStore(data, check=True).manifest
    before = content(data)
    shutil.rmtree(data.directory / "labels")
    (data.directory / "labels.json").unlink()
    label_set(data, digits, epochs=3, seed=kept.seed)
    assert content(data) == before


def test_label_files_of_which_nothing_is_known_are_not_adopted(data, digits):
    label_set(data, digits, epochs=1)
    (data.directory / "labels.json").unlink()
    with pytest.raises(DfkdError, match="says of what: remove it"):
        label_set(data, digits, epochs=1, seed=4)


def as_first_version(data, digits):
    """Write labels as the first version did: views beside the answers, no format, no bits."""
    label_set(data, digits, epochs=2, bits=16)
    found = read_label_manifest(data.directory)
    sums = []
    for epoch in range(2):
        views, answers = read_epoch(data.directory, found, epoch, 10)
        own = {name: v for name, v in views._asdict().items() if not name.startswith("other")}
        sums.append(write_epoch(data.directory / epoch_name(epoch), answers | own))
    old = replace(found, epochs=tuple(sums), format=KEPT)
    write_label_manifest(data.directory, old)
    path = data.directory / "labels.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in values.items() if k not in ("format", "bits")}))


def test_labels_of_the_first_version_are_read_and_not_added_to(data, digits):
    label_set(data, digits, epochs=2, bits=16)
    wanted = [LabelStore(data).batch(epoch, torch.arange(30)) for epoch in range(2)]
    shutil.rmtree(data.directory / "labels")
    (data.directory / "labels.json").unlink()
    as_first_version(data, digits)
    store = LabelStore(data, check=True)
    for epoch, (images, logits) in enumerate(wanted):
        found = store.batch(epoch, torch.arange(30))
        assert torch.equal(found[0], images)
        assert torch.equal(found[1], logits)
    assert check_set(data.directory).sound
    before = content(data)
    assert label_set(data, digits, epochs=2)
    with pytest.raises(DfkdError, match="not added to"):
        label_set(data, digits, epochs=3)
    assert content(data) == before
    (data.directory / epoch_name(1)).write_bytes(b"rot")
    with pytest.raises(DfkdError, match="label anew"):
        label_set(data, digits, epochs=2)
    assert (data.directory / epoch_name(1)).read_bytes() == b"rot"


def test_labels_of_a_later_version_are_refused(data, digits):
    label_set(data, digits, epochs=1)
    path = data.directory / "labels.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(DfkdError, match="take a later dfkd"):
        LabelStore(data)


def test_a_view_lies_in_no_file(data, digits):
    label_set(data, digits, epochs=1)
    found = load_file(data.directory / epoch_name(0))
    assert sorted(found) == ["codes", "scale"]
    views = draw_views(30, ViewConfig(), 0, 0)
    read = LabelStore(data)._read(0)[0]
    assert all(torch.equal(one, other) for one, other in zip(views, read, strict=True))


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
        digits, output=tmp_path / "set", method="drawings", per_class=20, steps=1
    ).dataset
    label_set(data, digits, epochs=2)
    torch.manual_seed(0)  # of the student's weights
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


def test_the_commands_label_and_distil(data, tmp_path, capsys):
    def dfkd_(*words):
        status = main(list(words))
        return status, *capsys.readouterr()

    place, run = str(data.directory), str(tmp_path / "run")
    assert dfkd_("dataset", "label", place)[0] == 2  # its teacher was a module from Python
    asked = ("--teacher", "bundled:digits_vgg", "--epochs", "2")
    status, told, _ = dfkd_("dataset", "label", place, *asked)
    assert status == 0
    assert "2 epochs of labels for 30 images" in told
    status, told, _ = dfkd_("distill", f"set:{place}", STUDENT, "--steps", "5", "--out", run)
    assert status in (0, 3)
    assert "no teacher is present" in told
    assert dfkd_("distill", f"set:{place}", STUDENT, "--dry-run", "--out", run + "1")[0] == 0
    status, _, told = dfkd_(
        "distill", f"set:{place}", STUDENT, "--method", "nayer", "--out", run + "2"
    )
    assert status == 2
    assert "brings its own images" in told
    assert dfkd_("distill", f"set:{place}", STUDENT, "--out", f"{place}/run")[0] == 2


def test_a_run_goes_on_only_from_the_set_that_it_began_with(data, digits, tmp_path):
    student = dfkd.load_student(STUDENT, digits)
    dfkd.distill(data, student, steps=3, output=tmp_path / "run")
    label_set(data, digits, epochs=1)
    with pytest.raises(DfkdError, match="resume"):
        dfkd.distill(
            data, dfkd.load_student(STUDENT, digits), steps=6,
            output=dfkd.Output(tmp_path / "run", resume=True),
        )  # fmt: skip
