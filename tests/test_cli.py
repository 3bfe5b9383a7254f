"""The door: frozen flags, exit codes, one clear sentence."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import main, parser

ROOT = Path(__file__).parents[1]

FLAGS = {
    "acquire": ["--dataset"],
    "prepare": ["--dataset"],
    "look": [],
    "pretrain": ["--backbone", "--seed", "--strategy"],
    "export": ["--backbone", "--out", "--seed", "--strategy"],
    "finetune": ["--arm", "--backbone", "--dataset", "--seed"],
    "evaluate": ["--backbone", "--dataset"],
    "compare": ["--partial"],
    "power": [],
    "tables": [],
    "figures": [],
    "report": [],
    "plan": ["--max-gpu-hours", "--profile"],
    "calibrate": ["--profile"],
    "run": ["--cores", "--profile"],
    "status": ["--json", "--watch"],
    "schema": [],
    "benchmark": ["--out"],
    "publish": [],
    "adopt": ["--profile"],
    "regenerate": ["--out"],
    "check": [],
    "predict": ["--out", "--weights"],
    "data list": [],
    "data show": ["--picture", "--strategies"],
}


def test_flags_carry_names_and_paths_and_do_not_grow():
    """A hyper-parameter belongs into the study file, never into a flag; a new verb or flag changes this table."""
    verbs = dict(next(action for action in parser()._actions if action.dest == "verb").choices)
    topics = next(action for action in verbs.pop("data")._actions if action.dest == "topic").choices
    verbs |= {f"data {topic}": words for topic, words in topics.items()}
    found = {
        name: sorted(
            flag
            for action in verb._actions
            for flag in action.option_strings
            if flag not in ("-h", "--help", "--study")
        )
        for name, verb in verbs.items()
    }
    assert found == FLAGS


@pytest.mark.parametrize("words", [["schema"], ["data", "list"], ["plan", "--study", "config/demo.yaml"]])
def test_a_reader_that_has_seen_enough_ends_a_verb_without_a_word(words):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_help_gives_each_verb_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for verb in FLAGS:
        assert any(line.strip().startswith(f"{verb.split()[0]} ") for line in done.stdout.splitlines()), verb


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "finetune --dataset isaid --backbone convnext_mini --arm cps --seed 0",
            "no fine-tuning isaid convnext_mini cps seed 0; it has isaid convnext_mini csp seed 0, ",
        ),
        (
            "pretrain --backbone convnext_mini --strategy csp-9ch --seed 0",
            "no pre-training convnext_mini csp-9ch",
        ),
        (
            "export --backbone convnext_mini --strategy csp-9ch --seed 0",
            "no pre-training convnext_mini csp-9ch",
        ),
        (
            "evaluate --dataset isadi --backbone convnext_mini",
            "no evaluation isadi convnext_mini; it has isaid convnext_mini, ",
        ),
        ("acquire --dataset isadi", "--dataset isadi: the study has isaid, mfnet"),
    ],
)
def test_a_run_that_the_study_does_not_have_is_a_wrong_request(words, sentence, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    verb, *rest = words.split()
    assert main([verb, "--study", "config/demo.yaml", *rest]) == 2
    assert sentence in capsys.readouterr().err


def test_light_verbs_import_no_torch():
    code = (
        "import sys\n"
        "from bench.cli import main\n"
        "assert main(['plan', '--study', 'config/paper.yaml']) == 0\n"
        "import bench.stats.scores, bench.report.tables, bench.record\n"
        "heavy = {'torch', 'torchvision', 'timm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
