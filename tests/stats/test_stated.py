"""A study of full scale that departs from what the paper states decides nothing about the paper's numbers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_study import Study as Small
from test_compare import TOP1, _headline, _run, _verdicts

from bench.stats.stated import EPOCHS, Stated
from bench.stats.verdicts import Claim, read_claims
from bench.study.arms import Arm
from bench.study.datasets import PretrainData, Target
from bench.study.reading import load_study
from bench.study.recipes import Published
from bench.study.schema import Backbone, Study

ROOT = Path(__file__).parents[2]
CLAIMS = {claim.claim: claim for claim in read_claims(ROOT / "paper" / "reported.csv")}
SWIN = "swin_tiny_patch4_window7_224"


@pytest.fixture(scope="module")
def paper() -> Study:
    return load_study(ROOT / "config" / "paper.yaml")


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_the_papers_study_departs_in_nothing_that_the_paper_states(paper: Study, claim: Claim) -> None:
    assert Stated(paper).departures(claim) == []
    assert list(Stated(paper).networks.values()) == list(paper.backbones)


def shorter(study: Study) -> Study:
    recipes = {name: replace(recipe, epochs=100) for name, recipe in study.pretrain.items()}
    return replace(study, pretrain=recipes)


def one_network(study: Study) -> Study:
    return replace(study, backbones={SWIN: study.backbones[SWIN]})


def own_frames(study: Study) -> Study:
    target = Target(
        source="folder", path="mine", description="d.yaml", channels=("red", "green", "blue", "heat")
    )
    return replace(study, datasets=study.datasets | {"mfnet": target})


def colours_alone(study: Study) -> Study:
    target = replace(study.datasets["mfnet"], channels=("red", "green", "blue"))
    return replace(study, datasets=study.datasets | {"mfnet": target})


def against_scratch(study: Study) -> Study:
    arms = study.arms | {"scratch": Arm(strategy="scratch")}
    return replace(study, arms=arms, compare=replace(study.compare, primary="scratch"))


def other_treatment(study: Study) -> Study:
    return replace(study, arms=study.arms | {"csp": Arm(strategy="sample")})


def other_photographs(study: Study) -> Study:
    return replace(study, pretrain_data=PretrainData(source="folders", path="imagenette"))


DEPARTED = [
    (shorter, "mfnet-gain", "csp is pre-trained for 100 epochs, the paper's networks for 300"),
    (shorter, "top1-drop", "rgb-repeat is pre-trained for 100 epochs, the paper's networks for 300"),
    (one_network, "mfnet-gain", "is the average of ConvNeXt-T and Swin-T; this study has no ConvNeXt-T"),
    (one_network, "isaid-best", "is the best of ConvNeXt-T and Swin-T; this study has no ConvNeXt-T"),
    (own_frames, "mfnet-best", "mfnet is folder here, not the paper's data"),
    (
        colours_alone,
        "mfnet-gain",
        "mfnet has the channels red, green, blue; the paper's red, green, blue, thermal",
    ),
    (against_scratch, "pst900-gain", "the arm scratch is pre-trained by scratch, the paper's by rgb"),
    (other_treatment, "potsdam-best", "the arm csp is pre-trained by sample, the paper's by csp"),
    (other_photographs, "reversed-order", "pre-trained on imagenette, the paper's networks on ImageNet-1K"),
]


@pytest.mark.parametrize(
    ("change", "claim", "words"), DEPARTED, ids=[f"{c.__name__}-{n}" for c, n, _ in DEPARTED]
)
def test_a_departure_is_said_in_words(paper: Study, change, claim: str, words: str) -> None:
    assert words in "; ".join(Stated(change(paper)).departures(CLAIMS[claim]))


def test_published_weights_and_other_targets_are_no_departure(paper: Study) -> None:
    published = {name: Published(timm=f"{name}.in1k") for name in paper.backbones}
    recipes = {name: replace(recipe, epochs=EPOCHS) for name, recipe in paper.pretrain.items()}
    assert (
        Stated(replace(paper, published=published, pretrain=recipes)).departures(CLAIMS["mfnet-gain"]) == []
    )
    # Another dataset's channels are not this claim's matter.
    assert Stated(colours_alone(paper)).departures(CLAIMS["isaid-gain"]) == []


def small(tmp_path: Path, *backbones: str) -> Small:
    study = Small(root=tmp_path, arms={"csp": 0.8, "rgb-repeat": 0.7}, backbones=backbones, noise=30)
    study.comparison = replace(study.comparison, primary="rgb-repeat", margin=0.1)
    return study


def test_a_study_that_departs_shows_its_value_and_decides_nothing(paper: Study, tmp_path: Path) -> None:
    study = small(tmp_path, "convnext_tiny", SWIN)
    paths = study.write() + study.write_top1(TOP1)
    _run(study, tmp_path / "out", paths, stated=Stated(paper))
    decided = _verdicts(tmp_path / "out")["gain"]
    assert decided["verdict"] != "not comparable"
    _run(study, tmp_path / "out", paths, stated=Stated(shorter(paper)))
    row = _verdicts(tmp_path / "out")["gain"]
    assert row["verdict"] == "not comparable" and "for 100 epochs" in row["reason"]
    assert [row[key] for key in ("value", "low", "high")] == [
        decided[key] for key in ("value", "low", "high")
    ]


def test_only_the_papers_networks_enter_its_averages(paper: Study, tmp_path: Path) -> None:
    wide = Backbone(family="convnext", depths=(3, 3, 27, 3), widths=(96, 192, 384, 768))
    known = replace(
        paper,
        backbones=paper.backbones | {"wide": wide},
        pretrain=paper.pretrain | {"wide": paper.pretrain[SWIN]},
    )
    study = small(tmp_path, "convnext_tiny", SWIN, "wide")
    _run(study, tmp_path / "out", study.write() + study.write_top1(TOP1), stated=Stated(known))
    gains = [
        float(_headline(tmp_path / "out", backbone=name)["estimate"]) for name in ("convnext_tiny", SWIN)
    ]
    row = _verdicts(tmp_path / "out")["gain"]
    assert float(row["value"]) == pytest.approx(np.mean(gains), abs=1e-12)
    assert row["verdict"] != "not comparable" and "wide" not in row["reason"]
