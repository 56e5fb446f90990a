"""What an output means: predictions, tasks, class names and their orders."""

from collections.abc import Callable, Mapping
from typing import Any

from dfkd.tasks.classification import Classification, classification_of
from dfkd.tasks.multilabel import MultiLabel, multilabel_of
from dfkd.tasks.prediction import Prediction
from dfkd.tasks.task import Task

TASKS: Mapping[str, Callable[..., Any]] = {
    "classification": classification_of,
    "multilabel": multilabel_of,
}
"""Tasks by the words that choose them: each is found in a network's answers to two samples."""


def task_name(task: Any) -> str | None:
    """Return the word that chooses a task; None for one of the user's own."""
    known: dict[type, str] = {Classification: "classification", MultiLabel: "multilabel"}
    return known.get(type(task))


__all__ = [
    "TASKS", "Classification", "MultiLabel", "Prediction", "Task", "task_name",
]  # fmt: skip
