"""What only a GPU can show: every method and scheme runs there, and computes what a CPU does."""

import dataclasses

import pytest
import torch
from torch import nn

import dfkd
from dfkd.losses.registry import KNOWLEDGE
from dfkd.networks import initialise
from dfkd.recipes import override, with_scheme
from dfkd.runs.inversion import invert
from generators.procedural import draw
from support.methods import ROWS as METHOD_ROWS
from support.methods import make_student, make_teacher, small
from support.schemes import CONFIG, check_resume
from support.schemes import ROWS as SCHEME_ROWS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def distil(recipe, out, **options):
    teacher = make_teacher()
    before = teacher.fingerprint()
    options = {"steps": 7, "device": "cuda", "compile": "off"} | options
    result = dfkd.distill(teacher, make_student(), recipe=recipe, out=out, **options)
    assert teacher.fingerprint() == before
    assert next(result.student.parameters()).is_cuda
    assert (out / "student.safetensors").is_file()
    return result


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHOD_ROWS)
def test_methods(method, precision, tmp_path):
    result = distil(small(method), tmp_path / "run", precision=precision)
    assert result.figures["student_steps"] == 7


@pytest.mark.parametrize("row", SCHEME_ROWS)
def test_schemes(row, tmp_path):
    recipe = with_scheme(small("drawings"), row.partition(":")[0])
    settings = [f"scheme_config.{name}={value}" for name, value in SCHEME_ROWS[row].items()]
    recipe = dataclasses.replace(override(recipe, settings), learner=CONFIG)
    distil(recipe, tmp_path / "run")


@pytest.mark.parametrize("kind", KNOWLEDGE)
def test_knowledge(kind, tmp_path):
    config = dataclasses.replace(CONFIG, knowledge=f"{KNOWLEDGE[kind].weight:g}*{kind}")
    distil(dataclasses.replace(small("drawings"), learner=config), tmp_path / "run")


def test_the_compiled_teacher(tmp_path):
    result = distil(small("redraw"), tmp_path / "run", compile="on")
    assert result.figures["compiled"]["used"]


def test_resumed_runs_go_on_there(tmp_path):
    distil(small("fast"), tmp_path / "run", steps=4)
    result = dfkd.distill(
        make_teacher(), make_student(), recipe=small("fast"), out=tmp_path / "run", steps=8,
        device="cuda", resume=True, compile="off",
    )  # fmt: skip
    assert result.figures["student_steps"] == 8


def test_dropout_goes_on_where_it_was(tmp_path, monkeypatch):
    def run(**options):
        torch.manual_seed(9 if "resume" in options else 0)  # what goes on starts elsewhere
        layers = (nn.Flatten(), nn.Dropout(), nn.Linear(64, 4))
        return dfkd.distill(
            make_teacher(), initialise(nn.Sequential(*layers), 1), recipe=small("drawings"),
            steps=8, device="cuda", precision="fp32", compile="off", **options,
        )  # fmt: skip

    check_resume(run, tmp_path / "run", monkeypatch)


def test_pictures():
    images = invert(make_teacher().to("cuda"), classes=[0, 3], count=4, steps=5)
    assert images.shape == (4, 1, 8, 8)


def test_statistics_are_those_of_the_cpu():
    images = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = []
    for device in ("cpu", "cuda"):
        teacher = make_teacher().to(torch.device(device))
        pixels = images.to(device).detach().requires_grad_()
        with torch.backends.cudnn.flags(allow_tf32=False):
            trace = teacher.trace(pixels, statistics=True)
            sum((one.mean**2 + one.var).sum() for one in trace.statistics).backward()
        found.append((trace.logits.detach().cpu(), pixels.grad.cpu()))
    for cpu, cuda in zip(*found, strict=True):
        torch.testing.assert_close(cuda, cpu, rtol=1e-3, atol=1e-4)


def test_drawings_are_those_of_the_cpu():
    cpu, cuda = (
        draw(64, (1, 28, 28), torch.Generator().manual_seed(3), device=device).cpu()
        for device in ("cpu", "cuda")
    )
    # On the edge of a silhouette a last bit decides which side a pixel is on.
    assert ((cpu - cuda).abs() < 1e-3).float().mean() > 0.999
