"""Unpack a zip or tar from strangers: regular files only, inside one folder, within limits.

The standard library's own `extractall` follows what the archive says; here each member is looked at first,
and whatever is no plain file below the target folder is refused by name.
"""

import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from bench.errors import BenchError

CHUNK = 1 << 20
TAR_BLOCK = 512
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    # What the readers raise on damaged headers beside errors of their own: bad names, numbers, flags.
    ValueError,
    struct.error,
    OverflowError,
    RuntimeError,
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one archive may grow to; the defaults are above the largest published one (ImageNet's training
    tar).
    """

    members: int = 3_000_000
    size: int = 400 * 2**30
    """Bytes written in all."""
    ratio: int = 500
    """Bytes written over the bytes of the archive; deflate itself ends near 1000."""
    ratio_from: int = 2**28
    """Bytes below which the ratio is not looked at: a few blank pictures compress well."""


class _Budget:
    """Counts what one archive has written, and stops it at the limits."""

    def __init__(
        self, archive: Path, limits: Limits, *, writes: bool, names: list[str] | None = None
    ) -> None:
        self.archive, self.limits, self.writes, self.names = archive, limits, writes, names
        self.packed = archive.stat().st_size
        self.members = self.written = 0

    def add_member(self) -> None:
        self.members += 1
        if self.members > self.limits.members:
            raise BenchError(
                f"{self.archive}: holds more than {self.limits.members} files; it is not the published "
                "archive"
            )

    def add_bytes(self, count: int) -> None:
        self.written += count
        if self.written > self.limits.size:
            raise BenchError(
                f"{self.archive}: unpacks to more than {self.limits.size} bytes; it is not the published "
                "archive"
            )
        if self.written > max(self.limits.ratio_from, self.limits.ratio * self.packed):
            raise BenchError(
                f"{self.archive}: unpacks to more than {self.limits.ratio} times its size; it is not the "
                "published archive"
            )


def unpack(archive: Path, into: Path, *, inner_tars: bool = False, limits: Limits | None = None) -> int:
    """Unpack `archive` (.zip, .tar, .tar.gz) below the folder `into` and return the number of files written.

    With `inner_tars` a member `x.tar` is not written but unpacked to `into/x/`. Folders' and macOS's own
    entries are passed over. Raises BenchError, naming archive and member, for a link, a device, an encrypted
    member, an absolute or parent path, a name that comes twice, a damaged or cut archive, and beyond
    `limits`.
    """
    return _read(archive, into, _Budget(archive, limits or Limits(), writes=True), inner_tars=inner_tars)


def check(
    archive: Path,
    *,
    inner_tars: bool = False,
    limits: Limits | None = None,
    names: list[str] | None = None,
) -> int:
    """Read `archive` to its end as `unpack` does, writing nothing; return the number of files in it.

    Their paths are added to `names` where a list is given. Raises BenchError as `unpack` does, but for a name that
    comes twice.
    """
    nowhere = archive.with_suffix("")
    budget = _Budget(archive, limits or Limits(), writes=False, names=names)
    return _read(archive, nowhere, budget, inner_tars=inner_tars)


def _read(archive: Path, into: Path, budget: _Budget, *, inner_tars: bool) -> int:
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as opened:
                _unpack_zip(opened, into, budget)
        else:
            with tarfile.open(archive, "r:*") as tar:
                _unpack_tar(tar, into, budget, inner_tars=inner_tars)
    except DAMAGE as error:
        raise BenchError(
            f"{archive}: cut short or damaged ({error}); remove it and download it again"
        ) from None
    except FileExistsError as error:
        raise BenchError(
            f"{archive}: holds {Path(error.filename).name!r} twice; it is not the published archive"
        ) from None
    except OSError as error:
        # gzip reports damage as an OSError without a number; the rest is the disk's (full, read-only).
        reason = "cut short or damaged" if error.errno is None else f"cannot be unpacked into {into.parent}"
        raise BenchError(f"{archive}: {reason} ({error.strerror or error})") from None
    return budget.members


def _unpack_zip(opened: zipfile.ZipFile, into: Path, budget: _Budget) -> None:
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir() or kind == stat.S_IFDIR:
            continue
        if kind not in (0, stat.S_IFREG):
            raise BenchError(
                f"{budget.archive}: member {info.filename!r} is a link or a device; only plain files are "
                "unpacked"
            )
        if info.flag_bits & 1:
            raise BenchError(
                f"{budget.archive}: member {info.filename!r} is encrypted; unlock the archive and pack it "
                "plainly"
            )
        target = _destination(info.filename, into, budget)
        if target is not None:
            with opened.open(info) as stream:
                _copy(stream, target, budget)


def _unpack_tar(tar: tarfile.TarFile, into: Path, budget: _Budget, *, inner_tars: bool) -> None:
    for member in tar:
        if member.isdir():
            continue
        if not member.isreg():
            raise BenchError(
                f"{budget.archive}: member {member.name!r} is a link or a device; only plain files are "
                "unpacked"
            )
        target = _destination(member.name, into, budget)
        if target is None:
            continue
        stream = tar.extractfile(member)
        if stream is None:
            raise tarfile.ReadError(f"member {member.name!r} has no content")
        with stream:
            if inner_tars and target.suffix == ".tar":
                with tarfile.open(fileobj=stream, mode="r:") as inner:
                    _unpack_tar(inner, target.with_suffix(""), budget, inner_tars=False)
            elif (written := _copy(stream, target, budget)) != member.size:
                raise tarfile.ReadError(f"member {member.name!r} has {written} of {member.size} bytes")
        tar.members.clear()  # type: ignore[attr-defined]  # else a million headers pile up
    _check_end(tar)


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise ReadError unless the tar ends with its zero block: `tarfile` takes a cut or broken header for the
    end.
    """
    stream = tar.fileobj
    assert stream is not None
    stream.seek(tar.offset)
    if stream.read(TAR_BLOCK) != bytes(TAR_BLOCK):
        raise tarfile.ReadError(f"no end-of-archive block at byte {tar.offset}")


def _destination(name: str, into: Path, budget: _Budget) -> Path | None:
    """Return where a member goes, or None for what macOS adds to archives; refuse a path that leaves "
    "`into`.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0] or "\0" in name:
        raise BenchError(
            f"{budget.archive}: member {name!r} would be written outside its folder; it is not the "
            "published archive"
        )
    if "__MACOSX" in path.parts or path.name.startswith("._") or path.name == ".DS_Store":
        return None
    if budget.names is not None:
        budget.names.append(path.as_posix())
    return into.joinpath(*path.parts)


def _copy(stream: IO[bytes], target: Path, budget: _Budget) -> int:
    """Write a member to `target` (or nowhere), counting its real bytes (its header may lie); return them."""
    budget.add_member()
    written = 0
    if budget.writes:
        target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") if budget.writes else open(os.devnull, "wb") as sink:
        while chunk := stream.read(CHUNK):
            budget.add_bytes(len(chunk))
            written += sink.write(chunk)
    return written
