"""A version's report: of drawn figures, in which a make-believe model makes its mistakes."""

from __future__ import annotations

import re
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from lxml import html

from backend.domain import Detection, Image, LabelledMask, Mask, Scene
from backend.errors import ReportError
from backend.label_studio.label_config import parse_label_config
from backend.registry.records import report_path
from backend.registry.registry import Registry, Version
from backend.registry.scores import Compared, write_scores
from backend.registry.verdict import Verdict, write_verdict
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette
from tests.e2e.annotator import browser_page
from training.evaluation.compact_scenes import CompactMasks, CompactScenes
from training.evaluation.held_out import HeldOut
from training.evaluation.score import Evaluated, compute_scores
from training.report.report import report_on, write_report

pytestmark = pytest.mark.slow

HOSTILE = '<script>alert("x")</script> & $\\frac{$'
GONE = "farthingale"
FOREIGN = "साड़ी"
NAMES = {"saree": HOSTILE, "blouse": FOREIGN, "kurta": "_kurta"}
LABELS = tuple(NAMES.get(label, label) for label in GARMENTS)
CONFIG = parse_label_config(palette(LABELS))
PROJECT = 7
URL = "http://studio.example:8080/"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SECTIONS = ("changes", "scores", "generations", "curves", "confusion", "worst", "random", "second-look")


def held_out(seed: int) -> HeldOut:
    """The figure of `seed`, as a person would have drawn it."""
    figure = draw_figure(seed)
    truth = CompactMasks(LabelledMask(one.mask, NAMES.get(one.label, one.label)) for one in figure.instances)
    return HeldOut(seed, seed + 1000, Image(figure.pixels, f"{seed:064x}", "s"), truth)


def wrongly_seen(one: HeldOut, rng: np.random.Generator) -> Scene:
    """What a model finds that misses garments, takes some for others, and draws their borders as it likes."""
    found = []
    for garment in one.truth:
        chance = rng.random()
        label = garment.label if chance > 0.12 else str(rng.choice(LABELS))
        mask = shifted(garment.mask, by_px=int(rng.integers(0, 30)) if chance > 0.8 else int(rng.integers(0, 6)))
        if rng.random() > 0.12 and mask.any():
            found.append(Detection(mask, label, float(rng.uniform(0.3, 0.98)), 0.97))
    if rng.random() < 0.2:
        spot = np.zeros(one.image.pixels.shape[:2], np.uint8)
        cv2.ellipse(spot, (90, 120), (40, 60), 20, 0, 360, 1, -1)
        found.append(Detection(spot.astype(bool), str(rng.choice(LABELS)), 0.7, 0.95))
    return Scene(tuple(sorted(found, key=lambda detection: -detection.score)))


def shifted(mask: Mask, *, by_px: int) -> Mask:
    return np.pad(mask, ((by_px, 0), (0, 0)))[: len(mask)]


def evaluated(images: list[HeldOut], found: list[Scene]) -> Evaluated:
    scenes = CompactScenes(found)
    scores, matches = compute_scores(
        [one.truth for one in images],
        scenes,
        sizes_wh=[one.image.size_wh for one in images],
        labels=LABELS,
        min_score=0.25,
        ms_an_image=12.5,
    )
    return Evaluated(scores, scenes, matches)


def compared(images: list[HeldOut], *models: list[Scene]) -> Compared:
    own, champion = (evaluated(images, found).scores for found in models)
    return Compared(own, champion)


@pytest.fixture(scope="session")
def images() -> list[HeldOut]:
    return [held_out(seed) for seed in range(500, 526)]


@pytest.fixture(scope="session")
def found(images: list[HeldOut]) -> list[Scene]:
    rng = np.random.default_rng(0)
    seen = [wrongly_seen(one, rng) for one in images]
    # A label that the model knows and the project does not have any more.
    gone = Detection(~np.zeros(images[0].image.pixels.shape[:2], bool), GONE, 0.99)
    return [Scene((gone, *seen[0].detections)), *seen[1:]]


