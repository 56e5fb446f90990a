"""A metered client: every image is paid for once, counted exactly, and asked within a budget.

An *asked* image is one that a run wants an answer to, whether it is paid now or was before: that is
what a budget counts, so that a run does not depend on what others have paid. A *counted* query is
one that the endpoint has counted: that is what is paid, and never more than the budget either.
"""

import hashlib
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfkd.access.endpoint import AccessError, Endpoint, RefusedError, UnansweredError
from dfkd.access.ledger import Ledger
from dfkd.access.packing import packed, unpacked
from dfkd.errors import DfkdError, check_within

TRIAL, TRAINING, OTHER = "trial", "training", "other"
"""Purposes: a teacher's first pass, a student's images, what is asked outside of runs. Whoever asks
for something else names it by ``Meter.asking``."""


class QueriesSpentError(AccessError):
    """There is no query left for what is asked; nothing of it was sent."""


@dataclass(frozen=True)
class Patience:
    """How an endpoint that fails is treated.

    Attributes:
        retries: repetitions of a request, before it is given up.
        pause: seconds before the first one; each further pause is twice as long, and drawn between
            half and all of that, so that many clients do not come back at once.
        longest: seconds of a pause, at most, whatever the server asks for.
        timeout: seconds that a request may take.
        rate: images a second that are sent, at most; None: as the endpoint says.
    """

    retries: int = 6
    pause: float = 0.5
    longest: float = 60.0
    timeout: float = 60.0
    rate: float | None = None

    def __post_init__(self) -> None:
        check_within(self, "[0, inf)", "retries", "pause", "longest")
        check_within(self, "(0, inf)", "timeout", "rate")


