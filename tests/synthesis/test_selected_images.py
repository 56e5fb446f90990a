"""What of the images a student is shown: TA-DFKD's clean samples, SSD-KD's priorities."""

import copy
from collections import Counter

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

import dfkd
from dfkd import recipes
from dfkd.errors import DfkdError
from dfkd.protocols import Batch
from dfkd.recipes import build_synthesizer
from dfkd.synthesis.bank import ImageBank
from dfkd.synthesis.clean import clean_probability, keep_clean, sample_losses
from dfkd.synthesis.fixed_images import FixedImages
from dfkd.synthesis.method import Method
from dfkd.synthesis.priority import Priorities
from dfkd.synthesis.selection import SelectedImages, SelectionConfig, selected
from dfkd.tasks import Prediction
from dfkd.teacher.spec import ImageSpec
from support.methods import ORDINARY, make_student, make_teacher, small

CLEAN = SelectionConfig(clean=0.5)
SPEC = ImageSpec(1, 4, 4)


def recipe_with(method, **selection):
    return small(method).with_(selection=selection)


def full_bank(count=12, classes=3, exponent=1.0, importance=0.0, seed=0):
    bank = ImageBank(count, SPEC, classes, seed)
    bank.priorities = Priorities(count, torch.device("cpu"), exponent, importance)
    images = torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, 1, 4, 4) / 255
    own = torch.arange(count) % classes
    bank.add(images, 9.0 * torch.eye(classes)[own], own)
    return bank


def numbers(batch: Batch) -> list[int]:
    return (batch.inputs[:, 0, 0, 0] * 255).round().long().tolist()


# The clean ones


def test_two_clouds_are_told_apart():
    generator = torch.Generator().manual_seed(0)
    sure = torch.rand(90, generator=generator) * 0.2
    unsure = 1.5 + torch.rand(30, generator=generator)
    chance = clean_probability(torch.cat([sure, unsure]))
    assert (chance[:90] > 0.99).all()
    assert (chance[90:] < 0.01).all()


def test_equal_losses_are_all_clean():
    for value in (0.0, 1e-30, 2.3):
        assert clean_probability(torch.full((5,), value)).tolist() == [1.0] * 5
    assert clean_probability(torch.tensor([0.7])).tolist() == [1.0]


@settings(max_examples=50, deadline=None)
@drawn(st.lists(st.floats(0, 30, width=32), min_size=2, max_size=40))
def test_the_surest_is_clean_and_chances_never_rise_with_the_loss_below_it(losses):
    values = torch.tensor(losses)
    chance = clean_probability(values)
    assert chance.isfinite().all()
    assert ((chance >= 0) & (chance <= 1)).all()
    assert chance[values.argmin()] > 0.5


def test_the_loss_is_that_of_the_teachers_own_decision():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.cross_entropy(logits, logits.argmax(1), reduction="none")
    torch.testing.assert_close(sample_losses(Prediction(logits), 6), wanted)
    pairs = sample_losses(Prediction(logits), 3)  # two rows a sample
    torch.testing.assert_close(pairs, wanted.view(3, 2).mean(1))


def test_the_kept_come_over_and_over_in_place_of_the_others():
    index, share = keep_clean(torch.tensor([False, True, False, True]), 5)
    assert index.tolist() == [1, 3, 1, 3, 1]
    assert share == 0.5
    index, share = keep_clean(torch.zeros(3, dtype=torch.bool), 3)
    assert index.tolist() == [0, 1, 2]
    assert share == 0


class Given:
    """A source of two sure images and two unsure ones."""

    images_made, teacher_images = 7, 3

    def __init__(self, known):
        self.known = known

    def update(self, student):
        return {"loss": torch.zeros(())}

    def sample(self, count):
        prediction = Prediction(torch.tensor([[9.0, 0, 0], [0.1, 0, 0], [0, 9, 0], [0, 0, 0.2]]))
        inputs = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 8, 8) / 4
        rows = prediction if self.known else None
        return Batch(inputs, rows, torch.arange(4), torch.tensor([True, False, False, True]))


def test_all_that_is_known_of_a_sample_goes_with_it():
    source = SelectedImages(Given(True), make_teacher(), CLEAN)
    batch = source.sample(4)
    assert batch.target.tolist() == [0, 2, 0, 2]
    assert batch.mirrorable.tolist() == [True, False, True, False]
    assert batch.prediction.logits.argmax(1).tolist() == [0, 1, 0, 1]
    assert batch.inputs[:, 0, 0, 0].tolist() == [0, 0.5, 0, 0.5]
    assert source.update(make_student())["kept"] == 0.5
    assert "kept" not in source.update(make_student())
    assert source.teacher_images == 3


def test_who_has_no_answer_is_asked_and_counted():
    source = SelectedImages(Given(False), make_teacher(), CLEAN)
    assert len(source.sample(4).prediction.logits) == 4
    assert (source.teacher_images, source.images_made) == (7, 7)


