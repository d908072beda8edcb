"""What settings say together."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from backend.errors import SettingsError
from backend.project_settings import PROJECT_SETTING_NAMES
from backend.settings import Settings
from tests.conftest import ROOT

# REDIS_URL, REDIS_PASSWORD, the address
ADDRESSES = [
    ("", "", "redis://127.0.0.1:6379"),
    ("", "word", "redis://:word@127.0.0.1:6379"),
    ("redis://redis:6379/2", "", "redis://redis:6379/2"),
    ("redis://redis:6379/2", "a/b@c:d", "redis://:a%2Fb%40c%3Ad@redis:6379/2"),
    ("rediss://user@redis:6379/2?ssl_cert_reqs=none", "word", "rediss://user:word@redis:6379/2?ssl_cert_reqs=none"),
    ("redis://:own@redis:6379/2", "word", "redis://:own@redis:6379/2"),
]


@pytest.mark.parametrize(("url", "password", "address"), ADDRESSES)
def test_redis_is_asked_with_the_password_that_was_given(url: str, password: str, address: str) -> None:
    settings = Settings(redis_url=url, redis_password=password)
    assert settings.redis_address == address
    given = Redis.from_url(address).connection_pool.connection_kwargs
    assert given.get("password") == ("own" if "own" in url else password or None)


# BASIC_AUTH_USER, BASIC_AUTH_PASS, what is wrong with them
CREDENTIALS = [
    ("user", "", "BASIC_AUTH_USER and BASIC_AUTH_PASS together"),
    ("", "word", "BASIC_AUTH_USER and BASIC_AUTH_PASS together"),
    ("us:er", "word", "must not contain a colon"),
    ("साड़ी", "word", "cannot send all characters of BASIC_AUTH_USER"),
    ("user", "pässword€", "cannot send all characters of BASIC_AUTH_PASS"),
]


@pytest.mark.parametrize(("user", "password", "message"), CREDENTIALS)
def test_credentials_that_cannot_work_are_refused(user: str, password: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(basic_auth_user=user, basic_auth_pass=password)


@pytest.mark.parametrize(
    "value", ["folders", "folder:x", "prefix", "prefix:", "prefix:0", "field:", "Field:shoot", "_"]
)
def test_what_belongs_together_is_named_in_a_known_form(value: str) -> None:
    with pytest.raises(ValueError, match="split_by") as raised:
        Settings(split_by=value)
    assert all(form in str(raised.value) for form in ("`folder`", "`prefix:_`", "`prefix:8`", "`field:shoot`"))


def test_the_known_forms_are_read() -> None:
    for value in ("", "folder", "prefix:_", "prefix:--", "prefix:10", "field:shoot day"):
        assert Settings(split_by=value).split_by == value


def projects_file(folder: Path, text: str) -> Settings:
    path = folder / "projects.yaml"
    path.write_text(text)
    return Settings(project_settings=str(path), retrain_after=30, max_regions=9)


def test_a_project_has_what_the_file_gives_it_and_all_else_from_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the environment says is the installation's: also under another of a setting's names.
    for name, value in {"MAX_REGIONS": "3", "BASE_WEIGHTS": "l", "PREDICT_DEADLINE": "7", "TRAIN_BATCH": "2"}.items():
        monkeypatch.setenv(name, value)
    text = "projects:\n  7: {retrain_after: 200, YOLO11_BASE: s, auto_accept: calibrated}\n  8:\n"
    settings = projects_file(tmp_path, text)
    own = settings.for_project(7)
    assert (own.retrain_after, own.yolo11_base, own.auto_accept) == (200, "s", "calibrated")
    assert own.model_copy(update={"retrain_after": 30, "yolo11_base": "l", "auto_accept": "off"}) == settings
    for other in (8, 9, None):
        assert settings.for_project(other) == settings
    assert settings.check_projects() == (7, 8)
    assert Settings().check_projects() == ()


def test_the_file_is_read_as_it_is_now(tmp_path: Path) -> None:
    settings = projects_file(tmp_path, "projects: {7: {retrain_after: 200}}")
    assert settings.for_project(7).retrain_after == 200
    projects_file(tmp_path, "projects: {7: {retrain_after: 1200}}")
    assert settings.for_project(7).retrain_after == 1200


def test_off_without_quotes_is_off(tmp_path: Path) -> None:
    """YAML reads it as False, which as a score of `auto_accept` would be 0."""
    off = "projects: {7: {auto_accept: off, refine: off}, 8: {auto_accept: 'off', refine: 'off'}}"
    settings = projects_file(tmp_path, off).model_copy(update={"auto_accept": 0.9, "refine": "auto"})
    own = [settings.for_project(number) for number in (7, 8, 9)]
    assert [one.auto_accept for one in own] == ["off", "off", 0.9]
    assert [one.refine for one in own] == ["off", "off", "auto"]


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_the_file_is_utf_8_whatever_the_locale(mark: bytes, tmp_path: Path) -> None:
    file = tmp_path / "projects.yaml"
    file.write_bytes(mark + "projects: {7: {split_by: 'field:साड़ी'}}".encode())
    code = f"""
