"""Devices and processes: two real gloo processes against one."""

import copy
import json
import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from torch import nn

from dfkd.errors import DfkdError
from dfkd.training import devices, distributed
from dfkd.training.distributed import synchronise_batchnorm

SCRIPT = """
import atexit, json, sys, torch
import torch.distributed as dist
atexit.register(lambda: print("in a group to the end" if dist.is_initialized() else "left"))
import dfkd
import dfkd
from dfkd.distillation.schemes import offline
from dfkd.training.budget import Alternation
from dfkd.networks import initialise, vgg
from dataclasses import replace
losses = []
update = offline.Offline.update
def spy(self, batch):
    metrics = update(self, batch)
    losses.append(float(sum(v for name, v in metrics.items() if not name.endswith("agreement"))))
    return metrics
offline.Offline.update = spy
teacher = dfkd.load_teacher("bundled:digits_vgg")
student = initialise(vgg((8, 16), 1, 1, 10), 3)
plan = replace(dfkd.recipe("drawings"), alternation=Alternation(batch_size=32), init="random")
if len(sys.argv) > 2:
    learner = dict(knowledge=sys.argv[2], optimizer="sgd", ema=0.0, warmup=0.0)
    plan = replace(plan, learner=replace(plan.learner, **learner))
result = dfkd.distill(teacher, student, recipe=plan, steps=20, precision="fp32", device="cpu",
                     devices=int(sys.argv[1]))
from dfkd.training.distributed import is_first
if dist.is_initialized():
    total = torch.tensor(losses); dist.all_reduce(total); losses = (total / 2).tolist()
if is_first():
    state = result.student.state_dict()
    sizes = [float(value.double().abs().sum()) for value in state.values()]
    spent = result.figures["teacher_forwards"], sum(result.figures["class_counts"])
    print(json.dumps([losses, sizes, spent]))
"""


def losses(tmp_path, devices, launcher=()):
    return trained(tmp_path, devices, launcher)[0]


