"""Other people's networks, one row each: as teacher and as student, from the door to the file."""

import threading

import pytest
import torch
import torch.nn.functional as F
from test_methods import small
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import dfkd
from dfkd.datasets import LabelledImages
from dfkd.networks.fingerprint import fingerprint
from dfkd.recipes.probe import probe
from dfkd.runs.inversion import invert
from dfkd.teacher import Teacher
from dfkd.teacher.layout import layout_of
from dfkd.teacher.spec import ImageSpec
from dfkd.training.checkpoint import load

SPEC = ImageSpec(1, 8, 8, (0.4,), (0.3,))

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")


class Net(nn.Module):
    """A convolution, a norm and a classifier of what they see."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def maps(self, x):
        return F.relu(self.norm(self.conv(x)))

    def forward(self, x):
        return self.head(self.maps(x).mean((2, 3)))


class View(Net):
    """What most tutorials write."""

    def __init__(self):
        super().__init__()
        self.end, self.head = nn.Conv2d(8, 4, 3), nn.Linear(4 * 4, 4)

    def forward(self, x):
        x = F.relu(self.end(F.max_pool2d(self.maps(x), 2)))
        return self.head(x.view(x.size(0), -1))


class ViewInTraining(Net):
    """DropBlock and its like look at the maps in training mode alone."""

    def forward(self, x):
        x = self.maps(x)
        if self.training:
            x = x * (x.view(len(x), -1).mean(1) > -1).float()[:, None, None, None]
        return self.head(x.mean((2, 3)))


class Volume(Net):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv3d(1, 8, 3, padding=1), nn.BatchNorm3d(8)

    def forward(self, x):
        return self.head(self.maps(x[:, None]).mean((2, 3, 4)))


class Rank5(Net):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 1, 1, 1, 1))

    def forward(self, x):
        return super().forward(x) * self.scale.flatten()


class Uncopyable(Net):
    def __init__(self):
        super().__init__()
        self.lock, self.items = threading.Lock(), (number for number in range(3))
        self.kept = {"handle": open(__file__), "deep": [threading.Lock()]}  # noqa: SIM115
        self.random = torch.Generator()


class RefersToItself(Net):
    """What helps it knows it; what cannot be copied comes after."""

    class Helper:
        def __init__(self, network):
            self.network = network

    def __init__(self):
        super().__init__()
        self.helper = self.Helper(self)
        self.lock = threading.Lock()

    def forward(self, x):
        return self.head(self.helper.network.maps(x).mean((2, 3)))


class KeepsItsMaps(Net):
    """What its last pass went through stays, with its graph."""

    def maps(self, x):
        self.last = super().maps(x)
        self.all = {"maps": [self.last]}
        return self.last


class Silent(Net):
    """None of its methods that torch's own return the network from returns anything."""

    def train(self, mode=True):
        super().train(mode)
        self.norm.training = False

    def eval(self):
        super().train(False)

    def to(self, *arguments, **keywords):
        super().to(*arguments, **keywords)

    def requires_grad_(self, requires_grad=True):
        super().requires_grad_(requires_grad)

    def cpu(self):
        super().cpu()


class Sized(Net):
    """Empty to whoever asks for its truth."""

    def __len__(self):
        return 0


class Always(Net):
    """Knows one mode."""

    def train(self, mode=True):
        return super().train(True)


class AtTestTime(Net):
    """Adapts its norms to each batch."""

    def forward(self, x):
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train()
        return super().forward(x)


class Flagged(Net):
    """The same without asking ``train``, and without a trace of it afterwards."""

    def forward(self, x):
        self.norm.training = True
        logits = super().forward(x)
        self.norm.training = False
        return logits


class AtMost64(Net):
    def forward(self, x):
        if len(x) > 64:
            raise RuntimeError("at most 64 at once, please")
        return super().forward(x)


def with_weights(change):
    def build():
        network = Net()
        change(network.conv)
        return network

    return build


