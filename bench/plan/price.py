"""What each job costs: seconds of a device, bytes on disk, peak memory; as calibrated, or as published."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.catalog.index import CATALOG
from bench.data.manifest import ClassificationManifest, SegmentationManifest, read_manifest
from bench.data.miniature.class_pictures import CLASSES
from bench.data.patches import patch_windows
from bench.errors import BenchError
from bench.plan.calibration import Calibration, Measured, case_of
from bench.plan.published import DEVICE, SOURCE, published
from bench.study.disturbances import RANDOM_ORDERS, channel_names, disturbance_names
from bench.study.jobs import EvaluateRun, FinetuneRun, PretrainRun
from bench.study.runs import Runs

SCENES = {"mfnet": (480, 640), "pst900": (720, 1280), "potsdam": (6000, 6000)}
"""Height and width of the published scenes, for a price before anything is prepared; iSAID's differ from each other."""
BYTES = 4
"""A weight is a float32."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one job costs. None: not known."""

    seconds: float | None = None
    disk: int | None = None
    memory: int | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """The price of every job that trains or predicts, by its folder; `lacking` says what has none, and why."""

    device: str
    source: str
    jobs: dict[str, Price]
    lacking: list[str] = field(default_factory=list)

    def hours(self, folder: str) -> float:
        """Return the hours of a job, 0 where nothing is known of it."""
        price = self.jobs.get(folder)
        return 0.0 if price is None or price.seconds is None else price.seconds / 3600


def prices(runs: Runs, calibration: Calibration | None) -> Prices:
    """Return what each job of the study costs.

    A training is its steps times what a step of its case takes; an evaluation its windows and views times a forward
    pass. Loading, checkpoints and looks at validation images are not in it. Without a calibration the published speeds
    of the two networks of the paper serve; for any other network there is no price then.
    """
    found: dict[str, Price] = {}
    lacking: dict[str, None] = {}
    images = _photographs(runs)
    of_case: dict[str, Measured | None] = {}

    def measured(run: PretrainRun | FinetuneRun, window: int) -> Measured | None:
        case = case_of(run, window)
        if case.key not in of_case:
            held = published(case) if calibration is None else calibration.cases.get(case.key)
            of_case[case.key] = held
            if held is None:
                known = "nothing is published of it" if calibration is None else "it was not calibrated"
                lacking[
                    f"{case.backbone} {case.stage} at {case.crop} pixels: {known}; run `bench calibrate`"
                ] = None
        return of_case[case.key]

    for start in runs.pretrainings:
        found[start.folder] = _training(
            measured(start, start.recipe.crop) if start.published is None else None,
            None if images is None else _steps(images["train"], start.recipe.batch_size, start.recipe.epochs),
            start.recipe.batch_size,
        )
        if start.published is not None:
            found[start.folder] = Price(seconds=0.0)
    for cell in runs.finetunings:
        held = measured(cell, runs.study.evaluate[cell.dataset].window)
        found[cell.folder] = _training(held, cell.recipe.iterations, cell.recipe.batch_size)
    if images is None:
        lacking["photographs: how many there are is known once they are prepared"] = None
    for counts in runs.evaluations:
        windows = windows_of(runs, counts)
        if windows is None:
            lacking[f"{counts.dataset}: how much is predicted is known once it is prepared"] = None
        window = runs.study.evaluate[counts.dataset].window
        networks = [(measured(run, window), windows) for run in counts.finetunings]
        found[counts.folder] = _prediction(networks)
    for read in runs.classifiers:
        networks = [
            (
                measured(run, run.recipe.crop),
                None if images is None else images["val"] * views_of(runs, run.channels),
            )
            for run in read.pretrainings
            if run.published is None
        ]
        found[read.folder] = _prediction(networks)
    device, source = DEVICE, SOURCE
    if calibration is not None:
        on_cpu = calibration.device == "cpu"
        device = f"CPU process ({calibration.machine})" if on_cpu else calibration.device
        source = "measured by `bench calibrate`"
    return Prices(device=device, source=source, jobs=found, lacking=list(lacking))


