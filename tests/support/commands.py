"""The command line in a process of its own, and what it is usually told."""

import os
import subprocess
import sys
from pathlib import Path

ASSETS = Path(__file__).parents[2] / "assets"
TEACHER = "bundled:digits_vgg"
STUDENT = "dfkd.networks:vgg?widths=(8,16)&convolutions=1"


def dfkd(*words, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "dfkd", *map(str, words)],
        capture_output=True, text=True, timeout=240, env=environment, check=False, **options,
    )  # fmt: skip
