"""A student that watches in train mode answers as in train mode and comes out as it went in."""

import copy

import pytest
import torch
from torch import nn

from dfkd.networks import resnet
from dfkd.networks.fingerprint import fingerprint
from dfkd.networks.modes import eval_mode, frozen


def norms() -> nn.Module:
    """Norms that track, that do not, and that have only gathered no statistics."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.InstanceNorm2d(4, track_running_stats=True, affine=True),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.BatchNorm2d(4, momentum=None),
        nn.InstanceNorm2d(4),
        nn.Flatten(),
        nn.Linear(4 * 36, 3),
    )


class Frozen(nn.Module):
    """torchvision's FrozenBatchNorm2d in short: running statistics and no switch."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.ones(3))
        self.register_buffer("running_var", torch.ones(3))

    def forward(self, x):
        return (x - self.running_mean) / self.running_var.sqrt() + self.training


def images() -> torch.Tensor:
    return 2 + torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("network", [lambda: resnet(8, 1, 3), norms], ids=["resnet", "norms"])
@pytest.mark.parametrize("training", [True, False])
def test_it_answers_in_that_mode_and_nothing_of_it_moves(network, training):
    torch.manual_seed(0)
    student = network()
    student(images())
    student.train(not training)
    student[0].eval() if isinstance(student, nn.Sequential) else student.layer1.eval()
    next(student.parameters()).requires_grad_(False)
    plain = copy.deepcopy(student).train(training)
    before, names = fingerprint(student), list(student.state_dict())
    modes = [module.training for module in student.modules()]
    learning = [parameter.requires_grad for parameter in student.parameters()]
    flags = [getattr(module, "track_running_stats", None) for module in student.modules()]
    x = images().requires_grad_()
    for _ in range(2):
        with frozen(student, training=training):
            logits = student(x)
        assert torch.equal(logits, plain(x))
        logits.square().sum().backward()
    assert fingerprint(student) == before
    assert list(student.state_dict()) == names
    assert (fingerprint(plain) != before) == training  # there was something to move
    assert [module.training for module in student.modules()] == modes
    assert [parameter.requires_grad for parameter in student.parameters()] == learning
    assert [getattr(m, "track_running_stats", None) for m in student.modules()] == flags
    assert all(parameter.grad is None for parameter in student.parameters())
    assert x.grad.abs().sum() > 0


def test_buffers_are_the_same_tensors_afterwards():
    student = norms()
    buffers = dict(student.named_buffers())
    with frozen(student, training=True):
        student(images())
    assert all(value is buffers[name] for name, value in student.named_buffers())


def test_frozen_norms_stay_in_eval_mode():
    student = nn.Sequential(Frozen(), nn.Dropout(0.5)).train()
    with frozen(student, training=True):
        assert not student[0].training
        assert student[1].training
        assert not student[0](torch.ones(3)).any()
    assert student[0].training


def test_networks_are_evaluated_and_have_their_modes_again():
    one, other = resnet(8, 1, 3).train(), norms().train()
    one.layer1.eval()
    modes = [module.training for network in (one, other) for module in network.modules()]
    with eval_mode(one, other):
        assert not any(m.training for network in (one, other) for m in network.modules())
    assert [m.training for network in (one, other) for m in network.modules()] == modes
    with pytest.raises(RuntimeError), eval_mode(one, other):
        one(torch.ones(1, 7, 8, 8))
    assert [m.training for network in (one, other) for m in network.modules()] == modes


@pytest.mark.parametrize("training", [True, False])
def test_an_error_inside_leaves_the_student_as_it_was(training):
    student = resnet(8, 1, 3).train(not training)
    with pytest.raises(RuntimeError), frozen(student, training=training):
        student(torch.ones(1, 7, 8, 8))
    assert student.training is not training
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert student.bn1.track_running_stats
    assert student.bn1.running_mean is not None
