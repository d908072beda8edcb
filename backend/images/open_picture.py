"""Pillow's own function that opens an image file.

Ultralytics replaces `PIL.Image.open` with a function that, for a file which is no image, tries to install a package and
raises an error of its own.
"""

from __future__ import annotations

import sys

from PIL import Image

# Ultralytics stores Pillow's own function under this name.
open_picture = getattr(sys.modules[Image.open.__module__], "_image_open", Image.open)
