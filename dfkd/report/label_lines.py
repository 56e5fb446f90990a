"""How networks do on labels that hold side by side, for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from dfkd.tasks.words import shown

_LISTED = 12
"""Labels that are listed one by one: of many the worst."""


def label_lines(
    precision: Mapping[str, float | None] | None, labels: Sequence[Mapping[str, Any]] | None
) -> list[str]:
    """Say how networks do on labels that hold side by side; nothing where there are none.

    Args:
        precision: mean average precision by network.
        labels: a row a label and network, as ``result.json`` has them.
    """
    if not precision or not labels:
        return []
    parts = (f"{shown(n, 40)} {'-' if v is None else f'{v:.3f}'}" for n, v in precision.items())
    lines = [f"mean average precision: {', '.join(parts)}"]
    last = list(precision)[-1]
    own = sorted((one for one in labels if one["network"] == last), key=lambda x: x["accuracy"])
    lines += [
        f"  {shown(one['name'], 24):24}  right {one['accuracy']:6.1%}, on in {one['share']:6.1%}"
        for one in own[:_LISTED]
    ]
    if len(own) > _LISTED:
        lines.append(f"  (the worst {_LISTED} of {len(own):,} labels of {shown(last, 40)})")
    return lines
