"""No device is asked for float64, which some have not: a dispatch mode raises as they do."""

import kornia  # noqa: F401  makes a tensor of every type when it is imported, on the CPU
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import dfkd
from dfkd.datasets import LabelledImages
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.losses.registry import KNOWLEDGE
from dfkd.recipes.methods import METHODS
from dfkd.runs.inversion import invert
from dfkd.synthesis.methods.deep_inversion_config import DeepInversionConfig
from dfkd.training.distributed import Runtime
from support.methods import small, teacher_for
from support.schemes import ROWS as SCHEMES
from support.schemes import build, make_student, make_teacher, run

WIDE = (torch.float64, torch.complex128)


class Narrow(TorchDispatchMode):
    """As on a device without float64: whatever would make such a tensor raises."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        tensors = [value for value in tree_leaves(made) if isinstance(value, torch.Tensor)]
        if any(tensor.dtype in WIDE for tensor in tensors):
            raise TypeError(f"{func}: the device has no float64")
        return made


def test_the_mode_raises_for_every_way_to_float64():
    values = torch.ones(3)
    ways = (
        values.double,
        lambda: values.to(torch.float64),
        lambda: torch.empty(3, dtype=torch.float64),
        lambda: torch.rand(3, dtype=torch.float64),
        lambda: torch.ones(3, dtype=torch.int64).sum(dtype=torch.float64),
    )
    for way in ways:
        with Narrow(), pytest.raises(TypeError, match="no float64"):
            way()


@pytest.mark.parametrize("method", METHODS)
def test_a_run_of_every_method_needs_none_from_the_first_step_to_the_figures(method):
    images = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8)
    evaluation = LabelledImages(images, torch.arange(8) % 4, "some")
    with Narrow():
        result = dfkd.distill(
            teacher_for(method), make_student(), recipe=small(method), steps=3,
            evaluation=evaluation, epsilon=0.1, compile="off", device="cpu", precision="fp32",
        )  # fmt: skip
    assert result.figures["student_steps"] == 3


@pytest.mark.parametrize("row", SCHEMES)
def test_no_scheme_needs_any(row):
    teacher = make_teacher()
    with Narrow():
        run(build(row, teacher, make_student()), teacher, 2)


@pytest.mark.parametrize("kind", KNOWLEDGE)
def test_no_knowledge_needs_any(kind):
    teacher, config = make_teacher(), LearnerConfig(knowledge=kind)
    with Narrow():
        run(build("offline", teacher, make_student(), config), teacher, 2)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
def test_no_optimizer_needs_any(optimizer):
    teacher, config = make_teacher(), LearnerConfig(optimizer=optimizer)
    with Narrow():
        run(build("offline", teacher, make_student(), config), teacher, 2)


@pytest.mark.parametrize("seconds", [0.1, 1 / 3, 2.0**30 + 1e-6, 0.0, -1.5, float("inf")])
def test_processes_share_a_clock_to_the_last_bit_without(seconds, monkeypatch):
    sent = []
    monkeypatch.setattr(torch.distributed, "broadcast", lambda value, _: sent.append(value.clone()))
    first, other = (Runtime(torch.device("cpu"), "fp32", rank, 2) for rank in (0, 1))
    with Narrow():
        assert first.from_rank_zero(seconds) == seconds
        monkeypatch.setattr(torch.distributed, "broadcast", lambda value, _: value.copy_(sent[0]))
        assert other.from_rank_zero(17.0) == seconds


@pytest.mark.parametrize("basis", ["pixel", "chroma", "fourier"])
def test_no_inversion_needs_any(basis):
    config = DeepInversionConfig(batch_size=2, iterations=3, warmup=1, crop=0.5, basis=basis)
    with Narrow():
        invert(make_teacher(), [0, 1], 2, config=config, compile="off")
