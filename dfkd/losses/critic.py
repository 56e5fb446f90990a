"""What a critic minimises, and what the student minimises to fool it.

Real are the teacher's answers, fake the student's; both come as scores before any sigmoid, high
for what the critic takes as real. r and f below are single scores. Whoever trains the critic
detaches both answers, and whoever trains the student keeps the critic's parameters fixed.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from dfkd.errors import DfkdError, nearest

Kind = Literal["hinge", "bce", "lsgan"]
KINDS = ("hinge", "bce", "lsgan")


def critic_loss(real_scores: Tensor, fake_scores: Tensor, *, kind: Kind) -> Tensor:
    """Compute the critic's loss: real and fake apart.

    - ``hinge``: mean max(0, 1 - r) + mean max(0, 1 + f) (Lim & Ye, 2017; Miyato et al.,
      ICLR 2018, eq. 16).
    - ``bce``: -mean log D(r) - mean log(1 - D(f)), D the sigmoid (Goodfellow et al., NeurIPS 2014,
      eq. 1).
    - ``lsgan``: mean (r - 1)^2 / 2 + mean f^2 / 2 (Mao et al., ICCV 2017, eq. 9).

    Args:
        real_scores: N, of the teacher's answers.
        fake_scores: M, of the student's.
        kind: which of the three.

    Returns:
        >= 0. A critic that cannot tell has at best 2, 2 log 2 and 1/4.

    Raises:
        DfkdError: no such kind.

    >>> import torch
    >>> real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])
    >>> critic_loss(real, fake, kind="hinge").item()
    0.75
    >>> critic_loss(real, fake, kind="lsgan").item()
    2.5625
    >>> round(critic_loss(real, fake, kind="bce").item(), 4)
    0.6714
    """
    if kind == "hinge":
        return F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()
    if kind == "bce":
        return F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()
    if kind == "lsgan":
        return 0.5 * (real_scores - 1).square().mean() + 0.5 * fake_scores.square().mean()
    raise _unknown(kind)


def fooling_loss(fake_scores: Tensor, *, kind: Kind) -> Tensor:
    """Compute the student's loss: to be taken for the teacher.

    - ``hinge``: -mean f (Miyato et al., ICLR 2018, eq. 17).
    - ``bce``: -mean log D(f), D the sigmoid: the form that does not saturate, so that a student
      who is found out still learns (Goodfellow et al., NeurIPS 2014, section 3).
    - ``lsgan``: mean (f - 1)^2 / 2 (Mao et al., ICCV 2017, eq. 9).

    Its gradient is opposite to that of ``critic_loss``, except for ``lsgan`` where f is outside
    [0, 1], the two targets: there both pull it back.

    Args:
        fake_scores: N, of the student's answers.
        kind: which of the three.

    Returns:
        Without bounds for ``hinge``, else >= 0.

    Raises:
        DfkdError: no such kind.

    >>> import torch
    >>> fake = torch.tensor([-3.0, 0.0])
    >>> fooling_loss(fake, kind="hinge").item()
    1.5
    >>> fooling_loss(fake, kind="lsgan").item()
    4.25
    >>> round(fooling_loss(fake, kind="bce").item(), 4)
    1.8709
    """
    if kind == "hinge":
        return -fake_scores.mean()
    if kind == "bce":
        return F.softplus(-fake_scores).mean()
    if kind == "lsgan":
        return 0.5 * (fake_scores - 1).square().mean()
    raise _unknown(kind)


def critic_accuracy(real_scores: Tensor, fake_scores: Tensor, *, kind: Kind) -> Tensor:
    """Share told apart rightly: the mean of the shares of real above and fake below the threshold.

    It lies midway between what the critic aims at: 0 for ``hinge`` and ``bce``, 1/2 for
    ``lsgan``. A score on it counts as fake.

    Args:
        real_scores: N, of the teacher's answers.
        fake_scores: M, of the student's.
        kind: which threshold.

    Returns:
        Within [0, 1], on the device; 1/2 for a critic that gives all the same score.

    Raises:
        DfkdError: no such kind.

    >>> import torch
    >>> critic_accuracy(torch.tensor([2.0, 0.3]), torch.tensor([-3.0, 0.0]), kind="bce").item()
    1.0
    >>> critic_accuracy(torch.tensor([2.0, 0.3]), torch.tensor([-3.0, 0.0]), kind="lsgan").item()
    0.75
    """
    if kind not in KINDS:
        raise _unknown(kind)
    threshold = 0.5 if kind == "lsgan" else 0.0
    real, fake = real_scores > threshold, fake_scores <= threshold
    return 0.5 * (real.float().mean() + fake.float().mean())


def _unknown(kind: str) -> DfkdError:
    return DfkdError(f"no kind of critic {kind!r}{nearest(kind, KINDS)}")
