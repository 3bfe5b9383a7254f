"""What makes a published study small: counts packed tightly, and what is left out of one that is still too large.

In this order, until it fits: the figures' PDFs; the report; the pictures of scenes; the counts of edges and of
disturbed spectra, whose finished rows are then carried. A study whose pictures are local has none from the beginning.
left_out.json says which, and why. The confusion counts of every sample always stay.
"""

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.record import read_record, sha256_file, write_json
from bench.report.examples import FILE as EXAMPLES
from bench.stats.scores import FURTHER

LEFT_OUT = "left_out.json"
FOR_SIZE, FOR_OWNERS = "left_out", "kept_local"
"""Its two parts: left out so that the record stays small; not passed on, since the data may not be."""
REPORT = "report.pdf"
CARRIED = "measured"
"""Folder of the rows whose counts are left out: they stand in compare/ as they are."""
ROWS = ("boundary", "spectral", "further")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every member of an archive, so that the same arrays give the same bytes."""


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as an .npz packed by LZMA, keys sorted; `np.load` reads it, and same arrays give same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for key in sorted(arrays):
            held = io.BytesIO()
            np.lib.format.write_array(held, np.asanyarray(arrays[key]), allow_pickle=False)
            member = zipfile.ZipInfo(f"{key}.npy", EPOCH)
            member.compress_type = zipfile.ZIP_LZMA
            archive.writestr(member, held.getvalue())


def keep_counts(folder: Path, *, further: bool = True) -> None:
    """Pack counts.npz of an evaluation's folder anew, if not `further` without those of edges and disturbed spectra.

    The numbers are those that were counted. The record beside it then gives the SHA-256 of the packed file, and that
    of the evaluation's own as `counts_of_run_sha256`.
    """
    path, record_path = folder / "counts.npz", folder / "record.json"
    record = read_record(record_path)
    if sha256_file(path) != record.extra.get("counts_sha256"):
        raise BenchError(
            f"{path}: not the counts that their record speaks of; evaluate again, then publish the study"
        )
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files if further or not name.startswith(FURTHER)}
    save_arrays(path, arrays)
    value = json.loads(record_path.read_text(encoding="utf-8"))
    value["extra"].setdefault("counts_of_run_sha256", value["extra"]["counts_sha256"])
    value["extra"]["counts_sha256"] = sha256_file(path)
    write_json(record_path, value)


def lighten(folder: Path, limit: int) -> list[str]:
    """Leave out of a published study one thing after the other until it takes at most `limit` bytes; return which.

    What stays is as it was: nothing is drawn or counted anew.
    """
    done: list[str] = []
    for name, leave_out in STEPS.items():
        if size_of(folder) <= limit:
            break
        if name not in left_out(folder):
            leave_out(folder)
            done.append(name)
    _say(folder, FOR_SIZE, done)
    return done


def keep_pictures(folder: Path) -> None:
    """Say of a study that is being published that its pictures stay where they are, whatever their size."""
    _say(folder, FOR_OWNERS, ["pictures"])


def _say(folder: Path, why: str, names: list[str]) -> None:
    if names:
        said = reasons(folder)
        said[why] |= {name: WORDS[name] for name in names}
        write_json(folder / LEFT_OUT, {why: words for why, words in said.items() if words})


def reasons(folder: Path) -> dict[str, dict[str, str]]:
    """Return what a published study was published without, name to words: for its size, and for the data's owners."""
    path = folder / LEFT_OUT
    said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = {why: said.get(why, {}) for why in (FOR_SIZE, FOR_OWNERS)}
    return {why: {name: words[name] for name in STEPS if name in words} for why, words in found.items()}


def left_out(folder: Path) -> list[str]:
    """Return what a published study was published without: pdf, report, pictures, further."""
    said = reasons(folder)
    return [name for name in STEPS if any(name in words for words in said.values())]


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _without_pdf(folder: Path) -> None:
    for path in (folder / "figures").glob("*.pdf"):
        path.unlink()


def _without_report(folder: Path) -> None:
    (folder / REPORT).unlink(missing_ok=True)


def _without_pictures(folder: Path) -> None:
    for path in [*(folder / "figures").glob("pictures_*"), *(folder / "evaluate").rglob(EXAMPLES)]:
        path.unlink()


def _without_further(folder: Path) -> None:
    for path in sorted((folder / "evaluate").rglob("counts.npz")):
        keep_counts(path.parent, further=False)
    (folder / CARRIED).mkdir()
    for name in ROWS:
        shutil.copyfile(folder / "compare" / f"{name}.csv", folder / CARRIED / f"{name}.csv")


STEPS: dict[str, Callable[[Path], None]] = {
    "pdf": _without_pdf,
    "report": _without_report,
    "pictures": _without_pictures,
    "further": _without_further,
}
WORDS = {
    "pdf": "the figures as PDF; the PNGs are there",
    "report": "the report as PDF; this page and the tables say the same",
    "pictures": "the figures that show scenes, and the predictions they are drawn from",
    "further": "the counts of edges and of disturbed spectra; the rows that were computed from them are in measured/",
}
