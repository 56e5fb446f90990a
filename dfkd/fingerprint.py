"""What a network's weights are known by."""

import hashlib

import torch
from torch import nn

from dfkd.statistics import clean_name


def fingerprint(network: nn.Module) -> str:
    """SHA-256 over a module's state, names and shapes included."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        data = value.detach().cpu().contiguous()
        digest.update(f"{clean_name(name)} {data.dtype} {tuple(data.shape)}".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
