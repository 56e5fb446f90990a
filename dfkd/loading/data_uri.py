"""DATA URIs: ``KIND:PLACE``, then ``?option=value&option=value``."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from dfkd.errors import DfkdError, nearest
from dfkd.tasks.words import shown

DATA_FORMS = "npz:FILE, folder:DIR, idx:DIR, set:DIR or bundled:NAME"

DATA_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "npz": ("images", "labels", "layout", "max", "foreign"),
    "folder": ("max", "foreign"),
    "idx": ("max", "foreign"),
    "crops": ("count", "seed"),
    "set": (),
    "bundled": (),
}
"""The kinds of DATA, and what each may be told."""

LOCAL_DATA = tuple(kind for kind in DATA_OPTIONS if kind != "bundled")

_QUERY = re.compile(r"\?([a-z_]+=[^?]*)$")
_YES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class DataURI:
    """A parsed DATA URI.

    Attributes:
        kind: one of ``DATA_OPTIONS``.
        place: a file, a directory or a name.
        options: as they are written; ``%26`` is an ampersand there.
    """

    kind: str
    place: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> str:
        """Where the channels of an array are: ``first``, ``last``, or "" where nobody says."""
        value = self.options.get("layout", "")
        if value not in ("", "first", "last"):
            raise DfkdError(f"`?layout` of {self.kind}: is first or last, not {shown(value)!r}")
        return value

    @property
    def white(self) -> float | None:
        """The value that stands for 1, where it is given."""
        text = self.options.get("max")
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise DfkdError(f"`?max` of {self.kind}: is a positive number, not {shown(text)!r}")
        return value

    @property
    def foreign(self) -> bool:
        """Whether these are no images of the task."""
        text = self.options.get("foreign", "no")
        if text.lower() not in _YES:
            raise DfkdError(f"`?foreign` of {self.kind}: is True or False, not {shown(text)!r}")
        return _YES[text.lower()]

    def whole(self, option: str, default: int, least: int) -> int:
        """Return an option that is a whole number of at least ``least``."""
        text = self.options.get(option, str(default))
        if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
            raise DfkdError(
                f"`?{option}` of {self.kind}: is a whole number from {least} on, not "
                f"{shown(text)!r}"
            )
        return int(text)


def parse_data_uri(text: str) -> DataURI:
    """Parse ``text``; a file that is called so, question mark and all, is taken as it is.

    Raises:
        DfkdError: no DATA, or an option that this kind does not have, or twice.

    >>> parse_data_uri("npz:a.npz?layout=first&images=x").options
    {'layout': 'first', 'images': 'x'}
    """
    kind, _, place = text.partition(":")
    if kind not in DATA_OPTIONS or not place:
        raise DfkdError(f"not DATA: {shown(text, 120)!r}; write {DATA_FORMS}")
    found = _QUERY.search(place)
    if not found or _is_there(place):
        return DataURI(kind, place)
    options: dict[str, str] = {}
    for pair in found[1].split("&"):
        key, equals, value = pair.partition("=")
        if not equals or not value:
            raise DfkdError(f"{shown(pair, 60)!r} in {shown(text, 120)} is no option=value")
        if key not in DATA_OPTIONS[kind]:
            raise DfkdError(f"{kind}: has no option {shown(key)!r}{_choices(key, kind)}")
        if key in options:
            raise DfkdError(f"{key!r} is given twice in {shown(text, 120)}")
        options[key] = unquote(value)
    return DataURI(kind, place[: found.start()], options)


def _choices(key: str, kind: str) -> str:
    return nearest(key, DATA_OPTIONS[kind]) or ": leave it out"


def _is_there(place: str) -> bool:
    try:
        return os.path.lexists(os.path.expanduser(place))
    except ValueError:  # no path at all
        return False
