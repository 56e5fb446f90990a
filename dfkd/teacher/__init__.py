"""The frozen network: how to feed it, what it answers, what it remembers of its data."""

from dfkd.teacher.teacher import Teacher
from dfkd.teacher.trace import Trace

__all__ = ["Teacher", "Trace"]
