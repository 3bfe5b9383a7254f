"""Nothing that is published names the machine it was made on: no path of it, no user, no host."""

import getpass
import platform
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from bench.errors import BenchError
from bench.study.runs import Runs

ROOTS = "home|Users|root|work|tmp|mnt|media|data|datasets|scratch|var|opt|srv|usr|private|Volumes|cluster|gpfs|lustre"
PATH = re.compile(rf"(?<![\w.:/)>-])/(?:{ROOTS})/[\w.-]|\b[A-Za-z]:\\\\?[A-Za-z]")
"""An absolute path, of Unix or Windows. An address (https://...) has a host before its path and is none."""
COMMON = frozenset({"root", "user", "ubuntu", "admin", "runner", "localhost", "nobody", "demo", "test"})
"""Names that tell nothing about anyone, and that texts may hold for other reasons."""


def machine_names(runs: Runs, study_file: Path) -> list[str]:
    """Return what a published text may not hold: home and working folder, and the names of user and host.

    A name that the study itself uses (an arm called like the user) cannot be told from it and is left out.
    """
    own = set(re.findall(r"[\w-]+", study_file.read_text(encoding="utf-8")))
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""
    host = platform.node()
    names = [name for name in {user, host, host.split(".")[0]} if len(name) > 2]
    kept = sorted(name for name in names if name.lower() not in COMMON and name not in own)
    return [*kept, *sorted({str(path) for path in (Path.home(), Path.cwd()) if len(path.parts) > 2})]


def refuse_private(folder: Path, names: list[str]) -> None:
    """Raise BenchError, naming the file and what it holds, for an absolute path or one of `names` in any file."""
    wanted = [re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])") for name in names]
    for path, text in texts(folder):
        for pattern in (PATH, *wanted):
            found = pattern.search(text)
            if found:
                line = text.count("\n", 0, found.start()) + 1
                shown = text[found.start() : found.start() + 40].splitlines()[0]
                raise BenchError(
                    f"{path}, line {line}: names this machine or its user ({shown}); remove it at its source and "
                    "publish again"
                )


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of every file of a folder; of archives of arrays, the names of the arrays.

    Pictures are read as Latin-1: metadata is text, pixels are not.
    """
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                yield name, "\n".join(archive.namelist())
        elif path.suffix == ".png":
            yield name, _png_texts(path.read_bytes())
        elif path.suffix == ".pdf":
            yield (
                name,
                re.sub(rb"stream.*?endstream", b"", path.read_bytes(), flags=re.DOTALL).decode("latin-1"),
            )
        else:
            yield name, path.read_text(encoding="utf-8")


def _png_texts(content: bytes) -> str:
    """Return the text chunks of a PNG."""
    found, place = [], 8
    while place + 8 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        if kind in (b"tEXt", b"iTXt", b"zTXt"):
            found.append(content[place + 8 : place + 8 + length].decode("latin-1"))
        place += 12 + length
    return "\n".join(found)
