"""The command line page of the documentation, made by Typer from the commands: `python -m launcher.dev.cli_page`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.cli import get_docs_for_click

from launcher.cli import app

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "command-line.md"
HEAD = """\
# Command line

This page lists every `drape` command with its arguments and options. It is made by
`python -m launcher.dev.cli_page` from `launcher/commands/`; do not edit by hand.

`make up` installs the program as `.venv/bin/drape`; in the containers it is on the PATH. After an expected failure it
prints one sentence and exits with status 1.

| command | what it does |
| --- | --- |
"""


def command_line_page() -> str:
    """The page as Markdown: a table of all commands, then a section for each."""
    commands = list(_commands(typer.main.get_command(app), "drape"))
    rows = [f"| [`{name}`](#{name.replace(' ', '-')}) | {_first_paragraph(command)} |" for name, command in commands]
    sections = [_section(name, command) for name, command in commands]
    return HEAD + "\n".join(rows) + "\n\n" + "\n".join(sections)


def _commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command that is not hidden, with its full name, sorted by name."""
    for command_name, command in sorted(group.commands.items()):
        full_name = f"{name} {command_name}"
        if hasattr(command, "commands"):
            yield from _commands(command, full_name)
        elif not command.hidden:
            yield full_name, command


def _first_paragraph(command: Any) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def _section(name: str, command: Any) -> str:
    """Typer's own text, below a heading without code markup, whose anchor is the command's name."""
    prefix, _, command_name = name.rpartition(" ")
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name=command_name, call_prefix=prefix)
    body = text.partition("\n")[2].strip()
    # Every command has `--help`, and some commands have no other option.
    body = re.sub(r"^\* `--help`.*\n?", "", body, flags=re.MULTILINE).strip().removesuffix("**Options**:").strip()
    # An option that can only switch something off has no name for 'on'.
    body = body.replace("` / --", "`--")
    return f"## {name}\n\n{body}\n"


if __name__ == "__main__":
    PAGE.write_text(command_line_page())
