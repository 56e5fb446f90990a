"""Each example runs as a reader would run it, away from the checkout's root, with few steps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = {
    "own_teacher_from_a_file.py": (["--steps", "60"], "deep_inversion  yes"),
    "invert_and_plot.py": (["--steps", "4", "--rows", "1"], "4 images of 4 classes"),
    "distil_in_python.py": (["--steps", "4"], "the student is in student.pth"),
    "own_loss.py": (["--steps", "40"], "with it: asymmetry"),
    "merge_two_teachers.py": (["--steps", "2"], "of the joint teacher's"),
    "hints_and_relations.py": (["--steps", "4"], "compared: "),
    "mutual_learning.py": (["--steps", "4"], "peer 3"),
    "early_exits.py": (["--steps", "4"], "of its compute"),
    "critic.py": (["--steps", "4"], "the critic is right about"),
    "robust_student.py": (["--steps", "4"], "of attacked ones"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_runs(name: str, tmp_path: Path) -> None:
    options, expected = EXAMPLES[name]
    finished = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    assert expected in finished.stdout


def test_every_example_is_tested_short_and_explained() -> None:
    files = {path.name: path.read_text() for path in (ROOT / "examples").glob("*.py")}
    assert files.keys() == EXAMPLES.keys()
    for name, text in files.items():
        assert len(text.splitlines()) < 60, name
        assert text.startswith('"""'), name
        assert f"python examples/{name}" in text, name
