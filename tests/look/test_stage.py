"""`bench data show NAME --picture OUT.png`: each wrong request ends in a sentence that says what to do."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from bench.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with the demo's study and nothing prepared."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("mfnet --picture out.png", 1, "manifest.json: mfnet is not prepared for the study demo; run"),
        ("mfnet --strategies out.png", 1, "imagenet1k is not prepared for the study demo"),
        ("crack --picture out.png", 2, "crack: the study demo has isaid, mfnet, pst900, potsdam, imagenet1k"),
        ("mfnet --picture out.jpg", 2, "out.jpg: pictures are written as PNG"),
        ("mfnet --strategies out", 2, "out: pictures are written as PNG"),
        (
            "mfnet --study config/demo.yaml",
            2,
            "--study says whose prepared data --picture or --strategies show",
        ),
    ],
)
def test_a_wrong_request_says_what_to_do_and_writes_nothing(here, capsys, words, code, sentence):
    assert main(["data", "show", *words.split()]) == code
    assert sentence in capsys.readouterr().err
    assert not list(here.glob("out*"))


def test_a_prepared_dataset_of_the_demo_is_pictured(here, capsys):
    for verb in ("acquire", "prepare"):
        assert main([verb, "--study", "config/demo.yaml", "--dataset", "pst900"]) == 0
    capsys.readouterr()
    assert main(["data", "show", "pst900", "--picture", "pictures/pst900.png"]) == 0
    assert capsys.readouterr().out == "pictures/pst900.png\n"
    with Image.open(here / "pictures" / "pst900.png") as picture:
        assert picture.size[0] > 1400 and picture.mode == "RGB"
