"""From what the user says of an access to a metered teacher."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from dfkd.access.answers import SMOOTHING, check_access
from dfkd.access.endpoint import Endpoint, LocalEndpoint
from dfkd.access.ledger import Ledger
from dfkd.access.meter import Meter, Patience
from dfkd.access.teacher import MeteredTeacher
from dfkd.access.web import WebEndpoint
from dfkd.errors import DfkdError, check_within, nearest
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec, parse_shape


@dataclass(frozen=True)
class AccessSettings:
    """What goes behind the ``?`` of ``http://HOST:PORT`` beside ``Patience``.

    Attributes:
        price: of a query, over what the server says.
        batch: images in a request, at most, likewise.
        smoothing: of a class alone: probability that is left to all others together.
    """

    price: float | None = None
    batch: int | None = None
    smoothing: float = SMOOTHING

    def __post_init__(self) -> None:
        check_within(self, "[0, inf)", "price")
        check_within(self, "[1, inf)", "batch")
        check_within(self, "(0, 1)", "smoothing")


def open_local(
    teacher: Teacher,
    access: str,
    queries: int | None = None,
    ledger: Path | str | None = None,
    smoothing: float = SMOOTHING,
) -> MeteredTeacher:
    """Let no more be seen of a teacher than an API would show.

    Args:
        teacher: a local one.
        access: of ``dfkd.access.answers.ACCESS_KINDS``.
        queries: images that a run may ask about; None: as many as it likes.
        ledger: file for answers and account; in memory where None.
        smoothing: see ``AccessSettings``.
    """
    check_access(access)
    meter = Meter(LocalEndpoint(teacher, access), _ledger(ledger, paid=False), queries)
    return MeteredTeacher(meter, teacher.spec, smoothing)


def open_web(
    url: str,
    keywords: Mapping[str, Any],
    *,
    access: str | None = None,
    queries: int | None = None,
    ledger: Path | str | None = None,
    image: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    class_names: Sequence[str] | None = None,
) -> MeteredTeacher:
    """Reach a teacher behind an API.

    Args:
        url: ``http://HOST:PORT``.
        keywords: settings of ``AccessSettings`` and ``Patience``.
        access: what the user expects to see; None: whatever the server shows.
        queries, ledger: see ``open_local``.
        image, mean, std, class_names: see ``dfkd.load_teacher``; the server knows size and names.

    Raises:
        DfkdError: nobody answers there, another access, or settings that there are not.
    """
    known = {field.name: kind for kind in (AccessSettings, Patience) for field in fields(kind)}
    for name, value in keywords.items():
        if name not in known:
            raise DfkdError(f"{url[:80]} takes no {name!r}{nearest(name, known)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise DfkdError(f"{name} of {url[:80]} must be a number, not {value!r}")
    own: dict[Any, dict[str, Any]] = {AccessSettings: {}, Patience: {}}
    for name, value in keywords.items():
        own[known[name]][name] = value
    settings, patience = AccessSettings(**own[AccessSettings]), Patience(**own[Patience])
    endpoint: Endpoint = WebEndpoint(url, patience.timeout)
    info = endpoint.info
    if access is not None and access != info.access:
        check_access(access)
        raise DfkdError(f"{url[:80]} shows {info.access}, not {access}: leave `access` out")
    if settings.price is not None:
        info = replace(info, price=settings.price)
    if settings.batch is not None:
        info = replace(info, batch=min(info.batch, int(settings.batch)))
    if class_names is not None:
        if len(class_names) != len(info.class_names):
            known_count = len(info.class_names)
            raise DfkdError(f"{len(class_names)} class names for {known_count} classes")
        info = replace(info, class_names=tuple(class_names))
    endpoint.info = info
    shape = info.image if image is None else parse_shape(image)
    spec = ImageSpec(*shape, tuple(mean or ()), tuple(std or ()))
    return MeteredTeacher(
        Meter(endpoint, _ledger(ledger, paid=True), queries, patience), spec, settings.smoothing
    )


def _ledger(path: Path | str | None, *, paid: bool) -> Ledger:
    return Ledger(None if path is None else Path(path).expanduser(), paid=paid)
