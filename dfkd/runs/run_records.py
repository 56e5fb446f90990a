"""What a run's directory says of the run: JSON, and where and with what it was made."""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dfkd.training.files import write_text

PACKAGES = ("dfkd", "torch", "torchvision", "lightning-fabric", "numpy", "kornia")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in ``path``; empty when the file is missing."""
    if not path.is_file():
        return {}
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def provenance(command: Sequence[str] | None, hardware: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the part of a manifest that every kind of run has."""
    return {
        "command": " ".join(command) if command else "Python API",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {"python": platform.python_version(), **_versions()},
        "hardware": dict(hardware),
        "git": _git_state(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = torch.__version__ if name == "torch" else version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def _git_state() -> dict[str, Any]:
    """Commit and cleanliness of the checkout that holds this package, empty outside one."""
    here = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(
            ("git", "-C", str(here), *words), capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()

    try:
        tracked = git("ls-files", "--error-unmatch", "errors.py")
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "clean": not changes} if tracked else {}


def command_line() -> list[str]:
    """Return the command as it was typed, without the interpreter's path."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def peak_memory_bytes() -> int | None:
    """Largest resident size of this process so far, where the system tells."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
