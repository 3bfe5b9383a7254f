"""What the catalogue says of a dataset: channels, classes, archives, splits, terms."""

from dataclasses import dataclass, field
from typing import Literal

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Channel:
    """One input channel: its unit and how the published files store it."""

    name: str
    unit: str
    dtype: Literal["uint8", "uint16", "float32"] = "uint8"


@dataclass(frozen=True)
class LabelClass:
    """One class: its index in prepared labels is its place in the entry's tuple."""

    name: str
    colour: Colour


@dataclass(frozen=True)
class Archive:
    """One published file, by the path under which a user places it below the dataset's folder.

    `md5` is the published digest, or None where none is published. `optional` archives serve only some channels
    or label variants.
    """

    path: str
    md5: str | None = None
    optional: bool = False
    size: int | None = None
    """Bytes, where published."""
    url: str | None = None
    """Where it can be fetched without a login; None: a person must fetch it."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How scenes are cut into patches for training and for patch-wise scoring."""

    name: str
    patch: int
    """Side in pixels."""
    stride: int
    counts: dict[str, int] = field(default_factory=dict)
    """Reported number of patches in each split of the published data."""


@dataclass(frozen=True, kw_only=True)
class Defect:
    """A known fault of the published data, and the named rule that handles it."""

    rule: str
    what: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One dataset of the catalogue."""

    name: str
    title: str
    kind: Literal["classification", "segmentation"]
    channels: tuple[Channel, ...]
    default_channels: tuple[str, ...]
    classes: tuple[LabelClass, ...] = ()
    ignore_index: int = 255
    label_variants: tuple[str, ...] = ("full",)
    """What the published labels come in; the first is the default for training."""
    split_protocols: tuple[str, ...] = ("official",)
    protocols: dict[str, str] = field(default_factory=dict)
    """What each split protocol, geometry and optional rule means, in a sentence, by name."""
    geometries: tuple[Geometry, ...] = ()
    """Patch geometries besides `whole`, in which crops are cut from whole scenes."""
    rules: tuple[str, ...] = ()
    """Repair rules that a study may ask for; those that always apply are among `defects`."""
    defects: tuple[Defect, ...] = ()
    archives: tuple[Archive, ...] = ()
    unit: str = "image"
    """What the statistics resample: the largest independent source."""
    where: str = ""
    terms: str = ""
    citation: str = ""
    expected_counts: dict[str, int] = field(default_factory=dict)
    """Reported number of images in each split of the published archives."""

    @property
    def num_classes(self) -> int:
        return len(self.classes)


RED, GREEN, BLUE = (Channel(name, "8-bit digital number") for name in ("red", "green", "blue"))


def named_classes(*rows: tuple[str, Colour]) -> tuple[LabelClass, ...]:
    """Return classes from rows of name and colour, in the order of their indices."""
    return tuple(LabelClass(name, colour) for name, colour in rows)
