"""Events that are acknowledged, and whose work is still to be queued: Label Studio waits for no Redis.

It sends a webhook within the request that caused it, waits a second at most, and sends none again. So an event is
answered as soon as it is read; one thread queues what it calls for, and while Redis is away it waits with it.
"""

from __future__ import annotations

import logging
import secrets
import threading
from dataclasses import dataclass, field

from backend.errors import DrapeError, OverloadedError, QueueError
from backend.queues.queues import Queues
from backend.telemetry.problems import Problems
from backend.telemetry.request_ids import request_id, work_for

logger = logging.getLogger(__name__)

# Equal ones count once: so many stand for as many projects, or imports, in an outage.
MOST = 10_000
RETRY_S = 30
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


@dataclass(frozen=True)
class EventWork:
    """What one event calls for.

    Attributes:
        kind: `check` (count the approved labels), `prelabel` (predict the imported tasks) or `train`.
        task_ids: those that were imported.
    """

    kind: str
    project_id: int
    task_ids: tuple[int, ...] = ()
    # Of the first event that called for it.
    request: str = field(default_factory=request_id, compare=False)
    job_id: str = field(default_factory=lambda: secrets.token_hex(16), compare=False)

    def queue(self, queues: Queues) -> None:
        """Queues it.

        Raises:
            QueueError: Redis is away.
            SettingsError: the project's own settings are wrong.
        """
        match self.kind:
            case "check":
                queues.enqueue_check(self.project_id, job_id=self.job_id)
            case "prelabel":
                queues.enqueue_imported(self.project_id, self.task_ids)
            case "train":
                queues.enqueue_training(self.project_id, reason="Start training")
            case _:
                raise ValueError(f"No event calls for {self.kind!r}.")


class Inbox:
    """Hints in the order in which they came, each once; a thread of its own queues them."""

    def __init__(self, queues: Queues, problems: Problems) -> None:
        self._queues = queues
        self._problems = problems
        self._waiting: dict[EventWork, None] = {}
        self._changed = threading.Condition()
        self._in_hand: EventWork | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def put(self, work: EventWork) -> None:
        """Takes work; returns at once.

        Raises:
            OverloadedError: as many wait as may, since Redis has been away for long.
        """
        with self._changed:
            if len(self._waiting) >= MOST and work not in self._waiting:
                raise OverloadedError("Redis has been away for long, and too many events wait.", retry_after_s=RETRY_S)
            self._waiting.setdefault(work)
            self._begin()
            self._changed.notify_all()

    def wait_until_empty(self, *, timeout_s: float) -> bool:
        """Whether all that was put is queued within that time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and self._in_hand is None, timeout_s)

    def close(self, *, timeout_s: float) -> None:
        """Ends the thread once all is queued, or the time is over; what is lost then, the timer finds."""
        whole = self.wait_until_empty(timeout_s=timeout_s)
        with self._changed:
            if not whole:
                left = len(self._waiting) + (self._in_hand is not None)
                logger.warning("Redis is away: what %s events called for is left to the timer", left)
            self._closing.set()
            self._changed.notify_all()

    def _begin(self) -> None:
        # Of a process that was forked the thread is in the other.
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause_s = 0.0
        while (work := self._next()) is not None:
            try:
                work_for(work.request)
                work.queue(self._queues)
            except QueueError as e:
                if not pause_s:
                    self._problems.report(
                        f"{e} What events call for is queued once it does.", project_id=work.project_id
                    )
                self._give_back(work)
                pause_s = min(2 * pause_s or FIRST_PAUSE_S, LONGEST_PAUSE_S)
                self._closing.wait(pause_s)
                continue
            # The border of the thread: what none foresaw, of one event, must not take the others along.
            except Exception as e:
                logger.error("What an event calls for is not done: %s", work, exc_info=not isinstance(e, DrapeError))
                self._problems.report(f"What an event calls for is not done: {e}", project_id=work.project_id)
            pause_s = 0.0

    def _next(self) -> EventWork | None:
        """The work that came first; None once it is closed."""
        with self._changed:
            self._in_hand = None
            self._changed.notify_all()
            self._changed.wait_for(lambda: bool(self._waiting) or self._closing.is_set())
            if self._closing.is_set():
                return None
            # Taken out before it is queued: an equal one that comes meanwhile may be of later changes.
            self._in_hand = next(iter(self._waiting))
            del self._waiting[self._in_hand]
            return self._in_hand

    def _give_back(self, work: EventWork) -> None:
        with self._changed:
            self._waiting = {work: None, **self._waiting}
