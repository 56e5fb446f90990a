"""``torchvision:NAME``: its classifiers, with published weights or a file's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfkd.errors import DfkdError, nearest
from dfkd.loading.loaded import LOADING, Defaults, LoadedModel, near, only
from dfkd.loading.uri import ModelURI
from dfkd.loading.usercode import call, first_line
from dfkd.loading.weights import place_weights
from dfkd.teacher.spec import ImageSpec


def published_weights(uri: ModelURI) -> Any:
    """Return the torchvision enum member that ``weights=`` names; ``None`` for a file."""
    if uri.kind != "torchvision" or uri.weights is None:
        return None
    known: Mapping[str, Any] = _weights_of(uri).__members__
    if uri.weights in known:
        return known[uri.weights]
    if Path(uri.weights).suffix or Path(uri.weights).expanduser().exists():
        return None
    raise DfkdError(f"{uri.base} has no weights {uri.weights!r}{nearest(uri.weights, known)}")


def _weights_of(uri: ModelURI) -> Any:
    from torchvision import models

    names = models.list_models(module=models)
    if uri.name not in names:
        raise DfkdError(f"torchvision has no classifier {uri.name!r}{near(uri.name, names)}")
    return models.get_model_weights(uri.name)


def from_torchvision(uri: ModelURI, defaults: Defaults) -> LoadedModel:
    """Build one of torchvision's classifiers, with the weights that ``weights=`` names.

    A student's own number of classes gives it a new head on the published body.
    """
    from torchvision import models

    known = _weights_of(uri)
    chosen = published_weights(uri)
    keywords = {**only(defaults, "num_classes"), **uri.keywords}
    # Told by the teacher, not by the user: torchvision refuses other numbers than the published.
    classes = defaults.get("num_classes", 0)
    new_head = chosen is not None and classes not in (0, len(chosen.meta["categories"]))
    new_head = new_head and keywords["num_classes"] == classes

    def factory(**keywords: Any) -> Any:
        return models.get_model(uri.name, weights=None if new_head else chosen, **keywords)

    network = call(factory, keywords, uri.base)
    notes: tuple[str, ...] = ()
    if new_head:
        notes = place_weights(network, _fetched(chosen, uri), f"{uri.base}?weights={uri.weights}",
                              uri.base, classes)  # fmt: skip
    # The metadata is part of the package: nothing is downloaded to read it.
    member = chosen or known.__members__.get("IMAGENET1K_V1") or next(iter(known), None)
    spec, names = None, None
    if member is not None:
        transforms = member.transforms()
        size = transforms.crop_size[0]
        crop = min(1.0, size / transforms.resize_size[0])
        spec = ImageSpec(3, size, size, tuple(transforms.mean), tuple(transforms.std), crop)
        names = None if new_head else tuple(member.meta["categories"])
    rebuilt = {key: value for key, value in keywords.items() if key not in LOADING}
    return LoadedModel(network, spec, names, uri.base, rebuilt, notes)


def _fetched(chosen: Any, uri: ModelURI) -> Any:
    try:
        return chosen.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # the network's, the disk's
        raise DfkdError(
            f"the weights {uri.weights} of {uri.base} cannot be fetched ({first_line(error)[:120]})"
        ) from None
