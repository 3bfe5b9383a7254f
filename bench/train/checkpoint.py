"""Exact resume: a run's state on disk.

State lies in `<run folder>/state/`, beside the declared outputs and unknown to the workflow, so that it
survives a failed job. A checkpoint is two files, tensors and what gives them meaning:

    <16 hex digits>-<step>.safetensors   every tensor of the state
    <16 hex digits>-<step>.json          digest, step, sha256 of the tensors, and the state with its tensors named

Each is written aside, flushed to disk and renamed, the JSON last: where it lies, the checkpoint is whole. A
checkpoint belongs to one cumulative digest and is never loaded under another.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.lock import say
from bench.record import atomic, digest_of, read_record, sha256_file, write_json

KEEP = 2
"""Checkpoints kept: the last, and the one before should the last be unreadable."""

NAME = re.compile(r"([0-9a-f]{16})-(\d{9,})\.(?:json|safetensors)")


class Checkpoints:
    """The checkpoints of one run, named by digest and step."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder = folder / "state"
        self.digest = digest

    def path(self, step: int) -> Path:
        """Return where the JSON of the state after `step` steps lies; the tensors lie beside it."""
        return self.folder / f"{self.digest[:16]}-{step:09d}.json"

    def steps(self) -> list[int]:
        """Return the steps of this digest's checkpoints, newest first."""
        named = (NAME.fullmatch(path.name) for path in self.folder.glob("*.json"))
        return sorted(
            (int(match[2]) for match in named if match and match[1] == self.digest[:16]), reverse=True
        )

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step` steps, then drop all but the last two.

        `state` is made of dicts, lists, tuples, tensors, numbers, texts, booleans and None.
        """
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {}
        outline = _outline(state, "", tensors)
        path = self.path(step)
        beside = path.with_suffix(".safetensors")
        with atomic(beside) as partial:
            save_file(tensors, partial)
        write_json(
            path,
            {"digest": self.digest, "step": step, "sha256": sha256_file(beside), "state": outline},
        )
        _flush_folder(self.folder)
        for old in self.steps()[KEEP:]:
            self._remove(old)

    def load(self, device: torch.device) -> tuple[int, dict[str, Any]]:
        """Return (step, state) of the newest readable checkpoint, or (0, {}) to start afresh.

        What cannot be read is removed, and so are the leavings of a killed writer; checkpoints of another
        digest (the recipe or its inputs changed) are refused and kept. Each with a word.
        """
        self._tidy()
        for step in self.steps():
            try:
                state = self.read(step, device)
            except BenchError as error:
                say(f"{error}; removed, the one before it serves")
                self._remove(step)
                continue
            say(f"{self.path(step)}: resuming after step {step}")
            return step, state
        return 0, {}

    def read(self, step: int, device: torch.device) -> dict[str, Any]:
        """Return the state after `step` steps. Raises BenchError if it is damaged or of another digest."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.path(step)
        beside = path.with_suffix(".safetensors")
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            if (held["digest"], held["step"]) != (self.digest, step):
                raise ValueError(f"it belongs to {held['digest'][:16]}, step {held['step']}")
            if sha256_file(beside) != held["sha256"]:
                raise ValueError("its tensors are damaged: they have another sha256")
            restored = _restore(held["state"], load_file(beside, device=str(device)))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BenchError(f"{path}: cannot be resumed from ({reason})") from None
        return dict(restored)

    def drop_from(self, step: int) -> None:
        """Remove the states after `step` or more steps: no finite loss followed from them."""
        for held in self.steps():
            if held >= step:
                say(f"{self.path(held)}: removed, since step {held} was not finite; the one before it serves")
                self._remove(held)

    def last_before(self, step: int) -> str:
        """Say where the newest state after fewer than `step` steps lies, or that there is none."""
        held = next((held for held in self.steps() if held < step), None)
        return "none yet" if held is None else f"{self.path(held)}, after step {held}"

    def clear(self) -> None:
        """Remove all checkpoints, once the run's results stand under their final names."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> Iterator[Path]:
        return (path for path in self.folder.glob("*") if NAME.fullmatch(path.name))

    def _remove(self, step: int) -> None:
        """Remove one checkpoint, its JSON first, so that no JSON is ever without its tensors."""
        self.path(step).unlink(missing_ok=True)
        self.path(step).with_suffix(".safetensors").unlink(missing_ok=True)

    def _tidy(self) -> None:
        for path in self.folder.glob(".*.partial"):
            say(f"{path}: left half-written by a killed process, removed")
            path.unlink(missing_ok=True)
        for path in sorted(self._files()):
            if not path.name.startswith(self.digest[:16]):
                if path.suffix == ".json":
                    say(
                        f"{path}: state of another recipe or of other data, not resumed from; kept until this "
                        "run is finished"
                    )
            elif path.suffix == ".safetensors" and not path.with_suffix(".json").exists():
                say(f"{path}: tensors of a checkpoint that was never finished, removed")
                path.unlink()


def _outline(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return `value` as JSON can hold it; its tensors go to `tensors`, under their path in it.

    A mapping becomes its pairs, since JSON has no integer keys. Strides are kept where they are not those of
    a fresh tensor: an optimizer walks weight, gradient and moments in the order of memory.
    """
    if isinstance(value, Tensor):
        stored = value.detach().cpu()
        tensors[name] = stored.contiguous()
        return (
            {"tensor": name} if stored.is_contiguous() else {"tensor": name, "strides": list(stored.stride())}
        )
    if isinstance(value, Mapping):
        return {"pairs": [[key, _outline(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_outline(item, f"{name}/{index}", tensors) for index, item in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name}: a checkpoint cannot hold a {type(value).__name__}")


def _restore(outline: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo `_outline`."""
    if not isinstance(outline, dict):
        return outline
    if "tensor" in outline:
        stored = tensors[outline["tensor"]]
        if "strides" not in outline:
            return stored
        strided = torch.empty_strided(
            stored.shape, outline["strides"], dtype=stored.dtype, device=stored.device
        )
        return strided.copy_(stored)
    if "pairs" in outline:
        return {key: _restore(item, tensors) for key, item in outline["pairs"]}
    kind, items = next(iter(outline.items()))
    made = [_restore(item, tensors) for item in items]
    return tuple(made) if kind == "tuple" else made


def _flush_folder(folder: Path) -> None:
    """Flush the folder's entries to disk, so that no crash can undo a rename that an unlink relied on."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
