"""DAFL's oracles: its three terms by hand, and one batch for both steps."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.recipes.methods import METHODS
from dfkd.synthesis.methods.dafl import Dafl, DaflConfig, cifar10, cifar100, mnist
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec
from support.methods import build, make_student, make_teacher

SPEC = ImageSpec(1, 8, 8, (0.3,), (0.4,))
TINY = DaflConfig(synthesis_batch_size=16, ngf=4, latent_dim=8, lr_g=0.01)


def tiny_teacher(classes: int = 4) -> Teacher:
    """Three ReLU features and a linear classifier of them."""
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, classes))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return Teacher(layers, SPEC)


def by_hand(teacher: Teacher, images: Tensor) -> dict[str, Tensor]:
    """The terms on ``tiny_teacher``, from its weights."""
    hidden, last = teacher.network[1], teacher.network[3]
    features = ((images - 0.3) / 0.4).flatten(1) @ hidden.weight.T + hidden.bias
    features = features.clamp(min=0)
    p = (features @ last.weight.T + last.bias).softmax(1)
    mean = p.mean(0)
    terms = {
        "onehot": -p.amax(1).log().mean(),
        "balance10": (mean * mean.log10()).sum(),
        "activation": -features.abs().mean(),
    }
    total = terms["onehot"] + 5 * terms["balance10"] + 0.1 * terms["activation"]
    return {"loss": total, **terms}


def generated(method: Dafl, generator: nn.Module, rng: Tensor) -> Tensor:
    """What ``generator`` makes of the latents that follow the random state ``rng``."""
    latents = torch.randn(16, 8, generator=torch.Generator().manual_seed(0).set_state(rng))
    return method.teacher.spec.denormalize(generator(latents))


def test_the_terms_are_those_of_the_classifiers_input() -> None:
    teacher = tiny_teacher()
    method = Dafl(teacher, TINY)
    for _ in range(2):
        found = method.update(nn.Identity())
        expected = by_hand(teacher, method.batch.inputs)
        assert set(found) == {f"{name}" for name in expected}
        for name, value in expected.items():
            torch.testing.assert_close(found[f"{name}"], value, msg=name)


def test_undecided_teachers_pin_the_logarithms() -> None:
    teacher = tiny_teacher(classes=10)
    teacher.network[3].weight.zero_()
    teacher.network[3].bias.zero_()
    found = Dafl(teacher, TINY).update(nn.Identity())
    assert found["balance10"].item() == pytest.approx(-1)
    assert found["onehot"].item() == pytest.approx(math.log(10))


def test_the_student_gets_the_batch_that_the_generator_stepped_on() -> None:
    method, student = build("dafl", make_teacher()), make_student()
    shown, trace = [], method.teacher.trace

    def spy(images, **options):
        shown.append((images, trace(images, **options)))
        return shown[-1][1]

    method.teacher.trace = spy
    for _ in range(2):
        generator, rng = copy.deepcopy(method.generator), method._rng.get_state()
        method.update(student)
        batch, (images, answers) = method.sample(16), shown[-1]
        assert torch.equal(batch.inputs, images)
        assert torch.equal(batch.prediction.logits, answers.logits)
        # Made before the step, and from latents of this update.
        torch.testing.assert_close(batch.inputs, generated(method, generator, rng))
    assert len(shown) == 2
    assert method.images_made == method.teacher_images == 32
    assert (shown[0][0] - shown[1][0]).std() > 0.1


@pytest.mark.parametrize("count", [5, 16, 40])
def test_another_count_cycles_through_it(count) -> None:
    method = build("dafl", make_teacher())
    method.update(make_student())
    batch = method.sample(count)
    order = [i % 16 for i in range(count)]
    assert torch.equal(batch.inputs, method.batch.inputs[order])
    assert torch.equal(batch.prediction.logits, method.batch.prediction.logits[order])


@pytest.mark.parametrize("seed", range(3))
def test_the_step_lowers_the_loss_on_its_own_batch(seed) -> None:
    method = Dafl(tiny_teacher(), replace(TINY, lr_g=1e-3), seed)
    rng = method._rng.get_state()
    before = method.update(nn.Identity())["loss"]
    after = by_hand(method.teacher, generated(method, method.generator, rng))["loss"]
    assert after < before - 0.002


def test_published_settings() -> None:
    assert mnist() == DaflConfig()
    found = [(c.oh, c.ie, c.a, c.lr_g) for c in (mnist(), cifar10(), cifar100())]
    assert found == [(1, 5, 0.1, 0.2), (0.05, 5, 0.01, 0.02), (0.5, 20, 0.1, 0.02)]
    sizes = [(c.synthesis_batch_size, c.latent_dim) for c in (mnist(), cifar10(), cifar100())]
    assert sizes == [(512, 100), (1024, 1000), (1024, 1000)]
    method = Dafl(tiny_teacher(), TINY)
    assert {stage[1].eps for stage in method.generator.stages} == {0.8}
    row = METHODS["dafl"]
    assert (row.learner.knowledge, row.learner.temperature) == ("kd", 1.0)
    assert row.alternation.batch_size == DaflConfig().synthesis_batch_size


def test_refuses_a_teacher_without_a_linear_classifier() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten())
    with pytest.raises(DfkdError, match="no linear layer with 4 outputs"):
        Dafl(Teacher(network, SPEC), TINY)


@pytest.mark.parametrize(
    "setting",
    [
        {"synthesis_batch_size": 1}, {"latent_dim": 0}, {"ngf": 0}, {"lr_g": 0.0}, {"ie": -1.0},
        {"oh": 0.0, "ie": 0.0, "a": 0.0},
    ],
    ids=lambda setting: next(iter(setting)),
)  # fmt: skip
def test_refuses_settings_out_of_range(setting) -> None:
    with pytest.raises(DfkdError):
        DaflConfig(**setting)
