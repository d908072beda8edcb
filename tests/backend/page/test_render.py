"""What stands on the page, and how figures are said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import html

from backend.page.overview import Jobs, LabelRow, Model, Overview, Serving, Training
from backend.page.render import SPACE, StatusPage, seconds, share
from backend.registry.files import VersionFiles
from backend.registry.registry import Registry, Version
from backend.registry.verdict import Verdict
from backend.status.survey import Corrections, Survey, Work
from backend.telemetry.metrics import Latency
from backend.telemetry.problems import Problem

SURVEY = Survey(
    at="2026-11-21T17:10:00+00:00",
    title="Sarees",
    images=12408,
    predicted=11870,
    approved=2140,
    auto_accepted=450,
    waiting=9280,
    doubtful=812,
    new=31,
    needed=50,
    instances={"saree": 3000, "blouse": 12},
    work=(Work("2026-11-20", "scratch", 5, 5, 60.0), Work("2026-11-21", "prediction", 50, 44, 9.0)),
    totals=(Work(None, "accepted", 450, 0, None), Work(None, "prediction", 50, 44, 9.0)),
    corrections=Corrections(2050, 980, 8000, 0.93, 0.97, 12),
)
JOBS = Jobs(
    training=Training(epoch=3, epochs=20, seconds_left=340.0, curve=(0.1, 0.2, 0.25)),
    training_waits=False,
    left=400,
    images_a_minute=200.0,
    minutes_left=2.0,
    waiting={"train": 0, "prelabel": 4},
    all_failed={"train": 0, "prelabel": 2345},
    workers=("train: busy",),
    failed=(),
)
VERSIONS = [
    Version(
        name=f"yolo11n-seg-v{number}-abcdef",
        project_id=7,
        weights=Path("weights.pt"),
        weights_sha256="",
        classes=(),
        parent=f"yolo11n-seg-v{number - 1}-abcdef" if number > 1 else None,
        created_at="2026-11-20T10:00:00+00:00",
        files=VersionFiles(Registry(Path("models")).files, 7, f"yolo11n-seg-v{number}-abcdef"),
    )
    for number in (1, 2, 3)
]
OVERVIEW = Overview(
    project_id=7,
    projects={7: "Sarees"},
    survey=SURVEY,
    labels=(LabelRow("saree", 3000, 0.5, 0.1), LabelRow("blouse", 12, None, None)),
    models=tuple(
        Model(version, Verdict(True, "It is better.", 40, challenger_map=0.3), version.number == 2, has_report=True)
        for version in reversed(VERSIONS)
    ),
    jobs=JOBS,
    serving=Serving("builtin", "v2", Latency(300, 0.15, 0.24), 10, 9),
    problems=(Problem("2026-11-21T17:00:00+00:00", "Image 7 cannot be read.", 7, 123),),
    tasks_url="http://studio/projects/7/data",
    own_settings=("AUTO_ACCEPT=0.9", "RETRAIN_AFTER=200"),
    shut_because="Only 3 of 8 held-out images would be accepted.",
)


def tree_of(overview: Overview) -> Any:
    return html.fromstring(StatusPage().render(overview))


def text_of(overview: Overview) -> str:
    return " ".join(tree_of(overview).text_content().split())


TOLD = [
    "12,408",
    "11,870",
    "2,140",
    "450",
    "9,280",
    "812 uncertain, shown first",
    "31 of 50 new labels until the next training",
    "epoch 3 of 20, about 6 min left",
    "0.250",
    "400 images are waiting for the model, about 2 min left",
    "▲ +0.100",
    "● in use",
    "It is better.",
    "without a person",
    "from a prediction",
    "of 44",
    "2,345",
    "people submitted 48 % unchanged",
    "93 %",
    "12 more images are still to be compared",
    "0.15 s in the median, 0.24 s at most for 95 % (last 300 clicks)",
    "90 % of 10 answers needed no encoding",
    "AUTO_ACCEPT=0.9, RETRAIN_AFTER=200",
    "Nothing is accepted automatically. Only 3 of 8 held-out images would be accepted.",
    "Image 7 cannot be read.",
    "Labels were counted at 2026-11-21 17:10 UTC.",
]


@pytest.mark.parametrize("words", TOLD)
def test_it_says(words: str) -> None:
    assert words in text_of(OVERVIEW)


EMPTY = replace(OVERVIEW, survey=None, labels=(), models=(), jobs=None, problems=(), tasks_url="")
NOTHING_YET = [
    (EMPTY, "This project has not been counted yet."),
    (EMPTY, "Redis does not answer"),
    (EMPTY, "There is no model yet."),
    (replace(OVERVIEW, jobs=replace(JOBS, training=None, workers=())), "No worker is running"),
    (replace(OVERVIEW, jobs=replace(JOBS, training=None)), "Train now"),
    (replace(OVERVIEW, jobs=replace(JOBS, training=None, training_waits=True)), "A training is waiting for a worker."),
    (replace(OVERVIEW, jobs=replace(JOBS, training=Training(0, 0, None, ()))), "Training: starting"),
    (replace(OVERVIEW, jobs=replace(JOBS, failed=("Training: it is gone",))), "▲ Training: it is gone"),
    (replace(OVERVIEW, serving=replace(OVERVIEW.serving, clicks=None)), "no clicks since"),
    (replace(OVERVIEW, survey=replace(SURVEY, totals=(), work=())), "Nobody has annotated this project yet."),
    (replace(OVERVIEW, project_id=None, projects={}, survey=None, labels=(), models=()), "Drape"),
]


@pytest.mark.parametrize(("overview", "words"), NOTHING_YET)
def test_what_is_not_there_is_said(overview: Overview, words: str) -> None:
    assert words in text_of(overview)


def test_only_another_version_can_be_promoted() -> None:
    tree = tree_of(OVERVIEW)
    actions = sorted(form.get("action") or "" for form in tree.forms)
    assert actions == [
        "/projects/7/rollback",
        "/projects/7/train/cancel",
        "/projects/7/versions/yolo11n-seg-v1-abcdef/promote",
        "/projects/7/versions/yolo11n-seg-v3-abcdef/promote",
    ]


def test_every_meter_and_plot_is_named() -> None:
    tree = tree_of(OVERVIEW)
    labelled = {label.get("for") for label in tree.iter("label")}
    meters = list(tree.iter("progress"))
    assert len(meters) == 5
    assert all(meter.get("aria-label") or meter.get("id") in labelled for meter in meters)
    plots = tree.xpath('//*[@role="img"]')
    assert len(plots) == 3 and all(plot.get("aria-label") for plot in plots)
    identifiers = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(identifiers) == len(set(identifiers))


def test_names_are_text() -> None:
    named = "<script>alert(1)</script>"
    page = StatusPage().render(
        replace(
            OVERVIEW,
            projects={7: named, 8: named},
            labels=(LabelRow(named, 1),),
            problems=(Problem("2026-11-21T17:00:00+00:00", named, 7),),
        ),
        notice=named,
    )
    assert named not in page and page.count("&lt;script&gt;alert(1)") >= 5


TIMES = [(None, "–"), (0.123, "0.12 s"), (14.4, "14 s"), (99.0, "99 s"), (150.0, "2 min"), (7560.0, "2.1 h")]  # noqa: RUF001


@pytest.mark.parametrize(("value", "words"), TIMES)
def test_times_are_said(value: float | None, words: str) -> None:
    assert seconds(value) == words.replace(" ", SPACE)


def test_shares_are_said() -> None:
    assert (share(0.934), share(None)) == (f"93{SPACE}%", "–")  # noqa: RUF001
