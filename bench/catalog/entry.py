"""What the catalogue says of a dataset: channels, classes, archives, splits, terms."""

from dataclasses import dataclass, field
from typing import Literal

Colour = tuple[int, int, int]
SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
"""Kinds of archive that are read; the first that fits a name is its suffix."""


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
class Members:
    """Files that the published archive has: a regular expression searched in their paths, and how many there are."""

    pattern: str
    at_least: int = 1


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
    sha256: str | None = None
    """A second published digest, or None."""
    password: str | None = None
    """Environment variable with the password that the page at `url` asks for; None: it asks for none."""
    place: str | None = None
    """Folder below raw/ in which it is unpacked; None: its own path without the suffix."""
    inner_tars: bool = False
    """Whether each tar inside is unpacked too, to a folder of its name."""
    holds: tuple[Members, ...] = ()
    """What is asked of an archive without a published digest before its own is recorded at first use."""

    @property
    def suffix(self) -> str:
        return next(suffix for suffix in SUFFIXES if self.path.endswith(suffix))

    @property
    def folder(self) -> str:
        return self.place or self.path.removesuffix(self.suffix)


@dataclass(frozen=True, kw_only=True)
class Form:
    """One set of archives in which a dataset is published; any one whole set suffices."""

    name: str
    archives: tuple[Archive, ...]
    where: str
    """Where a person goes for them."""
    terms: str
    bundle: Archive | None = None
    """One file that holds these archives, however deep; fetching it brings them all."""


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
    bundle: Archive | None = None
    """One published file that holds the archives; fetching it brings them all."""
    mirrors: tuple[Form, ...] = ()
    """Other sets of archives with the same data; `archives` is the published one."""
    groups: tuple[str, ...] = ()
    """Subsets of the evaluation split that are also counted by themselves."""
    class_note: str = ""
    """What is said of the classes where a table of them would be too long."""
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

    @property
    def forms(self) -> tuple[Form, ...]:
        """Every set of archives that serves, the published one first; none for a user's own folder."""
        if not self.archives:
            return ()
        published = Form(
            name="published", archives=self.archives, where=self.where, terms=self.terms, bundle=self.bundle
        )
        return (published, *self.mirrors)


RED, GREEN, BLUE = (Channel(name, "8-bit digital number") for name in ("red", "green", "blue"))


def named_classes(*rows: tuple[str, Colour]) -> tuple[LabelClass, ...]:
    """Return classes from rows of name and colour, in the order of their indices."""
    return tuple(LabelClass(name, colour) for name, colour in rows)
