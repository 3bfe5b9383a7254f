"""What a run leaves behind: result, spec and receipt, written whole or not at all.

A record is one JSON file. It names its stage, carries the whole spec with its cumulative digest and the
digests of its inputs, and a receipt of the circumstances. Readers are strict: a missing or foreign field, or
a digest that does not follow from the spec, is an error.
"""

import hashlib
import json
import os
import platform
import resource
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.errors import BenchError

SCHEMA = 1
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "pillow", "snakemake", "csp-bench")


def canonical_json(value: object) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(spec: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return the cumulative digest of a job: SHA-256 over its spec and the digests upstream of it."""
    text = canonical_json({"spec": spec, "inputs": dict(inputs)})
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it, on failure remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8, newlines as given) under its final name, whole or not at all."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: object) -> None:
    """Write `value` as readable JSON (sorted keys, no NaN), whole or not at all."""
    write_text(path, json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n")


def receipt(*, device: str, wall_seconds: float, device_memory: int | None = None) -> dict[str, Any]:
    """Return the circumstances of a run: commit, versions, device, host cores, time, peak memory.

    Memory is in bytes: the host's, and the device's where it has its own.
    """
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        **_commit(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": device,
        "host_cores": os.cpu_count(),
        "wall_seconds": round(wall_seconds, 3),
        "peak_memory_bytes": peak_kib * 1024,
        "peak_device_memory_bytes": device_memory,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> dict[str, Any]:
    """Return the commit of the code that runs and whether tracked files differ from it; None outside git."""
    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    status = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run's result. `names` say which cell it is; `inputs` are digests by role; metrics are fractions."""

    stage: str
    names: dict[str, Any]
    spec: dict[str, Any]
    digest: str
    inputs: dict[str, str]
    metrics: dict[str, Any]
    receipt: dict[str, Any]
    selection: str = "last"
    extra: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def write(self, path: Path) -> None:
        """Write the record as JSON under its final name."""
        write_json(path, asdict(self))


def read_record(path: Path) -> Record:
    """Read a record strictly.

    Raises BenchError if the file is missing, is no JSON, has missing or unknown fields, another schema, or a
    digest that does not follow from its own spec and inputs.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(f"{path}: no such record; run the stage that writes it") from None
    except json.JSONDecodeError as error:
        raise BenchError(f"{path}: not a JSON record ({error}); remove it and run its stage again") from None
    try:
        record = Record(**value)
    except TypeError as error:
        raise BenchError(f"{path}: not a record of this harness ({error})") from None
    if record.schema != SCHEMA:
        raise BenchError(
            f"{path}: record schema {record.schema}; this version reads {SCHEMA}: run its stage again"
        )
    if digest_of(record.spec, record.inputs) != record.digest:
        raise BenchError(
            f"{path}: the digest does not follow from the record's own spec: it was edited by hand"
        )
    return record
