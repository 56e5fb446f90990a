"""Pickles read without running anything: tensors as they are, an inert stand-in for all else.

A pickle is a program that names functions and calls them. This reader knows the few of them that
lay a tensor over stored numbers, in its own words. For every other name it calls a stand-in, which
keeps what it is given and does nothing: nothing is imported because a file names it.
"""

import pickle
from collections.abc import Callable
from typing import Any, ClassVar

from dfkd.loading.stored import DTYPES, STORAGES, Stored

_USUAL = {
    "collections.OrderedDict",
    "collections.defaultdict",
    "collections.Counter",
    "builtins.set",
    "__builtin__.set",
    "builtins.dict",
    "torch.Size",
    "torch.device",
}
"""Containers that need no word: what they hold is looked through like that of a dict."""


class Inert(dict[Any, Any]):
    """Stands for an object that is not built, and keeps what the file says of it.

    Attributes:
        origin: module and name of what the file wanted to call.
        given: the arguments of that call.
        state: what the object was to be set to.
    """

    origin = ""

    def __new__(cls, *given: Any, **named: Any) -> "Inert":
        """Keep the arguments; call nothing."""
        made = super().__new__(cls)
        made.given, made.state = given, None
        return made

    def __init__(self, *given: Any, **named: Any) -> None:
        self.given: tuple[Any, ...]
        self.state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *given: Any) -> "Inert":
        """Call nothing, as the methods of objects that are not there."""
        return Inert(*given)

    def extend(self, parts: Any) -> None:
        """Drop what a list would take."""

    append = add = extend

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class _Known:
    """A function of ours that a file may call; unlike a plain one, nothing can be set on it."""

    __slots__ = ("_run",)

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def __call__(self, *given: Any) -> Any:
        return self._run(*given)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a function has no state")


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> Stored:
    return Stored(storage, None, offset, size, stride)


def _typed_tensor(
    storage: Any, offset: int, size: Any, stride: Any, learns: Any, hooks: Any, dtype: Any, *_: Any
) -> Stored:
    return Stored(storage, dtype, offset, size, stride)


def _of_type(function: Any, kind: Any, given: Any, state: Any) -> Any:
    return function(*given) if isinstance(function, _Known) else Inert(*given)


def _first(value: Any, *_: Any) -> Any:
    return value


def _encoded(text: Any, encoding: Any = "latin1") -> Any:
    return text.encode("latin1") if isinstance(text, str) and encoding == "latin1" else Inert(text)


_KNOWN = {
    "torch._utils._rebuild_tensor": _Known(_tensor),
    "torch._utils._rebuild_tensor_v2": _Known(_tensor),
    "torch._utils._rebuild_tensor_v3": _Known(_typed_tensor),
    "torch._utils._rebuild_parameter": _Known(_first),
    "torch._utils._rebuild_parameter_with_state": _Known(_first),
    "torch._tensor._rebuild_from_type_v2": _Known(_of_type),
    "_codecs.encode": _Known(_encoded),  # bytes, in older pickles
}
"""What lays a tensor over its numbers."""


class InertUnpickler(pickle._Unpickler):  # the one in C sets memory aside as a file says
    """Reads one pickle, without running anything.

    Args:
        file: where it lies.
        find_storage: gets a storage by the file's own mark of it.
        read_storage: reads one from the bytes that hold it, as plain pickles have them.
    """

    def __init__(
        self,
        file: Any,
        find_storage: Callable[[Any], Any],
        read_storage: Callable[[bytes], Any] | None = None,
    ) -> None:
        super().__init__(file, encoding="latin1")
        self._find, self._read = find_storage, read_storage
        self._stand_ins: dict[str, type[Inert]] = {}

    @property
    def skipped(self) -> tuple[str, ...]:
        """Names of what stand-ins stand for, in the file's order."""
        return tuple(name for name in self._stand_ins if name not in _USUAL)

    def persistent_load(self, pid: Any) -> Any:
        """Get the storage that the file marks by ``pid``."""
        return self._find(pid)

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for ``module.name``; import nothing."""
        whole = f"{module}.{name}"
        if module in ("torch", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        if whole in _KNOWN:
            return _KNOWN[whole]
        if whole == "torch.storage._load_from_bytes" and self._read is not None:
            return _Known(self._read)
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if whole not in self._stand_ins:
            self._stand_ins[whole] = type("Stand_in", (Inert,), {"origin": whole})
        return self._stand_ins[whole]

    def _load_bytearray(self) -> None:
        """As the original does, which sets aside as many bytes as a file says before reading."""
        reader: Any = self
        reader.append(bytearray(reader.read(int.from_bytes(reader.read(8), "little"))))

    dispatch: ClassVar[Any] = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: _load_bytearray}


def read_pickle(
    file: Any,
    find_storage: Callable[[Any], Any],
    read_storage: Callable[[bytes], Any] | None = None,
) -> tuple[Any, tuple[str, ...]]:
    """Read a pickle's object, and the names of what stand-ins stand for in it.

    Args:
        file: bytes in memory, so that no more can be asked for than there are.
        find_storage: gets a storage by the file's own mark of it.
        read_storage: reads one from the bytes that hold it, as plain pickles have them.

    Raises:
        Exception: whatever a damaged or hostile file leads to.
    """
    reader = InertUnpickler(file, find_storage, read_storage)
    return reader.load(), reader.skipped