class Meter:
    """Asks an endpoint.

    Args:
        endpoint: answers.
        ledger: remembers.
        budget: images that a run may ask about; None: as many as it likes.
        patience: with failures.
        now, sleep: the clock, in seconds.

    Raises:
        DfkdError: a budget that is no positive number, or a request of an earlier process whose end
            cannot be found out.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ledger: Ledger,
        budget: int | None = None,
        patience: Patience = Patience(),
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if budget is not None and (isinstance(budget, bool) or budget < 1):
            raise DfkdError(f"`queries` is how many images may be asked about, not {budget}")
        self.endpoint, self.ledger, self.budget, self.patience = endpoint, ledger, budget, patience
        self.info, self.run, self._purpose = endpoint.info, "", OTHER
        self._now, self._sleep, self._free_at = now, sleep, 0.0
        self._random = random.Random(uuid.uuid4().int)  # of pauses: no seed, or all would be alike
        self._closed = False
        self._asked: dict[bytes, str] = {}
        self.ledger.start_over("")
        for one in self.ledger.doubtful():
            self._carry(one.identity, one.keys, unpacked(one.body, "images"))

    def begin(self, run: str, resume: bool) -> None:
        """Count for a run of that name; the trial, which came before it, belongs to it.

        Args:
            run: its name in the ledger.
            resume: it goes on: what it has asked about already is counted.
        """
        trial = [key for key, purpose in self._asked.items() if purpose == TRIAL]
        if not resume:
            self.ledger.start_over(run)
        self.ledger.adopt(run)
        self.run, self._closed, self._purpose = run, False, TRAINING
        self._asked = dict(self.ledger.asked(run))
        self._note([key for key in trial if key not in self._asked], TRIAL)

    @property
    def position(self) -> int:
        """How many different images this run has asked about so far."""
        return len(self._asked)

    def rewind(self, position: int) -> None:
        """Go back to where a run stood: what it asked about later it will ask about again."""
        self.ledger.forget_asked(self.run, position)
        self._asked = dict(list(self._asked.items())[:position])

    def finish(self) -> None:
        """Let no further image be asked about in this run."""
        self._closed = True

    @property
    def left(self) -> float:
        """Images that may still be asked about; infinity without a budget."""
        if self._closed:
            return 0
        return float("inf") if self.budget is None else max(0, self.budget - self.position)

    def for_training(self) -> float:
        """Return the budget less all that was asked for other purposes than training."""
        others = sum(purpose != TRAINING for purpose in self._asked.values())
        return float("inf") if self.budget is None else max(0, self.budget - others)

    @contextmanager
    def asking(self, purpose: str) -> Iterator[None]:
        """Count what is asked within the block for ``purpose``."""
        before, self._purpose = self._purpose, purpose
        try:
            yield
        finally:
            self._purpose = before

    def ask(self, images: Any) -> Any:
        """Return an answer an image, float32, as many numbers as ``info.form`` says.

        Args:
            images: N x H x W x C, uint8 or float32.

        Raises:
            QueriesSpentError: the budget has no room for all that is new among them.
            DfkdError: the endpoint gives no sound answer.
        """
        keys = self._keys(images)
        first = {key: place for place, key in reversed([*enumerate(keys)])}
        length = self.info.form.length
        known = self.ledger.answers([*first], length)
        new = [key for key in first if key not in self._asked]
        absent = [key for key in first if key not in known]
        self._check_room(len(new), len(absent))
        self._note(new, self._purpose)
        for start in range(0, len(absent), self.info.batch):
            part = absent[start : start + self.info.batch]
            known |= self._send(part, images[[first[key] for key in part]])
        return np.stack([known[key] for key in keys]) if keys else np.empty((0, length), "f4")

    def _keys(self, images: Any) -> list[bytes]:
        start = hashlib.sha256(f"{self.info.identity}|{images.dtype}|".encode())
        found = []
        for image in np.ascontiguousarray(images):
            digest = start.copy()
            digest.update(image.tobytes())
            found.append(digest.digest())
        return found

    def _check_room(self, new: int, absent: int) -> None:
        if self.budget is None and not self._closed:
            return
        paid = 0 if self.budget is None else self.budget - self.ledger.counted(self.run)
        if new > self.left or (absent > paid and self.budget is not None):
            raise QueriesSpentError(
                f"{new or absent:,} more images to ask about, and {int(self.left):,} of "
                f"{self.budget or 0:,} queries left: raise `queries`"
            )

    def _note(self, keys: Sequence[bytes], purpose: str) -> None:
        self.ledger.note_asked(self.run, len(self._asked), keys, purpose)
        self._asked |= dict.fromkeys(keys, purpose)

    def _send(self, keys: Sequence[bytes], images: Any) -> dict[bytes, Any]:
        identity = uuid.uuid4().hex
        body = packed("images", images) if self.endpoint.remembers else None
        self.ledger.begin(identity, self.run, keys, body)
        return self._carry(identity, keys, images)

    def _carry(self, identity: str, keys: Sequence[bytes], images: Any) -> dict[bytes, Any]:
        """Send a request until it is answered, under the same id: it is counted once."""
        failed = UnansweredError("")
        for attempt in range(int(self.patience.retries) + 1):
            if attempt:
                self._sleep(self._pause(attempt, failed))
            self._keep_rate(len(images))
            try:
                return self._once(identity, keys, images)
            except UnansweredError as error:
                failed = error
            except RefusedError as error:
                self.ledger.close(identity, error.counted)
                raise
        if failed.counted is not None:
            self.ledger.close(identity, failed.counted)
        raise AccessError(
            f"{self.info.name[:80]} gives no sound answer: {failed.reason[:120]}, after "
            f"{attempt + 1} tries; what is paid is in the ledger"
        )

    def _once(self, identity: str, keys: Sequence[bytes], images: Any) -> dict[bytes, Any]:
        reply = self.endpoint.ask(identity, images)
        if wrong := self.info.form.fault(reply.values, len(images)):
            raise UnansweredError(f"it sent {wrong}", reply.counted)
        rows = np.asarray(reply.values, np.float32).reshape(len(images), -1)
        self.ledger.close(identity, reply.counted, keys, rows)
        return dict(zip(keys, rows, strict=True))

    def _pause(self, attempt: int, failed: UnansweredError) -> float:
        """Seconds before the ``attempt``-th repetition; what the server asks for comes first."""
        doubled = self.patience.pause * 2 ** (attempt - 1) * self._random.uniform(0.5, 1.0)
        return float(min(self.patience.longest, max(doubled, failed.wait or 0.0)))

    def _keep_rate(self, images: int) -> None:
        rates = [rate for rate in (self.patience.rate, self.info.rate) if rate]
        if not rates:
            return
        wait = self._free_at - self._now()
        if wait > 0:
            self._sleep(wait)
        self._free_at = max(self._free_at, self._now()) + images / min(rates)

    def as_dict(self) -> dict[str, Any]:
        """Return the account as manifest and result have it."""
        counted, total = self.ledger.counted(self.run), self.ledger.counted()
        price = self.info.price
        return {
            "access": self.info.access,
            "endpoint": self.info.name,
            "budget": self.budget,
            "asked": dict(Counter(self._asked.values())),
            "counted": counted,
            "counted_in_ledger": total,
            "in_doubt": self.ledger.in_doubt(),
            "price": price,
            "cost": round(counted * price, 6),
        }
