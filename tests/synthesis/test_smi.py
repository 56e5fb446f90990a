"""Sparse model inversion: what its paper pins as numbers, and that patches are really gone."""

import dataclasses

import pytest
import torch
from torch import nn

import dfkd
from dfkd.errors import DfkdError
from dfkd.networks import vgg
from dfkd.recipes.methods import METHODS
from dfkd.synthesis.methods.smi import Smi, SmiConfig
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec
from support.methods import make_vit
from support.networks import Encoder

NOBODY = nn.Identity()
QUICK = SmiConfig(batch_size=6, iterations=20, drops=(0.1, 0.1, 0.5), jitter=0.0, lr=0.05)


def run(config=QUICK, steps=12, teacher=None):
    synthesizer = Smi(teacher or make_vit(), config, 0)
    for _ in range(steps):
        synthesizer.update(NOBODY)
    return synthesizer


def test_the_papers_schedule_is_that_of_the_published_recipe():
    paper = dfkd.recipe("smi_published").synthesizer
    assert (paper.iterations, paper.lr, paper.betas, paper.tv_l2) == (4000, 0.25, (0.5, 0.99), 1e-4)
    assert [step for step in range(4000) if paper.drops_at(step)] == [50, 100, 200, 300]
    short = dataclasses.replace(paper, iterations=40)
    assert [(step, short.drops_at(step)) for step in range(40) if short.drops_at(step)] == [
        (1, 2), (2, 1), (3, 1),
    ]  # fmt: skip
    assert METHODS["smi"].config().drops == paper.drops


def test_a_share_of_the_patches_left_goes_each_time():
    synthesizer = Smi(make_vit(), QUICK, 0)
    left = []
    for _ in range(12):
        synthesizer.update(NOBODY)
        left.append(synthesizer.left)
    assert left == [16] * 2 + [7] * 8 + [4] * 2  # 16 -> 11 -> 7 at step 2, -> 4 at step 10
    assert (synthesizer.alive.flatten(1).sum(1) == 4 * 2 * 2).all()


def test_pixels_of_patches_that_are_gone_stay_bit_by_bit():
    synthesizer = run(steps=3)
    before, gone = synthesizer.pixels().detach().clone(), ~synthesizer.alive
    for _ in range(5):
        synthesizer.update(NOBODY)
    after = synthesizer.pixels().detach()
    assert torch.equal(after[gone], before[gone])
    assert (after[~gone] != before[~gone]).float().mean() > 0.9


def test_the_blocks_see_fewer_tokens():
    teacher, seen = make_vit(), []
    teacher.network.blocks[0].register_forward_hook(lambda m, i, o: seen.append(o.shape[1]))
    synthesizer = Smi(teacher, QUICK, 0)
    seen.clear()  # of the trial
    for _ in range(12):
        synthesizer.update(NOBODY)
    assert sorted(set(seen)) == [5, 8, 12, 17]


def test_the_patches_that_stay_are_those_the_class_token_attends_to_most():
    teacher = make_vit()
    synthesizer = Smi(teacher, dataclasses.replace(QUICK, drops=(), drop=0.5), 0)
    images = synthesizer.pixels().detach()
    layer, taken = teacher.network.blocks[-1].attn, []
    handle = layer.register_forward_pre_hook(lambda module, inputs: taken.append(inputs[0]))
    teacher(images)
    handle.remove()
    queries, keys, _ = layer.qkv(taken[0]).view(6, 17, 3, 2, 8).permute(2, 0, 3, 1, 4)
    weights = (queries[:, :, :1] @ keys.transpose(2, 3) / 8**0.5).softmax(3).mean(1)[:, 0, 1:]
    synthesizer._leave_out()
    kept = synthesizer.alive[:, 0, ::2, ::2].flatten(1)
    expected = torch.zeros_like(kept).scatter(1, weights.topk(8, 1).indices, True)
    assert torch.equal(kept, expected)


def test_without_a_class_token_patches_are_judged_by_their_gradient():
    teacher = Teacher(Encoder(), ImageSpec(1, 16, 16))
    synthesizer = Smi(teacher, dataclasses.replace(QUICK, drops=(), drop=0.5), 0)
    images = synthesizer.pixels().detach().requires_grad_()
    loss = nn.functional.cross_entropy(teacher(images), synthesizer.targets)
    (gradient,) = torch.autograd.grad(loss, images)
    force = nn.functional.avg_pool2d(gradient.abs(), 4).flatten(1)
    synthesizer._leave_out()
    kept = synthesizer.alive[:, 0, ::4, ::4].flatten(1)
    expected = torch.zeros_like(kept).scatter(1, force.topk(8, 1).indices, True)
    assert torch.equal(kept, expected)


def test_a_jitter_moves_the_patches_that_are_left_with_the_images():
    synthesizer = run(steps=3)
    moved = synthesizer.alive.float().roll((2, 4), (2, 3))  # by whole patches of 2 x 2
    grid = synthesizer.alive[:, 0, ::2, ::2].roll((1, 2), (1, 2)).flatten(1)
    shown = synthesizer._most_alive(moved)
    assert torch.equal(torch.zeros_like(grid).scatter(1, shown, True), grid)


def test_images_come_to_be_what_they_are_made_for():
    config = SmiConfig(batch_size=16, iterations=150, jitter=0.0, drops=(0.1, 0.2), lr=0.1)
    synthesizer = run(config, steps=150)
    batch = synthesizer.sample(64)
    assert float((batch.prediction.logits.argmax(1) == batch.target).float().mean()) >= 0.8


def test_a_network_without_patches_is_refused_in_a_line():
    with pytest.raises(DfkdError, match="patches can be left out of a transformer") as refusal:
        Smi(Teacher(vgg((4, 8), 1, 1, 4), ImageSpec(1, 8, 8)), SmiConfig(), 0)
    assert len(str(refusal.value)) <= 300


@pytest.mark.parametrize(
    "wrong",
    [{"drop": 1.0}, {"drops": (2.0,)}, {"iterations": 0}, {"lr": 0.0}, {"jitter": 2.0},
     {"tv_l2": -1.0}, {"batch_size": 0}, {"flip": 2.0}, {"betas": (1.0, 0.5)}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(DfkdError, match=next(iter(wrong))):
        SmiConfig(**wrong)
