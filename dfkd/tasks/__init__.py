"""What an output means: predictions, tasks, class names and their orders."""

from dfkd.tasks.classification import Classification
from dfkd.tasks.prediction import Prediction
from dfkd.tasks.task import Task

__all__ = ["Classification", "Prediction", "Task"]
