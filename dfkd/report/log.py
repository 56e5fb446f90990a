"""Scalars over time: one JSON line a report, mirrored to TensorBoard."""

import contextlib
import json
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dfkd.training.files import write_text

FILE = "metrics.jsonl"


class MetricsLog:
    """Appends to ``metrics.jsonl`` and ``tb/`` of a run's directory.

    Args:
        directory: the run's directory, made when missing.
        resume_step: the step a run is resumed from: rows after it are dropped, for the
            resumed run will write them again.
    """

    def __init__(self, directory: Path | str, resume_step: int | None = None) -> None:
        # Slow to import, and wanted only where a log is written.
        from torch.utils import tensorboard

        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        if resume_step is not None:
            _truncate(directory, resume_step)
        self._file = (directory / FILE).open("a", encoding="utf-8")
        purge = None if resume_step is None else resume_step + 1
        writer: Any = tensorboard.SummaryWriter
        self._spoken, threading.excepthook = threading.excepthook, self._unspoken
        self._board = writer(str(directory / "tb"), purge_step=purge)

    def _unspoken(self, failed: threading.ExceptHookArgs) -> None:
        """Print no traceback where TensorBoard's thread cannot write: the next row raises that."""
        writer = type(failed.thread).__module__.startswith("tensorboard.")
        if not (writer and isinstance(failed.exc_value, OSError)):
            self._spoken(failed)

    def write(self, step: int, seconds: float, metrics: Mapping[str, float]) -> None:
        """One row: the student's step, wall time in seconds, and scalars by name.

        NaN and infinities become null, which every JSON reader takes.
        """
        values = {name: float(value) for name, value in metrics.items()}
        finite = {name: v if math.isfinite(v) else None for name, v in values.items()}
        row = {"step": int(step), "seconds": round(float(seconds), 3), **finite}
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()  # a killed run keeps what it reported
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def images(self, step: int, images: Tensor, name: str = "images") -> None:
        """Mirror N x C x H x W float images in [0, 1] (C of 1 or 3) to TensorBoard as one grid."""
        self._board.add_images(name, images.detach().float().clamp(0, 1).cpu(), step)

    def close(self) -> None:
        """Flush and close both; a second call does nothing.

        Raises:
            OSError: what is left cannot be written.
        """
        with contextlib.ExitStack() as closing:  # each of them, whatever the others raise
            closing.callback(self._listen)
            closing.callback(self._board.close)
            closing.callback(self._file.close)

    def _listen(self) -> None:
        """Let threads speak again."""
        if threading.excepthook == self._unspoken:
            threading.excepthook = self._spoken


def read_metrics(directory: Path | str) -> list[dict[str, Any]]:
    """The rows of ``metrics.jsonl`` in order; none without the file.

    A last line that a killed run left unfinished is skipped.
    """
    path = Path(directory) / FILE
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _truncate(directory: Path, step: int) -> None:
    kept = [row for row in read_metrics(directory) if row.get("step", 0) <= step]
    write_text(directory / FILE, "".join(json.dumps(row) + "\n" for row in kept))
