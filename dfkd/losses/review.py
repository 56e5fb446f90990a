"""ReviewKD (Chen et al., CVPR 2021): deep features are fused into shallow ones, then compared."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.losses.modules import Features


def hierarchical_context(
    student_maps: Tensor, teacher_maps: Tensor, *, sizes: Sequence[int] = (4, 2, 1)
) -> Tensor:
    """Average (s - t)^2 as it is and pooled to ``sizes``, each half the weight of the one before.

    The HCL of the paper's section 3.4, with the weights of the authors' code.

    Args:
        student_maps: N x C x H x W, already fused.
        teacher_maps: the same shape.
        sizes: heights and widths of the pooled maps; those not below the map's own are left out.

    Returns:
        In squared units of the features, >= 0, and 0 iff they are equal.

    >>> hierarchical_context(torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)).item()
    1.0
    """
    if student_maps.shape != teacher_maps.shape or student_maps.ndim != 4:
        shapes = f"{tuple(student_maps.shape)} and {tuple(teacher_maps.shape)}"
        raise DfkdError(f"reviewkd needs N x C x H x W maps of one shape, not {shapes}")
    losses, weights = [F.mse_loss(student_maps, teacher_maps)], [1.0]
    for size in sizes:
        if size < min(student_maps.shape[2:]):
            one, other = (
                F.adaptive_avg_pool2d(maps, size) for maps in (student_maps, teacher_maps)
            )
            losses.append(F.mse_loss(one, other))
            weights.append(weights[-1] / 2)
    pairs = zip(weights, losses, strict=True)
    return torch.stack([weight * loss for weight, loss in pairs]).sum() / sum(weights)


class Fusion(nn.Module):
    """The ABF of section 3.3: a depth's features and the deeper ones, by two maps of attention.

    Args:
        channels: of the student's features.
        width: of what is fused.
        teacher_channels: of the teacher's features, which the result is compared with.
        deeper: whether there is anything deeper to fuse.
    """

    def __init__(self, channels: int, width: int, teacher_channels: int, *, deeper: bool) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
        self.leave = nn.Sequential(
            nn.Conv2d(width, teacher_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(teacher_channels),
        )
        self.attention = nn.Conv2d(2 * width, 2, 1) if deeper else None

    def forward(self, maps: Tensor, deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return what the next shallower depth fuses, and what is compared with the teacher."""
        fused: Tensor = self.enter(maps)
        if self.attention is not None and deeper is not None:
            deeper = F.interpolate(deeper, fused.shape[2:], mode="nearest")
            shares = self.attention(torch.cat([fused, deeper], 1)).sigmoid()
            fused = fused * shares[:, :1] + deeper * shares[:, 1:]
        return fused, self.leave(fused)


class Review(nn.Module):
    """Fuses from deep to shallow, and compares every depth with the teacher's own."""

    WIDEST = 512

    def __init__(self, student: Features, teacher: Features) -> None:
        super().__init__()
        width = min(self.WIDEST, student[-1].shape[1])
        self.fusions = nn.ModuleList(
            Fusion(mine.shape[1], width, theirs.shape[1], deeper=depth + 1 < len(student))
            for depth, (mine, theirs) in enumerate(zip(student, teacher, strict=True))
        )

    def forward(self, student: Features, teacher: Features) -> Tensor:
        """Sum the distances over depths.

        Args:
            student, teacher: N x C x H x W each, large maps first.
        """
        losses, deeper = [], None
        rows = list(zip(self.fusions, student, teacher, strict=True))
        for fusion, mine, theirs in reversed(rows):
            deeper, compared = fusion(mine, deeper)
            losses.append(hierarchical_context(compared, theirs))
        return torch.stack(losses).sum()
