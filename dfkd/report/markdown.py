"""Markdown from templates: whatever is filled in stays text, and cannot become a link or a cell."""

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dfkd.report.units import NARROW
from dfkd.tasks.words import shown

_SIGNS = re.compile(r"([\\`*_{}\[\]<>#|&~$])")
_LONGEST = 400


def markdown_environment() -> Environment:
    """Return the templates of this folder for Markdown; what they are given must be complete."""
    return Environment(  # no HTML is written: every value goes through ``markdown_text``
        loader=PackageLoader("dfkd.report"),
        undefined=StrictUndefined,
        finalize=markdown_text,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def markdown_text(value: Any) -> str:
    """Escape what Markdown would read as a sign; ``Markup`` passes, and lines become one.

    >>> markdown_text("a|b <i>"), markdown_text(Markup("`x`"))
    ('a\\\\|b \\\\<i\\\\>', '`x`')
    """
    if isinstance(value, Markup):
        return str(value)
    return _SIGNS.sub(r"\\\1", shown(str(value).replace(NARROW, " "), _LONGEST))


def markdown_code(value: Any) -> Markup:
    """Return text as it is typed, in a line and between backticks that it cannot end.

    >>> print(markdown_code("run:my|dir"))
    `run:my¦dir`
    """
    # A bar would end the cell of a table, also within backticks.
    return Markup("`" + shown(value, _LONGEST).replace("`", "'").replace("|", "¦") + "`")
