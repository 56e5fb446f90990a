"""From what the user says of an access to a metered teacher."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from dfkd.access.answers import SMOOTHING, check_access
from dfkd.access.endpoint import Endpoint, Info, LocalEndpoint
from dfkd.access.ledger import Ledger
from dfkd.access.meter import Meter, Patience
from dfkd.access.teacher import MeteredTeacher
from dfkd.access.web import WebEndpoint
from dfkd.errors import DfkdError, check_within, nearest
from dfkd.tasks.subset import choose_classes
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec, parse_shape


@dataclass(frozen=True)
class AccessSettings:
    """What goes behind the ``?`` of ``http://HOST:PORT`` beside ``Patience``.

    Attributes:
        price: of a query, over what the server says.
        batch: images in a request, at most, likewise.
        smoothing: of a decision alone: probability that is left to all others together.
    """

    price: float | None = None
    batch: int | None = None
    smoothing: float = SMOOTHING

    def __post_init__(self) -> None:
        check_within(self, "[0, inf)", "price")
        check_within(self, "[1, inf)", "batch")
        check_within(self, "(0, 0.5)", "smoothing")


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
    found = MeteredTeacher(meter, teacher.spec, smoothing)
    found.subset, found.notes = teacher.subset, teacher.notes
    return found


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
    only_classes: str | Sequence[int | str] | None = None,
    task: str | None = None,
) -> MeteredTeacher:
    """Reach a teacher behind an API.

    Args:
        url: ``http://HOST:PORT``.
        keywords: settings of ``AccessSettings`` and ``Patience``.
        access: what the user expects to see; None: whatever the server shows.
        queries, ledger: see ``open_local``.
        image, mean, std, class_names: see ``dfkd.load_teacher``; the server knows size and names.
        only_classes: see there.
        task: what its answers mean; None: what the server says.

    Raises:
        DfkdError: nobody answers there, another access, or settings that there are not.
    """
    settings, patience = _settings(url, keywords)
    endpoint: Endpoint = WebEndpoint(url, patience.timeout)
    endpoint.info = _agreed(endpoint.info, settings, access, class_names, task)
    info = endpoint.info
    shape = info.image if image is None else parse_shape(image)
    spec = ImageSpec(*shape, tuple(mean or ()), tuple(std or ()))
    subset = None if only_classes is None else choose_classes(only_classes, info.class_names)
    meter = Meter(endpoint, _ledger(ledger, paid=True), queries, patience)
    return MeteredTeacher(meter, spec, settings.smoothing, subset)


def _settings(url: str, keywords: Mapping[str, Any]) -> tuple[AccessSettings, Patience]:
    """Read what goes behind the ``?``; raise a ``DfkdError`` for what there is not."""
    known = {field.name: kind for kind in (AccessSettings, Patience) for field in fields(kind)}
    own: dict[Any, dict[str, Any]] = {AccessSettings: {}, Patience: {}}
    for name, value in keywords.items():
        if name not in known:
            raise DfkdError(f"{url[:80]} takes no {name!r}{nearest(name, known)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise DfkdError(f"{name} of {url[:80]} must be a number, not {value!r}")
        own[known[name]][name] = value
    return AccessSettings(**own[AccessSettings]), Patience(**own[Patience])


def _agreed(
    info: Info,
    settings: AccessSettings,
    access: str | None,
    class_names: Sequence[str] | None,
    task: str | None,
) -> Info:
    """Lay what the user says over what the server says; raise a ``DfkdError`` where they differ."""
    url = info.name[:80]
    if access is not None and access != info.access:
        check_access(access)
        raise DfkdError(f"{url} shows {info.access}, not {access}: leave `access` out")
    if task is not None and info.task not in (None, task):
        raise DfkdError(f"{url} answers for the task {info.task}, not {task}: leave `task` out")
    names = info.class_names if class_names is None else tuple(class_names)
    if len(names) != len(info.class_names):
        raise DfkdError(f"{len(names)} class names for {len(info.class_names)} classes")
    return replace(
        info,
        price=info.price if settings.price is None else settings.price,
        batch=info.batch if settings.batch is None else min(info.batch, int(settings.batch)),
        class_names=names,
        task=task or info.task,
    )


def _ledger(path: Path | str | None, *, paid: bool) -> Ledger:
    return Ledger(None if path is None else Path(path).expanduser(), paid=paid)
