"""What this machine computes on: devices, precision, and their names for a manifest."""

import os
import platform
from typing import Any

import torch
from torch import nn

from dfkd.errors import DfkdError
from dfkd.networks.readiness import is_quantised


def resolve_device(name: str) -> torch.device:
    """Return the device of ``auto``, ``cpu``, ``cuda`` or ``mps``; it exists here."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    if name not in ("cpu", "cuda", "mps"):
        raise DfkdError(f"`device` must be auto, cpu, cuda or mps, not {name!r}")
    if (name == "cuda" and not cuda) or (name == "mps" and not mps):
        raise DfkdError(f"this torch sees no {name} device; use `device=auto`")
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> str:
    """Return the precision; for ``auto`` bf16 where the hardware computes in it, else fp32."""
    if name not in ("auto", "bf16", "fp32"):
        raise DfkdError(f"`precision` must be auto, bf16 or fp32, not {name!r}")
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        # Without the instructions bf16 on a CPU is emulated, and slower than float32.
        return "bf16" if torch.backends.cpu.get_cpu_capability() and _cpu_has_bf16() else "fp32"
    return "fp32"


def safe_precision(name: str, device: str, *networks: nn.Module) -> str:
    """Return ``fp32`` where ``auto`` would be bf16 on a CPU and cannot be, else ``name``.

    On CPUs with AMX a bf16 ``Conv3d`` of one channel reads memory that nobody wrote (torch 2.14:
    values of 1e31, not always), and layers of whole numbers take float32 alone.

    Args:
        name: as the user has it.
        device: likewise.
        networks: that will be run.
    """
    modules = [module for network in networks for module in network.modules()]
    if name != "auto" or not any(isinstance(m, nn.Conv3d) or is_quantised(m) for m in modules):
        return name
    place = resolve_device(device)
    unsafe = place.type == "cpu" and resolve_precision(name, place) == "bf16"
    return "fp32" if unsafe else name


def _cpu_has_bf16() -> bool:
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(supported())


def hardware(device: torch.device) -> dict[str, Any]:
    """Describe the machine for the manifest."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "device": str(device),
        "name": name or platform.machine(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
    }
