"""A pack: means and variances of what enters a teacher's layers, in a file that its owner gives.

``dfkd export-stats`` writes it where the data are, ``prior=pack:FILE`` reads it where they are not.
A safetensors file with two float32 vectors a layer's call, ``mean/LABEL`` and ``var/LABEL``, and
one metadata entry ``dfkd-statistics``, JSON: the teacher's fingerprint, the number of samples, the
layers in their order with the axis of their channels, and of added noise what is known of it.
Nothing else is in it, and nothing in it is trusted.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dfkd.errors import DfkdError, unwritable
from dfkd.tasks.words import shown
from dfkd.training.files import replacing

ENTRY = "dfkd-statistics"
VERSION = 1
LONGEST_ENTRY = 5_000_000
"""Characters of the metadata; a network of a thousand layers takes some 50,000."""
LARGEST_PACK = 2**26
"""Of a pack; that of a network of 100 layers with 2,048 channels has 1.6 million."""


@dataclass(frozen=True)
class PackedNoise:
    """What was added to the statistics, and what that guarantees.

    Attributes:
        epsilon: of (epsilon, delta)-differential privacy for replacing one sample by another.
        delta: likewise.
        clip: the L2 norm that each sample's contribution had at most, in units of drawings.
        deviation: standard deviation of the noise in every number, in the same units.
        accountant: who calibrated it.
    """

    epsilon: float
    delta: float
    clip: float
    deviation: float
    accountant: str


@dataclass(frozen=True)
class PackedLayer:
    """Statistics of what enters a layer in one of its calls; vectors of shape (C,), float32.

    Attributes:
        label: the layer's name; ``NAME@1`` for its second call.
        axis: where its channels are, 1 or -1.
        mean: of each channel.
        var: biased.
    """

    label: str
    axis: int
    mean: Tensor
    var: Tensor

    @property
    def name(self) -> str:
        """The layer, whichever call it was."""
        return self.label.partition("@")[0]


@dataclass(frozen=True)
class Pack:
    """All that leaves the owner's house.

    Attributes:
        teacher: fingerprint of the network.
        samples: how many images the statistics are of.
        layers: in the network's order.
        noise: None for the plain statistics.
        digest: the first 16 digits of the SHA-256 of the file; "" before it is written.
    """

    teacher: str
    samples: int
    layers: tuple[PackedLayer, ...]
    noise: PackedNoise | None = None
    digest: str = ""


def write_pack(path: Path, pack: Pack) -> Pack:
    """Write a pack, whole or not at all; the same values give the same bytes.

    Args:
        path: the file; replaced where there is one.
        pack: what to write.

    Returns:
        The pack with its digest.

    Raises:
        DfkdError: it cannot be written there.
    """
    tensors = {}
    for layer in pack.layers:
        for kind, values in (("mean", layer.mean), ("var", layer.var)):
            tensors[f"{kind}/{layer.label}"] = values.detach().cpu().float().contiguous()
    facts = {
        "version": VERSION,
        "teacher": pack.teacher,
        "samples": pack.samples,
        "layers": [{"label": layer.label, "axis": layer.axis} for layer in pack.layers],
        "noise": pack.noise and asdict(pack.noise),
    }
    content = save(tensors, metadata={ENTRY: json.dumps(facts)})
    try:
        with replacing(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise unwritable(error, path) from None
    return replace(pack, digest=_digest(content))


def read_pack(path: Path) -> Pack:
    """Read a pack; its size, types, shapes and numbers are checked.

    Raises:
        DfkdError: no file, another one, or a damaged one.
    """
    named = shown(path, 100)
    if not path.is_file():
        raise DfkdError(f"no pack of statistics {named!r}: dfkd export-stats writes one")
    try:
        if path.stat().st_size > LARGEST_PACK:
            raise ValueError(f"more than {LARGEST_PACK:,} bytes")
        content = path.read_bytes()
        facts = _contents(path)
    except (SafetensorError, OSError) as error:
        raise DfkdError(f"{named} is no whole safetensors file ({shown(error, 80)})") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DfkdError(
            f"{named} is no pack of dfkd export-stats, or a damaged one ({shown(error, 120)})"
        ) from None
    return replace(facts, digest=_digest(content))


def _contents(path: Path) -> Pack:
    """Teacher, samples, layers and noise, each checked or an exception."""
    with safe_open(str(path), "pt") as file:
        text = (file.metadata() or {}).get(ENTRY)
        if text is None or len(text) > LONGEST_ENTRY:
            raise ValueError(f"its entry {ENTRY!r} is missing or too long")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    facts = json.loads(text)
    if facts["version"] != VERSION:
        raise ValueError(f"its version is {facts['version']!r}, and {VERSION} is read here")
    teacher, samples = facts["teacher"], facts["samples"]
    if not isinstance(teacher, str) or len(teacher) != 64:
        raise ValueError("no fingerprint of a teacher")
    if type(samples) is not int or samples < 1:
        raise ValueError("no number of samples")
    layers = tuple(_layer(one, tensors) for one in facts["layers"])
    if not layers or len({one.label for one in layers}) != len(layers):
        raise ValueError("no layer, or one twice")
    if len(tensors) != 2 * len(layers):
        raise ValueError("numbers of no layer")
    return Pack(teacher, samples, layers, _noise(facts["noise"]))


def _layer(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> PackedLayer:
    label, axis = facts["label"], facts["axis"]
    if not isinstance(label, str) or axis not in (1, -1):
        raise ValueError("a layer without name or axis")
    mean, var = (tensors[f"{kind}/{label}"] for kind in ("mean", "var"))
    for values in (mean, var):
        if values.dtype != torch.float32 or values.ndim != 1 or values.shape != mean.shape:
            raise ValueError(f"{shown(label, 40)} has no two float32 vectors of one length")
        if not bool(values.isfinite().all()):
            raise ValueError(f"{shown(label, 40)} has numbers that are not finite")
    if not len(mean) or float(var.min()) < 0:
        raise ValueError(f"{shown(label, 40)} has no channels, or negative variances")
    return PackedLayer(label, axis, mean, var)


def _noise(facts: Any) -> PackedNoise | None:
    if facts is None:
        return None
    numbers = [facts[name] for name in ("epsilon", "delta", "clip", "deviation")]
    if not all(type(one) in (int, float) and math.isfinite(one) and one > 0 for one in numbers):
        raise ValueError("its noise is no four positive numbers")
    epsilon, delta, clip, deviation = map(float, numbers)
    return PackedNoise(epsilon, delta, clip, deviation, shown(facts["accountant"], 60))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def names_of(layers: Sequence[PackedLayer]) -> dict[str, int]:
    """Return the axis of each layer's channels by its name, in the pack's order."""
    return {layer.name: layer.axis for layer in layers}
