"""One function for each kind of MODEL URI: URI -> a built network and what is known of it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from dfkd.errors import DfkdError, nearest
from dfkd.loading.artefact import bundled_file, read_artefact, run_file
from dfkd.loading.known import AROUND, RENAMED_FACTORIES, build_within, check_known
from dfkd.loading.uri import TEACHER_FORMS, WEB_KINDS, ModelURI, parse_uri, quoted
from dfkd.loading.usercode import call, find_factory, parameters
from dfkd.loading.weights import load_weights
from dfkd.teacher.spec import ImageSpec

Defaults = Mapping[str, Any]

LOADING = ("pretrained", "checkpoint_path", "cache_dir", "progress")
"""Keywords that a user may give timm and torchvision, and that say nothing of the network."""


@dataclass(frozen=True)
class LoadedModel:
    """A network and what its source says of it.

    Attributes:
        network: the built network.
        spec: image size and normalisation; None where the source is silent.
        class_names: one a class; likewise.
        factory: a MODEL URI without its query, which builds the architecture with ``keywords``
            again: ``save_artefact`` takes both as they are.
        keywords: of the factory.
    """

    network: nn.Module
    spec: ImageSpec | None
    class_names: tuple[str, ...] | None
    factory: str | None
    keywords: dict[str, Any]


def build(uri: ModelURI, defaults: Defaults, trust: bool = False) -> LoadedModel:
    """Build the network of ``uri`` without the weights of its query (but with published ones).

    Args:
        uri: what the user wrote; or what a file names, where that was checked or is trusted.
        defaults: keywords for a factory that names them and that the URI leaves out.
        trust: run whatever factory a run's file names.
    """
    if uri.kind in ("bundled", "run"):
        return _from_artefact(uri, trust)
    if uri.kind == "teacher":
        raise DfkdError(f"{uri.base} is a student of another teacher; a teacher is {TEACHER_FORMS}")
    if uri.kind in WEB_KINDS:
        raise DfkdError(f"{uri.base[:80]} answers, and shows no network: name it as the teacher")
    if uri.kind == "torchvision":
        return _from_torchvision(uri, defaults)
    if uri.kind == "timm":
        return _from_timm(uri, defaults)
    factory = find_factory(uri)
    keywords = {**_accepted(factory, defaults), **uri.keywords}
    if uri.kind == "file":
        uri = replace(uri, name=str(Path(uri.name).expanduser().resolve()))
    return LoadedModel(call(factory, keywords, uri.base), None, None, uri.base, keywords)


def _from_artefact(uri: ModelURI, trust: bool) -> LoadedModel:
    keywords = dict(uri.keywords)
    if uri.kind == "run":
        trust = keywords.pop("trust", trust)
        if not isinstance(trust, bool):
            raise DfkdError(f"?trust of {uri.base} is True or False, not {trust!r}")
    if keywords:
        raise DfkdError(f"{uri.base} is built as it was trained; it takes no {_names(keywords)}")
    path = bundled_file(uri.name, ".safetensors") if uri.kind == "bundled" else run_file(uri.name)
    artefact = read_artefact(path)
    if artefact is None or artefact.factory is None:
        raise DfkdError(
            f"{path} does not say how to build its network; write FILE.py:FACTORY?weights={path}"
        )
    again = partial(rebuild, artefact.factory, artefact.keywords, str(path), trust)
    network = again() if trust else build_within(again, artefact.values, str(path))
    load_weights(network, path, artefact.factory)
    return LoadedModel(
        network, artefact.spec, artefact.class_names, artefact.factory, artefact.keywords
    )


def rebuild(
    factory: str, keywords: Mapping[str, Any], source: str, trust: bool = False
) -> nn.Module:
    """Build the architecture that a file names, without its weights.

    Args:
        factory: a MODEL URI without its query.
        keywords: of the factory, as the file has them.
        source: the file, used in messages.
        trust: run whatever the file names. Otherwise only architectures of a closed table are
            built, see ``dfkd.loading.known``.

    Raises:
        DfkdError: it names nothing that may be built, or what it names cannot be built.
    """
    factory = RENAMED_FACTORIES.get(factory, factory)
    try:
        uri = parse_uri(factory)
    except DfkdError:
        uri = None
    if uri is None or uri.base != factory:  # published weights would be downloaded
        raise DfkdError(f"{source} names {quoted(factory, 60)} as its factory, which is no MODEL")
    if uri.kind in ("bundled", "run", "teacher", *WEB_KINDS):
        raise DfkdError(
            f"{source} names {quoted(factory, 60)} as its factory, which builds nothing"
        )
    uri = replace(uri, keywords=dict(keywords))
    if not trust:
        check_known(uri, source)
    if uri.base in AROUND:  # whoever trusts the file trusts what it has inside
        uri = replace(uri, keywords={**keywords, "trust": trust})
    return build(uri, {}).network


def published_weights(uri: ModelURI) -> Any:
    """Return the torchvision enum member that ``weights=`` names; ``None`` for a file."""
    if uri.kind != "torchvision" or uri.weights is None:
        return None
    known: Mapping[str, Any] = _torchvision_weights(uri).__members__
    if uri.weights in known:
        return known[uri.weights]
    if Path(uri.weights).suffix or Path(uri.weights).exists():
        return None
    raise DfkdError(f"{uri.base} has no weights {uri.weights!r}{nearest(uri.weights, known)}")


def _torchvision_weights(uri: ModelURI) -> Any:
    from torchvision import models

    names = models.list_models(module=models)
    if uri.name not in names:
        raise DfkdError(f"torchvision has no classifier {uri.name!r}{_near(uri.name, names)}")
    return models.get_model_weights(uri.name)


def _from_torchvision(uri: ModelURI, defaults: Defaults) -> LoadedModel:
    from torchvision import models

    known = _torchvision_weights(uri)
    chosen = published_weights(uri)
    keywords = {**_only(defaults, "num_classes"), **uri.keywords}

    def factory(**keywords: Any) -> Any:
        return models.get_model(uri.name, weights=chosen, **keywords)

    network = call(factory, keywords, uri.base)
    # The metadata is part of the package: nothing is downloaded to read it.
    member = chosen or known.__members__.get("IMAGENET1K_V1") or next(iter(known), None)
    spec, names = None, None
    if member is not None:
        transforms = member.transforms()
        size = transforms.crop_size[0]
        crop = min(1.0, size / transforms.resize_size[0])
        spec = ImageSpec(3, size, size, tuple(transforms.mean), tuple(transforms.std), crop)
        names = tuple(member.meta["categories"])
    rebuilt = {key: value for key, value in keywords.items() if key not in LOADING}
    return LoadedModel(network, spec, names, uri.base, rebuilt)


def _from_timm(uri: ModelURI, defaults: Defaults) -> LoadedModel:
    try:
        import timm
    except ImportError:
        raise DfkdError("timm is not installed; pip install 'dfkd[timm]'") from None
    if not timm.is_model(uri.name):
        raise DfkdError(f"timm has no model {uri.name!r}{_near(uri.name, timm.list_models())}")
    keywords = {**_only(defaults, "num_classes", "in_chans"), **uri.keywords}

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
        crop = config.get("crop_pct") or 1.0
        crop = min(1.0, crop) if (height, width) == own else 1.0
        spec = ImageSpec(channels, height, width, config["mean"], config["std"], crop)
    # To build the architecture again, from a run's weights, nothing is to be loaded.
    rebuilt = {key: value for key, value in keywords.items() if key not in LOADING}
    return LoadedModel(network, spec, None, uri.base, rebuilt)


def _accepted(factory: Callable[..., Any], defaults: Defaults) -> dict[str, Any]:
    return _only(defaults, *parameters(factory)[0]) if callable(factory) else {}


def _only(defaults: Defaults, *names: str) -> dict[str, Any]:
    return {key: value for key, value in defaults.items() if key in names}


def _names(keys: Iterable[str]) -> str:
    return ", ".join(map(repr, keys))


def _near(name: str, known: Iterable[str]) -> str:
    """As ``nearest``, without listing hundreds of names where none is near."""
    hint = nearest(name, known)
    return hint if "did you mean" in hint else ""
