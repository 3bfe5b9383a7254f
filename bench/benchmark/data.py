"""Loading measured against what it replaces: timm's own loader, PNG patches; then preparation.

All pictures are drawn here, under a seed: photographs of ImageNet's usual size with detail at every scale, which is
what makes a JPEG large and a PNG slow to read.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from bench.benchmark.data_prepare import prepare_rows
from bench.benchmark.measure import Row, interleaved
from bench.data.loaders import training_crops, training_images
from bench.data.manifest import ClassificationManifest, SegmentationManifest
from bench.data.store import ClassificationStore, SegmentationStore
from bench.study.recipes import FinetuneRecipe, PretrainRecipe

CPU = torch.device("cpu")
PHOTOGRAPHS, BATCH = 128, 64
SCENE, PATCH, PATCHES = 2048, 512, 16
POLICY = "rand-m9-mstd0.5-inc1"
RECIPE = PretrainRecipe(
    epochs=1, batch_size=BATCH, crop=224, lr=1e-3, weight_decay=0.05, warmup_epochs=0, min_lr=0.0, drop_path=0.0,
    label_smoothing=0.1, randaugment=POLICY, erasing=0.25,
)  # fmt: skip
CROPS = FinetuneRecipe(
    iterations=1, batch_size=PATCHES, crop=PATCH, lr=1e-4, weight_decay=0.05, warmup_iterations=0, drop_path=0.0,
    photometric=True,
)  # fmt: skip


def measure() -> list[Row]:
    """Return the ratios of loading, then those of preparation. One thread a process."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = _photographs(Path(folder) / "photographs") + _crops(Path(folder) / "crops")
    return rows + prepare_rows()


def drawn(height: int, width: int, planes: int, draw: np.random.Generator) -> NDArray[np.uint8]:
    """Return a picture, uint8 HWC, whose detail falls off with its fineness as in photographs."""
    down, across = np.fft.fftfreq(height)[:, None, None], np.fft.rfftfreq(width)[None, :, None]
    spectrum = np.fft.rfft2(draw.normal(size=(height, width, planes)), axes=(0, 1))
    picture = np.fft.irfft2(
        spectrum / (np.hypot(down, across) + 1 / width) ** 1.1, s=(height, width), axes=(0, 1)
    )
    pixels: NDArray[np.uint8] = (
        (120 + 50 * (picture - picture.mean()) / picture.std()).clip(0, 255).astype(np.uint8)
    )
    return pixels


# -- photographs against timm's loader -----------------------------------------------------------------------


