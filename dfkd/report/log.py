"""Scalars over time: one line of JSON per report, mirrored to TensorBoard."""

import contextlib
import json
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dfkd.training.files import write_text

_FILE = "metrics.jsonl"


class MetricsLog:
    """Append scalars to ``metrics.jsonl`` and ``tb/`` of a run's directory.

    Args:
        directory: the run's directory; it is created if it is missing.
        resume_step: the step from which a run resumes. Rows after it are dropped: the
            run writes them again.
    """

    def __init__(self, directory: Path | str, resume_step: int | None = None) -> None:
        # Slow to import, and needed only to write a log.
        from torch.utils import tensorboard

        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        if resume_step is not None:
            _truncate(directory, resume_step)
        self._file = (directory / _FILE).open("a", encoding="utf-8")
        purge = None if resume_step is None else resume_step + 1
        writer: Any = tensorboard.SummaryWriter
        self._hook, threading.excepthook = threading.excepthook, self._report
        self._board = writer(str(directory / "tb"), purge_step=purge)

    def _report(self, failed: threading.ExceptHookArgs) -> None:
        """Print no traceback if TensorBoard's thread cannot write: the next row raises an error."""
        writer = type(failed.thread).__module__.startswith("tensorboard.")
        if not (writer and isinstance(failed.exc_value, OSError)):
            self._hook(failed)

    def write(self, step: int, seconds: float, metrics: Mapping[str, float]) -> None:
        """Write one row; NaN and infinities become null, which every JSON reader takes.

        Args:
            step: the student's.
            seconds: wall time.
            metrics: scalars by name.
        """
        values = {name: float(value) for name, value in metrics.items()}
        finite = {name: v if math.isfinite(v) else None for name, v in values.items()}
        row = {"step": int(step), "seconds": round(float(seconds), 3), **finite}
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()  # a killed run keeps what it reported
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def images(self, step: int, images: Tensor, name: str = "images") -> None:
        """Mirror images to TensorBoard as one grid: N x C x H x W floats in [0, 1], C of 1 or 3."""
        self._board.add_images(name, images.detach().float().clamp(0, 1).cpu(), step)

    def close(self) -> None:
        """Flush and close both files; a second call does nothing.

        Raises:
            OSError: the rest cannot be written.
        """
        with contextlib.ExitStack() as closing:  # each one, whatever the others raise
            closing.callback(self._restore_hook)
            closing.callback(self._board.close)
            closing.callback(self._file.close)

    def _restore_hook(self) -> None:
        """Let threads print their errors again."""
        if threading.excepthook == self._report:
            threading.excepthook = self._hook


def read_metrics(directory: Path | str) -> list[dict[str, Any]]:
    """Return the rows of ``metrics.jsonl`` in order, without a last line that was cut off.

    Without the file there are none.
    """
    path = Path(directory) / _FILE
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
    write_text(directory / _FILE, "".join(json.dumps(row) + "\n" for row in kept))
