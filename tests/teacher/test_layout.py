"""The order in memory is found by trying, and nothing of the network moves for it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import mobilenet_v2

from dfkd.distillation.learner_config import LearnerConfig
from dfkd.evaluation.accuracy import predictions
from dfkd.networks import resnet, vgg
from dfkd.networks.fingerprint import fingerprint
from dfkd.protocols import Batch
from dfkd.recipes.schemes import build_distiller
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward, student_prediction
from dfkd.teacher.layout import FLAT, Layout, fitted, lay_out, layout_of, settle, to_layout
from dfkd.teacher.recompute import recomputing
from dfkd.teacher.spec import ImageSpec
from support.networks import SPEC, Net, View, ViewInTraining, Volume

WIDE, PLAIN = torch.channels_last, torch.contiguous_format


class BackwardView(torch.autograd.Function):
    """Fine forwards; its gradient goes by the order in memory."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.view(len(gradient), -1).view(gradient.shape)


class InBackward(Net):
    def __init__(self):
        super().__init__()
        self.end = nn.Conv2d(8, 8, 3)

    def maps(self, x):
        return self.end(BackwardView.apply(super().maps(x)))


class ReadsMemory(Net):
    """No error: another order is another answer."""

    def forward(self, x):
        x = self.maps(x)
        return self.head(x.as_strided((len(x), 8, 64), (8 * 64, 64, 1)).amax(2))


class Noisy(Net):
    """Answers by chance, in any order."""

    def forward(self, x):
        return super().forward(x) + 10 * torch.randn(len(x), 4)


class InColour(View):
    """The same of colour images, whose order is to be seen in the strides."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)


class ViewOfImages(InColour):
    """Looks at the images themselves; later it is all the same to it."""

    def forward(self, x):
        x = self.maps(x) + x.view(len(x), -1).mean()
        return self.head(F.max_pool2d(self.end(F.max_pool2d(x, 2)), 1).flatten(1))


class WideOnly(Net):
    """Flattens what lies channels_last."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8 * 64, 4)

    def forward(self, x):
        return self.head(self.maps(x).permute(0, 2, 3, 1).view(len(x), -1))


ORDERS = {
    # network, the layout it runs in, what is said of it
    "resnet": (lambda: resnet(8, 1, 4), WIDE, ""),
    "vgg": (lambda: vgg((4, 8), 1, 1, 4), WIDE, ""),
    "answers by chance": (Noisy, WIDE, ""),
    "channels_last alone": (WideOnly, WIDE, ""),
    "view": (View, PLAIN, "RuntimeError: view size is not compatible"),
    "view in training": (ViewInTraining, PLAIN, "RuntimeError: view size is not compatible"),
    "view in backward": (InBackward, PLAIN, "RuntimeError: view size is not compatible"),
    "reads memory": (ReadsMemory, PLAIN, "it answers otherwise in channels_last"),
    "rank 5": (Volume, PLAIN, "no weights that lie in planes"),
    "rank 2": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), PLAIN, "no weights that lie"),
}


@pytest.mark.parametrize("came", [PLAIN, WIDE], ids=["came plain", "came wide"])
@pytest.mark.parametrize("case", ORDERS)
def test_a_trial_decides_and_leaves_no_trace(case, came):
    build, order, reason = ORDERS[case]
    torch.manual_seed(0)
    network = build().train()
    lay_out(network, channels_last=came is WIDE)
    network.eval() if case == "vgg" else None
    next(network.parameters()).grad = gradient = torch.ones_like(next(network.parameters()))
    list(network.parameters())[-1].requires_grad_(False)
    before, modes = fingerprint(network), [m.training for m in network.modules()]
    learning = [p.requires_grad for p in network.parameters()]
    random = torch.get_rng_state()
    found = settle(network, SPEC, "cpu")
    assert found.channels_last == (order is WIDE)
    assert reason in found.reason
    assert bool(reason) == bool(found.reason)
    assert layout_of(network) is order
    assert torch.equal(torch.get_rng_state(), random)
    assert fingerprint(network) == before
    assert [m.training for m in network.modules()] == modes
    assert [p.requires_grad for p in network.parameters()] == learning
    assert next(network.parameters()).grad is gradient
    assert all(p.grad is None for p in list(network.parameters())[1:])


