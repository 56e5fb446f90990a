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
    """-log softmax_j(l_i . g_j / T) at j = i: of all global views, know that of your own image.

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
    logits = local @ F.normalize(global_features.detach(), dim=1).T / temperature
    own = torch.arange(len(logits), device=logits.device)
    losses = F.cross_entropy(logits, own, reduction="none")
    cached = losses[current:] if current is not None else losses[:0]
    loss = losses[:current].mean()
    return loss + cached.mean() if len(cached) else loss


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
