"""Classifiers under disturbed channels: each reads what the disturbance says, and lacks the channels it has not."""

import numpy as np
import pytest
import torch
from prepared import DATA_DIGEST, pretraining, write_classes

from bench.data.store import ClassificationStore
from bench.errors import BenchError
from bench.evaluate.spectral import disturbances
from bench.evaluate.top1 import Reader, evaluate_top1, hits
from bench.record import digest_of, read_record
from bench.stats.classifiers import ExpectedClassifier, read_classifiers, top1_rows
from bench.study.disturbances import channel_names, disturbance_names
from bench.train.pretrain import pretrain

WORDS = {"crop": 32, "ratio": 1.0, "seed": 0, "device": torch.device("cpu"), "workers": 0}


class Brighter(torch.nn.Module):
    """Says class 0 where channel `one` is above channel `other`, else class 1; remembers what it saw."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__()
        self.one, self.other, self.seen = one, other, list[torch.Tensor]()

    def forward(self, x):
        self.seen.append(x.clone())
        gap = (x[:, self.one] - x[:, self.other]).mean(dim=(1, 2))
        return torch.stack([gap, -gap, torch.full_like(gap, -1e9)], dim=1)


@pytest.fixture
def colours(tmp_path):
    """Six photographs: class 0 is red and a little blue, class 1 blue and a little red, both on black."""
    path = write_classes(tmp_path, train=6, val=6, side=32)
    labels = np.array([0, 1] * 3)
    images = np.zeros((6, 32, 32, 3), np.uint8)
    images[labels == 0] = (200, 0, 100)
    images[labels == 1] = (100, 0, 200)
    np.save(tmp_path / "prepared" / "val.npy", images)
    np.save(tmp_path / "prepared" / "val.labels.npy", labels)
    return ClassificationStore(path)


def test_a_disturbed_channel_misleads_the_classifier_that_reads_it_and_no_other(colours):
    # Stored mean of red 90, std 60; of blue 110, std 40. Red minus blue in units of the data, class 0 and class 1:
    # (200 - 90) / 60 - (100 - 110) / 40 = 2.08 and (100 - 90) / 60 - (200 - 110) / 40 = -2.08: both right.
    reader = Reader(Brighter(0, 2), 3, "rgb")
    found = hits([reader], ("natural",), colours, spectral=("mean", "gain:0.25", "offset:3"), **WORDS)
    right = {name.removeprefix("top1/"): flags[0].tolist() for name, flags in found.items()}
    both, first, second = [True] * 6, [True, False] * 3, [False, True] * 3
    # Silenced red: 0 + 0.25 and 0 - 2.25. Red x 0.25: -0.67 + 0.25 and -1.08 - 2.25. Red + 3: 5.08 and 0.75.
    # Silenced blue: 1.83 and 0.17. Blue x 0.25: 1.83 + 2.13 and 0.17 + 1.5. Blue + 3: -0.92 and -5.08.
    assert right == {
        "natural": both,
        "mean/channel_1": both, "mean/channel_2": both, "mean/channel_3": first,
        "gain0.25/channel_1": second, "gain0.25/channel_2": both, "gain0.25/channel_3": first,
        "offset3/channel_1": first, "offset3/channel_2": both, "offset3/channel_3": second,
    }  # fmt: skip


def test_channels_are_those_of_the_natural_arrangement_and_one_changes_at_a_time(colours):
    eyes = Brighter(0, 2)
    hits([Reader(eyes, 4, "csp")], ("natural",), colours, spectral=("mean",), **WORDS)
    plain, *silenced = eyes.seen
    # R G B R: channels 1 and 4 hold the same red.
    assert torch.equal(plain[:, 0], plain[:, 3]) and len(silenced) == 4
    for number, x in enumerate(silenced):
        others = [j for j in range(4) if j != number]
        assert torch.equal(x[:, others], plain[:, others])
        assert x[:, number].abs().max() < 1e-6  # a mean normalises to 0


def test_names_of_disturbances_are_those_of_the_disturbances():
    wanted = ("reversed", "orders:30", "orders:2", "mean", "gain:0.5", "offset:-1")
    for channels in (["red"], ["red", "green"], ["red", "green", "blue"], list("rgbt")):
        mean = torch.zeros(len(channels))
        made = disturbances(wanted, channels, mean, mean + 1, seed=0)
        assert list(dict.fromkeys(disturbance_names(wanted, channels))) == list(made), channels
    assert disturbance_names(("mean",), channel_names(2)) == ["mean/channel_1", "mean/channel_2"]


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    """Two pre-trainings, of three and four channels, read under `mean`: their runs and the folder of the record."""
    root = tmp_path_factory.mktemp("top1")
    manifest = write_classes(root / "data")
    short = {"epochs": 1, "warmup_epochs": 0.0}
    runs = [
        pretraining(root / "rgb", manifest, strategy="rgb", n=3, **short),
        pretraining(root / "csp", manifest, **short),
    ]
    for run in runs:
        pretrain(run, device="cpu", workers=0)
    read(runs, root / "out", spectral=("mean",))
    return runs, root / "out"


def read(runs, out, **more):
    spec, inputs = {"stage": "top1"}, {"manifest": DATA_DIGEST}
    evaluate_top1(
        runs, ("natural", "random"), out, device="cpu", workers=0, digest=digest_of(spec, inputs), spec=spec,
        inputs=inputs, names={"study": "tiny", "backbone": "tiny"}, **more,
    )  # fmt: skip


def test_a_classifier_has_no_score_of_a_channel_that_it_lacks(classified):
    runs, out = classified
    record = read_record(out / "record.json")
    assert record.extra["orders"] == ["natural", "random1", "random2", "random3", "random4"]
    both, four = [3, 4], [4]
    assert record.extra["disturbances"] == {
        "mean/channel_1": both, "mean/channel_2": both, "mean/channel_3": both, "mean/channel_4": four,
    }  # fmt: skip
    assert "top1/mean/channel_3" in record.metrics["0"] and "top1/mean/channel_4" not in record.metrics["0"]
    expected = [
        ExpectedClassifier(
            backbone="tiny", label=run.label, strategy=run.strategy, channels=run.channels, seed=0,
            digest=run.digest,
        )
        for run in runs
    ]  # fmt: skip
    ((found,), missing) = read_classifiers([out], expected)
    assert not missing
    rows = {(row["label"], row["order"]): row["value"] for row in top1_rows(found)}
    assert ("rgb-3ch", "mean/channel_4") not in rows
    for index, run in enumerate(runs):
        for order in ("natural", "random", "mean/channel_1", "mean/channel_3"):
            assert rows[run.label, order] == pytest.approx(record.metrics[str(index)][f"top1/{order}"])
    assert rows["csp-4ch", "mean/channel_4"] == record.metrics["1"]["top1/mean/channel_4"]


def test_without_disturbances_the_orders_are_all_there_is(classified, tmp_path):
    runs, out = classified
    read(runs, tmp_path)
    with np.load(tmp_path / "correct.npz") as plain, np.load(out / "correct.npz") as more:
        assert sorted(plain.files) == sorted(
            f"correct/{o}" for o in ("natural", *(f"random{k}" for k in range(1, 5)))
        )
        assert all(np.array_equal(plain[name], more[name]) for name in plain.files)
    assert read_record(tmp_path / "record.json").extra["disturbances"] == {}


def test_exchanged_weights_are_refused(classified, tmp_path):
    import shutil
    from dataclasses import replace

    from safetensors.torch import load_file, save_file

    runs, _ = classified
    folder = tmp_path / "run"
    shutil.copytree(runs[0].folder, folder)
    tensors = load_file(folder / "weights.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, folder / "weights.safetensors")
    with pytest.raises(BenchError, match="weights and record are of two runs; run this pre-training again"):
        read([replace(runs[0], folder=str(folder))], tmp_path / "out")
