"""Ten times what the service can do: what it answers, what it refuses, and how soon it is itself again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx
import numpy as np

from benchmarks.soak.hooks import sending_webhooks
from benchmarks.soak.load import Click, Site, polygons

HOOK_EVERY_S = 0.25
RECOVERED_S = 60.0
# A client that heeds `Retry-After` no better than this.
LONGEST_WAIT_S = 3


@dataclass
class Overload:
    """The result of an overload.

    Attributes:
        clicks, batches: HTTP status → how often; 0 where there was no answer.
        unanswered: the kinds of failure of those.
        without_retry_after: refusals that do not say when to come back.
        bare_ms_50_99: of webhooks to a server that only answers.
        recovered_s: until a click took no longer than three times what it takes idly; None where it never did.
    """

    asked_at_once: int
    seconds: float
    clicks: dict[int, int] = field(default_factory=dict)
    batches: dict[int, int] = field(default_factory=dict)
    without_retry_after: int = 0
    wrong: int = 0
    click_ms_50_95: tuple[float, float] = (0.0, 0.0)
    webhook_ms_50_99: tuple[float, float] = (0.0, 0.0)
    bare_ms_50_99: tuple[float, float] = (0.0, 0.0)
    webhooks: int = 0
    recovered_s: float | None = None
    unanswered: dict[str, int] = field(default_factory=dict)


class _Clients:
    def __init__(self, site: Site, clicks: Mapping[int, Sequence[Click]], seconds: float) -> None:
        self._site, self._clicks = site, clicks
        self._ends_at = time.monotonic() + seconds
        self.statuses: dict[str, Counter[int]] = {"click": Counter(), "batch": Counter()}
        self.click_ms: list[float] = []
        self.without_retry_after = self.wrong = 0
        self.unanswered: Counter[str] = Counter()

    async def run(self, at_once: int) -> None:
        # A connection for each, as Label Studio opens them: a kept one may be closed just as it is used again.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            crowd = (self._ask(client, number, "batch" if number % 3 == 0 else "click") for number in range(at_once))
            await asyncio.gather(*crowd)

    async def _ask(self, client: httpx.AsyncClient, number: int, kind: str) -> None:
        seeds = sorted(self._clicks)
        while time.monotonic() < self._ends_at:
            number += 1
            seed = seeds[number % len(seeds)]
            click = self._clicks[seed][number % len(self._clicks[seed])]
            body = self._site.predict_body(seed, click.context if kind == "click" else None)
            began = time.monotonic()
            try:
                answer = await client.post(f"{self._site.backend_url}/predict", json=body, auth=self._site.auth)
            except httpx.HTTPError as e:
                self.statuses[kind][0] += 1
                self.unanswered[type(e).__name__] += 1
                continue
            self.statuses[kind][answer.status_code] += 1
            if answer.status_code == 200 and kind == "click":
                self.click_ms.append(1000 * (time.monotonic() - began))
                self.wrong += polygons(answer.json()["results"][0]["result"]) != click.answer
            if answer.status_code == 503:
                wait_s = answer.headers.get("Retry-After", "")
                self.without_retry_after += not wait_s.isdigit()
                await asyncio.sleep(min(int(wait_s) if wait_s.isdigit() else 1, LONGEST_WAIT_S))


def overload(
    site: Site, clicks: Mapping[int, Sequence[Click]], *, at_once: int, seconds: float, idle_ms: float
) -> Overload:
    """Asks without a pause from `at_once` sides, a third of them for whole images; then waits for it to recover.

    Args:
        idle_ms: what a click takes where nothing else is asked.
    """
    clients = _Clients(site, clicks, seconds)
    with sending_webhooks(site.backend_url, secret=site.secret, event=site.event(), every_s=HOOK_EVERY_S) as webhooks:
        asyncio.run(clients.run(at_once))
    webhook_ms, baseline_ms = (
        [taken_ms for _, taken_ms in pairs] for pairs in (webhooks.taken_ms, webhooks.baseline_ms)
    )
    result = Overload(
        at_once,
        seconds,
        dict(clients.statuses["click"]),
        dict(clients.statuses["batch"]),
        clients.without_retry_after,
        clients.wrong,
        _percentiles(clients.click_ms, 95),
        _percentiles(webhook_ms, 99),
        _percentiles(baseline_ms, 99),
        len(webhook_ms),
    )
    result.unanswered = dict(clients.unanswered + Counter(webhooks.errors))
    ended = time.monotonic()
    with site.client() as client:
        while time.monotonic() < ended + RECOVERED_S:
            began = time.monotonic()
            seed = min(clicks)
            body = site.predict_body(seed, clicks[seed][0].context)
            answer = client.post(f"{site.backend_url}/predict", json=body, auth=site.auth)
            if answer.status_code == 200 and 1000 * (time.monotonic() - began) < 3 * idle_ms:
                result.recovered_s = time.monotonic() - ended
                break
            time.sleep(0.2)
    return result


def _percentiles(taken_ms: Sequence[float], high: int) -> tuple[float, float]:
    if not taken_ms:
        return 0.0, 0.0
    median, upper = np.percentile(taken_ms, (50, high))
    return float(median), float(upper)
