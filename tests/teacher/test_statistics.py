"""The fused taps against the slow twin: every kind of layer, layout, precision and aliasing."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from dfkd.bench.reference import hooked_statistics, norm_loss
from dfkd.losses.statistics import norm_distance
from dfkd.networks import resnet
from dfkd.networks.layers import clean_name
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec
from dfkd.teacher.statistics import BatchStatistics, mean_and_variance, statistics_layers

SPEC = ImageSpec(3, 6, 6, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
C = 5


class Reshape(nn.Module):
    """N x ... -> N x shape."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(len(x), *self.shape)


class Twice(nn.Module):
    """One batch-norm at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(C)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(torch.tanh(self.bn(x)) * 2)


class OverwritesInput(nn.Module):
    """Changes the batch-norm's input in place after the layer has read it."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = FrozenBatchNorm2d(C)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * 1.5
        y = self.bn(x)
        return y + x.relu_().mul_(3)


def around(*middle: nn.Module, width: int = C * 36) -> nn.Sequential:
    """A small classifier with ``middle`` in it, which sees N x 5 x 6 x 6."""
    return nn.Sequential(
        nn.Conv2d(3, C, 3, padding=1), *middle, nn.Flatten(), nn.Tanh(), nn.Linear(width, 4)
    )


NETWORKS = {
    "1d, N x C": lambda: around(nn.Flatten(), nn.Linear(180, C), nn.BatchNorm1d(C), width=C),
    "1d, N x C x L": lambda: around(Reshape(C, 36), nn.BatchNorm1d(C)),
    "2d": lambda: around(nn.BatchNorm2d(C)),
    "2d, a whole ResNet": lambda: resnet(20, 3, 4),
    "2d, in-place ReLU after": lambda: around(nn.BatchNorm2d(C), nn.ReLU(inplace=True)),
    "2d, not affine": lambda: around(nn.BatchNorm2d(C, affine=False)),
    "3d": lambda: around(Reshape(C, 3, 2, 6), nn.BatchNorm3d(C)),
    "sync": lambda: around(nn.SyncBatchNorm(C)),
    "frozen": lambda: around(FrozenBatchNorm2d(C)),
    "timm": lambda: around(BatchNormAct2d(C, inplace=True)),
    "instance norm": lambda: around(nn.InstanceNorm2d(C, track_running_stats=True)),
    "twice": lambda: around(Twice()),
    "input overwritten": lambda: around(OverwritesInput()),
}


def remember(network: nn.Module) -> nn.Module:
    """Give every layer statistics of its own that are not those of the batch."""
    for layer in statistics_layers(network).values():
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    return network


def compare(network: nn.Module, dtype: torch.dtype, layout: torch.memory_format) -> float:
    """Largest relative error of gradient and statistics against the twin."""
    teacher = Teacher(remember(network), SPEC)
    network.to(dtype, memory_format=layout)
    images = torch.rand((7, *SPEC.shape), dtype=dtype).contiguous(memory_format=layout)
    images.requires_grad_()

    layers = list(statistics_layers(network).values())
    _, calls = hooked_statistics(network, layers, SPEC.normalize(images))
    (expected,) = torch.autograd.grad(norm_loss(calls), images)

    trace = teacher.trace(images, statistics=True)
    (found,) = torch.autograd.grad(norm_distance(trace.statistics), images)
    assert len(trace.statistics) == len(calls)
    errors = [(found - expected).norm() / expected.norm()]
    for layer, (_, mean, var) in zip(trace.statistics, calls, strict=True):
        errors += [(layer.mean - mean).norm() / mean.norm(), (layer.var - var).norm() / var.norm()]
    return max(error.item() for error in errors)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_and_statistics_are_the_twins(name, layout):
    torch.manual_seed(0)
    assert compare(NETWORKS[name](), torch.float32, layout) < 1e-4
    assert compare(NETWORKS[name](), torch.float64, layout) < 1e-12


def test_layers_are_found_by_their_buffers():
    network = nn.Sequential(
        nn.BatchNorm2d(3), FrozenBatchNorm2d(3), BatchNormAct2d(3), nn.SyncBatchNorm(3),
        nn.BatchNorm2d(3, track_running_stats=False), nn.GroupNorm(1, 3), nn.LayerNorm(3),
    )  # fmt: skip
    assert list(statistics_layers(network)) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda n: torch.compile(n, backend="eager")])
