"""Where a network looks: maps over the image, of energy or of evidence for a class.

Our own: libraries of CAMs explain a finished network, and losses differentiate the maps once more.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dfkd.errors import DfkdError


def attention_map(features: Tensor) -> Tensor:
    """Scale mean_c f_c^2 over the image to length 1 (Zagoruyko & Komodakis, ICLR 2017, eq. 1).

    Args:
        features: N x C x H x W; C does not matter, so that no adapter is needed.

    Returns:
        N x H*W, >= 0, each row of length 1 (0 where all features are).

    >>> features = torch.zeros(1, 2, 1, 2)
    >>> features[0, :, 0] = torch.tensor([[3.0, 0.0], [0.0, 0.0]])
    >>> attention_map(features)
    tensor([[1., 0.]])
    """
    return F.normalize(features.square().mean(1).flatten(1), dim=1)


def attention_transfer(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Mean squared difference of the two attention maps, the form that ZSKT weighs by 250.

    Args:
        student_features: N x C x H x W.
        teacher_features: N x C' x H x W, the same image size.

    Returns:
        A mean over samples and places, within [0, 2 / (H*W)].

    Raises:
        DfkdError: maps of different sizes, or of one pixel: scaled to length 1 they are all alike.

    >>> one, other = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
    >>> one[..., 0], other[..., 1] = 1.0, 5.0
    >>> attention_transfer(one, other).item()
    1.0
    """
    _check_maps(student_features, teacher_features)
    if student_features[0, 0].numel() == 1:
        raise DfkdError(
            "at compares where maps are high, and a map of one pixel is high nowhere: "
            "name larger ones with `pairs`, or take hint"
        )
    return F.mse_loss(attention_map(student_features), attention_map(teacher_features))


def class_activation_map(features: Tensor, weight: Tensor, classes: Tensor) -> Tensor:
    """Evidence for a class at every place: sum_c w_{class,c} f_c (Zhou et al., CVPR 2016, eq. 2).

    Args:
        features: N x C x H x W, what is averaged over places before the linear classifier.
        weight: classes x C, that classifier's.
        classes: N class indices.

    Returns:
        N x H x W, in units of the logits.

    >>> class_activation_map(torch.ones(1, 2, 1, 1), torch.tensor([[1.0, 2.0]]), torch.tensor([0]))
    tensor([[[3.]]])
    """
    if features.shape[1] != weight.shape[1]:
        raise DfkdError(
            f"cam needs the classifier to read the last map's {features.shape[1]} channels, "
            f"averaged over places, and it reads {weight.shape[1]} numbers: compare something "
            "else, as `knowledge=kd + at` does"
        )
    return torch.einsum("nchw,nc->nhw", features, weight[classes].to(features.dtype))


def logit_gradients(
    features: Sequence[Tensor], logits: Tensor, classes: Tensor, *, create_graph: bool
) -> tuple[Tensor, ...]:
    """Differentiate the sum of all samples' logits of their classes by each feature, in one pass.

    In eval mode a feature moves its own sample's logit alone: these are Grad-CAM's gradients, and
    the teacher's. In train mode batch-norms mix samples, and the gradients of a channel that enters
    one sum to zero over the batch. A student in training keeps these: with the norms' statistics
    taken as given it learnt less from ``kd + grad_cam`` (digits, 250 steps, two seeds: 97 % as it
    is, 96 % with the stored statistics, 29 % with the batch's), nothing at all from the maps alone.

    Args:
        features: N x ... each, in the graph of ``logits``.
        logits: N x classes.
        classes: N class indices: whose logit.
        create_graph: whether the gradients are to be differentiated themselves (the student's).
            Otherwise the graph is freed.

    Returns:
        As ``features``, in units of the logits per unit of the features.

    Raises:
        DfkdError: features that no logit depends on.

    >>> features = torch.ones(1, 1, 2, 2, requires_grad=True)
    >>> logits = 3 * features.mean((2, 3))
    >>> (gradient,) = logit_gradients([features], logits, torch.tensor([0]), create_graph=False)
    >>> gradient[0, 0, 0]
    tensor([0.7500, 0.7500])
    """
    chosen = logits.gather(1, classes[:, None]).sum()
    found = torch.autograd.grad(
        chosen, tuple(features), create_graph=create_graph, allow_unused=True
    )
    if any(gradient is None for gradient in found):
        raise DfkdError(
            "no logit depends on one of the layers that grad_cam compares: name others with `pairs`"
        )
    return found


