"""Copies of whatever comes; who shares memory is told by the bytes; siblings are no twins."""

import threading

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from dfkd.errors import DfkdError
from dfkd.networks import initialise, resnet, vgg
from dfkd.networks.copying import check_separate, copy_network, trying
from dfkd.networks.fingerprint import fingerprint
from dfkd.networks.layers import feature_maps
from dfkd.networks.modes import set_mode
from dfkd.networks.siblings import redrawn
from support.networks import NETWORKS, SPEC, Net, RefersToItself, Uncopyable, seasoned

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")


class Refuses(Net):
    def __deepcopy__(self, memo):
        raise RuntimeError("one of me is enough")


def addresses(network):
    return {value.data_ptr() for value in network.state_dict().values()}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_copy_answers_alike_and_shares_no_weight(name):
    network = seasoned(name)
    set_mode(network, False)
    if name in ("test-time norms", "flagged norms"):
        network(torch.rand(2, 1, 8, 8))
    before, images = fingerprint(network), torch.rand(2, 1, 8, 8)
    twin = copy_network(network)
    assert addresses(twin).isdisjoint(addresses(network))
    assert torch.equal(twin(images), copy_network(network)(images))
    with torch.no_grad():
        for value in twin.parameters():
            value.add_(1)
    twin.train()
    twin(images).sum().backward()  # what is computed is computed from the copy's own
    assert name in ("test-time norms", "flagged norms") or fingerprint(network) == before
    assert all(value.grad is None for value in network.parameters())
    assert any(value.grad is not None for value in twin.parameters())


def test_what_cannot_be_copied_is_shared_and_nothing_else():
    network = Uncopyable()
    network.listed = [torch.ones(2), {"lock": threading.Lock(), "tensor": torch.zeros(3)}]
    twin = copy_network(network)
    assert twin.lock is network.lock
    assert twin.items is network.items
    assert twin.listed[1]["lock"] is network.listed[1]["lock"]
    assert twin.listed[1]["tensor"] is not network.listed[1]["tensor"]
    assert twin.random is not network.random


def test_what_knows_the_network_knows_the_copy():
    network = RefersToItself()
    twin = copy_network(network)
    assert twin.helper is not network.helper
    assert twin.helper.network is twin


def test_who_refuses_to_be_copied_is_quoted_and_tried_in_place():
    network = Refuses().train()
    with pytest.raises(DfkdError, match=r"cannot be copied .RuntimeError: one of me is enough"):
        copy_network(network)
    before, random = fingerprint(network), torch.get_rng_state()
    with trying(network) as trial:
        assert trial is network
        set_mode(trial, False)
        trial.train()
        trial.norm.eval()
        trial(torch.rand(4, 1, 8, 8))
        with torch.no_grad():
            trial.head.weight.fill_(torch.rand(()))
    assert fingerprint(network) == before
    assert all(module.training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), random)


def slice_of(network):
    student = Net()
    student.head.bias = nn.Parameter(network.head.weight.data.flatten()[3:7])
    return student


def with_buffer_of(network):
    student = Net()
    student.norm.running_var = network.norm.running_var[:]
    return student


def with_layer_of(network):
    student = Net()
    student.norm = network.norm
    return student


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda network: network, "'conv.weight'"),
        (with_layer_of, "'norm.weight'"),
        (with_buffer_of, "'norm.running_var' is the teacher's own 'norm.running_var'"),
        (slice_of, "'head.bias' is the teacher's own 'head.weight'"),
        (lambda network: nn.Sequential(nn.Identity(), network.head), "'1.weight' .*'head.weight'"),
    ],
)
def test_a_student_in_the_teachers_memory_is_refused(build, named):
    network = Net()
    with pytest.raises(DfkdError, match=f"{named}.*copy.deepcopy") as refusal:
        check_separate(network, build(network))
    assert len(str(refusal.value)) <= 300
    check_separate(network, copy_network(network))


def test_neighbours_in_one_memory_are_separate():
    whole = torch.rand(2, 4, 8)
    one, other = Net(), Net()
    one.head.weight, other.head.weight = (nn.Parameter(part) for part in whole)
    check_separate(one, other)
    check_separate(Net().to("meta"), Net().to("meta"))


@pytest.mark.parametrize("name", ["old weight_norm", "old spectral_norm", "pruned", "orthogonal",
                                  "new weight_norm", "new spectral_norm", "plain"])  # fmt: skip
def test_siblings_start_from_other_weights_in_every_layer(name):
    network = seasoned(name)
    images = torch.rand(2, 1, 8, 8)
    twins = [redrawn(copy_network(network), seed).train() for seed in (1, 1, 2)]
    first, again, other = ([t.conv.weight, t.head.weight] for t in twins if t(images) is not None)
    network(images)
    for mine, same, theirs, was in zip(
        first, again, other, [network.conv.weight, network.head.weight], strict=True
    ):
        assert torch.equal(mine, same)
        assert not torch.equal(mine, theirs)
        assert not torch.equal(mine, was)
        assert 0.2 < mine.std() / was.std() < 5


def test_layers_without_a_reset_are_drawn_by_what_they_have():
    network = VisionTransformer(32, 16, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8)
    tokens = "class_token"  # zeros say nothing of how to draw them
    was = {name: value.clone() for name, value in network.named_parameters()}
    redrawn(network, 3)
    same = {n for n, value in network.named_parameters() if torch.equal(value, was[n])}
    assert {name for name in same if was[name].ndim > 1} == {tokens}


@pytest.mark.parametrize("build", [lambda: resnet(8, 1, 4), lambda: vgg((4, 8), 1, 1, 4)])
def test_ordinary_siblings_are_drawn_as_ever(build):
    mine, theirs = redrawn(build(), 5), initialise(build(), 5)
    assert fingerprint(mine) == fingerprint(theirs)


def test_a_weight_that_no_draw_reaches_is_refused():
    class Fixed(nn.Module):
        def forward(self, weight):
            return torch.arange(weight.numel(), dtype=weight.dtype).view_as(weight)

    network = Net()
    nn.utils.parametrize.register_parametrization(network.conv, "weight", Fixed())
    with pytest.raises(DfkdError, match=r"'conv.weight' cannot be drawn anew.*scheme_config.peers"):
        redrawn(network, 0)


def test_a_computed_weight_is_no_feature_map():
    maps = feature_maps(seasoned("new weight_norm"), SPEC.normalize(torch.rand(2, 1, 8, 8)))
    assert list(maps) == ["conv", "norm"]
