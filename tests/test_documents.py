"""What the documents name is there: modules and files, commands with their options, targets of make, settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from backend.settings import Settings
from launcher.cli import app

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
MOST_LINES_OF_README = 150
FOLDERS = "backend|training|label_studio_config|launcher|benchmarks|tests|docs"
# In recipes, what a reader puts a name of their own for.
PLACEHOLDER = re.compile(r"NAME|[<>…*]")
# Not settings of Drape: of Label Studio, PostgreSQL, make, docker-compose, AWS, and words in capitals.
SETTING = re.compile(
    r"`((?:RETRAIN|TRAIN|PROMOTE|PREDICT|IMAGE|SAM|SAM3|EMBEDDING|AUTO_ACCEPT|DEVICE|GPU_MEMORY)_[A-Z0-9_]+)\b(?!…)"
)


def ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def shell_lines(text: str) -> Iterator[str]:
    """Lines of the blocks of shell."""
    for block in re.findall(r"^```sh\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        yield from block.splitlines()


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    for name in re.findall(rf"`((?:{FOLDERS})/[\w./-]+)", page.read_text()):
        assert PLACEHOLDER.search(name) or (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_command_that_a_page_shows_is_one(page: Path) -> None:
    for line in shell_lines(page.read_text()):
        found = re.search(r"(?:^|\s|/)drape (.*)", line.partition("#")[0])
        words = shlex.split(found[1]) if found and not line.startswith("#") else []
        command: Any = typer.main.get_command(app)
        while words and hasattr(command, "commands"):
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            assert not word.startswith("--") or word.partition("=")[0] in known, line


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_target_of_make_that_a_page_names_is_one(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    text = page.read_text()
    named = re.findall(r"`make ([a-z-]+)", text)
    named += [found[1] for line in shell_lines(text) if (found := re.search(r"(?:^|\s)make ([a-z-]+)", line))]
    assert set(named) <= targets


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_setting_that_a_page_names_is_one(page: Path) -> None:
    aliases = {"PREDICT_DEADLINE"}
    for name in SETTING.findall(page.read_text()):
        assert name.lower() in Settings.model_fields or name in aliases, name


def test_the_readme_is_short_and_shows_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= MOST_LINES_OF_README
    assert {"make up", "make test"} <= set(lines)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=ids)
def test_a_page_begins_with_its_title_and_a_sentence(page: Path) -> None:
    title, empty, first = page.read_text().splitlines()[:3]
    assert title.startswith("# ") and not empty and re.match(r"[A-Z`]", first), first
