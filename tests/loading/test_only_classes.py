"""A teacher of some of its model's classes: the same answers, a smaller head, everywhere."""

import numpy as np
import pytest
import torch
from torch import nn

import dfkd
from dfkd.datasets.images import LabelledImages, of_subset
from dfkd.errors import DfkdError
from dfkd.evaluation.holding_out import Effort
from dfkd.loading import check_student, load_model
from dfkd.loading.only_classes import OnlyClasses, keep_classes, with_only_classes
from dfkd.networks import initialise, vgg
from dfkd.networks.layers import classifier
from dfkd.runs.manifest import Origin
from dfkd.sets.known_teachers import load_maker
from dfkd.sets.order import SetOrder
from dfkd.sets.plan import Maker, outline
from dfkd.tasks.subset import Subset, choose_classes

NAMES = ["cat", "Dog", "cow", "90", "a_b", "hen", "pig"]
WHOLE = "dfkd.networks:vgg?widths=(4,8)&convolutions=1&in_channels=1&num_classes=7"
SPEC = dfkd.ImageSpec(1, 8, 8)
CHOSEN = {
    "numbers": ("3,5", (3, 5)),
    "names": ("pig, cat", (6, 0)),
    "spellings": ("DOG,A-B", (1, 4)),
    "a name that is a number": ("90,1", (3, 1)),
    "indices": ([4, 2, 0], (4, 2, 0)),
    "both": (["hen", 0], (5, 0)),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_classes_are_chosen_by_name_or_number(case):
    asked, indices = CHOSEN[case]
    names = NAMES if case != "numbers" else list(map(str, range(7)))
    if case == "a name that is a number":
        with pytest.raises(DfkdError, match="'1' is none of"):
            choose_classes(asked, names)  # numbers are not indices where a class is one
        return
    assert choose_classes(asked, names).indices == indices


REFUSED = {
    "unknown": ("cat,goat", "'goat' is none of the model's 7 classes"),
    "near": ("cat,pigs", "did you mean 'pig'?"),
    "twice": ("cat,hen,CAT", "class 0 twice, as 'cat' and 'CAT'"),
    "twice, as a number": ([0, "cat"], "class 0 twice, as '0' and 'cat'"),
    "one": ("cat", "at least two classes"),
    "none": ("", "is none of"),
    "beyond": ([0, 7], "'7' is none of .* 0 to 6"),
    "negative": ([0, -1], "'-1' is none of"),
    "true": ([0, True], "'True' is none of"),
    "long": (f"cat,{'x' * 900}", "is none of"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_class_is_one_line(case):
    asked, message = REFUSED[case]
    with pytest.raises(DfkdError, match=message) as caught:
        choose_classes(asked, NAMES)
    assert len(str(caught.value)) <= 300


class Ends(nn.Module):
    """A small network with seven classes and what it does with its logits."""

    def __init__(self, end):
        super().__init__()
        self.body, self.end = initialise(vgg((4, 8), 1, 1, 7), seed=0), end

    def forward(self, x):
        return self.end(self.body(x))


KINDS = {
    "a linear end": (lambda y: y, True),
    "a softmax": (lambda y: y.softmax(1), True),
    "a dict": (lambda y: {"logits": y}, True),
    "an order of its own": (lambda y: y.flip(1), False),
    "a fixed size": (lambda y: y.view(-1, 7), False),
    "a scale of its own": (lambda y: y * torch.arange(1.0, 8), False),
    "a softmax and an order": (lambda y: y.softmax(1).flip(1), False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_as_the_whole_does_of_these(kind):
    end, cut = KINDS[kind]
    images = torch.rand(9, 1, 8, 8)
    whole = dfkd.Teacher(Ends(end), SPEC, NAMES)
    wanted = whole(images)[:, [5, 0, 3]]
    part = keep_classes(whole, "hen,cat,90")
    assert part.class_names == ("hen", "cat", "90")
    assert isinstance(part.network, OnlyClasses) is not cut
    torch.testing.assert_close(part(images).log_softmax(1), wanted.log_softmax(1))
    if cut:
        assert part.network.body.head.out_features == 3
        assert classifier(part.network, part.task.widths) == "body.head"


@pytest.fixture
def saved(tmp_path):
    network = load_model(WHOLE).network
    torch.save(network.state_dict(), tmp_path / "w.pth")
    return f"{WHOLE}&weights={tmp_path}/w.pth"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("dfkd.runs.sizes.unclocked", lambda spec: Effort(32, 16, 1, 1))


PLAN = dfkd.recipe(
    "redraw", synthesizer={"draws": 24, "refine_batch": 16, "refine_steps": 1}
).with_(learner={"flip": 0.0})


@pytest.mark.parametrize("student", ["dfkd.networks:vgg?widths=(4,8)&convolutions=1", "teacher:8"])
def test_a_run_of_them_ends_in_a_student_of_them(student, saved, tmp_path, quick):
    teacher = dfkd.load_teacher(saved, image="1x8x8", class_names=NAMES, only_classes="pig,cat,90")
    loaded = dfkd.loading.load_student_model(student, teacher)
    data = LabelledImages(torch.rand(14, 1, 8, 8), torch.arange(14) % 7, "mine")
    few = of_subset(data, teacher.subset)
    assert (few.labels.tolist(), few.reading.left_out) == ([1, 2, 0] * 2, 8)
    result = dfkd.distill(
        teacher, loaded.network, PLAN, steps=2, evaluation=few, output=tmp_path / "run",
        origin=Origin("t", "s", loaded.factory, loaded.keywords),
    )  # fmt: skip
    assert any("3 of 7 classes (pig, cat, 90) are left" in x for x in result.metrics.decisions)
    assert result.metrics.init["mode"] == "teacher"  # its head as well: all of it fits
    assert result.metrics.init["share"] == 1
    assert '"only_classes": [\n    6,' in (tmp_path / "run" / "manifest.json").read_text()
    again = dfkd.load_teacher(f"run:{tmp_path}/run")
    assert again.class_names == ("pig", "cat", "90")
    images = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(
        again(images), dfkd.Teacher(result.student, SPEC)(images), atol=1e-5, rtol=1e-4
    )


def test_a_student_of_all_classes_is_refused(saved):
    teacher = dfkd.load_teacher(saved, image="1x8x8", only_classes=[1, 2])
    with pytest.raises(DfkdError, match=r"set the student's \?num_classes=2"):
        check_student(vgg((4, 8), 1, 1, 7), teacher)


def test_data_of_others_is_left_out(tmp_path):
    subset = Subset(tuple("abcd"), (3, 1))
    images, labels = np.zeros((6, 8, 8), np.uint8), np.array([0, 1, 2, 3, 3, 1])
    np.savez(tmp_path / "d.npz", images=images, labels=labels)
    found = dfkd.load_data(f"npz:{tmp_path}/d.npz", SPEC, subset=subset)
    assert found.labels.tolist() == [1, 0, 0, 1]
    assert found.reading.left_out == 2
    for wrong, message in ((labels + 1, "label 4 and the model has 4"), (labels * 0, "no image")):
        np.savez(tmp_path / "d.npz", images=images, labels=wrong)
        with pytest.raises(DfkdError, match=message):
            dfkd.load_data(f"npz:{tmp_path}/d.npz", SPEC, subset=subset)


HOSTILE = {
    "a row beyond": {"classes": [0, 9], "layer": "head"},
    "a negative row": {"classes": [0, -1], "layer": "head"},
    "no row": {"classes": [], "layer": "head"},
    "no layer": {"classes": [0, 1], "layer": "nothing"},
    "a layer of another kind": {"classes": [0, 1], "layer": "stages"},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_names_what_is_not_there_is_refused(case):
    inner = {"factory": "dfkd.networks:vgg", "keywords": {"widths": (4,), "num_classes": 7}}
    with pytest.raises(DfkdError, match="layer"):
        with_only_classes(**inner, **HOSTILE[case])


def test_a_written_set_of_them_knows_its_teacher_again(saved):
    teacher = dfkd.load_teacher(saved, image="1x8x8", only_classes=[6, 2])
    found = outline(SetOrder(dfkd.recipe("natural"), per_class=2), [Maker(teacher, saved)])
    assert found.class_names == ("6", "2")
    assert found.teachers[0].only_classes == (6, 2)
    again = load_maker(found, saved)
    assert again.fingerprint() == teacher.fingerprint()
    assert again.class_names == ("6", "2")
