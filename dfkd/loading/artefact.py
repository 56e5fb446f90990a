"""A network in one safetensors file, with what it takes to build and feed it.

The metadata entry ``dfkd`` is JSON: ``factory`` (a MODEL URI without its query, or
null), ``keywords``, ``spec``, ``class_names`` and whatever facts the writer adds.
The bundled teachers and the students of runs are such files.
"""

import ast
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dfkd.errors import DfkdError, nearest
from dfkd.loading.usercode import first_line
from dfkd.tasks import TASKS
from dfkd.teacher.spec import ImageSpec, facts_of, spec_from_dict
from dfkd.training.files import replacing

LONGEST_METADATA = 10_000_000
"""Characters of the metadata; the names of twenty thousand classes take half a million."""
LITERAL = 100_000
"""Characters of one keyword that JSON cannot hold, such as a tuple of widths."""
MOST_VALUES = 2**26
"""Values of one image: 3 x 4,729 x 4,729."""


@dataclass(frozen=True)
class Artefact:
    """Metadata of an artefact; its weights stay in the file. Nothing here is trusted.

    Attributes:
        path: the file.
        factory: MODEL URI without its query; None where the file names none.
        keywords: of the factory.
        spec: image size and normalisation; None where the file is silent.
        class_names: one a class; likewise.
        values: how many numbers its tensors have.
        task: the word for what its output means; None where the file is silent.
    """

    path: Path
    factory: str | None
    keywords: dict[str, Any]
    spec: ImageSpec | None
    class_names: tuple[str, ...] | None
    values: int
    task: str | None = None


def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """Copy a module's state for safetensors: on the CPU, dense, contiguous, sharing no memory."""
    return {key: _dense(value).contiguous().clone() for key, value in _state(network)}


def _dense(value: Tensor) -> Tensor:
    value = value.detach().cpu()
    return value if value.layout is torch.strided else value.to_dense()


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
        network: its state is written.
        factory: MODEL URI without query that builds the network, ``None`` if there is none.
        keywords: what the factory was called with.
        spec: the images the network expects, before normalisation.
        class_names: one a class.
        **facts: further values that JSON can hold.
    """
    described = {
        "factory": factory,
        "keywords": {key: _to_json(value) for key, value in keywords.items()},
        "spec": facts_of(spec) if getattr(spec, "crop", 1) == 1 else asdict(spec),
        "class_names": list(class_names),
        **facts,
    }
    with replacing(Path(path)) as part:
        save_file(plain_state(network), part, metadata={"dfkd": json.dumps(described)})


def read_artefact(path: str | Path) -> Artefact | None:
    """Read the metadata of a ``.safetensors`` file; return ``None`` where dfkd wrote none.

    Raises:
        DfkdError: no whole safetensors file, or metadata unlike those of ``save_artefact``.
    """
    try:
        with safe_open(str(path), "pt") as file:
            text = (file.metadata() or {}).get("dfkd")
            values = sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DfkdError(f"{path} is no whole safetensors file ({error}); fetch it again") from None
    if text is None:
        return None
    try:
        factory, keywords, spec, names, task = _described(text)
    # Somebody else may have written it: a parser may run out of depth, of memory, of anything.
    except Exception as error:
        raise DfkdError(f"the metadata 'dfkd' of {path} is damaged ({first_line(error)})") from None
    return Artefact(Path(path), factory, keywords, spec, names, values, task)


def _described(
    text: str,
) -> tuple[str | None, dict[str, Any], ImageSpec | None, tuple[str, ...] | None, str | None]:
    """Factory, keywords, spec, class names and task from JSON, each of its type or an exception."""
    if len(text) > LONGEST_METADATA:
        raise ValueError(f"{len(text):,} characters, at most {LONGEST_METADATA:,} are read")
    facts = json.loads(text)
    factory, keywords = facts.get("factory"), facts.get("keywords") or {}
    spec, names, task = facts.get("spec"), facts.get("class_names"), facts.get("task")
    if task is not None and task not in TASKS:
        raise ValueError(f"no task {str(task)[:40]!r}")
    if not isinstance(factory, str | None) or not isinstance(keywords, dict):
        raise TypeError("its factory or its keywords are of another type")
    if not isinstance(names, list | None) or not all(isinstance(one, str) for one in names or ()):
        raise TypeError("its class names are no list of words")
    if spec:
        check_shape([spec["channels"], spec["height"], spec["width"]])
    return (
        factory,
        {key: _from_json(value) for key, value in keywords.items()},
        spec_from_dict(spec) if spec else None,
        tuple(names) if names else None,
        task,
    )


def check_shape(shape: Sequence[Any]) -> tuple[int, int, int]:
    """Return channels, height and width from a file, if they are those of an image.

    Raises:
        DfkdError: not three whole positive numbers, or more values than anybody feeds a network.
    """
    if len(shape) != 3 or any(type(size) is not int or size < 1 for size in shape):
        raise DfkdError("the size of its images is not three whole positive numbers")
    if math.prod(shape) > MOST_VALUES:
        raise DfkdError(f"its images have more than {MOST_VALUES:,} values each")
    channels, height, width = shape
    return channels, height, width


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
        text = value["literal"]
        if not isinstance(text, str) or len(text) > LITERAL:
            raise ValueError(f"a literal that is no text of at most {LITERAL:,} characters")
        return ast.literal_eval(text)
    return value


def bundled_file(name: str, suffix: str) -> Path:
    """Return ``assets/NAME + suffix``, from the installed package or the checkout.

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
    """Return the path of a finished run's student.

    Raises:
        DfkdError: no such directory, or no student in it.
    """
    place = Path(os.path.expanduser(folder))  # unlike Path's, this one never raises
    if not place.is_dir():
        raise DfkdError(f"no run in {folder!r}: there is no such directory")
    path = place / "student.safetensors"
    if not path.is_file():
        raise DfkdError(f"{folder!r} holds no student.safetensors: no finished run of dfkd distill")
    return path
