"""The JSON Schema of a study is the dataclasses: same keys, same choices, same ranges, and the committed file."""

import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from bench.errors import RequestError
from bench.study.datasets import Miniature, PretrainData, Target
from bench.study.json_schema import schema_text, study_schema
from bench.study.reading import load_study, read_yaml
from bench.study.recipes import Evaluation, FinetuneRecipe, PretrainRecipe, Published
from bench.study.schema import Arm, Backbone, Comparison, Repetitions

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "config").glob("*.yaml"))
SCHEMA = study_schema()
VALID = jsonschema.Draft202012Validator(SCHEMA)


def test_the_committed_schema_is_the_one_that_the_dataclasses_give():
    written = (ROOT / "config" / "study.schema.json").read_text()
    assert written == schema_text(), "run `python -m bench schema > config/study.schema.json`"


def test_it_is_a_json_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_every_study_is_valid_and_names_the_schema_for_editors(path):
    assert [error.message for error in VALID.iter_errors(read_yaml(path))] == []
    assert path.read_text().startswith("# yaml-language-server: $schema=study.schema.json\n")


@pytest.mark.parametrize(
    "kind",
    [
        Arm, Backbone, Comparison, Evaluation, FinetuneRecipe, Miniature, PretrainData, PretrainRecipe, Published,
        Repetitions, Target,
    ],
)  # fmt: skip
def test_every_field_is_there_with_its_default(kind):
    properties = SCHEMA["$defs"][kind.__name__]["properties"]
    assert list(properties) == [field.name for field in dataclasses.fields(kind)]
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            assert properties[field.name]["default"] == json.loads(json.dumps(field.default)), field.name


def test_descriptions_defaults_choices_and_ranges_are_those_of_the_class():
    recipe = SCHEMA["$defs"]["FinetuneRecipe"]["properties"]
    # Below the field stands "Random resize ratio before the crop."; `within(self, "(0, inf)", ..., "scale_range")`.
    positive = {"type": "number", "exclusiveMinimum": 0}
    assert recipe["scale_range"] == {
        "description": "Random resize ratio before the crop.",
        "type": "array",
        "prefixItems": [positive, positive],
        "minItems": 2,
        "maxItems": 2,
        "default": [0.5, 2.0],
    }
    assert recipe["dropout"] == {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "default": 0.1}
    assert recipe["select"]["enum"] == ["last", "best-val"]
    # `_check_protocol(target: Target)` declares this one, outside the class.
    share = SCHEMA["$defs"]["Target"]["properties"]["holdout"]
    assert (share["exclusiveMinimum"], share["exclusiveMaximum"]) == (0, 1)
    # `[0, iterations)` depends on another key: nothing is said of it.
    assert "exclusiveMaximum" not in recipe["warmup_iterations"]


def edited(change):
    study = read_yaml(ROOT / "config" / "demo.yaml")
    change(study)
    return study


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda study: study.update(titel="x"), "titel"),
        (lambda study: study.update(seed="0"), "seed"),
        (lambda study: study.pop("arms"), "arms"),
        (lambda study: study.update(study="../elsewhere"), "study"),
        (lambda study: study["arms"]["csp"].update(strategy="cps"), "csp"),
        (lambda study: study["arms"]["csp"].update(probability=1.5), "probability"),
        (lambda study: study["arms"].update({"A b": {"strategy": "rgb"}}), "A b"),
        (lambda study: study["pretrain"]["common"].update(learning_rate=1), "learning_rate"),
        (lambda study: study["pretrain"].pop("data"), "data"),
        (lambda study: study["finetune"]["common"].update(betas=[0.9]), "betas"),
        (lambda study: study["finetune"]["common"].update(dropout=1.0), "dropout"),
        (lambda study: study["compare"].update(level=0.5), "level"),
        (lambda study: study["evaluate"]["mfnet"].update(metric="miou"), "metric"),
    ],
)
def test_what_the_schema_refuses_the_reader_refuses_too(change, named, tmp_path):
    study = edited(change)
    found = list(VALID.iter_errors(study))
    assert found and any(named in f"{error.json_path} {error.message}" for error in found)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    with pytest.raises(RequestError):
        load_study(path)


def test_a_layer_of_a_recipe_needs_no_whole_recipe():
    study = edited(lambda study: study["finetune"].update(datasets={"mfnet": {"lr": 1e-3}, "potsdam": None}))
    assert list(VALID.iter_errors(study)) == []