def _steps(images: int, batch: int, epochs: int) -> int:
    """Return the steps of a pre-training: whole batches alone, but one at least."""
    return max(1, images // batch) * epochs


def _training(held: Measured | None, steps: int | None, batch: int) -> Price:
    if held is None:
        return Price()
    disk = held.parameters * BYTES
    seconds = None if steps is None else steps * batch * held.seconds_per_image
    return Price(seconds=seconds, disk=disk, memory=held.memory)


def _prediction(networks: list[tuple[Measured | None, int | None]]) -> Price:
    """Return the price of so many forward passes of each network."""
    known = [(one, passes) for one, passes in networks if one is not None and passes is not None]
    if len(known) < len(networks):
        return Price()
    memory = [one.predicted_memory for one, _ in known if one.predicted_memory is not None]
    seconds = sum(one.predicted_per_image * passes for one, passes in known)
    return Price(seconds=seconds, memory=max(memory, default=None))


def _photographs(runs: Runs) -> dict[str, int] | None:
    """Return how many photographs train and validate: of the prepared data, else as published; None: not known."""
    study, data = runs.study, runs.pretrain_data
    try:
        splits = read_manifest(Path(data.manifest), ClassificationManifest).splits
        return {name: int(splits[name]["count"]) for name in ("train", "val")}
    except (BenchError, KeyError, TypeError):
        pass
    entry, mini = CATALOG.get(data.source), study.miniature
    if mini is not None:
        found = {"train": mini.train_images * len(CLASSES), "val": mini.val_images * len(CLASSES)}
    elif entry is not None and entry.expected_counts:
        found = dict(entry.expected_counts)
    else:
        return None
    if (share := study.pretrain_data.holdout) is None:
        return found
    aside = round(share * found["train"])
    return {"train": found["train"] - aside, "val": aside}


def views_of(runs: Runs, channels: int) -> int:
    """Return how often a classifier of so many channels reads each validation image: orders and disturbances."""
    orders = sum(RANDOM_ORDERS if order == "random" else 1 for order in runs.study.orders)
    return orders + len(disturbance_names(runs.study.spectral, channel_names(channels)))


def windows_of(runs: Runs, run: EvaluateRun) -> int | None:
    """Return the forward passes of one network's evaluation: windows of all scenes, views and disturbed spectra."""
    settings = runs.study.evaluate[run.dataset]
    shapes = _shapes(runs, run)
    if shapes is None:
        return None
    windows = [
        len(patch_windows(height, width, settings.window, settings.stride)) * count
        for (height, width), count in shapes.items()
    ]
    whole, scenes = sum(windows), sum(shapes.values())
    views = len(settings.scales) * (2 if settings.flip else 1)
    probes = len(disturbance_names(settings.spectral, runs.study.datasets[run.dataset].channels))
    probed = min(settings.spectral_samples or scenes, scenes)
    return round(whole * (views + probes * probed / scenes))


def _shapes(runs: Runs, run: EvaluateRun) -> Mapping[tuple[int, int], int] | None:
    """Return how many scenes of each height and width are evaluated: as prepared, else as published."""
    found: dict[tuple[int, int], int] = {}
    try:
        manifest = read_manifest(Path(run.manifest), SegmentationManifest)
        for name in manifest.splits[manifest.evaluation_split]:
            height, width = manifest.samples[name]["shape"]
            found[height, width] = found.get((height, width), 0) + 1
        return found
    except (BenchError, KeyError, TypeError, ValueError):
        pass
    target = runs.study.datasets[run.dataset]
    source = target.source or run.dataset
    entry = CATALOG.get(source)
    if entry is None or runs.study.miniature is not None:
        return None
    split = "test" if "test" in entry.expected_counts else "val"
    cut = next((one for one in entry.geometries if one.name == target.geometry), None)
    settings = runs.study.evaluate[run.dataset]
    if source not in SCENES and cut is not None and cut.counts.get(split):
        return {(cut.patch, cut.patch): cut.counts[split]} if cut.patch == settings.window else None
    if source in SCENES and split in entry.expected_counts:
        return {SCENES[source]: entry.expected_counts[split]}
    return None


def scaled_to_done(found: Prices, done: set[str]) -> Prices:
    """Return the prices with what is done costing nothing any more."""
    spent = {folder: replace(price, seconds=0.0) for folder, price in found.jobs.items() if folder in done}
    return replace(found, jobs=found.jobs | spent)
