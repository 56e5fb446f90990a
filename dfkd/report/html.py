"""Parts of every page: templates, embedded pictures, names with their values."""

import base64
import json
import shlex
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from dfkd.report.palette import COLOURS


def environment() -> Environment:
    """Return the templates of this folder; what they are given is escaped, and must be complete."""
    templates = Environment(
        loader=PackageLoader("dfkd.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["colours"] = COLOURS
    return templates


def data_uri(path: Path) -> str:
    """Return a PNG as a ``data:`` address; empty without the file."""
    if not path.is_file():
        return ""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def width(path: Path) -> int:
    """Return the width of a PNG in pixels; 0 without the file."""
    if not path.is_file():
        return 0
    with Image.open(path, formats=("PNG",)) as image:
        pixels: int = image.width
    return pixels


def coded(line: str) -> Markup:
    """Return a line as HTML, with what stands between backticks as code.

    >>> str(coded("set `lr` < 1"))
    'set <code>lr</code> &lt; 1'
    """
    parts = line.split("`")
    marked = (Markup("<code>{}</code>").format(part) for part in parts[1::2])
    plain = map(Markup.escape, parts[::2])
    return Markup("").join(one for pair in zip_longest(plain, marked, fillvalue="") for one in pair)


def command(words: Any) -> str:
    """Return a command as it is typed, from its words or its text."""
    return shlex.join(map(str, words)) if isinstance(words, list) else str(words or "")


def pairs(value: Any) -> list[tuple[str, str]]:
    """Return (name, text) of every entry, as people read them."""
    if not isinstance(value, Mapping):
        return [("", str(value))]
    return [(str(key).replace("_", " "), _words(v)) for key, v in value.items()]


def details(record: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return (heading, pairs) of what a record says of versions, hardware and git."""
    names = ("Versions", "Hardware", "Git")
    return [(name, pairs(record[name.lower()])) for name in names if record.get(name.lower())]


def _words(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return json.dumps(value) if isinstance(value, list | dict) else str(value)
