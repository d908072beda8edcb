"""Finds a data set's images: files in folders, bytes in a table, or addresses."""

from __future__ import annotations

import io
import os
import unicodedata
import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from backend.errors import DatasetError, ImageError
from backend.images.open_picture import open_picture
from backend.label_studio.uploads import UPLOADABLE

ORIENTATION, TURNED = 0x0112, range(5, 9)
AMBIGUOUS = Path()
# Types of images that Label Studio, or a browser, does not show.
OTHER_PICTURES = frozenset(
    {".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".ppm", ".psd", ".tga", ".tif", ".tiff"}
    | {".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"}
)


@dataclass(frozen=True)
class SetPicture:
    """An image of a data set: a file, bytes, an address, or nothing where it was not found.

    Attributes:
        name: unique in the set, and the same whenever the set is read: it identifies the image's task.
    """

    name: str
    file: Path | None = None
    encoded: bytes | None = None
    url: str = ""

    @property
    def is_found(self) -> bool:
        """False where the set names an image that it does not contain."""
        return bool(self.file or self.encoded or self.url)

    def content(self) -> bytes:
        """Returns the bytes of the file; empty where there is none."""
        return self.file.read_bytes() if self.file is not None else self.encoded or b""

    def size_wh(self) -> tuple[int, int] | None:
        """Returns the upright width and height in pixels, from the file's header; None for an address.

        Raises:
            ImageError: the file cannot be read, or is not an image.
        """
        source = self.file or (io.BytesIO(self.encoded) if self.encoded is not None else None)
        if source is None:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
                with open_picture(source) as picture:
                    turned = picture.getexif().get(ORIENTATION) in TURNED
                    return (picture.height, picture.width) if turned else (picture.width, picture.height)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as e:
            raise ImageError(f"The image '{self.name}' cannot be read: {e}") from e


class PictureFolder:
    """The images in a folder and below it, found by the names that a data set uses for them."""

    def __init__(self, root: Path, *, masks: Collection[Path] = ()) -> None:
        """Opens a folder.

        Args:
            masks: files that are not photographs, besides those in folders with a mask folder's name.
        """
        if not root.is_dir():
            raise DatasetError(f"The image folder {root} does not exist.")
        self.root = root
        self._masks = frozenset(masks)

    def find_by_name(self, name: str) -> SetPicture:
        """Finds the image called `name`: at that path, else the only file of that name; never outside the folder.

        Names are also found if the set has them as part of an address (`a%20b.jpg`), or composes letters otherwise.
        """
        for spelling in dict.fromkeys((name, unquote(name))):
            pure = PurePosixPath(spelling.replace("\\", "/"))
            direct = self.root / pure
            if (
                not pure.is_absolute()
                and ".." not in pure.parts
                and is_picture_of_any_kind(direct)
                # `Path.is_file` raises for a name that is too long, as signed addresses are.
                and os.path.isfile(direct)  # noqa: PTH113
            ):
                return SetPicture(name, direct)
            if (file := self._unique(self._by_name, _composed(pure.name))) is not None:
                return SetPicture(name, file)
        return SetPicture(name)

    def find_by_stem(self, stem: str) -> SetPicture:
        """Finds the only image whose name without extension is `stem`."""
        file = self._unique(self._by_stem, _composed(stem))
        return SetPicture(stem) if file is None else self.picture(file)

    def picture(self, file: Path) -> SetPicture:
        """Returns a file as a picture, named by its path below the folder or, if it lies elsewhere, by its own name."""
        within = file.is_relative_to(self.root)
        return SetPicture(file.relative_to(self.root).as_posix() if within else file.name, file)

    def without(self, stems: Collection[str]) -> list[Path]:
        """Lists the photographs whose names without extension are not among `stems`, in path order."""
        composed = {_composed(stem) for stem in stems}
        return [file for file in self._photographs if _composed(file.stem) not in composed]

    @cached_property
    def _by_name(self) -> dict[str, Path]:
        return _index((_composed(file.name), file) for file in pictures_below(self.root))

    @cached_property
    def _by_stem(self) -> dict[str, Path]:
        return _index((_composed(file.stem), file) for file in self._photographs)

    @cached_property
    def _photographs(self) -> list[Path]:
        # A mask is not a photograph, even if it has a photograph's name.
        return [
            file
            for file in pictures_below(self.root)
            if file not in self._masks
            and not any(is_mask_folder(part) for part in file.relative_to(self.root).parts[:-1])
        ]

    def _unique(self, by_name: dict[str, Path], name: str) -> Path | None:
        file = by_name.get(name)
        if file is AMBIGUOUS:
            raise DatasetError(
                f"Several images below {self.root} are called '{name}': name the right folder with --images."
            )
        return file


def _index(named: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Returns each name's file, `AMBIGUOUS` for several; types that Label Studio accepts go before others."""
    index: dict[str, Path] = {}
    for name, file in named:
        known = index.get(name)
        if known is None or (is_picture(file) and known is not AMBIGUOUS and not is_picture(known)):
            index[name] = file
        elif is_picture(file) or not (known is AMBIGUOUS or is_picture(known)):
            index[name] = AMBIGUOUS
    return index


def _composed(name: str) -> str:
    """Returns the name in Unicode's composed form: some systems store `é` as `e` and an accent."""
    return unicodedata.normalize("NFC", name)


def pictures_below(root: Path) -> list[Path]:
    """Lists the image files in a folder and below it, in the order of their paths; follows no links to folders.

    Types that Label Studio does not accept are among them, so that they can be named.
    """
    files = []
    for folder, below, names in os.walk(root):
        below.sort()
        files += [file for name in sorted(names) if is_picture_of_any_kind(file := Path(folder) / name)]
    return files


def is_picture(file: Path) -> bool:
    """Whether a file's name is that of an image that Label Studio accepts."""
    return file.suffix.lower() in UPLOADABLE and not file.name.startswith(".")


def is_picture_of_any_kind(file: Path) -> bool:
    """Whether a file's name is that of an image, whether Label Studio accepts it or not."""
    return file.suffix.lower() in (UPLOADABLE | OTHER_PICTURES) and not file.name.startswith(".")


def is_mask_folder(name: str) -> bool:
    """Whether data sets give a name like this to folders that hold masks."""
    return any(word in name.lower() for word in ("mask", "segmentation", "parsing", "annotation", "annos", "label"))