def test_wrappers_leave_names_and_numbers_alone(wrap):
    network = remember(around(nn.BatchNorm2d(C)))
    images = torch.rand(4, *SPEC.shape)
    (bare,) = Teacher(network, SPEC).trace(images, statistics=True).statistics
    wrapped = Teacher(wrap(network), SPEC)
    wrapped(images)  # compiled code that is in use already must not hide the layers
    (layer,) = wrapped.trace(images, statistics=True).statistics
    assert layer.name == bare.name == "1"
    torch.testing.assert_close(layer.mean, bare.mean)


def test_names_without_wrappers():
    assert clean_name("module._orig_mod.layer1.bn") == "layer1.bn"
    assert clean_name("backbone._orig_mod.bn") == "backbone.bn"
    assert clean_name("my_module.bn") == "my_module.bn"


def test_a_layer_called_twice_is_recorded_twice():
    trace = Teacher(around(Twice()), SPEC).trace(torch.rand(4, *SPEC.shape), statistics=True)
    assert [layer.name for layer in trace.statistics] == ["1.bn", "1.bn@1"]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_large_mean_does_not_cancel_a_small_deviation(layout):
    torch.manual_seed(0)
    z = (1000 + 0.1 * torch.randn(16, 4, 9, 9)).contiguous(memory_format=layout)
    mean, var = mean_and_variance(z)
    exact_var, exact_mean = torch.var_mean(z.double(), (0, 2, 3), correction=0)
    torch.testing.assert_close(mean.double(), exact_mean, rtol=1e-5, atol=0)
    torch.testing.assert_close(var.double(), exact_var, rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "shape", [(7, 3), (4, 3, 5), (3, 2, 4, 5), (2, 2, 3, 3, 2), (1, 2), (2, 2, 1)]
)
def test_both_derivatives_are_right(shape):
    z = torch.randn(shape, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(BatchStatistics.apply, z)
    assert torch.autograd.gradgradcheck(BatchStatistics.apply, z)


def test_an_input_that_is_a_slice():
    z = torch.randn(4, 3, 8, 9)[:, :, ::2, 1:]
    var, mean = torch.var_mean(z, (0, 2, 3), correction=0)
    torch.testing.assert_close(mean_and_variance(z), (mean, var))


def test_devices_without_the_kernel_take_the_slow_way():
    mean, var = mean_and_variance(torch.empty((2, 3, 4), device="meta", dtype=torch.bfloat16))
    assert mean.shape == var.shape == (3,)
    assert mean.dtype == var.dtype == torch.float32


def test_statistics_are_float32_under_autocast():
    torch.manual_seed(0)
    teacher = Teacher(remember(around(nn.BatchNorm2d(C))), SPEC)
    images = torch.rand((64, *SPEC.shape), requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        trace = teacher.trace(images, statistics=True)
        (layer,) = trace.statistics
        z = teacher.network[0](SPEC.normalize(images))
    assert z.dtype == torch.bfloat16
    assert layer.mean.dtype == layer.var.dtype == torch.float32
    # Sums of bfloat16 numbers in bfloat16 would be off in the third digit.
    var, mean = torch.var_mean(z.double(), (0, 2, 3), correction=0)
    torch.testing.assert_close(layer.mean.double(), mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(layer.var.double(), var, rtol=1e-5, atol=1e-6)
    norm_distance(trace.statistics).backward()
    assert images.grad.isfinite().all()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_statistics_without_gradients(mode):
    teacher = Teacher(around(OverwritesInput()), SPEC)
    with mode():
        trace = teacher.trace(torch.rand(4, *SPEC.shape), statistics=True)
    assert not trace.statistics[0].mean.requires_grad


def test_stored_statistics_are_the_teachers_own_and_stay():
    network = remember(around(nn.BatchNorm2d(C)))
    before = network[1].running_mean.clone(), network[1].running_var.clone()
    images = torch.rand((4, *SPEC.shape), requires_grad=True)
    (layer,) = Teacher(network, SPEC).trace(images, statistics=True).statistics
    norm_distance((layer,)).backward()
    assert layer.running_mean is network[1].running_mean
    assert torch.equal(layer.running_mean, before[0])
    assert torch.equal(layer.running_var, before[1])
