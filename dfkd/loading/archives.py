"""Files of weights by what is in them, whatever they are called: a tree of tensors each.

Nothing in a file is run. What torch's own restricted loader refuses is read with inert stand-ins
(``dfkd.loading.inert``).
"""

import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dfkd.errors import DfkdError
from dfkd.loading.torch_files import Archive, exported_weights, read_legacy

LOOSE = 2**30
"""Bytes that arrays may unpack to, however well they are packed."""
_SILENT = {"numpy", "_codecs", "copyreg", "copy_reg"}
"""Modules whose names in a file are of arrays and of the way objects are written."""


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        tree: mappings, stand-ins and lists, with tensors in them.
        lines: what was decided in reading it, a sentence each.
    """

    tree: Any
    lines: tuple[str, ...] = ()


def read_content(path: Path) -> Content:
    """Read a file of tensors by its content.

    Raises:
        DfkdError: no such file, no kind that is known, damaged or truncated.
    """
    if not path.is_file():
        raise DfkdError(f"no weights file {str(path)!r}")
    try:
        with path.open("rb") as file:
            start = file.read(200)
    except OSError as error:
        raise DfkdError(f"{path} cannot be read ({error.strerror})") from None
    if start.startswith(b"PK"):
        return _unzipped(path)
    if is_safetensors(path) or path.suffix == ".safetensors":
        return _safetensors(path)
    if start.startswith(b"version https://git-lfs"):
        raise DfkdError(f"{path} is a pointer of git-lfs, not the file itself: run git lfs pull")
    if start.startswith(b"\x89HDF"):
        raise DfkdError(f"{path} is an HDF5 file; save its arrays with numpy.savez, by their keys")
    return _pickled(path, lambda: _legacy(path))


def is_safetensors(path: Path) -> bool:
    """Tell whether a file begins as safetensors do: a length, then JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _safetensors(path: Path) -> Content:
    try:
        return Content(load_file(path))
    except (SafetensorError, OSError) as error:
        raise DfkdError(f"{path} is no whole safetensors file ({error}); fetch it again") from None


def _pickled(path: Path, inertly: Callable[[], Content]) -> Content:
    """By torch's restricted loader where that is enough, else with stand-ins."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle's age; what matters is raised
            return Content(torch.load(path, map_location="cpu", weights_only=True))
    except Exception:  # torch raises what its unpickler stumbled over: even KeyError
        pass
    try:
        return inertly()
    except DfkdError:
        raise
    except Exception:
        raise damaged(path) from None


def damaged(path: Path) -> DfkdError:
    """Return the error to raise where a file is none that can be read."""
    return DfkdError(
        f"{path} is damaged, truncated or no file of torch.save; fetch or save it again "
        "(a state_dict, or .safetensors)"
    )


def _unzipped(path: Path) -> Content:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        raise damaged(path) from None
    with archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}
        if any(name.endswith(".npy") for name in archive.namelist()):
            return _arrays(path, archive)
        try:
            if "data.pkl" not in names and "archive_format" in names:
                return Content(exported_weights(archive, names))
            if "data.pkl" in names and "constants.pkl" in names:
                if not any(name.startswith("data/") for name in names):
                    raise DfkdError(
                        f"{path} is frozen TorchScript, whose weights have no names: use it whole, "
                        f"as torchscript:{path}?trust=True"
                    )
                return Content(Archive(archive, names).load()[0])
            if "serialized_state_dict.pt" in archive.namelist():
                inner = zipfile.ZipFile(io.BytesIO(archive.read("serialized_state_dict.pt")))
                return _noted(Archive(inner).load())
        except DfkdError:
            raise
        except Exception:
            raise damaged(path) from None
        return _pickled(path, lambda: _noted(Archive(archive, names).load()))


def _arrays(path: Path, archive: zipfile.ZipFile) -> Content:
    large, packed = sum(i.file_size for i in archive.infolist()), path.stat().st_size
    if large > 20 * packed + LOOSE:
        raise DfkdError(f"{path} would unpack to {large:,} bytes, far more than weights are packed")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Content({key: torch.from_numpy(np.array(arrays[key])) for key in arrays.files})
    except Exception as error:  # objects, damaged headers, types that torch does not know
        said = str(error).partition("\n")[0][:80]
        raise DfkdError(f"{path} holds no plain arrays ({said}); save numbers by key") from None


def _noted(loaded: tuple[Any, tuple[str, ...]]) -> Content:
    tree, skipped = loaded
    skipped = tuple(name for name in skipped if name.partition(".")[0] not in _SILENT)
    if not skipped:
        return Content(tree)
    few = ", ".join(name[:60] for name in skipped[:3])
    more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    return Content(tree, (f"only tensors were read: {few}{more} in it were not run",))


def _legacy(path: Path) -> Content:
    """A file from before torch 1.6, or any pickle."""
    return _noted(read_legacy(path.read_bytes()))
