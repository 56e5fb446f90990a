"""Inputs to calibrate a quantised network with: as many images of each class as of the others."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dfkd.datasets.written import WrittenSet
from dfkd.errors import DfkdError
from dfkd.sets.exports.samples import write_note
from dfkd.tasks.words import shown

CALIBRATION_COUNT = 256
"""Images where nobody says how many; a few hundred are what quantisers ask for."""
INPUTS = "inputs"


def balanced_choice(labels: Sequence[int], count: int) -> list[int]:
    """Choose images in turn from every class, the first of each before the second of any.

    Args:
        labels: of all images.
        count: how many to choose, at most all.

    >>> balanced_choice([0, 0, 0, 1, 2], 4)
    [0, 1, 3, 4]
    """
    turns: dict[int, int] = {}
    order = []
    for place, label in enumerate(labels):
        turns[label] = turns.get(label, -1) + 1
        order.append((turns[label], label, place))
    return sorted(place for *_, place in sorted(order)[:count])


def _chosen(data: WrittenSet, count: int) -> list[int]:
    if not 1 <= count <= len(data):
        raise DfkdError(f"`count` must be in [1, {len(data)}], the images there are, not {count}")
    return balanced_choice(data.column("labels").tolist(), count)


class NormalisedImages(Dataset[Tensor]):
    """Some images of a set as the network takes them: float32 C x H x W, normalised.

    Args:
        data: the set.
        indices: of the images.
    """

    def __init__(self, data: WrittenSet, indices: Sequence[int]) -> None:
        self.data, self.indices = data, list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Tensor:
        stored = self.data[self.indices[index]][0][None]
        spec = self.data.manifest.image
        return spec.normalize(spec.decode(stored))[0]


def calibration_loader(
    data: WrittenSet, count: int = CALIBRATION_COUNT, batch_size: int = 32
) -> DataLoader[Tensor]:
    """Return batches of normalised float32 N x C x H x W, for the calibration of a PyTorch network.

    Args:
        data: the set.
        count: images, in [1, the set's]; as many of each class as can be.
        batch_size: images of a batch, in [1, inf).

    Raises:
        DfkdError: a number out of range.
    """
    if batch_size < 1:
        raise DfkdError(f"`batch_size` must be at least 1, not {batch_size}")
    return DataLoader(NormalisedImages(data, _chosen(data, count)), batch_size=batch_size)


def write_calibration(data: WrittenSet, place: Path, count: int | None) -> list[str]:
    """Write normalised inputs as ``inputs/00000.npy`` and so on; return what is said of them.

    Args:
        data: the set.
        place: an empty directory.
        count: images; None: 256, or all where there are fewer.

    Raises:
        DfkdError: more images than there are.
    """
    indices = _chosen(data, min(CALIBRATION_COUNT, len(data)) if count is None else count)
    chosen = NormalisedImages(data, indices)
    (place / INPUTS).mkdir()
    for place_in_set, index in enumerate(indices):
        path = place / INPUTS / f"{index:07d}.npy"
        np.save(path, chosen[place_in_set][None].numpy())
    spec = data.manifest.image
    facts = {
        "shape": [1, *spec.shape],
        "mean": spec.mean,
        "std": spec.std,
        "labels": data.rows(indices, "labels")["labels"].tolist(),
    }
    (place / "calibration.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    write_note(place, data)
    return [f"{len(indices)} normalised float32 inputs; dfkd.sets.exports.CalibrationInputs reads"]


class CalibrationInputs:
    """An exported calibration set as onnxruntime's ``quantize_static`` reads it.

    It has the methods of ``onnxruntime.quantization.CalibrationDataReader`` and is one by them.

    Args:
        place: of the export.
        input_name: of the ONNX graph.
        batch_size: inputs that are handed out together; 1 fits every graph.

    Raises:
        DfkdError: no calibration export there.
    """

    def __init__(self, place: Path | str, input_name: str, batch_size: int = 1) -> None:
        self._paths = sorted((Path(place) / INPUTS).glob("*.npy"))
        if not self._paths:
            raise DfkdError(f"{shown(place, 150)} is no calibration export: no {INPUTS}/*.npy")
        self._name, self._size, self._next = input_name, max(1, batch_size), 0

    def __len__(self) -> int:
        return -(-len(self._paths) // self._size)

    def __iter__(self) -> "CalibrationInputs":
        return self

    def __next__(self) -> dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]:
        if (found := self.get_next()) is None:
            raise StopIteration
        return found

    def get_next(self) -> dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"] | None:
        """Return the next inputs by the graph's name, N x C x H x W; None behind the last."""
        paths = self._paths[self._next : self._next + self._size]
        if not paths:
            return None
        self._next += len(paths)
        return {self._name: np.concatenate([np.load(p, allow_pickle=False) for p in paths])}

    def rewind(self) -> None:
        """Begin again with the first."""
        self._next = 0
