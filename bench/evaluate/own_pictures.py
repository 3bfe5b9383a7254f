"""`bench predict`: segment pictures of one's own with fine-tuned weights, to maps of ids and of colours.

A scene is one picture with as many planes as the network has channels, or several pictures of one size, written
`visible.png,thermal.png`, whose planes follow each other in the order of the channels.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from bench.data.pictures import read_planes
from bench.errors import BenchError, RequestError
from bench.evaluate.predict import Sliding, predict
from bench.evaluate.scenes import StoredScene
from bench.lock import say
from bench.machine import evaluation_memory, windows_at_once
from bench.models.weights import load_model
from bench.record import atomic


def predict_pictures(weights: Path, images: Sequence[str], out: Path, *, device: str) -> Iterator[Path]:
    """Write `<name>.ids.png` (class indices) and `<name>.colours.png` for each of `images` and yield both paths.

    `weights`: weights.safetensors of a fine-tuning, its spec beside it. Maps have the size of the picture; the window
    is the training crop, the stride two thirds of it. Raises RequestError before anything is predicted if two scenes
    would have one name or the weights are no segmenter's, BenchError for pictures that do not fit the network.
    """
    places = {_name(image): [Path(part) for part in image.split(",")] for image in images}
    if len(places) < len(images):
        raise RequestError(
            "two of the pictures have the same name, and their maps would too: predict them into two folders"
        )
    model, spec = load_model(weights)
    if spec["kind"] != "segmenter" or "scene" not in spec:
        raise RequestError(
            f"{weights}: weights of a {spec['kind']} without classes and channels of scenes; "
            "give the weights.safetensors of a fine-tuning"
        )
    where = torch.device(device)
    model.to(where).to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(spec[key], device=where) for key in ("mean", "std"))
    scene, classes = spec["scene"], spec["scene"]["classes"]
    say(f"channels: {', '.join(channel['name'] for channel in scene['channels'])}")
    how = Sliding(
        window=scene["window"],
        stride=scene["stride"],
        classes=len(classes),
        batch=windows_at_once(),
        memory=evaluation_memory(),
    )
    for name, files in places.items():
        picture_CHW = _read(files, scene["channels"], scene.get("per_tile", []))
        read = lambda rows, columns, picture=picture_CHW: np.ascontiguousarray(  # noqa: E731
            picture[:, rows, columns], dtype=np.float32
        )
        height, width = picture_CHW.shape[1:]
        ids_HW = predict(
            model, StoredScene(shape=(height, width), read=read, mean=mean, std=std, device=where), how
        )
        colours = np.array([item["colour"] for item in classes], np.uint8)
        for kind, picture in (("ids", ids_HW), ("colours", colours[ids_HW])):
            path = out / f"{name}.{kind}.png"
            with atomic(path) as partial:
                Image.fromarray(picture).save(partial, format="PNG")
            yield path


def _name(image: str) -> str:
    return Path(image.split(",")[0]).stem


def _read(files: Sequence[Path], channels: Sequence[dict[str, Any]], per_tile: Sequence[str]) -> NDArray[Any]:
    """Return the planes of a scene's files one after the other, [C, H, W] in stored units, checked.

    Channels in `per_tile` are standardised by the picture's own mean and deviation, as in training.
    """
    pictures = []
    for path in files:
        if not path.is_file():
            raise BenchError(f"{path}: no such picture")
        pictures.append(read_planes(path))
    shape = pictures[0].shape[:2]
    for path, picture in zip(files, pictures, strict=True):
        if picture.shape[:2] != shape:
            found = [" x ".join(map(str, size)) for size in (picture.shape[:2], shape)]
            raise BenchError(
                f"{path}: {found[0]} pixels (height x width), but {files[0]} of the same scene has {found[1]}"
            )
    planes = [
        (path, picture[..., i])
        for path, picture in zip(files, pictures, strict=True)
        for i in range(picture.shape[2])
    ]
    names = [channel["name"] for channel in channels]
    if len(planes) != len(names):
        raise BenchError(
            f"{','.join(map(str, files))}: {len(planes)} planes, the network has {len(names)} channels: "
            f"{', '.join(names)}; give one file with all planes, or several joined by commas, in this order"
        )
    for (path, plane), channel in zip(planes, channels, strict=True):
        if plane.dtype != np.dtype(channel["dtype"]):
            raise BenchError(
                f"{path}: values of type {plane.dtype}; the network's channel {channel['name']} was trained on "
                f"{channel['dtype']} values in the same units"
            )
    return np.stack(
        [
            _standardised(plane) if channel["name"] in per_tile else plane
            for (_, plane), channel in zip(planes, channels, strict=True)
        ]
    )


def _standardised(plane: NDArray[Any]) -> NDArray[np.float32]:
    values = plane.astype(np.float64)
    spread = values.std()
    found: NDArray[np.float32] = ((values - values.mean()) / (spread or 1.0)).astype(np.float32)
    return found