from pathlib import Path
from backend.project_settings import read_projects
print(ascii(read_projects(Path({str(file)!r}), (0, 0), all_names=frozenset())[7]["split_by"]))
"""
    locale = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    told = subprocess.run(
        [sys.executable, "-c", code], env=locale, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == ascii("field:साड़ी")


LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
MERGED = LAUGHS.replace(" [x]", " {x: 1}").replace(" [*", " {<<: [*").replace("]\n", "]}\n")

WRONG = [
    ("projects: {7: {devise: cuda}}", ["project 7", "DEVISE is not a setting"]),
    ("projects: {7: {device: cuda}}", ["project 7", "DEVICE is a setting of the whole installation"]),
    ("projects: {7: {label_studio_api_key: x}}", ["project 7", "LABEL_STUDIO_API_KEY is a setting of the whole"]),
    ("projects: {7: {retrain_after: 0}}", ["project 7", "RETRAIN_AFTER", "greater than or equal to 1"]),
    ("projects: {7: {auto_accept: on}}", ["project 7", "AUTO_ACCEPT", "calibrated"]),
    ("projects: {7: {max_regions: many}}", ["project 7", "MAX_REGIONS", "integer"]),
    # Rules over several settings hold too.
    ("projects: {7: {approval: choice}}", ["project 7", "APPROVAL_CHOICE"]),
    ("projects: {7: {split_by: shoot}}", ["project 7", "SPLIT_BY", "`folder`", "`prefix:_`", "`field:shoot`"]),
    ("projects: {saris: {max_regions: 1}}", ["'saris' is not a project number"]),
    ("projects: {7: 12}", ["'7' is not a project number with settings below it"]),
    ("7: {max_regions: 1}", ["must hold `projects:`"]),
    ("projects: [1, 2]", ["must hold `projects:`"]),
    ("", ["must hold `projects:`"]),
    ("projects: {}\nothers: {}", ["must hold `projects:`"]),
    ("- 1", ["must hold `projects:`"]),
    ("projects: {7: [", ["cannot be read as YAML"]),
    ("projects: {²: {max_regions: 1}}", ["'²' is not a project number"]),
    # Objects of Python, aliases of aliases, in lists and as merged tables, one of itself; depth, length.
    ("projects: !!python/object/apply:os.system ['true']", ["cannot be read as YAML"]),
    (LAUGHS, ["cannot be read as YAML", "more than 100,000 values"]),
    (MERGED, ["cannot be read as YAML", "more than 100,000 values"]),
    ("projects: &a {7: *a}", ["cannot be read as YAML", "more than 100,000 values"]),
    ("projects: " + "[" * 20_000, ["cannot be read as YAML"]),
    ("projects: {}" + " " * 200_000, ["cannot be read as YAML", "longer than 200,000"]),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, said: list[str]) -> None:
    with pytest.raises(SettingsError) as raised:
        projects_file(tmp_path, text).check_projects()
    assert all(words in str(raised.value) for words in (*said, "projects.yaml")), raised.value


def test_projects_may_share_what_an_alias_stands_for(tmp_path: Path) -> None:
    settings = projects_file(tmp_path, "projects: {7: &a {max_regions: 4}, 8: *a, 9: {<<: *a, train_epochs: 3}}")
    assert [settings.for_project(number).max_regions for number in (7, 8, 9)] == [4, 4, 4]


def test_a_mistake_in_one_project_leaves_the_others_alone(tmp_path: Path) -> None:
    settings = projects_file(tmp_path, "projects: {7: {max_regions: many}, 8: {max_regions: 4}}")
    assert settings.for_project(8).max_regions == 4
    assert settings.for_project(9) is settings
    with pytest.raises(SettingsError):
        settings.for_project(7)


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(SettingsError, match=r"PROJECT_SETTINGS=nowhere\.yaml cannot be read: No such file"):
        Settings(project_settings="nowhere.yaml").for_project(7)


def test_what_a_project_may_set_are_settings() -> None:
    assert PROJECT_SETTING_NAMES <= Settings.model_fields.keys()
    # Nothing that says where secrets go or what the machine may be asked for.
    assert not any(
        name.startswith(("image_", "label_studio", "redis", "device", "predict")) for name in PROJECT_SETTING_NAMES
    )


@pytest.mark.parametrize(
    ("set_to", "champion_px", "expected"),
    [("", None, 640), ("", 256, 256), ("1024", None, 1024), ("1024", 256, 1024)],
)
def test_the_image_size_of_a_training(
    monkeypatch: pytest.MonkeyPatch, set_to: str, champion_px: int | None, expected: int
) -> None:
    monkeypatch.setenv("TRAIN_IMAGE_SIZE_PX", set_to)
    assert Settings().image_size_for_training_px(champion_px) == expected
