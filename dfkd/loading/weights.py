"""Weights from a file: tensors only, never code; strict about names and shapes."""

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dfkd.errors import DfkdError

WRAPPERS = ("state_dict", "model", "model_state_dict", "ema")
PREFIXES = ("module.", "_orig_mod.", "model.")
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
SHOWN = 3
"""How many keys of each sort an error names before it counts the rest."""

State = dict[str, Tensor]


def read_weights(path: str | Path) -> State:
    """Read a state dict from a ``.safetensors``, ``.pt``, ``.pth`` or ``.bin`` file, on the CPU.

    A checkpoint may keep it under one of ``WRAPPERS``.

    Raises:
        DfkdError: no such file, unreadable, truncated, or more in it than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise DfkdError(f"no weights file {str(path)!r}")
    if path.suffix not in SUFFIXES:
        raise DfkdError(f"{path} is no weights file by its name; use {', '.join(SUFFIXES)}")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _torch_load(path)
    except SafetensorError as error:
        raise DfkdError(f"{path} is no whole safetensors file ({error}); fetch it again") from None
    return _state_dict(content, path)


def _torch_load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle's age; what matters is raised
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its unpickler stumbled over: even KeyError
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found:
            raise DfkdError(
                f"{path} holds more than tensors: loading it would run {found[1]}, and dfkd does "
                "not; save torch.save(network.state_dict(), FILE) where it came from"
            ) from None
        raise DfkdError(
            f"{path} is damaged, truncated or no file of torch.save; fetch or save it again "
            "(a state_dict, or .safetensors)"
        ) from None


def _state_dict(content: Any, path: Path) -> State:
    """The first mapping of names to tensors on the way into ``content``."""
    while isinstance(content, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(key): value for key, value in content.items()}
        inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    if not isinstance(content, Mapping):
        raise DfkdError(f"{path} holds a {type(content).__name__}, not a state_dict of tensors")
    strangers = [repr(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if not strangers:
        raise DfkdError(f"{path} holds an empty state_dict")
    raise DfkdError(
        f"{path} holds more than tensors ({_some(strangers)}); a state_dict is looked for at the "
        f"top and under {', '.join(WRAPPERS)}"
    )


def load_weights(network: nn.Module, path: str | Path, name: str) -> None:
    """Copy the weights of a file into ``network``, strictly; messages use ``name``.

    The prefixes of wrappers (``PREFIXES``) are stripped when that makes the keys match.

    Raises:
        DfkdError: see ``read_weights``; keys that do not match; NaN or infinity.
    """
    state = read_weights(path)
    own = network.state_dict()
    best: tuple[int, str] | None = None
    for candidate in _stripped(state):
        count, problem = _mismatch(own, candidate)
        if count == 0:
            network.load_state_dict(candidate)
            _check_finite(network, path)
            return
        if best is None or count < best[0]:
            best = count, problem
    assert best is not None
    raise DfkdError(
        f"{path} does not fit {name}: {best[1]}; give the architecture and keywords that it was "
        "trained with"
    )


def _stripped(state: State) -> Iterator[State]:
    """``state``, then without each prefix that all of its keys share, as often as one is left."""
    yield state
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state):
            yield from _stripped({key.removeprefix(prefix): value for key, value in state.items()})


def _mismatch(own: State, state: State) -> tuple[int, str]:
    # Counters of batches are younger than many published files, and nothing depends on them.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    misshapen = [
        f"{key} is {_shape(value)}, not {_shape(own[key])}"
        for key, value in state.items()
        if key in own and value.shape != own[key].shape
    ]
    sorts = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    texts = [f"{len(keys)} {sort} ({_some(keys)})" for sort, keys in sorts.items() if keys]
    return sum(map(len, sorts.values())), ", ".join(texts)


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "scalar"


def _some(keys: list[str]) -> str:
    rest = len(keys) - SHOWN
    return ", ".join(keys[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _check_finite(network: nn.Module, path: str | Path) -> None:
    for key, value in network.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise DfkdError(f"{path} holds NaN or infinity (first in {key!r}); it is of no use")
