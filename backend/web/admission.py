"""Limits the load: clicks go before whole images, frames of the live page go last, and none starves other requests.

Each kind has its own threads. The number of requests in flight is limited, and so is the time that a new one can expect
to wait; a request beyond the limits is refused at once, so that accepted requests are answered in time. Webhooks and
health checks run elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import KW_ONLY, dataclass
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync

from backend.errors import OverloadedError
from backend.settings import Settings
from backend.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

CLICKS, BATCHES, FRAMES = "interactive", "batch", "live"
# More threads would keep clicks and webhooks from Python's global lock. Each click has a thread of its own, so that it
# need not wait while the image of another click is encoded.
BATCH_THREADS = 2
# One frame is computed at a time, so that a click competes with one at most; the other version's frame waits for it.
FRAME_THREADS, MAX_FRAMES = 1, 2
# People stop waiting for an answer after this long: sooner after a click than after opening a list of tasks.
CLICK_MAX_WAIT_S, BATCH_MAX_WAIT_S, FRAME_MAX_WAIT_S = 5.0, 15.0, 5.0
# Extra time for whole images: their work stops at the deadline, and then the results so far are put together.
GRACE_S = 5.0
# A click whose image is being encoded delays no other click: this many slow ones do not mean that all are slow.
ALWAYS_ACCEPTED_CLICKS = 4
# Weight of the latest interval in the moving average of the time between two answers.
SMOOTHING = 0.1
RETRY_CLICK_S, RETRY_BATCH_S, RETRY_FRAME_S = 2, 15, 1


class WaitEstimate:
    """Estimates from the time between the latest answers how long a new request waits."""

    def __init__(self) -> None:
        self._mean_s = 0.0
        self._last_answer_s: float | None = None

    def start(self, at_s: float) -> None:
        """Records that there is work from now on: the interval to the next answer begins."""
        self._last_answer_s = at_s

    def record_answer(self, at_s: float) -> None:
        """Records an answer; the interval since the previous one counts, however many are computed at once."""
        if self._last_answer_s is not None:
            interval_s = at_s - self._last_answer_s
            self._mean_s = self._mean_s + SMOOTHING * (interval_s - self._mean_s) if self._mean_s else interval_s
        self._last_answer_s = at_s

    def expected_s(self, waiting: int) -> float:
        """Seconds until a request behind `waiting` others is answered; 0 before the first answer."""
        return self._mean_s * (waiting + 1)


@dataclass(eq=False)
class Lane:
    """Accepts up to `max_in_flight` requests of one kind, in `threads` threads. For use from a single event loop.

    Args:
        always_accepted: this many requests are accepted however slow answers are: without answers the estimate of the
            wait would stay high.
        max_wait_s: a request that is expected to take longer is refused.
        deadline_s: seconds within which every accepted request is answered.
        is_paused: whether other requests go first now: then none is accepted, and none that waits is started.
        log_level: of the line about the first of several refusals.
    """

    kind: str
    metrics: Metrics
    _: KW_ONLY
    max_in_flight: int
    always_accepted: int
    threads: int
    max_wait_s: float
    deadline_s: float
    retry_after_s: int
    is_paused: Callable[[], bool] = lambda: False
    log_level: int = logging.WARNING

    def __post_init__(self) -> None:
        self._turns = anyio.Semaphore(self.threads)
        self._limiter = anyio.CapacityLimiter(self.threads)
        self._wait_estimate = WaitEstimate()
        self._is_shedding = False
        self.in_flight = 0
        self.metrics.in_flight.labels(kind=self.kind).set_function(lambda: self.in_flight)

    async def run(self, work: Callable[[float], Answer]) -> Answer:
        """Runs `work` in one of the lane's threads, and passes it the number of seconds that it has left.

        Raises:
            OverloadedError: the lane is full, would answer late, or did not answer in time.
        """
        if self.is_full() or self.is_paused():
            raise self.overloaded()
        if not self.in_flight:
            self._wait_estimate.start(time.monotonic())
        self.in_flight += 1
        running = asyncio.ensure_future(self._work(work, deadline=time.monotonic() + self.deadline_s))
        running.add_done_callback(self._finish)
        with self.metrics.timed(self.kind):
            done, _ = await asyncio.wait({running}, timeout=self.deadline_s + GRACE_S)
            if not done:
                # A thread cannot be stopped: its request counts as in flight until it is done.
                raise self.overloaded()
            return running.result()

    def is_full(self) -> bool:
        """Whether one more request would be refused now."""
        late = self._wait_estimate.expected_s(self.in_flight) > self.max_wait_s
        return self.in_flight >= self.max_in_flight or (late and self.in_flight >= self.always_accepted)

    async def _work(self, work: Callable[[float], Answer], *, deadline: float) -> Answer:
        async with self._turn():
            return await run_sync(lambda: work(max(deadline - time.monotonic(), 0.0)), limiter=self._limiter)

    def _finish(self, running: asyncio.Future[Answer]) -> None:
        self.in_flight -= 1
        failure = None if running.cancelled() else running.exception()
        if not isinstance(failure, OverloadedError):
            self._wait_estimate.record_answer(time.monotonic())
        if self._is_shedding and not self.in_flight:
            self._is_shedding = False
            logger.log(min(self.log_level, logging.INFO), "%s requests are accepted again", self.kind)

    def overloaded(self) -> OverloadedError:
        """Counts a refused request; returns the error to raise for it."""
        self.metrics.shed.labels(kind=self.kind).inc()
        if not self._is_shedding:
            # Logged once: a line for each refused request would add to the load.
            logger.log(self.log_level, "Too many requests at once: %s requests are refused", self.kind)
        self._is_shedding = True
        unit = "second" if self.retry_after_s == 1 else "seconds"
        return OverloadedError(
            f"Too many requests at once. Try again in {self.retry_after_s} {unit}.",
            retry_after_s=self.retry_after_s,
        )

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        with anyio.move_on_after(self.max_wait_s) as waiting:
            await self._turns.acquire()
        if waiting.cancelled_caught:
            raise self.overloaded()
        try:
            if self.is_paused():
                raise self.overloaded()
            yield
        finally:
            self._turns.release()


class Lanes:
    """The lanes for the two kinds of `/predict`, clicks and whole images, and for the frames of the live page."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        busy_clicks = settings.predict_clicks // 2
        self._clicks = Lane(
            CLICKS,
            metrics,
            max_in_flight=settings.predict_clicks,
            always_accepted=max(os.cpu_count() or 1, ALWAYS_ACCEPTED_CLICKS),
            threads=settings.predict_clicks,
            max_wait_s=CLICK_MAX_WAIT_S,
            deadline_s=settings.predict_deadline_s,
            retry_after_s=RETRY_CLICK_S,
        )
        self._batches = Lane(
            BATCHES,
            metrics,
            max_in_flight=settings.predict_batches,
            always_accepted=BATCH_THREADS,
            threads=BATCH_THREADS,
            max_wait_s=BATCH_MAX_WAIT_S,
            deadline_s=settings.predict_deadline_s,
            retry_after_s=RETRY_BATCH_S,
            is_paused=lambda: self._clicks.in_flight > busy_clicks or self._clicks.is_full(),
        )
        self._frames = Lane(
            FRAMES,
            metrics,
            max_in_flight=MAX_FRAMES,
            always_accepted=MAX_FRAMES,
            threads=FRAME_THREADS,
            max_wait_s=FRAME_MAX_WAIT_S,
            deadline_s=settings.predict_deadline_s,
            retry_after_s=RETRY_FRAME_S,
            is_paused=lambda: self._clicks.in_flight > 0 or self._batches.in_flight > 0,
            # That frames give way is how it should be.
            log_level=logging.DEBUG,
        )

    async def run(self, kind: str, work: Callable[[float], Answer]) -> Answer:
        """Runs the work of one request in its lane.

        Whole images are refused while many clicks are in flight; frames, while any click or whole image is.

        Raises:
            OverloadedError: the request is refused, or not answered in time.
        """
        lane = {CLICKS: self._clicks, BATCHES: self._batches, FRAMES: self._frames}[kind]
        return await lane.run(work)
