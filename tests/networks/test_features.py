"""What is seen inside a network: the layers that match, and their outputs and inputs."""

from functools import partial

import pytest
import torch
from torch import nn

from dfkd.errors import DfkdError
from dfkd.networks import resnet, vgg
from dfkd.networks.fingerprint import fingerprint
from dfkd.networks.layers import classifier, feature_maps, named_layers, open_features
from dfkd.networks.pairing import checked_pairs, pair_layers


def images(channels: int = 1, side: int = 16) -> torch.Tensor:
    return torch.randn(4, channels, side, side, generator=torch.Generator().manual_seed(0))


class Small(nn.Module):
    """A feature whose next layer works in place, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        return self.head(self.relu(self.conv(x)).mean((2, 3)))


def test_the_ends_of_stages_are_paired_large_ones_first():
    pairs = pair_layers(resnet(8, 1, 10), resnet(20, 1, 10), images())
    assert pairs == (("layer1", "layer1"), ("layer2", "layer2"), ("layer3", "layer3"))
    pairs = pair_layers(vgg((4, 8), 1, 1, 10), resnet(20, 1, 10), images())
    assert pairs == (("stages.0", "layer1"), ("stages.1", "layer2"))
    pairs = pair_layers(vgg((4,), 1, 1, 10), resnet(8, 1, 10), images(side=13))
    assert pairs == (("stages.0", "layer1"),)


def test_networks_without_a_common_size_are_refused_in_one_line():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    with pytest.raises(DfkdError, match="size") as refusal:
        pair_layers(flat, resnet(8, 1, 10), images())
    assert "\n" not in str(refusal.value)


def test_looking_for_maps_changes_nothing():
    network = resnet(8, 1, 10).train()
    network.layer1.eval()
    before, modes = fingerprint(network), [module.training for module in network.modules()]
    shapes = feature_maps(network, images())
    assert list(shapes)[-1] == "layer3"
    assert shapes["layer2"] == (4, 32, 8, 8)
    assert fingerprint(network) == before
    assert [module.training for module in network.modules()] == modes
    assert not any(module._forward_hooks for module in network.modules())


def test_a_layer_that_is_called_twice_counts_at_its_last_call():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (nn.Conv2d(1, 1, 3, padding=1) for _ in range(2))
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(self.second(self.relu(self.first(x)))).mean((2, 3))

    assert list(feature_maps(Twice(), images())) == ["first", "second", "relu"]


def test_inputs_and_outputs_of_layers():
    network, x = Small().eval(), images()
    with open_features(named_layers(network), ["conv", "conv.input", "head.input"], "x") as seen:
        logits = network(x)
    assert torch.equal(seen["conv.input"], x)
    assert torch.equal(seen["conv"], network.conv(x))
    assert torch.equal(network.head(seen["head.input"]), logits)
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


@pytest.mark.parametrize("name", ["conv", "relu.input"])
def test_an_activation_in_place_does_not_overwrite_what_was_captured(name):
    network = Small()
    expected = network.conv(images())
    assert expected.min() < 0
    with open_features(named_layers(network), [name], "student") as seen:
        logits = network(images())
    assert torch.equal(seen[name], expected)
    torch.testing.assert_close(logits, network(images()))
    (gradient,) = torch.autograd.grad(logits[:, 2].sum(), seen[name])
    weight = network.head.weight[2][None, :, None, None] / 256
    torch.testing.assert_close(gradient, weight * (expected > 0))


def test_logits_have_a_gradient_for_every_pair():
    network = resnet(8, 1, 10)
    names = ["layer1", "layer2", "layer3"]
    with open_features(named_layers(network), names, "student") as seen:
        logits = network(images())
    for gradient in torch.autograd.grad(logits.sum(), [seen[name] for name in names]):
        assert gradient.abs().max() > 0


def test_the_last_linear_layer_of_that_width_gives_the_logits():
    assert classifier(resnet(8, 1, 10), [10]) == "fc"
    assert classifier(nn.Sequential(nn.Linear(3, 10), nn.Linear(10, 10)), [10, 1]) == "1"
    with pytest.raises(DfkdError, match="7 outputs"):
        classifier(resnet(8, 1, 10), [7])


def test_a_wrong_name_suggests_the_nearest_and_no_hook_stays():
    network = Small()
    with (
        pytest.raises(DfkdError, match=r"'covn' in the student; did you mean 'conv'\?"),
        open_features(named_layers(network), ["head", "covn"], "student"),
    ):
        pass
    assert not network.head._forward_hooks


def test_a_layer_that_is_never_called_is_named_and_no_hook_stays():
    network = vgg((4, 8), 1, 1, 10)  # its stages are a list
    for name in ("stages", "stages.input"):
        with (
            pytest.raises(DfkdError, match=f"teacher never calls its layer '{name}'") as refusal,
            open_features(named_layers(network), [name], "teacher"),
        ):
            network(images())
        assert "\n" not in str(refusal.value)
    assert not network.stages._forward_hooks


def test_a_network_that_fails_is_left_in_its_mode():
    class Failing(nn.Sequential):
        def forward(self, x):
            raise RuntimeError("whatever")

    network, pairs = Failing(nn.ReLU()).train(), (("0", "0"),)
    for look in (feature_maps, partial(checked_pairs, pairs, nn.Sequential(nn.ReLU()))):
        with pytest.raises(RuntimeError, match="whatever"):
            look(network, images())
        assert all(module.training for module in network.modules())


def test_features_must_be_tensors():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    network = nn.Sequential(Pair())
    with (
        pytest.raises(DfkdError, match="'0' returns a tuple"),
        open_features(named_layers(network), ["0"], "teacher"),
    ):
        network(images())
