"""What every page is made of: its templates, embedded pictures, names with their values."""

import base64
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image


def environment() -> Environment:
    """The templates of this room; what they are given is escaped, and must be complete."""
    return Environment(
        loader=PackageLoader("dfkd.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def read(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty without the file."""
    if not path.is_file():
        return {}
    value = json.loads(path.read_text(encoding="utf-8"))
    return value if isinstance(value, dict) else {}


def data_uri(path: Path) -> str:
    """A PNG as a ``data:`` address; empty without the file."""
    if not path.is_file():
        return ""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def width(path: Path) -> int:
    """How many pixels wide a picture is; 0 without the file."""
    if not path.is_file():
        return 0
    with Image.open(path, formats=("PNG",)) as image:
        pixels: int = image.width
    return pixels


def time_unit(seconds: float) -> tuple[str, float]:
    """The unit to show times up to ``seconds`` in, and how many seconds it has."""
    if seconds < 120:
        return "seconds", 1
    return ("minutes", 60) if seconds < 7200 else ("hours", 3600)


def command(words: Any) -> str:
    """A command as it is typed, from its words or its text."""
    return shlex.join(map(str, words)) if isinstance(words, list) else str(words or "")


def pairs(value: Any) -> list[tuple[str, str]]:
    """(name, text) of every entry, as people read them."""
    if not isinstance(value, Mapping):
        return [("", str(value))]
    return [(str(key).replace("_", " "), _words(v)) for key, v in value.items()]


def _words(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return json.dumps(value) if isinstance(value, list | dict) else str(value)
