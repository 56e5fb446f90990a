"""Hashes of a network's state: of all of it, and of each tensor."""

import hashlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.networks.layers import clean_name


def fingerprint(network: nn.Module) -> str:
    """Hash a module's state with SHA-256, names and shapes included."""
    digest = hashlib.sha256()
    for name, value in _tensors(network):
        for part in _bytes(name, value):
            digest.update(part)
    return digest.hexdigest()


def digests(network: nn.Module) -> dict[str, str]:
    """Hash each tensor of a module's state with SHA-256, by name."""
    return {
        clean_name(name): hashlib.sha256(b"".join(_bytes(name, value))).hexdigest()
        for name, value in _tensors(network)
    }


def check_untouched(before: Mapping[str, str], teacher: nn.Module) -> None:
    """Raise where ``teacher`` is no longer what ``digests`` gave as ``before``.

    Raises:
        DfkdError: names the first tensor that differs, came or went.
    """
    now = digests(teacher)
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            raise DfkdError(
                f"the teacher's {name!r} changed during the run, which therefore taught something "
                "else than it began with: let nothing train or alter the teacher meanwhile, or "
                "hand in copy.deepcopy(network)"
            )


def _tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    """The state in the order of its names; what is no tensor is no weight."""
    state = sorted(network.state_dict().items())
    return [(name, value) for name, value in state if isinstance(value, Tensor)]


def _bytes(name: str, value: Tensor) -> Iterator[bytes]:
    data = value.detach().cpu()
    data = data.contiguous() if data.layout is torch.strided else data.to_dense()
    yield f"{clean_name(name)} {data.dtype} {tuple(data.shape)}".encode()
    yield data.reshape(-1).view(torch.uint8).numpy().tobytes()
