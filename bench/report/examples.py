"""Stored predictions made ready to be drawn: cut to the size at which a figure shows them, eight bits a plane.

Reads examples.npz as the evaluation leaves it (float32 images in stored units), or as a published study holds it:
already in the form that is drawn, so that both give the same figure to the byte.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.report.formats import percent
from bench.report.pictures import Example, composite, stretched

SHOWN_SIDE = 192
"""Pixels of the longer side at most: about as many as a panel of a figure has."""
FILE = "examples.npz"

Bytes = NDArray[np.uint8]


def shrunk(picture: NDArray[np.float64], step: int) -> Bytes:
    """Return (H, W[, 3]) values in [0, 1] as uint8, each block of `step` x `step` pixels its mean."""
    height, width = (side // step * step for side in picture.shape[:2])
    blocks = picture[:height, :width].reshape(height // step, step, width // step, step, *picture.shape[2:])
    shown: Bytes = np.rint(255 * blocks.mean(axis=(1, 3))).astype(np.uint8)
    return shown


def thinned_ids(ids_HW: Bytes, step: int) -> Bytes:
    """Return class ids with the pixel in the middle of each block of `step` x `step`: ids have no mean."""
    height, width = (side // step * step for side in ids_HW.shape)
    return np.ascontiguousarray(ids_HW[:height, :width][step // 2 :: step, step // 2 :: step])


def read_examples(
    folder: Path,
    channels: Sequence[str],
    arms: Sequence[str],
    label: str,
    rule: Mapping[str, Any] | None = None,
) -> list[Example]:
    """Return the examples of an evaluation's folder; `label` stands before each sample's name.

    `rule`: what the record says of their choice; the largest gain comes first, and role and gain are in the label.
    Without it they are sorted by sample id.
    """
    roles = dict(rule["scenes"]) if rule else {}
    gains = rule.get("gains", {}) if rule else {}
    examples = _read(folder, channels, arms)
    return [
        replace(examples[name], label="\n".join(_words(label, name, roles.get(name, ""), gains.get(name))))
        for name in sorted(examples, key=lambda name: (-gains.get(name, 0.0), name))
    ]


def _words(label: str, sample: str, role: str, gain: float | None) -> list[str]:
    """Return the lines beside a row of panels."""
    if gain is not None:
        # Where the treatment never loses, the scene of its largest loss is that of its smallest gain.
        if role == "largest loss" and gain >= 0:
            role = "smallest gain"
        elif role == "largest gain" and gain < 0:
            role = "smallest loss"
    found = f"{role} {percent(gain, signed=True)}" if gain is not None else role
    return [label, *filter(None, [found]), short(sample)]


def _read(folder: Path, channels: Sequence[str], arms: Sequence[str]) -> dict[str, Example]:
    """Return the examples by sample id.

    Raises BenchError if the file is missing or damaged, or an image has not the channels that are named.
    """
    path = folder / FILE
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: no examples to picture ({error}); run `bench evaluate` again") from None
    if any(key.startswith("image/") for key in arrays):
        arrays = drawn(arrays, channels, path)
    ids = sorted(key.split("/", 1)[1] for key in arrays if key.startswith("target/"))
    return {
        sample: Example(
            label=sample,
            colour_HW3=arrays[f"colour/{sample}"],
            planes={c: arrays[f"plane/{c}/{sample}"] for c in channels if f"plane/{c}/{sample}" in arrays},
            target_HW=arrays[f"target/{sample}"],
            predictions={
                a: arrays[f"prediction/{a}/{sample}"] for a in arms if f"prediction/{a}/{sample}" in arrays
            },
        )
        for sample in ids
    }


def drawn(arrays: dict[str, NDArray[np.generic]], channels: Sequence[str], path: Path) -> dict[str, Bytes]:
    """Return the arrays of an evaluation's examples in the form that figures draw and published studies hold.

    `colour/<id>` (H, W, 3), `plane/<channel>/<id>`, `target/<id>` and `prediction/<arm>/<id>` (H, W), all uint8.
    """
    found: dict[str, Bytes] = {}
    steps: dict[str, int] = {}
    for key in sorted(key for key in arrays if key.startswith("image/")):
        sample, image = key.split("/", 1)[1], arrays[key].astype(np.float32)
        if image.shape[2] != len(channels):
            raise BenchError(
                f"{path}: {sample} has {image.shape[2]} channels, not {len(channels)} ({', '.join(channels)}); "
                "run `bench evaluate` again"
            )
        step = steps[sample] = -(-max(image.shape[:2]) // SHOWN_SIDE)
        picture, rest = composite(image, channels)
        found[f"colour/{sample}"] = shrunk(picture, step)
        for name in rest:
            found[f"plane/{name}/{sample}"] = shrunk(stretched(image[..., list(channels).index(name)]), step)
    for key, ids in arrays.items():
        sample = key.rsplit("/", 1)[1] if key.startswith("prediction/") else key.split("/", 1)[1]
        if not key.startswith("image/") and sample in steps:
            found[key] = thinned_ids(ids.astype(np.uint8), steps[sample])
    return found


def short(sample: str) -> str:
    """Return a sample id that fits beside a small picture: its beginning and its end if it is long."""
    return sample if len(sample) <= 12 else f"{sample[:6]}…{sample[-5:]}"


def rule_words(rule: Mapping[str, Any] | None) -> str:
    """Return how scenes were chosen, as a sentence for below the figure."""
    if rule is None or "treatment" not in rule:
        return "Scenes: evenly spaced in the split."
    return (
        f"Scenes: where {rule['treatment']} gains most over {rule['baseline']}, where it loses most, and the median, "
        f"by {rule['metric']} of the scene ({rule['pixels']}), in points; candidates: {rule['candidates']}."
    )
