"""What answers look like at each access, of classes and of labels, and of some classes alone."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

import dfkd
from dfkd.access.answers import ACCESS_KINDS, ClassAnswers, LabelAnswers
from dfkd.access.endpoint import Info
from dfkd.access.opening import open_local
from dfkd.access.server import TeacherServer
from dfkd.access.teacher import meter_of
from dfkd.errors import DfkdError
from dfkd.loading.only_classes import keep_classes
from dfkd.networks import initialise
from support.api_server import SPEC, make_teacher

LABELS = dfkd.Teacher(
    initialise(nn.Sequential(nn.Flatten(), nn.Linear(SPEC.height * SPEC.width, 3)), 0),
    SPEC, ("up", "odd", "lit"), task="multilabel",
)  # fmt: skip
"""Three labels an image."""
CLASSES = make_teacher()


def test_logits_of_probabilities_and_of_classes():
    logits = torch.tensor([[2.0, -1.0, -1.0], [0.0, 3.0, -3.0]])
    probs = ClassAnswers("probs", 3)
    torch.testing.assert_close(probs.as_logits(probs.restricted(logits)), logits)
    found = ClassAnswers("top1", 3).as_logits(np.array([2, 0]), 0.1)
    torch.testing.assert_close(found.softmax(1)[0], torch.tensor([0.05, 0.05, 0.9]))
    assert found.argmax(1).tolist() == [2, 0]
    assert ClassAnswers("probs", 2).as_logits(np.array([[1.0, 0.0]])).isfinite().all()


def test_labels_lose_nothing_but_what_is_hidden():
    on = torch.tensor([[2.0, -1.0, 0.5], [-3.0, 4.0, -0.1]])
    rows = torch.stack([torch.zeros(6), on.flatten()], 1) + 7  # a row's constant says nothing
    for access in ("logits", "probs"):
        form = LabelAnswers(access, 3)
        torch.testing.assert_close(form.as_logits(form.restricted(rows)), on, atol=1e-4, rtol=1e-4)
    form = LabelAnswers("top1", 3)
    decided = form.restricted(rows)
    assert decided.tolist() == [[1, 0, 1], [0, 1, 0]]
    sure = form.as_logits(decided, 0.1).sigmoid()
    torch.testing.assert_close(sure, torch.where(on > 0, 0.9, 0.1))


@pytest.mark.parametrize(
    ("form", "values", "words"),
    [
        (ClassAnswers("top1", 3), np.array([0, 3]), "class 3 of 3"),
        (ClassAnswers("top1", 3), np.array([-1, 0]), "class -1"),
        (ClassAnswers("top1", 3), np.array([0.0, 1.0]), "type float64"),
        (ClassAnswers("logits", 3), np.array([[1.0, 0, 0], [np.inf, 0, 0]]), "infinity"),
        (ClassAnswers("probs", 3), np.array([[1.0, 0, 0], [0.34, 0.33, 0.33]]), ""),
        (ClassAnswers("probs", 3), np.array([[0.9, 0, 0], [1, 0, 0]]), "sum to 0.9"),
        (LabelAnswers("probs", 3), np.array([[0.9, 0.9, 0], [1, 0, 0]]), ""),
        (LabelAnswers("probs", 3), np.array([[0.9, 1.9, 0], [1, 0, 0]]), "probs of 1.9"),
        (LabelAnswers("top1", 3), np.array([[0, 1, 1], [1, 0, 2]]), "top1 of 2"),
        (LabelAnswers("top1", 3), np.array([0, 1]), "shape"),
        (LabelAnswers("logits", 3), np.array([[np.nan] * 3] * 2), "no numbers"),
    ],
)
def test_what_is_wrong_with_answers(form, values, words):
    found = form.fault(values, 2)
    assert words in found
    assert bool(found) == bool(words)


@contextmanager
def seen_of(teacher, access, far=False, /, **told):
    """A teacher of which no more is seen: behind a meter, or at a server's other end."""
    if not far:
        yield open_local(teacher, access)
        return
    server = TeacherServer(teacher, access)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield dfkd.load_teacher(server.url, **told)
    finally:
        server.shutdown()
        server.server_close()


def images(count):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, *SPEC.shape), generator=generator).float() / 255


