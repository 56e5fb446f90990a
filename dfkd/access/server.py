"""A small server of the protocol (``dfkd.access.web``): a teacher to try a client on, at home.

Not for the internet: it knows no users and encrypts nothing.
"""

import json
import threading
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dfkd.access.endpoint import LocalEndpoint
from dfkd.access.packing import MOST_BODY, packed, unpacked
from dfkd.access.web import COUNTED, PROTOCOL, REQUEST
from dfkd.errors import DfkdError
from dfkd.teacher import Teacher

_REMEMBERED = 1024
"""Answers that are kept, the latest ones: a client has a few requests in doubt at most."""


class TeacherServer(ThreadingHTTPServer):
    """Answers for a teacher, counts, and remembers by the id of a request what it answered.

    Args:
        teacher: a local one.
        access: what is shown of its answers.
        port: 0: any that is free; ``server_port`` says which.
        price: of a query, as ``/info`` tells it.
        rate: images a second, likewise.
        host: whom to listen for; this machine alone, as it stands.
    """

    daemon_threads = True

    def __init__(
        self,
        teacher: Teacher,
        access: str,
        port: int = 0,
        price: float = 0.0,
        rate: float | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__((host, port), Handler)
        self.endpoint = LocalEndpoint(teacher, access)
        self.price, self.rate = price, rate
        self.lock = threading.Lock()  # one pass at a time
        self.remembered: OrderedDict[str, bytes] = OrderedDict()
        self.counts: dict[str, int] = {}

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.server_address[0]!s}:{self.server_port}"

    def facts(self) -> dict[str, Any]:
        """Return what ``/info`` says."""
        info = self.endpoint.info
        return {
            "protocol": PROTOCOL, "access": info.access, "image": list(info.image),
            "classes": len(info.class_names), "class_names": list(info.class_names),
            "price": self.price, "rate": self.rate, "batch": info.batch, "floats": True,
            "task": info.task,
        }  # fmt: skip

    def answer(self, identity: str, images: Any) -> bytes:
        """Answer images once: the same id gets the same bytes, and is not counted again."""
        with self.lock:
            known = self.remembered.get(identity)
            if known is None:
                reply = self.endpoint.ask(identity, images)
                known = packed(self.endpoint.info.access, reply.values)
                self.counts[identity] = self.counts.get(identity, 0) + reply.counted
                self.remembered[identity] = known
                while len(self.remembered) > _REMEMBERED:
                    self.remembered.popitem(last=False)
            return known

    def count(self) -> int:
        """Return the queries counted so far."""
        with self.lock:
            return sum(self.counts.values())


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: TeacherServer
    timeout = 60

    def do_GET(self) -> None:
        """Say what the teacher is, or how much it was asked."""
        if self.path == "/info":
            self.reply(200, json.dumps(self.server.facts()).encode())
        elif self.path == "/count":
            self.reply(200, json.dumps({"count": self.server.count()}).encode())
        else:
            self.reply(404, b"{}")

    def do_POST(self) -> None:
        """Answer images."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/predict" or not length.isdigit() or int(length) > MOST_BODY:
            self.reply(404 if length.isdigit() else 411, b"{}")
            return
        body = self.rfile.read(int(length))
        identity = self.headers.get(REQUEST, "")[:64]
        try:
            images = checked(unpacked(body, "images"), self.server.endpoint.info.image)
            content = self.server.answer(identity, images)
        except DfkdError as error:
            self.reply(400, json.dumps({"error": str(error)}).encode())
            return
        self.reply(200, content, self.server.counts.get(identity, 0))

    def reply(self, status: int, content: bytes, counted: int = 0) -> None:
        """Send a whole answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header(COUNTED, str(counted))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


def checked(images: Any, shape: tuple[int, int, int]) -> Any:
    """Return images of C x H x W as they came.

    Raises:
        DfkdError: other ones, or other types.
    """
    channels, height, width = shape
    if images.ndim != 4 or images.shape[1:] != (height, width, channels) or not len(images):
        raise DfkdError(f"images must be N x {height} x {width} x {channels}, not {images.shape}")
    if str(images.dtype) not in ("uint8", "float32"):
        raise DfkdError(f"images must be uint8 or float32, not {images.dtype}")
    return images
