"""A faster teacher with the same answers: batch-norm folded into the convolution before it.

In eval mode a batch-norm is y = scale * z + shift, a channel at a time, and a convolution that
ends with it gives y at once. The statistics of z follow from those of y, so that the
norm's two passes over the activations go, forwards and backwards. What cannot be folded stays
as it was, and ``Folding.reasons`` says why. Our own: torch's fusion forgets the statistics.

Between the two layers there is y already: who looks at a convolution's output or at a norm's
input asks the original. Everywhere else features are the same.
"""

from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.nn.utils.parametrize import is_parametrized

from dfkd.errors import DfkdError
from dfkd.losses.statistics import layer_statistics
from dfkd.networks.copying import copy_network
from dfkd.networks.layers import clean_name, unwrap
from dfkd.networks.modes import keep_inputs
from dfkd.teacher.statistics import VARIANCE_EPS
from dfkd.teacher.teacher import Teacher

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm", "FrozenBatchNorm2d")
SMALLEST_SCALE = 0.01
"""Least |weight| / (|weight| + |bias|) of a channel: below it z drowns in y's rounding."""
_TOLERANCE = 1e-3
"""Largest difference of answers and statistics from the unfolded teacher's, relative."""


class Folding(NamedTuple):
    """``teacher`` answers like the one that was folded; ``reasons`` is "" for a folded layer."""

    teacher: Teacher
    reasons: dict[str, str]


class FoldedNorm(nn.Module):
    """Stands where a batch-norm was, and hands on what it gets: y = ``scale`` * z + ``shift``.

    Its taps report the statistics of z, beside the norm's stored ones.
    """

    def __init__(self, norm: Any) -> None:
        super().__init__()
        scale, shift = _affine(norm)
        for name, value in {
            "scale": scale,
            "shift": shift,
            "running_mean": norm.running_mean,
            "running_var": norm.running_var,
        }.items():
            self.register_buffer(name, value.detach().clone())

    @property
    def folded_affine(self) -> tuple[Tensor, Tensor]:
        """``scale`` and ``shift``, by which taps tell z (``dfkd.teacher.statistics``)."""
        values: Any = self
        return values.scale, values.shift

    def forward(self, y: Tensor) -> Tensor:
        """Return ``x``: the normalisation is folded into the preceding convolution."""
        return y


@torch.no_grad()
def fold(teacher: Teacher) -> Folding:
    """Fold whatever can be, in a copy; ``teacher`` itself is untouched.

    The copy is compared with the original on two random images; where they disagree (a
    convolution whose output somebody else reads as well), each layer is tried alone.
    Where nothing can be folded the teacher comes back as it is: so does one whose copy fails.
    """
    if not teacher.layers:
        return Folding(teacher, {})
    if teacher.held:
        return Folding(teacher, dict.fromkeys(teacher.layers, teacher.held))
    try:
        return _fold(teacher)
    except DfkdError as error:
        return Folding(teacher, dict.fromkeys(teacher.layers, str(error)))


def _fold(teacher: Teacher) -> Folding:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, *teacher.spec.shape, generator=generator).to(teacher.device)
    partners, reasons = _partners(teacher, images)
    if partners and not _agree(teacher, _folded(teacher, partners), images):
        if not _agree(teacher, teacher, images):
            unsteady = "the network answers the same images differently from call to call"
            return Folding(teacher, dict.fromkeys(teacher.layers, unsteady))
        for name, partner in list(partners.items()):
            if not _agree(teacher, _folded(teacher, {name: partner}), images):
                del partners[name]
                reasons[name] = "the network also uses its input in another place"
    folded = _folded(teacher, partners) if partners else teacher
    return Folding(folded, {name: reasons.get(name, "") for name in teacher.layers})


