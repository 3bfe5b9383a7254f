"""A folder that appears whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(final: Path) -> Iterator[Path]:
    """Yield an empty temporary sibling of `final`; on success it takes that name, on failure it is removed.

    What an earlier, killed run left beside `final` is removed first, and an older `final` is replaced.
    Nothing is flushed to disk: the JSON file that declares the folder complete is, and it is written after.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    for stale in final.parent.glob(f".{final.name}.*.partial"):
        shutil.rmtree(stale)
    partial = final.with_name(f".{final.name}.{os.getpid()}.partial")
    replaced = final.with_name(f".{final.name}.{os.getpid()}-replaced.partial")
    partial.mkdir()
    try:
        yield partial
        if final.exists():
            os.replace(final, replaced)
        os.replace(partial, final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
