"""Checkpoints: saved whole or not at all, resumed exactly."""

import contextlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfkd.errors import DfkdError, unwritable
from dfkd.protocols import Stateful
from dfkd.training.finite import check_state

NAME = "last.pt"


def save(directory: Path, state: dict[str, Any], known: Collection[str] = ()) -> Path:
    """Write ``directory/last.pt``: beside it first, then moved over it in one step.

    Args:
        directory: made where there is none.
        state: plain containers of tensors and values.
        known: tensors that held infinities before training (``dfkd.training.finite.infinities``).

    Raises:
        DfkdError: the state holds what is not finite, or it cannot be written. What was there
            before stays, and nothing lies beside it.
    """
    check_state(state, known)
    path, temporary = directory / NAME, directory / f"{NAME}.tmp"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # a killed run's; or a link, and not to be followed
        with temporary.open("xb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer has its own word for a full disk
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise unwritable(error, path) from error
    return path


def snapshot(state: Any) -> Any:
    """Copy the tensors of ``state``, so that training leaves it as it is."""
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {name: snapshot(value) for name, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(map(snapshot, state))
    return state


def load(directory: Path) -> dict[str, Any]:
    """Read what ``save`` wrote; only tensors and plain containers are unpickled.

    Raises:
        DfkdError: no checkpoint there, or one that cannot be read.
    """
    path = directory / NAME
    if not path.is_file():
        raise DfkdError(f"no checkpoint at {path}; start the run without `resume`")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DfkdError(f"the checkpoint {path} cannot be read ({type(error).__name__})") from error
    return state


def restore(run: Stateful, state: dict[str, Any]) -> None:
    """Give ``run`` the state that ``load`` read.

    Raises:
        DfkdError: it has not what the run has, as when an older dfkd wrote it.
    """
    try:
        run.load_state_dict(state)
    except DfkdError:
        raise
    except (KeyError, ValueError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise DfkdError(
            f"another version of dfkd wrote this checkpoint ({reason}); start the run again with "
            "`overwrite` in place of `resume`"
        ) from error
