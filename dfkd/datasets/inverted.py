"""Pictures beside each other whose names say their class, as ``dfkd invert`` writes them."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from dfkd.tasks.orders import line_up

_CLASS = re.compile(r"_class([0-9]{1,9})$")


def classes_in_names(paths: Sequence[Path], class_names: Sequence[str]) -> list[int] | None:
    """Read classes from names such as ``00012_class7.png``; None where a name has none.

    The number is an output of the teacher that the pictures were made with. What it calls its
    classes stands in the ``manifest.json`` above them; a model with other names, or with these in
    another order, counts by those. Without such a file, or names, the number is what counts.

    Args:
        paths: the pictures, all of one folder.
        class_names: what the model that the labels are for calls its classes; may be empty.

    Raises:
        DfkdError: the run's teacher and the model know other classes.
    """
    made_for = [found for path in paths if (found := _CLASS.search(path.stem))]
    if len(made_for) < len(paths):
        return None
    labels = [int(found[1]) for found in made_for]
    known = _names_above(paths[0].parent)
    if not known or not class_names:
        return labels
    columns = line_up([("the model", class_names), ("the pictures' teacher", known)]).columns[1]
    if columns is None:
        return labels
    own = {output: place for place, output in enumerate(columns)}
    return [own.get(label, label) for label in labels]


def _names_above(folder: Path) -> list[str]:
    """The class names in the manifest of the run that wrote ``folder``; empty without one."""
    try:
        manifest = json.loads((folder.resolve().parent / "manifest.json").read_text("utf-8"))
        names = manifest["class_names"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    alike = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if alike else []
