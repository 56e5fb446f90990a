"""The student's optimisers: what Muon does to a matrix, and what stays with AdamW."""

import copy

import pytest
import torch
from torch import nn

from dfkd.errors import DfkdError
from dfkd.training.optimizers import NAMES, make_optimizer, orthogonal


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 12, 3),
        nn.Flatten(),
        nn.LazyLinear(5),
    )


def trained(name, steps=3, layout=torch.contiguous_format, state=None):
    model = network()
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    model(images)  # the lazy layer takes its shape
    model = model.to(memory_format=layout)
    optimizer = make_optimizer(model, name, 0.01, 5e-4)
    if state:
        model.load_state_dict(state[0])
        optimizer.load_state_dict(state[1])
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        model(images).square().mean().backward()
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("name", NAMES)
def test_interrupted_equals_uninterrupted(name):
    whole, _ = trained(name, 4)
    half, optimizer = trained(name, 2)
    state = copy.deepcopy((half.state_dict(), optimizer.state_dict()))
    resumed, _ = trained(name, 2, state=state)
    for expected, found in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(expected, found)


def test_memory_layout_does_not_matter():
    plain, _ = trained("muon")
    last, _ = trained("muon", layout=torch.channels_last)
    for expected, found in zip(plain.parameters(), last.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_muon_moves_every_direction_of_a_hidden_matrix_alike():
    before = network()
    images = torch.rand(4, 1, 8, 8)
    before(images)
    model = copy.deepcopy(before)
    optimizer = make_optimizer(model, "muon", 0.01, 0.0)
    model(images).square().mean().backward()
    optimizer.step()
    step = (model[2].weight - before[2].weight).flatten(1)
    gradient = model[2].weight.grad.flatten(1)
    assert (step * gradient).sum() < 0  # downhill
    # The coefficients leave singular values between 0.7 and 1.2 times the target.
    target = 0.01 * 0.2 * max(step.shape) ** 0.5
    values = torch.linalg.svdvals(step) / target
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_the_first_layer_the_last_and_the_norms_are_adamws():
    model, optimizer = trained("muon", 0)
    assert [p is model[2].weight for p in optimizer.param_groups[0]["params"]] == [True]
    adamw, _ = trained("adamw", 1)
    muon, _ = trained("muon", 1)
    for index in (0, 1, 4):
        assert torch.equal(adamw[index].weight, muon[index].weight)
    assert not torch.equal(adamw[2].weight, muon[2].weight)


def test_a_network_without_hidden_matrices_gets_adamw():
    assert isinstance(make_optimizer(nn.Linear(3, 2), "muon", 0.1, 0.0), torch.optim.AdamW)


@pytest.mark.parametrize(
    ("model", "name", "message"),
    [(nn.Linear(2, 2), "moun", "did you mean 'muon'"), (nn.ReLU(), "muon", "no trainable")],
)
def test_refusals(model, name, message):
    with pytest.raises(DfkdError, match=message):
        make_optimizer(model, name, 0.1, 0.0)


def test_muon_is_an_optimizer_like_others():
    model, optimizer = trained("muon", 1)
    hidden = optimizer.param_groups[0]
    assert hidden["weight_decay"] == 5e-4
    assert list(optimizer.state[hidden["params"][0]]) == ["momentum_buffer"]
    assert optimizer.state[model[0].weight]["exp_avg"].shape == model[0].weight.shape
    before = copy.deepcopy(model.state_dict())

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(2, 1, 8, 8)).square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) > 0
    assert not torch.equal(before["2.weight"], model[2].weight)
    # Each group has its own rate.
    hidden["lr"], before = 0.0, copy.deepcopy(model.state_dict())
    optimizer.step()
    assert torch.equal(before["2.weight"], model[2].weight)
    assert not torch.equal(before["0.weight"], model[0].weight)


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (8, 8)])
def test_one_step_is_torchs_own_but_for_its_rounding(shape):
    torch.manual_seed(0)
    weight, gradient = torch.randn(shape), torch.randn(shape)
    theirs, ours, last = (nn.Parameter(weight.clone()) for _ in range(3))
    first = nn.Parameter(torch.ones(2, 2))
    for parameter in (theirs, ours):
        parameter.grad = gradient.clone()
    torch.optim.Muon([theirs], 0.1, 0.01, adjust_lr_fn="match_rms_adamw").step()
    network = nn.ParameterList([first, ours, last])
    make_optimizer(network, "muon", 0.1, 0.01).step()
    # bfloat16 keeps 8 bits, through five iterations.
    assert (ours - theirs).norm() <= 2e-2 * (theirs - weight).norm()


def test_orthogonal_is_near_the_polar_factor():
    torch.manual_seed(0)
    matrix = torch.randn(5, 30)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert (
        torch.nn.functional.cosine_similarity(
            orthogonal(matrix).flatten(), (left @ right).flatten(), dim=0
        )
        > 0.95
    )
