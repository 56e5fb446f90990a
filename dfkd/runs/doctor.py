"""``dfkd doctor``: what is wrong with a run, from its directory or while it goes on."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dfkd.errors import DfkdError
from dfkd.runs.callbacks import Callback
from dfkd.runs.record import RunRecord
from dfkd.runs.run_records import read_json
from dfkd.runs.symptoms import Finding, find_symptoms


def diagnose(directory: Path | str) -> list[Finding]:
    """Say what is wrong with the run in ``directory``, the gravest first; empty where it is well.

    Args:
        directory: of a distillation, ended or not.

    Raises:
        DfkdError: no such run.
    """
    return find_symptoms(read_run(Path(directory)))


def read_run(directory: Path) -> RunRecord:
    """Read what a run has left.

    Raises:
        DfkdError: no run of ``dfkd distill``, or a file of it is damaged.
    """
    log = directory / "metrics.jsonl"
    try:
        result, manifest = (read_json(directory / f"{n}.json") for n in ("result", "manifest"))
        lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        rows = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise DfkdError(f"the run in {directory} cannot be read ({error})") from None
    if not rows and "student_steps" not in result:
        raise DfkdError(f"{directory} holds no run of dfkd distill: name what was its `output`")
    minutes = (manifest.get("budget") or {}).get("minutes")
    given = bool(result.get("images_given"))
    names = tuple(map(str, manifest.get("class_names") or ()))
    recipe = manifest.get("recipe") or {}
    return RunRecord(rows, (), 1.0, result, recipe, minutes, given, names)


class Watch(Callback):
    """Says each symptom of a run in the moment it shows, once.

    Args:
        say: takes a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._said = say, set[str]()
        self._rows: list[dict[str, float | None]] = []
        self._given = False

    def on_start(self, facts: Mapping[str, Any]) -> None:
        """Begin anew."""
        self._rows.clear()
        self._given = bool(facts.get("images_given"))

    def on_log(
        self, progress: float, step: int, metrics: Mapping[str, float], class_counts: Sequence[int]
    ) -> None:
        """Look at the run as it is so far."""
        self._rows.append({"step": step, "seconds": 0.0, **metrics})
        record = RunRecord(self._rows, class_counts, progress, given=self._given)
        for found in find_symptoms(record):
            # At the end the run says itself what its student has come to.
            if found.name not in self._said and progress < 1:
                self._said.add(found.name)
                self._say(found.line())
