"""Says what an export leaves out: each region with its task and the reason, or the number of each reason where many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from backend.storage.atomic_files import write_atomically

FILE = "left_out.txt"
# More sentences than this, and the reasons are counted; the file has them all.
MAX_SENTENCES = 20


def write_left_out(sentences: Sequence[str], folder: Path) -> list[str]:
    """Writes all sentences into `left_out.txt` in the folder, and returns at most 21 lines for people.

    Returns an empty list, and writes nothing, where nothing was left out.
    """
    if not sentences:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, "".join(f"{line}\n" for line in sentences))
    if len(sentences) <= MAX_SENTENCES:
        return list(sentences)
    reasons = Counter(_reason(line) for line in sentences).most_common(MAX_SENTENCES)
    counted = [f"{count} x {reason}" for reason, count in reasons]
    return [*counted, f"{len(sentences)} in all; {folder / FILE} names each with its task."]


def _reason(line: str) -> str:
    """Returns the sentence without its annotation and region."""
    parts = line.split(": ", 2)
    return parts[-1] if parts[1].startswith("Region ") else ": ".join(parts[1:])
