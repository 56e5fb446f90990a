"""What was asked and paid, and the answers, in one file that survives whatever ends the process.

A request is written down before it is sent and closed with its answers in one transaction. One that
was sent and not closed is in doubt; it keeps its images, so that it can be sent again by its id.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dfkd.errors import DfkdError

_FORMAT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS requests (
    id TEXT PRIMARY KEY, run TEXT, images INTEGER NOT NULL, counted INTEGER, keys BLOB, body BLOB);
CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, answer BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS asked (
    run TEXT, place INTEGER, key BLOB, purpose TEXT, PRIMARY KEY (run, key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_run ON requests (run);
"""
KEY_BYTES = 32
_AT_ONCE = 500  # keys in one look-up: SQLite takes 999 values at least


class Doubtful(NamedTuple):
    """A request that was sent, and of which nobody knows what became."""

    identity: str
    keys: tuple[bytes, ...]
    body: bytes


class Ledger:
    """The file; without a path one in memory, which ends with the process.

    Args:
        path: made where it is not there.
        paid: what it notes costs something: it is on the disk before anything goes on, since power
            may fail. Without, a killed process loses as little.

    Raises:
        DfkdError: it cannot be opened, or is no ledger.
    """

    def __init__(self, path: Path | None = None, *, paid: bool = True) -> None:
        self.path = path
        try:
            self._base = sqlite3.connect(
                ":memory:" if path is None else path,
                isolation_level=None, timeout=30, check_same_thread=False,
            )  # fmt: skip
            self._base.execute("PRAGMA trusted_schema = OFF")
            self._base.execute(f"PRAGMA synchronous = {'FULL' if paid else 'OFF'}")
            (version,) = self._base.execute("PRAGMA user_version").fetchone()
            if version not in (0, _FORMAT) or (version == 0 and self._tables()):
                raise DfkdError(f"`ledger` {path} is another program's file: choose another")
            self._base.executescript(_TABLES)
            self._base.execute(f"PRAGMA user_version = {_FORMAT}")
        except sqlite3.Error as error:
            raise _unusable(path, error) from None

    def _tables(self) -> bool:
        return bool(self._base.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0])

    def _do(self, *statements: tuple[str, Sequence[Any]]) -> None:
        """Carry out all of them, or none."""
        try:
            with closing(self._base.cursor()) as cursor:
                cursor.execute("BEGIN IMMEDIATE")
                try:
                    for text, values in statements:
                        many = bool(values) and isinstance(values[0], tuple)
                        (cursor.executemany if many else cursor.execute)(text, values)
                except BaseException:
                    cursor.execute("ROLLBACK")
                    raise
                cursor.execute("COMMIT")
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from None

    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._base.execute(text, values).fetchall()
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from None

    def answers(self, keys: Sequence[bytes], length: int) -> dict[bytes, Any]:
        """Return those of the answers that are there, float32 rows of ``length``.

        Raises:
            DfkdError: a stored one is of another length.
        """
        found: dict[bytes, Any] = {}
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            rows = self._rows(f"SELECT key, answer FROM answers WHERE key IN ({marks})", part)
            found |= {key: np.frombuffer(answer, np.float32) for key, answer in rows}
        if any(len(row) != length for row in found.values()):
            raise DfkdError(f"`ledger` {self.path} holds answers of another length: it is damaged")
        return found

    def begin(self, identity: str, run: str, keys: Sequence[bytes], body: bytes | None) -> None:
        """Note a request that is about to be sent.

        Args:
            identity: its id.
            run: for which.
            keys: of its images.
            body: what is sent, where it can be sent again; None: nobody would remember it.
        """
        row = (identity, run, len(keys), None, b"".join(keys), body)
        self._do(("INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?)", [row]))

    def close(
        self, identity: str, counted: int, keys: Sequence[bytes] = (), answers: Any = ()
    ) -> None:
        """Note what a request cost, and the answers that came, float32 N x length."""
        stored = [(k, a.astype(np.float32).tobytes()) for k, a in zip(keys, answers, strict=True)]
        done = "UPDATE requests SET counted = ?, keys = NULL, body = NULL WHERE id = ?"
        kept = [("INSERT OR IGNORE INTO answers VALUES (?, ?)", stored)] if stored else []
        self._do((done, (counted, identity)), *kept)

    def doubtful(self) -> list[Doubtful]:
        """List the requests that were sent and have no end; those that nobody remembers go."""
        self._do(("DELETE FROM requests WHERE counted IS NULL AND body IS NULL", ()))
        rows = self._rows(
            "SELECT id, keys, body FROM requests WHERE counted IS NULL ORDER BY rowid"
        )
        return [Doubtful(identity, _split(keys), body) for identity, keys, body in rows]

    def counted(self, run: str | None = None) -> int:
        """Sum the queries that were counted, for one run or in all."""
        text = "SELECT COALESCE(SUM(counted), 0) FROM requests"
        where, values = (" WHERE run = ?", [run]) if run is not None else ("", [])
        return int(self._rows(text + where, values)[0][0])

    def in_doubt(self) -> int:
        """Sum the images of requests without an end."""
        text = "SELECT COALESCE(SUM(images), 0) FROM requests WHERE counted IS NULL"
        return int(self._rows(text)[0][0])

    def asked(self, run: str) -> list[tuple[bytes, str]]:
        """List the images that a run has asked about, with the purpose, in their order."""
        return self._rows("SELECT key, purpose FROM asked WHERE run = ? ORDER BY place", [run])

    def note_asked(self, run: str, place: int, keys: Iterable[bytes], purpose: str) -> None:
        """Append images to those that a run has asked about, of which there are ``place``."""
        rows = [(run, place + i, key, purpose) for i, key in enumerate(keys)]
        if rows:
            self._do(("INSERT OR REPLACE INTO asked VALUES (?, ?, ?, ?)", rows))

    def forget_asked(self, run: str, place: int) -> None:
        """Take back all but the first ``place`` of them: a run goes on from there."""
        self._do(("DELETE FROM asked WHERE run = ? AND place >= ?", (run, place)))

    def start_over(self, run: str) -> None:
        """Let a run of that name begin: what an earlier one paid is no longer this one's."""
        self._do(
            ("UPDATE requests SET run = NULL WHERE run = ?", (run,)),
            ("DELETE FROM asked WHERE run = ?", (run,)),
        )

    def adopt(self, run: str) -> None:
        """Give the requests that were made before any run to this one."""
        self._do(("UPDATE requests SET run = ? WHERE run = ''", (run,)))


def _split(keys: bytes) -> tuple[bytes, ...]:
    return tuple(keys[i : i + KEY_BYTES] for i in range(0, len(keys), KEY_BYTES))


def _unusable(path: Path | None, error: Exception) -> DfkdError:
    return DfkdError(
        f"`ledger` {path} cannot be used ({str(error)[:80]}): make room there, or name another; "
        "it holds what was paid for, so move it rather than delete it"
    )
