"""Which samples a teacher finds clean: TA-DFKD's selection (Shin & Choi, AAAI 2024)."""

import torch
from torch import Tensor

from dfkd.tasks import Prediction

_ROUNDS = 10  # these and the spread added are the authors'
_SPREAD = 5e-4


def sample_losses(prediction: Prediction, count: int) -> Tensor:
    """Return each sample's cross-entropy with the teacher's own decision, a mean over its rows.

    Args:
        prediction: of the teacher.
        count: how many samples it is to.

    Returns:
        (count,), in nats: near 0 where it is sure.
    """
    rows = -prediction.logits.float().log_softmax(1).amax(1)
    return rows.view(count, -1).mean(1)


def clean_probability(losses: Tensor) -> Tensor:
    """Fit two Gaussians to losses; return the chance that each comes from the one of small losses.

    Expectation-maximisation on losses scaled to [0, 1], from halves about the mean. No value is
    read back from the device.

    Args:
        losses: (N,), finite. Where all are equal none is suspect: 1 for all.
    """
    low, high = losses.aminmax()
    x = (losses - low) / (high - low).clamp(min=torch.finfo(losses.dtype).tiny)
    side = (x > x.mean()).to(x.dtype)
    share = torch.stack([1 - side, side])  # of the samples in either Gaussian
    for _ in range(_ROUNDS):
        count = share.sum(1).clamp(min=1e-6)
        mean = (share * x).sum(1) / count
        var = (share * (x - mean[:, None]).square()).sum(1) / count + _SPREAD
        log = -(x - mean[:, None]).square() / (2 * var[:, None]) - var[:, None].log() / 2
        share = (log + (count / len(x)).log()[:, None]).softmax(0)
    # A wide Gaussian has both tails: below its own mean a small loss is not suspect.
    found = torch.where(x <= mean.amin(), torch.ones_like(x), share[0])
    return torch.where(high > low, found, torch.ones_like(found))


def keep_clean(clean: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return indices of the clean samples, over and over up to ``count``, and their share.

    Args:
        clean: N booleans; where none is true all are taken, and the share is 0.
        count: how many indices.
    """
    kept = clean.sum()
    order = torch.argsort((~clean).int(), stable=True)  # the clean first
    several = torch.where(kept > 0, kept, len(clean))
    index = order[torch.arange(count, device=clean.device) % several]
    return index, kept / len(clean)