@pytest.mark.parametrize("build", [InColour, ViewOfImages])
def test_whoever_feeds_a_network_gives_it_its_layout(build):
    spec, wide = ImageSpec(3, 8, 8), torch.rand(6, 3, 8, 8).to(memory_format=WIDE)
    torch.manual_seed(0)
    teacher = Teacher(resnet(8, 3, 4), spec).to("cpu")
    student = build()
    assert "view size" in settle(student, spec, "cpu").reason
    assert student(wide.contiguous()).shape == (6, 4)
    with pytest.raises(RuntimeError, match="view size"):
        student(wide)
    distiller = build_distiller(teacher, student, LearnerConfig(), 0)
    distiller.update(Batch(wide))
    logits = PairedForward(teacher, ())(wide, student).student.logits
    expected = student_prediction(student.eval(), teacher, wide).logits
    torch.testing.assert_close(logits, expected)
    bytes_ = wide.mul(255).byte()
    assert bytes_.is_contiguous(memory_format=WIDE)
    assert predictions(distiller.finished(), spec, bytes_).shape == (6, 4)
    taught = Teacher(build(), spec).to("cpu")
    expected = taught(wide.contiguous())
    images = wide.clone().requires_grad_()
    for asked_one in (taught, recomputing(taught)):
        trace = asked_one.trace(images, statistics=True)
        torch.testing.assert_close(trace.logits, expected)


def test_strides_tell_the_layout_after_copies_and_steps():
    for order in (WIDE, PLAIN):
        network = vgg((4, 8), 1, 1, 4)  # one channel: both orders hold the same numbers
        lay_out(network, channels_last=order is WIDE)
        assert layout_of(network) is order
        twin = copy.deepcopy(network)
        twin.load_state_dict(vgg((4, 8), 1, 1, 4).state_dict())
        optimizer = torch.optim.SGD(twin.parameters(), 0.1)
        twin(torch.rand(2, 1, 8, 8)).sum().backward()
        optimizer.step()
        assert layout_of(twin) is order


def test_what_is_already_so_keeps_its_memory():
    network = settled = mobilenet_v2(num_classes=4)
    spec = ImageSpec(3, 32, 32)
    assert settle(settled, spec, "cpu").channels_last
    places = [p.data_ptr() for p in network.parameters()]
    settle(settled, spec, "cpu")
    assert [p.data_ptr() for p in network.parameters()] == places


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 8, 8), (2, 3, 1, 1), (2, 1, 1, 1)])
def test_images_lie_as_a_layer_reads_them(shape):
    images = torch.rand(shape).to(memory_format=WIDE).requires_grad_()
    plain = to_layout(images, PLAIN)
    assert plain.stride() == torch.rand(shape).stride()
    assert torch.equal(plain, images)
    plain.sum().backward()
    assert torch.equal(images.grad, torch.ones(shape))
    assert fitted(images, WIDE) is images
    maps = nn.Conv2d(shape[1], 4, 1)(plain)
    assert maps.stride() == torch.rand(maps.shape).stride()


def test_a_teacher_is_tried_once_and_says_what_came_of_it(monkeypatch):
    teacher = Teacher(View(), SPEC)
    assert teacher.layout is None
    wide = torch.rand(3, 1, 8, 8).to(memory_format=WIDE)
    expected = teacher(wide)
    teacher.to("cpu")
    assert "view size" in teacher.layout.reason
    monkeypatch.setattr("dfkd.teacher.frozen.settle", lambda *_, **__: pytest.fail("tried again"))
    lay_out(teacher.network, channels_last=True)
    torch.testing.assert_close(teacher.to("cpu")(wide), expected)
    assert layout_of(teacher.network) is PLAIN
    assert teacher.like(teacher.network).layout == teacher.layout


def test_a_layout_is_said_only_where_it_is_out_of_the_ordinary():
    assert Layout(True).told("the teacher") == ""
    assert Layout(False, FLAT).told("the student") == ""
    said = Layout(False, "RuntimeError: view").told("the student")
    assert said == "the student stays in its own memory layout: RuntimeError: view"


def test_a_convolution_that_corrupts_memory_in_channels_last_is_never_tried():
    narrow = nn.Sequential(nn.Conv2d(4, 4, 1, 2), nn.Flatten(), nn.Linear(64, 3))
    layout = settle(narrow, ImageSpec(4, 8, 8), "cpu")
    assert not layout.channels_last
    assert "not safe" in layout.told("the student")
    wide = nn.Sequential(nn.Conv2d(8, 4, 1, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert settle(wide, ImageSpec(8, 8, 8), "cpu").channels_last
