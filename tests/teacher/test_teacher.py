"""The teacher's contract: frozen, unchanged, and clear about what does not fit."""

import pytest
import torch
from torch import nn

from dfkd.errors import DfkdError
from dfkd.networks import resnet, vgg
from dfkd.networks.fingerprint import fingerprint
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec

SPEC = ImageSpec(3, 8, 8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def images(count: int = 4) -> torch.Tensor:
    return torch.rand((count, *SPEC.shape), requires_grad=True)


def hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_freezing_and_restoring_every_flag():
    network = resnet(8, 3, 5).train()
    network.layer1.eval()
    network.fc.bias.requires_grad_(False)
    modes = [module.training for module in network.modules()]
    gradients = [parameter.requires_grad for parameter in network.parameters()]
    teacher = Teacher(network, SPEC)
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert teacher.restore() is network
    assert [module.training for module in network.modules()] == modes
    assert [parameter.requires_grad for parameter in network.parameters()] == gradients


def test_a_refused_network_comes_back_as_it_was():
    network = resnet(8, 3, 5).train()
    with pytest.raises(DfkdError):
        Teacher(network, ImageSpec(1, 8, 8))
    assert network.training
    assert network.fc.weight.requires_grad


@pytest.mark.parametrize("disturb", [lambda n: None, nn.Module.train, lambda n: n.layer2.train()])
def test_nothing_of_the_network_moves(disturb):
    network = resnet(8, 3, 5)
    teacher = Teacher(network, SPEC)
    before = teacher.fingerprint()
    for _ in range(3):
        disturb(network)
        trace = teacher.trace(images(), statistics=True, features=["layer2"])
        (trace.logits.square().sum() + sum(s.var.sum() for s in trace.statistics)).backward()
        disturb(network)
        teacher(images()).sum().backward()
    assert teacher.fingerprint() == before
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_fingerprint_sees_one_changed_number_a_name_and_a_shape():
    network = nn.Sequential(nn.BatchNorm1d(4))
    before = fingerprint(network)
    network[0].running_var[2] += 1e-6
    assert fingerprint(network) != before
    assert fingerprint(nn.ParameterDict({"a": torch.ones(2, 3)})) != fingerprint(
        nn.ParameterDict({"a": torch.ones(3, 2)})
    )
    assert fingerprint(nn.ParameterDict({"a": torch.ones(2)})) != fingerprint(
        nn.ParameterDict({"b": torch.ones(2)})
    )
    assert fingerprint(nn.DataParallel(network)) == fingerprint(network)


def test_images_are_normalised_once():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))
    batch = images()
    expected = network((batch - 0.5) / 0.25)
    torch.testing.assert_close(Teacher(network, SPEC)(batch), expected)
    torch.testing.assert_close(Teacher(network, SPEC).trace(batch).logits, expected)


def test_a_trace_shows_what_was_asked_for():
    teacher = Teacher(resnet(8, 3, 5), SPEC, "abcde")
    bare = teacher.trace(images())
    assert bare.statistics == ()
    assert bare.features == {}
    trace = teacher.trace(images(), statistics=True, features=["layer1", "layer3.0"])
    assert [s.name for s in trace.statistics] == list(teacher.layers)
    assert {name: f.shape for name, f in trace.features.items()} == {
        "layer1": (4, 16, 8, 8),
        "layer3.0": (4, 64, 2, 2),
    }
    assert teacher.class_names == ("a", "b", "c", "d", "e")


def test_a_feature_is_the_output_even_if_an_activation_overwrites_it():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(256, 3)
    )
    batch = images()
    trace = Teacher(network, SPEC).trace(batch, features=["0"])
    torch.testing.assert_close(trace.features["0"], network[0](SPEC.normalize(batch)))
    assert trace.features["0"].min() < 0
    trace.features["0"].sum().backward()
    assert batch.grad.abs().sum() > 0


def test_an_unknown_feature_suggests_the_nearest_name():
    teacher = Teacher(resnet(8, 3, 5), SPEC)
    with pytest.raises(DfkdError, match=r"'layr3' in the teacher; did you mean 'layer3'\?"):
        teacher.trace(images(), features=["layr3"])


class Fails(nn.Module):
    """Works until it is told not to."""

    broken = False

    def forward(self, x):
        if self.broken:
            raise RuntimeError("out of order")
        return x


def test_no_hook_is_left_behind_whatever_happens():
    network = nn.Sequential(vgg((4, 8), 1, 3, 5), Fails())
    teacher = Teacher(network, SPEC)
    teacher.trace(images(), statistics=True, features=["0.stages.1"])
    assert hooks(network) == 0
    with pytest.raises(DfkdError):
        teacher.trace(images(), statistics=True, features=["0.stages.1", "nowhere"])
    assert hooks(network) == 0
    network[1].broken = True
    with pytest.raises(DfkdError, match="RuntimeError: out of order"):
        teacher.trace(images(), statistics=True, features=["0.stages.1"])
    assert hooks(network) == 0


class Dictionary(nn.Module):
    def forward(self, x):
        return {"a": x.flatten(1), "b": x}


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (vgg((4,), 1, 1, 5), "does not accept 3x8x8 images .*`image`"),
        (nn.Sequential(nn.Flatten(), nn.Linear(10, 5)), "does not accept 3x8x8 images"),
        (nn.Conv2d(3, 5, 1), r"must return N x classes logits .* not \(2, 5, 8, 8\)"),
        (Dictionary(), "no logits in .* a dict of a, b; call the answer `logits`"),
    ],
)
def test_networks_that_do_not_fit(network, message):
    with pytest.raises(DfkdError, match=message):
        Teacher(network, SPEC)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("tensor", ["bn1.running_var", "fc.weight"])
def test_weights_that_are_not_numbers(value, tensor):
    network = resnet(8, 3, 5)
    network.state_dict()[tensor].view(-1)[1] = value
    with pytest.raises(DfkdError, match=f"NaN or infinity .*{tensor}"):
        Teacher(network, SPEC)


def test_class_names_are_counted():
    with pytest.raises(DfkdError, match="4 class names for 5 classes"):
        Teacher(resnet(8, 3, 5), SPEC, "abcd")


def test_a_teacher_without_statistics_is_told_what_to_use():
    teacher = Teacher(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), SPEC)
    said = "deep_inversion matches .*give a `prior`.*`method=drawings`"
    with pytest.raises(DfkdError, match=said):
        teacher.require_statistics("deep_inversion")
    Teacher(resnet(8, 3, 5), SPEC).require_statistics("deep_inversion")


def test_a_feature_must_be_a_tensor():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Dictionary()

        def forward(self, x):
            return self.inner(x)["a"]

    with pytest.raises(DfkdError, match="'inner' returns a dict"):
        Teacher(Wrapped(), SPEC).trace(images(), features=["inner"])
