"""What the drawn data are for: a small network learns them in seconds, and not from channel values alone.

Five properties, each measured with the stages of the demo study on its own archives: one with both of its backbones,
the others with ConvNeXt's alone. A miniature without them would still run every stage, and its tables would compare
noise.
"""

import dataclasses
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from bench.data.stages import acquire_data, prepare_data
from bench.data.store import ClassificationStore, SegmentationStore
from bench.evaluate.cells import evaluate_target
from bench.evaluate.confusion import confusion
from bench.lock import run_lock
from bench.metrics import iou, mean_over_classes
from bench.record import read_record
from bench.study.arms import Arm, Strategy
from bench.study.reading import load_study
from bench.study.runs import Runs
from bench.train.finetune import finetune
from bench.train.pretrain import pretrain

DEMO = Path(__file__).parents[2] / "config" / "demo.yaml"
BACKBONE, SWIN = "convnext_mini", "swin_mini"
EPOCHS = 14
"""With ten, PST900's small objects are not learned in time."""
ITERATIONS = {"pst900": 450, "isaid": 350, "mfnet": 230, "potsdam": 200}
"""Fine-tuning to each target: what it needs, with room to spare; the longest first, for the sake of two workers."""
OF_SWIN = {"pst900": 300, "isaid": 250, "mfnet": 300, "potsdam": 100}
"""Fewer, since it needs to learn less here."""
ABOVE_MAJORITY = 1.3
"""Least mIoU of a fine-tuned network in units of that of the constant prediction of the commonest class."""
OTHERS: tuple[Strategy, ...] = ("duplicate", "sample", "grey", "weights")
"""Strategies that the demo has no arm for."""
SCALE_RANGE = (0.9, 1.1)
"""The objects of a kind are all much of a size: with the demo's wider range PST900 takes a third longer."""
PIXELS = 40_000
"""Training pixels of the per-pixel classifiers, about a quarter of a target's."""


class Workshop:
    """The demo study with the arm `scratch`; runs a stage when its result is first asked for.

    Under several test workers the folder is shared, and the stages' own locks and digests see to it that each
    network is trained once.
    """

    def __init__(self, root: Path) -> None:
        study = load_study(DEMO)
        recipes = {
            dataset: {
                name: dataclasses.replace(recipe, iterations=budget[dataset], scale_range=SCALE_RANGE)
                for (name, recipe), budget in zip(
                    study.finetune[dataset].items(), (ITERATIONS, OF_SWIN), strict=True
                )
            }
            for dataset in ITERATIONS
        }
        self.study = dataclasses.replace(
            study,
            arms=study.arms
            | {"scratch": Arm(strategy="scratch")}
            | {name: Arm(strategy=name, min_channels=4) for name in OTHERS},
            pretrain={
                name: dataclasses.replace(recipe, epochs=EPOCHS) for name, recipe in study.pretrain.items()
            },
            finetune=recipes,
        )
        self.runs, self.locks = Runs(self.study, str(root)), root / "locks"
        self.top1, self.counts = cache(self._top1), cache(self._counts)

    def data(self, name: str) -> Path:
        """Return the manifest of a dataset, prepared from archives drawn for this test."""
        run = self.runs.data(name)
        with run_lock(self.locks / name):
            if not Path(run.manifest).exists():
                acquire_data(self.study, run)
                prepare_data(self.study, run)
        return Path(run.manifest)

    def _top1(self, label: str) -> dict[str, float]:
        """Return the top-1 accuracy of one pre-trained classifier, by channel order."""
        run = next(run for run in self.runs.pretrainings if (run.backbone, run.label) == (BACKBONE, label))
        self.data(run.data)
        pretrain(run, device="cpu", workers=0)
        metrics = read_record(Path(run.record)).metrics
        return {order: metrics[f"top1/{order}"] for order in ("natural", "reversed", "random")}

    def foreground_iou(self, dataset: str, arm: str, seed: int) -> float:
        """Return the mean foreground IoU of one fine-tuned ConvNeXt on the evaluation split."""
        return foreground(self.counts(dataset, BACKBONE, arm, seed), dataset)

    def _counts(self, dataset: str, backbone: str, arm: str, seed: int) -> np.ndarray:
        """Return the counts [target, prediction] of one fine-tuned network over the evaluation split."""
        self.data(dataset)
        evaluation = next(
            run for run in self.runs.evaluations if (run.dataset, run.backbone) == (dataset, backbone)
        )
        cell = next(run for run in evaluation.finetunings if (run.arm, run.repetition) == (arm, seed))
        if cell.pretrain:
            self.top1(cell.pretrain.label)
        finetune(cell, device="cpu", workers=0)
        folder = f"{evaluation.folder}/{arm}{seed}"
        settings = self.study.evaluate[dataset]
        one = dataclasses.replace(evaluation, finetunings=(cell,), folder=folder)
        with run_lock(self.locks / dataset):
            evaluate_target(one, settings, device="cpu")
        with np.load(f"{folder}/counts.npz") as arrays:
            return arrays[f"counts/{settings.primary}"][0].sum(axis=0)


