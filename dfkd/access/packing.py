"""The bodies of requests and answers: one array in an npz, read as what a stranger sent."""

import io
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.lib import format as npy

from dfkd.errors import DfkdError

MOST_BODY = 1 << 28
"""Of a body: more is not read, packed or unpacked."""
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def packed(name: str, values: Any) -> bytes:
    """Write one array as an npz, uncompressed: images hardly shrink, and time is short."""
    content = io.BytesIO()
    np.savez(content, **{name: values})
    return content.getvalue()


def unpacked(content: bytes, name: str, most: int = MOST_BODY) -> Any:
    """Read the array ``name`` from an npz.

    Args:
        content: bytes that anybody may have made.
        name: of the array.
        most: bytes that it may have, unpacked.

    Raises:
        DfkdError: no npz, no such array, one of objects, of more than ``most`` bytes, or damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if f"{name}.npy" not in names:
                held = ", ".join(entry.removesuffix(".npy")[:20] for entry in names[:3])
                raise DfkdError(f"an npz without {name} (it holds {held or 'nothing'})")
            return _array(archive, archive.getinfo(f"{name}.npy"), most)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, TypeError) as error:
        if isinstance(error, DfkdError):
            raise
        raise DfkdError(f"no npz ({_begins(content)})") from None
    # zipfile's words for a compression that it does not know, and for encryption.
    except (NotImplementedError, RuntimeError) as error:
        raise DfkdError(f"an npz that cannot be read ({str(error)[:60]})") from None


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> Any:
    """The array, after its header has said that it is small enough: nothing is allocated before."""
    with archive.open(entry) as file:
        version = npy.read_magic(file)
        if version not in _HEADERS:
            raise DfkdError(f"an array of npy version {version}")
        shape, fortran, dtype = _HEADERS[version](file)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if dtype.hasobject or dtype.kind not in "fiu":
            raise DfkdError(f"an array of {str(dtype)[:20]}, no numbers")
        if min(shape, default=1) < 0 or size > most:
            raise DfkdError(f"an array of {size:,} bytes, more than {most:,}")
        content = file.read(size + 1)
    if len(content) != size:
        raise DfkdError("an array that ends early or late")
    values = np.frombuffer(content, dtype)
    return values.reshape(shape, order="F" if fortran else "C")


def _begins(content: bytes) -> str:
    words = content[:40].decode("ascii", "replace").split()
    return f"it begins with {' '.join(words)!r}" if words else "it is empty"
