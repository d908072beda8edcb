"""A file that is no image is one, whoever else is at work in the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import io
{first}
from PIL import UnidentifiedImageError
from backend.images.open_picture import open_picture
{then}
try:
    open_picture(io.BytesIO(b"no image"))
except UnidentifiedImageError:
    print("no image")
"""
PATCHED = "import ultralytics; from ultralytics.utils import patches"


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [("", ""), (PATCHED, ""), ("", PATCHED)])
def test_no_image_is_said_whatever_was_imported(first: str, then: str) -> None:
    script = SCRIPT.format(first=first, then=then)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.endswith("no image\n"), done.stderr
