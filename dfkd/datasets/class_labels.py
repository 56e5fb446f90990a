"""Labels in whatever form an array has them: integers, a column, one-hot, words, truth values."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dfkd.errors import DfkdError
from dfkd.tasks.labels import REMEDY, match, why_not
from dfkd.tasks.words import shown


def class_indices(
    labels: Any, count: int, class_names: Sequence[str], name: str
) -> tuple[Any, str]:
    """Turn labels into N class indices, int64, or N x K of 0 and 1, and say what was decided.

    Args:
        labels: N integers, floats that are whole, truth values or words; a column or row of such;
            or N x K of 0 and 1, with a single 1 in each row or with any number of them.
        count: N, the images.
        class_names: the model's classes in their order, which words are matched with.
        name: what messages call the data.

    Returns:
        Indices; N x K of 0 and 1 where a row has no or several: labels on or off each by itself.

    Raises:
        DfkdError: something else, another number of them, or classes that are not known.
    """
    label, note = shown(name, 90), ""
    what = f"the labels of {label}"
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.shape[0] == count:
        ones = _of_columns(labels, what)
        if (ones.sum(1) != 1).any():
            return ones, f"{ones.shape[1]} labels are on or off in each image"
        labels, note = ones.argmax(1), f"one of {labels.shape[1]} columns is the class"
    elif labels.ndim in (1, 2) and labels.size == max(labels.shape, default=0):
        labels = labels.reshape(-1)
    if labels.ndim != 1:
        raise DfkdError(f"{what} must be N integers, not {labels.shape} {labels.dtype}")
    if len(labels) != count:
        raise DfkdError(f"{label} holds {count} images and {len(labels)} labels")
    if labels.dtype.kind in "US":
        return _from_words(labels, class_names, label)
    indices = _whole(labels, what)
    if indices.min() < 0:
        raise DfkdError(f"{label} has a negative label ({indices.min()}); classes count from 0")
    return indices, note or ("false is class 0, true class 1" if labels.dtype.kind == "b" else "")


def _whole(labels: Any, what: str) -> Any:
    if labels.dtype.kind not in "buif":
        raise DfkdError(f"{what} must be N integers, not {labels.shape} {labels.dtype}")
    if labels.dtype.kind == "f" and not (np.isfinite(labels) & (labels == labels.round())).all():
        raise DfkdError(f"{what} must be N integers, not fractions ({labels.dtype})")
    if labels.max() > 2**31:
        raise DfkdError(f"{what} reach up to {labels.max():.4g}: they are no classes")
    return labels.astype(np.int64)


def _of_columns(labels: Any, what: str) -> Any:
    if labels.dtype.kind not in "buif" or not np.isin(labels, (0, 1)).all():
        raise DfkdError(f"{what} must be N integers, not {labels.shape} {labels.dtype}")
    return labels.astype(np.int64)


def _from_words(labels: Any, class_names: Sequence[str], label: str) -> tuple[Any, str]:
    words = labels.astype(str) if labels.dtype.kind == "U" else np.char.decode(labels, "utf-8")
    every, places = np.unique(np.char.strip(words), return_inverse=True)
    names = [str(one) for one in every]
    found = match(names, class_names)
    if found is None:
        remedy = REMEDY if class_names else "give class_names, the model's, in their order"
        raise DfkdError(f"{label}: {why_not(names, class_names, ('label', 'labels'))}; {remedy}")
    return np.array(found.indices, np.int64)[places.reshape(-1)], "labels are words"
