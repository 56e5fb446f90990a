"""Accuracy over time that takes no time: students kept on the way, measured after the run."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dfkd.datasets import ImageData
from dfkd.errors import DfkdError
from dfkd.evaluation.accuracy import streamed_accuracy
from dfkd.networks.copying import copy_network
from dfkd.runs.callbacks import Callback
from dfkd.teacher import Teacher


class Curve(Callback):
    """Copies of the student at evenly spaced points of the budget; the last is the end itself.

    Args:
        points: how many, the finished student among them; 0: none is kept.
        saved: ``state_dict`` of an interrupted session, where one goes on.

    Raises:
        DfkdError: other ``points`` than the interrupted session had.
    """

    def __init__(self, points: int, saved: Mapping[str, Any] | None = None) -> None:
        state = saved or {"points": points, "kept": []}
        if state["points"] != points:
            raise DfkdError(
                f"the run was started with a curve of {state['points']} points: "
                f"resume it with as many, not {points}"
            )
        self._points = points
        self._kept: list[dict[str, Any]] = list(state["kept"])
        self.marks = tuple(i / points for i in range(1 + len(self._kept), points))

    def on_mark(self, progress: float, step: int, seconds: float, student: nn.Module) -> None:
        """Copy the student as it is now to the CPU; one that took no step is not copied again."""
        last = self._kept[-1] if self._kept else None
        kept = last["student"] if last and last["steps"] == step else _state_on_cpu(student)
        self._kept.append({"seconds": seconds, "steps": step, "student": kept})

    def state_dict(self) -> dict[str, Any]:
        """Return the students kept so far. None of them changes any more: no copy is needed."""
        return {"points": self._points, "kept": list(self._kept)}

    def measured(
        self,
        finished: nn.Module,
        others: Mapping[str, nn.Module],
        teacher: Teacher,
        data: ImageData,
        end: tuple[float, int, float],
    ) -> list[dict[str, Any]]:
        """Measure ``accuracy`` in [0, 1] at every point, beside its ``seconds`` and ``steps``.

        Args:
            finished: the student of the end; unchanged.
            others: further networks of the run, one of which may have been the best before.
            teacher: whose images and task they share.
            data: real labelled images.
            end: seconds and steps of the whole run, and the finished student's accuracy.
        """
        if not self._points:
            return []
        networks = [finished, *others.values()]
        known = {end[1]: end[2]}
        rows = []
        for row in self._kept:
            if row["steps"] not in known:
                like = next(network for network in networks if _fits(network, row["student"]))
                trial = copy_network(like)
                trial.load_state_dict(row["student"])
                known[row["steps"]] = streamed_accuracy(
                    trial, teacher.spec, data, teacher.student_task
                )
            rows.append(_point(row["seconds"], row["steps"], known[row["steps"]]))
        return [*rows, _point(*end)]


def _point(seconds: float, steps: int, value: float) -> dict[str, Any]:
    return {"seconds": round(seconds, 2), "steps": steps, "accuracy": value}


def _fits(network: nn.Module, state: Mapping[str, Tensor]) -> bool:
    own = {name: value.shape for name, value in network.state_dict().items()}
    return own == {name: value.shape for name, value in state.items()}


def _state_on_cpu(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in network.state_dict().items()}
