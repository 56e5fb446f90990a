"""The built wheel, unpacked away from the checkout: assets, template, command, size."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = folder.glob("*.whl")
    assert wheel.stat().st_size < 12 * 2**20
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_wheel_holds_what_runs_need(unpacked):
    for name in (
        "dfkd/py.typed",
        "generators/py.typed",
        "dfkd/report/templates/report.html.j2",
        "dfkd/assets/fashion_resnet20.safetensors",
        "dfkd/assets/fashion_resnet20_test.npz",
        "dfkd/assets/LICENSES.md",
    ):
        assert (unpacked / name).is_file(), name


def test_wheel_works_away_from_the_checkout(unpacked, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dfkd", "probe", "bundled:digits_vgg"],
        capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1x8x8" in done.stdout
    where = subprocess.run(
        [sys.executable, "-c", "import dfkd; print(dfkd.__file__)"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
    )  # fmt: skip
    assert where.stdout.startswith(str(unpacked))
