"""The page of the command line is that of the commands."""

from __future__ import annotations

import sys

import pytest

from launcher.dev.cli_page import PAGE, command_line_page


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has an older Typer, which writes the page.")
def test_the_page_in_the_docs_is_that_of_the_commands() -> None:
    assert PAGE.read_text() == command_line_page(), "run `make pages`"


def test_every_command_is_there_but_what_containers_ask() -> None:
    page = command_line_page()
    for name in ("up", "import", "backup", "models list", "models export"):
        assert f"\n## drape {name}\n" in page
        assert f"$ drape {name} " in page
    assert "healthy" not in page and "--help" not in page


def test_an_option_that_switches_off_shows_no_default_that_reads_as_if_it_were_on() -> None:
    options = [line for line in command_line_page().splitlines() if line.startswith("* `--no-")]
    assert options and not [line for line in options if "[default: True]" in line]
