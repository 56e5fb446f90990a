"""``torchscript:FILE`` and ``export:FILE``: saved programs, as teachers that only answer.

Both run what the file says. TorchScript has operators that write files, and its objects restore
themselves by code of their own; a file of ``torch.export`` may hold pickles, which torch loads
whole, and symbols, which it evaluates. So both want the user's trust, as code does.
"""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from dfkd.errors import DfkdError
from dfkd.loading.artefact import check_shape
from dfkd.loading.loaded import LoadedModel, lasting, trusted
from dfkd.loading.opaque import Opaque
from dfkd.loading.uri import ModelURI
from dfkd.loading.usercode import first_line
from dfkd.teacher.spec import ImageSpec

ANSWERS_ALONE = "its layers cannot be seen: it teaches by its answers alone, without statistics"


def from_torchscript(uri: ModelURI, trust: bool) -> LoadedModel:
    """Load a file of ``torch.jit.save`` that the user trusts."""
    path = _trusted_file(uri, trust, "TorchScript")

    def load() -> Opaque:
        program: nn.Module = torch.jit.load(str(path), map_location="cpu")
        if hasattr(program, "training"):  # a frozen one has one mode
            program.eval()
        return Opaque(program, mark=_hash(path))

    note = f"{path.name} is TorchScript: {ANSWERS_ALONE}"
    return LoadedModel(_loaded(load, path), None, None, lasting(uri), {}, (note,), False)


def from_export(uri: ModelURI, trust: bool) -> LoadedModel:
    """Load a file of ``torch.export.save`` that the user trusts; it says what images it takes."""
    path = _trusted_file(uri, trust, "a program of torch.export")
    shape: list[Any] = []

    def load() -> Opaque:
        program = torch.export.load(path)
        (name,) = program.graph_signature.user_inputs
        node = next(one for one in program.graph.nodes if one.name == name)
        shape.extend(node.meta["val"].shape)
        fixed = isinstance(shape[0], int)
        return Opaque(program.module(), int(shape[0]) if fixed else None, _hash(path))

    network = _loaded(load, path)
    notes = [f"{path.name} is a program of torch.export: {ANSWERS_ALONE}"]
    if network.batch is not None:
        notes.append(f"{path.name} takes {network.batch} images at once, and is shown them so")
    sizes = shape[1:]
    whole = len(sizes) == 3 and all(type(size) is int for size in sizes)
    spec = ImageSpec(*check_shape(sizes)) if whole else None
    return LoadedModel(network, spec, None, lasting(uri), {}, tuple(notes), False)


def _trusted_file(uri: ModelURI, trust: bool, kind: str) -> Path:
    path = Path(uri.name).expanduser()
    if uri.weights is not None:
        raise DfkdError(f"{uri.base} has its weights inside: leave out weights=")
    if not trusted(uri, trust):
        _refuse(uri, kind)
    if not path.is_file():
        raise DfkdError(f"no file {str(path)!r}")
    return path


def _hash(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def _refuse(uri: ModelURI, kind: str) -> NoReturn:
    raise DfkdError(
        f"{uri.base[:80]} would be run: {kind} is code, which can write files; add ?trust=True if "
        f"you trust it, or read its weights alone: FILE.py:FACTORY?weights={uri.name[:80]}"
    )


def _loaded(load: Callable[[], Opaque], path: Path) -> Opaque:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's plans for the format
            return load()
    except Exception as error:  # whatever a foreign program leads to
        raise DfkdError(f"{path} cannot be loaded as a program ({first_line(error)})") from None
