"""Losses with parts to learn: adapters from the student's features to the teacher's.

They are trained with the student, kept in checkpoints, and thrown away with the run. Each is built
from the values that it is then called with: features of student and teacher, one a depth, or both
embeddings.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.losses import contrastive, feature

Features = Sequence[Tensor]
"""One tensor a depth: N x C x H x W, or N x C without places."""


class Hints(nn.Module):
    """FitNets (Romero et al., ICLR 2015): the teacher's features from the student's, linearly."""

    def __init__(self, student: Features, teacher: Features) -> None:
        super().__init__()
        pairs = zip(student, teacher, strict=True)
        self.adapters = nn.ModuleList(adapter(*pair) for pair in pairs)

    def forward(self, student: Features, teacher: Features) -> Tensor:
        """Sum the mean squared differences over depths."""
        pairs = zip(self.adapted(student), teacher, strict=True)
        return torch.stack([feature.hint(*pair) for pair in pairs]).sum()

    def adapted(self, student: Features) -> tuple[Tensor, ...]:
        """Map the student's features to the teacher's channels."""
        pairs = zip(self.adapters, student, strict=True)
        return tuple(layer(features) for layer, features in pairs)


class Variational(nn.Module):
    """VID (Ahn et al., CVPR 2019): the teacher's features are Gaussian about what is predicted.

    The variance is learnt, one a channel; it starts at about 5, as the authors' does.
    """

    START = 5.0

    def __init__(self, student: Features, teacher: Features) -> None:
        super().__init__()
        self.means = nn.ModuleList(map(adapter, student, teacher))
        self.scales = nn.ParameterList(torch.full((t.shape[1],), self.START) for t in teacher)

    def forward(self, student: Features, teacher: Features) -> Tensor:
        """Sum the negative log-likelihood of the teacher's features over depths."""
        rows = zip(self.means, self.scales, student, teacher, strict=True)
        losses = [feature.variational_information(mean(s), scale, t) for mean, scale, s, t in rows]
        return torch.stack(losses).sum()


class Flows(nn.Module):
    """FSP (Yim et al., CVPR 2017): how features change from one depth to the next.

    Adapters bring the student's channels to the teacher's number; the paper's networks agree.
    """

    def __init__(self, student: Features, teacher: Features) -> None:
        super().__init__()
        if len(student) < 2:
            raise DfkdError(
                "fsp compares the way from one depth to the next and needs two pairs of layers; "
                "student and teacher have one: name more with `pairs`"
            )
        self.adapters = nn.ModuleList(map(adapter, student, teacher))

    def forward(self, student: Features, teacher: Features) -> Tensor:
        """Average the mean squared difference of the flow matrices over the ways."""
        student = [layer(one) for layer, one in zip(self.adapters, student, strict=True)]
        losses = [
            feature.flow_distance(student[i], student[i + 1], teacher[i], teacher[i + 1])
            for i in range(len(student) - 1)
        ]
        return torch.stack(losses).mean()


class Contrast(nn.Module):
    """CRD (Tian et al., ICLR 2020): both embeddings projected to where pairs can be told.

    The paper's memory has a place for every image of its data set. Synthetic images have no end:
    here it is a queue of what the last batches left, random at first. An image that is shown again
    meanwhile is among its own negatives: where each of a few given images is remembered k times,
    neither half of the loss can fall much below log(k + 1).
    """

    WIDTH, MEMORY = 64, 2048

    def __init__(self, student: Tensor, teacher: Tensor) -> None:
        super().__init__()
        self._position = 0
        widths = (student.shape[1], teacher.shape[1])
        self.student, self.teacher = (nn.Linear(width, self.WIDTH) for width in widths)
        self.student_memory: Tensor
        self.teacher_memory: Tensor
        for name in ("student_memory", "teacher_memory"):
            start = F.normalize(torch.randn(self.MEMORY, self.WIDTH), dim=1)
            self.register_buffer(name, start)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the contrast in nats, >= 0; the batch enters the memory afterwards."""
        student = F.normalize(self.student(student), dim=1)
        teacher = F.normalize(self.teacher(teacher), dim=1)
        loss = contrastive.representation_contrast(
            student, teacher, self.teacher_memory.clone(), self.student_memory.clone()
        )
        self._remember(student.detach(), teacher.detach())
        return loss

    @torch.no_grad()
    def _remember(self, student: Tensor, teacher: Tensor) -> None:
        slots = torch.arange(self._position, self._position + len(student)) % self.MEMORY
        slots = slots.to(self.student_memory.device)[-self.MEMORY :]
        self.student_memory[slots] = student[-self.MEMORY :].to(self.student_memory.dtype)
        self.teacher_memory[slots] = teacher[-self.MEMORY :].to(self.teacher_memory.dtype)
        self._position = (self._position + len(student)) % self.MEMORY

    def get_extra_state(self) -> int:
        """Return where the queue goes on."""
        return self._position

    def set_extra_state(self, state: int) -> None:
        """Continue there."""
        self._position = state


def adapter(student: Tensor, teacher: Tensor) -> nn.Module:
    """Build a linear map over channels from features like ``student`` to ones like ``teacher``."""
    if student.ndim == 2:
        return nn.Linear(student.shape[1], teacher.shape[1], bias=False)
    return nn.Conv2d(student.shape[1], teacher.shape[1], 1, bias=False)
