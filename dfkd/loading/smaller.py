"""``teacher:SIDE``: the teacher's own network as a student, on smaller images."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from dfkd.errors import DfkdError
from dfkd.loading.known import SMALLER_FACTORY
from dfkd.loading.loaded import LoadedModel
from dfkd.loading.sources import rebuild
from dfkd.loading.uri import ModelURI
from dfkd.networks.copying import copy_network
from dfkd.networks.modes import set_learning
from dfkd.networks.smaller_images import SmallerImages
from dfkd.teacher import Teacher


def on_smaller_images(
    factory: str, keywords: Mapping[str, Any], side: int, trust: bool = False
) -> nn.Module:
    """Rebuild a network behind images of another size: the factory of such a ``run:DIR``.

    Args:
        factory: builds the network, a MODEL URI without its query.
        keywords: of that factory.
        side: see ``SmallerImages``.
        trust: whether the user trusts who named ``factory``, see ``dfkd.loading.sources.rebuild``.
    """
    return SmallerImages(rebuild(factory, dict(keywords), SMALLER_FACTORY, trust), side)


def smaller_teacher(uri: ModelURI, teacher: Teacher) -> LoadedModel:
    """Copy a teacher's network with its weights, to be shown images of ``SIDE`` pixels.

    Args:
        uri: ``teacher:SIDE``.
        teacher: unchanged.

    Raises:
        DfkdError: no such side, or a network that nothing can copy.
    """
    most = min(teacher.spec.height, teacher.spec.width)
    side = int(uri.name) if uri.name.isascii() and uri.name.isdigit() else 0
    if not 1 <= side <= most:
        raise DfkdError(f"{uri.base}: give the side in pixels, from 1 to the teacher's {most}")
    if uri.keywords or uri.weights:
        raise DfkdError(f"{uri.base} is the teacher's network with its weights: leave out the rest")
    teacher.require_inside(f"{uri.base} is the teacher's own network")
    network = copy_network(teacher.network)
    set_learning(network, True)
    student = SmallerImages(network, side)
    if teacher.source is None or teacher.source[0] is None:
        return LoadedModel(student, None, None, None, {})
    factory, keywords = teacher.source
    inner = {"factory": factory, "keywords": dict(keywords), "side": side}
    return LoadedModel(student, None, None, SMALLER_FACTORY, inner)
