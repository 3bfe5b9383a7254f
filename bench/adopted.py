"""What was counted of a run elsewhere, in the place of its weights: `bench adopt` puts it, evaluations read it.

A run's folder then holds its record, its losses and `adopted.npz`, and counts as done by its digest. Who needs the
weights (a fine-tuning that starts from an adopted pre-training) trains them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.record import atomic, digest_of

FILE = "adopted.npz"
REPORTED = ("stage", "primary", "metric", "leave_out")
"""Keys of an evaluation's spec that say how counts are reported, not what is counted."""
OWN = ("asked", "digest", "samples")
"""Members of the file that are no counts: how was counted, of which run, which samples."""


def is_adopted(folder: str | Path) -> bool:
    """Say whether a run's folder holds counts in the place of weights."""
    folder = Path(folder)
    return (folder / FILE).is_file() and not (folder / "weights.safetensors").exists()


def evaluated_from(folder: str, weights: str, record: str) -> list[str]:
    """Return the files that an evaluation needs of a run: its weights or what was counted of them, and its record."""
    return [f"{folder}/{FILE}" if is_adopted(folder) else weights, record]


def counted_as(spec: Mapping[str, Any]) -> str:
    """Return a digest of what an evaluation's spec counts, whatever it reports of it."""
    return digest_of({key: value for key, value in spec.items() if key not in REPORTED}, {})


def write_adopted(
    folder: Path, arrays: Mapping[str, NDArray[Any]], *, asked: str, digest: str, samples: Sequence[str]
) -> None:
    """Write what was counted of the run of `digest` under the settings `asked` (`counted_as`), by name of the array."""
    with atomic(folder / FILE) as partial, partial.open("wb") as stream:
        own = {
            "asked": np.array(asked),
            "digest": np.array(digest),
            "samples": np.array(list(samples), np.str_),
        }
        np.savez_compressed(stream, allow_pickle=False, **own, **arrays)


def read_adopted(
    folder: str | Path, *, asked: str, digest: str, samples: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return what was counted, by name.

    Raises BenchError, naming the file, if it is of another run, was counted otherwise than is asked now, or of other
    samples: without weights nothing can be counted anew.
    """
    path = Path(folder, FILE)
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
        held = {name: arrays.pop(name) for name in OWN}
    except (OSError, ValueError, KeyError) as error:
        raise BenchError(
            f"{path}: cannot be read ({error}); remove it, then adopt or train the run again"
        ) from None
    wrong = {
        "of another run": str(held["digest"]) != digest,
        "counted under other settings of `evaluate` or `orders`": str(held["asked"]) != asked,
        "counted on other samples": list(held["samples"]) != list(samples),
    }
    for what, is_so in wrong.items():
        if is_so:
            raise BenchError(
                f"{path}: {what} than the study asks for, and there are no weights to count anew; remove {folder} "
                "and run again, which trains it"
            )
    return arrays
