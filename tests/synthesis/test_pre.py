"""PRE-DFKD's oracles: the generator's loss, and a memory that learns and is heard."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from dfkd.errors import DfkdError
from dfkd.losses.adversarial import js_competition
from dfkd.losses.variational import gaussian_reconstruction, standard_normal_kl
from dfkd.recipes.methods import METHODS
from dfkd.synthesis.methods.pre import Pre, PreConfig
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec
from generators.decoders import Decoder
from generators.vae import VariationalAutoencoder
from support.methods import build, make_student, make_teacher


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def mark(method: Pre) -> Tensor:
    """Let the memory recall white images of the value 9 alone; returns that value as images."""
    with torch.no_grad():
        method.memory.decoder.to_image.weight.zero_()
        method.memory.decoder.to_image.bias.fill_(9.0)
    return method.teacher.spec.denormalize(torch.full((1, 1, 8, 8), 9.0))


def test_the_generators_loss_and_gradient() -> None:
    method, student = build("pre", make_teacher()), make_student()
    twin = copy.deepcopy(method.generator)
    latents = torch.randn(
        16, 8, generator=torch.Generator().manual_seed(0).set_state(method._rng.get_state())
    )
    found = method.update(student)
    normalized = twin(latents)
    network = method.teacher.network
    maps = network.stages[1](nn.functional.max_pool2d(network.stages[0](normalized), 2))
    features = maps.mean((2, 3))
    logits = network.head(features)
    p = logits.softmax(1)
    mean = p.mean(0)
    terms = {
        "onehot": -p.amax(1).log().mean(),
        "balance10": (mean * mean.log10()).sum(),
        "activation": -features.abs().mean(),
        "js": 1 - js_competition(student.eval()(normalized), logits.detach()),
    }
    for name, value in terms.items():
        torch.testing.assert_close(found[f"{name}"], value.detach(), msg=name)
    weights = torch.tensor([1, 5, 0.1, 1])
    loss = (weights * torch.stack(list(terms.values()))).sum()
    torch.testing.assert_close(found["loss"], loss.detach())
    loss.backward()
    for one, other in zip(method.generator.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("count", "recalled"), [(32, 4), (20, 2), (7, 0)])
def test_an_eighth_of_a_batch_is_recalled(count, recalled) -> None:
    method = build("pre", make_teacher())
    for expected in (0, recalled):  # a memory that has learned nothing is not heard
        white = mark(method)
        batch = method.sample(count)
        hits = (batch.inputs - white).abs().amax((1, 2, 3)) < 1e-4
        assert hits.sum() == expected
        assert batch.prediction is None
        method.update(make_student())


def test_the_memory_learns_from_new_images_and_from_its_own() -> None:
    method = build("pre", make_teacher(), memory_steps=3)
    seen: list[Tensor] = []
    method.memory.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    method.update(make_student())
    assert [len(images) for images in seen] == [8, 8, 8]
    white = mark(method)[0, 0, 0, 0]
    method.memory_optimizer.param_groups[0]["lr"] = 1e-12
    method.update(make_student())
    assert [len(images) for images in seen[3:]] == [10, 10, 10]
    recalled = method.teacher.spec.denormalize(seen[-1][8:])
    torch.testing.assert_close(recalled, white.expand_as(recalled))
    assert (seen[4][:8] - seen[5][:8]).std() > 0.1  # fresh ones in every step


def test_rehearsing_does_not_teach_the_memory() -> None:
    method = build("pre", make_teacher())
    method.update(make_student())
    before = copy.deepcopy(method.memory.state_dict())
    method.sample(64)
    assert all(torch.equal(v, before[k]) for k, v in method.memory.state_dict().items())


def test_the_memory_reconstructs_better_after_60_steps() -> None:
    method = build("pre", make_teacher(), memory_steps=60, lr_g=1e-12, lr_memory=5e-3)
    with torch.no_grad():
        images = method._generate(64)
    reconstructions = []
    for _ in range(2):
        with torch.no_grad():
            found, _, _ = method.memory.eval()(images, torch.zeros(64, 8))
        reconstructions.append(gaussian_reconstruction(found, images))
        method.update(make_student())
    nothing_learned = gaussian_reconstruction(images.mean(0).expand_as(images), images)
    assert reconstructions[1] < 0.9 * nothing_learned
    assert nothing_learned < reconstructions[0]


def test_the_kl_and_the_likelihood_are_those_of_gaussians() -> None:
    mean, log_variance = normal(6, 5), normal(6, 5, seed=1)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(standard_normal_kl(mean, log_variance), expected)
    assert standard_normal_kl(torch.zeros(3, 2), torch.zeros(3, 2)) == 0
    one, other = normal(4, 3, 2, 2), normal(4, 3, 2, 2, seed=1)
    log_p = Normal(one, 1.0).log_prob(other) - Normal(other, 1.0).log_prob(other)
    torch.testing.assert_close(gaussian_reconstruction(one, other), -log_p.sum((1, 2, 3)).mean())
    with pytest.raises(DfkdError, match="one shape"):
        gaussian_reconstruction(one, other[:1])


@pytest.mark.parametrize("side", [(8, 8), (9, 14), (33, 33)])
def test_the_autoencoder_samples_its_posterior(side) -> None:
    torch.manual_seed(0)
    memory = VariationalAutoencoder(Decoder(3, *side, 6, 4)).eval()
    images, noise = normal(2, 3, *side), normal(2, 6, seed=1)
    found, mean, log_variance = memory(images, noise)
    assert found.shape == images.shape
    latents = mean + noise * torch.exp(log_variance).sqrt()
    torch.testing.assert_close(found, memory.recall(latents))
    assert found.min() < 0  # a linear end


def test_settings_are_the_authors() -> None:
    c = PreConfig()
    assert (c.oh, c.ie, c.a, c.js, c.lr_g, c.lr_memory) == (1, 5, 0.1, 1, 0.02, 0.02 / 40)
    assert (c.synthesis_batch_size, c.latent_dim, c.memory_steps) == (1024, 1000, 4)
    assert METHODS["pre"].learner.knowledge == "l1"
    assert METHODS["pre"].alternation.steps_per_update == 10
    method = build("pre", make_teacher())
    assert {stage[1].eps for stage in method.generator.stages} == {0.8}


def test_refuses_a_teacher_without_a_linear_classifier() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten())
    with pytest.raises(DfkdError, match="no linear layer"):
        Pre(Teacher(network, ImageSpec(1, 8, 8)))


@pytest.mark.parametrize(
    "setting",
    [
        {"memory_steps": 0}, {"synthesis_batch_size": 1}, {"memory_dim": 0}, {"js": -1.0},
        {"lr_memory": 0.0}, {"oh": 0.0, "ie": 0.0, "a": 0.0, "js": 0.0},
    ],
    ids=lambda setting: next(iter(setting)),
)  # fmt: skip
def test_refuses_settings_out_of_range(setting) -> None:
    with pytest.raises(DfkdError):
        PreConfig(**setting)
