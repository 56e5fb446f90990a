"""Work that no step should wait for: writing logs, checkpoints, pictures."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from dfkd.errors import unwritable


class Background:
    """One thread that does jobs in the order of their coming; a context manager.

    Jobs must not share what the caller goes on to change: hand over copies. An error of a job
    is raised by the next ``submit``, or at the latest at the end of the block, which waits for
    all jobs. What cannot be written is then a ``DfkdError`` that names the file.

    Args:
        directory: where jobs write, to be named where an error names no file.
        depth: jobs that may wait; ``submit`` blocks while there are more.
    """

    def __init__(self, directory: Path | None = None, depth: int = 4) -> None:
        self._directory, self._depth = directory, depth
        self._thread = ThreadPoolExecutor(1)
        self._pending: deque[Future[Any]] = deque()

    def submit(self, job: Callable[..., object], *arguments: object) -> None:
        """Do ``job(*arguments)`` when the jobs before are done."""
        while self._pending and (self._pending[0].done() or len(self._pending) >= self._depth):
            self._finish()
        self._pending.append(self._thread.submit(job, *arguments))

    def _finish(self) -> None:
        """Wait for the oldest job and raise its error, if it had one."""
        try:
            self._pending.popleft().result()
        except OSError as error:
            raise unwritable(error, self._directory or "a file of this run") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(wait=True)
        while kind is None and self._pending:
            self._finish()