def foreground(counts: np.ndarray, dataset: str) -> float:
    """Return the mean IoU over the foreground classes that the split shows; `counts[target, prediction]`.

    Class 0 is the background but in Potsdam, where all six classes are kinds of land cover.
    """
    shown = counts.sum(axis=1) > 0
    per_class = np.where(shown, iou(counts), np.nan)
    return float(mean_over_classes(per_class, leave_out=[] if dataset == "potsdam" else [0]))


def per_pixel_iou(manifest: Path, dataset: str, labels: str, rule: str) -> dict[str, float]:
    """Return the mean foreground IoU of classifiers that see the channel values of one pixel and no other.

    Two kinds, for either can be the better: boosted trees as they come, and a forest that weighs the classes alike.
    """
    store = SegmentationStore(manifest)
    names = store.split("train")
    values = np.concatenate([store.image(name).reshape(-1, len(store.channels)) for name in names])
    targets = np.concatenate([store.labels(name, labels).ravel() for name in names])
    labelled = np.flatnonzero(targets != store.manifest.ignore_index)
    chosen = np.random.default_rng(0).choice(labelled, PIXELS, replace=False)
    found = {}
    for classifier in (
        HistGradientBoostingClassifier(max_iter=40, random_state=0),
        RandomForestClassifier(20, min_samples_leaf=5, class_weight="balanced", random_state=0),
    ):
        classifier.fit(values[chosen], targets[chosen])
        counts = np.zeros((store.num_classes, store.num_classes), np.int64)
        for name in store.split(store.evaluation_split):
            ids = classifier.predict(store.image(name).reshape(-1, len(store.channels)))
            counts += confusion(store.labels(name, rule), ids.reshape(store.shape(name)), store.num_classes)
        found[type(classifier).__name__] = foreground(counts, dataset)
    return found


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    # Each worker's own folder lies in one that the workers of a session share.
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return Workshop(root / "miniature_teaches")


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ITERATIONS)
def test_channel_values_alone_reach_less_than_half_of_what_the_network_does(workshop, dataset):
    network = workshop.foreground_iou(dataset, "csp", 0)
    target, rule = workshop.study.datasets[dataset], workshop.study.evaluate[dataset].primary
    by_classifier = per_pixel_iou(workshop.data(dataset), dataset, target.labels, rule)
    # A classifier that says background everywhere scores 0 and would prove nothing: these two have learned.
    assert all(value > 0.02 for value in by_classifier.values()), by_classifier
    assert max(by_classifier.values()) < network / 2, (by_classifier, network)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ITERATIONS)
@pytest.mark.parametrize(("backbone", "arm"), [(BACKBONE, "csp"), (SWIN, "scratch")])
def test_fine_tuning_is_well_above_the_majority_class(workshop, dataset, backbone, arm):
    counts = workshop.counts(dataset, backbone, arm, 0)
    # The network that says the commonest class of the split everywhere.
    constant = np.zeros_like(counts)
    constant[:, counts.sum(axis=1).argmax()] = counts.sum(axis=1)
    shown = counts.sum(axis=1) > 0
    network, majority = (
        float(np.nanmean(np.where(shown, iou(found), np.nan))) for found in (counts, constant)
    )
    assert network > ABOVE_MAJORITY * majority, (network, majority)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["mfnet", "potsdam"])  # n = 4 and n = 5
def test_pretrained_beats_scratch(workshop, dataset):
    by_arm = {
        arm: np.mean([workshop.foreground_iou(dataset, arm, seed) for seed in (0, 1)])
        for arm in ("csp", "scratch")
    }
    assert by_arm["csp"] > by_arm["scratch"], by_arm


@pytest.mark.slow
@pytest.mark.parametrize(
    "label", ["rgb-3ch", "csp-3ch", "csp-4ch", "csp-5ch", *(f"{name}-4ch" for name in OTHERS)]
)
def test_every_pretrained_classifier_is_far_above_chance(workshop, label):
    # 15 classes, equally many pictures of each: chance is 1/15.
    top1 = workshop.top1(label)
    assert ClassificationStore(workshop.data("imagenet1k")).num_classes == 15
    assert top1["natural"] > 5 / 15, top1


@pytest.mark.slow
def test_under_reversed_channels_rgb_loses_top1(workshop):
    top1 = workshop.top1("rgb-3ch")
    assert top1["reversed"] < 0.6 * top1["natural"], top1


@pytest.mark.slow
@pytest.mark.parametrize("label", ["csp-3ch", "csp-4ch", "csp-5ch"])
def test_under_reversed_channels_csp_keeps_top1(workshop, label):
    top1 = workshop.top1(label)
    assert top1["reversed"] > 0.9 * top1["natural"], top1
