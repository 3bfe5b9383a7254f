"""A study file read strictly: unknown keys, wrong types and duplicate keys are refused with the key's full path.

The file is read alone. Nothing is merged into it, no default study lies beneath it, and what it does not say is
either a documented default of the dataclasses or an error.
"""

import dataclasses
import difflib
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from bench.errors import RequestError
from bench.study.schema import SLOT, FinetuneRecipe, PretrainData, PretrainRecipe, Study

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 less two traps: duplicate keys are refused, and 1e-4 is a number."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
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


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; RequestError if it is missing, unreadable or holds a key twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RequestError(f"{path}: no such file; give a study such as config/demo.yaml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: cannot be read as text ({error})") from None
    try:
        return yaml.load(text, Loader=_Loader)
    except RequestError as error:
        raise RequestError(f"{path}, {error}") from None
    except yaml.YAMLError as error:
        raise RequestError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def refuse_unknown(found: Mapping[str, Any], known: list[str], where: str) -> None:
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
    except ValueError as error:
        raise RequestError(f"{where}: {error}") from None


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
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
        raise RequestError(f"{where}: expected {words.get(hint, hint)}, found {value!r}")
    return value


def load_study(path: Path) -> Study:
    """Read one study file.

    Raises RequestError, which ends in exit code 2, naming the file, the key's full path and what was expected.
    """
    value = read_yaml(path)
    if not isinstance(value, Mapping):
        raise RequestError(f"{path}: a study is a mapping of keys, found {type(value).__name__}")
    where = str(path)
    value = dict(value)
    pretrain, finetune = value.get("pretrain"), value.get("finetune")
    known = [item.name for item in dataclasses.fields(Study) if item.name != "pretrain_data"]
    refuse_unknown(value, known, where)
    backbones, datasets = list(value.get("backbones") or {}), list(value.get("datasets") or {})
    if pretrain is not None:
        data, value["pretrain"] = _pretrain(pretrain, backbones, f"{where}: pretrain")
        value["pretrain_data"] = data
    if finetune is not None:
        value["finetune"] = _finetune(finetune, backbones, datasets, f"{where}: finetune")
    if isinstance(value.get("evaluate"), Mapping):
        refuse_unknown(value["evaluate"], datasets, f"{where}: evaluate")
    # Both recipe sections are dataclasses already; only the rest is still plain YAML.
    rest = {key: item for key, item in value.items() if key not in ("pretrain", "pretrain_data", "finetune")}
    for key in ("pretrain", "finetune"):
        if key not in value:
            raise RequestError(f"{where}: missing {key}")
    hints = get_type_hints(Study)
    required = {item.name for item in dataclasses.fields(Study) if item.default is dataclasses.MISSING}
    missing = sorted(required - set(value))
    if missing:
        raise RequestError(f"{where}: missing {', '.join(missing)}")
    arguments = {name: convert(hints[name], item, f"{where}: {name}") for name, item in rest.items()}
    try:
        study = Study(
            **arguments,
            pretrain=value["pretrain"],
            pretrain_data=value["pretrain_data"],
            finetune=value["finetune"],
        )
    except ValueError as error:
        raise RequestError(f"{where}: {error}") from None
    _slot(study.study, f"{where}: study")
    return study


def _section(value: Any, known: list[str], where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise RequestError(f"{where}: expected a mapping of keys, found {value!r}")
    refuse_unknown(value, known, where)
    return dict(value)


def _pretrain(value: Any, backbones: list[str], where: str) -> tuple[PretrainData, dict[str, PretrainRecipe]]:
    section = _section(value, ["data", "common", "backbones"], where)
    if "data" not in section:
        raise RequestError(f"{where}: missing data")
    own = _section(section.get("backbones") or {}, backbones, f"{where}.backbones")
    common = _partial(PretrainRecipe, section.get("common"), f"{where}.common")
    recipes = {
        name: build(
            PretrainRecipe,
            common | _partial(PretrainRecipe, own.get(name), f"{where}.backbones.{name}"),
            f"{where} (common and backbones.{name})",
        )
        for name in backbones
    }
    return build(PretrainData, section["data"], f"{where}.data"), recipes


def _finetune(
    value: Any, backbones: list[str], datasets: list[str], where: str
) -> dict[str, dict[str, FinetuneRecipe]]:
    section = _section(value, ["common", "backbones", "datasets"], where)
    of_backbone = _section(section.get("backbones") or {}, backbones, f"{where}.backbones")
    of_dataset = _section(section.get("datasets") or {}, datasets, f"{where}.datasets")
    common = _partial(FinetuneRecipe, section.get("common"), f"{where}.common")
    return {
        dataset: {
            backbone: build(
                FinetuneRecipe,
                common
                | _partial(FinetuneRecipe, of_backbone.get(backbone), f"{where}.backbones.{backbone}")
                | _partial(FinetuneRecipe, of_dataset.get(dataset), f"{where}.datasets.{dataset}"),
                f"{where} (common, backbones.{backbone} and datasets.{dataset})",
            )
            for backbone in backbones
        }
        for dataset in datasets
    }


def _partial(kind: type[Any], value: Any, where: str) -> dict[str, Any]:
    """Return a layer of a recipe: known keys only, so that a misspelling is found where it stands."""
    if value is None:
        return {}
    known = [item.name for item in dataclasses.fields(kind)]
    return _section(value, known, where)
