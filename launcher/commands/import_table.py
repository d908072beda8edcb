"""The output of `drape import`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from backend.telemetry.printable import one_line
from training.data_in.import_data import ImportResult
from training.data_in.importer import ImportOptions
from training.data_in.tally import Tally


def show_imported(imported: ImportResult, *, wanted: ImportOptions, console: Console) -> None:
    """Prints each class with its label, the numbers of images, and what was left out and why; also for a dry run."""
    tally = imported.tally
    table = Table("their class", "our label", "garments", title=Text(f"{imported.source} ({imported.set_format})"))
    for (name, label), count in sorted(tally.garments.items()):
        table.add_row(Text(one_line(name)), Text(one_line(label)), str(count))
    for name, count in sorted(tally.unmapped.items()):
        table.add_row(Text(one_line(name)), "left out: not a label of the project", str(count))
    if table.row_count:
        console.print(table)
    console.print(_image_counts(tally, wanted), highlight=False)
    for reason, count in tally.reasons.most_common():
        examples = ", ".join(tally.examples[reason])
        times = "once" if count == 1 else f"{count} times"
        console.print(f"Left out {times}: {reason} ({examples}).", markup=False, highlight=False, soft_wrap=True)
    if imported.unknown_classes:
        names = ", ".join(imported.unknown_classes)
        console.print(f"The mapping names classes that the set does not have: {names}.", markup=False, highlight=False)
    has_imported = bool(tally.garments) and not wanted.dry_run
    if wanted.kind == "predictions" and has_imported and imported.shown_version not in ("", imported.version):
        console.print(
            f"Label Studio shows the predictions of '{imported.shown_version}' in this project. To review the imported "
            f"predictions, choose '{imported.version}' in the project's settings, under Annotation.",
            markup=False,
            highlight=False,
        )


def _image_counts(tally: Tally, wanted: ImportOptions) -> str:
    verb = "would be" if wanted.dry_run else "were"
    sentences = [f"{tally.new} images {verb} imported."]
    if tally.updated:
        sentences.append(f"{wanted.kind.capitalize()} {verb} added to {tally.updated} images of the project.")
    if tally.skipped:
        content = "an annotation" if wanted.kind == "annotations" else "an annotation or these predictions"
        sentences.append(f"{tally.skipped} images stay unchanged: they already have {content}, or get nothing new.")
    return " ".join(sentences)
