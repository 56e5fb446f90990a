"""Accuracy over time that takes no time: students kept on the way, measured after the run."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dfkd.datasets import LabelledImages
from dfkd.errors import DfkdError
from dfkd.evaluation.accuracy import accuracy, predictions
from dfkd.networks.copying import copy_network
from dfkd.protocols import Distiller
from dfkd.teacher.spec import ImageSpec
from dfkd.training.budget import RunProgress


class Curve:
    """Copies of the student at evenly spaced points of the budget; the last is the end itself.

    Args:
        points: how many, the finished student among them; 0: none is kept.
        distiller: whose ``finished`` is kept.
        saved: ``state_dict`` of an interrupted session, where one goes on.

    Raises:
        DfkdError: fewer than none, or other ``points`` than the interrupted session had.
    """

    def __init__(
        self, points: int, distiller: Distiller, saved: Mapping[str, Any] | None = None
    ) -> None:
        if points < 0:
            raise DfkdError(f"a curve has 0 points or more, not {points}")
        state = saved or {"points": points, "kept": []}
        if state["points"] != points:
            raise DfkdError(
                f"the run was started with a curve of {state['points']} points: "
                f"resume it with as many, not {points}"
            )
        self._points, self._distiller = points, distiller
        self._kept: list[dict[str, Any]] = list(state["kept"])

    @property
    def marks(self) -> tuple[float, ...]:
        """Shares of the budget, in (0, 1), at which the student is yet to be kept."""
        return tuple(i / self._points for i in range(1 + len(self._kept), self._points))

    def keep(self, account: RunProgress) -> None:
        """Copy the student as it is now to the CPU; one that took no step is not copied again."""
        last = self._kept[-1] if self._kept else None
        if last and last["steps"] == account.steps:
            student = last["student"]
        else:
            student = _plain(self._distiller.finished())
        row = {"seconds": account.seconds, "steps": account.steps, "student": student}
        self._kept.append(row)

    def state_dict(self) -> dict[str, Any]:
        """The students kept so far. None of them changes any more: no copy is needed."""
        return {"points": self._points, "kept": list(self._kept)}

    def measured(
        self,
        finished: nn.Module,
        spec: ImageSpec,
        data: LabelledImages,
        end: tuple[float, int, float],
    ) -> list[dict[str, Any]]:
        """``seconds``, ``steps`` and ``accuracy`` in [0, 1] at every point, in their order.

        Args:
            finished: the student of the end; unchanged.
            spec: the teacher's images.
            data: real labelled images.
            end: seconds and steps of the whole run, and the finished student's accuracy.
        """
        if not self._points:
            return []
        networks = [finished, *self._distiller.networks().values()]
        known = {end[1]: end[2]}
        rows = []
        for row in self._kept:
            if row["steps"] not in known:
                # The best of several students may have been another one then.
                like = next(network for network in networks if _fits(network, row["student"]))
                trial = copy_network(like)
                trial.load_state_dict(row["student"])
                logits = predictions(trial, spec, data.images)
                known[row["steps"]] = accuracy(logits, data.labels)
            rows.append(_point(row["seconds"], row["steps"], known[row["steps"]]))
        return [*rows, _point(*end)]


def _point(seconds: float, steps: int, value: float) -> dict[str, Any]:
    return {"seconds": round(seconds, 2), "steps": steps, "accuracy": value}


def _fits(network: nn.Module, state: Mapping[str, Tensor]) -> bool:
    own = {name: value.shape for name, value in network.state_dict().items()}
    return own == {name: value.shape for name, value in state.items()}


def _plain(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in network.state_dict().items()}
