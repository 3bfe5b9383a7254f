"""A pre-training as a folder that timm loads: `timm.create_model("local-dir:FOLDER", pretrained=True)`.

    model.safetensors   the tensors, which have timm's names already
    config.json         timm's Hub format: architecture, arguments, input, normalisation, labels
    README.md           a model card with the Hub's header; it says what was run, and MINIATURE where that is so

The folder is called `architecture.tag` as timm does, with a tag such as csp4_in1k: the strategy, its channels, the
settings that differ from the default, the data. The files say nothing of the time or place of the export:
equal weights give equal bytes.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.catalog.index import CATALOG
from bench.errors import BenchError, RequestError
from bench.models.backbone import STEM_WEIGHT
from bench.models.weights import read_spec, read_tensors
from bench.record import Record, read_record, sha256_file, write_json, write_text
from bench.strategies import natural_order
from bench.study.jobs import PretrainRun
from bench.study.schema import Backbone

ENTRY = {"convnext": "convnext_tiny", "swin": "swin_tiny_patch4_window7_224"}
"""timm's entry point for each family; the arguments beside it make it the study's architecture."""

SCALES = {
    "full": "",
    "small": "SMALL SCALE: few pictures and short training; it shows the machinery at work.",
    "miniature": "MINIATURE: trained for minutes on drawn pictures; it shows that the machinery works and says "
    "nothing about the paper.",
}


def export_pretraining(run: PretrainRun, classes: Sequence[Mapping[str, Any]], out: Path) -> Path:
    """Write the pre-training of `run` into a new folder below `out` and return that folder.

    `classes` are the manifest's, each with `wnid` and `name`. The folder appears whole or not at all. Raises
    RequestError for a folder that is there already and for published weights, and BenchError for a run whose
    record or weights are missing, stale or not of one run, and for a Swin that timm would build otherwise.
    """
    if run.published is not None:
        raise RequestError(
            f"{run.backbone} {run.label} are {run.published.words}, not a training of this study: get them there"
        )
    record, spec = _checked(run)
    _require_whole_windows(run.architecture, run.recipe.crop)
    folder = out / f"{run.backbone}.{tag_of(run)}"
    if folder.exists():
        raise RequestError(f"{folder}: is there already; remove it, or choose another --out")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        _write_tensors(Path(run.weights), partial / "model.safetensors")
        write_json(partial / "config.json", config_of(run, spec, classes))
        write_text(partial / "README.md", card(run, spec, record))
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def tag_of(run: PretrainRun) -> str:
    """Return timm's tag: csp4_in1k, csp5_random_batch_p05_in1k, csp4_s1_in1k for the second repetition.

    The data come last, `drawn` for a miniature.
    """
    strategy, *settings, _ = run.label.split("-")
    data = "drawn" if run.scale == "miniature" else {"imagenet1k": "in1k"}.get(run.data, run.data)
    settings += [f"s{run.repetition}"] if run.repetition else []
    return "_".join([f"{strategy}{run.channels}", *settings, data]).replace(".", "").replace("-", "_")


def config_of(
    run: PretrainRun, spec: Mapping[str, Any], classes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return timm's config.json; mean and std are on 0..1 there, a channel each."""
    architecture, side = run.architecture, run.recipe.crop
    arguments: dict[str, Any] = {"in_chans": run.channels, "depths": list(architecture.depths)}
    if architecture.family == "convnext":
        arguments["dims"] = list(architecture.widths)
    else:
        arguments |= {
            "img_size": side,
            "embed_dim": architecture.widths[0],
            "num_heads": list(architecture.heads or ()),
            "window_size": architecture.window,
        }
    stem = STEM_WEIGHT[architecture.family].removesuffix(".weight")
    return {
        "architecture": ENTRY[architecture.family],
        "num_classes": spec["num_classes"],
        "num_features": architecture.widths[-1],
        "label_names": [entry["wnid"] for entry in classes],
        "label_descriptions": {entry["wnid"]: entry["name"] for entry in classes},
        "model_args": arguments,
        "pretrained_cfg": {
            "tag": tag_of(run),
            "custom_load": False,
            "input_size": [run.channels, side, side],
            "fixed_input_size": architecture.family == "swin",
            "interpolation": "bicubic",
            "crop_pct": run.recipe.eval_ratio,
            "crop_mode": "center",
            "mean": [value / 255 for value in spec["mean"]],
            "std": [value / 255 for value in spec["std"]],
            "num_classes": spec["num_classes"],
            "pool_size": [-(-side // 32)] * 2,
            # With a name here timm takes n-channel weights for RGB ones that it must adapt.
            "first_conv": stem if run.channels == 3 else None,
            "classifier": "head.fc",
            "license": "other",
            "description": f"{run.label} pre-training, {run.scale} scale, csp-bench digest {run.digest}",
        },
    }


def card(run: PretrainRun, spec: Mapping[str, Any], record: Record) -> str:
    """Return the model card: the Hub's header and what a user must know, all of it from spec and record."""
    name, recipe = f"{run.backbone}.{tag_of(run)}", run.recipe
    known = CATALOG.get(run.data)
    title, terms = (known.title, known.terms) if known else (run.data, "those of your own data")
    stamp = SCALES[run.scale]
    drawn = run.scale == "miniature"
    channels = " ".join("RGB"[source] for source in natural_order(run.channels).tolist())
    if run.strategy == "grey":
        channels = "the mean of red, green and blue in each"
    settings = ", ".join(f"{key} {value}" for key, value in run.spec.get("settings", {}).items())
    scores = "\n".join(f"| {key} | {100 * value:.2f} |" for key, value in sorted(record.metrics.items()))
    numbers = {key: ", ".join(f"{value:.4f}" for value in spec[key]) for key in ("mean", "std")}
    header = ["tags:", "- image-classification", "- timm", "library_name: timm", "license: other"]
    header += ["license_name: see-model-card"]
    header += ["datasets:", "- ILSVRC/imagenet-1k"] if run.data == "imagenet1k" and not drawn else []
    lines = ["---", *header, "---", f"# {name}", ""]
    lines += (
        [f"> **{stamp.partition(':')[0]}**{stamp.removeprefix(stamp.partition(':')[0])}", ""] if stamp else []
    )
    return "\n".join([
        *lines,
        f"A {run.backbone} classifier of {spec['num_classes']} classes for images with {run.channels} channels, "
        f"pre-trained by csp-bench with the strategy `{run.strategy}` ({settings}).",
        "",
        f"- Data: {title}{', a miniature of drawn pictures' if drawn else ''}; "
        f"{record.extra['train_images']} training and {record.extra['val_images']} validation images.",
        f"- Training: {recipe.epochs} epochs at {recipe.crop} pixels, global batch {recipe.batch_size}, "
        f"{record.extra['steps']} steps; weights: {record.selection}; repetition {run.repetition} of root seed "
        f"{run.root_seed}.",
        f"- Input channels, in the order of the evaluation: {channels}. Mean {numbers['mean']} and std "
        f"{numbers['std']} on 0..255.",
        "- Method: Channel Shuffling Pre-training and its baselines, arXiv 2604.27704; these are not its authors' "
        "weights.",
        "",
        "| validation images, by channel order | per cent |",
        "|---|--:|",
        scores,
        "",
        "## Use",
        "",
        "```python",
        "import timm",
        "",
        f'model = timm.create_model("local-dir:{name}", pretrained=True)',
        "config = timm.data.resolve_model_data_config(model)  # size, crop, mean and std",
        "```",
        "",
        "timm's own transforms make three channels; repeat or stack yours to "
        f"{run.channels} before you normalise.",
        "",
        "## Licence",
        "",
        f"Terms of the training data: {terms}. Whoever publishes these weights decides on their licence and "
        "answers for it; csp-bench itself is Apache-2.0.",
        "",
        "## Provenance",
        "",
        f"csp-bench digest `{run.digest}`, weights SHA-256 `{record.extra['weights_sha256']}`, commit "
        f"`{record.receipt.get('commit')}`.",
        "",
    ])  # fmt: skip


def _checked(run: PretrainRun) -> tuple[Record, dict[str, Any]]:
    """Return record and spec of a finished run; raise BenchError where they, or the weights, are not the study's."""
    if not Path(run.record).is_file():
        raise BenchError(
            f"{run.record}: this pre-training has not been run; `python -m bench run` does it, or bench pretrain "
            f"--backbone {run.backbone} --strategy {run.label} --seed {run.repetition}"
        )
    record = read_record(Path(run.record))
    if record.digest != run.digest:
        raise BenchError(
            f"{run.record}: written for digest {record.digest[:12]}, the study asks for {run.digest[:12]}: run "
            "this pre-training again"
        )
    weights = Path(run.weights)
    spec = read_spec(weights)
    if not weights.is_file() or sha256_file(weights) != record.extra.get("weights_sha256"):
        raise BenchError(f"{weights}: not the weights that the record beside it speaks of; run it again")
    if spec["channels"] != run.channels:
        raise BenchError(
            f"{weights}: the weights take {spec['channels']} channels, the study's {run.label} {run.channels}"
        )
    return record, spec


def _require_whole_windows(architecture: Backbone, side: int) -> None:
    """Raise BenchError where a map is smaller than Swin's window: timm then cuts the window, ours pads the map."""
    if architecture.family != "swin" or architecture.window is None:
        return
    smallest = side // 32
    if smallest < architecture.window:
        raise BenchError(
            f"timm's Swin cannot stand for this one: at {side} pixels its last map has {smallest} tokens a side, "
            f"less than the window of {architecture.window}; an export needs a crop of {32 * architecture.window}"
        )


def _write_tensors(source: Path, path: Path) -> None:
    from safetensors.torch import save_file

    save_file(read_tensors(source), path, metadata={"format": "pt"})
