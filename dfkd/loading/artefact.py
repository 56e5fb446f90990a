"""A network in one safetensors file, with what it takes to build and feed it.

The metadata entry ``dfkd`` is JSON: ``factory`` (a MODEL URI without its query, or
null), ``keywords``, ``spec``, ``class_names`` and whatever facts the writer adds.
The bundled teachers and the students of runs are such files.
"""

import ast
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dfkd.errors import DfkdError, nearest
from dfkd.spec import ImageSpec, spec_from_dict


@dataclass(frozen=True)
class Artefact:
    """What an artefact says of itself; its weights stay in the file."""

    path: Path
    factory: str | None
    keywords: dict[str, Any]
    spec: ImageSpec | None
    class_names: tuple[str, ...] | None


def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """A module's state as safetensors wants it: on the CPU, contiguous, sharing no memory."""
    return {key: value.detach().cpu().contiguous().clone() for key, value in _state(network)}


def _state(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [
        (key, value) for key, value in network.state_dict().items() if isinstance(value, Tensor)
    ]


def save_artefact(
    path: str | Path,
    network: nn.Module,
    factory: str | None,
    keywords: Mapping[str, Any],
    spec: ImageSpec,
    class_names: Sequence[str],
    **facts: Any,
) -> None:
    """Write ``network`` as an artefact: all of it, or nothing (a temporary file is renamed).

    ``safetensors.torch.load_file`` reads the weights without this package.

    Args:
        path: the file to write; its directory must exist.
        factory: MODEL URI without query that builds the network, ``None`` if there is none.
        keywords: what the factory was called with.
        spec: the images the network expects, before normalisation.
        class_names: one a class.
        **facts: further values that JSON can hold.
    """
    described = {
        "factory": factory,
        "keywords": {key: _to_json(value) for key, value in keywords.items()},
        "spec": asdict(spec),
        "class_names": list(class_names),
        **facts,
    }
    target = Path(path)
    handle, temporary = tempfile.mkstemp(suffix=".part", dir=target.parent)
    os.close(handle)
    try:
        save_file(plain_state(network), temporary, metadata={"dfkd": json.dumps(described)})
        os.chmod(temporary, 0o644)  # mkstemp gives 0600: nobody else could read a student
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_artefact(path: str | Path) -> Artefact | None:
    """What the metadata of a ``.safetensors`` file says; ``None`` where dfkd wrote none.

    Raises:
        DfkdError: no whole safetensors file, or damaged metadata.
    """
    try:
        with safe_open(str(path), "pt") as file:
            text = (file.metadata() or {}).get("dfkd")
    except (SafetensorError, OSError) as error:
        raise DfkdError(f"{path} is no whole safetensors file ({error}); fetch it again") from None
    if text is None:
        return None
    try:
        facts = json.loads(text)
        spec, names = facts.get("spec"), facts.get("class_names")
        return Artefact(
            Path(path),
            facts.get("factory"),
            {key: _from_json(value) for key, value in facts.get("keywords", {}).items()},
            spec_from_dict(spec) if spec else None,
            tuple(map(str, names)) if names else None,
        )
    except (ValueError, AttributeError, TypeError, SyntaxError) as error:
        raise DfkdError(f"the metadata 'dfkd' of {path} is damaged ({error})") from None


def _to_json(value: Any) -> Any:
    """JSON has no tuples or bytes; what it would change goes in as a Python literal."""
    try:
        if json.loads(json.dumps(value)) == value:
            return value
    except (TypeError, ValueError):
        pass
    return {"literal": repr(value)}


def _from_json(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"literal"}:
        return ast.literal_eval(value["literal"])
    return value


def bundled_file(name: str, suffix: str) -> Path:
    """``assets/NAME + suffix``: in the installed package, else beside it in a checkout.

    Raises:
        DfkdError: no such asset; the nearest is named.
    """
    package = Path(__file__).resolve().parents[1]
    folders = (package / "assets", package.parent / "assets")
    for folder in folders:
        if name and Path(name).name == name and (folder / (name + suffix)).is_file():
            return folder / (name + suffix)
    known = {file.name.removesuffix(suffix) for root in folders for file in root.glob("*" + suffix)}
    raise DfkdError(f"nothing bundled is called {name!r}{nearest(name, known)}")


def run_file(folder: str) -> Path:
    """The student of a finished run.

    Raises:
        DfkdError: no such directory, or no student in it.
    """
    if not Path(folder).is_dir():
        raise DfkdError(f"no run in {folder!r}: there is no such directory")
    path = Path(folder) / "student.safetensors"
    if not path.is_file():
        raise DfkdError(f"{folder!r} holds no student.safetensors: no finished run of dfkd distill")
    return path