@pytest.fixture
def line(tmp_path: Path, judged: list[Version]) -> list[Version]:
    """A copy of them."""
    shutil.copytree(judged[0].files.all.copies, tmp_path / "models")
    return Registry(tmp_path / "models").versions(PROJECT)


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory, images: list[HeldOut], found: list[Scene]) -> list[Version]:
    """Three versions, judged; the second was not promoted."""
    folder, made = tmp_path_factory.mktemp("judged"), list[Version]()
    registry = Registry(folder / "models")
    for number in range(3):
        weights = folder / f"{number}.pt"
        weights.write_bytes(bytes([number]))
        version = registry.add(
            PROJECT,
            weights=weights,
            classes=LABELS if number else LABELS[1:],
            parent=made[0].name if made else None,
            metrics={},
            annotations={"1": f"h{number}", "2": "h", f"{3 + number}": "h"},
            image_size_px=320 * (number + 1),
            origin="training",
        )
        reason = f"Better on {HOSTILE}." if number != 1 else "Not higher."
        made.append(version)
        gain = (0.011, 0.2) if number else None
        write_verdict(version, Verdict(number != 1, reason, 30, made[0].name, 0.4 + 0.1 * number, 0.4, gain))
    few = images[:8]
    write_scores(made[2], compared(few, found[:8], [Scene(()) for _ in few]))
    return made


def page(line: list[Version], images: list[HeldOut], found: list[Scene]) -> str:
    path = write_report(
        line[-1],
        versions=line,
        held_out=images,
        evaluated=evaluated(images, found),
        config=CONFIG,
        title=f"Sarees {HOSTILE}",
        settings=Settings(label_studio_url=URL),
    )
    assert path == report_path(line[-1])
    return path.read_text(encoding="utf-8")


def parsed(text: str) -> Any:
    """The page as elements; an XPath's result has many types."""
    return html.fromstring(text)


@pytest.fixture(scope="session")
def text(judged: list[Version], images: list[HeldOut], found: list[Scene]) -> str:
    """The page of the third version."""
    return page(judged, images, found)


def test_all_is_there_and_nothing_is_fetched(text: str) -> None:
    assert len(text) < 3_000_000
    root = parsed(text)
    assert [section.get("id") for section in root.iter("section")] == list(SECTIONS)
    for section in root.iter("section"):
        assert len(section.text_content().strip()) > 40, section.get("id")
    # Nothing but links to tasks leads out of the page.
    tasks = re.compile(rf"{re.escape(URL)}projects/{PROJECT}/data\?task=5[0-2]\d")
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "href" and not value.startswith("#"):
                assert element.tag == "a" and tasks.fullmatch(value)
            elif name == "src":
                assert value.startswith("data:image/jpeg;base64,")
            elif not name.startswith("xmlns"):
                assert "://" not in value and "url(http" not in value
    assert not root.xpath("//script | //link | //iframe | //object | //style[contains(., '@import')]")
    # Twelve of each kind, in two pictures; each contradiction, too.
    cards = {name: root.xpath(f"//section[@id='{name}']//li") for name in ("worst", "random", "second-look")}
    assert (len(cards["worst"]), len(cards["random"])) == (12, 12) and 3 < len(cards["second-look"]) <= 50
    assert len(root.xpath("//img")) == 2 * sum(map(len, cards.values()))
    shown = [[link.get("href") for card in cards[name] for link in card.iter("a")] for name in ("worst", "random")]
    assert not set(shown[0]) & set(shown[1])
    kinds = {kind.text.partition(":")[0] for kind in root.xpath("//*[@class='kind']")}
    assert kinds == {"missed", "spurious", "wrong class", "poor border"}
    assert GONE not in text


def test_what_people_have_named_stays_text(text: str) -> None:
    root = parsed(text)
    assert "<script" not in text
    assert root.findtext(".//h1") == f"Sarees {HOSTILE}"
    assert f"Better on {HOSTILE}." in root.xpath("string(//header)")
    for label in (HOSTILE, FOREIGN, "_kurta"):
        assert root.xpath("//tbody/tr/th[text()=$label]", label=label)
        assert root.xpath("//figcaption/b[text()=$label]", label=label)
        ticks = [tick.text for tick in root.xpath("//section[@id='confusion']//*[local-name()='text']")]
        assert label in ticks or any(tick.endswith("…") and label.startswith(tick[:-1]) for tick in ticks if tick)


