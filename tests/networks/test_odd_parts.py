"""Networks whose parts are no plain float32 tensors: as teacher, as student, and refused."""

import warnings

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import dfkd
from dfkd.errors import DfkdError
from dfkd.evaluation.heldout import HeldOut
from dfkd.evaluation.peculiarities import find_peculiarities
from dfkd.loading import check_student
from dfkd.networks.copying import same_values
from dfkd.networks.fingerprint import fingerprint
from dfkd.networks.readiness import own_type, take_float32, widen
from dfkd.recipes.probe import probe
from dfkd.runs.inversion import invert
from dfkd.teacher import Teacher
from support.methods import small
from support.networks import SPEC, Net


class Lazy(Net):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.LazyConv2d(8, 3, padding=1), nn.LazyBatchNorm2d()
        self.head = nn.LazyLinear(4)


class ExtraState(Net):
    def get_extra_state(self):
        return {"seen": 3, "names": ["a"]}

    def set_extra_state(self, state):
        self.told = state


class Tied(Net):
    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.second.weight = self.first.weight

    def maps(self, x):
        return self.second(self.first(super().maps(x)).relu())


class VolumeBeside(Net):
    def __init__(self):
        super().__init__()
        self.volume = nn.Conv3d(1, 1, 1)

    def forward(self, x):
        return super().forward(self.volume(x[:, None])[:, 0])


def buffered(make):
    def build():
        network = Net()
        network.register_buffer("odd", make())
        return network

    return build


NETWORKS = {
    "lazy": Lazy,
    "extra state": ExtraState,
    "tied": Tied,
    "volume beside": VolumeBeside,
    "float8": buffered(lambda: torch.ones(3).to(torch.float8_e4m3fn)),
    "sparse": buffered(lambda: torch.eye(3).to_sparse()),
    "mask": buffered(lambda: torch.full((2, 2), float("-inf")).triu(1)),
    "complex": buffered(lambda: torch.ones(2, dtype=torch.complex64)),
    "double": lambda: Net().double(),
    "half": lambda: Net().half(),
    "bfloat16": lambda: Net().bfloat16(),
    "data parallel": lambda: nn.DataParallel(Net()),
    "compiled": lambda: torch.compile(Net(), backend="eager"),
    "compiled half": lambda: torch.compile(Net().half(), backend="eager"),
}


def made(name):
    torch.manual_seed(0)
    return NETWORKS[name]()


def quantised():
    return torch.ao.quantization.quantize_dynamic(Net().eval(), {nn.Linear}, torch.qint8)


