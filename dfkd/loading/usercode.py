"""Factories in the user's own files and modules, which are run to find them."""

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from dfkd.errors import DfkdError, nearest
from dfkd.loading.uri import NAMED_KINDS, URI_FORMS, ModelURI


def find_factory(uri: ModelURI) -> Any:
    """Run the code of a ``file`` or ``module`` URI and return the callable that it names.

    Only for what the user wrote, or trusts: see ``dfkd.loading.known`` for what a file names.

    Raises:
        DfkdError: no such file, module or factory; the code fails when it is run.
    """
    if uri.kind == "file":
        path = Path(uri.name).expanduser().resolve()
        if not path.is_file():
            raise DfkdError(f"no file {uri.name!r} to find {uri.factory!r} in")
        module = _run_file(path)
    else:
        module = _import(uri.name)
    factory = getattr(module, uri.factory, None)
    if factory is None:
        functions = [key for key, value in vars(module).items() if _is_factory(value, module)]
        raise DfkdError(
            f"{uri.name} has no factory {uri.factory!r}{nearest(uri.factory, functions)}"
        )
    return factory


def own_keyword(message: str, uri: ModelURI) -> str:
    """Name a factory's own keyword in a message that tells to set its number of classes.

    Args:
        message: may end in ``?num_classes=N``.
        uri: its factory; only the user's own are looked at.
    """
    told = re.search(r"set the student's \?num_classes=(\d+)", message)
    if told is None or uri.kind not in ("file", "module"):
        return message
    known, takes_any = parameters(find_factory(uri))
    if takes_any or "num_classes" in known:
        return message
    like = [name for name in sorted(known) if re.search("class|label|categor|out", name)]
    remedy = (
        f"set the student's ?{like[0]}={told[1]}"
        if like
        else (f"let {uri.factory} take num_classes, or build {told[1]} classes")
    )
    return message.replace(told[0], remedy)


def call(factory: Callable[..., Any], keywords: Mapping[str, Any], name: str) -> nn.Module:
    """Call ``factory`` and return its network, or raise one line in its own words.

    Args:
        factory: builds a network.
        keywords: passed to it.
        name: of the factory, used in messages.

    Raises:
        DfkdError: no function, a keyword that it does not take, whatever it raises, no network.
    """
    if isinstance(factory, nn.Module) or not callable(factory):
        raise DfkdError(
            f"{name} is a {type(factory).__name__}, not a function that builds a network"
        )
    known, takes_any = parameters(factory)
    for key in keywords:
        if not takes_any and key not in known:
            raise DfkdError(f"{name} takes no keyword {key!r}{nearest(key, known)}")
    try:
        network = factory(**keywords)
    except DfkdError:
        raise
    except (Exception, SystemExit) as error:
        raise DfkdError(f"{name} fails when it is called: {first_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise DfkdError(f"{name} returns a {type(network).__name__}, not a torch.nn.Module")
    return network


def parameters(factory: Callable[..., Any]) -> tuple[set[str], bool]:
    """Return the keywords that ``factory`` names, and whether it takes any others."""
    try:
        found = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # some built-ins have no signature
        return set(), True
    named = {p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named, any(p.kind is p.VAR_KEYWORD for p in found)


def _run_file(path: Path) -> ModuleType:
    """``path`` as a module of its own: names of two files never meet."""
    name = f"_dfkd_file_{path.stem}_{abs(hash(path)):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DfkdError(f"{path} cannot be run as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up here
    _NEIGHBOURS.use(path.parent)
    with _explained(str(path)):
        spec.loader.exec_module(module)
    return module


def _import(name: str) -> ModuleType:
    _NEIGHBOURS.use(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise DfkdError(f"{name} needs a module that is not here: {error.name}") from None
        hint = nearest(name, NAMED_KINDS) if "." not in name else ""
        hint = hint if "did you mean" in hint else f"; write {URI_FORMS}"
        raise DfkdError(f"no module {name!r}{hint}") from None
    except (Exception, SystemExit) as error:
        raise _failure(name, error) from error


class _Neighbours:
    """Finds the modules beside a user's file, where nothing else has any of that name.

    It stays after the file has been run: a factory, or a network's pass, may import them as well.
    """

    def __init__(self) -> None:
        self.folders: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Look in the folders, the latest first; packages find their own modules."""
        return PathFinder.find_spec(name, self.folders) if path is None else None

    def use(self, folder: Path) -> None:
        """Look in ``folder`` first, also for names that a file elsewhere has imported."""
        place = str(folder)
        others = {other for other in self.folders if other != place}
        self.folders[:] = [place, *(other for other in self.folders if other in others)]
        if self not in sys.meta_path:
            sys.meta_path.append(self)
        for name, module in list(sys.modules.items()):
            found = getattr(module, "__file__", None) or ""
            home = Path(found).parents[found.endswith("__init__.py")] if found else None
            elsewhere = "." not in name and home is not None and str(home) in others
            if elsewhere and PathFinder.find_spec(name, [place]):
                del sys.modules[name]


_NEIGHBOURS = _Neighbours()


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:
        raise _failure(name, error) from error


def _failure(name: str, error: BaseException) -> DfkdError:
    return DfkdError(f"{name} fails when it is run: {first_line(error)}")


def first_line(error: BaseException) -> str:
    """Return ``TypeError: message``: one line, at most 150 characters of the message."""
    lines = str(error).strip().splitlines()
    said = lines[0] if lines else ""
    return type(error).__name__ + (f": {said[:150]}{'…' * (len(said) > 150)}" if said else "")


def _is_factory(value: Any, module: ModuleType) -> bool:
    """Tell whether a module, or a package's own modules, define ``value``."""
    defined_in = str(getattr(value, "__module__", ""))
    return callable(value) and f"{defined_in}.".startswith(f"{module.__name__}.")
