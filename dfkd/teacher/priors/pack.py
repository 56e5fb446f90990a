"""The prior of an exported pack: statistics that the owner of the data has given out."""

from pathlib import Path

from torch import Tensor, nn

from dfkd.errors import DfkdError, nearest
from dfkd.losses.statistics import LayerStatistics
from dfkd.networks.fingerprint import fingerprint
from dfkd.networks.layers import named_layers
from dfkd.tasks.words import shown
from dfkd.teacher.pack import Pack, names_of, read_pack
from dfkd.teacher.priors.statistics import StatisticsPrior
from dfkd.teacher.statistics import Moments


class PackPrior(StatisticsPrior):
    """Means and variances of what entered layers of any kind, for networks that keep none.

    Args:
        network: whose layers are compared.
        pack: see ``dfkd.teacher.pack``.

    Raises:
        DfkdError: the network has no layer of a name in the pack.
    """

    def __init__(self, network: nn.Module, pack: Pack) -> None:
        layers, axes = named_layers(network), names_of(pack.layers)
        for name in axes:
            if name not in layers:
                raise DfkdError(
                    f"the pack has statistics of {shown(name, 60)!r}, and the teacher has no such "
                    f"layer{nearest(name, filter(None, layers))}"
                )
        super().__init__({name: layers[name] for name in axes}, axes)
        self.pack = pack
        self.name = f"pack {pack.digest}"  # by which it is told from others
        self._stored: dict[str, tuple[Tensor, Tensor]] = {
            layer.label: (layer.mean, layer.var) for layer in pack.layers
        }

    @property
    def told(self) -> str:
        """What is compared, in words."""
        noise = self.pack.noise
        added = (
            f", with noise of (epsilon {noise.epsilon:g}, delta {noise.delta:g})" if noise else ""
        )
        return (
            f"statistics of {len(self.layers)} layers on {self.pack.samples:,} images, given out "
            f"by the data's owner{added}"
        )

    def on(self, network: nn.Module) -> "PackPrior":
        """Return the same pack for a network that has the same layers, folded or not."""
        return PackPrior(network, self.pack)

    def beside(self, found: Moments) -> LayerStatistics:
        """Put the pack's statistics beside those of a batch.

        Raises:
            DfkdError: a call of a layer that the pack has not, or with other channels.
        """
        stored = self._stored.get(found.label)
        if stored is None or stored[0].shape != found.mean.shape:
            raise DfkdError(
                f"the teacher's layer {shown(found.label, 60)!r} has {len(found.mean)} channels, "
                "and the pack knows none such: it is of another teacher"
            )
        if stored[0].device != found.mean.device:  # once: the teacher stays where it is
            stored = stored[0].to(found.mean.device), stored[1].to(found.mean.device)
            self._stored[found.label] = stored
        return LayerStatistics(found.label, found.mean, found.var, *stored)


def pack_prior(network: nn.Module, path: str) -> PackPrior:
    """Build the prior of a pack's file.

    Raises:
        DfkdError: see ``read_pack``; a pack of another teacher.
    """
    pack = read_pack(Path(path).expanduser())
    own = fingerprint(network)
    if pack.teacher != own:
        raise DfkdError(
            f"{shown(path, 80)} is of another teacher: its weights have the hash "
            f"{shown(pack.teacher[:12])}, those of this one {own[:12]}; have dfkd export-stats "
            "write it for this one"
        )
    return PackPrior(network, pack)
