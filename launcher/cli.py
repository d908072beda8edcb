"""The `drape` command: registers every subcommand, each of which is a function in `launcher/commands/`."""

from __future__ import annotations

import os
from contextlib import suppress

import typer

from backend.errors import DrapeError
from launcher.commands import backup, data, models, project, run, wardrobe
from launcher.commands.terminal import Terminal
from launcher.errors import LauncherError
from launcher.stack.library_folders import library_folders
from launcher.stack.saved_settings import read_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="An annotation flywheel for Label Studio.")
app.add_typer(models.app, name="models")
app.command(name="import")(data.import_garments)
app.command(name="backup")(backup.back_up_all)
app.command(name="restore")(backup.restore_all)
app.command()(run.up)
app.command()(run.serve)
app.command()(run.worker)
app.command()(run.timer)
app.command(hidden=True)(run.healthy)
app.command()(run.doctor)
app.command()(project.palettes)
app.command()(project.connect)
app.command()(project.prelabel)
app.command()(project.withdraw)
app.command()(project.embed)
app.command(name="export")(data.export_garments)
app.command()(wardrobe.wardrobe)
app.command()(project.evaluate)
app.command()(project.train)
app.command()(project.compare)


@app.callback()
def keep_home_clean() -> None:
    """Has libraries keep their own settings in the data directory; runs before every command, and its imports."""
    # A command that needs the settings says what is wrong with them.
    with suppress(LauncherError):
        for name, value in library_folders(read_settings().data_dir).items():
            os.environ.setdefault(name, value)


def main() -> None:
    """Runs the command; prints an expected failure as one line, not as a traceback, and exits with status 1."""
    try:
        app()
    except (LauncherError, DrapeError) as e:
        Terminal(stderr=True).print(str(e), style="red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(1) from e


if __name__ == "__main__":
    main()
