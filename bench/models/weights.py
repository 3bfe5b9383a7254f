"""Weights as safetensors with a JSON of the model spec beside them; loading is strict.

`weights.safetensors` holds the state dict, `weights.json` says which model it belongs to:

    kind          "classifier" or "segmenter"
    architecture  the backbone's numbers (`bench.study.schema.Backbone`)
    channels      n, input channels
    num_classes   C
    mean, std     n numbers each, input normalisation in stored units
    head          classifier: {"image_size": S}; segmenter: {"head_channels", "aux_channels", "pool_scales"}
    digest        of the run that wrote them
    scene         segmenter: {"channels": names and types, "classes": names and colours, "window", "stride"}, with
                  which pictures of one's own are read and predictions painted; absent in older files

Equal content gives equal bytes. A tensor is loaded, adapted, new or left out, each by a rule and with a row
in the log; anything else is an error.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bench.errors import BenchError
from bench.models.backbone import HEAD_PREFIXES, STEM_PREFIX, STEM_WEIGHT, build_classifier
from bench.models.stem import adapt
from bench.models.upernet import Segmenter
from bench.record import atomic, canonical_json, write_json
from bench.study.schema import Backbone

Row = tuple[str, str]
"""(tensor name, what became of it)"""

_KEYS = {"kind", "architecture", "channels", "num_classes", "mean", "std", "head", "digest"}
_HEAD_KEYS = {"classifier": {"image_size"}, "segmenter": {"head_channels", "aux_channels", "pool_scales"}}


def save_weights(path: Path, model: nn.Module, spec: Mapping[str, Any]) -> None:
    """Write the model's state dict to `path` and its spec beside it as JSON, each whole or not at all.

    `path` ends in .safetensors. Raises BenchError if the spec is not as the module describes.
    """
    from safetensors.torch import save_file

    _check_spec(spec, path)
    write_json(_spec_path(path), dict(spec))
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic(path) as partial:
        save_file(tensors, partial)


def read_spec(path: Path) -> dict[str, Any]:
    """Read and check the spec that lies beside the weights at `path`."""
    beside = _spec_path(path)
    try:
        spec = json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(f"{beside}: no such model spec; run the stage that writes it") from None
    except ValueError as error:
        raise BenchError(
            f"{beside}: not a JSON model spec ({error}); run the stage that writes it again"
        ) from None
    _check_spec(spec, beside)
    return dict(spec)


def load_model(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the model that the spec describes with its weights, in evaluation mode, and the spec.

    Raises BenchError if a tensor is missing, left over, or of another shape or type.
    """
    spec = read_spec(path)
    architecture, head = architecture_of(spec), spec["head"]
    if spec["kind"] == "classifier":
        model = build_classifier(architecture, spec["channels"], spec["num_classes"], 0.0, head["image_size"])
    else:
        model = Segmenter(architecture, spec["channels"], spec["num_classes"], **head)
    load_strictly(model, read_tensors(path), path)
    return model.eval(), spec


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Give a model all of its tensors, which come from `path`.

    Raises BenchError, before anything is changed, if one is missing, left over, or of another shape or type.
    """
    expected = model.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        _match(path, name, tensors.get(name), expected.get(name))
    model.load_state_dict(tensors)


def architecture_of(spec: Mapping[str, Any]) -> Backbone:
    """Return the backbone that a spec names; JSON's lists become the tuples of the dataclass."""
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in spec["architecture"].items()
    }
    try:
        return Backbone(**values)
    except (TypeError, ValueError) as error:
        raise BenchError(
            f"the architecture of the model spec is no backbone of this harness: {error}"
        ) from None


