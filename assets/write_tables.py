"""Write the tables of ``assets/METHODS.md`` from the program's registries: ``make tables``.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``. A test compares the page with
what this file would write.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from dfkd.losses.objective import parse
from dfkd.losses.registry import KNOWLEDGE, LOSSES, find_loss
from dfkd.recipes.method_row import MethodRow
from dfkd.recipes.methods import METHODS
from dfkd.recipes.schemes import SCHEMES

PAGE = Path(__file__).with_name("METHODS.md")
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.S)
Rows = Iterable[tuple[str, ...]]


def methods() -> Rows:
    """Yield every method with what its teacher must have and how its student learns."""
    yield "`--method`", "images come from", "needs", "student learns by", "published sizes"
    for name, row in METHODS.items():
        published = f"`{name}_published`" if row.published else ""
        loss = f"`{row.learner.knowledge}`, T {row.learner.temperature:g}"
        yield f"`{name}`", row.line, needs(row), loss, published


def needs(row: MethodRow) -> str:
    """Name what a method needs of a teacher, in the order of how rare it is."""
    learnt = [find_loss(name) for name in parse(row.learner.knowledge)]
    found = ["batch-norm statistics"] * row.statistics
    found += ["feature maps"] * any(loss.features for loss in learnt)
    found += ["a linear classifier"] * row.classifier
    found += ["a transformer"] * row.patches
    return ", ".join(found) or "predictions"


def knowledge() -> Rows:
    """Yield every loss that a student can learn by."""
    yield "name", "weight", "loss", "source"
    for name, loss in KNOWLEDGE.items():
        yield f"`{name}`", f"{loss.weight:g}", escaped(loss.line), loss.source


def images() -> Rows:
    """Yield the losses that only make images."""
    yield "name", "loss", "source"
    for name, loss in LOSSES.items():
        if name not in KNOWLEDGE:
            yield f"`{name}`", escaped(loss.line), loss.source


def schemes() -> Rows:
    """Yield every scheme with its settings and their values."""
    yield "`--scheme`", "teacher and students", "settings"
    for name, row in SCHEMES.items():
        settings = (f"`{key}={plain(value)}`" for key, value in vars(row.config()).items())
        yield f"`{name}`", row.line, ", ".join(settings)


def plain(value: object) -> str:
    """Spell a setting as ``--set`` reads it: lists, not tuples; floats in three digits."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(list(value) if isinstance(value, tuple) else value)


def escaped(line: str) -> str:
    """Keep a cell's own bars from ending it."""
    return line.replace("|", r"\|")


def markdown(rows: Rows) -> str:
    """Format rows, the heading first, as a Markdown table."""
    heading, *body = rows
    lines = [heading, ("---",) * len(heading), *body]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def filled(page: str) -> str:
    """Return the page with every table written anew."""
    tables = {table.__name__: table for table in (methods, knowledge, images, schemes)}
    return TABLE.sub(lambda found: found[1] + markdown(tables[found[2]]()) + found[3], page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE)
