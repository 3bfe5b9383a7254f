"""dataset.yaml: what a user says about data of their own, read strictly.

Every key is known or refused with the nearest known one; nothing is guessed. What the keys mean stands at the
fields of `Description` and `FolderChannel`.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.catalog.entry import Channel, Colour, Geometry, LabelClass
from bench.errors import RequestError
from bench.study.datasets import Target
from bench.study.reading import read_yaml
from bench.study.recipes import Evaluation

DTYPES = ("uint8", "uint16", "float32")
SPLITS = ("train", "val", "test")
TOP_KEYS = (
    "title",
    "channels",
    "classes",
    "labels",
    "label_form",
    "ignore_index",
    "ignore_colours",
    "evaluation_split",
    "splits",
    "unit",
    "unit_pattern",
)
CHANNEL_KEYS = ("name", "unit", "folder", "plane", "planes", "dtype")
GEOMETRY = re.compile(r"(\d+)/(\d+)$")
CLASS_KEYS = ("name", "colour")


@dataclass(frozen=True, kw_only=True)
class FolderChannel:
    """One channel: its unit, the folder its pictures are in, and the plane of them that it is."""

    channel: Channel
    folder: str
    plane: int
    planes: int | None
    """Planes that each picture of the folder must have; None: whatever holds `plane`, up to 4."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """A folder dataset: its channels, its classes, and what is resampled."""

    title: str
    channels: tuple[FolderChannel, ...]
    classes: tuple[LabelClass, ...]
    labels: str
    """Folder of the label pictures."""
    label_form: str
    """ids: one plane of class indices; colours: three planes, a class by its `colour`."""
    ignore_index: int | None
    """ids: the value that is neither trained nor scored; null: none."""
    ignore_colours: tuple[Colour, ...]
    """colours: those that are neither trained nor scored."""
    evaluation_split: str
    shares: dict[str, float] | None
    """Shares of val and test, which the hash of a unit's name deals; None: the lists in `splits/` say."""
    unit: str
    """What is resampled and held out whole, in a word, for the report: scene, tile, bag."""
    unit_pattern: re.Pattern[str] | None
    """Finds the unit of a sample in its name, as its first group; None: each sample is one."""


