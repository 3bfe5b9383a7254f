"""Where a preparation works: a folder that outlives a kill, and from which the arrays are moved when all are whole.

    .preparing/key           what is being prepared, from what
    .preparing/arrays/       the arrays, each under its final name by rename
    .preparing/done/         one JSON file a finished piece, written after its arrays
    prepared/                the arrays, all of them, by one rename

A run that dies at any moment is gone on with by the next one of the same key; one of another key starts anew. A
piece counts as done only as long as the files it was made from have the size and time they had. Nothing is flushed
to disk before the manifest is: a power cut is not a kill, and `prepared/` without a manifest is never read.
"""

import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bench.record import canonical_json

INSIDE = "prepared"
"""Name of the folder with the arrays, as it stands in the manifest."""
STATE = ".preparing"


class Workbench:
    """The state folder of the preparation below `out` that is identified by `key`."""

    def __init__(self, out: Path, key: str) -> None:
        self.state, self.final = out / STATE, out / INSIDE
        self.arrays, self.done = self.state / "arrays", self.state / "done"
        marker = self.state / "key"
        if not (marker.is_file() and marker.read_text(encoding="utf-8") == key):
            shutil.rmtree(self.state, ignore_errors=True)
            shutil.rmtree(self.final, ignore_errors=True)
        elif self.final.is_dir() and not self.arrays.exists():
            os.replace(self.final, self.arrays)  # killed between this rename and the manifest
        else:
            shutil.rmtree(self.final, ignore_errors=True)
        for folder in (self.arrays, self.done):
            folder.mkdir(parents=True, exist_ok=True)
            _remove_partial(folder)
        marker.write_text(key, encoding="utf-8")

    def finished(self, piece: str) -> Any:
        """Return what was noted of a finished piece, or None if it is to be made (again)."""
        try:
            value = json.loads((self.done / f"{piece}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        whole = all((self.arrays / name).is_file() for name in value["arrays"])
        unchanged = value["stamps"] == stamps(path for path, *_ in value["stamps"])
        return value["result"] if whole and unchanged else None

    def note(self, piece: str, files: Iterable[Path | str], arrays: Iterable[str], result: Any) -> None:
        """Note that a piece is finished: made from `files`, held by `arrays`, which are in place by now."""
        value = {"stamps": stamps(files), "arrays": list(arrays), "result": result}
        with _renamed(self.done / f"{piece}.json") as partial:
            partial.write_text(canonical_json(value), encoding="utf-8")

    @contextmanager
    def npy(self, name: str, dtype: Any, shape: tuple[int, ...]) -> Iterator[IO[bytes]]:
        """Open an .npy file for its values, which are written block by block in C order."""
        with _renamed(self.arrays / name) as partial, partial.open("wb") as stream:
            stream.write(npy_header(dtype, shape))
            yield stream

    def save(self, name: str, array: NDArray[Any]) -> str:
        """Write an array and return its path in the manifest."""
        with self.npy(name, array.dtype, array.shape) as stream:
            stream.write(np.ascontiguousarray(array).data)
        return f"{INSIDE}/{name}"

    def reserve(self, name: str, size: int, header: bytes = b"") -> Path:
        """Return the path of an array that is written piece by piece: `header` and `size` bytes to be filled in.

        A file of that size is kept with what it holds; the pieces that are finished say what is in it.
        """
        path = self.arrays / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            os.ftruncate(descriptor, len(header) + size)
            os.pwrite(descriptor, header, 0)
        finally:
            os.close(descriptor)
        return path

    def publish(self) -> None:
        """Give the arrays their final name, all at once."""
        _remove_partial(self.arrays)
        os.replace(self.arrays, self.final)

    def clear(self) -> None:
        """Remove what is left of the state, once the manifest declares the arrays."""
        shutil.rmtree(self.state, ignore_errors=True)


def npy_header(dtype: Any, shape: tuple[int, ...]) -> bytes:
    """Return the header of an .npy file in C order."""
    stream = io.BytesIO()
    described = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": described, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def stamps(files: Iterable[Path | str]) -> list[list[Any]]:
    """Return path, size and time of change of each file, sorted; -1 for a file that is not there."""
    found = []
    for path in sorted({str(file) for file in files}):
        try:
            status = os.stat(path)
        except OSError:
            found.append([path, -1, -1])
        else:
            found.append([path, status.st_size, status.st_mtime_ns])
    return found


def _remove_partial(folder: Path) -> None:
    """Remove what a killed process had begun to write."""
    for path in folder.glob(".*"):
        path.unlink(missing_ok=True)


@contextmanager
def _renamed(path: Path) -> Iterator[Path]:
    """Yield a path of this process's own beside `path`, which takes its name if all goes well."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
