"""What changes the outputs before a loss takes them: ``kd@std`` is ``kd`` of z-scores."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor


def standardised(logits: Tensor) -> Tensor:
    """Return every row's z-scores: mean 0, standard deviation 1 (Sun et al., CVPR 2024, eq. 10).

    A student need not have the teacher's scale of logits any more, only their order and ratios.

    Args:
        logits: N x classes. Rows whose deviation is far above 0.003 are unmoved by a factor; equal
            logits give zeros.

    >>> import torch
    >>> z = standardised(torch.tensor([[0.0, 200.0], [5.0, 5.0]]))
    >>> [[round(value, 4) for value in row] for row in z.tolist()]
    [[-1.0, 1.0], [0.0, 0.0]]
    """
    # A division by the deviation alone would have an infinite gradient where a head starts at 0.
    return F.layer_norm(logits, logits.shape[1:], eps=1e-5)


def _of_logits(function: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    """Return what applies ``function`` to the logits of both sides of ``PairOutputs``."""

    def modified(side: Any) -> Any:
        if side is None:
            return None
        prediction = side.prediction
        return side._replace(prediction=prediction._replace(logits=function(prediction.logits)))

    return lambda outputs: outputs._replace(
        teacher=modified(outputs.teacher), student=modified(outputs.student)
    )


class Modifier(NamedTuple):
    """A row of ``MODIFIERS``.

    Attributes:
        function: ``PairOutputs`` -> the same with other logits.
        line: what it is.
        source: the paper.
        weight: the paper's, of ``kd`` so modified.
    """

    function: Callable[[Any], Any]
    line: str
    source: str
    weight: float


MODIFIERS: dict[str, Modifier] = {
    "std": Modifier(
        _of_logits(standardised),
        "of z-scores of each sample's logits; its paper has temperature 2",
        "Sun et al., 2024",
        9,
    ),
}
"""By name; every loss of logits takes them, as ``NAME@MODIFIER``."""
