"""Folding: the same answers, statistics and gradients; whatever cannot be folded says why."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune
from torchvision.models import mobilenet_v2, resnet18
from torchvision.ops import FrozenBatchNorm2d

import dfkd
from dfkd import recipes
from dfkd.bench.reference import hooked_statistics, norm_loss
from dfkd.loading import load_teacher
from dfkd.losses.statistics import norm_distance
from dfkd.networks import resnet, vgg
from dfkd.networks.layers import INPUT_SUFFIX, last_map, named_layers
from dfkd.networks.pairing import embedding_layer, pair_layers
from dfkd.runs import loop
from dfkd.teacher import Teacher
from dfkd.teacher.folding import fold
from dfkd.teacher.spec import ImageSpec

SPEC = ImageSpec(3, 32, 32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))


class Preactivated(nn.Module):
    """The first convolution's output goes to the norm and past it."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv, self.norm2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.norm2(self.conv(F.relu(self.norm1(x))))
        return self.head(F.relu(x).mean((2, 3)))


class Repeated(nn.Module):
    """One convolution and one norm, used twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        x = self.norm(self.conv(F.relu(self.norm(self.conv(x)))))
        return self.head(x.mean((2, 3)))


def plain(norm, *after):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, groups=1, bias=False), norm, *after, nn.Flatten(), nn.LazyLinear(4)
    )


NETWORKS = {
    # network, norms that fold, norms that do not
    "resnet": (lambda: resnet(8, 3, 4), 9, 0),
    "vgg, in-place activations": (lambda: vgg((8, 16), 1, 3, 4), 2, 0),
    "depthwise": (lambda: mobilenet_v2(num_classes=4, width_mult=0.1), 52, 0),
    "convolution read twice": (Preactivated, 1, 1),
    "layers used twice": (Repeated, 0, 1),
    "no convolution before": (lambda: nn.Sequential(nn.BatchNorm2d(3), plain(nn.ReLU())), 0, 1),
    "frozen norm": (lambda: plain(FrozenBatchNorm2d(8)), 1, 0),
    "norm without weights": (lambda: plain(nn.BatchNorm2d(8, affine=False)), 1, 0),
    "functional in-place activation": (lambda: plain(nn.BatchNorm2d(8), InPlace()), 1, 0),
    "no norm at all": (lambda: plain(nn.ReLU()), 0, 0),
}


class InPlace(nn.Module):
    def forward(self, x):
        return F.relu(x, inplace=True)


def seasoned(build):
    """A teacher whose norms have seen images and whose affine parameters are not 1 and 0."""
    torch.manual_seed(0)
    network = build()
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(16, 3, 32, 32))
        for value in network.parameters():
            if value.ndim == 1:
                value.add_(0.2 * torch.randn_like(value))
        for name, value in network.named_buffers():
            if "frozen" not in name and value.ndim == 1:
                value.add_(0.1 * torch.rand_like(value))
    return Teacher(network, SPEC)


def pixels_gradient(teacher, images):
    pixels = images.clone().requires_grad_()
    trace = teacher.trace(pixels, statistics=True)
    loss = trace.logits.logsumexp(1).mean()
    if trace.statistics:
        loss = loss + norm_distance(trace.statistics)
    loss.backward()
    return pixels.grad


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("case", NETWORKS)
def test_folded_and_slow_twin_agree(case):
    build, folded_layers, others = NETWORKS[case]
    teacher = seasoned(build)
    before = teacher.fingerprint()
    folded, reasons = fold(teacher)
    assert sum(not reason for reason in reasons.values()) == folded_layers
    assert sum(map(bool, reasons.values())) == others
    assert list(folded.layers) == list(teacher.layers) == list(reasons)
    images = torch.rand(4, 3, 32, 32)
    pixels = images.clone().requires_grad_()
    layers = list(teacher.layers.values())
    logits, calls = hooked_statistics(teacher.network, layers, SPEC.normalize(pixels))
    (logits.logsumexp(1).mean() + (norm_loss(calls) if calls else 0)).backward()
    assert relative(pixels_gradient(folded, images), pixels.grad) <= 1e-3
    trace = folded.trace(images, statistics=True)
    torch.testing.assert_close(trace.logits, logits, rtol=1e-3, atol=1e-4)
    for ours, theirs in zip(trace.statistics, calls, strict=True):
        torch.testing.assert_close(ours.mean, theirs.mean, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(ours.var, theirs.var, rtol=1e-3, atol=1e-4)
        assert torch.equal(ours.running_var, theirs.layer.running_var)
    assert teacher.fingerprint() == before


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, FrozenBatchNorm2d])
def test_bf16_stays_close(norm):
    # No activation: rounding moves some values over a kink, and a network of this size without
    # any norm is then already 3.6e-2 away from its float32 gradient.
    teacher = seasoned(lambda: plain(norm(8)))
    images = torch.rand(8, 3, 32, 32)
    expected = pixels_gradient(teacher, images)
    with torch.autocast("cpu", torch.bfloat16):
        found = pixels_gradient(fold(teacher).teacher, images)
    assert relative(found, expected) <= 3e-2


def test_a_scale_next_to_nothing_is_not_folded():
    teacher = seasoned(lambda: plain(nn.BatchNorm2d(8)))
    with torch.no_grad():
        teacher.network[1].weight[3] = 0
    folded, reasons = fold(teacher)
    assert folded is teacher
    assert "next to nothing" in reasons["1"]


def test_a_kind_of_its_own_is_not_folded():
    class NormAndActivation(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    teacher = seasoned(lambda: plain(NormAndActivation(8)))
    assert "may do more" in fold(teacher).reasons["1"]


def test_the_original_is_shared_with_nobody():
    teacher = seasoned(lambda: vgg((8, 8), 1, 3, 4))
    before = copy.deepcopy(teacher.network.state_dict())
    folded = fold(teacher).teacher
    with torch.no_grad():
        for value in (*folded.network.parameters(), *folded.network.buffers()):
            value.fill_(0)
    assert all(torch.equal(before[name], v) for name, v in teacher.network.state_dict().items())


def within(teacher, name, images):
    return teacher.trace(images, features=[name]).features[name]


LOOKED_INTO = {
    "resnet": lambda: load_teacher("bundled:fashion_resnet20"),
    "vgg": lambda: load_teacher("bundled:digits_vgg"),
    "mobilenet": lambda: seasoned(lambda: mobilenet_v2(num_classes=4, width_mult=0.25)),
    "torchvision's resnet": lambda: seasoned(lambda: resnet18(num_classes=4)),
}


@pytest.mark.parametrize("case", LOOKED_INTO)
def test_folding_changes_no_layer_that_is_found_by_itself(case):
    teacher = LOOKED_INTO[case]()
    folded, images = fold(teacher).teacher, torch.rand(2, *teacher.spec.shape)
    grey, found = teacher.spec.normalize(images), []
    for network in (teacher.network, folded.network):
        maps = [name for name, _ in pair_layers(network, network, grey)]
        ends = last_map(network, grey), embedding_layer(network, teacher.task.widths, grey)
        found.append([*maps, *ends])
    assert found[0] == found[1]
    for name in found[0]:
        expected = within(teacher, name, images)
        torch.testing.assert_close(within(folded, name, images), expected, rtol=1e-3, atol=1e-3)


def test_layers_that_a_user_names_are_the_teachers_own(monkeypatch):
    teacher, student, asked = load_teacher("bundled:digits_vgg"), vgg((4, 4), 1, 1, 10), []
    build = loop.build_distiller

    def spy(asked_one, *arguments):
        distiller = build(asked_one, *arguments)
        asked.append(distiller.learners[0].teacher)
        return distiller

    monkeypatch.setattr(loop, "build_distiller", spy)
    names = [name + side for name in named_layers(teacher.network) for side in ("", INPUT_SUFFIX)]
    names = [name for name in names if name.startswith("stages.0.") or name == "head.input"]
    plan = recipes.override(recipes.recipe("drawings"), ["learner.knowledge=kd + at"])
    plan = recipes.override(plan, ["learner.pairs=[teacher.stages.0.0=student.stages.0.0]"])
    plan = recipes.override(plan, ["alternation.batch_size=4"])
    dfkd.distill(teacher, student, recipe=plan, steps=1, device="cpu")
    images = torch.rand(2, 1, 8, 8)
    for name in names:
        assert torch.equal(within(asked[0], name, images), within(teacher, name, images)), name


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize(
    "compute",
    [nn.utils.weight_norm, nn.utils.spectral_norm, nn.utils.parametrizations.weight_norm,
     lambda layer: prune.l1_unstructured(layer, "weight", 0.5)],
    ids=["weight_norm", "spectral_norm", "parametrized", "pruned"],
)  # fmt: skip
@pytest.mark.parametrize("layer", ["convolution", "norm"])
def test_computed_weights_are_not_folded(compute, layer):
    def build():
        network = plain(nn.BatchNorm2d(8))
        network(torch.rand(2, 3, 32, 32))
        if layer == "norm":
            prune.l1_unstructured(network[1], "weight", 0.5)
        else:
            compute(network[0])
        return network

    teacher = seasoned(build)
    folded, reasons = fold(teacher)
    assert folded is teacher
    assert reasons == {"1": "its weights or its convolution's are computed"}


def test_a_convolution_of_its_own_kind_is_not_folded():
    class Padded(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) + 1

    def build():
        network = plain(nn.BatchNorm2d(8))
        network[0] = Padded(3, 8, 3)
        return network

    assert fold(seasoned(build)).reasons == {"1": "its convolution is of a kind of its own"}


def test_who_cannot_be_copied_is_used_as_it_is():
    class Once(nn.Sequential):
        def __deepcopy__(self, memo):
            raise RuntimeError("one of me is enough")

    teacher = seasoned(lambda: Once(*plain(nn.BatchNorm2d(8))))
    folded, reasons = fold(teacher)
    assert folded is teacher
    assert "cannot be copied (RuntimeError: one of me is enough)" in reasons["1"]


def test_a_forward_that_is_bound_to_the_original_folds_nothing(tiny_teacher):
    """A copy of it runs the original's layers: it is found out, and answers stay what they are."""
    forward = tiny_teacher.network.forward
    tiny_teacher.network.forward = lambda x: forward(x)
    images = torch.rand(4, 1, 8, 8)
    found = fold(tiny_teacher)
    torch.testing.assert_close(found.teacher(images), tiny_teacher(images))
    assert all(found.reasons.values())
