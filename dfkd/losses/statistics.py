"""How far a batch's layer statistics lie from the ones that the teacher stored.

Both take the ``statistics`` of a ``Trace``. All layers are laid end to end first,
so that the number of kernels hardly grows with depth.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dfkd.errors import DfkdError


class LayerStatistics(NamedTuple):
    """Statistics of one layer's input for one batch, beside the stored ones; all of shape (C,).

    ``var`` is the biased variance. ``running_mean`` and ``running_var`` are the
    teacher's own buffers: never write to them.
    """

    name: str
    mean: Tensor
    var: Tensor
    running_mean: Tensor
    running_var: Tensor


def norm_distance(
    statistics: Sequence[LayerStatistics], *, first_layer_weight: float = 1.0
) -> Tensor:
    """Sum ||mean_l - running_mean_l||_2 + ||var_l - running_var_l||_2, the norms not squared.

    DeepInversion (Yin et al., CVPR 2020), eq. 4; also the L_bn of DFQ, CMI, Fast and
    NAYER. It grows with the network's width, depth and activations, so a weight tuned for
    one architecture does not carry over to another: ``scale_free_distance`` does.

    Args:
        statistics: one entry a layer, in the network's order.
        first_layer_weight: factor of the first layer's two norms.

    Returns:
        In units of the activations (means) and their squares (variances), >= 0. Where
        a norm is 0 its gradient is 0.

    Raises:
        DfkdError: no layer at all.

    >>> zero, one = torch.zeros(4), torch.ones(4)
    >>> layer = LayerStatistics("bn", mean=one, var=one, running_mean=zero, running_var=one)
    >>> norm_distance((layer, layer), first_layer_weight=10.0).item()
    22.0
    """
    _require_layers(statistics)
    widths = [len(layer.mean) for layer in statistics]
    mean, var, running_mean, running_var = _end_to_end(statistics)
    differences = torch.split(torch.cat([mean - running_mean, var - running_var]), widths * 2)
    of_means, of_vars = torch.stack(torch._foreach_norm(differences)).view(2, -1)
    distances: Tensor = of_means + of_vars
    # Not a multiplication by a weight vector: that would be copied to the device each time.
    return distances.sum() + (first_layer_weight - 1) * distances[0]


def scale_free_distance(statistics: Sequence[LayerStatistics], *, eps: float = 1e-5) -> Tensor:
    """Compute KL(batch || stored) of the two as Gaussians, averaged over channels, then layers.

    A channel counts ((mean - running_mean)^2 + var)/running_var - 1 - log(var/running_var),
    halved: differences in units of the stored standard deviation. Rescaled activations,
    wider layers and more layers leave it where it was, so weights and thresholds carry
    over between architectures. The measure is ours; the Gaussian KL is textbook.

    Args:
        statistics: one entry a layer.
        eps: added to both variances as batch-norm itself does, so that dead channels
            (no variance) stay finite.

    Returns:
        In nats a channel, >= 0, and 0 iff all statistics agree.

    Raises:
        DfkdError: no layer at all.

    >>> zero, one = torch.zeros(4), torch.ones(4)
    >>> layer = LayerStatistics("bn", mean=one, var=one, running_mean=zero, running_var=one)
    >>> round(scale_free_distance((layer, layer)).item(), 4)
    0.5
    """
    _require_layers(statistics)
    mean, var, running_mean, running_var = _end_to_end(statistics)
    ratio = (var + eps) / (running_var + eps)
    shift = (mean - running_mean).square() / (running_var + eps)
    divergence = 0.5 * (shift + ratio - 1 - ratio.log())
    layers = torch.split(divergence, [len(layer.mean) for layer in statistics])
    return torch.stack([layer.mean() for layer in layers]).mean()


def layer_statistics(record: Any) -> tuple[LayerStatistics, ...]:
    """Return those of a prior's record that are layers' statistics: all, or none.

    Args:
        record: what a prior recorded of a batch; one of another kind has none.

    >>> layer_statistics(torch.zeros(3))
    ()
    """
    layers = tuple(record) if isinstance(record, list | tuple) else ()
    fields = {"name", "mean", "var"}
    return layers if all(fields <= {*getattr(one, "_fields", ())} for one in layers) else ()


def prior_distance(prior: Any, record: Any) -> Tensor:
    """Measure how far a batch lies from what a teacher remembers, as its prior does.

    Args:
        prior: what the teacher remembers (``dfkd.teacher.priors.Prior``).
        record: what it recorded of the batch.

    >>> class Mean:
    ...     def distance(self, record):
    ...         return (record - 1.0).abs()
    >>> prior_distance(Mean(), torch.tensor(3.0)).item()
    2.0
    """
    distance: Tensor = prior.distance(record)
    return distance


def relative_prior_distance(prior: Any, record: Any) -> Tensor:
    """Measure the same free of the network's scale, so that weights carry over between networks.

    Args:
        prior: what the teacher remembers.
        record: what it recorded of the batch.

    >>> class Mean:
    ...     def relative_distance(self, record):
    ...         return (record / 2.0 - 1.0).abs()
    >>> relative_prior_distance(Mean(), torch.tensor(4.0)).item()
    1.0
    """
    distance: Tensor = prior.relative_distance(record)
    return distance


def _end_to_end(statistics: Sequence[LayerStatistics]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(mean, var, running_mean, running_var) over all layers' channels, in the type of ``mean``."""
    _, *columns = zip(*statistics, strict=True)
    mean, var, running_mean, running_var = map(torch.cat, columns)
    return mean, var, running_mean.to(mean.dtype), running_var.to(mean.dtype)


def _require_layers(statistics: Sequence[LayerStatistics]) -> None:
    # An empty sum would be a loss of 0: optimisation would go on and mean nothing.
    if not statistics:
        raise DfkdError(
            "no layer statistics to match: ask for trace(..., statistics=True), or, for a "
            "teacher without batch-norm, use a method that needs only its answers (drawings)"
        )
