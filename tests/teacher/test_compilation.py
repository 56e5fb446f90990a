"""The compiled pass: the slow twin's gradients, no graph break, nothing compiled twice."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._dynamo.utils import counters

import dfkd
from dfkd.bench.reference import hooked_statistics, norm_loss
from dfkd.errors import DfkdError
from dfkd.losses.statistics import norm_distance
from dfkd.networks import resnet
from dfkd.teacher import Teacher
from dfkd.teacher.compilation import Workload, compile_teacher
from dfkd.teacher.folding import fold
from dfkd.teacher.spec import ImageSpec

SPEC = ImageSpec(3, 12, 12, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
SHAPE = (4, *SPEC.shape)


class Small(nn.Module):
    """A norm that folds, one that is used twice, an in-place activation after each."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.twice = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.twice(self.first(x)), inplace=True)
        return self.head(self.twice(x).mean((2, 3)))


def teacher():
    torch.manual_seed(0)
    network = Small()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(16, 3, 12, 12))
    return Teacher(network, SPEC)


def gradient(asked, images):
    pixels = images.clone().requires_grad_()
    trace = asked.trace(pixels, statistics=True)
    (trace.logits.logsumexp(1).mean() + norm_distance(trace.statistics)).backward()
    return pixels.grad, trace


def test_compiled_equals_the_slow_twin_in_one_graph():
    slow = teacher()
    folded, reasons = fold(slow)
    assert list(map(bool, reasons.values())) == [False, True]
    torch._dynamo.reset()
    counters.clear()
    fast, used, reason = compile_teacher(folded, "on", Workload((SHAPE,)))[:3]
    assert used, reason
    images = torch.rand(SHAPE)
    for layout in (torch.contiguous_format, torch.channels_last):
        found, trace = gradient(fast, images.contiguous(memory_format=layout))
    assert counters["graph_break"] == {}
    assert counters["stats"]["unique_graphs"] == 1
    pixels = images.clone().requires_grad_()
    layers = list(slow.layers.values())
    logits, calls = hooked_statistics(slow.network, layers, SPEC.normalize(pixels))
    (logits.logsumexp(1).mean() + norm_loss(calls)).backward()
    assert (found - pixels.grad).norm() <= 1e-3 * pixels.grad.norm()
    assert [s.name for s in trace.statistics] == ["first.1", "twice", "twice@1"]
    for record, expected in zip(trace.statistics, calls, strict=True):
        torch.testing.assert_close(record.var, expected.var, rtol=1e-3, atol=1e-5)
    # Another shape is not compiled for: it takes the eager way.
    assert len(fast.trace(torch.rand(2, *SPEC.shape), statistics=True).statistics) == 3
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_what_does_not_pay_stays_eager(mode):
    eager = teacher()
    result = compile_teacher(eager, mode, Workload((SHAPE,), seconds=1.0))
    assert result.teacher is eager
    assert not result.used
    assert result.reason == ("as asked" if mode == "off" else result.reason)
    assert mode == "off" or "would take about 22 s to save about 0 s" in result.reason


def test_without_a_compiler_one_warning_and_the_eager_pass(monkeypatch, tmp_path):
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    eager = teacher()
    with pytest.warns(UserWarning, match="nothing is compiled") as warned:
        result = compile_teacher(eager, "on", Workload((SHAPE,)))
    assert result.teacher is eager
    assert len([w for w in warned if "nothing is compiled" in str(w.message)]) == 1


def test_a_number_of_traces_is_weighed_by_the_time_of_one():
    result = compile_teacher(teacher(), "auto", Workload((SHAPE,), traces=3))
    assert not result.used
    assert 0 < result.seconds < 5


def test_unknown_modes_are_refused():
    with pytest.raises(DfkdError, match="`compile`"):
        compile_teacher(teacher(), "maybe", Workload((SHAPE,)))


def test_a_network_that_says_why_it_cannot_be_is_not_tried(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("tried"))
    several = [Teacher(resnet(8, 1, 2).eval(), ImageSpec(1, 8, 8), names) for names in ("ab", "cd")]
    both = fold(dfkd.ensemble(several, "classes")).teacher
    found = compile_teacher(both, "on", Workload(((4, 1, 8, 8),), seconds=1e6))
    assert (found.teacher, found.used) == (both, False)
    assert "compared by hooks" in found.reason
