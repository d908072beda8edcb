"""Holds webhook events that are acknowledged but not queued yet, so that Label Studio never waits for Redis.

Label Studio sends a webhook within the request that caused it, waits for at most a second, and never sends it again. So
the service answers as soon as it has read the event; one thread queues the work, and waits while Redis does not answer.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backend.errors import DrapeError, OverloadedError, QueueError
from backend.queues.queues import Queues
from backend.storage.atomic_files import write_atomically
from backend.telemetry.problems import Problems
from backend.telemetry.request_ids import request_id, set_request_id

logger = logging.getLogger(__name__)

# Equal events count once: this is room for as many projects, or imports, while Redis does not answer.
MOST = 10_000
RETRY_S = 30
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


@dataclass(frozen=True)
class EventWork:
    """The work that one event calls for.

    Attributes:
        kind: `check` (count the approved labels), `prelabel` (predict the imported tasks), `train`, or `look` (after
            all projects).
        project_id: None for `look`.
        task_ids: the imported tasks.
    """

    kind: str
    project_id: int | None
    task_ids: tuple[int, ...] = ()
    # The id of the request with the first event that called for this work.
    request: str = field(default_factory=request_id, compare=False)

    def queue(self, queues: Queues) -> None:
        """Queues the job.

        Raises:
            QueueError: Redis does not answer.
            SettingsError: the project's own settings are wrong.
        """
        match self.kind, self.project_id:
            case "check", int(project_id):
                queues.enqueue_check(project_id)
            case "prelabel", int(project_id):
                queues.enqueue_imported(project_id, self.task_ids)
            case "train", int(project_id):
                queues.enqueue_training(project_id, reason="Start training")
            case "look", None:
                queues.enqueue_look()
            case _:
                raise ValueError(f"No event calls for {self.kind!r}.")


class Inbox:
    """Waiting work in order of arrival, without duplicates; the inbox's own thread queues it.

    Args:
        leftovers: the file that holds, from `close` to the next start, what Redis was unreachable for; None for none.
    """

    def __init__(self, queues: Queues, problems: Problems, *, leftovers: Path | None = None) -> None:
        self._queues = queues
        self._problems = problems
        self._leftovers = leftovers
        self._waiting: dict[EventWork, None] = {}
        self._changed = threading.Condition()
        self._in_hand: EventWork | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._restore()

    def put(self, work: EventWork) -> None:
        """Adds work to the inbox; returns at once.

        Raises:
            OverloadedError: `MOST` events wait, as Redis has not answered for long.
        """
        with self._changed:
            if len(self._waiting) >= MOST and work not in self._waiting:
                raise OverloadedError(
                    "Redis has not answered for long, and too many events wait for it.", retry_after_s=RETRY_S
                )
            self._waiting.setdefault(work)
            self._begin()
            self._changed.notify_all()

    def wait_until_empty(self, *, timeout_s: float) -> bool:
        """Waits until all work is queued; False if that takes longer than `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and self._in_hand is None, timeout_s)

    def close(self, *, timeout_s: float) -> None:
        """Ends the thread once all work is queued or `timeout_s` is over; what is left is kept for the next start."""
        self.wait_until_empty(timeout_s=timeout_s)
        with self._changed:
            in_hand = [] if self._in_hand is None else [self._in_hand]
            left = list(dict.fromkeys([*in_hand, *self._waiting]))
            if left:
                self._keep(left)
            self._closing.set()
            self._changed.notify_all()

    def _keep(self, left: Sequence[EventWork]) -> None:
        # Label Studio never sends an event again, and no timer knows that somebody asked for a training.
        logger.warning("Redis does not answer: what %s events called for is queued at the next start", len(left))
        if self._leftovers is not None:
            kept = [(work.kind, work.project_id, work.task_ids) for work in left]
            try:
                write_atomically(self._leftovers, json.dumps(kept))
            except OSError as e:
                logger.error("They cannot be kept in %s: %s", self._leftovers, e)

    def _restore(self) -> None:
        if self._leftovers is None or not self._leftovers.is_file():
            return
        try:
            kept = json.loads(self._leftovers.read_text())
            work = [EventWork(kind, project_id, tuple(task_ids)) for kind, project_id, task_ids in kept]
            self._leftovers.unlink()
        except (OSError, ValueError, TypeError) as e:
            self._problems.report(f"The events in {self._leftovers} cannot be read, and are not queued: {e}")
            return
        # Whatever `MOST` is: these were acknowledged.
        with self._changed:
            self._waiting |= dict.fromkeys(work)
            self._begin()

    def _begin(self) -> None:
        # After a fork the thread runs only in the parent process.
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause_s = 0.0
        while (work := self._next()) is not None:
            try:
                set_request_id(work.request)
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
            # The thread must survive an unexpected error in one event, to queue the others.
            except Exception as e:
                logger.error("What an event calls for is not done: %s", work, exc_info=not isinstance(e, DrapeError))
                self._problems.report(f"What an event calls for is not done: {e}", project_id=work.project_id)
            pause_s = 0.0

    def _next(self) -> EventWork | None:
        """Waits for work and returns the oldest; None once the inbox is closed."""
        with self._changed:
            self._in_hand = None
            self._changed.notify_all()
            self._changed.wait_for(lambda: bool(self._waiting) or self._closing.is_set())
            if self._closing.is_set():
                return None
            # Removed before it is queued: an equal event that arrives meanwhile may stand for later changes.
            self._in_hand = next(iter(self._waiting))
            del self._waiting[self._in_hand]
            return self._in_hand

    def _give_back(self, work: EventWork) -> None:
        with self._changed:
            self._waiting = {work: None, **self._waiting}
