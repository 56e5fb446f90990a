"""The diffs of CONTRIBUTING.md apply to the package as it is, and what they add works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dfkd

ROOT = Path(dfkd.__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
ROWS = {
    *("dfkd/losses/of_answers.py", "dfkd/recipes/methods.py", "dfkd/recipes/schemes.py"),
    *("dfkd/recipes/keywords.py", "tests/support/methods.py", "tests/support/schemes.py"),
}
PROGRAM = """
import torch
from torch import nn

import dfkd
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.loading import check_student
from dfkd.losses.objective import Objective
from dfkd.protocols import Batch
from dfkd.recipes.schemes import build_distiller
from dfkd.synthesis.methods.deep_inversion import DeepInversion
from dfkd.synthesis.methods.deep_inversion_config import DeepInversionConfig
from dfkd.tasks.segmentation import Segmentation
from dfkd.teacher.mean_prior import MeanPrior
from support.methods import ROWS as METHODS
from support.schemes import ROWS as SCHEMES

assert "noise" in METHODS and "mixup" in SCHEMES
torch.manual_seed(0)
spec = dfkd.ImageSpec(1, 8, 8)

def network(*end):
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), *end)

def flat():
    return network(nn.Flatten(), nn.Linear(512, 3))

# A loss for both sides, a method and a scheme, in one run.
recipe = dfkd.recipe("noise", learner=dict(knowledge="kd + tvd"), scheme="mixup", init="random")
result = dfkd.distill(dfkd.Teacher(flat(), spec), flat(), recipe, steps=2)
assert "student.logits" in Objective.parse("onehot - tvd").needs

# A task: one class a pixel, learned by the scheme above.
pixels = dfkd.Teacher(network(nn.Conv2d(8, 3, 1)), spec, task=Segmentation(3, 64))
student = network(nn.Conv2d(8, 3, 1))
check_student(student, pixels)
distiller = build_distiller(pixels, student, LearnerConfig(), 0, "mixup")
assert distiller.update(Batch(torch.rand(4, 1, 8, 8)))["kd"] > 0
assert sum(distiller.class_counts()) == 4 * 64

# A prior: a method of statistics matches it, and its loss falls.
teacher = flat()
means = {"0": teacher[0](torch.full((1, 1, 8, 8), 0.9)).mean((0, 2, 3)).detach()}
remembers = dfkd.Teacher(teacher, spec, prior=MeanPrior(teacher, means))
config = DeepInversionConfig(
    batch_size=4, iterations=20, lr=0.1, r_feature=100.0, first_bn_multiplier=1.0
)
method = DeepInversion(remembers, config, 0)
seen = [method.update(flat()) for _ in range(20)]
(name,) = [key for key in seen[0] if key.rpartition("/")[2] in ("bn", "statistics")]
assert 0 < seen[-1][name] < 0.9 * seen[0][name], (seen[0][name], seen[-1][name])
"""


@pytest.fixture
def copy(tmp_path):
    """The package with every diff of the page applied."""
    for folder in ("dfkd", "generators", "tests/support"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    diffs = re.findall(r"^```diff\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert len(diffs) == 5
    for diff in diffs:
        command = ["git", "apply", "--unidiff-zero", "-"]
        done = subprocess.run(command, cwd=tmp_path, input=diff, capture_output=True, text=True)
        assert not done.returncode, done.stderr
    return tmp_path


@pytest.mark.skipif(shutil.which("git") is None, reason="git applies the diffs")
def test_every_addition_works(copy):
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": f"{copy}:{copy / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr


def test_an_addition_is_one_file_and_rows():
    """No diff touches more than its file, one row of a registry, a name, and a row of tests."""
    for diff in re.findall(r"^```diff\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M):
        new, *changed = [part for part in re.split(r"(?m)^--- ", diff) if part]
        assert new.startswith("/dev/null")
        for part in changed:
            path = part.splitlines()[0].removeprefix("a/")
            assert path in ROWS
            assert len(re.findall(r"(?m)^\+(?!\+\+)", part)) <= 5