def _photographs(folder: Path) -> list[Row]:
    store = _packed(folder)
    tasks: dict[str, Callable[[], object]] = {
        "timm": lambda: _exhaust(_timm(folder, workers=0)),
        "pillow": lambda: _exhaust(_ours(store, RECIPE, PHOTOGRAPHS // BATCH, workers=0)),
        "torch": lambda: _exhaust(_ours(store, _with("torch"), PHOTOGRAPHS // BATCH, workers=0)),
    }
    seconds = interleaved(tasks, rounds=5)
    note = f"{POLICY}, 500 x 375 JPEGs, no loader process; timm hands over float32, normalised and erased"
    rows = [
        Row(
            what=f"ImageNet images a second, resize by {resize}, to timm's loader",
            value=seconds["timm"] / seconds[resize],
            unit="x",
            limit="at least 1.3",
            note=f"{note}; {PHOTOGRAPHS / seconds[resize]:.0f} a second",
        )
        for resize in ("pillow", "torch")
    ]
    return rows + (_with_processes(folder, store) if (os.cpu_count() or 1) > 1 else [])


def _with_processes(folder: Path, store: ClassificationStore, processes: int = 2) -> list[Row]:
    """Return the same ratio with loader processes, from their start to the last image."""
    batches = 8
    tasks: dict[str, Callable[[], object]] = {
        "timm": lambda: _exhaust(_timm(folder, workers=processes, repeat=batches * BATCH // PHOTOGRAPHS)),
        "pillow": lambda: _exhaust(_ours(store, _with("pillow"), batches, workers=processes)),
        "torch": lambda: _exhaust(_ours(store, _with("torch"), batches, workers=processes)),
    }
    found = interleaved(tasks, rounds=2)
    return [
        Row(
            what=f"the same with {processes} loader processes, resize by {resize}",
            value=found["timm"] / found[resize],
            unit="x",
            note=f"{batches * BATCH / found[resize]:.0f} a second, start included",
        )
        for resize in ("pillow", "torch")
    ]


def _exhaust(stream: Iterator[Any]) -> None:
    for _ in stream:
        pass


def _with(resize: Any) -> PretrainRecipe:
    return PretrainRecipe(**{**vars(RECIPE), "resize": resize})


def _ours(store: ClassificationStore, recipe: PretrainRecipe, steps: int, *, workers: int) -> Iterator[Any]:
    for step in training_images(store, recipe, seed=0, start=0, stop=steps, workers=workers, device=CPU):
        yield from step


def _timm(folder: Path, *, workers: int, repeat: int = 1) -> Iterator[Any]:
    """Yield the batches of timm's training loader over the same files, as float32 on the host."""
    from timm.data.dataset import ImageDataset
    from timm.data.loader import create_loader

    dataset: Any = ImageDataset(str(folder / "files"))  # type: ignore[no-untyped-call]
    dataset.reader.samples *= repeat
    loader = create_loader(
        dataset, input_size=(3, 224, 224), batch_size=BATCH, is_training=True, use_prefetcher=False,
        auto_augment=POLICY, re_prob=0.25, re_mode="pixel", re_count=1, interpolation="bicubic", num_workers=workers,
        persistent_workers=False, pin_memory=False,
    )  # fmt: skip
    yield from loader


def _packed(folder: Path) -> ClassificationStore:
    """Write the photographs as files by class, for timm, and packed, for the store."""
    draw, offsets = np.random.default_rng(0), [0]
    (folder / "prepared").mkdir(parents=True)
    with (folder / "prepared" / "train.bin").open("wb") as sink:
        for place in range(PHOTOGRAPHS):
            path = folder / "files" / f"n{place % 4:08d}" / f"{place}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn(375, 500, 3, draw)).save(path, quality=90)
            offsets.append(offsets[-1] + sink.write(path.read_bytes()))
    np.save(folder / "prepared" / "train.offsets.npy", np.array(offsets, np.int64))
    np.save(folder / "prepared" / "train.labels.npy", np.arange(PHOTOGRAPHS, dtype=np.int64) % 4)
    files = {"images": "train.bin", "offsets": "train.offsets.npy", "labels": "train.labels.npy"}
    entry = {"count": PHOTOGRAPHS} | {name: f"prepared/{file}" for name, file in files.items()}
    ClassificationManifest(
        dataset="drawn", scale="miniature", digest="", spec={}, splits={"train": entry}, sources=[], form="encoded",
        size=None, classes=[{"index": i, "wnid": f"n{i:08d}", "name": str(i)} for i in range(4)],
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
    ).write(folder / "manifest.json")  # fmt: skip
    return ClassificationStore(folder / "manifest.json")


# -- crops against PNG patches -------------------------------------------------------------------------------


def _crops(folder: Path) -> list[Row]:
    store, patches = _scene(folder)
    draw = np.random.default_rng(1)
    corners = [tuple(int(value) for value in draw.integers(0, SCENE - PATCH, 2)) for _ in range(PATCHES)]
    windows = [(slice(top, top + PATCH), slice(left, left + PATCH)) for top, left in corners]
    buffers = [np.empty_like(part) for _, part in store.parts("scene", *windows[0])]
    tasks: dict[str, Callable[[], object]] = {
        "png": lambda: [[np.asarray(Image.open(path)) for path in files] for files in patches],
        "maps": lambda: [_copy(store, window, buffers) for window in windows],
        "float32": lambda: [store.pixels("scene", *window) for window in windows],
        "augmented": lambda: [
            [*step]
            for step in training_crops(
                store, CROPS, labels="full", seed=0, start=0, stop=1, workers=0, device=CPU
            )
        ],
    }
    seconds = interleaved(tasks, rounds=7)

    def row(what: str, name: str, limit: str = "") -> Row:
        note = f"{1000 * seconds[name] / PATCHES:.2f} ms a crop; PNG {1000 * seconds['png'] / PATCHES:.1f} ms a patch"
        return Row(what=what, value=seconds["png"] / seconds[name], unit="x", limit=limit, note=note)

    return [
        row("random 512 x 512 x 5 crops from maps, to decoding PNG patches", "maps", "at least 50"),
        row("the same as one float32 array", "float32"),
        row("the whole training crop, augmented, to decoding PNG patches alone", "augmented"),
    ]


def _copy(store: SegmentationStore, window: tuple[slice, slice], buffers: list[NDArray[Any]]) -> int:
    """Read a window into buffers, of the types that decoding gives; return the bytes read."""
    for buffer, (_, part) in zip(buffers, store.parts("scene", *window), strict=True):
        np.copyto(buffer, part)
    return sum(buffer.nbytes for buffer in buffers)


def _scene(folder: Path) -> tuple[SegmentationStore, list[list[Path]]]:
    """Write a scene of five channels as maps and patches of it as PNGs: colours, infrared, height in 16 bits."""
    draw = np.random.default_rng(2)
    (folder / "prepared").mkdir(parents=True)
    image = drawn(SCENE, SCENE, 5, draw)
    height = (image[..., 4] / 8 + 30).astype(np.float32)
    np.save(folder / "prepared" / "scene.uint8.npy", np.ascontiguousarray(image[..., :4]))
    np.save(folder / "prepared" / "scene.float32.npy", height[..., None])
    np.save(folder / "prepared" / "scene.full.npy", image[..., 0] // 48)
    names = ("red", "green", "blue", "infrared", "height")
    sample = {
        "unit": "scene", "shape": [SCENE, SCENE], "flip": False, "labels": {"full": "prepared/scene.full.npy"},
        "arrays": [
            {"file": "prepared/scene.uint8.npy", "channels": [0, 1, 2, 3]},
            {"file": "prepared/scene.float32.npy", "channels": [4]},
        ],
    }  # fmt: skip
    SegmentationManifest(
        dataset="drawn", scale="miniature", digest="", spec={}, sources=[], handled=[], ignore_index=255, unit="scene",
        classes=[{"index": i, "name": str(i), "colour": [i, i, i]} for i in range(6)],
        mean=[120.0] * 4 + [45.0], std=[50.0] * 4 + [6.0], splits={"train": ["scene"], "test": ["scene"]},
        channels=[
            {"name": name, "unit": "", "dtype": "float32" if name == "height" else "uint8"} for name in names
        ],
        label_variants=["full"], samples={"scene": sample}, evaluation_split="test", class_pixels={"train": [0] * 6},
    ).write(folder / "manifest.json")  # fmt: skip
    patches = []
    for place in range(PATCHES):
        down, across = divmod(place, SCENE // PATCH)
        window = (slice(down * PATCH, (down + 1) * PATCH), slice(across * PATCH, (across + 1) * PATCH))
        planes: tuple[NDArray[Any], ...] = (
            image[window][..., :3],
            image[window][..., 3],
            (height[window] * 100).astype(np.uint16),
        )
        files = [folder / f"{place}.{number}.png" for number in range(3)]
        for path, plane in zip(files, planes, strict=True):
            Image.fromarray(plane).save(path)
        patches.append(files)
    return SegmentationStore(folder / "manifest.json"), patches