NETWORKS = {
    "plain": Net,
    "view": View,
    "view in training": ViewInTraining,
    "conv3d": Volume,
    "rank 5": Rank5,
    "old weight_norm": with_weights(weight_norm),
    "old spectral_norm": with_weights(spectral_norm),
    "pruned": with_weights(lambda conv: prune.l1_unstructured(conv, "weight", 0.5)),
    "new weight_norm": with_weights(parametrizations.weight_norm),
    "new spectral_norm": with_weights(parametrizations.spectral_norm),
    "orthogonal": with_weights(parametrizations.orthogonal),
    "uncopyable": Uncopyable,
    "refers to itself": RefersToItself,
    "keeps its maps": KeepsItsMaps,
    "returns nothing": Silent,
    "no length": Sized,
    "always training": Always,
    "test-time norms": AtTestTime,
    "flagged norms": Flagged,
    "at most 64": AtMost64,
}
CONTIGUOUS = ("view", "conv3d")
HELD = ("always training", "test-time norms", "flagged norms")


def seasoned(name):
    """Such a network whose norms have seen images, as its user has it: in training mode."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(16, 1, 8, 8))
    network(torch.rand(16, 1, 8, 8))  # what computes its weights now has some that are no leaves
    return network


def quick():
    return small("default")


def real(count=90):
    images = torch.randint(0, 255, (count, 1, 8, 8), dtype=torch.uint8)
    return LabelledImages(images, torch.arange(count) % 4, "noise")


def modes(network):
    return [module.training for module in network.modules()]


@pytest.mark.parametrize("name", NETWORKS)
def test_as_a_teacher(name, tiny_student, tmp_path):
    network = seasoned(name)
    came, kinds, before = modes(network), list(map(type, network.modules())), fingerprint(network)
    teacher = Teacher(network, SPEC)
    assert bool(teacher.held) == (name in HELD)
    images = torch.rand(5, 1, 8, 8)
    expected = teacher(images)
    facts = probe(teacher)
    assert {layer.unfolded for layer in facts.layers if name in HELD} <= {teacher.held}
    result = dfkd.distill(
        teacher, tiny_student, recipe=quick(), steps=2, evaluation=real(), device="cpu",
        batch_size="32", out=tmp_path / "run",
    )  # fmt: skip
    assert result.figures["student_steps"] == 2
    assert layout_of(network) is (
        torch.contiguous_format if name in CONTIGUOUS else torch.channels_last
    )
    torch.testing.assert_close(teacher(images), expected, rtol=1e-3, atol=1e-4)
    picture = invert(teacher, [0, 1], 2, steps=2)
    assert picture.shape == (2, 1, 8, 8)
    assert fingerprint(network) == before
    assert teacher.restore() is network
    assert modes(network) == came
    assert list(map(type, network.modules())) == kinds
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_as_a_student(name, tiny_teacher, tmp_path):
    student = seasoned(name)
    start = {key: value.clone() for key, value in student.state_dict().items()}
    result = dfkd.distill(
        tiny_teacher, student, recipe=quick(), steps=2, evaluation=real(), device="cpu",
        batch_size="32", out=tmp_path / "run", curve=2, init="random",
    )  # fmt: skip
    still = {name for name, p in student.named_parameters() if torch.equal(p, start[name])}
    assert not still
    assert (tmp_path / "run" / "student.safetensors").is_file()
    assert load(tmp_path / "run" / "checkpoint")
    kept = result.student
    assert not any(modes(kept))
    images = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        answers = kept(SPEC.normalize(images))
    state = kept.state_dict()
    assert answers.shape == (3, 4)
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())


def test_a_student_of_no_length_goes_on_where_it_was(tiny_teacher, tmp_path):
    torch.manual_seed(0)
    states = []
    for steps, resume in ((1, False), (3, True)):
        torch.manual_seed(0)
        result = dfkd.distill(
            tiny_teacher, Sized(), recipe=quick(), steps=steps, device="cpu",
            out=tmp_path / "run", resume=resume,
        )  # fmt: skip
        states.append(result.student.state_dict())
    assert result.figures["student_steps"] == 3
    assert not torch.equal(states[0]["conv.weight"], states[1]["conv.weight"])
