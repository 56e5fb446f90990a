"""``timm:NAME``: its classifiers, with the images that timm says they take."""

from typing import Any

from dfkd.errors import DfkdError
from dfkd.loading.loaded import LOADING, Defaults, LoadedModel, near, only
from dfkd.loading.uri import ModelURI
from dfkd.loading.usercode import call
from dfkd.teacher.spec import ImageSpec


def from_timm(uri: ModelURI, defaults: Defaults) -> LoadedModel:
    """Build one of timm's classifiers; its size, mean and std are those of its configuration."""
    try:
        import timm
    except ImportError:
        raise DfkdError("timm is not installed; pip install 'dfkd[timm]'") from None
    if not timm.is_model(uri.name):
        raise DfkdError(f"timm has no model {uri.name!r}{near(uri.name, timm.list_models())}")
    keywords = {**only(defaults, "num_classes", "in_chans"), **uri.keywords}

    def factory(**keywords: Any) -> Any:
        return timm.create_model(uri.name, **keywords)

    network = call(factory, keywords, uri.base)
    config = getattr(network, "pretrained_cfg", None) or {}
    spec = None
    channels, height, width = config.get("input_size") or (0, 0, 0)
    # The mean and std of three channels say nothing about another number of them.
    if channels and keywords.get("in_chans", channels) == channels:
        size = keywords.get("img_size", (height, width))
        own = (height, width)
        height, width = (size, size) if isinstance(size, int) else size
        crop = min(1.0, config.get("crop_pct") or 1.0) if (height, width) == own else 1.0
        spec = ImageSpec(channels, height, width, config["mean"], config["std"], crop)
    # To build the architecture again, from a run's weights, nothing is to be loaded.
    rebuilt = {key: value for key, value in keywords.items() if key not in LOADING}
    return LoadedModel(network, spec, None, uri.base, rebuilt)


def size_hint(uri: ModelURI, size: tuple[int, int]) -> str:
    """Name the keyword that builds a network of timm for images of another size; "" for others.

    Args:
        uri: whatever MODEL.
        size: height and width that did not fit.
    """
    if uri.kind != "timm" or "img_size" in uri.keywords:
        return ""
    wanted = size[0] if size[0] == size[1] else list(size)
    try:
        from_timm(ModelURI("timm", uri.name, "", None, {**uri.keywords, "img_size": wanted}), {})
    except Exception:  # convolutional networks take no such keyword
        return ""
    return f"build it for them: {uri.base}?img_size={str(wanted).replace(' ', '')}"