@pytest.mark.parametrize("access", ACCESS_KINDS)
@pytest.mark.parametrize("teacher", [CLASSES, LABELS], ids=["classes", "labels"])
@pytest.mark.parametrize("far", [False, True], ids=["here", "at a server"])
def test_a_teacher_decides_as_the_network_behind_it(teacher, access, far):
    wanted = teacher.predict(images(6)).logits
    with seen_of(teacher, access, far) as seen:
        found = seen.predict(images(6)).logits
        asked = meter_of(seen).as_dict()["asked"]
    assert found.argmax(1).tolist() == wanted.argmax(1).tolist()
    assert type(seen.task) is type(teacher.task)
    assert seen.class_names == teacher.class_names
    assert sum(asked.values()) == 1 + 6  # the two images of the trial are alike
    if access != "top1":
        torch.testing.assert_close(found.softmax(1), wanted.softmax(1), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("access", ["logits", "probs"])
def test_some_classes_of_a_server_answer_as_they_do_among_all(access):
    wanted = CLASSES(images(6))[:, [2, 0]]
    with seen_of(CLASSES, access, True, only_classes="cat,ant") as seen:
        found = seen(images(6))
        whole = dfkd.load_teacher(meter_of(seen).info.name)
    torch.testing.assert_close(found.log_softmax(1), wanted.log_softmax(1), atol=1e-4, rtol=1e-4)
    assert seen.subset.indices == (2, 0)
    assert seen.class_names == ("cat", "ant")
    assert seen.fingerprint() != whole.fingerprint()


TOLD = {
    "some of what is decided": ("top1", CLASSES, {"only_classes": "ant,cat"}, "class alone"),
    "some labels": ("probs", LABELS, {"only_classes": "up,odd"}, "no choice"),
    "a class that it has not": ("probs", CLASSES, {"only_classes": "ant,dog"}, "'dog' is none"),
    "another task": ("probs", CLASSES, {"task": "multilabel"}, "for the task classification"),
    "a prior": ("probs", CLASSES, {"prior": "batch_norm"}, "leave `prior` out"),
    "another access": ("probs", CLASSES, {"access": "top1"}, "shows probs, not top1"),
    "too few names": ("probs", CLASSES, {"class_names": ("a", "b")}, "2 class names for 3"),
}


@pytest.mark.parametrize("case", TOLD)
def test_nothing_that_is_said_of_a_server_is_passed_over(case):
    access, teacher, told, message = TOLD[case]
    seen = seen_of(teacher, access, True, **told)
    with pytest.raises(DfkdError, match=message) as caught, seen:
        pass
    assert len(str(caught.value)) <= 300


def test_what_was_decided_in_loading_stays_known_behind_a_meter():
    seen = dfkd.load_teacher("bundled:digits_vgg", only_classes="1,3,5", access="probs")
    assert seen.subset.indices == (1, 3, 5)
    data = dfkd.load_data("bundled:digits_vgg", seen.spec, seen.class_names, seen.subset)
    assert 0 < len(data) < 797
    assert dfkd.evaluate(seen, data)[0].accuracy > 0.9
    with pytest.raises(DfkdError, match="leave `prior` out"):
        dfkd.load_teacher("bundled:digits_vgg", prior="nothing", access="probs")


def test_answers_of_one_network_that_mean_other_things_are_told_apart():
    names = [
        Info("x", "probs", (1, 4, 4), ("a", "b"), task=task).identity
        for task in (None, "classification", "multilabel")
    ]
    assert names[0] == names[1] != names[2]
    with pytest.raises(DfkdError, match="answers for the task 'boxes'"):
        Info("x", "probs", (1, 4, 4), ("a", "b"), task="boxes")
    whole = dfkd.Teacher(Turned(), SPEC)
    two = [keep_classes(whole, chosen).fingerprint() for chosen in ("0,1", "1,2")]
    assert two[0] != two[1]


class Turned(nn.Module):
    """Classes in an order of their own, so that its last layer cannot be cut."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        return self.last(x.flatten(1)).flip(1)


def test_what_wants_more_than_answers_says_so(tmp_path):
    seen = open_local(CLASSES, "probs")
    wants = {
        "an ensemble": lambda: dfkd.ensemble([seen, seen]),
        "statistics": lambda: dfkd.export_statistics(seen, images(4), tmp_path / "pack"),
        "visualize": lambda: dfkd.visualize(seen, output=tmp_path / "seen", classes=[0]),
        "deep_inversion": lambda: dfkd.synthesize(seen, output=tmp_path / "set", per_class=1),
    }
    for word, call in wants.items():
        with pytest.raises(DfkdError, match=f"{word}.*only answers are seen"):
            call()
    assert not list(tmp_path.iterdir())
    row = dfkd.evaluate(seen, (images(6), torch.arange(6) % 3))[0]
    assert row.parameters is row.file_bytes is None
