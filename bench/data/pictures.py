"""Read a picture exactly as it is stored: no scaling, no colour conversion, no alpha arithmetic.

Scenes are read by `read_planes`, which refuses what a library would silently change (16-bit colour PNG, packed grey
levels) or leave out (an orientation, further pages), and values that are none (no-data). Photographs for
classification are read by `read_rgb`, which brings every mode to RGB.
"""

import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bench.errors import BenchError

logging.getLogger("tifffile").addHandler(
    logging.NullHandler()
)  # what it says of a file that is read is no news
# Aerial sources exceed Pillow's guard against decompression bombs by far (P1527 of iSAID has 8e8 pixels): the
# guard here is MAX_PIXELS, looked at before a picture is decoded.
Image.MAX_IMAGE_PIXELS = None
MAX_PIXELS = 1 << 30

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_GREY, PNG_PALETTE = 0, 3
MODES = ("L", "RGB", "RGBA", "RGBX", "I;16", "F")
INDEX_MODES = ("P", "1")
"""Pillow's modes of a palette and of one bit a pixel: what is stored are indices, which only labels mean."""
PHOTOGRAPH_MODES = ("RGB", "L", "P", "1", "CMYK", "YCbCr", "LA", "PA", "RGBA", "RGBX")
EXIF_ORIENTATION = 0x0112
UPRIGHT = 1
TIFF_ORIENTATION = 274
TIFF_EXTRA_SAMPLES = 338
TIFF_NO_DATA = 42113
"""GDAL's tag: the value, as text, of pixels that were not measured."""
PALETTE = 3
"""TIFF's photometric interpretation of indices."""
ASSOCIATED_ALPHA = 1


def read_planes(path: Path, *, indices: bool = False) -> NDArray[Any]:
    """Return the picture as stored: HWC, any dtype.

    With `indices` (labels) a palette or 1-bit picture gives its indices, and a no-data value is a value as others.
    Raises BenchError for an unreadable or cut file, for encodings that cannot be read without change, for indices
    that nobody asked for, an EXIF orientation, several pages, and no-data pixels of 16 bits or float.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(32)
        if path.suffix.lower() in (".tif", ".tiff"):
            planes = _read_tiff(path, indices)
        else:
            if head.startswith(PNG_SIGNATURE):
                _check_png(path, bits=head[24], colour=head[25])
            planes = _read_pillow(path, indices)
    except FileNotFoundError:
        raise BenchError(f"{path}: no such file") from None
    except (
        OSError,
        UnidentifiedImageError,
        tifffile.TiffFileError,
        SyntaxError,
        ValueError,
        IndexError,
    ) as error:
        raise BenchError(f"{path}: not a readable picture ({error})") from None
    return planes[..., None] if planes.ndim == 2 else planes


def read_plane(
    path: Path, *, plane: int = 0, planes: int | tuple[int, ...] = 1, indices: bool = False
) -> NDArray[Any]:
    """Return one plane (HW) of a picture that must have `planes` planes (or one of several counts)."""
    image_HWC = read_planes(path, indices=indices)
    allowed = (planes,) if isinstance(planes, int) else planes
    if image_HWC.shape[2] not in allowed:
        expected = " or ".join(str(count) for count in allowed)
        raise BenchError(f"{path}: has {image_HWC.shape[2]} planes, expected {expected}")
    return image_HWC[..., plane]


def read_rgb(source: Path | bytes, name: str) -> Image.Image:
    """Return a photograph as an RGB picture, whatever its mode (grey, palette, CMYK, alpha).

    The pixels stay as stored: an EXIF orientation is not applied, as in the loaders on which published
    ImageNet scores rest. Raises BenchError, with `name`, for an unreadable or cut file.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
            image: Image.Image = opened
            if image.mode not in PHOTOGRAPH_MODES:
                raise BenchError(f"{name}: a photograph of mode {image.mode}; expected 8-bit grey or colour")
            if image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")  # else Pillow warns and drops the transparent colour's place
            if image.mode == "RGB":
                image.load()  # convert would copy it
                return image
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise BenchError(f"{name}: not a readable picture ({error})") from None


@dataclass(frozen=True)
class Traits:
    """How a photograph is stored: the library's name of its format and mode, and whether EXIF asks to turn it."""

    form: str
    mode: str
    turned: bool


