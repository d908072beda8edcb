from __future__ import annotations

from pathlib import Path

from training.data_out.left_out import write_left_out


def test_few_are_named_and_many_are_counted(tmp_path: Path) -> None:
    assert write_left_out([], tmp_path / "a") == [] and not (tmp_path / "a").exists()
    few = ["annotation 1 of task 2: Region x: it covers no pixel.", "annotation 3 of task 4: The image is gone."]
    assert write_left_out(few, tmp_path / "a") == few
    many = [f"annotation {n} of task {n}: Region r{n}: it covers no pixel." for n in range(300)] + few
    lines = write_left_out(many, tmp_path / "b")
    assert lines[:2] == ["301 x it covers no pixel.", "1 x The image is gone."]
    assert lines[2:] == [f"302 in all; {tmp_path / 'b' / 'left_out.txt'} names each with its task."]
    assert (tmp_path / "b" / "left_out.txt").read_text().splitlines() == many


def test_no_more_lines_than_a_person_reads(tmp_path: Path) -> None:
    lines = write_left_out([f"annotation {n} of task {n}: reason {n}." for n in range(300)], tmp_path)
    assert len(lines) == 21 and "left_out.txt names each" in lines[-1]
