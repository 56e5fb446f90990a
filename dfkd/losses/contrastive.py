"""Which view belongs to which image: losses that tell instances apart."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from dfkd.errors import DfkdError


def instance_discrimination(
    local_features: Tensor,
    global_features: Tensor,
    *,
    temperature: float = 0.1,
    current: int | None = None,
) -> Tensor:
    """Compute -log softmax_j(l_i . g_j / T) at j = i: find your own image among global views.

    The contrastive loss of CMI (Fang et al., IJCAI 2021), on features scaled to length 1. Row i
    of both is one image: its local and its global view. The global side is detached: a local
    view moves, what it is compared with stands still.

    Args:
        local_features: N x dimensions.
        global_features: N x dimensions.
        temperature: T > 0.
        current: the first so many rows are the images being made and the others remembered ones;
            the two means are taken apart and added. None: one mean over all rows.

    Returns:
        In nats, >= 0; log(N) (twice that with two means) where all features are alike.

    >>> one, other = torch.eye(2), torch.eye(2).flip(0)
    >>> round(instance_discrimination(one, one, temperature=1.0).item(), 4)
    0.3133
    >>> round(instance_discrimination(one, other, temperature=1.0).item(), 4)
    1.3133
    """
    if local_features.shape != global_features.shape:
        # More global rows would be taken for negatives without a word.
        shapes = f"{tuple(local_features.shape)} and {tuple(global_features.shape)}"
        raise DfkdError(f"local and global views must give features of one shape, not {shapes}")
    local = F.normalize(local_features, dim=1)
    losses = _info_nce(local, F.normalize(global_features.detach(), dim=1), temperature)
    cached = losses[current:] if current is not None else losses[:0]
    loss = losses[:current].mean()
    return loss + cached.mean() if len(cached) else loss


def representation_contrast(
    student_embedding: Tensor,
    teacher_embedding: Tensor,
    teacher_negatives: Tensor,
    student_negatives: Tensor,
    *,
    temperature: float = 0.07,
) -> Tensor:
    """Compute -log softmax_j(s_i . t_j / T) at j = i, plus the same with s and t exchanged.

    What CRD (Tian et al., ICLR 2020) maximises, a bound on the mutual information of the two
    representations, in its InfoNCE form (van den Oord et al., 2018, eq. 4), not by the NCE with
    sampled noise of CRD's eqs. 17-19: that one needs the size of the data set and constants that
    a run estimates as it goes, and there is no data set here. Row i of both embeddings is one
    image; the student's row is told apart from the teacher's of the other images of the batch
    and of ``teacher_negatives``, and the other way round. All embeddings are scaled to length 1.

    Args:
        student_embedding: N x dimensions, behind a projection that is trained too.
        teacher_embedding: the same; not detached, as its projection is trained as well.
        teacher_negatives: K x dimensions, of other images, which the caller remembers (detached)
            from earlier batches; K may be 0.
        student_negatives: K' x dimensions, likewise.
        temperature: T > 0.

    Returns:
        In nats, a sum of two means over samples, > 0 unless N is 1 and nothing is remembered;
        log(N + K) + log(N + K') where all embeddings are alike.

    >>> one, none = torch.eye(2), torch.zeros(0, 2)
    >>> round(representation_contrast(one, one, none, none, temperature=1.0).item(), 4)
    0.6265
    >>> round(representation_contrast(one, one, -one, none, temperature=1.0).item(), 4)
    0.9398
    """
    shape, dimensions = student_embedding.shape, student_embedding.shape[1:]
    negatives = (teacher_negatives, student_negatives)
    if teacher_embedding.shape != shape or any(n.shape[1:] != dimensions for n in negatives):
        # More teacher's rows would be taken for negatives without a word.
        given = (student_embedding, teacher_embedding, *negatives)
        shapes = ", ".join(str(tuple(embedding.shape)) for embedding in given)
        raise DfkdError(
            "crd needs a student's and a teacher's embedding of one shape and remembered ones "
            f"of as many dimensions, not {shapes}"
        )
    student, teacher = (F.normalize(e, dim=1) for e in (student_embedding, teacher_embedding))
    teachers, students = (F.normalize(remembered, dim=1) for remembered in negatives)
    to_teacher = _info_nce(student, torch.cat([teacher, teachers]), temperature)
    to_student = _info_nce(teacher, torch.cat([student, students]), temperature)
    return to_teacher.mean() + to_student.mean()


def _info_nce(anchors: Tensor, candidates: Tensor, temperature: float) -> Tensor:
    """-log softmax_j(a_i . c_j / T) at j = i, N values; after the Nth all c_j are strangers."""
    logits = anchors @ candidates.T / temperature
    own = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits, own, reduction="none")


def spatial_means(features: Iterable[Tensor]) -> Tensor:
    """Mean over the places of every map, all of them side by side: what CMI compares images by.

    Args:
        features: N x C_l x ..., at least one; what has no places (N x C_l) stays as it is.

    Returns:
        N x sum C_l, in units of the features; float32 or wider, also of narrower features.

    >>> spatial_means([torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[5.0, 6.0]])])
    tensor([[2., 5., 6.]])
    """
    maps = [feature.unsqueeze(-1).flatten(2) for feature in features]
    wide = [torch.promote_types(values.dtype, torch.float32) for values in maps]
    return torch.cat([v.mean(2, dtype=dtype) for v, dtype in zip(maps, wide, strict=True)], 1)
