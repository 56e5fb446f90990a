"""The default method: what it draws, what a correction changes, and what it refuses."""

import pytest
import torch

from dfkd.errors import DfkdError
from dfkd.losses.adversarial import js_agreement, js_competition
from dfkd.losses.statistics import scale_free_distance
from dfkd.networks import vgg
from dfkd.networks.fingerprint import fingerprint
from dfkd.synthesis.methods.redraw import Redraw, RedrawConfig
from dfkd.synthesis.methods.redraw_config import STYLES
from dfkd.teacher.spec import ImageSpec
from dfkd.teacher.teacher import Teacher
from generators.procedural import draw


@pytest.fixture
def teacher():
    """Its statistics are those of noise with the mean and spread of its own image space."""
    torch.manual_seed(0)
    network = vgg((8, 16), 1, 1, 3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    for _ in range(8):
        network(torch.randn(32, 1, 8, 8))
    return Teacher(network, ImageSpec(1, 8, 8, (0.5,), (0.25,)))


@pytest.fixture
def student():
    torch.manual_seed(1)
    return vgg((8,), 1, 1, 3)


def updated(teacher, student, **options):
    method = Redraw(teacher, RedrawConfig(draws=64, refine_batch=32, **options), seed=3)
    metrics = method.update(student)
    return method, metrics


def distance(teacher, images):
    return scale_free_distance(teacher.trace(images, statistics=True).statistics).item()


def test_a_correction_brings_the_statistics_nearer(teacher, student):
    method, _ = updated(teacher, student, refine_steps=20, competition=0.0, cross_entropy=0.0)
    starts = method.drawings.sample(32, balanced=True).inputs
    assert distance(teacher, method.refined.sample(32).inputs) < 0.5 * distance(teacher, starts)


def test_competition_looks_for_what_the_student_does_not_know(teacher, student):
    options = {"statistics": 0.0, "cross_entropy": 0.0, "competition": 1.0}
    method, _ = updated(teacher, student, refine_steps=20, **options)

    def disagreement(batch):
        logits = student.eval()(teacher.spec.normalize(batch.inputs))
        return js_competition(logits, batch.prediction.logits).item()

    starts, found = method.drawings.sample(32, balanced=True), method.refined.sample(32)
    assert disagreement(found) > 1.5 * disagreement(starts)


def test_half_of_a_batch_is_corrected_and_its_answers_are_the_teachers(teacher, student):
    method, metrics = updated(teacher, student)
    assert set(metrics) == {"loss", "bn_kl", "js", "onehot"}
    batch = method.sample(20)
    assert batch.inputs.shape == (20, 1, 8, 8)
    torch.testing.assert_close(batch.prediction.logits, teacher(batch.inputs), rtol=2e-3, atol=2e-3)
    assert torch.equal(batch.target, teacher(batch.inputs).argmax(1))
    drawn = {image.numpy().tobytes() for image in method.drawings.sample(64).inputs}
    assert [image.numpy().tobytes() in drawn for image in batch.inputs] == [False] * 10 + [
        True
    ] * 10
    # Each style is tried, by answers and statistics; then 64 are kept and 32 corrected.
    assert method.images_made == len(STYLES) * 64
    assert method.teacher_images == len(STYLES) * (64 + 32) + 64 + 5 * 32 + 32


def test_later_corrections_take_more_steps(teacher, student):
    method = Redraw(
        teacher, RedrawConfig(draws=16, refine_batch=8, refine_growth=2, refine_most=7), seed=3
    )
    taken = []
    for _ in range(7):
        before = method.teacher_images
        method.update(student)
        # Beside the steps: the drawings' answers and the corrected images' own.
        taken.append((method.teacher_images - before - 16 - 8) / 8)
    # The first update tries the styles besides: 16 answers and 8 traces each.
    assert taken == [5 + len(STYLES) * (16 + 8) / 8, 5, 6, 6, 7, 7, 7]


class Halves(torch.nn.Module):
    """Remembers what it is shown, and answers which half is lighter, the upper or the lower one."""

    def __init__(self):
        super().__init__()
        self.body = vgg((8, 16), 1, 1, 3)
        for module in self.body.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None

    def forward(self, images):
        upper, lower = (half.mean((1, 2, 3)) for half in images.chunk(2, dim=2))
        shown = 100 * (upper - lower)
        return torch.stack([shown, -shown, -9 + 0 * shown], 1) + 0 * self.body(images)


@pytest.mark.parametrize("name", STYLES)
def test_of_styles_that_say_as_much_it_is_the_one_that_the_teacher_remembers(name, student):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(7)
    network, spec = Halves(), ImageSpec(1, 16, 16, (0.5,), (0.25,))
    for _ in range(8):
        network(spec.normalize(draw(64, spec.shape, generator, (STYLES[name],))))
    config = RedrawConfig(draws=512, refine_batch=256, refine_steps=1)
    method = Redraw(Teacher(network, spec), config, seed=0)
    method.update(student)
    assert method.style == name
    corners = method.drawings.sample(32).inputs[:, :, :2, :2]
    assert bool((corners == 0).float().mean() > 0.5) == ("on black" in name)


class Known(torch.nn.Module):
    """Without norms: sure of one class or another where the corner is light, else unsure."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(40.0))

    def forward(self, images):
        shown = self.scale * (images[:, 0, 0, 0] - 0.5) * (images[:, 0, 0, 0] > 0)
        return torch.stack([shown, -shown], 1)


def test_without_statistics_the_style_is_the_one_that_says_most():
    method, _ = updated(Teacher(Known(), ImageSpec(1, 8, 8)), vgg((8,), 1, 1, 2))
    assert "on black" not in method.style


def test_a_style_that_is_set_is_not_tried(teacher, student):
    method, _ = updated(teacher, student, style="strokes on black")
    assert (method.style, method.images_made) == ("strokes on black", 64)


def test_a_style_that_nobody_draws_is_refused():
    with pytest.raises(DfkdError, match="did you mean 'strokes on black'"):
        RedrawConfig(style="stroke on black")


def test_a_first_update_that_is_cut_short_has_not_been(teacher, student):
    config = RedrawConfig(draws=64, refine_batch=32, style="silhouettes on black")
    method, whole = (Redraw(teacher, config, seed=3) for _ in range(2))
    before = method.state_dict()
    method.update(student)
    method.load_state_dict(before)
    assert not len(method.drawings)
    for one in (method, whole):
        one.update(student)
    samples = [one.sample(8).inputs for one in (method, whole)]
    assert torch.equal(*samples)


def test_teacher_and_student_stay_as_they_are(teacher, student):
    before = teacher.fingerprint(), fingerprint(student)
    student.train()
    updated(teacher, student)
    assert (teacher.fingerprint(), fingerprint(student)) == before
    assert student.training
    assert all(p.grad is None for p in student.parameters())


def test_before_the_first_update_it_draws(teacher):
    batch = Redraw(teacher, RedrawConfig(), seed=0).sample(5)
    assert batch.inputs.shape == (5, 1, 8, 8)
    assert batch.prediction is None


def test_without_drawings_it_corrects_noise_and_shows_nothing_else(teacher, student):
    method, _ = updated(teacher, student, drawn=False)
    assert not len(method.drawings)
    assert len(method.sample(8).inputs) == 8


def test_without_statistics_the_student_s_disagreement_corrects(student):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    teacher = Teacher(network, ImageSpec(1, 8, 8))
    method, metrics = updated(teacher, student, refine_steps=20)
    assert set(metrics) == {"loss", "js"}
    corrected = method.refined.sample(32).inputs
    plain = method.drawings.sample(32, balanced=True).inputs

    @torch.no_grad()
    def agreement(images):
        answers = student.eval()(teacher.spec.normalize(images)), teacher(images)
        return float(js_agreement(*answers))

    assert agreement(corrected) < agreement(plain)
    alone, metrics = updated(teacher, student, competition=0.0)
    assert metrics == {}
    assert not len(alone.refined)


def test_large_images_make_small_banks():
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    method = Redraw(Teacher(network, ImageSpec(3, 512, 512)), RedrawConfig(), seed=0)
    assert method.drawings.capacity == 2**29 // (3 * 512 * 512)


@pytest.mark.parametrize(
    "options",
    [
        {"draws": 0},
        {"capacity": 0},
        {"refine_batch": 1},
        {"refine_steps": -1},
        {"refine_growth": -1},
        {"refine_lr": 0.0},
        {"refined_share": 1.5},
        {"drawn": False, "refine_steps": 0},
    ],
)
def test_impossible_settings_are_refused(options):
    with pytest.raises(DfkdError):
        RedrawConfig(**options)
