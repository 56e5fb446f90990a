"""Figures inside a page: SVG whose colours and letters are the stylesheet's."""

import io
import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from markupsafe import Markup
from matplotlib.figure import Figure

from dfkd.report.palette import COLOURS, chart_style

_SPACE = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_VARIABLES = {light: f"var(--{name})" for name, (light, _) in COLOURS.items()}
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_FONT = re.compile(r"font[-a-z]*: [^;]*;? *")
_DECIMAL = re.compile(r"-?\d+\.\d+")


def inline(figure: Figure, label: str) -> Markup:
    """Draw a figure as SVG for the inside of a page, as wide as there is room.

    The SVG has no background, no ids, no links and no fonts, and takes its colours from the
    variables of ``palette.COLOURS``. The ``gid`` of an artist becomes its class, and the label of
    such a line its title. Nothing is clipped: draw nothing outside the axes.

    Args:
        figure: drawn in the light colours of the palette; its background is removed.
        label: what the figure shows, for readers who cannot see it.
    """
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set_visible(False)
    buffer = io.BytesIO()
    with chart_style():
        empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=empty)
    root = ElementTree.fromstring(buffer.getvalue())
    classes = {str(artist.get_gid()): "" for artist in figure.findobj() if artist.get_gid()}
    lines = [line for axes in figure.axes for line in axes.lines]
    titles = {str(line.get_gid()): str(line.get_label()) for line in lines if line.get_gid()}
    shapes = {path.get("id", ""): path for path in root.iter(f"{_SPACE}path")}
    opening = Markup('<svg viewBox="{}" role="img" aria-label="{}">')
    drawn = _content(root, shapes, classes | titles)
    return opening.format(root.get("viewBox"), label) + Markup("").join(drawn) + Markup("</svg>")


def _content(
    group: Element, shapes: Mapping[str, Element], classes: Mapping[str, str]
) -> Iterator[Markup]:
    """Yield paths, texts and those groups that have a class; ``classes`` has their titles."""
    for element in group:
        tag, name = element.tag.removeprefix(_SPACE), element.get("id", "")
        if tag == "g" and name in classes:
            title = Markup("<title>{}</title>").format(classes[name]) if classes[name] else ""
            inner = Markup("").join(_content(element, shapes, classes))
            yield Markup('<g class="{}">{}{}</g>').format(name, title, inner)
        elif tag == "g":
            yield from _content(element, shapes, classes)
        elif tag == "path":
            yield _path(element, element.get("style", ""))
        elif tag == "use":
            shape = shapes[element.get(_LINK, "").removeprefix("#")]
            style = f"{shape.get('style', '')}; {element.get('style', '')}".strip("; ")
            yield _path(shape, style, f"{element.get('x', 0)} {element.get('y', 0)}")
        elif tag == "text":
            where = _short(element.get("x", "0")), _short(element.get("y", "0"))
            opening = Markup('<text x="{}" y="{}" style="{}">{}</text>')
            yield opening.format(*where, _style(element.get("style", "")), element.text or "")


def _path(shape: Element, style: str, shift: str = "") -> Markup:
    points = _short(" ".join(shape.get("d", "").split()))
    move = Markup(' transform="translate({})"').format(_short(shift)) if shift else ""
    return Markup('<path d="{}" style="{}"{}/>').format(points, _style(style), move)


def _style(style: str) -> str:
    return _COLOUR.sub(lambda found: _VARIABLES.get(found[0], found[0]), _FONT.sub("", style))


def _short(numbers: str) -> str:
    """Round to two decimals: a hundredth of a pixel is not seen."""
    return _DECIMAL.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), numbers)
