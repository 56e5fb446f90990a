"""The priors by name: one row says all that the rest of the package must know of each.

To add a prior, write its file and its row here; ``--prior``, ``load_teacher`` and ``probe`` take
it from there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from dfkd.errors import DfkdError, nearest
from dfkd.networks.attending import may_attend
from dfkd.teacher.priors.batch_norm import BatchNormPrior
from dfkd.teacher.priors.external import ExternalPrior
from dfkd.teacher.priors.norm_shift import NormShiftPrior, shifting_norms
from dfkd.teacher.priors.nothing import NoPrior
from dfkd.teacher.priors.pack import pack_prior
from dfkd.teacher.priors.patch import PatchPrior
from dfkd.teacher.priors.prior import Prior
from dfkd.teacher.spec import ImageSpec
from dfkd.teacher.statistics import statistics_layers


class PriorRow(NamedTuple):
    """A row of the catalogue.

    Attributes:
        build: (network, spec, argument) -> the ``Prior``; raises ``DfkdError`` where it cannot be.
        line: what it compares images with.
        fits: whether a network is one that it was made for: ``probe`` names the first that does.
        sees: what such a network has, as ``probe`` says it.
        takes: what stands behind the colon of ``NAME:ARGUMENT``: FILE, handed on as it stands, or
            MODEL, handed on as a ``NamedModel``; "" for nothing.
    """

    build: Callable[[nn.Module, ImageSpec, Any], Prior]
    line: str
    fits: Callable[[nn.Module], bool]
    sees: str = ""
    takes: str = ""


class NamedModel(NamedTuple):
    """A MODEL that a prior takes: its URI, and the ``Teacher`` that was loaded from it."""

    words: str
    teacher: Any


def _batch_norm(network: nn.Module, spec: ImageSpec, argument: Any) -> Prior:
    """Build the prior of a network's batch-norms.

    Raises:
        DfkdError: it has none.
    """
    if not statistics_layers(network):
        raise DfkdError(
            "`prior=batch_norm` reads what batch-norms store, and this network has none: leave "
            "`prior` out"
        )
    return BatchNormPrior(network)


PRIORS: dict[str, PriorRow] = {
    "batch_norm": PriorRow(
        _batch_norm,
        "the running means and variances of its batch-norms",
        lambda network: bool(statistics_layers(network)),
        "batch-norms",
    ),
    "pack": PriorRow(
        lambda network, spec, argument: pack_prior(network, argument),
        "statistics of layers that the owner of the data gave out: dfkd export-stats",
        lambda network: False,
        takes="FILE",
    ),
    "external": PriorRow(
        lambda network, spec, argument: ExternalPrior(argument.teacher, spec, argument.words),
        "another network's batch-norm statistics: of other data, and named as such",
        lambda network: False,
        takes="MODEL",
    ),
    "norm_shift": PriorRow(
        lambda network, spec, argument: NormShiftPrior(network),
        "nothing, but answers are given under the current batch's statistics",
        lambda network: bool(shifting_norms(network)),
        "norms that can take a batch's own statistics",
    ),
    "patch": PriorRow(
        lambda network, spec, argument: PatchPrior(network, spec),
        "how unlike the patches are to a transformer (PSAQ-ViT, Li et al., 2022)",
        lambda network: not statistics_layers(network) and may_attend(network),
    ),
    "nothing": PriorRow(
        lambda network, spec, argument: NoPrior(),
        "nothing: only the teacher's answers are asked for",
        lambda network: False,
    ),
}


def find_prior(network: nn.Module) -> Prior:
    """Find what a network remembers: its batch-norms' statistics, or nothing."""
    return BatchNormPrior(network) if statistics_layers(network) else NoPrior()


def named_prior(
    words: str, network: nn.Module, spec: ImageSpec, load: Callable[[str], Any] | None = None
) -> Prior:
    """Build the prior that ``NAME`` or ``NAME:ARGUMENT`` names.

    Args:
        words: a row of ``PRIORS``, with what it takes.
        network: the teacher's.
        spec: the images that it is shown.
        load: what loads the ``Teacher`` of a MODEL URI, for a row that takes one.

    Raises:
        DfkdError: no such row, an argument that it does not take, or takes and has not.
    """
    name, _, argument = words.partition(":")
    if name not in PRIORS:
        raise DfkdError(f"no prior {name[:60]!r}{nearest(name, PRIORS)}")
    row = PRIORS[name]
    if bool(argument) != bool(row.takes):
        usage = f"{name}:{row.takes}" if row.takes else name
        raise DfkdError(f"write `prior={usage}`, not {words[:100]!r}")
    if row.takes != "MODEL":
        return row.build(network, spec, argument)
    if load is None:
        raise DfkdError(f"`prior={name}:MODEL` loads a network: give it to dfkd.load_teacher")
    return row.build(network, spec, NamedModel(argument, load(argument)))


def suggestion(network: nn.Module) -> str:
    """Return a line on what images could be compared with where a network remembers nothing."""
    pack = "ask the data's owner for a pack (dfkd export-stats) and give `prior=pack:FILE`"
    for name, row in PRIORS.items():
        if row.fits(network):
            return f"no batch-norm: it has {row.sees} -> `prior={name}`; or {pack}"
    return f"no batch-norm: {pack}"
