"""Critics: what they may see, what they must not, and that they resume exactly."""

import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dfkd.losses.critic import critic_accuracy, critic_loss
from generators.critics import FeatureCritic, ImageCritic, LogitCritic

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31)
CRITICS = {
    "logits": (lambda spectral: LogitCritic(5, 16, 2, spectral=spectral), (5,)),
    "features": (lambda spectral: FeatureCritic(6, 16, spectral=spectral), (6, 4, 3)),
    "vectors": (lambda spectral: FeatureCritic(6, 16, spectral=spectral), (6,)),
    "images": (lambda spectral: ImageCritic(3, 11, 8, 4, spectral=spectral), (3, 11, 8)),
}
both = pytest.mark.parametrize("spectral", [True, False])
every = pytest.mark.parametrize("name", CRITICS)


def built(name: str, spectral: bool = True, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return CRITICS[name][0](spectral)


def inputs(name: str, count: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *CRITICS[name][1], generator=generator)


def layers(critic: nn.Module) -> list[nn.Module]:
    return [m for m in critic.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


# What all have in common


@every
@both
def test_one_score_a_sample_whatever_else_is_in_the_batch(name, spectral) -> None:
    critic = built(name, spectral).eval()
    x = inputs(name)
    scores = critic(x)
    assert scores.shape == (4,)
    assert scores.std() > 0
    torch.testing.assert_close(critic(x[2:3]), scores[2:3])


@every
def test_the_score_is_not_squashed(name) -> None:
    critic = built(name)
    last = critic.judge[-1] if isinstance(critic, FeatureCritic) else critic.score
    for bias in (-50.0, 50.0):
        nn.init.constant_(last.bias, bias)
        torch.testing.assert_close(critic(inputs(name)) / bias, torch.ones(4), atol=0.1, rtol=0)


@every
@both
def test_the_global_seed_decides(name, spectral) -> None:
    one, twin, other = (built(name, spectral, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[key], twin[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


@every
@both
def test_meta(name, spectral) -> None:
    with torch.device("meta"):
        critic = built(name, spectral)
        scores = critic(inputs(name).to("meta"))
    assert scores.device.type == "meta"
    assert scores.shape == (4,)


@every
@both
def test_bfloat16_gives_float32_scores_and_sound_gradients(name, spectral) -> None:
    critic, x = built(name, spectral).eval(), inputs(name).requires_grad_()
    exact = critic(x)
    with torch.autocast("cpu", torch.bfloat16):
        scores = critic.train()(x)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, exact, atol=0.03, rtol=0.03)
    scores.sum().backward()
    assert x.grad.isfinite().all()
    trained = [p for n, p in critic.named_parameters() if not n.startswith("classes")]
    assert all(p.grad.isfinite().all() and p.grad.any() for p in trained)


@every
def test_spectral_norm_bounds_every_layer_on_the_way_to_the_score(name) -> None:
    critic = built(name)
    with torch.no_grad():
        for layer in layers(critic):
            if parametrize.is_parametrized(layer):
                layer.parametrizations.weight.original.mul_(7.0)
        for _ in range(200):
            critic(inputs(name))
    critic.eval()
    free = [layer for layer in layers(critic) if not parametrize.is_parametrized(layer)]
    assert free == ([critic.classes] if name == "logits" else [])
    for layer in layers(critic):
        if layer not in free:
            largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
            assert largest.item() == pytest.approx(1, abs=0.01)
    plain = built(name, spectral=False)
    assert not any(parametrize.is_parametrized(layer) for layer in layers(plain))


def step(critic: nn.Module, optimizer: torch.optim.Optimizer, name: str, seed: int) -> None:
    loss = critic_loss(
        critic(inputs(name, seed=seed)), critic(-inputs(name, seed=seed + 1)), kind="hinge"
    )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@every
def test_resuming_is_exact_with_the_estimates_of_the_spectral_norm(name) -> None:
    critic = built(name)
    optimizer = torch.optim.SGD(critic.parameters(), 0.1)
    for seed in range(3):
        step(critic, optimizer, name, seed)
    file = io.BytesIO()
    torch.save(critic.state_dict(), file)
    file.seek(0)
    resumed = built(name, seed=9)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    again = torch.optim.SGD(resumed.parameters(), 0.1)
    for seed in range(3, 6):
        step(critic, optimizer, name, seed)
        step(resumed, again, name, seed)
    state = resumed.state_dict()
    assert any(key.endswith("_u") for key in state)
    assert all(torch.equal(v, state[key]) for key, v in critic.state_dict().items())


# Logits


@few
@given(seeds, st.floats(-30, 30))
def test_the_logit_critic_is_blind_to_an_offset(seed, offset) -> None:
    critic = built("logits", seed=seed % 7).eval()
    answers = torch.randn(4, 5, generator=torch.Generator().manual_seed(seed))
    moved = answers + offset
    torch.testing.assert_close(critic(moved), critic(answers), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        critic.classify(moved), critic.classify(answers), atol=1e-4, rtol=1e-4
    )


@few
@given(seeds)
def test_a_bounded_score_moves_no_further_than_the_answer(seed) -> None:
    critic = built("logits", seed=seed % 7)
    generator = torch.Generator().manual_seed(seed)
    one, other = 10 * torch.randn(2, 8, 5, generator=generator)
    with torch.no_grad():
        for _ in range(50):
            critic(one)
        moved = (critic.eval()(one) - critic(other)).abs()
    assert (moved <= 1.01 * (one - other).norm(dim=1)).all()


def test_the_logit_critic_learns_confidence_and_class() -> None:
    critic = built("logits")
    optimizer = torch.optim.Adam(critic.parameters(), 0.01)
    generator = torch.Generator().manual_seed(0)

    def answers() -> tuple[Tensor, Tensor, Tensor]:
        targets = torch.randint(5, (64,), generator=generator)
        peak = nn.functional.one_hot(targets, 5).float()
        noise = torch.randn(2, 64, 5, generator=generator)
        return 6 * peak + 0.3 * noise[0], 3 * peak + 0.3 * noise[1], targets

    for _ in range(150):
        real, fake, targets = answers()
        loss = critic_loss(critic(real), critic(fake), kind="hinge")
        loss = loss + nn.functional.cross_entropy(critic.classify(fake), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    real, fake, targets = answers()
    assert critic_accuracy(critic(real), critic(fake), kind="hinge") > 0.9
    classes = critic.classify(fake)
    assert classes.shape == (64, 5)
    assert (classes.argmax(1) == targets).float().mean() > 0.9


# Features


def test_places_have_no_order_and_maps_no_size() -> None:
    critic = built("features").eval()
    maps = inputs("features")
    scores = critic(maps)
    torch.testing.assert_close(critic(maps.flip(2, 3)), scores)
    torch.testing.assert_close(critic(maps.repeat(1, 1, 2, 3)), scores)
    vectors = maps[:, :, 0, 0]
    torch.testing.assert_close(
        critic(vectors), critic(vectors[:, :, None, None].expand(-1, -1, 2, 2))
    )


def test_maps_of_equal_channel_means_can_be_told_apart() -> None:
    critic = built("features").eval()
    maps = torch.randn(4, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    flat = maps.mean((2, 3), keepdim=True).expand_as(maps)
    assert ((critic(maps) - critic(flat)).abs() > 1e-3).all()


# Images


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 224, 224), (1, 8, 224)])
def test_images_of_usual_sizes(shape) -> None:
    critic = ImageCritic(*shape, base=4)
    assert critic(torch.rand(2, *shape)).shape == (2,)


@few
@given(st.sampled_from([1, 3]), st.integers(8, 60), st.integers(8, 60))
def test_any_size_works_and_every_pixel_is_read(channels, height, width) -> None:
    torch.manual_seed(0)
    critic = ImageCritic(channels, height, width, base=8).eval()
    images = torch.rand(1, channels, height, width).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(images).sum(), images)
    assert (gradient != 0).all()


def test_channels_double_up_to_a_limit() -> None:
    critic = ImageCritic(1, 224, 224, base=2)
    convolutions = [m for m in critic.body if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [2, 4, 8, 16, 16, 16]
    assert critic.score.in_features == 16 * 3 * 3
    assert sum(p.numel() for p in ImageCritic(3, 32, 32).parameters()) == 167_649  # "0.17 M"


def test_grey_images_are_the_middle_of_what_the_layers_see() -> None:
    critic = built("images")
    with torch.no_grad():
        for layer in layers(critic):
            layer.bias.zero_()
    x = inputs("images")
    assert not critic(torch.full_like(x, 0.5)).any()
    assert critic(x).all()


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: ImageCritic(3, 7, 32), "at least 8x8, not 7x32"),
        (lambda: ImageCritic(0, 8, 8), "positive channels"),
        (lambda: ImageCritic(1, 8, 8, base=0), "positive base"),
        (lambda: LogitCritic(0), "positive num_classes"),
        (lambda: LogitCritic(5, depth=0), "positive depth"),
        (lambda: FeatureCritic(5, width=0), "positive width"),
    ],
)
def test_impossible_sizes_are_refused(build, word) -> None:
    with pytest.raises(ValueError, match=word):
        build()
