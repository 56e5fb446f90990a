"""A server of the protocol in a process of its own, which misbehaves as it is told.

POST /faults takes a JSON list: what happens at each of the next requests for answers.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from dfkd.access.packing import packed
from dfkd.access.server import Handler, TeacherServer
from dfkd.access.web import COUNTED
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec

SPEC = ImageSpec(1, 4, 4)
CLASSES = 3


def make_teacher():
    """A linear classifier with fixed weights."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES))
    with torch.no_grad():
        network[1].weight.copy_(torch.linspace(-2, 2, 48).sin().mul(0.2).view(3, 16))
        network[1].bias.zero_()
    return Teacher(network, SPEC, ("ant", "bee", "cat"))


class FaultyHandler(Handler):
    faults: ClassVar[list] = []

    def do_POST(self):  # noqa: N802
        if self.path == "/faults":
            body = self.rfile.read(int(self.headers["Content-Length"]))
            type(self).faults = json.loads(body)
            return self.reply(200, b"{}")
        fault = type(self).faults.pop(0) if type(self).faults else ""
        if fault in BEFORE:  # nothing is counted
            self.rfile.read(int(self.headers["Content-Length"]))
            return BEFORE[fault](self)
        self.fault = fault
        return super().do_POST()

    def reply(self, status, content, counted=0):
        fault, self.fault = getattr(self, "fault", ""), ""
        if fault in AFTER:  # it is counted, and the answer never comes, or is spoilt
            return AFTER[fault](self, content, counted)
        return super().reply(status, content, counted)


def _status(status, **headers):
    def send(handler):
        handler.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return send


def _array(values):
    return lambda handler, content, counted: Handler.reply(
        handler, 200, packed("probs", values), counted
    )


def _body(words):
    return lambda handler, content, counted: Handler.reply(handler, 200, words, counted)


def _stream(handler, content, counted, part, pause):
    handler.send_response(200)
    handler.send_header(COUNTED, str(counted))
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(part)
            time.sleep(pause)
    except OSError:
        pass


def _reset(handler, *_):
    handler.connection.close()


BEFORE = {
    "429": _status(429, Retry_After="0"),
    "503": _status(503),
    "500": _status(500, Retry_After="soon"),
    "404": _status(404),
    "redirect": _status(302, Location="file:///etc/passwd"),
    "reset": _reset,
    "slow": lambda handler: time.sleep(3),
}
AFTER = {
    "lost": _reset,
    "hang": lambda *_: time.sleep(60),
    "shape": _array(np.full((1, CLASSES + 1), 0.25, "f4")),
    "count": _array(np.full((7, CLASSES), 1 / 3, "f4")),
    "nan": _array(np.full((2, CLASSES), np.nan, "f4")),
    "sum": _array(np.full((2, CLASSES), 0.5, "f4")),
    "negative": _array(np.array([[-0.5, 1.0, 0.5]] * 2, "f4")),
    "text": _array(np.array([["a"] * CLASSES] * 2)),
    "html": _body(b"<html>sign in</html>"),
    "empty": _body(b""),
    "torn": lambda h, content, n: Handler.reply(h, 200, content[:-30], n),
    "endless": lambda h, c, n: _stream(h, c, n, b"x" * (1 << 22), 0),
    "drip": lambda h, c, n: _stream(h, c, n, b"x", 0.2),
}


class Served:
    """What a test knows of the process."""

    def __init__(self, url):
        self.url = url

    def count(self):
        with urllib.request.urlopen(f"{self.url}/count") as answer:
            return json.load(answer)["count"]

    def fail(self, *faults):
        data = json.dumps(faults).encode()
        urllib.request.urlopen(f"{self.url}/faults", data).close()


@contextmanager
def serving(*words):
    """A server process for as long as the block runs; ``words`` are a MODEL and an access."""
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), str(root / "tests")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    process = subprocess.Popen(
        [sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield Served(process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def main():
    from dfkd.loading import load_teacher

    uri, access = (*sys.argv[1:], "", "probs")[:2] if len(sys.argv) > 2 else ("", "probs")
    server = TeacherServer(load_teacher(uri) if uri else make_teacher(), access)
    server.RequestHandlerClass = FaultyHandler
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
