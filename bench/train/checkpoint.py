"""Exact resume: a run's state on disk.

State lies in `<run folder>/state/`, beside the declared outputs and unknown to the workflow, so that it
survives a failed job. A checkpoint belongs to one cumulative digest; under another it is removed, never
loaded.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import torch

from bench.errors import BenchError
from bench.lock import say
from bench.record import atomic, digest_of, read_record, sha256_file

KEEP = 2
"""Checkpoints kept: the last, and the one before should the last be unreadable."""


class Checkpoints:
    """The checkpoints of one run, named by digest and step: `state/<16 hex digits>-<step>.pt`."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder = folder / "state"
        self.digest = digest

    def _found(self) -> list[tuple[int, Path]]:
        """Return (step, path) of this digest's checkpoints, newest first."""
        pattern = re.compile(rf"{self.digest[:16]}-(\d+)\.pt")
        named = ((pattern.fullmatch(path.name), path) for path in self.folder.glob("*.pt"))
        return sorted(((int(match[1]), path) for match, path in named if match), reverse=True)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step` steps: temporary file, fsync, rename; drop all but the last two.

        torch.save goes through a file object, since given a path it writes the file's name into the bytes.
        """
        path = self.folder / f"{self.digest[:16]}-{step:09d}.pt"
        with atomic(path) as partial, partial.open("wb") as stream:
            torch.save({"digest": self.digest, "step": step, "state": state}, stream)
        for _, old in self._found()[KEEP:]:
            old.unlink(missing_ok=True)

    def load(self, device: torch.device) -> tuple[int, dict[str, Any]]:
        """Return (step, state) of the newest readable checkpoint, or (0, {}) to start afresh.

        Removes what belongs to another digest (the recipe or its inputs changed) and temporary files of a
        killed writer; says so.
        """
        ours = {path for _, path in self._found()}
        for path in [*self.folder.glob("*.pt"), *self.folder.glob(".*.partial")]:
            if path not in ours:
                say(f"{path}: state of another recipe or of a killed writer, removed")
                path.unlink(missing_ok=True)
        for step, path in self._found():
            try:
                with path.open("rb") as stream:
                    held = torch.load(stream, map_location=device, weights_only=True)
                if (held["digest"], held["step"]) == (self.digest, step):
                    say(f"{path}: resuming after step {step}")
                    return step, held["state"]
                reason = "it is another run's"
            except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            say(f"{path}: cannot be resumed from ({reason}), removed")
            path.unlink(missing_ok=True)
        return 0, {}

    def clear(self) -> None:
        """Remove this run's checkpoints, once its results stand under their final names."""
        for _, path in self._found():
            path.unlink(missing_ok=True)


def state_key(run_digest: str, manifest: Path) -> str:
    """Return the digest that a run's checkpoints carry: its own, and the bytes of the manifest it reads.

    The manifest lists the sha256 of every source file, so a state from other data is never resumed.
    """
    return digest_of({"run": run_digest}, {"manifest": sha256_file(manifest)})


def finished(folder: Path, digest: str, manifest: Path) -> bool:
    """Say whether the folder holds the result of the run with this digest on these data: record and weights.

    A waiting second writer asks this once it gets the lock, so that it does not repeat what the first has
    done.
    """
    record, weights = folder / "record.json", folder / "weights.safetensors"
    if not (record.is_file() and weights.is_file() and (folder / "weights.json").is_file()):
        return False
    try:
        found = read_record(record)
    except BenchError:
        return False
    return (
        found.digest == digest
        and found.extra.get("manifest_sha256") == sha256_file(manifest)
        and found.extra.get("weights_sha256") == sha256_file(weights)
    )
