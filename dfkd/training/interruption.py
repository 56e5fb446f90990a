"""Ctrl-C and SIGTERM as a wish to stop: a run finishes its step and keeps what it has."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def interruption() -> Iterator[list[bool]]:
    """Yield a cell that turns true at the first SIGINT or SIGTERM; the second acts as usual.

    Outside the main thread, which alone may listen to signals, the cell stays false.
    """
    cell = [False]
    previous: dict[int, Any] = {}

    def usual() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        cell[0] = True
        usual()

    try:
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            previous[number] = signal.signal(number, ask)
    except ValueError:
        pass  # not the main thread: nobody presses Ctrl-C here
    try:
        yield cell
    finally:
        usual()
