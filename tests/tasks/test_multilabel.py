"""Labels that hold side by side: rows of two logits, targets of one label, figures by label."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dfkd
from dfkd.datasets.class_labels import class_indices
from dfkd.datasets.images import LabelledImages, check_labels, of_subset
from dfkd.errors import DfkdError
from dfkd.evaluation.chance import constant_share
from dfkd.evaluation.holding_out import Effort
from dfkd.evaluation.invariances import share_kept
from dfkd.evaluation.label_figures import mean_precision, measure_labels
from dfkd.loading import load_teacher
from dfkd.losses.adversarial import class_balance, mutual_information, task_balance
from dfkd.losses.response import kl_divergence
from dfkd.networks import initialise, vgg
from dfkd.report.label_lines import label_lines
from dfkd.runs.manifest import Origin
from dfkd.sets.order import SetOrder
from dfkd.sets.plan import Maker, outline
from dfkd.tasks import MultiLabel, task_name
from dfkd.tasks.subset import Subset

SPEC = dfkd.ImageSpec(1, 8, 8)
TASK = MultiLabel(3, ["round", "even", "big"])
LOGITS = torch.tensor([[2.0, -1.0, 3.0], [-2.0, -3.0, 1.0]])
ANSWER = TASK.read(LOGITS)
PLAN = dfkd.recipe(
    "redraw", init="random", trunk="trained", learner={"flip": 0.0},
    synthesizer={"draws": 24, "refine_batch": 16, "refine_steps": 1},
)  # fmt: skip


@pytest.fixture
def quick(monkeypatch):
    for module in ("sizes", "mirror"):
        monkeypatch.setattr(f"dfkd.runs.{module}.unclocked", lambda spec: Effort(32, 16, 1, 1))


def teacher_of(end=lambda x: x):
    class Ends(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = initialise(vgg((4, 8), 1, 1, 3), seed=0)

        def forward(self, x):
            return end(self.body(x))

    return dfkd.Teacher(Ends(), SPEC, TASK.names, task="multilabel")


def test_the_softmax_of_a_row_is_the_labels_sigmoid():
    torch.testing.assert_close(ANSWER.logits.softmax(1)[:, 1].view(2, 3), LOGITS.sigmoid())


def test_kl_of_the_rows_is_that_of_the_labels_bernoullis():
    student = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    p, q = LOGITS.sigmoid(), student.sigmoid()
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    found = kl_divergence(TASK.read(student).logits, ANSWER.logits, temperature=1.0)
    torch.testing.assert_close(found, expected)


def test_a_target_asks_for_one_label_and_for_nothing_of_the_others():
    target = torch.tensor([2 * 1 + 1, 2 * 0 + 0])  # even on; round off
    answer = TASK.read(LOGITS.clone().requires_grad_())
    costs = TASK.costs(answer, target)
    wanted = torch.stack([F.softplus(-LOGITS[0, 1]), F.softplus(LOGITS[1, 0])])
    torch.testing.assert_close(costs, wanted)
    torch.testing.assert_close(TASK.supervised(answer, target), wanted.mean())
    leaf = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(TASK.supervised(TASK.read(leaf), target), leaf)
    assert (gradient != 0).tolist() == [[False, True, False], [True, False, False]]


def test_rows_are_labelled_by_the_target_and_else_as_answered():
    assert TASK.labels(ANSWER, None).tolist() == [1, 0, 1, 0, 0, 1]
    assert TASK.labels(ANSWER, torch.tensor([3, 4])).tolist() == [1, 1, 1, 0, 0, 0]
    rows = torch.tensor([0, 0, 1, 1, 1, 1])
    assert torch.equal(TASK.labels(ANSWER, rows), rows)
    own = F.cross_entropy(ANSWER.logits, rows)
    torch.testing.assert_close(TASK.supervised(ANSWER, rows), own)


def test_counts_agreement_and_words():
    other = TASK.read(LOGITS * torch.tensor([1.0, 1.0, -1.0]))
    assert TASK.counts(ANSWER).tolist() == [1, 0, 2]
    assert float(TASK.agreement(ANSWER, other)) == pytest.approx(4 / 6)
    assert TASK.described(ANSWER) == ["round, big", "big"]
    assert TASK.described(TASK.read(-torch.ones(1, 3))) == ["none"]


def test_samples_are_filed_under_their_rarest_label():
    answers = torch.tensor([[1.0, 1, 1], [-1, 1, 1], [-1, 1, 1], [-1, 1, -1]])
    # round is on once, big off once: those two; the others have nothing rarer than two of four.
    assert TASK.decide(TASK.read(answers)).tolist()[0] == 1
    assert TASK.decide(TASK.read(answers)).tolist()[3] == 4


def test_targets_are_drawn_on_and_off_alike():
    found = TASK.sample_targets(60, torch.Generator(), torch.device("cpu"), balanced=True)
    assert found.bincount().tolist() == [10] * 6
    drawn = TASK.sample_targets(6000, torch.Generator(), torch.device("cpu"))
    assert drawn.min() == 0
    assert drawn.max() == 5
    assert [int(TASK.shown(torch.tensor(TASK.aim(i)))) for i in range(3)] == [0, 1, 2]


def test_balance_and_information_are_of_each_label():
    logits = TASK.read(torch.randn(8, 3, generator=torch.Generator().manual_seed(1))).logits
    each = [logits[index::3] for index in range(3)]
    expected = torch.stack([class_balance(one) for one in each]).mean()
    torch.testing.assert_close(task_balance(TASK, logits), expected)
    told = torch.stack([mutual_information(one) for one in each]).mean()
    torch.testing.assert_close(mutual_information(logits, 3), told, atol=1e-5, rtol=1e-4)


def test_a_constant_answer_is_one_of_each_label():
    right = torch.tensor([[1, 0], [1, 0], [1, 1], [0, 0]]).flatten()
    assert constant_share(right, 2) == (3 + 3) / 8
    assert constant_share(right) == 0.5


def test_sigmoids_are_undone():
    whole, part = teacher_of(), teacher_of(torch.sigmoid)
    images = torch.rand(5, 1, 8, 8)
    assert part.task.probabilities
    assert not whole.task.probabilities
    torch.testing.assert_close(whole(images), part(images), atol=1e-4, rtol=1e-3)


def test_a_change_keeps_an_image_where_all_its_labels_stay():
    teacher = teacher_of()
    images = (255 * torch.rand(6, 1, 8, 8)).byte()
    before = teacher(images.float() / 255)
    before[0] = -before[0].flip(0) - 1 if before[0, 1] > 0 else torch.tensor([0.0, 9.0])
    kept = share_kept(teacher, images, before, "pixel")
    assert kept <= 5 / 6


REFUSED = {
    "one label": (lambda: MultiLabel(1), "two labels at least"),
    "an unknown word": (
        lambda: dfkd.Teacher(vgg((4,), 1, 1, 3), SPEC, task="multilable"),
        "did you mean 'multilabel'",
    ),
    "classes": (lambda: check_labels(DATA[0], 3, 3), "has one class for each image"),
    "labels for classes": (lambda: check_labels(DATA[1], 3, 1), "give `task=multilabel`"),
    "other labels": (lambda: check_labels(DATA[1], 4, 4), "has 3 labels for each image"),
    "a subset": (lambda: of_subset(DATA[1], Subset(tuple("abc"), (0, 1))), "leave `only_classes`"),
    "a set": (
        lambda: outline(SetOrder(dfkd.recipe("natural"), per_class=1), [Maker(teacher_of(), "t")]),
        "one class an image",
    ),
    "an ensemble": (lambda: dfkd.ensemble([teacher_of(), teacher_of()]), "one has labels"),
    "visualize": (
        lambda: dfkd.visualize(teacher_of(), output="nowhere"),
        "take `what=channels`, or invert",
    ),
}
DATA = (
    LabelledImages(torch.rand(4, 1, 8, 8), torch.arange(4) % 3, "d"),
    LabelledImages(torch.rand(4, 1, 8, 8), torch.ones(4, 3).long(), "d"),
)


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_one_line(case):
    work, message = REFUSED[case]
    with pytest.raises(DfkdError, match=message) as caught:
        work()
    assert len(str(caught.value)) <= 300


def test_npz_holds_labels_of_0_and_1():
    found, said = class_indices(np.array([[0, 1, 1], [1, 0, 0]]), 2, (), "mine")
    assert found.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert "on or off" in said
    with pytest.raises(DfkdError, match="must be N integers"):
        class_indices(np.array([[0, 1, 2], [0, 0, 0]]), 2, (), "mine")


def test_figures_are_those_of_each_label():
    class Fixed(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :2]

    images = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.4, 0.3]]).view(4, 1, 1, 2)
    truth = torch.tensor([[1, 0], [0, 0], [0, 0], [1, 0]])
    spec, task = dfkd.ImageSpec(1, 1, 2, (0.5,), (1.0,)), MultiLabel(2, ["a", "b"])
    one, two = measure_labels(Fixed(), task, spec, LabelledImages(images, truth, "d"))
    assert (one.share, one.accuracy) == (0.5, 0.5)
    assert one.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert (two.share, two.accuracy, two.average_precision) == (0.0, 0.75, None)
    assert mean_precision([one, two]) == one.average_precision
    assert mean_precision([two]) is None
    rows = [
        {"network": "student", "name": f"label {i}", "share": 0.1, "accuracy": i / 20}
        for i in range(20)
    ]
    lines = label_lines({"teacher": 0.9, "student": None}, rows)
    assert lines[0] == "mean average precision: teacher 0.900, student -"
    assert (len(lines), lines[-1]) == (14, "  (the worst 12 of 20 labels of student)")
    assert label_lines(None, None) == []


@pytest.mark.parametrize("scheme", ["offline", "robust", "self"])
def test_a_run_ends_in_a_student_of_labels(scheme, tmp_path, quick):
    teacher = teacher_of(torch.sigmoid)
    data = LabelledImages(torch.rand(12, 1, 8, 8), (torch.rand(12, 3) > 0.5).long(), "mine")
    loaded = dfkd.loading.load_student_model(
        "dfkd.networks:vgg?widths=(4,8)&convolutions=1", teacher
    )
    plan = PLAN.with_(scheme=scheme)
    result = dfkd.distill(
        teacher, loaded.network, plan, steps=2, evaluation=data, output=tmp_path / "run",
        origin=Origin("t", "s", loaded.factory, loaded.keywords),
    )  # fmt: skip
    found = result.metrics
    assert len(found.labels) == 6
    assert set(found.mean_average_precision) == {"teacher", "student"}
    own = [row["accuracy"] for row in found.labels if row["network"] == "student"]
    assert found.student_accuracy == pytest.approx(sum(own) / 3, abs=1e-6)
    assert any("ends in sigmoids" in line for line in found.decisions)
    again = load_teacher(f"run:{tmp_path}/run")
    assert task_name(again.task) == "multilabel"
    assert again.class_names == TASK.names
    assert '"task": "multilabel"' in (tmp_path / "run" / "manifest.json").read_text()
    (row,) = dfkd.evaluate(again, data)
    assert row.accuracy == pytest.approx(found.student_accuracy, abs=1e-6)


def test_pictures_of_a_label_show_it(quick):
    teacher = load_small()
    result = dfkd.invert(teacher, [2, 0], count=4, steps=3)
    assert result.targets.tolist() == [2, 0, 2, 0]
    on = teacher(result.images).softmax(1)[:, 1].view(4, 3)
    own = on.gather(1, result.targets[:, None])[:, 0]
    assert result.metrics.own_top1 == pytest.approx(float((own > 0.5).float().mean()))


def load_small():
    network = initialise(vgg((4, 8), 1, 1, 3), seed=1)
    network(torch.rand(32, 1, 8, 8))
    return dfkd.Teacher(network, SPEC, TASK.names, task="multilabel")
