"""Who makes which shard: claims on a shared disk, with no coordinator but the file system.

A claim is a file that only one process can create. It says who holds it, and is touched while the
work goes on. One that nobody has touched for long, or whose holder on this machine is dead, is
stale, and its shard free again. Claims save work; they decide nothing: two processes that made
the same shard would have written the same bytes.
"""

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

STALE = 120.0
"""Seconds without a sign of life after which a claim of another machine is stale."""
_TOUCHES = 8
"""Signs of life within that time."""

_SHORT = 0.05
_WAIT = 0.5
"""Seconds between two looks for work that others have left."""


class Halted(BaseException):
    """Ctrl-C ends a piece of work; what is unfinished of it is dropped."""


class Claims:
    """The claims of one process in a directory.

    Args:
        directory: of all claims; made where there is none.
        stale: seconds after which a claim that nobody touched is stale.
    """

    def __init__(self, directory: Path, stale: float = STALE) -> None:
        self.directory, self.stale = directory, stale
        self._token = (
            f"{socket.gethostname()} {os.getpid()} {_born(os.getpid())} {uuid.uuid4().hex}"
        )

    @contextlib.contextmanager
    def holding(self, index: int) -> Iterator[bool]:
        """Claim a shard for the block; yields whether it is ours."""
        path = self.directory / f"{index:05d}.claim"
        try:
            taken = self._take(path)
        except FileNotFoundError:  # whoever ended the work has just removed the directory
            taken = False
        if not taken:
            yield False
            return
        ended = threading.Event()
        signs = threading.Thread(target=self._touch, args=(path, ended), daemon=True)
        signs.start()
        try:
            yield True
        finally:
            ended.set()
            signs.join()
            if self._holder(path) == self._token:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def alone(self, index: int) -> Iterator[None]:
        """Wait until a claim is ours, and hold it for the block."""
        while True:
            with self.holding(index) as mine:
                if mine:
                    yield
                    return
            time.sleep(_SHORT)

    def _take(self, path: Path) -> bool:
        self.directory.mkdir(exist_ok=True)  # whoever closes a set removes it
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            if not self._is_stale(path):
                return False
            # Of several that see this, one can take it away; whoever creates it next has it.
            aside = path.with_suffix(f".{uuid.uuid4().hex}.stale")
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, aside)
                aside.unlink(missing_ok=True)
            return False  # the next look finds it free
        with os.fdopen(handle, "w") as file:
            file.write(self._token)
        return True

    def _is_stale(self, path: Path) -> bool:
        host, _, rest = self._holder(path).partition(" ")
        number, _, tail = rest.partition(" ")
        if host == socket.gethostname() and number.isdigit():
            return _born(int(number)) != tail.partition(" ")[0]
        try:
            return self._now() - path.stat().st_mtime > self.stale
        except FileNotFoundError:
            return False

    def _now(self) -> float:
        """The time by the clock of the disk: another machine's claim was touched by that."""
        probe = self.directory / f"{uuid.uuid4().hex}.now"
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def _holder(self, path: Path) -> str:
        try:
            return path.read_text("utf-8", errors="replace")[:500]
        except OSError:
            return ""

    def _touch(self, path: Path, ended: threading.Event) -> None:
        while not ended.wait(self.stale / _TOUCHES):
            with contextlib.suppress(OSError):
                os.utime(path)


def share_work(
    claims: Claims,
    missing: Callable[[], Sequence[int]],
    make: Callable[[int], None],
    interrupted: Sequence[bool],
) -> tuple[int, bool]:
    """Make what nobody else makes, until nothing is missing or Ctrl-C asks for an end.

    Args:
        claims: of this process.
        missing: lists the pieces that are not there yet.
        make: makes one of them; ``Halted`` ends the work.
        interrupted: a cell that turns true at Ctrl-C.

    Returns:
        How many pieces were made here, and whether all are there.
    """
    made = 0
    while waiting := missing():
        before = made
        for index in waiting:
            if interrupted[0]:
                return made, False
            with claims.holding(index) as mine:
                if not mine or index not in missing():
                    continue
                try:
                    make(index)
                except Halted:
                    return made, False
            made += 1
        if made == before:  # others are at work on all that is left
            time.sleep(_WAIT)
    return made, True


def tidy(claims: Claims, made: Path, names: str = "*") -> None:
    """Remove all claims, and what killed processes left unfinished.

    Args:
        claims: whose directory goes as well.
        made: the directory of what was made.
        names: a pattern of the files there, without the ending of unfinished ones.
    """
    for path in (*made.glob(f"{names}.part"), *claims.directory.glob("*")):
        with contextlib.suppress(OSError):
            path.unlink()
    with contextlib.suppress(OSError):
        claims.directory.rmdir()


def _born(number: int) -> str:
    """When a process of this machine began, as its kernel counts; "" where there is none."""
    try:
        text = Path(f"/proc/{number}/stat").read_text()
        return text.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return "alive"
