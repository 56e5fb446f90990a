"""SpaceshipNet's exchange of features, what is remembered, and what the student sees of it."""

from dataclasses import replace

import pytest
import torch

from dfkd.errors import DfkdError
from dfkd.losses.objective import Objective, Term
from dfkd.losses.response import cross_entropy
from dfkd.losses.statistics import norm_distance
from dfkd.synthesis.methods.spaceship import (
    DEPTHS,
    Spaceship,
    SpaceshipConfig,
    exchange,
    paired_halves,
)
from generators.decoders import Decoder
from support.methods import make_student, make_teacher

TINY = SpaceshipConfig(g_steps=3, synthesis_batch_size=12, ngf=4, latent_dim=8, capacity=30)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained(rounds: int = 1, **settings) -> Spaceship:
    method, student = Spaceship(make_teacher(), replace(TINY, **settings)), make_student()
    for _ in range(rounds):
        method.update(student)
    return method


@pytest.mark.parametrize("options", [{}, {"stages": 4}, {"large": True}, {"normalized": True}])
@pytest.mark.parametrize("training", [True, False])
def test_decoding_goes_on_from_every_depth(options, training):
    decoder = Decoder(3, 33, 18, 5, 3, **options).train(training)
    latents = torch.randn(4, 5, generator=seeded())
    images = decoder(latents)
    maps = decoder.features(latents)
    assert [m.shape[2:] for m in maps] == [torch.Size(size) for size in decoder.sizes]
    for depth, values in enumerate(maps):
        assert torch.equal(decoder.from_features(depth, values), images)
    assert not torch.equal(decoder.from_features(0, 2 * maps[0]), images)


