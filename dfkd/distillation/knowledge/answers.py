"""What two networks say to the same images: all that a kind of knowledge can look at."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Answers(NamedTuple):
    """What student and teacher say to the same N images.

    Logits are N x classes, ``targets`` N class indices where the images were made for a class.
    Features are pairs of maps N x C x H x W of equal H and W, large ones first, or of vectors
    N x C where every kind that looks at them takes vectors; gradients those of the logit of the
    teacher's decision with respect to them. Last maps are those before the linear classifiers,
    N x C x H x W of any sizes, and heads these classifiers' weights, classes x C. Embeddings are
    what the classifiers read, N x D of any widths. What no term of the expression looks at is
    left empty. The teacher's side is part of no graph.
    """

    student_logits: Tensor
    teacher_logits: Tensor
    temperature: float
    targets: Tensor | None = None
    student_features: tuple[Tensor, ...] = ()
    teacher_features: tuple[Tensor, ...] = ()
    student_gradients: tuple[Tensor, ...] = ()
    teacher_gradients: tuple[Tensor, ...] = ()
    student_last: Tensor | None = None
    teacher_last: Tensor | None = None
    student_head: Tensor | None = None
    teacher_head: Tensor | None = None
    student_embedding: Tensor | None = None
    teacher_embedding: Tensor | None = None

    @property
    def classes(self) -> Tensor:
        """N indices: the teacher's decisions."""
        return self.teacher_logits.argmax(1)

    @property
    def labels(self) -> Tensor:
        """N indices: what the images were made for, else the teacher's decisions."""
        return self.classes if self.targets is None else self.targets

    @property
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's."""
        assert self.student_embedding is not None
        assert self.teacher_embedding is not None
        return self.student_embedding, self.teacher_embedding

    def of_all(self, together: Callable[[Tensor], Tensor], *, features: bool) -> "Answers":
        """What relations look at, of the images of all processes: embeddings and last features.

        Args:
            together: rows of one process -> those of all (``Runtime.all_gather_with_grad``).
            features: whether a relation looks at features at all; they are many numbers.
        """
        mine, theirs = self.student_embedding, self.teacher_embedding
        last = slice(-1, None) if features else slice(0)
        return self._replace(
            student_features=tuple(map(together, self.student_features[last])),
            teacher_features=tuple(map(together, self.teacher_features[last])),
            student_embedding=None if mine is None else together(mine),
            teacher_embedding=None if theirs is None else together(theirs),
        )