def load_classifier_weights_into(segmenter: Segmenter, path: Path, stem: str) -> list[Row]:
    """Carry a classifier's weights over to the segmenter's backbone, and its stem to n channels.

    Classifier tensor X goes to `backbone.X`. The segmenter is initialised already: what a stem draws
    (`random`, `reinit`) and the tensors that no classifier has keep those values. The stem matters where the
    weights have three channels and the target another number, and `reinit` always: it keeps the whole stem
    (convolution and norm) as initialised.

    Returns one row a tensor of either model, sorted by name: `loaded`, `adapted by <stem>`, `new`, or `left
    out (classifier head)`. Raises BenchError, before anything is changed, for weights of another kind or
    architecture, of a number of channels that is neither three nor the target's, or with a tensor missing,
    left over or of another shape.
    """
    spec = read_spec(path)
    architecture, channels = segmenter.architecture, segmenter.channels
    if spec["kind"] != "classifier":
        raise BenchError(f"{path}: holds a {spec['kind']}; only a classifier's weights start a fine-tuning")
    if canonical_json(spec["architecture"]) != canonical_json(asdict(architecture)):
        raise BenchError(
            f"{path}: the classifier is {spec['architecture']}; "
            f"the segmenter's backbone is {asdict(architecture)}: use a pre-training of the same backbone"
        )
    if spec["channels"] not in (3, channels):
        raise BenchError(
            f"{path}: the classifier takes {spec['channels']} channels and the target has {channels}; only "
            f"three-channel weights can be adapted: use a pre-training with 3 or with {channels} channels"
        )
    family = architecture.family
    stem_weight, stem_prefix, head_prefixes = STEM_WEIGHT[family], STEM_PREFIX[family], HEAD_PREFIXES[family]
    own, tensors = segmenter.backbone.state_dict(), read_tensors(path)
    values, rows = dict(own), {}
    for name in sorted(own.keys() | tensors.keys()):
        drawn, found = own.get(name), tensors.get(name)
        if name.startswith(head_prefixes) and found is not None:
            rows[name] = "left out (classifier head)"
        elif stem == "reinit" and name.startswith(stem_prefix) and found is not None and drawn is not None:
            rows[f"backbone.{name}"] = "adapted by reinit"
        elif name == stem_weight and found is not None and drawn is not None and spec["channels"] != channels:
            values[name] = adapt(stem, found, drawn.cpu())
            rows[f"backbone.{name}"] = f"adapted by {stem}"
        else:
            values[name] = _match(path, name, found, drawn)
            rows[f"backbone.{name}"] = "loaded"
    segmenter.backbone.load_state_dict(values)
    rows |= {name: "new" for name in segmenter.state_dict() if name not in rows}
    return sorted(rows.items())


def loading_table(rows: list[Row]) -> str:
    """Return the rows as text for the log: one line a status and group of tensors, with their number.

    Tensors that were adapted or left out stand each on a line of its own.
    """
    groups: dict[tuple[str, str], int] = {}
    for name, status in rows:
        depth = 3 if name.startswith("backbone.") else 1
        group = ".".join(name.split(".")[:depth]) if status in ("loaded", "new") else name
        groups[status, group] = groups.get((status, group), 0) + 1
    width = max((len(status) for status, _ in groups), default=0)
    lines = [f"{status:<{width}}  {group} ({count})" for (status, group), count in sorted(groups.items())]
    return "\n".join([f"{len(rows)} tensors", *lines])


def _match(path: Path, name: str, found: Tensor | None, expected: Tensor | None) -> Tensor:
    """Return `found` if it fits; raise BenchError that names the tensor and both shapes if not."""
    if found is not None and _describe(found) == _describe(expected):
        return found
    raise BenchError(
        f"{path}: tensor {name} is {_describe(found)} in the file and {_describe(expected)} in the model: "
        "the weights are of another model"
    )


def _describe(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else f"{list(tensor.shape)} {tensor.dtype}"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name. Raises BenchError if it is missing or no such file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise BenchError(f"{path}: no such weights; run the stage that writes them") from None
    except SafetensorError as error:
        raise BenchError(
            f"{path}: no safetensors file ({error}); run the stage that writes it again"
        ) from None


def _spec_path(path: Path) -> Path:
    if path.suffix != ".safetensors":
        raise BenchError(f"{path}: weights are kept in .safetensors files")
    return path.with_suffix(".json")


def _check_spec(spec: Mapping[str, Any], path: Path) -> None:
    """Raise BenchError unless the spec has the keys that the module describes, and n means and deviations."""
    if set(spec) - {"scene"} != _KEYS:
        raise BenchError(f"{path}: a model spec has the keys {sorted(_KEYS)}; found {sorted(spec)}")
    kind = spec["kind"]
    if kind not in _HEAD_KEYS:
        raise BenchError(f"{path}: kind {kind!r} of the model spec is none of {sorted(_HEAD_KEYS)}")
    if set(spec["head"]) != _HEAD_KEYS[kind]:
        expected = sorted(_HEAD_KEYS[kind])
        raise BenchError(
            f"{path}: the head of a {kind} has the keys {expected}; found {sorted(spec['head'])}"
        )
    for name in ("mean", "std"):
        if len(spec[name]) != spec["channels"]:
            found = len(spec[name])
            raise BenchError(
                f"{path}: {name} in the model spec has {found} numbers for {spec['channels']} channels"
            )