def _partners(teacher: Teacher, images: Tensor) -> tuple[dict[str, str], dict[str, str]]:
    """By a norm's name, the convolution whose output is its input; or why there is none."""
    network: nn.Module = unwrap(teacher.network)
    made: dict[int, tuple[str, Tensor]] = {}  # holds the outputs: an id lives as long as its owner
    read: dict[str, str] = {}
    calls: Counter[str] = Counter()

    def convolved(name: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Tensor) -> None:
            calls[name] += 1
            made[id(output)] = (name, output)

        return hook

    def normalised(name: str) -> Any:
        def hook(module: nn.Module, arguments: Any) -> None:
            calls[name] += 1
            read[name] = made.get(id(arguments[0]), ("", arguments[0]))[0]

        return hook

    handles = []
    for name, module in network.named_modules():
        if isinstance(module, CONVOLUTIONS):
            handles.append(module.register_forward_hook(convolved(name)))
        elif clean_name(name) in teacher.layers:
            handles.append(module.register_forward_pre_hook(normalised(name)))
    try:
        teacher(images)
    finally:
        for handle in handles:
            handle.remove()
    readers = Counter(read.values())
    partners, reasons = {}, {}
    for name, norm in network.named_modules():
        if clean_name(name) not in teacher.layers:
            continue
        source = read.get(name, "")
        if type(norm).__name__ not in NORMS and not _computed(norm):
            reasons[clean_name(name)] = f"a {type(norm).__name__} may do more than normalise"
        elif not calls[name]:
            reasons[clean_name(name)] = "not used"
        elif not source:
            reasons[clean_name(name)] = "its input is not a convolution's output"
        elif calls[name] > 1 or calls[source] > 1 or readers[source] > 1:
            reasons[clean_name(name)] = "it or its convolution is used more than once"
        elif _computed(norm) or _computed(network.get_submodule(source)):
            reasons[clean_name(name)] = "its weights or its convolution's are computed"
        elif type(network.get_submodule(source)) not in CONVOLUTIONS:
            reasons[clean_name(name)] = "its convolution is of a kind of its own"
        elif not _readable(norm):
            reasons[clean_name(name)] = "a channel's scale is next to nothing"
        else:
            partners[clean_name(name)] = clean_name(source)
    return partners, reasons


def _affine(norm: Any) -> tuple[Tensor, Tensor]:
    """(scale, shift) of an eval-mode batch-norm, each (C,)."""
    deviation = (norm.running_var + norm.eps).sqrt()
    scale = deviation.reciprocal() if norm.weight is None else norm.weight / deviation
    bias = torch.zeros_like(scale) if norm.bias is None else norm.bias
    return scale, bias - scale * norm.running_mean


def _computed(layer: nn.Module) -> bool:
    """Whether its weights are not its parameters: hooks or parametrizations make them anew."""
    return is_parametrized(layer) or not {"weight", "bias"}.isdisjoint(vars(layer))


def _readable(norm: Any) -> bool:
    if norm.weight is None or norm.bias is None:
        return True
    share = norm.weight.abs() / (norm.weight.abs() + norm.bias.abs())
    return bool((share > SMALLEST_SCALE).all())  # NaN where both are 0: not readable either


def _folded(teacher: Teacher, partners: dict[str, str]) -> Teacher:
    network = copy_network(unwrap(teacher.network))
    places = {clean_name(name): name for name, _ in network.named_modules()}
    for norm_name, convolution_name in partners.items():
        norm: Any = network.get_submodule(places[norm_name])
        convolution: Any = network.get_submodule(places[convolution_name])
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, norm.running_mean, norm.running_var,
            norm.eps, norm.weight, norm.bias,
        )  # fmt: skip
        network.set_submodule(places[norm_name], FoldedNorm(norm))
    keep_inputs(network)
    return teacher.like(network)


def _agree(teacher: Teacher, folded: Teacher, images: Tensor) -> bool:
    expected, found = (t.trace(images, statistics=True) for t in (teacher, folded))
    records = [layer_statistics(trace.statistics) for trace in (found, expected)]
    if len(records[0]) != len(records[1]):
        return False  # the copy does not run its own layers: a forward bound to the original
    pairs = [(expected.logits, found.logits)]
    for ours, theirs in zip(*records, strict=True):
        deviation = (theirs.running_var + theirs.var + VARIANCE_EPS).sqrt()
        pairs += [(theirs.mean / deviation, ours.mean / deviation)]
    return all(bool((a - b).abs().max() <= _TOLERANCE * (1 + a.abs().max())) for a, b in pairs)
