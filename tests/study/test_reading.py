"""A study file is read alone and strictly."""

import copy
import json
import re
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bench.cli import main
from bench.errors import RequestError
from bench.study import reading
from bench.study.choice import chosen_study
from bench.study.reading import load_study, read_yaml
from bench.study.runs import Runs

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
        (
            lambda s: s["arms"]["csp"].update(strategy="sample", fill="random"),
            "fill belongs to csp, not to sample",
        ),
        (
            lambda s: s["arms"]["csp"].update(strategy="grey", scope="batch"),
            "scope, probability and normalise belong to csp, sample, weights, not to grey",
        ),
        (lambda s: s["arms"]["rgb-repeat"].update(order="after-erasing"), "order has no meaning for rgb"),
        (
            lambda s: s["arms"]["csp"].update(order="after"),
            "'after' is none of before-erasing, after-erasing",
        ),
        (lambda s: s["datasets"]["isaid"].update(channels=["red", "green"]), "channels are 3 to 8, found 2"),
        (
            lambda s: s["pretrain"]["common"].update(hand_on="last"),
            "hand_on: last belongs to ema, which is unset",
        ),
        (lambda s: s["pretrain"]["common"].update(published_epochs=1), "warmup_epochs lies in [0, 1)"),
        (
            lambda s: s["pretrain"].update(published={"convnext": {}}),
            "pretrain.published: unknown key 'convnext'",
        ),
        (
            lambda s: s["pretrain"].update(published={"convnext_mini": {"path": "rgb.pth"}}),
            "pretrain.published.convnext_mini.sha256 is missing",
        ),
        (lambda s: s["pretrain"]["common"].update(epochs="ten"), "expected a whole number, found 'ten'"),
        (lambda s: s["pretrain"]["common"].update(epochs=True), "expected a whole number, found True"),
        (lambda s: s["datasets"]["isaid"].update(channels=["red", "green", "gren"]), "has no channel 'gren'"),
        (lambda s: s["datasets"].update(isadi={"channels": ["red", "green", "blue"]}), "lacks 'isadi'"),
        (lambda s: s["compare"].update(treatment="cps"), "'cps' is no arm"),
        (
            lambda s: s["compare"].update(decisive=["mfnet"]),
            "compare.decisive ['mfnet'] is no place of the study",
        ),
        (lambda s: s["pretrain"]["data"].update(sha256="0" * 64), "sha256 belongs to source: folders"),
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
    # YAML 1.1 reads 25e-4 as a text; a study writes it as everybody does.
    path = changed(tmp_path, lambda s: s["pretrain"]["common"].update(lr="25e-4"))
    path.write_text(path.read_text().replace("'25e-4'", "25e-4"))
    assert "lr: 25e-4\n" in path.read_text()
    assert load_study(path).pretrain["convnext_mini"].lr == 0.0025


def test_a_later_layer_of_a_recipe_lies_over_the_earlier(tmp_path):
    def edit(study):
        study["finetune"]["common"] |= {"lr": 0.001, "crop": 64}
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


# -- every node of the shipped studies ---------------------------------------------------------------------------

FREE = ("backbones", "datasets", "arms", "evaluate")
"""Sections whose keys are names; so are those of `backbones` and `datasets` inside `pretrain` and `finetune`."""


def nodes(value, at=()):
    """Every value below `value` with the keys that lead to it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*at, key), item
        yield from nodes(item, (*at, key))


def holder(study, place):
    for key in place[:-1]:
        study = study[key]
    return study


@contextmanager
def from_memory(monkeypatch, study):
    """Hand a study to the reader as if it had been parsed; thousands of files take their time."""
    with monkeypatch.context() as patch:
        patch.setattr(reading, "read_yaml", lambda path: study)
        yield


def free_names(place):
    """Whether the last key of `place` is a name that the study chose, and no key of the schema."""
    parts = place[:3] == ("grid", "axes", "channels") and len(place) > 3
    return parts or (len(place) == 2 and place[0] in FREE) or (len(place) == 3 and place[1] in FREE)


def dotted(place):
    """A place as messages write it: `datasets.mfnet.channels[1]`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).lstrip(".")


# Through JSON: each place has a mapping of its own, where the file lets several share one.
SOURCES = {name: json.loads(json.dumps(read_yaml(CONFIG / f"{name}.yaml"))) for name in ("demo", "mini")}
PLACES = [(name, place) for name, study in SOURCES.items() for place, _ in nodes(study)]
KEYS = [(name, place) for name, place in PLACES if isinstance(place[-1], str) and not free_names(place)]