def test_it_can_be_read_without_eyes(text: str) -> None:
    root = parsed(text)
    assert root.get("lang") == "en" and root.xpath("//meta[@name='viewport']")
    assert all(image.get("alt") for image in root.iter("img"))
    for plot in root.xpath("//*[local-name()='svg']"):
        assert plot.get("aria-hidden") == "true" and plot.getparent().get("aria-label")
    for table in root.iter("table"):
        assert all(head.get("scope") in ("row", "col") for head in table.iter("th"))
        assert {row[0].tag for row in table.iter("tr")} == {"th"}
    ids = root.xpath("//@id")
    assert len(ids) == len(set(ids))


def test_it_says_what_changed_and_why_it_was_taken(judged: list[Version], text: str) -> None:
    root = parsed(text)
    said = {part: " ".join(root.xpath(f"string({part})").split()) for part in ("//header", "//section[@id='changes']")}
    assert "✔ Promoted. Better on" in said["//header"] and "between +0.011 and +0.200" in said["//header"]
    changes = said["//section[@id='changes']"]
    assert "3: 1 added, 1 changed, 1 removed" in changes and f"added: {HOSTILE}" in changes
    assert "960 pixels, 320 before" in changes and judged[0].name in changes
    scores = root.xpath("//section[@id='scores']//tfoot/tr/td")
    # All is better than a champion that finds nothing; the colour does not say so alone.
    assert all("▲" in cell.text_content() for cell in scores[1:5])
    lines = root.xpath("//section[@id='generations']//tbody/tr")
    assert [row.text_content().endswith(("yes", "yes")) for row in lines] == [True, False, True]


def test_the_same_version_makes_the_same_page(
    line: list[Version], images: list[HeldOut], found: list[Scene], text: str
) -> None:
    assert page(line, images, found) == text


def test_the_first_version_of_few_images(line: list[Version], images: list[HeldOut], found: list[Scene]) -> None:
    first = parsed(page(line[:1], images[:2], found[:2]))
    assert "annotations3" in re.sub(r"\s", "", first.xpath("string(//section[@id='changes'])"))
    assert len(first.xpath("//section[@id='worst']//li")) == 2
    assert "All held-out images" in first.xpath("string(//section[@id='random'])")


def test_without_any_image_it_says_so(line: list[Version]) -> None:
    write_verdict(line[0], Verdict(True, "No approved image was held out to evaluate it on.", 0))
    root = parsed(page(line[:1], [], []))
    assert [section.get("id") for section in root.iter("section")] == list(SECTIONS)
    assert not root.xpath("//img")


def test_a_report_that_cannot_be_stored_is_named(
    line: list[Version], images: list[HeldOut], found: list[Scene]
) -> None:
    gone = replace(line[-1], files=replace(line[-1].files, version="gone"))
    with pytest.raises(ReportError, match="could not be written"):
        page([gone], images[:1], found[:1])


def test_the_masks_of_one_image_at_a_time_are_in_memory(
    line: list[Version], images: list[HeldOut], found: list[Scene]
) -> None:
    """Of two thousand held-out images those of all detections take ten gigabytes."""
    many = images * 4
    of_many = evaluated(many, found * 4)
    dense_bytes = sum(detection.mask.nbytes for scene in of_many.detections for detection in scene.detections)
    tracemalloc.start()
    try:
        made = report_on(
            line[-1], versions=line, held_out=many, evaluated=of_many, config=CONFIG, title="", settings=Settings()
        )
        assert tracemalloc.get_traced_memory()[1] < dense_bytes
    finally:
        tracemalloc.stop()
    assert (made.images, len(made.worst), len(made.random)) == (104, 12, 12)


@pytest.mark.browser
def test_it_fits_a_phone_and_a_desk_by_day_and_by_night(text: str, tmp_path: Path, chromium: str) -> None:
    path = tmp_path / "report.html"
    path.write_text(text, encoding="utf-8")
    asked, said, papers = list[str](), list[str](), set[str]()
    with browser_page(chromium) as shown:
        shown.on("request", lambda request: asked.append(request.url))
        shown.on("console", lambda message: said.append(message.text))
        shown.on("dialog", lambda dialog: said.append(dialog.message))
        for width in (390, 1280):
            shown.set_viewport_size({"width": width, "height": 844})
            for scheme in SCHEMES:
                shown.emulate_media(color_scheme=scheme)
                shown.goto(path.as_uri())
                assert shown.evaluate("document.documentElement.scrollWidth") == width
                papers.add(shown.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert {url for url in asked if not url.startswith("data:")} == {path.as_uri()}
    assert said == [] and len(papers) == len(SCHEMES)