def grad_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Compute ReLU(sum_c a_c f_c), a_c the logit's mean gradient (Selvaraju et al., 2017).

    Args:
        features: N x C x H x W.
        gradients: the same, as ``logit_gradients`` gives them.

    Returns:
        N x H x W, >= 0, in units of the logits.

    >>> grad_cam(torch.full((1, 1, 1, 2), 2.0), torch.tensor([[[[1.0, 3.0]]]]))
    tensor([[[4., 4.]]])
    """
    return F.relu((gradients.mean((2, 3), keepdim=True) * features).sum(1))


def map_distance(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """Mean squared difference of two maps of evidence, compared as they are.

    CAMs and Grad-CAMs are in units of the logits in any network, and SpaceshipNet weighs them as
    such.

    Args:
        student_map, teacher_map: N x H x W.

    Returns:
        >= 0, in squared units of the maps.

    >>> map_distance(torch.ones(1, 1, 2), 7 * torch.ones(1, 1, 2)).item()
    36.0
    """
    _check_maps(student_map[:, None], teacher_map[:, None])
    return F.mse_loss(student_map, teacher_map)


def activation_map_distance(
    student_features: Tensor,
    student_weight: Tensor,
    teacher_features: Tensor,
    teacher_weight: Tensor,
    classes: Tensor,
) -> Tensor:
    """Mean squared difference of the two class activation maps (SpaceshipNet, eq. 9).

    Args:
        student_features, teacher_features: N x C x H x W, of any sizes: what a classifier averages.
        student_weight, teacher_weight: the classifiers' weights, classes x C.
        classes: N class indices: whose map. The teacher's side takes no gradient.

    Returns:
        >= 0, in squared units of the logits.

    >>> one, weight = torch.ones(1, 1, 2, 2), torch.tensor([[2.0], [5.0]])
    >>> activation_map_distance(one, weight, 3 * one, weight, torch.tensor([1])).item()
    100.0
    """
    student = class_activation_map(student_features, student_weight, classes)
    teacher = class_activation_map(teacher_features, teacher_weight, classes)
    student, teacher = pool_to_common_size(student, teacher)
    return map_distance(student, teacher.detach())


def grad_cam_distance(
    student_features: Tensor,
    student_gradients: Tensor,
    teacher_features: Tensor,
    teacher_gradients: Tensor,
) -> Tensor:
    """Mean squared difference of the two Grad-CAMs at one depth (SpaceshipNet, eq. 8).

    Args:
        student_features, teacher_features: N x C x H x W, of one height and width.
        student_gradients, teacher_gradients: the same, as ``logit_gradients`` gives them.

    Returns:
        >= 0, in squared units of the logits.

    >>> one = torch.ones(1, 1, 2, 2)
    >>> grad_cam_distance(one, one, 3 * one, one).item()
    4.0
    """
    return map_distance(
        grad_cam(student_features, student_gradients), grad_cam(teacher_features, teacher_gradients)
    )


def pool_to_common_size(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Average both maps over cells, to the smaller height and width: their means stay.

    Args:
        one, other: N x H x W, of any sizes.

    >>> one, other = pool_to_common_size(torch.tensor([[[1.0, 3.0]]]), torch.ones(1, 1, 1))
    >>> one, other
    (tensor([[[2.]]]), tensor([[[1.]]]))
    """
    size = (min(one.shape[1], other.shape[1]), min(one.shape[2], other.shape[2]))
    return F.adaptive_avg_pool2d(one, size), F.adaptive_avg_pool2d(other, size)


def _check_maps(student: Tensor, teacher: Tensor) -> None:
    # Broadcasting would turn a mistake into a number.
    sizes = [(maps.ndim, len(maps), *maps.shape[2:]) for maps in (student, teacher)]
    if sizes[0] != sizes[1] or student.ndim != 4:
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise DfkdError(f"student and teacher must give maps of one size, not {shapes}")
