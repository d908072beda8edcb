"""Pillow's own way to open an image file.

Ultralytics puts another in the place of `PIL.Image.open`: at a file which is no image that one wants to install a
package, and fails in a way of its own.
"""

from __future__ import annotations

import sys

from PIL import Image

# Ultralytics keeps Pillow's own under this name.
open_picture = getattr(sys.modules[Image.open.__module__], "_image_open", Image.open)