@pytest.mark.parametrize("method", ORDINARY)
def test_off_it_is_not_there_and_on_every_method_resumes_exactly(method):
    teacher = make_teacher()
    assert isinstance(build_synthesizer(small(method), teacher), Method)
    banked = method not in (
        "dafl",
        "dfad",
        "zskt",
        "dfq",
        "mad",
        "pre",
        "spaceship",
        "drawings",
        "dfme",
    )
    if banked:
        plan = recipe_with(method, clean=0.5, priority=1.0)
    else:
        plan = recipe_with(method, clean=0.5)
        with pytest.raises(DfkdError, match=r"selection\.priority.* keeps none") as refusal:
            build_synthesizer(recipe_with(method, priority=1.0), teacher)
        assert len(str(refusal.value)) <= 300
    student = make_student()
    first = build_synthesizer(plan, teacher)
    first.sample(8)
    first.update(student)
    first.sample(8)
    saved = copy.deepcopy(first.state_dict())
    wanted = [(first.sample(8), first.update(student)) for _ in range(2)]
    again = build_synthesizer(plan.with_(seed=5), teacher)
    again.load_state_dict(saved)
    for batch, metrics in wanted:
        found, told = again.sample(8), again.update(student)
        assert torch.equal(found.inputs, batch.inputs)
        assert len(found.inputs) == 8
        assert torch.equal(found.prediction.logits, batch.prediction.logits)
        assert all(torch.equal(told[name], value) for name, value in metrics.items())
        assert 0 <= told["kept"] <= 1
    assert again.teacher_images == first.teacher_images


@pytest.mark.parametrize("weights", [{"oh": 0.0}])
def test_the_prior_of_classes_can_be_dropped(weights):
    for method in ("fast", "nayer", "cmi", "dfq"):
        plan = recipe_with(method, clean=0.5).with_(synthesizer=weights)
        metrics = build_synthesizer(plan, make_teacher()).update(make_student())
        assert "onehot" not in metrics


# Priorities


def test_equal_priorities_are_uniform_and_all_different():
    bank, seen = full_bank(), Counter()
    for _ in range(600):
        drawn = numbers(bank.sample(4))
        assert len(set(drawn)) == 4
        seen.update(drawn)
    # 200 each; a binomial's deviation is 11.5.
    assert all(abs(seen[i] - 200) < 60 for i in range(12)), seen


def test_chances_follow_priorities_and_balance_classes():
    bank = full_bank(count=6, classes=2)
    bank.priorities.values.copy_(torch.tensor([3.0, 1, 1, 1, 1, 1]))
    seen = Counter(number for _ in range(4000) for number in numbers(bank.sample(1)))
    assert seen[0] / 4000 == pytest.approx(3 / 8, abs=0.04)
    rare = ImageBank(10, SPEC, 2, 0)
    rare.priorities = Priorities(10, torch.device("cpu"), 1.0, 0.0)
    own = torch.tensor([0] * 9 + [1])
    rare.add(torch.arange(10.0).view(-1, 1, 1, 1).expand(-1, 1, 4, 4) / 255, torch.eye(2)[own], own)
    seen = Counter(number for _ in range(2000) for number in numbers(rare.sample(1)))
    assert seen[9] / 2000 == pytest.approx(0.5, abs=0.05)


def test_weights_undo_the_draw():
    bank = full_bank(count=6, classes=2, importance=1.0)
    chance = torch.tensor([4.0, 1, 1, 1, 1, 1])
    bank.priorities.values.copy_(chance)
    batch = bank.sample(6)
    torch.testing.assert_close(
        batch.prediction.weight, 1 / chance[numbers(batch)], rtol=1e-4, atol=0
    )
    assert full_bank(importance=0.0).sample(4).prediction.weight is None


def test_more_than_are_stored_come_again():
    bank = full_bank(count=3)
    bank.priorities.values.copy_(torch.tensor([1.0, 0.0, 0.0]))
    assert Counter(numbers(bank.sample(50)))[0] > 45


def test_what_is_new_comes_first_and_what_is_learned_last():
    bank = full_bank()
    teacher = 9.0 * torch.eye(3)[torch.arange(12) % 3]
    student = teacher.clone()
    student[4] = -teacher[4]
    bank.priorities.measured(torch.arange(12), student, teacher)
    assert bank.priorities.values.argmax() == 4
    assert bank.priorities.values[0] == 0
    bank.add(torch.zeros(2, 1, 4, 4), teacher[:2], torch.tensor([0, 1]))
    assert (bank.priorities.values[:2] == bank.priorities.values[4]).all()
    assert bank.priorities.in_turn(8, 12).tolist() == list(range(8))
    assert bank.priorities.in_turn(8, 12).tolist() == [8, 9, 10, 11, 0, 1, 2, 3]


def test_the_hardest_of_given_images_are_shown_most():
    teacher = make_teacher()
    images = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
    source = selected(
        FixedImages(teacher, images, None, 0),
        teacher,
        SelectionConfig(priority=1.0, importance=0.0),
    )
    source.update(make_student())
    values = source.source.bank.priorities.values
    assert values.unique().numel() > 30
    assert (values >= 0).all()


def test_a_run_with_both_says_what_it_kept(tmp_path):
    plan = recipe_with("fast", clean=0.5, priority=0.6)
    result = dfkd.distill(
        make_teacher(), make_student(), recipe=plan, steps=4, compile="off", device="cpu",
        out=tmp_path,
    )  # fmt: skip
    assert result.figures["student_steps"] == 4
    assert '"synthesis/kept"' in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")
    assert recipes.to_dict(plan)["selection"] == {"clean": 0.5, "priority": 0.6, "importance": 0.4}


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("selection.clean=1", "clean must be in"),
        ("selection.clean=true", "clean must be in"),
        ("selection.priority=-1", "priority must be in"),
        ("selection.importance=2", "importance must be in"),
        ("selection.claen=0.5", "did you mean 'clean'"),
    ],
)
def test_what_means_nothing_is_refused(assignment, says):
    with pytest.raises(DfkdError, match=says):
        recipes.override(recipes.recipe("fast"), [assignment])
