"""The output of `drape import`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from backend.telemetry.printable import one_line
from training.data_in.import_data import Imported, Wanted
from training.data_in.tally import Tally


def show_imported(imported: Imported, *, wanted: Wanted, console: Console) -> None:
    """Prints each class with its label, the number of images, and what was left out and why; also for a dry run."""
    tally = imported.tally
    table = Table("their class", "our label", "garments", title=Text(f"{imported.source} ({imported.form})"))
    for (name, label), count in sorted(tally.garments.items()):
        table.add_row(Text(one_line(name)), Text(one_line(label)), str(count))
    for name, count in sorted(tally.unmapped.items()):
        table.add_row(Text(one_line(name)), "left out: no label of the project", str(count))
    if table.row_count:
        console.print(table)
    would = "would come" if wanted.dry_run else "came"
    console.print(_images(tally, would, wanted), highlight=False)
    _say_left_out(tally, console)
    if imported.strangers:
        names = ", ".join(imported.strangers)
        console.print(f"The mapping names what the set does not have: {names}.", markup=False, highlight=False)
    came_in = bool(tally.garments) and not wanted.dry_run
    if wanted.kind == "predictions" and came_in and imported.shown not in ("", imported.version):
        console.print(
            f"Label Studio shows the predictions of '{imported.shown}' in this project. Choose '{imported.version}' in "
            "the project's settings, under Annotation, to review these.",
            markup=False,
            highlight=False,
        )


def _images(tally: Tally, would: str, wanted: Wanted) -> str:
    stays = "an annotation" if wanted.kind == "annotations" else "an annotation, or these predictions,"
    sentences = [f"{tally.new} images {would} in."]
    if tally.present:
        gets = "would get" if wanted.dry_run else "got"
        sentences.append(f"{tally.present} that the project had {gets} {wanted.kind}.")
    if tally.left:
        sentences.append(f"{tally.left} stay as they are: nothing is new to them, or they have {stays} already.")
    return " ".join(sentences)


def _say_left_out(tally: Tally, console: Console) -> None:
    for reason, count in tally.reasons.most_common():
        named = ", ".join(tally.examples[reason])
        often = "once" if count == 1 else f"{count} times"
        console.print(f"Left out, {often}: {reason} ({named}).", markup=False, highlight=False, soft_wrap=True)
