"""dataset.yaml: what a user says about data of their own, read strictly.

Every key is known or refused with the nearest known one; nothing is guessed. What the keys mean stands at the
fields of `Description` and `FolderChannel`.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.catalog.entry import Channel, LabelClass
from bench.errors import RequestError
from bench.study.datasets import Target
from bench.study.reading import read_yaml
from bench.study.recipes import Evaluation

DTYPES = ("uint8", "uint16", "float32")
SPLITS = ("train", "val", "test")
TOP_KEYS = ("title", "channels", "classes", "labels", "ignore_index", "evaluation_split", "unit")
CHANNEL_KEYS = ("name", "unit", "folder", "plane", "dtype")
CLASS_KEYS = ("name", "colour")


@dataclass(frozen=True, kw_only=True)
class FolderChannel:
    """One channel: its unit, the folder its pictures are in, and the plane of them that it is."""

    channel: Channel
    folder: str
    plane: int


@dataclass(frozen=True, kw_only=True)
class Description:
    """A folder dataset: its channels, its classes, and what is resampled."""

    title: str
    channels: tuple[FolderChannel, ...]
    classes: tuple[LabelClass, ...]
    labels: str
    """Folder of the label pictures, whose values are class indices."""
    ignore_index: int | None
    """Label value that is neither trained nor scored; null: none."""
    evaluation_split: str
    unit: str
    """What one sample is, in a word, for the report: scene, tile, frame."""


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
        ignore_index=None
        if top.get("ignore_index", 255) is None
        else top.whole("ignore_index", 0, 65535, 255),
        evaluation_split=top.choice("evaluation_split", SPLITS[1:], "test"),
        unit=top.text("unit", "image"),
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
    return found


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
    return tuple(by_name[name] for name in target.channels)


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
    )


def _class(path: Path, index: int, value: object) -> LabelClass:
    keys = _Keys(path, f"classes[{index}].", value, CLASS_KEYS)
    name, colour = keys.text("name"), keys.list("colour")
    if len(colour) != 3 or not all(type(part) is int and 0 <= part <= 255 for part in colour):
        raise RequestError(
            f"{keys.path}: {keys.at}colour is {colour}; expected [red, green, blue], each 0..255"
        )
    return LabelClass(name, (colour[0], colour[1], colour[2]))


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
