"""Archives and picture files whose bytes follow from their content alone: no clock, no owner, no host."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from bench.record import atomic

Members = Mapping[str, bytes]
"""File content by its path in the archive; a path that ends in a slash is a folder."""


def write_zip(path: Path, members: Members) -> None:
    """Write a zip archive with fixed times, whole or not at all. Members stay in the order given."""
    with (
        atomic(path) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for name, content in members.items():
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3
            member.external_attr = (0o40755 << 16 | 0x10) if name.endswith("/") else 0o100644 << 16
            member.compress_type = zipfile.ZIP_STORED if name.endswith("/") else zipfile.ZIP_DEFLATED
            archive.writestr(member, content)


def tar_bytes(members: Members) -> bytes:
    """Return a plain tar archive with time, owner and group 0."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def gzip_bytes(content: bytes) -> bytes:
    """Return gzip with neither name nor time in its header."""
    return gzip.compress(content, compresslevel=6, mtime=0)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under its final name, whole or not at all."""
    with atomic(path) as partial:
        partial.write_bytes(content)


def picture(pixels: NDArray[Any], form: str, mode: str | None = None) -> bytes:
    """Return a PNG or JPEG: (H, W) grey of 8 or 16 bits, (H, W, 3) RGB, (H, W, 4) RGBA; `mode` converts first."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if mode is not None:
        image = image.convert(mode)
    stream = io.BytesIO()
    image.save(stream, form, **({"quality": 92} if form == "JPEG" else {"compress_level": 1}))
    return stream.getvalue()


def tiff(pixels: NDArray[Any]) -> bytes:
    """Return an uncompressed TIFF: (H, W) float32, or 8-bit (H, W, 3) or (H, W, 4), samples interleaved."""
    stream = io.BytesIO()
    kind = "minisblack" if pixels.ndim == 2 else "rgb"
    extra = ["unspecified"] if pixels.ndim == 3 and pixels.shape[2] == 4 else None
    tifffile.imwrite(stream, pixels, photometric=kind, extrasamples=extra, metadata=None, software=False)
    return stream.getvalue()


def matlab(variables: Mapping[str, Any]) -> bytes:
    """Return a MATLAB 5 file whose 116-byte header text carries no time."""
    stream = io.BytesIO()
    savemat(stream, dict(variables), oned_as="column")  # type: ignore[arg-type]  # the stubs know no streams
    return b"MATLAB 5.0 MAT-file".ljust(116) + stream.getvalue()[116:]
