"""What is in the page, and that names in it stay text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars
import pytest

from tests.training.data_out.wardrobe.drawn import HOSTILE, TASKS_URL, images, write_drawn_wardrobe
from training.data_out.wardrobe.neighbours import MAX_DISTANCE
from training.data_out.wardrobe.page import Wardrobe, render


def data_of(page: str) -> dict[str, Any]:
    """The data in the page, as its script reads it."""
    found = re.search(r'<script type="application/json" id="wardrobe">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found.group(1))
    return data


class Elements(HTMLParser):
    """The page's elements, as a browser would find them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("page") / "wardrobe"
    write_drawn_wardrobe(into, images())
    return into


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "index.html").read_text()


def test_the_page_has_what_the_table_has(folder: Path, page: str) -> None:
    data = data_of(page)
    rows = polars.read_parquet(folder / "wardrobe.parquet").to_dicts()
    assert len(data["garments"]) == len(rows) > 20
    for row, garment in zip(rows, data["garments"], strict=True):
        photograph = data["photographs"][garment["photograph"]]
        assert garment["key"] == f"{row['task']}-{row['garment']}"
        assert (garment["label"], garment["by"], garment["score"]) == (row["label"], row["by"], row["score"])
        assert (garment["made_at"], garment["area_px"]) == (row["made_at"], row["area_px"])
        assert ",".join(colour["name"] for colour in garment["colours"]) == row["colours"]
        assert ",".join(colour["hex"] for colour in garment["colours"]) == row["hex_colours"]
        assert photograph["name"] == row["image"] and photograph["task"] == row["task"]
        assert garment["outline"].startswith("M")
        for file in (garment["file"], garment["small"], photograph["file"]):
            assert (folder / file).is_file()
        for number, distance in garment["goes_with"]:
            other = data["garments"][number]
            assert other["label"] == garment["label"] and other["photograph"] != garment["photograph"]
            assert distance <= MAX_DISTANCE
    # The same figure, approved once by a person and once by the model, goes with itself.
    alike = next(one for one in data["garments"] if one["key"] == "1-1")["goes_with"][0]
    assert data["garments"][alike[0]]["key"] == "901-1" and alike[1] == 0
    assert data["tasks_url"] == TASKS_URL
    assert set(data["labels"]) == {garment["label"] for garment in data["garments"]}
    assert "902_empty" not in {photograph["name"] for photograph in data["photographs"]}


def test_names_stay_text(page: str) -> None:
    assert data_of(page)["title"] == HOSTILE
    assert HOSTILE in data_of(page)["labels"]
    assert HOSTILE not in page
    tags = [tag for tag, _ in Elements(page).tags]
    assert "img" not in tags and tags.count("script") == 2


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    for _, attributes in Elements(page).tags:
        assert not {"src", "srcset", "action"} & set(attributes)
        assert (attributes.get("href") or "#").startswith(("#", "data:"))
    assert "@import" not in page and "url(" not in page


def test_a_lone_surrogate_can_be_written() -> None:
    text = render(Wardrobe("x", "", ("a\udfff",), {}, (), ()))
    assert data_of(text.encode().decode())["labels"] == ["a\udfff"]
