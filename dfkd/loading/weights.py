"""Weights from a file: tensors only, never code; strict about names and shapes."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError, nearest
from dfkd.loading.archives import damaged, read_content
from dfkd.loading.finding import Fit, first_keys, fits
from dfkd.loading.trees import Leaf, leaves

State = dict[str, Tensor]


def read_weights(path: str | Path, part: str = "") -> State:
    """Read all tensors of a weights file, on the CPU; keys have the words of what wraps them.

    The file is read by its content, whatever it is called: torch.save, safetensors, npz,
    TorchScript, torch.export. Nothing in it is run.

    Args:
        path: the file.
        part: the first key, or keys with dots, of what is wanted; all when left out.

    Raises:
        DfkdError: no such file, unreadable, truncated, no tensors in it, or no such part.
    """
    found, _ = _read(Path(path), part)
    return {leaf.name: leaf.value for leaf in found if isinstance(leaf.value, Tensor)}


def _read(path: Path, part: str) -> tuple[list[Leaf], tuple[str, ...]]:
    content = read_content(path)
    try:
        found = leaves(content.tree)
    except Exception:  # a tensor outside of its storage, endless lists
        raise damaged(path) from None
    if not any(isinstance(leaf.value, Tensor) for leaf in found):
        empty = type(content.tree) in (dict, OrderedDict) and not content.tree
        kind = "an empty state_dict" if empty else f"a {_kind(content.tree)} without any tensor"
        raise DfkdError(f"{path} holds {kind}; save torch.save(network.state_dict(), FILE)")
    parted = [leaf for leaf in found if not part or leaf.name.startswith(part + ".")]
    if not parted:
        tops = list(dict.fromkeys(leaf.name.partition(".")[0] for leaf in found))
        raise DfkdError(f"{path} has no part {part!r}{nearest(part, tops)}")
    return parted, content.lines


def _kind(tree: Any) -> str:
    return getattr(tree, "origin", "")[:60] or type(tree).__name__


def load_weights(
    network: nn.Module, path: str | Path, name: str, part: str = "", classes: int = 0
) -> tuple[str, ...]:
    """Copy the weights of a file into ``network``, strictly; return what was decided, in lines.

    They are looked for under every prefix that all of the network's keys have in the file.

    Args:
        network: whose weights they become.
        path: see ``read_weights``.
        name: of the network, used in messages.
        part: see ``read_weights``.
        classes: of a student, whose head stays as it is where the file's has another number of
            them; 0: all must fit.

    Raises:
        DfkdError: see ``read_weights``; keys that do not match; NaN or infinity.
    """
    path = Path(path)
    found, lines = _read(path, part)
    lines = (*lines, *_placed(network, found, str(path), name, classes))
    return tuple(f"{path.name}: {line}" for line in lines)


def place_weights(
    network: nn.Module, tree: Any, source: str, name: str, classes: int
) -> tuple[str, ...]:
    """Copy the weights of a ``tree`` of tensors into ``network``, as ``load_weights`` does.

    Args:
        network: whose weights they become.
        tree: a state dict.
        source: where they come from, used in lines and messages.
        name: of the network, used in messages.
        classes: see ``load_weights``.
    """
    lines = _placed(network, leaves(tree), source, name, classes)
    return tuple(f"{source}: {line}" for line in lines)


def _placed(
    network: nn.Module, found: Sequence[Leaf], source: str, name: str, classes: int
) -> list[str]:
    own = dict(network.state_dict(keep_vars=True))
    passing = {key for key, _ in network.named_buffers() if key not in own}
    best, *others = fits(own, found, classes, passing)
    if best.problem or not best.state:
        raise DfkdError(
            f"{source} does not fit {name}: {best.problem or 'it has no tensors'}; give the "
            "architecture and keywords that it was trained with"
        )
    _copy(network, best, source)
    return _told(own, best, others)


@torch.no_grad()
def _copy(network: nn.Module, fit: Fit, source: str) -> None:
    try:
        network.load_state_dict(fit.state, strict=False)
    except Exception as error:  # a module's own hooks
        said = str(error).strip().splitlines()[-1].strip()[:120]
        raise DfkdError(f"{source} cannot be loaded into the network ({said})") from None
    for key, value in network.state_dict().items():
        if not isinstance(value, Tensor) or nn.parameter.is_lazy(value):
            continue
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise DfkdError(f"{source} holds NaN or infinity (first in {key!r}); it is of no use")


def _told(own: dict[str, Any], fit: Fit, others: Sequence[Fit]) -> list[str]:
    """What was decided in choosing and copying, a sentence each."""
    lines = []
    rivals = [one for one in others if not one.problem and one.state and _differ(fit, one)]
    if rivals:
        chosen, other = (one.prefix.rstrip(".") or "the top" for one in (fit, rivals[0]))
        how = f"; `weights=FILE#{other}` takes the other" * bool(rivals[0].prefix)
        lines.append(f"the weights of {chosen} were taken, not those of {other}{how}")
    if fit.heads:
        lines.append(
            f"left out, since they are of other classes, and begin anew: {first_keys(fit.heads)}"
        )
    left = [name for name in fit.left if name not in fit.heads]
    left = [n for n in left if n.removeprefix(fit.prefix) not in fit.heads]
    left = [n for n in left if not any(n.startswith(one.prefix or "\0") for one in rivals)]
    if left:
        lines.append(f"left out, since the network has no place for them: {first_keys(left)}")
    if cast := _cast(own, fit):
        lines.append(cast)
    return lines


def _differ(one: Fit, other: Fit) -> bool:
    return any(not torch.equal(one.state[k], v) for k, v in other.state.items() if k in one.state)


def _cast(own: dict[str, Any], fit: Fit) -> str:
    pairs = {
        (str(value.dtype)[6:], str(own[key].dtype)[6:])
        for key, value in fit.state.items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != own[key].dtype
    }
    return ", ".join(f"{theirs} numbers are kept as {mine}" for theirs, mine in sorted(pairs))
