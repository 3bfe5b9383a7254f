"""A study file is read alone and strictly."""

from pathlib import Path

import pytest
import yaml

from bench.cli import main
from bench.errors import RequestError
from bench.study.choice import chosen_study
from bench.study.reading import load_study

CONFIG = Path(__file__).parents[2] / "config"


def changed(tmp_path, edit, source="demo"):
    """Write a copy of a shipped study after `edit` has changed it."""
    study = yaml.safe_load((CONFIG / f"{source}.yaml").read_text())
    edit(study)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


@pytest.mark.parametrize("name", ["demo", "mini", "paper"])
def test_shipped_studies_are_read(name, monkeypatch):
    monkeypatch.chdir(CONFIG.parent)
    study = load_study(CONFIG / f"{name}.yaml")
    assert study.study == name
    assert study.scale == {"demo": "miniature", "mini": "small", "paper": "full"}[name]


@pytest.mark.parametrize(
    ("edit", "place", "near"),
    [
        (lambda s: s.update(backbonse=1), "study.yaml", "backbones"),
        (lambda s: s["finetune"]["common"].update(itertions=5), "finetune.common", "iterations"),
        (lambda s: s["finetune"].update(datasets={"isaid": {"lrr": 1}}), "finetune.datasets.isaid", "lr"),
        (lambda s: s["finetune"].update(datasets={"isiad": {}}), "finetune.datasets", "isaid"),
        (lambda s: s["pretrain"]["data"].update(sizes=4), "pretrain.data", "size"),
        (lambda s: s["arms"]["csp"].update(stemm="zero"), "arms.csp", "stem"),
        (lambda s: s["evaluate"]["isaid"].update(strid=4), "evaluate.isaid", "stride"),
        (lambda s: s["compare"].update(treatmnt="csp"), "compare", "treatment"),
    ],
)
def test_a_misspelt_key_at_any_depth_is_refused_with_the_right_one(tmp_path, edit, place, near):
    with pytest.raises(RequestError) as error:
        load_study(changed(tmp_path, edit))
    assert place in str(error.value)
    assert f"did you mean {near!r}?" in str(error.value)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda s: s["arms"]["csp"].update(strategy="cps"), "did you mean 'csp'?"),
        (lambda s: s["arms"]["csp"].update(probability=1.5), "probability lies in [0, 1]"),
        (lambda s: s["pretrain"]["common"].update(epochs="ten"), "expected a whole number, found 'ten'"),
        (lambda s: s["pretrain"]["common"].update(epochs=True), "expected a whole number, found True"),
        (lambda s: s["datasets"]["isaid"].update(channels=["red", "green", "gren"]), "has no channel 'gren'"),
        (lambda s: s["datasets"].update(isadi={"channels": ["red", "green", "blue"]}), "lacks 'isadi'"),
        (lambda s: s["compare"].update(treatment="cps"), "'cps' is no arm"),
        (lambda s: s["evaluate"]["isaid"].update(primary="eroded"), "is not among pixels"),
        (lambda s: s["evaluate"]["isaid"].update(pixels=["ful"], primary="ful"), "pixels"),
        (lambda s: s["evaluate"]["potsdam"].update(leave_out=["cluter"]), "cluter"),
        (lambda s: s["evaluate"].update(isadi=s["evaluate"]["isaid"]), "isadi"),
        (lambda s: s.pop("seed"), "missing seed"),
        (lambda s: s["pretrain"]["common"].pop("lr"), "missing lr"),
        (lambda s: s.update(study="De mo"), "cannot be a name"),
        (lambda s: s.update(scale="full"), "go together"),
    ],
)
def test_a_wrong_value_is_refused_by_name(tmp_path, edit, words):
    with pytest.raises(RequestError, match="study.yaml") as error:
        load_study(changed(tmp_path, edit))
    assert words in str(error.value)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text((CONFIG / "demo.yaml").read_text() + "\nseed: 1\n")
    with pytest.raises(RequestError, match="'seed' stands twice"):
        load_study(path)


def test_a_number_in_exponent_form_is_a_number(tmp_path):
    # YAML 1.1 reads 1e-3 as a text; a study writes it as everybody does.
    text = (CONFIG / "demo.yaml").read_text()
    assert "lr: 2e-3" in text
    assert load_study(CONFIG / "demo.yaml").pretrain["convnext_mini"].lr == 0.002


def test_a_later_layer_of_a_recipe_lies_over_the_earlier(tmp_path):
    def edit(study):
        study["finetune"]["backbones"] = {"convnext_mini": {"lr": 0.1, "crop": 32}}
        study["finetune"]["datasets"] = {"isaid": {"crop": 48}}

    found = load_study(changed(tmp_path, edit)).finetune
    assert (found["isaid"]["convnext_mini"].lr, found["isaid"]["convnext_mini"].crop) == (0.1, 48)
    assert (found["mfnet"]["convnext_mini"].lr, found["mfnet"]["convnext_mini"].crop) == (0.1, 32)
    assert (found["isaid"]["swin_mini"].lr, found["isaid"]["swin_mini"].crop) == (0.001, 48)


def test_wrong_requests_end_with_exit_code_2_and_one_sentence(tmp_path, capsys):
    path = changed(tmp_path, lambda s: s["finetune"]["common"].update(itertions=5))
    assert main(["plan", "--study", str(path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "did you mean 'iterations'?" in lines[0]
    assert main(["plan", "--study", str(tmp_path / "nothing.yaml")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_one_study_is_chosen_and_never_merged(tmp_path):
    paper = yaml.safe_load((CONFIG / "paper.yaml").read_text())
    assert chosen_study([], {}) == Path("config/demo.yaml")
    assert chosen_study([CONFIG / "paper.yaml"], paper) == CONFIG / "paper.yaml"
    with pytest.raises(RequestError, match="a study is one file"):
        chosen_study([CONFIG / "paper.yaml", CONFIG / "demo.yaml"], paper)
    with pytest.raises(RequestError, match="not merged into a study"):
        chosen_study([CONFIG / "paper.yaml"], paper | {"seed": 3})
    with pytest.raises(RequestError, match="not merged into a study"):
        chosen_study([], {"seed": 3})


def test_the_paper_study_holds_no_key_of_the_demo(monkeypatch):
    monkeypatch.chdir(CONFIG.parent)
    study = load_study(CONFIG / "paper.yaml")
    assert study.miniature is None
    assert not any(name.endswith("_mini") for name in (*study.backbones, *study.pretrain))
    assert study.pretrain["convnext_tiny"].scale_min == 0.08
