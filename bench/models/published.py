"""Published ImageNet-1K weights as one of our classifiers: fetched or read by digest, converted, loaded strictly.

They stand in for the `rgb` pre-training where a study names them (`pretrain.published`), so that a user with
little compute trains the other arms alone. Two sources:

    timm   a name with its tag, such as convnext_tiny.fb_in1k: `model.safetensors` of its repository on the Hub
    path   a .safetensors, .pth, .pt or .bin file below the data root, in timm's names or the authors' own

Authors' names become timm's by timm's own filters. Those can also resize a position table or a patch
convolution; here a tensor of another shape is an error instead.
"""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.errors import BenchError, RequestError
from bench.machine import data_root
from bench.models.backbone import STEM_WEIGHT, Family, build_classifier
from bench.models.weights import load_strictly, read_tensors
from bench.record import sha256_file
from bench.study.recipes import Published
from bench.study.schema import Backbone

SOURCE_CHANNELS = 3
HEAD = "head.fc.weight"
"""The last layer of either family: [classes, width]."""

Filter = Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]]


def published_classifier(
    published: Published, architecture: Backbone, num_classes: int, image_size: int
) -> tuple[nn.Module, str]:
    """Return the classifier with the published weights, in evaluation mode, and the SHA-256 of their file.

    Raises RequestError for a name that timm does not have, and BenchError for a file that is missing, cannot
    be fetched or read, has another digest than the study's, or does not fit tensor by tensor.
    """
    path = _fetched(published.timm) if published.timm is not None else data_root() / str(published.path)
    if not path.is_file():
        raise BenchError(
            f"{path}: no such file; pretrain.published names {published.path!r}, which belongs below BENCH_DATA"
        )
    digest = sha256_file(path)
    if published.sha256 not in (None, digest):
        raise BenchError(
            f"{path}: has the SHA-256 {digest}, the study expects {published.sha256}: it is another file, or "
            "damaged; fetch it again, or correct sha256 in pretrain.published"
        )
    model = build_classifier(architecture, SOURCE_CHANNELS, num_classes, 0.0, image_size)
    tensors = _converted(path, _tensors_of(path), model, architecture.family)
    _check_ends(path, tensors, architecture.family, num_classes)
    load_strictly(model, tensors, path)
    return model.eval(), digest


def _fetched(name: str) -> Path:
    """Return the local copy of timm's weights, downloaded if it is not there yet."""
    from huggingface_hub import hf_hub_download
    from timm.models import get_pretrained_cfg, list_pretrained

    known = get_pretrained_cfg(name) if name in list_pretrained(name.split(".")[0] + ".*") else None
    hub = known.hf_hub_id if known else None
    if hub is None:
        raise RequestError(
            f"pretrain.published: timm has no pretrained weights {name!r}; "
            f"`timm.list_pretrained('{name.split('.')[0]}*')` lists what it has"
        )
    try:
        return Path(hf_hub_download(repo_id=str(hub), filename="model.safetensors"))
    except Exception as error:  # the Hub's client raises its own, requests' and httpx's errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BenchError(
            f"{hub}: model.safetensors cannot be fetched ({reason}); fetch it elsewhere, place it below BENCH_DATA "
            "and name it by path and sha256 in pretrain.published"
        ) from None


def _tensors_of(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file by name; of a pickled one tensors alone, never code."""
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        held: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BenchError(
            f"{path}: cannot be read as weights alone ({reason}); convert it to .safetensors"
        ) from None
    for key in ("model", "state_dict"):  # how the authors wrap them
        held = held[key] if isinstance(held, Mapping) and key in held else held
    if not isinstance(held, Mapping) or not all(isinstance(value, Tensor) for value in held.values()):
        raise BenchError(f"{path}: holds no mapping from names to tensors, with or without `model` around it")
    return dict(held)


def _converted(path: Path, tensors: dict[str, Tensor], model: nn.Module, family: Family) -> dict[str, Tensor]:
    """Return the tensors under timm's names."""
    from timm.models import convnext, swin_transformer

    module = convnext if family == "convnext" else swin_transformer
    expected = model.state_dict()
    for name, tensor in tensors.items():
        # timm would resize it.
        if name in expected and tensor.ndim > 1 and tensor.shape[2:] != expected[name].shape[2:]:
            _refuse(path, name, tensor, expected[name])
        if (
            name.endswith("relative_position_bias_table")
            and name in expected
            and tensor.shape != expected[name].shape
        ):
            _refuse(path, name, tensor, expected[name])
    try:
        return cast(Filter, module.checkpoint_filter_fn)(tensors, model)
    except (KeyError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise BenchError(
            f"{path}: no weights of this {family} under names that timm knows ({reason})"
        ) from None


def _refuse(path: Path, name: str, found: Tensor, expected: Tensor) -> None:
    raise BenchError(
        f"{path}: tensor {name} is {list(found.shape)} in the file and {list(expected.shape)} in the model: the "
        "weights are of another model"
    )


def _check_ends(path: Path, tensors: Mapping[str, Tensor], family: Family, num_classes: int) -> None:
    """Raise BenchError where the channels or the classes of the weights are not those of the study."""
    stem, head = tensors.get(STEM_WEIGHT[family]), tensors.get(HEAD)
    if stem is not None and stem.ndim == 4 and stem.shape[1] != SOURCE_CHANNELS:
        raise BenchError(
            f"{path}: the weights take {stem.shape[1]} channels; the study's rgb arm takes {SOURCE_CHANNELS}"
        )
    if head is not None and len(head) != num_classes:
        raise BenchError(
            f"{path}: the weights tell {len(head)} classes apart and the study's classification data have "
            f"{num_classes}: they cannot be evaluated there; remove pretrain.published, or use imagenet1k"
        )
