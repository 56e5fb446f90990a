"""What is kept of a teacher's answers: all logits or the largest, in 16, 8 or 4 bits each."""

from collections.abc import Mapping

import torch
from torch import Tensor

LOGIT_BITS = (4, 8, 16)
_LOWEST = 60000.0
"""Least log-probability that is kept, as half precision and every code can hold it."""
KINDS_OF_CLASSES = {torch.uint8: "U8", torch.int16: "I16", torch.int32: "I32"}
"""What class indices are kept as, by safetensors' names."""


def class_kind(classes: int) -> torch.dtype:
    """Return the smallest type that holds the index of every class.

    >>> class_kind(10), class_kind(1000)
    (torch.uint8, torch.int16)
    """
    return next(kind for kind in KINDS_OF_CLASSES if classes <= torch.iinfo(kind).max + 1)


def answer_columns(classes: int, top_k: int, bits: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the columns of an epoch's answers: safetensors' type, and the shape of a row.

    ``scale`` has one row for all where views follow from the seed, and one an image elsewhere.

    Args:
        classes: of the set.
        top_k: how many answers a label keeps; 0: all.
        bits: of each, one of ``LOGIT_BITS``.
    """
    kept = top_k or classes
    few = {"classes": (KINDS_OF_CLASSES[class_kind(classes)], (top_k,))} if top_k else {}
    if bits == 16:
        return {**few, "values" if top_k else "logits": ("F16", (kept,))}
    return {**few, "codes": ("U8", (-(-kept * bits // 8),)), "scale": ("F32", ())}


def answers_as_rows(logits: Tensor, top_k: int, bits: int = 16) -> dict[str, Tensor]:
    """Return what is kept of answers: all logits, or the largest log-probabilities.

    In fewer than 16 bits log-probabilities are kept in either case, as whole numbers: a label is
    the distribution that they give, and what is added to all logits is not part of it.

    Args:
        logits: N x classes.
        top_k: how many to keep; 0: all.
        bits: of each, one of ``LOGIT_BITS``.
    """
    largest = torch.finfo(torch.half).max
    if not top_k and bits == 16:
        return {"logits": logits.clamp(-largest, largest).half()}
    values, rows = logits.log_softmax(1), {}
    if top_k:
        values, classes = values.topk(top_k, dim=1)
        rows["classes"] = classes.to(class_kind(logits.shape[1]))
    values = values.clamp_min(-_LOWEST)
    if bits == 16:
        return {"values": values.half(), **rows}
    return {**_coded(values, bits), **rows}


def _coded(values: Tensor, bits: int) -> dict[str, Tensor]:
    """Turn log-probabilities into codes: roots, so that likely classes are told apart finely."""
    scale, last = (-values).max().clamp_min(1e-6), 2**bits - 1
    codes = ((-values / scale).clamp(0, 1).sqrt() * last).round().to(torch.uint8)
    if bits == 4:
        codes = torch.nn.functional.pad(codes, (0, codes.shape[1] % 2))
        codes = codes[:, ::2] * 16 + codes[:, 1::2]
    return {"codes": codes, "scale": scale.float().reshape(1)}


def rows_as_answers(
    rows: Mapping[str, Tensor], num_classes: int, top_k: int = 0, bits: int = 16
) -> Tensor:
    """Return N x classes logits; what was not kept shares the rest of the probability evenly.

    Args:
        rows: columns of ``answers_as_rows``, of some images.
        num_classes: of the set.
        top_k, bits: that they were kept with.
    """
    if "logits" in rows:
        return rows["logits"].float()
    if bits == 16:
        values = rows["values"].float()
    else:
        values = _decoded(rows["codes"], rows["scale"], top_k or num_classes, bits)
    if not top_k:
        return values
    others = num_classes - top_k
    rest = (1 - values.exp().sum(1)).clamp_min(1e-6) / max(1, others)
    full = rest.log()[:, None].repeat(1, num_classes)
    return full.scatter(1, rows["classes"].long(), values)


def _decoded(codes: Tensor, scale: Tensor, kept: int, bits: int) -> Tensor:
    if bits == 4:
        codes = torch.stack([codes >> 4, codes & 15], 2).flatten(1)[:, :kept]
    roots = codes.float() / (2**bits - 1)
    values: Tensor = -scale[:, None] * roots * roots
    return values
