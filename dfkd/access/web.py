"""An endpoint at ``http://HOST:PORT``: the protocol of ``dfkd serve``, and what may go wrong.

    GET  /info     {"protocol": "dfkd-1", "access": "probs", "image": [1, 28, 28], "classes": 10}
                   and, where there are any, class_names, price, rate, batch, floats, and task:
                   multilabel where labels are on or off each by itself
    POST /predict  an npz with images, N x H x W x C, uint8 (or float32 in [0, 1] where floats is
                   true); header Request-Id. Returns an npz with logits or probs (N x classes) or
                   top1 (N; 0 or 1 a label, N x labels, of multilabel); header Queries-Counted says
                   what this request has cost in all. An id that was answered before is answered
                   from memory and costs nothing more.
    GET  /count    {"count": 1234}: queries since the beginning

429 and 503 (with Retry-After, if they like) ask for another try. No redirect is followed.
"""

import http.client
import json
import math
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from dfkd.access.answers import ACCESS_KINDS
from dfkd.access.endpoint import Info, RefusedError, Reply, UnansweredError
from dfkd.access.packing import MOST_BODY, packed, unpacked
from dfkd.errors import DfkdError

PROTOCOL = "dfkd-1"
TOKEN = "DFKD_TOKEN"
"""Environment variable whose value is sent as a bearer token; it is written nowhere."""
COUNTED, REQUEST = "Queries-Counted", "Request-Id"
_MOST_JSON = 1 << 24
_CHUNK = 1 << 16
_LOCAL = ("127.0.0.1", "localhost", "::1")
_MOST_CLASSES = 1 << 20
_BROKEN = (OSError, http.client.HTTPException)
"""What a connection that is refused, reset, cut or late raises."""


class WebEndpoint:
    """A server that speaks the protocol.

    Args:
        url: ``http://`` or ``https://``, host, port and, if any, the beginning of the paths.
        timeout: seconds that a request may take, its answer included.

    Raises:
        DfkdError: not such a URL, or nobody there who speaks it.
    """

    remembers = True

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        self.url, self._timeout = url, timeout
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise DfkdError(f"{url[:80]!r} is no http://HOST:PORT ({error})") from None
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.username:
            raise DfkdError(
                f"{url[:80]!r} is no http://HOST:PORT: no name, password or query goes into it (a "
                f"token goes into {TOKEN})"
            )
        self._place = parts.scheme, host, port
        self._path = parts.path.rstrip("/")
        self.info = _info(self._json("/info"), url)

    def ask(self, identity: str, images: Any) -> Reply:
        """Answer images; see ``Endpoint``."""
        headers = {"Content-Type": "application/octet-stream", REQUEST: identity}
        found, content = self._sent("POST", "/predict", packed("images", images), headers)
        counted = _whole(found.getheader(COUNTED))
        if found.status != 200:
            _raise(found, counted)
        try:
            values = unpacked(content, self.info.access)
        except DfkdError as error:
            raise UnansweredError(f"it sent {error}", counted) from None
        return Reply(values, len(images) if counted is None else counted)

    def count(self) -> int | None:
        """Ask for its own count; None: it has none."""
        found = self._json("/count").get("count")
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    def _json(self, path: str) -> dict[str, Any]:
        try:
            found, content = self._sent("GET", path, None, {})
        except UnansweredError as error:
            raise DfkdError(f"{self.url[:80]} does not answer: {error.reason[:120]}") from None
        if found.status != 200:
            raise DfkdError(f"{self.url[:80]}{path} answers {found.status} {found.reason[:40]}")
        try:
            values = json.loads(content[:_MOST_JSON])
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise DfkdError(
                f"{self.url[:80]} does not speak the protocol of dfkd serve: no JSON at {path}"
            )
        return values

    def _sent(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """A request and its whole answer within the time and the size that it may have."""
        scheme, host, port = self._place
        kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        token = os.environ.get(TOKEN)
        if token and (scheme == "https" or host in _LOCAL):  # in the clear only at home
            headers = {**headers, "Authorization": f"Bearer {token}"}
        with closing(kind(host, port, timeout=self._timeout)) as connection:
            try:
                connection.connect()
                with _ending(connection.sock, self._timeout):
                    connection.request(method, self._path + path, body, headers)
                    found = connection.getresponse()
                    return found, _content(found)
            except _BROKEN as error:
                reason = "no answer in time" if isinstance(error, TimeoutError) else _said(error)
                raise UnansweredError(reason) from None
            except ValueError as error:  # a header that is none
                raise UnansweredError(f"a malformed answer ({str(error)[:60]})") from None


@contextmanager
def _ending(connection: socket.socket, seconds: float) -> Iterator[None]:
    """End a connection that has taken so long, however little it sends at a time.

    Raises:
        TimeoutError: it was ended, and what the block made of it does not count.
    """
    ended = threading.Event()

    def end() -> None:
        ended.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
        if ended.is_set():  # what was cut looks whole where no length was promised
            raise TimeoutError
    except (*_BROKEN, ValueError, UnansweredError):
        if ended.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()


def _content(found: http.client.HTTPResponse) -> bytes:
    """The whole body; one without an end is cut."""
    parts, size = [], 0
    while part := found.read1(_CHUNK):
        parts.append(part)
        size += len(part)
        if size > MOST_BODY:
            raise UnansweredError(f"an answer of more than {MOST_BODY:,} bytes", _cost(found))
    if found.length:  # of those that were promised
        raise UnansweredError("an answer that breaks off", _cost(found))
    return b"".join(parts)


def _cost(found: http.client.HTTPResponse) -> int | None:
    return _whole(found.getheader(COUNTED))


def _raise(found: http.client.HTTPResponse, counted: int | None) -> None:
    """Tell what may be tried again from what may not."""
    status, cost = found.status, counted or 0
    reason = f"it answers {status} {found.reason[:40]}"
    if status in (408, 425, 429) or status >= 500:
        raise UnansweredError(reason, cost, _seconds(found.getheader("Retry-After")))
    if 300 <= status < 400:
        where = str(found.getheader("Location"))[:60]
        raise RefusedError(
            f"the teacher's server redirects to {where!r}, which is not followed", cost
        )
    raise RefusedError(f"the teacher's server refuses images: {reason}", cost)


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds; a date, which needs two clocks to agree, is not read."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 12 else None


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)[:80]


