"""How much noise (epsilon, delta) asks for: Opacus' accountant, of the extra ``privacy``."""

import math
import random
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from dfkd.errors import DfkdError

ACCOUNTANT = "opacus prv"


class Privacy(NamedTuple):
    """(epsilon, delta): what an observer can tell of one image at most."""

    epsilon: float
    delta: float


def asked_privacy(epsilon: float | None, delta: float | None) -> Privacy | None:
    """Return what is asked for; None where nothing is.

    Raises:
        DfkdError: one of the two without the other, or a value that guarantees nothing.
    """
    if (epsilon is None) != (delta is None):
        raise DfkdError("`noise_epsilon` and `noise_delta` belong together: give both, or none")
    if epsilon is None or delta is None:
        return None
    if not (0 < epsilon < math.inf and 0 < delta < 1):
        raise DfkdError(
            f"`noise_epsilon` must be positive and `noise_delta` in (0, 1), not {epsilon:g} and "
            f"{delta:g}; usual are 1 to 8, and less than 1 over the number of images"
        )
    return Privacy(epsilon, delta)


def noise_multiplier(privacy: Privacy) -> float:
    """Compute the noise's deviation over the sensitivity for one Gaussian release.

    Opacus' PRV accountant calibrates it (one step, all images), to .01 in epsilon.

    Raises:
        DfkdError: Opacus is not installed, or knows no such noise.
    """
    try:
        from opacus.accountants.utils import get_noise_multiplier
    except ImportError:
        raise DfkdError(
            "noise is calibrated by Opacus, which is not installed: pip install 'dfkd[privacy]', "
            "or leave `noise_epsilon` and `noise_delta` out"
        ) from None
    try:
        with warnings.catch_warnings():  # of logarithms of 0 within
            warnings.simplefilter("ignore")
            return float(
                get_noise_multiplier(
                    target_epsilon=privacy.epsilon, target_delta=privacy.delta,
                    sample_rate=1.0, steps=1, accountant="prv",
                )
            )  # fmt: skip
    except (ValueError, RuntimeError, OverflowError) as error:
        reason = str(error).partition("\n")[0][:80]
        raise DfkdError(
            f"no noise gives epsilon {privacy.epsilon:g} and delta {privacy.delta:g} ({reason}): "
            "ask for less extreme values"
        ) from None


def secret_gaussian(count: int) -> Tensor:
    """Draw ``count`` standard normal numbers, float64, that nobody can draw again."""
    source = random.SystemRandom()  # of the operating system: no seed could take them off again
    return torch.tensor([source.gauss(0.0, 1.0) for _ in range(count)], dtype=torch.float64)