def test_the_generated_cases_reach_every_level():
    depth = {len(place) for _, place in KEYS}
    # 4: finetune.backbones.convnext_mini.lr; 5: one key of a pattern, grid.exclude[0].arm, and its place in the list.
    assert depth >= {1, 2, 3, 4} and len(KEYS) > 100
    assert any(place[:2] == ("pretrain", "data") for _, place in KEYS)


@pytest.mark.parametrize("misspelt", [lambda key: key[:-1], lambda key: key + "x", lambda key: "zzz"])
@pytest.mark.parametrize("name", SOURCES)
def test_every_misspelt_key_is_refused_at_its_place(name, misspelt, monkeypatch):
    path = Path("study.yaml")
    for source, place in KEYS:
        if source != name:
            continue
        study = copy.deepcopy(SOURCES[name])
        mapping, wrong = holder(study, place), misspelt(place[-1])
        mapping[wrong] = mapping.pop(place[-1])
        with from_memory(monkeypatch, study), pytest.raises(RequestError) as error:
            load_study(path)
        message = str(error.value)
        at = f"{path}: {dotted(place[:-1])}" if place[1:] else str(path)
        assert message.startswith(f"{at}: unknown key {wrong!r}; "), message
        known = re.split(r"known keys: ", message)
        hint = f"did you mean {place[-1]!r}?"
        assert hint in message if len(known) == 1 else place[-1] in known[1].split(", "), message


@pytest.mark.parametrize("value", [5, None, [], "x", {1: 2}, float("nan"), [[1]], True, -1, {}], ids=repr)
@pytest.mark.parametrize("name", SOURCES)
def test_any_value_anywhere_is_refused_in_one_sentence_or_read_for_good(name, value, monkeypatch):
    path = Path("study.yaml")
    monkeypatch.chdir(CONFIG.parent)
    accepted = 0
    for source, place in PLACES:
        if source != name:
            continue
        study = copy.deepcopy(SOURCES[name])
        holder(study, place)[place[-1]] = value
        try:
            with from_memory(monkeypatch, study):
                found = load_study(path)
        except RequestError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            continue
        accepted += 1
        # One training of each is enough: what a value does to the jobs, it does to the first.
        found = replace(found, repetitions=replace(found.repetitions, pretrain=1, finetune=1), grid=None)
        assert re.fullmatch("[0-9a-f]{64}", Runs(found).compare_digest)
    assert accepted < len(PLACES) / 4


def set_at(*place, to):
    def edit(study):
        holder(study, place)[place[-1]] = to

    return edit


