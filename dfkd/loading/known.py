"""Architectures that a file may name: a closed table, built from plain values alone.

A file that names code is data that somebody else may have written. Of what it names only
this project's networks and torchvision's and timm's registered classifiers are built, with
keywords that shape the network and nothing else: none that loads, downloads or runs anything.
"""

import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from dfkd import networks
from dfkd.errors import DfkdError
from dfkd.loading.uri import ModelURI, quoted

EXITS_FACTORY = "dfkd.loading.exits:with_exits"
SMALLER_FACTORY = "dfkd.loading.smaller:on_smaller_images"
ONLY_FACTORY = "dfkd.loading.only_classes:with_only_classes"
ANSWER_FACTORY = "dfkd.loading.one_answer:with_one_answer"
AROUND: Mapping[str, Set[str]] = {
    EXITS_FACTORY: {"factory", "keywords", "shape", "num_classes", "layers"},
    SMALLER_FACTORY: {"factory", "keywords", "side"},
    ONLY_FACTORY: {"factory", "keywords", "classes", "layer", "probabilities"},
    ANSWER_FACTORY: {"factory", "keywords", "answer"},
}
"""Architectures around another, by their keywords, which say what is inside."""

RENAMED_FACTORIES: Mapping[str, str] = {"dfkd.exits:with_exits": EXITS_FACTORY}
"""Factories by the names that files of earlier versions have for them."""

DEEPEST = 8
"""Levels of lists and dicts in a keyword; exits around a network with lists have four."""

LARGEST = 1_000_000
"""Whole number in a keyword; the most classes that anybody tells apart are some ten thousands."""

BETWEEN: Mapping[str, Set[str]] = {
    "torchvision": {"width_mult", "reduced_tail", "dilated"},
    "timm": {"num_classes", "in_chans", "bn_eps", "bn_momentum"},
}
"""Keywords that shape a network and go no further than the functions before its class."""

TENSOR_OPTIONS = ("device", "dtype")  # no part of an architecture's shape


def check_known(uri: ModelURI, source: str) -> None:
    """Raise unless ``uri`` is of the table and its keywords are plain and shape the network.

    Nothing is imported or run because ``uri`` names it.

    Args:
        uri: what a file names, with the keywords that it brought.
        source: the file, used in messages.

    Raises:
        DfkdError: says what the user can do where the file is trusted.
    """
    allowed = KEYWORDS[uri.kind](uri)
    if allowed is None:
        _refuse(uri, source, "no network of dfkd, torchvision or timm")
    for key, value in uri.keywords.items():
        if key not in allowed:
            _refuse(uri, source, f"with {quoted(key, 30)}, which does not shape it")
        if not _is_plain(value):
            _refuse(uri, source, f"with {quoted(key, 30)} not plain or too large")


def _refuse(uri: ModelURI, source: str, reason: str) -> typing.NoReturn:
    raise DfkdError(
        f"{quoted(source, 70)} names {quoted(uri.base, 50)} as what built it, {reason}; if you "
        "trust that, add ?trust=True to run:DIR, or name it: FILE.py:FACTORY?weights=FILE and "
        "keywords"
    )


class _TooLargeError(DfkdError):
    """Told apart from what else can go wrong where a network is built."""


def build_within(build: Callable[[], nn.Module], values: int, source: str) -> nn.Module:
    """Call ``build``, and refuse a network with far more parameters than its file.

    A width or depth of millions is short in a file, and would be built until memory is gone: so
    the first time all tensors are without memory.

    Args:
        build: builds the network; called twice.
        values: how many numbers the file holds.
        source: the file, used in messages.

    Raises:
        DfkdError: it is too large; whatever else ``build`` raises.
    """
    with torch.device("meta"), _counted(values, source):
        try:
            build()
        except _TooLargeError:
            raise
        except Exception:  # not every constructor can do without numbers
            pass
    with _counted(values, source):
        return build()


@contextmanager
def _counted(values: int, source: str) -> Iterator[None]:
    """Raise ``_TooLargeError`` as soon as modules have got far more parameters than ``values``."""
    left = 4 * values + 1_000_000  # what is built and replaced before it is finished counts too

    def count(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left
        if parameter is not None and not nn.parameter.is_lazy(parameter):
            left -= parameter.numel()
        if left < 0:
            raise _TooLargeError(
                f"{source} holds {values:,} numbers, far less than the network it names"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _is_plain(value: Any, depth: int = DEEPEST) -> bool:
    """None, bool, a number of usual size, text, or lists and dicts of them."""
    if isinstance(value, (list, tuple)):
        return depth > 0 and all(_is_plain(one, depth - 1) for one in value)
    if isinstance(value, dict):
        return set(map(type, value)) <= {str} and _is_plain(list(value.values()), depth)
    if isinstance(value, int):
        return abs(value) <= LARGEST
    return value is None or isinstance(value, (float, str))


def _own(uri: ModelURI) -> Set[str] | None:
    factories = (networks.resnet, networks.vgg, networks.bilstm)
    table = {f"dfkd.networks:{f.__name__}": inspect.signature(f).parameters for f in factories}
    if uri.base in AROUND:
        return AROUND[uri.base]
    return set(table[uri.base]) if uri.base in table else None


def _torchvision(uri: ModelURI) -> Set[str] | None:
    from torchvision import models

    if uri.name not in models.list_models(module=models):
        return None
    return _constructor(models.get_model_builder(uri.name)) | BETWEEN["torchvision"]


def _timm(uri: ModelURI) -> Set[str] | None:
    try:
        import timm
    except ImportError:
        raise DfkdError("timm is not installed; pip install 'dfkd[timm]'") from None
    if not re.fullmatch(r"\w+(\.\w+)?", uri.name) or not timm.is_model(uri.name):
        return None
    return _constructor(timm.models.model_entrypoint(uri.name)) | BETWEEN["timm"]


KEYWORDS: Mapping[str, Callable[[ModelURI], Set[str] | None]] = {
    "module": _own,
    "file": lambda uri: None,
    **dict.fromkeys(("hf", "onnx", "torchscript", "export"), lambda uri: None),
    "torchvision": _torchvision,
    "timm": _timm,
}
"""By kind of URI: the keywords that an architecture may have; None where it is not known."""


def _constructor(builder: Callable[..., Any]) -> Set[str]:
    """What the class that ``builder`` is annotated to return takes in its own constructor.

    Registered builders take more than the class does, and pass on the rest: names of weights, of
    files and of caches among it. The class itself makes layers.
    """
    try:
        built = typing.get_type_hints(builder).get("return")
    except Exception:  # annotations are whatever whoever registered it wrote
        built = None
    names: set[str] = set()
    for cls in inspect.getmro(built) if inspect.isclass(built) else ():
        if cls is nn.Module:
            break
        if "__init__" in vars(cls):
            parameters = inspect.signature(vars(cls)["__init__"]).parameters.values()
            names |= {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return names - {"self", *TENSOR_OPTIONS}
