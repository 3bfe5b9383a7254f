"""A study file read strictly: unknown keys, wrong types and duplicate keys are refused with the key's full path.

The file is read alone. Nothing is merged into it, no default study lies beneath it, and what it does not say is
either a documented default of the dataclasses or an error.
"""

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from bench.catalog.index import CATALOG
from bench.errors import RequestError
from bench.study.arms import Arm
from bench.study.checks import SLOT
from bench.study.datasets import PretrainData, Target
from bench.study.grid import Grid, derived_targets
from bench.study.narrowing import narrowed
from bench.study.recipes import Evaluation, FinetuneRecipe, PretrainRecipe, Published
from bench.study.schema import Study

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 less two traps: duplicate keys are refused, and 1e-4 is a number."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue  # `<<: *anchor`, resolved below
        if not isinstance(key_node, yaml.ScalarNode):
            raise RequestError(
                f"line {key_node.start_mark.line + 1}: a key is one word, found a {key_node.id}"
            )
        key = loader.construct_object(key_node)
        if key in seen:
            raise RequestError(f"line {key_node.start_mark.line + 1}: the key {key!r} stands twice; keep one")
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_yaml(path: Path, missing: str = "no such file; give a study such as config/demo.yaml") -> Any:
    """Return the content of a YAML file.

    Raises RequestError if it is `missing` (which ends that sentence), unreadable, no YAML or holds a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RequestError(f"{path}: {missing}") from None
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: cannot be read as text ({error})") from None
    try:
        return yaml.load(text, Loader=_Loader)
    except RequestError as error:
        raise RequestError(f"{path}, {error}") from None
    # PyYAML lets through what its constructors raise: a date that is none, `!!int x`, thousands of brackets.
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        raise RequestError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from None


def refuse_unknown(found: Mapping[Any, Any], known: list[str], where: str) -> None:
    """Raise RequestError on the first key of `found` that is not `known`, with the nearest known one."""
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            raise RequestError(f"{where}: unknown key {key!r}; {hint}")


def build(kind: type[T], value: Any, where: str) -> T:
    """Build a dataclass from a mapping, strictly and to any depth; RequestError names the key's full path."""
    if not isinstance(value, Mapping):
        raise RequestError(f"{where}: expected a mapping of keys, found {value!r}")
    hints = get_type_hints(kind)
    fields = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    refuse_unknown(value, list(fields), where)
    missing = [
        name
        for name, item in fields.items()
        if name not in value
        and item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise RequestError(f"{where}: missing {', '.join(missing)}")
    arguments = {name: convert(hints[name], found, f"{where}.{name}") for name, found in value.items()}
    try:
        return kind(**arguments)
    except ValueError as error:  # its message begins with the key
        raise RequestError(f"{where}.{error}") from None


def convert(hint: Any, value: Any, where: str) -> Any:
    """Convert one YAML value to the annotated type or raise RequestError."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return convert(next(part for part in inner if part is not type(None)), value, where)
    if origin is Literal:
        if value not in inner:
            near = difflib.get_close_matches(str(value), [str(choice) for choice in inner], n=1)
            hint_text = f"; did you mean {near[0]!r}?" if near else ""
            raise RequestError(f"{where}: {value!r} is none of {', '.join(map(str, inner))}{hint_text}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise RequestError(f"{where}: expected a list, found {value!r}")
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise RequestError(f"{where}: expected {len(inner)} values, found {value!r}")
        parts = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        return tuple(
            convert(part, item, f"{where}[{i}]")
            for i, (part, item) in enumerate(zip(parts, value, strict=True))
        )
    if origin is dict:
        if not isinstance(value, Mapping):
            raise RequestError(f"{where}: expected a mapping of names, found {value!r}")
        return {
            name: convert(inner[1], item, f"{where}.{_slot(name, where)}") for name, item in value.items()
        }
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    return _scalar(hint, value, where)


def _slot(name: Any, where: str) -> str:
    if not (isinstance(name, str) and re.fullmatch(SLOT, name)):
        raise RequestError(f"{where}: {name!r} cannot be a name; use lower-case letters, digits, - and _")
    return name


def _scalar(hint: Any, value: Any, where: str) -> Any:
    words = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number:
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    right = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if not right or (hint is float and not math.isfinite(value)):
        raise RequestError(f"{where}: expected {words.get(hint, hint)}, found {value!r}")
    return value


def load_study(path: Path) -> Study:
    """Read one study file.

    Raises RequestError, which ends in exit code 2, naming the file, the key's full path and what was expected.
    """
    value, hints = read_yaml(path), get_type_hints(Study)
    if not isinstance(value, Mapping):
        raise RequestError(f"{path}: a study is a mapping of keys, found {type(value).__name__}")
    # In the file the data of the pre-training and the weights that replace one stand in its section; which arms are
    # crossed follows from the grid.
    inner = ("pretrain_data", "published", "crossed")
    fields = [item for item in dataclasses.fields(Study) if item.name not in inner]
    refuse_unknown(value, [item.name for item in fields], str(path))
    missing = [i.name for i in fields if i.default is dataclasses.MISSING and i.name not in value]
    if missing:
        raise RequestError(f"{path}: missing {', '.join(missing)}")
    own_reading = ("pretrain", "finetune")
    value = _with_parts_of_channels(value, str(path))
    backbones, datasets = (_names(value[key], f"{path}: {key}") for key in ("backbones", "datasets"))
    if isinstance(value["evaluate"], Mapping):
        refuse_unknown(value["evaluate"], datasets, f"{path}: evaluate")
    arguments = {
        name: convert(hints[name], item, f"{path}: {name}")
        for name, item in value.items()
        if name not in own_reading
    }
    _slot(arguments["study"], f"{path}: study")
    named: dict[str, Arm] = arguments["arms"]
    arguments["arms"] = _with_arms_of_grid(arguments, str(path))
    arguments["crossed"] = tuple(name for name in arguments["arms"] if name not in named)
    data, pretrain, published = _pretrain(value["pretrain"], backbones, f"{path}: pretrain")
    finetune = _finetune(value["finetune"], backbones, datasets, f"{path}: finetune")
    try:
        study = Study(
            **arguments, pretrain_data=data, pretrain=pretrain, published=published, finetune=finetune
        )
    except ValueError as error:
        raise RequestError(f"{path}: {error}") from None
    for name, target in study.datasets.items():
        _check_target(name, target, study.evaluate[name], str(path))
    try:
        return narrowed(study)
    except ValueError as error:
        raise RequestError(f"{path}: {error}") from None


def _with_parts_of_channels(value: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return the study's mapping with the targets that its grid makes of others; exclude's values become lists."""
    grid = value.get("grid")
    sections = [value["datasets"], value["evaluate"], value["finetune"] or {}]
    if not isinstance(grid, Mapping) or not all(isinstance(section, Mapping) for section in sections):
        return value
    excluded = grid.get("exclude")
    if isinstance(excluded, list):
        lists = [
            {key: item if isinstance(item, list) else [item] for key, item in pattern.items()}
            if isinstance(pattern, Mapping)
            else pattern
            for pattern in excluded
        ]
        value = {**value, "grid": {**grid, "exclude": lists}}
    axes = grid.get("axes")
    try:
        return derived_targets(axes if isinstance(axes, Mapping) else {}, dict(value))
    except ValueError as error:
        raise RequestError(f"{path}: {error}") from None


def _with_arms_of_grid(arguments: Mapping[str, Any], path: str) -> dict[str, Arm]:
    """Return the arms of the file and, where there is a grid, its own behind them."""
    arms: dict[str, Arm] = arguments["arms"]
    grid: Grid | None = arguments.get("grid")
    if grid is None:
        return arms
    base = grid.base or arguments["compare"].treatment
    if base not in arms:
        raise RequestError(f"{path}: grid.base: {base!r} is none of the arms named in the file: {list(arms)}")
    try:
        return grid.arms(base, arms)
    except ValueError as error:
        raise RequestError(f"{path}: {error}") from None


def _names(value: Any, where: str) -> list[str]:
    if not isinstance(value, Mapping) or not value:
        raise RequestError(f"{where}: expected a mapping of names, found {value!r}")
    return [_slot(name, where) for name in value]


def _section(value: Any, known: list[str], where: str) -> dict[str, Any]:
    """Return a mapping with known keys only; one that is left empty has none."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RequestError(f"{where}: expected a mapping of keys, found {value!r}")
    refuse_unknown(value, known, where)
    return dict(value)


def _pretrain(
    value: Any, backbones: list[str], where: str
) -> tuple[PretrainData, dict[str, PretrainRecipe], dict[str, Published]]:
    section = _section(value, ["data", "common", "backbones", "published"], where)
    if "data" not in section:
        raise RequestError(f"{where}: missing data")
    own = _section(section.get("backbones"), backbones, f"{where}.backbones")
    recipes = {
        name: _recipe(
            PretrainRecipe,
            {
                f"{where}.common": section.get("common"),
                f"{where}.backbones.{name}": own.get(name),
            },
            f"{where} (common and backbones.{name})",
        )
        for name in backbones
    }
    published = {
        name: build(Published, item, f"{where}.published.{name}")
        for name, item in _section(section.get("published"), backbones, f"{where}.published").items()
    }
    return build(PretrainData, section["data"], f"{where}.data"), recipes, published


def _finetune(
    value: Any, backbones: list[str], datasets: list[str], where: str
) -> dict[str, dict[str, FinetuneRecipe]]:
    section = _section(value, ["common", "backbones", "datasets"], where)
    of_backbone = _section(section.get("backbones"), backbones, f"{where}.backbones")
    of_dataset = _section(section.get("datasets"), datasets, f"{where}.datasets")
    return {
        dataset: {
            backbone: _recipe(
                FinetuneRecipe,
                {
                    f"{where}.common": section.get("common"),
                    f"{where}.backbones.{backbone}": of_backbone.get(backbone),
                    f"{where}.datasets.{dataset}": of_dataset.get(dataset),
                },
                f"{where} (common, backbones.{backbone} and datasets.{dataset})",
            )
            for backbone in backbones
        }
        for dataset in datasets
    }


def _recipe(kind: type[T], layers: Mapping[str, Any], where: str) -> T:
    """Build a recipe from layers, the later over the earlier; what is wrong is named where it stands."""
    hints, merged, origin = get_type_hints(kind), dict[str, Any](), dict[str, str]()
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    for place, layer in layers.items():
        for key, item in _section(layer, [field.name for field in fields], place).items():
            merged[key], origin[key] = convert(hints[key], item, f"{place}.{key}"), place
    missing = [i.name for i in fields if i.default is dataclasses.MISSING and i.name not in merged]
    if missing:
        raise RequestError(f"{where}: missing {', '.join(missing)}")
    try:
        return kind(**merged)
    except ValueError as error:  # its message begins with the key
        key = str(error).split()[0]
        raise RequestError(f"{origin.get(key, where)}.{error}") from None


def _check_target(name: str, target: Target, evaluation: Evaluation, path: str) -> None:
    """Refuse what the catalogue does not have; what data of one's own have, their description says."""
    if target.source == "folder":
        return
    source, at, of = target.source or name, f"{path}: datasets.{name}", f"{path}: evaluate.{name}"
    known = sorted(key for key, entry in CATALOG.items() if entry.kind == "segmentation")
    if source not in known:
        raise RequestError(f"{at}.source: {source!r} is no catalogue entry; there are {known} and folder")
    entry = CATALOG[source]
    channels, classes = [item.name for item in entry.channels], [item.name for item in entry.classes]
    for channel in target.channels:
        if channel not in channels:
            raise RequestError(f"{at}.channels: {source} has no channel {channel!r}; it has {channels}")
    for key, values, choices in (
        (f"{at}.split", (target.split,), entry.split_protocols),
        (f"{at}.labels", (target.labels,), entry.label_variants),
        (f"{at}.geometry", (target.geometry,), ("whole", *(item.name for item in entry.geometries))),
        (f"{at}.rules", target.rules, entry.rules),
        (f"{of}.pixels", evaluation.pixels, (*entry.label_variants, "patches")),
        (f"{of}.leave_out", evaluation.leave_out, classes),
        (f"{of}.subsets", evaluation.subsets, entry.groups),
    ):
        if strange := [value for value in values if value not in choices]:
            raise RequestError(f"{key}: {source} has no {strange[0]!r}; it has {list(choices)}")
    if len(evaluation.leave_out) == len(classes):
        raise RequestError(f"{of}.leave_out: no class of {source} is left")
    cut = next((item for item in entry.geometries if item.name == target.geometry), None)
    if (
        cut
        and "patches" in evaluation.pixels
        and (evaluation.window, evaluation.stride) != (cut.patch, cut.stride)
    ):
        raise RequestError(
            f"{of}: pixels: patches counts windows of {evaluation.window} pixels, {evaluation.stride} apart, but the "
            f"geometry {cut.name} has patches of {cut.patch}, {cut.stride} apart; give window and stride those numbers"
        )
