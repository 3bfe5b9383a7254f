"""manifest.json: what a prepared dataset is, written last by prepare and read strictly by everyone else."""

import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import BenchError
from bench.record import write_json

SCHEMA = 1


def code_version() -> str:
    """Return the version of the installed package, "unknown" in a bare checkout."""
    try:
        return version("csp-bench")
    except PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What both kinds share. Paths are relative to the manifest's folder."""

    dataset: str
    scale: str
    digest: str
    spec: dict[str, Any]
    classes: list[dict[str, Any]]
    """index and name; with colour (segmentation) or wnid (classification)."""
    mean: list[float]
    std: list[float]
    splits: dict[str, Any]
    sources: list[dict[str, Any]]
    """path, bytes, sha256 of what was acquired."""
    code_version: str = field(default_factory=code_version)
    schema: int = SCHEMA

    def write(self, path: Path) -> None:
        """Write the manifest under its final name."""
        write_json(path, asdict(self))


@dataclass(frozen=True, kw_only=True)
class SegmentationManifest(Manifest):
    """A target: `splits` lists sample ids; mean and std are per channel, in stored units, of the training
    split.
    """

    channels: list[dict[str, str]]
    """name, unit, dtype in the order of the network's input."""
    ignore_index: int
    unit: str
    """What the statistics resample, in words."""
    label_variants: list[str]
    samples: dict[str, dict[str, Any]]
    """unit, shape [H, W], arrays, labels by variant, flip; for some datasets group; for channels that are
    standardised by each scene, `statistics`: [mean, std] by channel (their mean and std here are 0 and 1).
    """
    evaluation_split: str
    class_pixels: dict[str, list[int]]
    handled: list[dict[str, Any]]
    """Rules that were applied to known defects: rule, sample, count."""
    selection: str = "official"
    """holdout: `val` is a part of the training units, and a published val stands under `published_val`."""
    geometry: dict[str, Any] | None = None
    """Patch geometry: name, patch, stride in pixels; None: whole scenes."""
    patches: dict[str, int] = field(default_factory=dict)
    """Number of patches in each split under that geometry."""
    kind: str = "segmentation"


@dataclass(frozen=True, kw_only=True)
class ClassificationManifest(Manifest):
    """Photographs by class: each of `splits` names its count and its files; mean and std are on 0..255."""

    form: str
    size: int | None
    handled: list[dict[str, Any]] = field(default_factory=list)
    """How many photographs of a split (`sample`) are stored otherwise than as RGB JPEG: rule, sample, count."""
    kind: str = "classification"


M = TypeVar("M", bound=Manifest)


def read_manifest(path: Path, model: type[M], *, digest: str | None = None) -> M:
    """Read a manifest of the kind `model` strictly.

    Raises BenchError if it is missing, no JSON, of another kind or schema, has missing or unknown fields, or
    if a `digest` is given and the manifest carries another.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(f"{path}: the dataset is not prepared; run prepare first") from None
    except json.JSONDecodeError as error:
        raise BenchError(f"{path}: not a JSON manifest ({error}); run prepare again") from None
    kind = model.__dataclass_fields__["kind"].default
    if not isinstance(value, dict) or value.get("kind") != kind or value.get("schema") != SCHEMA:
        found = {key: value.get(key) for key in ("kind", "schema")} if isinstance(value, dict) else value
        raise BenchError(
            f"{path}: found {found}, expected a {kind} manifest of schema {SCHEMA}; run prepare again"
        )
    try:
        manifest = model(**value)
    except TypeError as error:
        raise BenchError(f"{path}: not a manifest of this version ({error}); run prepare again") from None
    if "code_version" not in value:
        raise BenchError(f"{path}: lacks code_version; run prepare again")
    if digest is not None:
        require_digest(manifest, digest, path)
    return manifest


def require_digest(manifest: Manifest, digest: str, path: Path) -> None:
    """Raise BenchError unless the manifest carries `digest`."""
    if manifest.digest != digest:
        raise BenchError(
            f"{path}: prepared under digest {manifest.digest[:12]}, the study now asks for {digest[:12]}; "
            f"run prepare again"
        )
