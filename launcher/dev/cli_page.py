"""The command line page of the documentation, made by Typer from the commands: `python -m launcher.dev.cli_page`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
from typer.cli import get_docs_for_click

from launcher.cli import app
from launcher.dev.generated_page import DOCS, markdown_table, with_generated_part

PAGE = DOCS / "reference" / "command-line.md"


def command_line_page() -> str:
    """The page as Markdown: a table of all commands, then a section for each."""
    commands = list(_commands(typer.main.get_command(app), "drape"))
    rows = [(f"[`{name}`](#{name.replace(' ', '-')})", _first_paragraph(command)) for name, command in commands]
    sections = [_section(name, command) for name, command in commands]
    return with_generated_part(PAGE, "\n".join([markdown_table(("command", "what it does"), rows), *sections]))


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
