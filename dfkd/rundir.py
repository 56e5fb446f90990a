"""A run's directory: checked before any work, written whole file by whole file."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dfkd.errors import DfkdError

PACKAGES = ("dfkd", "torch", "torchvision", "lightning-fabric", "numpy", "kornia")


def prepare(
    path: Path,
    overwrite: bool = False,
    resume: bool = False,
    signs: Sequence[str] = ("manifest.json", "metrics.jsonl"),
) -> Path:
    """Check ``--out`` before any work; nothing is created or removed (``create`` does that).

    Args:
        signs: files by any of which a directory is known as one that may be replaced.

    Raises:
        DfkdError: it exists and is not empty (and neither flag allows that), is a file,
            or cannot be written; both flags at once.
    """
    if resume and overwrite:
        raise DfkdError("--resume continues what --overwrite replaces: give one of them")
    if path.exists() and not path.is_dir():
        raise DfkdError(f"--out {path} is a file; name a directory")
    if path.is_dir() and any(path.iterdir()) and not resume:
        if not overwrite:
            raise DfkdError(
                f"--out {path} exists and is not empty; choose another or add --overwrite"
            )
        if not any((path / name).exists() for name in signs):
            raise DfkdError(
                f"--overwrite replaces only a run's directory, and {path} does not look like one"
            )
    ancestor = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not os.access(ancestor, os.W_OK):
        raise DfkdError(f"--out {path} cannot be written; choose another")
    return path


def create(path: Path, resume: bool = False) -> None:
    """Make the directory that ``prepare`` allowed, empty unless the run in it goes on.

    Called when all that can be refused has been: a mistyped teacher costs no earlier run.

    Raises:
        DfkdError: it cannot be made or emptied.
    """
    try:
        if path.is_dir() and not resume:
            shutil.rmtree(path)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # root may write everywhere, says os.access: also where nobody can
        raise DfkdError(
            f"--out {path} cannot be written ({error.strerror}); choose another"
        ) from None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``; empty when the file is missing."""
    if not path.is_file():
        return {}
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def provenance(command: Sequence[str] | None, hardware: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a manifest that is the same for every kind of run."""
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
    here = Path(__file__).resolve().parent

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
    """The command as it was typed, without the interpreter's path."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def peak_memory_bytes() -> int | None:
    """Largest resident size of this process so far, where the system tells."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
