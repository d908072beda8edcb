"""More at once than can be answered: the real service, asked by hundreds in parallel."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image as Pillow

from backend.domain import Photo, Prompt, Segment
from backend.errors import OverloadedError
from backend.segmenters.builtin.segmenter import BuiltinSegmenter
from backend.settings import Settings
from backend.telemetry.metrics import Metrics
from backend.web import admission
from backend.web.admission import BATCHES, CLICKS, FRAMES, Lane, Lanes, WaitEstimate
from label_studio_config.demo.figures import draw_figure
from tests.backend.conftest import PASSWORD, SECRET, USER, Served, served
from tests.backend.test_app import click, palette_request
from tests.support import add_starter, recorded

EACH = 200


def batch_request(image: str) -> dict[str, Any]:
    return {**palette_request(image, []), "params": {"context": None}}


async def flood(running: Served, webhooks: int) -> tuple[list[httpx.Response], list[httpx.Response]]:
    """Clicks and requests for whole images, as many of each at once; meanwhile no webhook is refused."""
    # A connection for each, as Label Studio makes them: one that is kept may be ended as it is used again.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    base = running.client.base_url
    async with httpx.AsyncClient(base_url=base, auth=(USER, PASSWORD), timeout=120, limits=limits) as client:

        async def post(body: dict[str, Any]) -> httpx.Response:
            return await client.post("/predict", json=body)

        async def hooks() -> None:
            for _ in range(webhooks):
                answer = await client.post(
                    "/webhook", json=recorded("webhook_ANNOTATION_CREATED"), headers={"X-Drape-Secret": SECRET}
                )
                assert answer.status_code == 201
                assert (await client.get("/health")).status_code == 200

        wanted = [palette_request("/a.png", [click("saree")]), batch_request("/a.png")]
        posted = [asyncio.create_task(post(wanted[number % 2])) for number in range(2 * EACH)]
        hooked = asyncio.create_task(hooks())
        answers = await asyncio.gather(*posted)
        await hooked
        return answers[::2], answers[1::2]


@pytest.mark.services
def test_a_flood_is_refused_in_part_and_clicks_go_first(
    settings: Settings, files: tuple[str, Path], starter: Path
) -> None:
    Pillow.fromarray(draw_figure(3).pixels[::2, ::2]).save(files[1] / "a.png")
    with served(settings) as running:
        registry = running.service.connections.registry
        version = add_starter(registry, 1, starter)
        registry.promote(1, version.name)
        # As often as the pace forgets that the first was slow.
        for _ in range(40):
            alone = running.client.post("/predict", json=palette_request("/a.png", [click("saree")])).json()
        clicks, batches = asyncio.run(flood(running, webhooks=20))
        statuses = [Counter(answer.status_code for answer in answers) for answers in (clicks, batches)]
        assert {status for found in statuses for status in found} == {200, 503}
        assert statuses[0][200] > statuses[1][200]
        for answer in (*clicks, *batches):
            if answer.status_code == 503:
                assert int(answer.headers["Retry-After"]) >= 1
                assert "Try again in" in answer.json()["detail"]
        for answer in clicks:
            if answer.status_code == 200:
                points = [one["value"]["points"] for one in answer.json()["results"][0]["result"]]
                assert points == [one["value"]["points"] for one in alone["results"][0]["result"]]
        counted = running.client.get("/metrics").text
        for kind, found in zip(("interactive", "batch"), statuses, strict=True):
            assert f'drape_predict_shed_total{{kind="{kind}"}} {found[503]}.0' in counted
            assert f'drape_predict_in_flight{{kind="{kind}"}} 0.0' in counted
        # And by itself it is as before.
        for body in (palette_request("/a.png", [click("saree")]), batch_request("/a.png")):
            assert running.client.post("/predict", json=body).status_code == 200


@pytest.mark.services
def test_who_clicks_in_label_studio_reads_why_nothing_came(
    settings: Settings, files: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    Pillow.fromarray(draw_figure(3).pixels).save(files[1] / "a.png")
    body = palette_request("/a.png", [click("saree")])
    go_on, segment = threading.Event(), BuiltinSegmenter.segment

    def held(self: BuiltinSegmenter, image: Photo, prompt: Prompt) -> list[Segment]:
        assert go_on.wait(60)
        return segment(self, image, prompt)

    monkeypatch.setattr(BuiltinSegmenter, "segment", held)
    with served(settings.model_copy(update={"predict_clicks": 1})) as running:
        answers: list[httpx.Response] = []

        def ask(agent: str) -> None:
            answers.append(running.client.post("/predict", json=body, headers={"User-Agent": agent}))

        for agent in ("heartex/1.23", "curl/8"):
            go_on.clear()
            with ThreadPoolExecutor(6) as pool:
                asked = [pool.submit(ask, agent) for _ in range(6)]
                # The one that was taken on ends when all others were refused.
                for _ in zip(range(5), as_completed(asked, timeout=60), strict=False):
                    pass
                go_on.set()
    studio, other = answers[:6], answers[6:]
    assert {answer.status_code for answer in studio} == {200}
    results = [answer.json()["results"][0]["result"] for answer in studio]
    assert {result[0]["type"] for result in results} == {"polygon", "textarea"}
    assert {text for result in results if result[0]["type"] == "textarea" for text in result[0]["value"]["text"]} == {
        "Too many requests at once. Try again in 2 seconds."
    }
    assert {answer.status_code for answer in other} == {200, 503}


class Held:
    """Work that lasts until it is let go."""

    def __init__(self) -> None:
        self.gone = threading.Event()

    def __call__(self, left_s: float) -> str:
        assert self.gone.wait(30)
        return "done"


async def outcome(found: Lanes, kind: str, work: Held) -> str:
    try:
        return await found.run(kind, work)
    except OverloadedError as e:
        return f"refused for {e.retry_after_s} s"


async def turns() -> None:
    """Lets every task come as far as it can by itself."""
    for _ in range(50):
        await asyncio.sleep(0)


# clicks and batches that hold the lanes, with room for 6 and 4; whether one more of either is taken on
FULL = [
    (0, 0, True, True),
    (5, 0, True, False),
    (6, 0, False, False),
    (2, 3, True, True),
    (0, 4, True, False),
    (6, 4, False, False),
]


@pytest.mark.parametrize(("clicks", "batches", "click_too", "batch_too"), FULL)
def test_batches_are_refused_first(clicks: int, batches: int, click_too: bool, batch_too: bool) -> None:
    async def ask() -> None:
        found = Lanes(Settings(predict_clicks=6, predict_batches=4), Metrics())
        held = {CLICKS: Held(), BATCHES: Held()}
        # Batches first: they find no clicks yet.
        whole = [asyncio.create_task(outcome(found, BATCHES, held[BATCHES])) for _ in range(batches)]
        await turns()
        prompted = [asyncio.create_task(outcome(found, CLICKS, held[CLICKS])) for _ in range(clicks)]
        await asyncio.sleep(0)
        more = [asyncio.create_task(outcome(found, kind, held[kind])) for kind in (BATCHES, CLICKS)]
        await turns()
        held[BATCHES].gone.set()
        # What had no thread yet as clicks came in numbers gives way to them, too.
        refused = (await asyncio.gather(*whole)).count("refused for 15 s")
        assert refused == (max(batches - admission.BATCH_THREADS, 0) if clicks > 3 else 0)
        held[CLICKS].gone.set()
        assert set(await asyncio.gather(*prompted)) <= {"done"}
        batch, one_click = await asyncio.gather(*more)
        assert (one_click, batch) == (
            "done" if click_too else "refused for 2 s",
            "done" if batch_too else "refused for 15 s",
        )
        assert {await outcome(found, kind, held[kind]) for kind in (BATCHES, CLICKS)} == {"done"}

    asyncio.run(ask())


# clicks, batches and frames that hold the lanes; whether one more frame is taken on
LIVE = [
    (0, 0, 0, True),
    (0, 0, 1, True),
    # One of them computes, one waits: a third would queue.
    (0, 0, 2, False),
    (1, 0, 0, False),
    (0, 1, 0, False),
]


@pytest.mark.parametrize(("clicks", "batches", "frames", "frame_too"), LIVE)
def test_frames_go_last_and_never_queue(clicks: int, batches: int, frames: int, frame_too: bool) -> None:
    async def ask() -> None:
        found, held = Lanes(Settings(), Metrics()), Held()
        kinds = [FRAMES] * frames + [CLICKS] * clicks + [BATCHES] * batches
        running = [asyncio.create_task(outcome(found, kind, held)) for kind in kinds]
        await turns()
        more = asyncio.create_task(outcome(found, FRAMES, held))
        await turns()
        held.gone.set()
        assert await more == ("done" if frame_too else "refused for 1 s")
        assert set(await asyncio.gather(*running)) <= {"done"}
        assert await outcome(found, FRAMES, held) == "done"

    asyncio.run(ask())


def test_a_frame_that_waits_gives_way_to_a_click() -> None:
    async def ask() -> None:
        found, first, click = Lanes(Settings(), Metrics()), Held(), Held()
        frames = [asyncio.create_task(outcome(found, FRAMES, first)) for _ in range(2)]
        await turns()
        clicked = asyncio.create_task(outcome(found, CLICKS, click))
        await turns()
        first.gone.set()
        assert await asyncio.gather(*frames) == ["done", "refused for 1 s"]
        click.gone.set()
        assert await clicked == "done"

    asyncio.run(ask())


def test_nobody_waits_for_a_thread_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "BATCH_MAX_WAIT_S", 0.2)
    metrics = Metrics()

    async def ask() -> list[str]:
        found, held = Lanes(Settings(), metrics), Held()
        asked = [asyncio.create_task(outcome(found, BATCHES, held)) for _ in range(admission.BATCH_THREADS + 1)]
        await asyncio.wait(asked, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        held.gone.set()
        return list(await asyncio.gather(*asked))

    assert sorted(asyncio.run(ask())) == ["done"] * admission.BATCH_THREADS + ["refused for 15 s"]
    (family,) = metrics.shed.collect()
    assert {s.labels["kind"]: s.value for s in family.samples if s.name.endswith("_total")} == {"batch": 1.0}


# seconds at which work came and answers went, how many are before the next; seconds until that is answered
PACES = [
    ([], 9, 0.0),
    ([0.0, 2.0], 0, 2.0),
    ([0.0, 2.0], 4, 10.0),
    # A slow one among many tells little, and what follows on it less and less.
    ([0.0, 0.1, 0.2, 0.3, 60.3], 0, 6.09),
    ([0.0, 60.0, *(60.0 + 0.1 * number for number in range(1, 80))], 9, 1.15),
]


@pytest.mark.parametrize(("moments", "waiting", "expected_s"), PACES)
def test_the_pace_is_that_of_the_last_answers(moments: list[float], waiting: int, expected_s: float) -> None:
    pace = WaitEstimate()
    for at_s in moments[:1]:
        pace.start(at_s)
    for at_s in moments[1:]:
        pace.record_answer(at_s)
    assert pace.expected_s(waiting) == pytest.approx(expected_s, rel=0.01)


def lane(*, deadline_s: float = 60.0, max_wait_s: float = 60.0) -> Lane:
    return Lane(
        CLICKS,
        Metrics(),
        max_in_flight=9,
        always_accepted=1,
        threads=9,
        max_wait_s=max_wait_s,
        deadline_s=deadline_s,
        retry_after_s=2,
    )


async def taken_on(found: Lane, work: Callable[[float], str]) -> str:
    try:
        return await found.run(work)
    except OverloadedError:
        return "refused"


def test_who_would_wait_too_long_is_refused_at_once() -> None:
    async def ask() -> None:
        found, held, soon = lane(max_wait_s=0.15), Held(), Held()
        soon.gone.set()
        # Answered late: from now on that is what is expected.
        late = asyncio.create_task(taken_on(found, held))
        await asyncio.sleep(0.2)
        held.gone.set()
        assert await late == "done"
        held.gone.clear()
        # One is taken on all the same, the next would wait for it.
        first = asyncio.create_task(taken_on(found, held))
        await asyncio.sleep(0)
        assert await taken_on(found, soon) == "refused"
        held.gone.set()
        assert await first == "done"
        # It goes faster again: nobody is refused any more.
        for _ in range(100):
            assert await taken_on(found, soon) == "done"
        assert await asyncio.gather(*(taken_on(found, soon) for _ in range(2))) == ["done", "done"]

    asyncio.run(ask())


@pytest.mark.slow
def test_what_is_not_done_by_the_deadline_is_refused_and_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "GRACE_S", 0.0)

    async def ask() -> None:
        found, held, told = lane(deadline_s=2.0), Held(), []

        def hang(left_s: float) -> str:
            told.append(left_s)
            return held(left_s)

        assert await taken_on(found, hang) == "refused"
        assert 0 < told[0] <= 2.0
        assert found.in_flight == 1
        held.gone.set()
        while found.in_flight:
            await asyncio.sleep(0.01)

    asyncio.run(ask())
