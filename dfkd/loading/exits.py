"""Files of networks with early exits: how to rebuild them, with their exits and without."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from dfkd.loading.artefact import check_shape
from dfkd.loading.known import EXITS_FACTORY
from dfkd.loading.loaded import LoadedModel
from dfkd.loading.sources import rebuild
from dfkd.networks.early_exits import EarlyExits


def with_exits(
    factory: str,
    keywords: dict[str, Any],
    shape: Sequence[int],
    num_classes: int,
    layers: Sequence[str] = (),
    trust: bool = False,
) -> nn.Module:
    """Rebuild a network that kept its early exits: the factory of such a ``run:DIR``.

    Args:
        factory: builds the network without its exits, a MODEL URI without its query.
        keywords: of that factory.
        shape: channels, height and width of an image.
        num_classes: how many classes there are.
        layers: the layers after which the exits sit; left out, see ``EarlyExits``.
        trust: whether the user trusts who named ``factory``, see ``dfkd.loading.sources.rebuild``.
    """
    network = rebuild(factory, keywords, EXITS_FACTORY, trust)
    return EarlyExits(network, check_shape(shape), num_classes, layers)


def without_exits(loaded: LoadedModel) -> LoadedModel:
    """Strip a student of the exits that it kept, ready to be trained; return any other as it is.

    The exits are those of the run that trained them: a network that learns on leaves them behind.
    """
    if not isinstance(loaded.network, EarlyExits):
        return loaded
    inner = loaded.keywords
    return replace(
        loaded,
        network=loaded.network.module,
        factory=inner["factory"],
        keywords=dict(inner["keywords"]),
    )


def factory_of(
    network: nn.Module, factory: str | None, keywords: Mapping[str, Any]
) -> tuple[str | None, dict[str, Any]]:
    """Return the factory and keywords that build ``network``, its exits included."""
    if factory is None or not isinstance(network, EarlyExits):
        return factory, dict(keywords)
    if factory == EXITS_FACTORY and not isinstance(network.module, EarlyExits):
        return factory, dict(keywords)  # it came with them
    return EXITS_FACTORY, {"factory": factory, "keywords": dict(keywords), **network.keywords}