def read_description(path: Path) -> Description:
    """Read a dataset.yaml.

    Raises RequestError, naming file and key, for a missing file, broken YAML, a missing, unknown, repeated or
    ill-typed key, a name that comes twice or a value out of range.
    """
    value = read_yaml(path, missing="no such description; a folder dataset needs a dataset.yaml")
    top = _Keys(path, "", value, TOP_KEYS)
    found = Description(
        title=top.text("title", path.stem),
        channels=tuple(_channel(path, i, item) for i, item in enumerate(top.list("channels"))),
        classes=tuple(_class(path, i, item) for i, item in enumerate(top.list("classes"))),
        labels=top.text("labels", "labels"),
        label_form=top.choice("label_form", ("ids", "colours"), "ids"),
        ignore_index=None
        if top.get("ignore_index", 255) is None
        else top.whole("ignore_index", 0, 65535, 255),
        ignore_colours=tuple(
            _colour(top, "ignore_colours", item) for item in top.get("ignore_colours", None) or ()
        ),
        evaluation_split=top.choice("evaluation_split", SPLITS[1:], "test"),
        shares=_shares(path, top),
        unit=top.text("unit", "image"),
        unit_pattern=_pattern(path, top),
    )
    for what, names in (
        ("channels", [item.channel.name for item in found.channels]),
        ("classes", [item.name for item in found.classes]),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise RequestError(f"{path}: {what} names {twice[0]!r} twice; names are unique")
    if len(found.classes) < 2:
        raise RequestError(f"{path}: classes has {len(found.classes)} entry; segmentation needs at least 2")
    if found.ignore_index is not None and found.ignore_index < len(found.classes):
        raise RequestError(
            f"{path}: ignore_index {found.ignore_index} is also a class; classes are "
            f"0..{len(found.classes) - 1}"
        )
    _check_colours(path, top, found)
    if found.shares is not None and found.shares[found.evaluation_split] == 0:
        raise RequestError(
            f"{path}: splits gives {found.evaluation_split} no share, and evaluation_split names it"
        )
    return found


def _check_colours(path: Path, top: "_Keys", found: Description) -> None:
    """Refuse colours that say nothing, or that two classes share where labels are colours."""
    own = {"ids": ("ignore_index",), "colours": ("ignore_colours",)}
    for form, keys in own.items():
        if form != found.label_form and (strange := [key for key in keys if key in top.value]):
            raise RequestError(
                f"{path}: {strange[0]} belongs to label_form: {form}; it is {found.label_form}"
            )
    if found.label_form == "colours":
        colours = [*(item.colour for item in found.classes), *found.ignore_colours]
        if twice := sorted({colour for colour in colours if colours.count(colour) > 1}):
            raise RequestError(
                f"{path}: colour {list(twice[0])} stands for two classes, or for one and for ignored pixels"
            )


def _shares(path: Path, top: "_Keys") -> dict[str, float] | None:
    """Return the shares of `splits: {val: 0.1, test: 0.2}`; None where lists are used."""
    value = top.get("splits", None)
    if value is None:
        return None
    keys = _Keys(path, "splits.", value, SPLITS[1:])
    shares = {split: keys.get(split, 0) for split in SPLITS[1:]}
    for split, share in shares.items():
        if type(share) not in (int, float) or not 0 <= share < 1:
            raise RequestError(f"{path}: splits.{split} is {share!r}; expected a share from 0 to below 1")
    if sum(shares.values()) >= 1:
        raise RequestError(
            f"{path}: splits gives val and test {sum(shares.values()):g}; train needs a share too"
        )
    return {split: float(share) for split, share in shares.items()}


def _pattern(path: Path, top: "_Keys") -> re.Pattern[str] | None:
    """Return the pattern that finds a sample's unit in its name."""
    if top.get("unit_pattern", None) is None:
        return None
    text = top.text("unit_pattern")
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise RequestError(f"{path}: unit_pattern {text!r} is no regular expression ({error})") from None
    if pattern.groups < 1:
        raise RequestError(
            f"{path}: unit_pattern {text!r} has no group; put the unit in brackets, such as (bag[0-9]+)_.*"
        )
    return pattern


def chosen(described: Description, target: Target, description: Path) -> tuple[FolderChannel, ...]:
    """Return the channels that the study asks for, in its order; RequestError if the description has none such."""
    by_name = {item.channel.name: item for item in described.channels}
    for name in target.channels:
        if name not in by_name:
            raise RequestError(
                f"{description}: describes no channel {name!r}, which the study asks for; it has "
                f"{', '.join(by_name)}"
            )
    if (target.split, target.labels) != ("official", "full"):
        raise RequestError(
            f"{description}: a folder dataset has split official and labels full alone; the study asks for "
            f"split {target.split} and labels {target.labels}"
        )
    if target.rules:
        raise RequestError(
            f"{description}: a folder dataset has no rules; the study asks for {target.rules[0]}"
        )
    geometry_of(target, description)
    return tuple(by_name[name] for name in target.channels)


def geometry_of(target: Target, description: Path) -> Geometry | None:
    """Return the patch geometry of a folder dataset, written as patch/stride in pixels; None for whole scenes."""
    if target.geometry == "whole":
        return None
    found = GEOMETRY.match(target.geometry)
    patch, stride = (int(side) for side in found.groups()) if found else (0, 0)
    if not 0 < stride <= patch:
        raise RequestError(
            f"{description}: geometry {target.geometry!r}; expected whole, or patch/stride in pixels such as 512/256, "
            "the stride at most the patch"
        )
    return Geometry(name=target.geometry, patch=patch, stride=stride)


def check_request(name: str, target: Target, evaluation: Evaluation, description: Path) -> None:
    """Check what the study asks of the folder dataset `name` against its description; no picture is read.

    Raises RequestError for a description that is missing or wrong, and for channels, a split protocol, labels,
    pixel rules or left-out classes that it does not describe.
    """
    described = read_description(description)
    try:
        chosen(described, target, description)
    except RequestError as error:
        raise RequestError(f"datasets.{name}: {error}") from None
    classes = [item.name for item in described.classes]
    for key, values, known in (
        ("pixels", evaluation.pixels, ["full"]),
        ("leave_out", evaluation.leave_out, classes),
    ):
        if strange := [value for value in values if value not in known]:
            raise RequestError(
                f"evaluate.{name}.{key}: {description} describes no {strange[0]!r}; it has {', '.join(known)}"
            )
    if len(evaluation.leave_out) == len(classes):
        raise RequestError(f"evaluate.{name}.leave_out: no class of {description} is left")


def _channel(path: Path, index: int, value: object) -> FolderChannel:
    keys = _Keys(path, f"channels[{index}].", value, CHANNEL_KEYS)
    dtype = keys.choice("dtype", DTYPES, "uint8")
    return FolderChannel(
        channel=Channel(keys.text("name"), keys.text("unit"), dtype),  # type: ignore[arg-type]
        folder=keys.text("folder"),
        plane=keys.whole("plane", 0, 3, 0),
        planes=keys.whole("planes", 1, 4, 1) if "planes" in keys.value else None,
    )


def _class(path: Path, index: int, value: object) -> LabelClass:
    keys = _Keys(path, f"classes[{index}].", value, CLASS_KEYS)
    return LabelClass(keys.text("name"), _colour(keys, "colour", keys.list("colour")))


def _colour(keys: "_Keys", key: str, value: object) -> Colour:
    whole = isinstance(value, list) and all(type(part) is int and 0 <= part <= 255 for part in value)
    if not isinstance(value, list) or not whole or len(value) != 3:
        raise RequestError(
            f"{keys.path}: {keys.at}{key} is {value}; expected [red, green, blue], each 0..255"
        )
    return value[0], value[1], value[2]


_REQUIRED: Any = object()


class _Keys:
    """The keys of one mapping: unknown ones are refused at once, with the nearest known one."""

    def __init__(self, path: Path, at: str, value: object, known: tuple[str, ...]) -> None:
        if not isinstance(value, Mapping):
            place = f"{at.rstrip('.')} is" if at else "the file is"
            raise RequestError(f"{path}: {place} {type(value).__name__}; expected keys and values")
        self.path, self.at, self.value = path, at, value
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise RequestError(f"{path}: unknown key {at}{key}; {hint}")

    def get(self, key: str, default: Any = _REQUIRED) -> Any:
        if key not in self.value and default is _REQUIRED:
            raise RequestError(f"{self.path}: {self.at}{key} is missing")
        return self.value.get(key, default)

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        value = self.get(key, default)
        if not isinstance(value, str) or not value.strip():
            raise RequestError(f"{self.path}: {self.at}{key} is {value!r}; expected words")
        return value

    def choice(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.get(key, default)
        if value not in allowed:
            raise RequestError(
                f"{self.path}: {self.at}{key} is {value!r}; expected one of {', '.join(allowed)}"
            )
        return str(value)

    def whole(self, key: str, low: int, high: int, default: int) -> int:
        value = self.get(key, default)
        if type(value) is not int or not low <= value <= high:
            raise RequestError(
                f"{self.path}: {self.at}{key} is {value!r}; expected a whole number {low}..{high}"
            )
        return value

    def list(self, key: str) -> list[Any]:
        value = self.get(key)
        if not isinstance(value, list) or not value:
            raise RequestError(f"{self.path}: {self.at}{key} is {value!r}; expected a list")
        return value