def trained(tmp_path, devices, launcher=(), words=()):
    """The losses of every step, the sizes of the student's tensors at the end, what it took."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(devices), *words],
        capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    # Whoever is still in a group when the interpreter ends aborts now and then.
    assert "in a group to the end" not in done.stdout
    return json.loads([line for line in done.stdout.splitlines() if line.startswith("[")][-1])


def test_two_processes_train_as_one(tmp_path):
    alone, together = (trained(tmp_path, devices) for devices in (1, 2))
    assert len(alone[0]) == len(together[0]) == 20
    assert together[0] == pytest.approx(alone[0], abs=1e-4)
    # Images shown to the teacher, and answers counted: all of them, not one process's share.
    assert together[2] == alone[2]
    assert alone[2][1] == 20 * 32


def test_torchrun_trains_as_one(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
    assert losses(tmp_path, 2, launcher) == pytest.approx(losses(tmp_path, 1), abs=1e-4)


def test_relations_and_gradients_are_those_of_the_whole_batch(tmp_path):
    # Every kind that compares images with each other, each with a weight that is felt, and the one
    # that differentiates the step twice.
    words = ("kd + rkd + 300*sp + 100*cc + crd + 10*grad_cam + hint + dist + 30*pkt + ofd",)
    alone, together = (trained(tmp_path, devices, words=words) for devices in (1, 2))
    assert together[0] == pytest.approx(alone[0], rel=1e-3)
    assert together[1] == pytest.approx(alone[1], rel=1e-4, abs=1e-5)


@pytest.mark.slow
def test_knowledge_may_leave_a_part_of_the_student_alone(tmp_path):
    # What looks at features only has no gradient for the classifier.
    alone, together = (trained(tmp_path, devices, words=("10*hint",)) for devices in (1, 2))
    assert together[0] == pytest.approx(alone[0], rel=1e-3)
    assert together[1] == pytest.approx(alone[1], rel=1e-4, abs=1e-5)


@pytest.fixture
def processes(monkeypatch):
    """Make this process the first of several, whose sums ``others(values)`` completes."""

    def pretend(count, others=lambda values: None):
        monkeypatch.setattr(dist, "is_initialized", lambda: True)
        monkeypatch.setattr(dist, "get_world_size", lambda: count)
        monkeypatch.setattr(dist, "get_rank", lambda: 0)
        monkeypatch.setattr(dist, "all_reduce", others)

    return pretend


def test_synchronised_batchnorm_keeps_its_state_and_class_and_copies_apart(processes):
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)).eval()
    images = torch.rand(4, 1, 5, 5)
    expected, names = network(images), list(network.state_dict())
    synchronise_batchnorm(network)
    assert torch.equal(network(images), expected)
    assert list(network.state_dict()) == names
    assert type(network[1]) is nn.BatchNorm2d
    processes(1)
    other = copy.deepcopy(network).train()
    other(images)
    assert other[1].num_batches_tracked == 1
    assert network[1].num_batches_tracked == 0


@pytest.mark.parametrize(
    "options",
    [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}],
    ids=["as it comes", "without weights", "mean of all batches", "without memory"],
)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_synchronised_batchnorm_equals_torch_in_training(options, offset, processes):
    processes(1)
    shared, plain = nn.BatchNorm2d(3, **options), nn.BatchNorm2d(3, **options)
    synchronise_batchnorm(shared)
    for seed in range(3):
        images = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) + offset
        # A float near 1e4 is known to 1e-3.
        torch.testing.assert_close(
            shared(images), plain(images), rtol=1e-5, atol=1e-5 + offset / 4e6
        )
    for ours, theirs in zip(shared.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_torchs_own_synchronised_norm_runs_on_a_cpu_as_well(processes):
    processes(1)
    shared, plain = nn.SyncBatchNorm(3), nn.BatchNorm2d(3)
    synchronise_batchnorm(shared)
    images = torch.rand(4, 3, 5, 5)
    torch.testing.assert_close(shared(images), plain(images))
    torch.testing.assert_close(shared.eval()(images), plain.eval()(images))


def test_the_variance_of_all_is_exact_where_a_difference_of_squares_is_none(processes):
    # Two processes hold 10^4 - 1, 10^4 + 1 and 10^4 + 2, 10^4 + 4: means 10^4 and 10^4 + 3, both
    # variances 1; together 1 + 1.5^2. In float32 E[x^2] - E[x]^2 is a multiple of 8.
    processes(2, lambda rows: rows[1].copy_(torch.tensor([[1.0], [1e4 + 3]])))
    norm = nn.BatchNorm1d(1, momentum=1.0, eps=0.0)
    synchronise_batchnorm(norm)
    ours = norm(torch.tensor([[1e4 - 1], [1e4 + 1]]))
    assert norm.running_mean.item() == 1e4 + 1.5
    assert norm.running_var.item() == pytest.approx(3.25 * 4 / 3, rel=1e-6)  # unbiased
    expected = torch.tensor([[-2.5], [-0.5]]) / 3.25**0.5
    torch.testing.assert_close(ours.detach(), expected)


@pytest.mark.parametrize(("name", "where"), [("device", "tpu"), ("precision", "fp8")])
def test_unknown_places_are_refused(name, where):
    with pytest.raises(DfkdError, match=where):
        distributed.init(**{"device": "cpu", name: where})


@pytest.mark.parametrize("native", [True, False])
def test_volumes_are_convolved_in_float32_on_a_cpu(native, monkeypatch):
    """Of one channel, oneDNN's bf16 kernel for AMX reads memory that nobody wrote."""
    monkeypatch.setattr(devices, "_cpu_has_bf16", lambda: native)
    flat, deep = torch.nn.Conv2d(1, 1, 3), torch.nn.Sequential(torch.nn.Conv3d(1, 1, 3))
    wanted = "fp32" if native else "auto"  # which is float32 there anyway
    assert devices.safe_precision("auto", "cpu", flat, deep) == wanted
    assert devices.safe_precision("auto", "cpu", flat) == "auto"
    assert devices.safe_precision("bf16", "cpu", deep) == "bf16"