def check_photograph(encoded: bytes, name: str, *, decode: bool = True) -> Traits:
    """Decode a photograph to its last byte, as coarsely as its format allows, and return how it is stored.

    A JPEG is read at an eighth of its size, which finds a cut file as surely as a full decode does. Raises
    BenchError, with `name`, where `read_rgb` would; without `decode`, for a file whose head cannot be read.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if image.mode not in PHOTOGRAPH_MODES:
                raise BenchError(f"{name}: a photograph of mode {image.mode}; expected 8-bit grey or colour")
            turned = image.getexif().get(EXIF_ORIENTATION, 1) != 1
            found = Traits(str(image.format), image.mode, turned)
            if decode:
                image.draft("L", (1, 1))
                image.load()
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise BenchError(f"{name}: not a readable picture ({error})") from None
    return found


def _check_png(path: Path, *, bits: int, colour: int) -> None:
    """Refuse what Pillow reads with changed values: 16-bit colour is cut to 8, 2- and 4-bit grey is
    stretched.
    """
    if bits == 16 and colour != PNG_GREY:
        raise BenchError(
            f"{path}: a 16-bit colour PNG; store 16-bit channels as one grey PNG each, or as TIFF"
        )
    if bits in (2, 4) and colour == PNG_GREY:
        raise BenchError(f"{path}: a grey PNG of {bits} bits a pixel; store it with 8")


def _check_kind(path: Path, *, index_mode: str | None, orientation: object, indices: bool) -> None:
    """Refuse indices that nobody asked for, and a picture that is to be turned before it is seen."""
    if index_mode is not None and not indices:
        raise BenchError(
            f"{path}: {index_mode} picture, whose values are indices and no measurements; store it as grey or colour "
            "of 8 bits or more"
        )
    if isinstance(orientation, int) and UPRIGHT < orientation <= 8:
        raise BenchError(
            f"{path}: an orientation ({orientation}) asks to turn the picture, and the pixels as stored would not "
            "lie on their labels; store it upright, with the tag removed"
        )


def _read_pillow(path: Path, indices: bool) -> NDArray[Any]:
    with Image.open(path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise BenchError(f"{path}: {image.width} x {image.height} pixels; at most {MAX_PIXELS} are read")
        if image.mode not in (*MODES, *INDEX_MODES):
            raise BenchError(f"{path}: picture mode {image.mode}; expected one of {', '.join(MODES)}")
        kind = {"P": "a palette", "1": "a 1-bit"}.get(image.mode)
        orientation = image.getexif().get(EXIF_ORIENTATION)
        _check_kind(path, index_mode=kind, orientation=orientation, indices=indices)
        array = np.asarray(image)
    return array.astype(np.uint8) if array.dtype == np.bool_ else array


def _read_tiff(path: Path, indices: bool) -> NDArray[Any]:
    """Read a TIFF of one page, overviews aside. Compressed ones go to Pillow, since tifffile alone decodes plain and
    deflate.
    """
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        others = sum(not further.is_reduced for further in tiff.pages[1:])  # type: ignore[union-attr]
        if others:
            raise BenchError(
                f"{path}: a TIFF of {1 + others} pages, of which one would be read; store each as a file, or all as "
                "planes of one page"
            )
        if page.imagewidth * page.imagelength > MAX_PIXELS:
            raise BenchError(
                f"{path}: {page.imagewidth} x {page.imagelength} pixels; at most {MAX_PIXELS} are read"
            )
        kind = "a palette" if page.photometric == PALETTE else "a 1-bit" if page.bitspersample == 1 else None
        tag = page.tags.get(TIFF_ORIENTATION)
        _check_kind(path, index_mode=kind, orientation=None if tag is None else tag.value, indices=indices)
        no_data = page.tags.get(TIFF_NO_DATA)
        if page.compression in (1, 8, 32946) and page.predictor == 1:
            array: NDArray[Any] = page.asarray()
            if array.ndim not in (2, 3):
                raise BenchError(f"{path}: a TIFF of shape {array.shape}; expected height x width (x planes)")
            if no_data is not None and not indices:
                _check_no_data(path, array, str(no_data.value))
            return np.moveaxis(array, 0, -1) if page.axes == "SYX" else array
        extra = page.tags.get(TIFF_EXTRA_SAMPLES)
        if extra is not None and ASSOCIATED_ALPHA in np.atleast_1d(extra.value):
            # Pillow would divide the other planes by this one.
            raise BenchError(f"{path}: a compressed TIFF with an alpha plane; store it uncompressed")
    array = _read_pillow(path, indices)
    if no_data is not None and not indices:
        _check_no_data(path, array, str(no_data.value))
    return array


def _check_no_data(path: Path, array: NDArray[Any], text: str) -> None:
    """Refuse pixels of the value that the file itself says stands for none.

    Not of 8 bits: there each value is one of the sensor's too, and the tag is set to 0 or 255 by habit.
    """
    try:
        value = float(text.strip(" \0"))
    except ValueError:
        return
    if array.dtype.itemsize == 1 or np.isnan(
        value
    ):  # values that are no numbers are refused whatever a tag says
        return
    if np.issubdtype(array.dtype, np.integer):
        bounds = np.iinfo(array.dtype)
        if not (value.is_integer() and bounds.min <= value <= bounds.max):
            return
        lost = int((array == int(value)).sum())
    else:
        with np.errstate(over="ignore"):  # the lowest float64 is written into rasters of float32 too
            lost = int((array == array.dtype.type(value)).sum())
    if lost:
        raise BenchError(
            f"{path}: {lost} values are {value:g}, which the file declares to be no data (GDAL_NODATA); fill them in "
            "first"
        )
