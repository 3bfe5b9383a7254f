"""What a dataset module says about its raw files: which samples there are, and how one is read.

The module knows names, folders and encodings; `arrays` does the rest alike for all: checks, arrays,
statistics.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bench.catalog.entry import Channel, LabelClass
from bench.errors import BenchError


@dataclass(frozen=True)
class Handled:
    """A named rule that was applied to a known defect of the published data."""

    rule: str
    sample: str
    count: int
    """Pixels, or samples, that it changed."""


@dataclass(frozen=True)
class Plane:
    """One channel or label map as read (HW), and the file it came from, for messages."""

    array: NDArray[Any]
    path: Path


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One sample as read: channels by name, labels (ids) by variant."""

    planes: Mapping[str, Plane]
    labels: Mapping[str, Plane]
    handled: tuple[Handled, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Collection:
    """The samples of one dataset under one split protocol."""

    channels: tuple[Channel, ...]
    """The study's channels, in its order."""
    classes: tuple[LabelClass, ...]
    label_variants: tuple[str, ...]
    training_labels: str
    """The variant whose pixels are counted per class."""
    ignore_index: int | None = 255
    """The value that marks ignored pixels in what `read` returns; 255 in the prepared labels."""
    unit: str
    evaluation_split: str
    splits: Mapping[str, tuple[str, ...]]
    read: Callable[[str], Scene]
    """Reads a sample that is no flip of another; picklable, since other processes read too."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Unit of a sample; its own id where it is not listed."""
    groups: Mapping[str, str] = field(default_factory=dict)
    flips: Mapping[str, str] = field(default_factory=dict)
    """A mirrored sample and the sample whose files it shares."""
    published: Mapping[str, int] = field(default_factory=dict)
    """Number of samples the raw files list in each split, before any rule."""
    handled: tuple[Handled, ...] = ()
    own: bool = False
    """Whether the splits are a user's own, who can mend them: then no unit may be in two of them."""

    def __post_init__(self) -> None:
        for split in ("train", self.evaluation_split):
            if not self.splits.get(split):
                raise BenchError(f"the split {split!r} is empty; training and evaluation need a sample each")
        seen: dict[str, str] = {}
        for split, ids in self.splits.items():
            if twice := _first_twice(ids):
                raise BenchError(f"the split {split!r} lists {twice!r} twice; list each sample once")
            for sample in sorted({self.flips.get(sample, sample) for sample in ids}):
                if sample in seen:
                    raise BenchError(
                        f"sample {sample!r} is in two splits, {seen[sample]} and {split}; a sample belongs "
                        "to one"
                    )
                seen[sample] = split
        if self.own and self.shared_units:
            unit, splits = next(iter(self.shared_units.items()))
            more = f" (and {len(self.shared_units) - 1} more)" if len(self.shared_units) > 1 else ""
            raise BenchError(
                f"{self.unit} {unit!r}{more} is in {' and '.join(splits)}: what is scored would resemble what was "
                "trained on; put all samples of a unit in one list"
            )

    @property
    def shared_units(self) -> dict[str, list[str]]:
        """The units of which two splits or more have samples, sorted, and those splits."""
        splits: dict[str, list[str]] = {}
        for split, ids in self.splits.items():
            for unit in {self.unit_of(sample) for sample in ids}:
                splits.setdefault(unit, []).append(split)
        return {unit: splits[unit] for unit in sorted(splits) if len(splits[unit]) > 1}

    @property
    def sources(self) -> list[str]:
        """The samples whose files are to be read, sorted: flips share those of another."""
        return sorted({self.flips.get(sample, sample) for ids in self.splits.values() for sample in ids})

    def unit_of(self, sample: str) -> str:
        """Return the unit that a sample, or the one it mirrors, belongs to."""
        source = self.flips.get(sample, sample)
        return self.units.get(source, source)


def _first_twice(ids: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for sample in ids:
        if sample in seen:
            return sample
        seen.add(sample)
    return None


def by_key(paths: Iterable[Path], key: Callable[[Path], str | None]) -> dict[str, Path]:
    """Index files by what `key` makes of their path (None: not of this kind).

    Raises BenchError if two files have one key: nothing says which is meant.
    """
    found: dict[str, Path] = {}
    for path in sorted(paths):
        name = key(path)
        if name is None:
            continue
        if name in found:
            raise BenchError(f"{found[name]} and {path} are both sample {name}; keep one of them")
        found[name] = path
    return found


def require_pairs(first: Mapping[str, Path], second: Mapping[str, Path], what: tuple[str, str]) -> None:
    """Raise BenchError, naming the file and what it lacks, unless both indices hold the same samples."""
    for here, there, (has, lacks) in ((first, second, what), (second, first, what[::-1])):
        alone = sorted(set(here) - set(there))
        if alone:
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            raise BenchError(f"{here[alone[0]]}: {has} without {lacks}{more}; each sample needs both")


def folder_with(raw: Path, *inside: str) -> Path:
    """Return the shallowest folder at or below `raw` that holds all of `inside`; archives differ in nesting.

    Raises BenchError, naming what was looked for, if there is none.
    """
    candidates = [
        raw,
        *sorted((path for path in raw.rglob("*") if path.is_dir()), key=lambda p: (len(p.parts), p)),
    ]
    for folder in candidates:
        if all((folder / name).exists() for name in inside):
            return folder
    raise BenchError(f"{raw}: no folder in it holds {' and '.join(inside)}; it is not the published archive")
