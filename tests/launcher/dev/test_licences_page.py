"""The page of licences lists what the files of requirements name, in the versions that it pins."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from launcher.dev.generated_page import MARK
from launcher.dev.licences_page import PAGE, direct_requirements, installed_packages, licences_page, requirement_lines


def asked() -> list[Requirement]:
    """Every line of the files of requirements, for whatever Python and machine."""
    lines = (line.split("#")[0].strip() for line in requirement_lines())
    return [Requirement(line) for line in lines if line]


def rows() -> dict[str, list[str]]:
    """The page's rows by normalised name: package, version, licence, whether we name it, home page."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text().partition(MARK)[2].strip().splitlines()[2:]
    ]
    return {canonicalize_name(row[0]): row for row in cells}


def test_every_requirement_is_listed_in_a_version_that_is_pinned() -> None:
    listed = rows()
    for one in asked():
        name = canonicalize_name(one.name)
        assert name in listed, f"{one.name} is not in {PAGE.name}: run `make licences`"
        pins = [other.specifier for other in asked() if canonicalize_name(other.name) == name]
        assert any(listed[name][1] in pin for pin in pins), f"{one.name} moved: run `make licences`"
        assert listed[name][3] == "yes"


def test_every_package_has_a_licence_and_a_home() -> None:
    for name, row in rows().items():
        assert len(row) == 5 and row[2] not in ("", "unknown"), name
        assert row[4].startswith("http"), name
    assert "drape" not in rows()


@pytest.mark.slow
def test_what_is_installed_is_told_the_same_way_each_time() -> None:
    found = installed_packages()
    assert licences_page() == licences_page()
    assert [one.name for one in found] == sorted((one.name for one in found), key=str.lower)
    assert {canonicalize_name(one.name) for one in found if one.direct} == direct_requirements().keys()
    # What is brought along, as well; and nothing that only the tests need.
    names = {canonicalize_name(one.name) for one in found}
    assert "transformers" in names
    assert {"werkzeug", "starlette", "numpy"} <= names and not names & {"pytest", "mypy", "playwright"}
    assert {one.licence for one in found if one.name.startswith("ultralytics")} <= {"AGPL-3.0", "AGPL-3.0-only"}