def _info(values: dict[str, Any], url: str) -> Info:
    """Read ``/info``, which a stranger wrote."""
    if values.get("protocol") != PROTOCOL:
        raise DfkdError(f"{url[:80]} does not speak the protocol of dfkd serve ({PROTOCOL})")

    def number(name: str, default: float, least: float, most: float) -> float:
        value = values.get(name)
        value = default if value is None else value
        numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (numeric and least <= value <= most):
            raise DfkdError(f"{url[:80]}/info says {name} {str(value)[:40]!r}, which cannot be")
        return float(value)

    access, image, names, task = map(values.get, ("access", "image", "class_names", "task"))
    if access not in ACCESS_KINDS:
        raise DfkdError(
            f"{url[:80]}/info says access {str(access)[:40]!r}: {', '.join(ACCESS_KINDS)}"
        )
    sides = isinstance(image, list) and len(image) == 3
    if not (sides and all(type(side) is int and 1 <= side <= 1 << 14 for side in image or ())):
        raise DfkdError(f"{url[:80]}/info says image {str(image)[:40]!r}, not [C, H, W]")
    classes = int(number("classes", 0, 2, _MOST_CLASSES))
    if names is None:
        names = [str(index) for index in range(classes)]
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise DfkdError(f"{url[:80]}/info says class_names that are no list of names")
    if len(names) != classes:
        raise DfkdError(f"{url[:80]}/info says {classes} classes and {len(names)} class_names")
    rate = number("rate", math.inf, 1e-6, math.inf)
    return Info(
        url, str(access), tuple(image or ()), tuple(names), number("price", 0, 0, 1e9),
        rate if math.isfinite(rate) else None, int(number("batch", 256, 1, 1 << 16)),
        values.get("floats") is True, None if task is None else str(task),
    )  # fmt: skip
