"""Students are trained and judged one by one; what one came to stays, whatever happens to the others."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from backend.errors import ModelError, ReportError
from training.finetuning.progress import TrainingProgress
from training.students.budget import Budget
from training.students.compare import MAPS, RESULT, Result, compare_one, read_failure, read_maps, read_result
from training.students.lesson import Lesson
from training.students.page import (
    HTML,
    JSON,
    MARKDOWN,
    SHOWN_IMAGES,
    hardest,
    markdown_of,
    read_comparison,
    results_in,
    write_page,
)
from training.students.project import compare_and_show
from training.students.student import Terms

pytestmark = pytest.mark.slow

STUDENTS = ("unet-mobilenetv2", "segformer-b2", "yolo11n-garments")


class Page(HTMLParser):
    """Every tag of a page with its attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_one_that_fails_is_told_and_the_others_are_compared(
    lesson: Lesson, terms: Terms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "comparison"
    monkeypatch.setitem(sys.modules, "transformers", None)
    for name in STUDENTS:
        if name == "segformer-b2":
            with pytest.raises(ModelError):
                compare_and_show(name, STUDENTS, lesson, terms, folder, title="T<b>", report=lambda progress: None)
        else:
            compare_and_show(name, STUDENTS, lesson, terms, folder, title="T<b>", report=lambda progress: None)
    assert "requirements-students.txt" in read_failure(folder, "segformer-b2")

    columns, results = results_in(folder)
    assert [one.name for one in results] == ["unet-mobilenetv2", "yolo11n-garments"]
    assert [one.kind for one in results] == ["clothing", "instances"]
    assert all(one.epochs == 1 and one.minutes >= 0 and (one.ms_cpu or 0) > 0 and one.megabytes > 10 for one in results)
    headings = [column.heading for column in columns]
    assert "mask mAP50-95" in headings and "ms an image, GPU" not in headings
    facts = json.loads((folder / JSON).read_text())
    assert (facts["train_images"], facts["judge_images"], facts["budget"]["epochs"]) == (2, 3, 1)
    assert list(facts["failures"]) == ["segformer-b2"]
    assert "segformer-b2: failed: SegFormer needs the package" in (folder / MARKDOWN).read_text()

    page = Page((folder / HTML).read_text())
    assert "T<b>" in page.text and "SegFormer needs the package transformers" in page.text
    sources = [attributes.get("src") or attributes.get("href") for _, attributes in page.tags]
    pictures = [source for source in sources if source]
    # The approved garments and two answers, of three photographs.
    assert len(pictures) == 9 and all(source.startswith("data:image/jpeg;base64,") for source in pictures)
    assert "url(" not in (folder / HTML).read_text() and "script" not in {tag for tag, _ in page.tags}

    # What failed is tried again, and what is judged is not.
    monkeypatch.delitem(sys.modules, "transformers")
    told: list[TrainingProgress] = []
    before = (folder / "unet-mobilenetv2" / RESULT).stat().st_mtime_ns
    for name in STUDENTS:
        compare_and_show(name, STUDENTS, lesson, terms, folder, title="T", report=told.append)
    assert len(told) == 1 and not read_failure(folder, "segformer-b2")
    assert (folder / "unet-mobilenetv2" / RESULT).stat().st_mtime_ns == before
    assert [one.name for one in results_in(folder)[1]] == list(STUDENTS)

    # Another budget is another comparison: what was judged before does not count.
    other = replace(terms, budget=Budget(epochs=2))
    compare_and_show("unet-mobilenetv2", STUDENTS, lesson, other, folder, title="T", report=told.append)
    assert [one.epochs for one in results_in(folder)[1]] == [2]


def test_results_and_answers_are_read_again(lesson: Lesson, terms: Terms, tmp_path: Path) -> None:
    made = compare_one("unet-mobilenetv2", lesson, terms, tmp_path, lambda progress: None)
    assert read_result(tmp_path, "unet-mobilenetv2") == made
    maps = read_maps(tmp_path, "unet-mobilenetv2", [2, 0])
    assert [one.shape[::-1] for one in maps] == [lesson.judge[2].image.size_wh, lesson.judge[0].image.size_wh]
    comparison = read_comparison(tmp_path, ["unet-mobilenetv2"], lesson, terms, title="Title")
    assert "| unet-mobilenetv2 | " in markdown_of(comparison)
    (tmp_path / "unet-mobilenetv2" / RESULT).write_text("{")
    assert read_result(tmp_path, "unet-mobilenetv2") is None
    # Trained already: only judged again.
    told: list[TrainingProgress] = []
    again = compare_one("unet-mobilenetv2", lesson, terms, tmp_path, told.append)
    assert not told and again.scores == made.scores
    (tmp_path / "unet-mobilenetv2" / MAPS).unlink()
    with pytest.raises(ReportError, match="cannot be written"):
        write_page(comparison, tmp_path)


def test_the_hardest_are_those_that_all_answer_worst(lesson: Lesson, terms: Terms, tmp_path: Path) -> None:
    made = compare_one("unet-mobilenetv2", lesson, terms, tmp_path, lambda progress: None)

    def with_images(*values: float) -> Result:
        return replace(made, scores=replace(made.scores, images=values))

    assert hardest([with_images(0.5, 0.2, 0.9), with_images(0.3, 0.8, 0.1)]) == [0, 1, 2]
    assert len(hardest([with_images(*range(20))])) == SHOWN_IMAGES
    assert hardest([]) == []
