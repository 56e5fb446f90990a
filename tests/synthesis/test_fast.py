"""FastDFKD's oracles: a plain twin of its round, and what its paper pins."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.losses.adversarial import decision_adversarial
from dfkd.losses.statistics import norm_distance
from dfkd.synthesis.methods import fast
from dfkd.synthesis.methods.fast import Fast, FastConfig, published
from support.methods import build, make_student, make_teacher


class Unwatched(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise AssertionError("the student was asked")


def parameters(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def outer_gradient(method: Fast) -> Tensor:
    """What the last round left in the meta-generator's ``.grad``."""
    return torch.cat([p.grad.flatten() for p in method.generator.parameters()])


def twin(method: Fast, student: nn.Module) -> tuple[list[Tensor], Tensor, Tensor]:
    """The first round again, step by step: inner gradients, inner weights, latents at the end."""
    config, teacher = method.config, method.teacher
    rng = torch.Generator().manual_seed(0)
    rng.set_state(method._rng.get_state())
    generator, student = copy.deepcopy(method.generator), copy.deepcopy(student).eval()
    targets = torch.randint(teacher.num_classes, (16,), generator=rng)
    latents = torch.randn(16, 8, generator=rng).requires_grad_()
    weights = torch.optim.Adam(generator.parameters(), config.lr_g, betas=(0.5, 0.999))
    start = torch.optim.Adam([latents], config.lr_z, betas=(0.5, 0.999))
    gradients = []
    for _ in range(config.g_steps):
        images = generator(latents)
        trace = teacher.trace(images, statistics=True)
        adversary = decision_adversarial(student((images - 0.5) / 0.25), trace.logits)
        loss = 10 * norm_distance(trace.statistics) + 0.5 * F.cross_entropy(trace.logits, targets)
        weights.zero_grad()
        start.zero_grad()
        (loss + 1.33 * adversary).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in generator.parameters()]))
        weights.step()
        start.step()
    return gradients, parameters(generator), latents.detach()


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("meta", ["fomaml", "reptile"])
def test_the_outer_gradient_and_step(meta, k):
    student = make_student()
    method = build("fast", make_teacher(), meta=meta, g_steps=k)
    before = parameters(method.generator)
    gradients, adapted, _ = twin(method, student)
    method.update(student)
    expected = sum(gradients) if meta == "fomaml" else 67 * (before - adapted)
    # A bias before a batch-norm has no gradient but rounding, and Adam makes it a whole step.
    sure = torch.stack(gradients).abs().amin(0) > 1e-3
    assert sure.float().mean() > 0.9
    found, expected = outer_gradient(method)[sure], expected[sure]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))
    # Adam's first step is its rate, lr_g * k.
    step = (before - parameters(method.generator))[sure]
    torch.testing.assert_close(step, 3e-3 * k * expected.sign(), rtol=1e-2, atol=0)


def test_latents_are_optimised_at_their_own_rate(monkeypatch):
    drawn = []

    def spy(*arguments):
        drawn.append(original(*arguments))
        return drawn[-1]

    original = fast.gaussian
    monkeypatch.setattr(fast, "gaussian", spy)
    method, student = build("fast", make_teacher(), g_steps=3, lr_z=0.05), make_student()
    *_, expected = twin(method, student)
    method.update(student)
    method.update(student)
    torch.testing.assert_close(drawn[0].detach(), expected, rtol=1e-3, atol=1e-4)
    assert (drawn[0] - drawn[1]).std() > 1  # fresh every round


def test_the_average_moves_once_a_round():
    method = build("fast", make_teacher(), g_steps=2, bn_momentum=0.75)
    seen, trace = [], method.teacher.trace

    def spy(images, **options):
        seen.append(trace(images, **options))
        return seen[-1]

    method.teacher.trace = spy
    for _ in range(2):
        method.update(make_student())
    one, two = seen[1].statistics[0], seen[3].statistics[0]
    mean, var = method.average[one.name]
    torch.testing.assert_close(mean, 0.75 * one.mean + 0.25 * two.mean)
    torch.testing.assert_close(var, 0.75 * one.var + 0.25 * two.var)


def test_the_first_layer_and_only_it_is_drawn_anew_once():
    method = build("fast", make_teacher(), warmup=1, reset_round=2, lr_g=1e-12)
    changed = []
    for _ in range(5):
        before = copy.deepcopy(method.generator.state_dict())
        method.update(make_student())
        after = method.generator.state_dict()
        changed.append({k for k in after if (after[k] - before[k]).abs().max() > 1e-6})
    assert changed == [set(), set(), {"project.weight", "project.bias"}, set(), set()]
    assert method.generator.project.weight.std().item() == pytest.approx(0.02, rel=0.2)


def test_nobody_is_asked_during_the_warm_up():
    method = build("fast", make_teacher(), warmup=2)
    for _ in range(2):
        assert method.update(Unwatched())["adv"] == 0
    with pytest.raises(DfkdError, match="AssertionError: the student was asked"):
        method.update(Unwatched())


def test_the_kept_batch_is_the_one_of_lowest_loss():
    settings = {"lr_g": 0.05, "lr_z": 0.5, "reset_round": 0}
    losses = []
    for steps in (1, 2, 5, 9):
        method = build("fast", make_teacher(), g_steps=steps, **settings)
        losses.append(float(method.update(make_student())["loss"]))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_published_settings():
    found = {k: (published(k).g_steps, published(k).lr_g, published(k).lr_z) for k in (2, 5, 10)}
    assert found == {2: (2, 5e-3, 0.015), 5: (5, 3e-3, 0.01), 10: (10, 2e-3, 0.01)}
    assert published(5) == FastConfig()
    with pytest.raises(DfkdError, match="not 3"):
        published(3)


@pytest.mark.parametrize(
    "setting",
    [
        {"g_steps": 0}, {"meta": "maml"}, {"synthesis_batch_size": 1}, {"bn": -1.0},
        {"bn_momentum": 1.0}, {"lr_z": 0.0}, {"warmup": -1}, {"bn": 0.0, "oh": 0.0},
    ],
    ids=lambda setting: next(iter(setting)),
)  # fmt: skip
def test_refuses_settings_out_of_range(setting):
    with pytest.raises(DfkdError):
        FastConfig(**setting)
