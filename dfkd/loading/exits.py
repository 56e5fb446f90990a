"""Networks with early exits in files: what builds them again, and what they are without exits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from dfkd.loading.artefact import check_shape
from dfkd.loading.known import EXITS as FACTORY
from dfkd.loading.sources import LoadedModel, rebuild
from dfkd.networks.early_exits import EarlyExits


def with_exits(
    factory: str,
    keywords: dict[str, Any],
    shape: Sequence[int],
    num_classes: int,
    layers: Sequence[str] = (),
    trust: bool = False,
) -> nn.Module:
    """The network that ``factory`` builds, with exits: how ``run:DIR`` builds what kept them.

    Args:
        trust: the user trusts who named ``factory``, see ``dfkd.loading.sources.rebuild``.
    """
    network = rebuild(factory, keywords, FACTORY, trust)
    return EarlyExits(network, check_shape(shape), num_classes, layers)


def without_exits(loaded: LoadedModel) -> LoadedModel:
    """A student that kept its exits, without them, ready to be trained; any other as it is.

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
    """What builds ``network``, where ``factory`` and ``keywords`` build it without its exits."""
    if factory is None or not isinstance(network, EarlyExits):
        return factory, dict(keywords)
    if factory == FACTORY and not isinstance(network.module, EarlyExits):
        return factory, dict(keywords)  # it came with them
    return FACTORY, {"factory": factory, "keywords": dict(keywords), **network.keywords}