def distil(teacher, student, **options):
    return dfkd.distill(
        teacher, student, recipe=small("redraw"), steps=2, device="cpu", batch_size="32", **options
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_as_a_teacher_with_odd_parts(name, tiny_student):
    network = made(name)
    teacher = Teacher(network, SPEC)
    before, kinds = fingerprint(network), [value.dtype for value in network.parameters()]
    assert probe(teacher).layers
    assert distil(teacher, tiny_student).figures["student_steps"] == 2
    assert invert(teacher, [0, 1], 2, steps=2).shape == (2, 1, 8, 8)
    assert fingerprint(network) == before
    assert teacher.restore() is network
    assert [value.dtype for value in network.parameters()] == kinds
    assert not any(module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_as_a_student_with_odd_parts(name, tiny_teacher, tmp_path):
    result = distil(tiny_teacher, made(name), out=tmp_path / "run", init="random")
    assert result.figures["student_steps"] == 2
    kept = load_file(tmp_path / "run" / "student.safetensors")
    assert all(value.dtype is torch.float32 for key, value in kept.items() if "conv" in key)
    said = [line for line in result.figures["decisions"] if "kept, in float32" in line]
    assert len(said) == (name in ("double", "half", "bfloat16", "compiled half"))
    with torch.no_grad():
        assert result.student(torch.rand(3, 1, 8, 8)).isfinite().all()


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
def test_quantised_parts_answer_and_do_not_learn(tiny_student, tiny_teacher):
    teacher = Teacher(quantised(), SPEC)
    probe(teacher)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*an autograd kernel was not registered")
        result = distil(teacher, tiny_student)
    assert any("carry no gradient to the image" in line for line in result.figures["decisions"])
    with pytest.raises(DfkdError, match=r"'head' is quantised \(Linear\) and cannot learn"):
        check_student(quantised(), tiny_teacher)


def test_a_lazy_layer_that_nobody_calls_is_named(tiny_teacher):
    network = Net()
    network.aside = nn.LazyLinear(3)
    for refused in (lambda: Teacher(network, SPEC), lambda: check_student(network, tiny_teacher)):
        with pytest.raises(DfkdError, match="never calls its lazy layer of 'aside"):
            refused()


def answering(change):
    class Changed(Net):
        def forward(self, x):
            return change(super().forward(x), x)

    return Changed()


@pytest.mark.parametrize("change", [lambda y, x: y * float("nan"), lambda y, x: y - float("inf")])
def test_answers_that_are_no_numbers_are_said_to_be_the_networks(change, tiny_teacher):
    network = answering(change)
    with pytest.raises(DfkdError, match="the teacher answers NaN or infinity to any image"):
        Teacher(network, SPEC)
    assert network.training
    with pytest.raises(DfkdError, match="the student answers NaN or infinity to any image"):
        check_student(answering(change), tiny_teacher)


def test_who_divides_by_an_images_spread_has_no_answer_to_grey_alone(tiny_teacher):
    def divided(y, x):
        return y + 0 * (x / x.std((1, 2, 3), keepdim=True)).mean((1, 2, 3))[:, None]

    Teacher(answering(divided), SPEC)
    check_student(answering(divided), tiny_teacher)


def test_answers_that_are_no_numbers_now_and_then_are_counted(tiny_teacher):
    logits = torch.randn(5, 4)
    logits[2, 1] = float("nan")
    images = torch.zeros(5, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(DfkdError, match="answers 1 of 5 images with NaN"):
        find_peculiarities(tiny_teacher, HeldOut(images, logits, {"noise": 5}))


@pytest.mark.parametrize("name", ["running_var", "weight"])
def test_an_infinite_weight_is_no_mask(name):
    network = Net()
    getattr(network.norm, name).data[0] = float("inf")
    with pytest.raises(DfkdError, match=f"NaN or infinity .first in 'norm.{name}'"):
        Teacher(network, SPEC)


def test_a_nan_in_a_buffer_is_no_mask():
    with pytest.raises(DfkdError, match="first in 'odd'"):
        Teacher(buffered(lambda: torch.tensor([float("nan")]))(), SPEC)


def test_types_are_those_that_all_parameters_have():
    network = Net().half()
    assert own_type(network) is torch.half
    network.head.float()
    assert own_type(network) is torch.float32
    assert own_type(nn.Flatten()) is torch.float32
    assert take_float32(Net()) is None
    assert widen(Net()) == ""


def test_a_double_teacher_is_refused_by_a_device_without_doubles():
    with pytest.raises(DfkdError, match=r"float64, which mps has not: call \.float\(\)"):
        Teacher(Net().double(), SPEC).to("mps")


class OnlyThere(Net):
    def forward(self, x):
        assert x.device.type == "meta", "CUDA only"
        return super().forward(x)


def test_a_student_is_tried_on_the_device_that_it_will_run_on(tiny_teacher):
    student = OnlyThere()
    check_student(student, tiny_teacher, "meta")
    assert student.head.weight.device.type == "cpu"
    with pytest.raises(DfkdError, match="CUDA only") as refusal:
        check_student(student, tiny_teacher)
    assert "choose another" not in str(refusal.value)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (torch.ones(2).to(torch.float8_e4m3fn), torch.ones(2).to(torch.float8_e4m3fn), True),
        (torch.ones(2).to(torch.float8_e4m3fn), torch.zeros(2).to(torch.float8_e4m3fn), False),
        (torch.eye(2).to_sparse(), torch.eye(2).to_sparse(), True),
        (torch.eye(2).to_sparse(), (2 * torch.eye(2)).to_sparse(), False),
        (torch.eye(2).to_sparse(), torch.eye(2), False),
        (torch.ones(2), torch.ones(2).half(), False),
    ],
)
def test_values_of_any_kind_are_compared(one, other, same):
    assert same_values(one, other) is same
