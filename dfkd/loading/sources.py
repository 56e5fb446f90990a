"""A MODEL URI -> a built network and what is known of it: one function for each kind of them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from dfkd.errors import DfkdError
from dfkd.loading.artefact import bundled_file, read_artefact, run_file
from dfkd.loading.hf_folders import from_hf
from dfkd.loading.known import AROUND, RENAMED_FACTORIES, build_within, check_known
from dfkd.loading.loaded import Defaults, LoadedModel, lasting, no_keywords, only, trusted
from dfkd.loading.onnx_files import from_onnx
from dfkd.loading.programs import from_export, from_torchscript
from dfkd.loading.timm_models import from_timm
from dfkd.loading.torchvision_models import from_torchvision
from dfkd.loading.uri import TEACHER_FORMS, WEB_KINDS, ModelURI, parse_uri, quoted
from dfkd.loading.usercode import call, find_factory, parameters
from dfkd.loading.weights import load_weights


def build(uri: ModelURI, defaults: Defaults, trust: bool = False) -> LoadedModel:
    """Build the network of ``uri`` without the weights of its query (but with published ones).

    Args:
        uri: what the user wrote; or what a file names, where that was checked or is trusted.
        defaults: keywords for a factory that names them and that the URI leaves out.
        trust: run whatever factory a run's file names.
    """
    if uri.kind == "teacher":
        raise DfkdError(f"{uri.base} is a student of another teacher; a teacher is {TEACHER_FORMS}")
    if uri.kind in WEB_KINDS:
        raise DfkdError(f"{uri.base[:80]} answers, and shows no network: name it as the teacher")
    return LOADERS[uri.kind](uri, defaults, trust)


def _from_code(uri: ModelURI, defaults: Defaults, trust: bool) -> LoadedModel:
    factory = find_factory(uri)
    accepted = only(defaults, *parameters(factory)[0]) if callable(factory) else {}
    keywords = {**accepted, **uri.keywords}
    base = lasting(uri) if uri.kind == "file" else uri.base
    return LoadedModel(call(factory, keywords, uri.base), None, None, base, keywords)


def _from_artefact(uri: ModelURI, defaults: Defaults, trust: bool) -> LoadedModel:
    if uri.kind == "run":
        trust = trusted(uri, trust)
    else:
        no_keywords(uri, uri.keywords)
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
        network,
        artefact.spec,
        artefact.class_names,
        artefact.factory,
        artefact.keywords,
        task=artefact.task,
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


Loader = Callable[[ModelURI, Defaults, bool], LoadedModel]

LOADERS: Mapping[str, Loader] = {
    "bundled": _from_artefact,
    "run": _from_artefact,
    "torchvision": lambda uri, defaults, trust: from_torchvision(uri, defaults),
    "timm": lambda uri, defaults, trust: from_timm(uri, defaults),
    "hf": lambda uri, defaults, trust: from_hf(uri),
    "onnx": lambda uri, defaults, trust: from_onnx(uri),
    "torchscript": lambda uri, defaults, trust: from_torchscript(uri, trust),
    "export": lambda uri, defaults, trust: from_export(uri, trust),
    "file": _from_code,
    "module": _from_code,
}
"""One function for each kind of MODEL URI: with what a student is given, and the user's trust."""
