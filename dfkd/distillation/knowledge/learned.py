"""Losses with parts to learn: adapters from the student's features to the teacher's.

They are trained with the student, kept in checkpoints, and thrown away with the run.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfkd.distillation.knowledge.answers import Answers
from dfkd.errors import DfkdError
from dfkd.losses import contrastive, feature


class Hints(nn.Module):
    """FitNets (Romero et al., ICLR 2015): the teacher's features from the student's, linearly."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(adapter(*pair) for pair in _pairs(answers))

    def forward(self, answers: Answers) -> Tensor:
        """Mean squared difference, summed over depths."""
        pairs = zip(self.adapted(answers), answers.teacher_features, strict=True)
        return torch.stack([feature.hint(student, teacher) for student, teacher in pairs]).sum()

    def adapted(self, answers: Answers) -> tuple[Tensor, ...]:
        """The student's features, as they stand for the teacher's."""
        pairs = zip(self.adapters, answers.student_features, strict=True)
        return tuple(layer(features) for layer, features in pairs)


class Variational(nn.Module):
    """VID (Ahn et al., CVPR 2019): the teacher's features are Gaussian about what is predicted.

    The variance is learnt, one a channel; it starts at about 5, as the authors' does.
    """

    START = 5.0

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        pairs = _pairs(answers)
        self.means = nn.ModuleList(adapter(*pair) for pair in pairs)
        self.scales = nn.ParameterList(
            torch.full((teacher.shape[1],), self.START) for _, teacher in pairs
        )

    def forward(self, answers: Answers) -> Tensor:
        """Negative log-likelihood of the teacher's features, summed over depths."""
        rows = zip(self.means, self.scales, _pairs(answers), strict=True)
        losses = [
            feature.variational_information(mean(student), scale, teacher)
            for mean, scale, (student, teacher) in rows
        ]
        return torch.stack(losses).sum()


class Flows(nn.Module):
    """FSP (Yim et al., CVPR 2017): how features change from one depth to the next.

    Adapters bring the student's channels to the teacher's number; the paper's networks agree.
    """

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        pairs = _pairs(answers)
        if len(pairs) < 2:
            raise DfkdError(
                "fsp compares the way from one depth to the next and needs two pairs of layers; "
                "student and teacher have one: name more with --pair"
            )
        self.adapters = nn.ModuleList(adapter(*pair) for pair in pairs)

    def forward(self, answers: Answers) -> Tensor:
        """Mean squared difference of the flow matrices, averaged over the ways."""
        students = [
            layer(features)
            for layer, features in zip(self.adapters, answers.student_features, strict=True)
        ]
        teachers = answers.teacher_features
        losses = [
            feature.flow_distance(students[i], students[i + 1], teachers[i], teachers[i + 1])
            for i in range(len(students) - 1)
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

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._position = 0
        widths = [embedding.shape[1] for embedding in answers.embeddings]
        self.student, self.teacher = (nn.Linear(width, self.WIDTH) for width in widths)
        self.student_memory: Tensor
        self.teacher_memory: Tensor
        for name in ("student_memory", "teacher_memory"):
            start = F.normalize(torch.randn(self.MEMORY, self.WIDTH), dim=1)
            self.register_buffer(name, start)

    def forward(self, answers: Answers) -> Tensor:
        """In nats, >= 0; the batch enters the memory afterwards."""
        mine, theirs = answers.embeddings
        student = F.normalize(self.student(mine), dim=1)
        teacher = F.normalize(self.teacher(theirs), dim=1)
        loss = contrastive.representation_contrast(
            student, teacher, self.teacher_memory.clone(), self.student_memory.clone()
        )
        self._remember(student.detach(), teacher.detach())
        return loss

    @torch.no_grad()
    def _remember(self, student: Tensor, teacher: Tensor) -> None:
        places = torch.arange(self._position, self._position + len(student)) % self.MEMORY
        places = places.to(self.student_memory.device)[-self.MEMORY :]
        self.student_memory[places] = student[-self.MEMORY :].to(self.student_memory.dtype)
        self.teacher_memory[places] = teacher[-self.MEMORY :].to(self.teacher_memory.dtype)
        self._position = (self._position + len(student)) % self.MEMORY

    def get_extra_state(self) -> int:
        """Where the queue goes on."""
        return self._position

    def set_extra_state(self, state: int) -> None:
        """Continue there."""
        self._position = state


def adapter(student: Tensor, teacher: Tensor) -> nn.Module:
    """A linear map over channels from features like ``student`` to features like ``teacher``."""
    if student.ndim == 2:
        return nn.Linear(student.shape[1], teacher.shape[1], bias=False)
    return nn.Conv2d(student.shape[1], teacher.shape[1], 1, bias=False)


def _pairs(answers: Answers) -> list[tuple[Tensor, Tensor]]:
    return list(zip(answers.student_features, answers.teacher_features, strict=True))
