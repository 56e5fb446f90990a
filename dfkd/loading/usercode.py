"""Factories in the user's own files and modules: running them, and when not to."""

import importlib
import importlib.util
import inspect
import sys
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from dfkd.errors import DfkdError, nearest
from dfkd.loading.uri import FORMS, NAMED_KINDS, ModelURI


def find_factory(uri: ModelURI, trusted: bool) -> Any:
    """The callable that a ``file`` or ``module`` URI names.

    Args:
        uri: the parsed URI.
        trusted: the user wrote the URI. One that a file brought along may name the
            user's code too, but of what is installed only what builds networks:
            otherwise a shared student could name ``os:system`` as its factory.

    Raises:
        DfkdError: no such file, module or factory; the code fails when it is run.
    """
    if uri.kind == "file":
        path = Path(uri.place).expanduser().resolve()
        if not path.is_file():
            raise DfkdError(f"no file {uri.place!r} to find {uri.factory!r} in")
        installed = _is_installed(str(path))
        module = _run_file(path) if trusted or not installed else None
    else:
        installed = _is_installed(_origin(uri.place))
        module = _import(uri.place)
    factory = getattr(module, uri.factory, None)
    if factory is None and module is not None:
        functions = [key for key, value in vars(module).items() if _is_factory(value, module)]
        raise DfkdError(
            f"{uri.place} has no factory {uri.factory!r}{nearest(uri.factory, functions)}"
        )
    if not trusted and installed and not _declares_network(factory):
        raise DfkdError(
            f"a file names {uri.base} as what built it, which is no part of your own code; where "
            f"you trust it, write {replace(uri, weights='FILE')} yourself"
        )
    return factory


def _run_file(path: Path) -> ModuleType:
    """``path`` as a module of its own: names of two files never meet."""
    name = f"_dfkd_file_{path.stem}_{abs(hash(path)):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DfkdError(f"{path} cannot be run as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up here
    with _importable(path.parent), _explained(str(path)):
        spec.loader.exec_module(module)
    return module


def _import(name: str) -> ModuleType:
    with _importable(Path.cwd()):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise DfkdError(f"{name} needs a module that is not here: {error.name}") from None
            hint = nearest(name, NAMED_KINDS) if "." not in name else ""
            hint = hint if "did you mean" in hint else f"; write {FORMS}"
            raise DfkdError(f"no module {name!r}{hint}") from None
        except (Exception, SystemExit) as error:
            raise _failure(name, error) from error


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Siblings can be imported while the block runs; last, so that nothing is shadowed."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:
        raise _failure(name, error) from error


def _failure(name: str, error: BaseException) -> DfkdError:
    return DfkdError(f"{name} fails when it is run: {first_line(error)}")


def first_line(error: BaseException) -> str:
    """``TypeError: what it says``, one line of it."""
    lines = str(error).strip().splitlines()
    return type(error).__name__ + (f": {lines[0]}" if lines else "")


def _is_factory(value: Any, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _origin(module: str) -> str:
    """Where an import would come from; empty where that is no file of the user's."""
    with _importable(Path.cwd()):
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError, AttributeError):
            return ""
    return spec.origin or "" if spec else ""


def _is_installed(origin: str) -> bool:
    """Part of Python or of an installed package, and not the user's own file."""
    path = Path(origin)
    return not path.is_file() or any(
        part in ("site-packages", "dist-packages") or part.lower().startswith("python3")
        for part in path.parts
    )


def _declares_network(factory: Any) -> bool:
    """A module class, or a function that is annotated to return one."""
    if inspect.isclass(factory):
        return issubclass(factory, nn.Module)
    try:
        returned = typing.get_type_hints(factory).get("return")
    except Exception:  # annotations are the module's own code
        return False
    return inspect.isclass(returned) and issubclass(returned, nn.Module)