P, F = ("pretrain", "common"), ("finetune", "common")
CONVNEXT, SWIN = ("backbones", "convnext_mini"), ("backbones", "swin_mini")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("backbones",), 5, "backbones: expected a mapping of names, found 5"),
        (("backbones",), True, "backbones: expected a mapping of names, found True"),
        (("backbones",), [[1]], "backbones: expected a mapping of names, found [[1]]"),
        (("datasets",), [1], "datasets: expected a mapping of names, found [1]"),
        (("datasets",), {1: 2}, "datasets: 1 cannot be a name"),
        (("datasets",), {}, "datasets: expected a mapping of names, found {}"),
        (("arms",), {}, "arms holds nothing"),
        (("finetune",), None, "finetune (common, backbones.convnext_mini and datasets.isaid): missing iterations"),
        (("pretrain",), None, "pretrain: missing data"),
        (("finetune", "backbones"), [], "finetune.backbones: expected a mapping of keys, found []"),
        ((*P, 5), 1, "pretrain.common: unknown key 5"),
        ((*P, "lr"), float("nan"), "pretrain.common.lr: expected a finite number, found nan"),
        ((*P, "lr"), float("inf"), "pretrain.common.lr: expected a finite number, found inf"),
        ((*P, "lr"), 10**400, "pretrain.common.lr: expected a finite number"),
        ((*P, "mixup"), -0.1, "pretrain.common.mixup lies in [0, inf), found -0.1"),
        ((*P, "cutmix"), -1, "pretrain.common.cutmix lies in [0, inf)"),
        ((*P, "betas"), [0.9, 1.0], "pretrain.common.betas lies in [0, 1), found 1.0"),
        ((*P, "ema"), 1.0, "pretrain.common.ema lies in (0, 1), found 1.0"),
        ((*P, "ema"), 0, "pretrain.common.ema lies in (0, 1), found 0.0"),
        ((*P, "clip_grad"), 0, "pretrain.common.clip_grad lies in (0, inf)"),
        ((*P, "weight_decay"), -1, "pretrain.common.weight_decay lies in [0, inf)"),
        ((*P, "warmup_lr"), 1.0, "pretrain.common.warmup_lr lies in [0, "),
        ((*P, "randaugment"), "m9", "pretrain.common.randaugment is a policy such as rand-m9"),
        ((*P, "randaugment"), "rand-q9", "pretrain.common.randaugment is a policy"),
        ((*P, "crop"), 31, "pretrain (common, backbones.convnext_mini).crop is at least 32 pixels, found 31"),
        ((*P, "crop"), 66, "pretrain (common, backbones.convnext_mini).crop is a multiple of 4 pixels, found 66"),
        (("pretrain", "data", "size"), 31, "pretrain.data.size is at least 32 pixels, found 31"),
        (("miniature", "side"), 23, "miniature.side is at least 24 pixels, found 23"),
        (("miniature", "train_images"), 0, "miniature.train_images lies in [1, inf)"),
        (("miniature", "val_images"), 0, "miniature.val_images lies in [1, inf)"),
        (("miniature", "scenes"), 1, "miniature.scenes lies in [2, inf)"),
        ((*F, "betas"), [-0.1, 0.9], "finetune.common.betas lies in [0, 1), found -0.1"),
        ((*F, "clip_grad"), -1, "finetune.common.clip_grad lies in (0, inf)"),
        ((*F, "weight_decay"), -1, "finetune.common.weight_decay lies in [0, inf)"),
        ((*F, "flip"), 1.1, "finetune.common.flip lies in [0, 1]"),
        ((*F, "aux_weight"), -1, "finetune.common.aux_weight lies in [0, inf)"),
        ((*F, "pool_scales"), [], "finetune.common.pool_scales is an empty list"),
        ((*F, "pool_scales"), [1, 0], "finetune.common.pool_scales lies in [1, inf), found 0"),
        ((*F, "head_channels"), 0, "finetune.common.head_channels lies in [1, inf)"),
        ((*F, "aux_channels"), 0, "finetune.common.aux_channels lies in [1, inf)"),
        ((*F, "batch_size"), 1, "finetune.common.batch_size lies in [2, inf), found 1"),
        ((*F, "power"), 0, "finetune.common.power lies in (0, inf)"),
        ((*F, "warmup_factor"), 1.1, "finetune.common.warmup_factor lies in [0, 1]"),
        ((*F, "max_class_share"), 0, "finetune.common.max_class_share lies in (0, 1]"),
        (("finetune", "datasets"), {"isaid": {"flip": 2}}, "finetune.datasets.isaid.flip lies in [0, 1]"),
        ((*CONVNEXT, "depths"), [1, 0, 1, 1], "backbones.convnext_mini.depths lies in [1, inf), found 0"),
        ((*CONVNEXT, "widths"), [8, 8, -8, 8], "backbones.convnext_mini.widths lies in [1, inf), found -8"),
        ((*SWIN, "heads"), [3, 3, 3, 3], "backbones.swin_mini.widths [16, 32, 64, 128] are no multiples of heads"),
        (("evaluate", "isaid", "pixels"), ["full", "full"], "evaluate.isaid.pixels names one twice"),
        (("evaluate", "potsdam", "leave_out"), ["clutter"] * 2, "evaluate.potsdam.leave_out names one twice"),
        (("orders",), [], "orders is an empty list"),
        (("orders",), ["natural", "natural"], "orders names one twice"),
        (("study",), "published", "study: the name 'published' is taken"),
        (("datasets", "folder"), {"channels": ["a", "b", "c"]}, "evaluate lacks 'folder'"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_by_its_full_path(place, value, words, tmp_path, capsys):
    path = changed(tmp_path, set_at(*place, to=value))
    assert main(["plan", "--study", str(path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and f"study.yaml: {words}" in lines[0], lines


@pytest.mark.parametrize("path", ["/data/mine", "../mine", "a/../../b", "", " "])
@pytest.mark.parametrize("place", [("datasets", "crack"), ("pretrain", "data")])
def test_a_path_that_leaves_the_data_root_is_refused(place, path, tmp_path):
    study = changed(tmp_path, set_at(*place, "path", to=path), "mini")
    with pytest.raises(RequestError, match=r"path lies below the data root") as error:
        load_study(study)
    assert f"{'.'.join(place)}.path" in str(error.value)


@pytest.mark.parametrize("path", ["my pictures", "./mine", "_mine", "m.ine", "mine\n"])
def test_a_path_that_would_be_no_name_of_a_folder_of_results_is_refused(path, tmp_path):
    study = changed(tmp_path, set_at("pretrain", "data", "path", to=path), "mini")
    with pytest.raises(RequestError, match=r"pretrain\.data\.path names a folder of results"):
        load_study(study)


@pytest.mark.parametrize("path", ["Imagenette", "a/b", "mine/", "a_b-c2"])
def test_a_path_that_makes_a_name_is_read(path, tmp_path):
    study = load_study(changed(tmp_path, set_at("pretrain", "data", "path", to=path), "mini"))
    assert study.pretrain_data.name == {"a/b": "a-b", "mine/": "mine"}.get(path, path.lower())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("? [a]\n: 1\n", "line 1: a key is one word, found a sequence"),
        ("x: 1\n{a: 1}: 2\n", "line 2: a key is one word, found a mapping"),
        ("? !!seq a\n: 1\n", "not readable as YAML"),
        ("title: 2001-13-45\n", "not readable as YAML (month must be"),
        ("seed: !!int x\n", "not readable as YAML"),
        ("seed: !!bool x\n", "not readable as YAML"),
        (f"seed: {'1' * 5000}\n", "not readable as YAML"),
        ("[" * 5000, "not readable as YAML"),
        ("study: \xe9", "cannot be read as text"),
        ("- 1\n", "a study is a mapping of keys, found list"),
        ("", "a study is a mapping of keys, found NoneType"),
        ("5: 1\n", "unknown key 5"),
        ("null: 1\n", "unknown key None"),
        (".nan: 1\n", "unknown key nan"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_study_ends_in_one_sentence(text, words, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(RequestError) as error:
        load_study(path)
    assert str(error.value).startswith(str(path)) and words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_is_no_study(tmp_path):
    with pytest.raises(RequestError, match="cannot be read as text"):
        load_study(tmp_path)


def test_a_study_that_workflow_and_reader_may_not_agree_on_is_left_to_the_reader(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("margin: .nan\n")
    assert chosen_study([path], {"margin": float("nan")}) == path
    path.write_text("- 1\n")
    assert chosen_study([path], {"margin": 1}) == path
    path.write_text("a: 1\na: 2\n")
    with pytest.raises(RequestError, match="'a' stands twice"):
        chosen_study([path], {"a": 2})


@pytest.mark.parametrize(
    ("found", "instead", "words"),
    [
        ("primary: patches\n    metric: mIoU\n    window: 896", "primary: patches\n    metric: mIoU\n    window: 640",
         "pixels: patches counts windows of 640 pixels, 512 apart, but the geometry 896/512 has patches of 896"),
        ("geometry: 512/512}", "geometry: 512/512, per_tile: [red]}",
         "photometric distorts stored 8-bit colours, which per_tile standardises (red)"),
        ("    amp: true\n  backbones:\n    convnext_tiny:                         # ConvNeXt semantic",
         "    amp: true\n    select: best-val\n    validate_every: 1000\n  backbones:\n"
         "    convnext_tiny:   # ConvNeXt semantic",
         "need datasets.isaid.selection: holdout, which sets a validation part aside; test data never select"),
        ("geometry: 896/512}", "geometry: 896/511}", "isaid has no '896/511'; it has ['whole', '896/512']"),
        ("boundary: [3, 9]", "boundary: [3, 3]", "boundary names one twice"),
        ("spectral: [reversed, mean", "spectral: [backwards, mean", "spectral holds reversed, orders:K, mean"),
        ("\nspectral: [mean]", "\nspectral: [reversed]", "spectral holds mean, gain:G or offset:D (channel"),
        ("primary: patches", "primary: patches\n    scales: [0.5, 1.5]", "scales hold 1.0 where pixels hold patches"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(found, instead, words, tmp_path):
    text = Path("config/paper.yaml").read_text()
    assert found in text
    path = tmp_path / "study.yaml"
    path.write_text(text.replace(found, instead, 1))
    with pytest.raises(RequestError) as error:
        load_study(path)
    assert words in str(error.value)
