"""A stored photograph to pixels, and a box of it to the network's size.

Pillow decodes, whatever the form of the file (grey, CMYK, a PNG in disguise), and its bicubic filter is the one of
the published recipes (timm, ConvNeXt, Swin). torch's filter is several times faster and rounds otherwise: up to 2 of
255 apart in a few per mille of the values. No EXIF orientation is applied.
"""

from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from bench.data.pictures import read_rgb

Resize = Literal["pillow", "torch"]
Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels, as Pillow has it."""


class Photograph(Protocol):
    """A decoded RGB picture."""

    size: tuple[int, int]
    """Width and height in pixels."""

    def resized(self, size: tuple[int, int], box: Box | None = None) -> Image.Image:
        """Return the picture, or what `box` holds of it, as RGB of `size` (width, height), bicubic, antialiased.

        The box is cut out first: the filter reads no pixel beside it.
        """


class PillowPhotograph:
    """A picture that Pillow resizes."""

    def __init__(self, image: Image.Image) -> None:
        self.image, self.size = image, image.size

    def resized(self, size: tuple[int, int], box: Box | None = None) -> Image.Image:
        """Return the picture, or what `box` holds of it, in another size."""
        image = self.image if box is None else self.image.crop(box)
        return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


class TorchPhotograph(PillowPhotograph):
    """A picture that torch resizes."""

    def resized(self, size: tuple[int, int], box: Box | None = None) -> Image.Image:
        """Return the picture, or what `box` holds of it, in another size."""
        image = self.image if box is None else self.image.crop(box)
        if image.size == size:
            return image
        # A permuted HWC array is channels_last to torch, for which its 8-bit filter is made.
        pixels_NCHW = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        resized_NCHW = F.interpolate(pixels_NCHW, size=size[::-1], mode="bicubic", antialias=True)
        return Image.fromarray(resized_NCHW[0].permute(1, 2, 0).numpy())


def decode(stored: bytes | NDArray[np.uint8], resize: Resize, name: str) -> Photograph:
    """Return a photograph from a file's bytes, or from uint8 HWC pixels.

    Raises BenchError, with `name`, for bytes that are no whole picture.
    """
    image = read_rgb(stored, name) if isinstance(stored, bytes) else Image.fromarray(stored)
    return PillowPhotograph(image) if resize == "pillow" else TorchPhotograph(image)
