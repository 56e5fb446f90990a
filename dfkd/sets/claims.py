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
import uuid
from collections.abc import Iterator
from pathlib import Path

STALE = 120.0
"""Seconds without a sign of life after which a claim of another machine is stale."""
_TOUCHES = 8
"""Signs of life within that time."""


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
        if not self._take(path):
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
            return False  # for now: the next look finds it free
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