@pytest.mark.parametrize(("count", "channels"), [(8, 6), (7, 5), (1, 4), (2, 1)])
def test_the_exchange_is_a_permutation(count, channels):
    moved = paired_halves(count, channels, seeded())
    assert torch.equal(moved.sum(1), torch.full((count,), channels // 2))
    assert torch.equal(moved, moved.flip(0))
    maps = torch.randn(count, channels, 2, 3, generator=seeded())
    swapped = exchange(maps, moved)
    assert torch.equal(exchange(swapped, moved), maps)
    for i in range(count):  # by hand: every channel of a pair is still there, once
        for c in range(channels):
            source = count - 1 - i if moved[i, c] else i
            assert torch.equal(swapped[i, c], maps[source, c])
    for c in range(channels):
        assert torch.equal(swapped[:, c].flatten().sort()[0], maps[:, c].flatten().sort()[0])


def test_every_pair_and_channel_is_as_likely_as_another():
    moved = paired_halves(4000, 6, seeded()).float()
    torch.testing.assert_close(moved.mean(0), torch.full((6,), 0.5), atol=0.05, rtol=0)
    assert len({tuple(row.tolist()) for row in moved}) == 20  # 6 choose 3


def test_without_exchange_what_is_remembered_is_decoded():
    method = trained(2, swap_p=0.0)
    assert [len(column) for column in method.state_dict()["memory"]] == [24] * DEPTHS
    decoded = [
        method.generator.from_features(depth, column[:24].float())
        for depth, column in enumerate(method._memory)
    ]
    found = set()
    for _ in range(20):
        images = method.sample(9).inputs
        same = [(images[:, None] - d).abs().amax((2, 3, 4)) < 1e-6 for d in decoded]
        depths = [depth for depth, rows in enumerate(same) if rows.any(1).all()]
        assert len(depths) == 1  # one depth a batch
        assert same[depths[0]].any(0).sum() == 9  # all different
        found.add(depths[0])
    assert found == {0, 1, 2}


def test_the_share_of_batches_that_exchange():
    method, plain = trained(swap_p=0.7), 0
    decoded = [
        method.generator.from_features(d, c[:12].float()) for d, c in enumerate(method._memory)
    ]
    for _ in range(200):
        images = method.sample(4).inputs
        near = [(images[:, None] - d).abs().amax((2, 3, 4)) < 1e-6 for d in decoded]
        plain += any(bool(rows.any(1).all()) for rows in near)
    assert 40 <= plain <= 80  # 60 expected


def test_the_batch_of_lowest_loss_is_remembered():
    scale = iter([3e6, 1e6, 2e6])
    method, seen = Spaceship(make_teacher(), TINY), []
    scaled = Term("onehot", lambda o: 0 * o.teacher.logits.sum() + next(scale), TINY.oh)
    method.objective = Objective.of(bn=TINY.bn) + scaled
    features = method.generator.features

    def spy(latents):
        seen.append(features(latents))
        assert method.generator.training
        return seen[-1]

    method.generator.features = spy
    assert method.update(make_student())["onehot"] == 1e6
    for depth, column in enumerate(method._memory):
        torch.testing.assert_close(column[:12].float(), seen[1][depth], atol=1e-3, rtol=1e-3)
        assert not torch.allclose(column[:12].float(), seen[2][depth], atol=1e-3)
    assert not method.generator.training


def test_the_oldest_maps_make_room():
    method = trained(1)
    first = [column[:12].clone() for column in method._memory]
    method.update(make_student())
    assert all(torch.equal(c[:12], f) for c, f in zip(method._memory, first, strict=True))
    second = [column[12:24].clone() for column in method._memory]
    method.update(make_student())  # 36 samples in a memory of 30: the first 6 are gone
    for column, old, new in zip(method._memory, first, second, strict=True):
        assert not torch.equal(column[:6], old[:6])
        assert torch.equal(column[6:12], old[6:])
        assert torch.equal(column[12:24], new)
    small = trained(1, capacity=5)
    assert [len(column) for column in small.state_dict()["memory"]] == [5] * DEPTHS
    assert torch.equal(small._memory[0].sort(0)[0], first[0][-5:].sort(0)[0])
    assert small.sample(12).inputs.shape[0] == 12


def test_what_is_remembered_is_resumed():
    method, resumed = trained(3), Spaceship(make_teacher(), TINY, seed=99)
    resumed.load_state_dict(method.state_dict())
    for _ in range(6):
        assert torch.equal(resumed.sample(30).inputs, method.sample(30).inputs)


def test_the_first_loss_is_the_papers_sum_and_targets_are_even():
    seen = []

    def spy(outputs):
        seen.append(outputs.targets)
        return cross_entropy(outputs.teacher.logits, outputs.targets)

    method, drawn = Spaceship(make_teacher(), replace(TINY, g_steps=1)), []
    method.objective = Objective.of(bn=TINY.bn) + Term("onehot", spy, TINY.oh)
    features = method.generator.features
    method.generator.features = lambda z: drawn.append(z.detach().clone()) or features(z)
    twin = Spaceship(make_teacher(), TINY).generator.train()
    metrics = method.update(make_student())
    trace = method.teacher.trace(twin(drawn[0]), statistics=True)
    wanted = 0.5 * cross_entropy(trace.logits, seen[0]) + norm_distance(trace.statistics)
    torch.testing.assert_close(metrics["loss"], wanted.detach())
    assert torch.equal(seen[0].bincount(), torch.full((4,), 3))
    assert method.teacher_images == 12
    assert method.images_made == 0
    method.sample(7)
    assert method.images_made == 7


@pytest.mark.parametrize("lr_z", [0.0, 1e-2])
def test_latents_are_new_each_round_and_move_with_the_generator(lr_z):
    method, drawn = Spaceship(make_teacher(), replace(TINY, lr_z=lr_z)), []
    features = method.generator.features
    method.generator.features = lambda z: drawn.append(z.detach().clone()) or features(z)
    for _ in range(2):
        method.update(make_student())
    assert torch.equal(drawn[0], drawn[2]) == (lr_z == 0)
    assert (drawn[2] - drawn[3]).std() > 1


@pytest.mark.parametrize(
    "setting",
    [{"g_steps": 0}, {"synthesis_batch_size": 1}, {"swap_p": 1.1}, {"capacity": 0}, {"lr_z": -1.0}],
    ids=lambda setting: next(iter(setting)),
)
def test_refuses_settings_out_of_range(setting):
    with pytest.raises(DfkdError):
        replace(TINY, **setting)
