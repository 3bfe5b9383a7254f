"""Every stage for real at the smallest size, through the one command: twice the same, walked back, broken, mended."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.metrics import scores
from bench.record import read_record, sha256_file
from bench.study.outputs import figure_names, table_names
from bench.study.reading import load_study

ROOT = Path(__file__).parents[2]
STABLE = ("scores", "comparisons", "verdicts", "top1", "alarms")


def copy_project(place: Path) -> Path:
    for name in ("bench", "rules", "config", "profiles", "paper"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", place)
    shutil.copy(Path(__file__).with_name("smoke.yaml"), place / "config")
    return place


def bench(place: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=place, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(place)} | environment,
    )  # fmt: skip


def run_smoke(place: Path) -> subprocess.CompletedProcess[str]:
    return bench(place, "run", "--study", "config/smoke.yaml", "--cores", "2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The smoke study, run from archives to report; and what the command printed."""
    place = copy_project(tmp_path_factory.mktemp("smoke"))
    done = run_smoke(place)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return place, done.stdout


def results(place: Path) -> Path:
    return place / "results" / "smoke"


def test_it_ends_with_the_main_table_and_the_place_of_the_report(finished):
    place, printed = finished
    assert "MINIATURE" in printed and "csp" in printed
    assert "results/smoke/report/report.pdf" in printed
    assert (results(place) / "report" / "report.pdf").read_bytes().startswith(b"%PDF")
    page = (results(place) / "report" / "report.html").read_text()
    assert "<html" in page and "Tables" in page and "Figures" in page


def test_every_table_and_figure_can_be_opened_in_the_html_report(finished):
    place, _ = finished
    page = (results(place) / "report" / "report.html").read_text()
    # The page lists results by their labels and shows one of those whose labels agree.
    labels = [json.loads(text) for text in re.findall(r'"labels": (\{[^}]*\})', page)]
    assert len({json.dumps(label) for label in labels}) == len(labels)
    study = load_study(place / "config" / "smoke.yaml")
    assert {label["table"] for label in labels if "table" in label} == set(table_names(study))
    assert {label["figure"] for label in labels if "figure" in label} == set(figure_names(study))


def test_a_second_run_has_nothing_to_do(finished):
    place, _ = finished
    before = {path: path.stat().st_mtime_ns for path in results(place).rglob("*") if path.is_file()}
    done = run_smoke(place)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr
    lock = results(place) / ".lock"
    after = {path: path.stat().st_mtime_ns for path in results(place).rglob("*") if path.is_file()}
    assert {p: t for p, t in before.items() if p != lock} == {p: t for p, t in after.items() if p != lock}


@pytest.mark.slow
def test_two_runs_from_scratch_give_the_same_bytes(finished, tmp_path):
    place, _ = finished
    again = copy_project(tmp_path)
    done = run_smoke(again)
    assert done.returncode == 0, done.stderr[-4000:]
    for name in [f"compare/{table}.csv" for table in STABLE] + ["tables/main.csv", "tables/claims.tex"]:
        assert (results(place) / name).read_bytes() == (results(again) / name).read_bytes(), name


def test_a_number_is_walked_back_from_the_table_to_the_archive(finished):
    place, _ = finished
    root = results(place)
    # 1. The headline score of one cell in the scores table.
    with (root / "compare" / "scores.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["primary"].lower() == "true"]
    row = next(row for row in rows if (row["dataset"], row["arm"], row["seed"]) == ("potsdam", "csp", "1"))
    # 2. Its evaluation record, and the counts from which it follows.
    folder = root / "evaluate" / "potsdam" / row["backbone"]
    record = read_record(folder / "record.json")
    cell = next(i for i, c in enumerate(record.extra["cells"]) if (c["arm"], c["seed"]) == ("csp", 1))
    assert sha256_file(folder / "counts.npz") == record.extra["counts_sha256"]
    counts = np.load(folder / "counts.npz")["counts/eroded"][cell].sum(axis=0)
    classes = record.extra["classes"]
    again = scores(counts, classes, [classes.index("clutter")])["mF1"]
    assert float(row["value"]) == again
    # 3. The fine-tuning: its weights and its digest.
    tuned = root / "finetune" / "potsdam" / row["backbone"] / "csp" / "seed1"
    tuning = read_record(tuned / "record.json")
    assert tuning.digest == record.extra["cells"][cell]["digest"] == record.inputs["csp/seed1"]
    assert sha256_file(tuned / "weights.safetensors") == tuning.extra["weights_sha256"]
    # 4. The pre-training it began from.
    start = root / "pretrain" / row["backbone"] / "csp-5ch" / "seed0"
    pretraining = read_record(start / "record.json")
    assert pretraining.digest == tuning.inputs["weights"]
    assert sha256_file(start / "weights.safetensors") == tuning.extra["start_sha256"]
    # 5. The data of both, down to the archives' bytes.
    for name, digest in (
        ("potsdam", tuning.inputs["manifest"]),
        ("imagenet1k", pretraining.inputs["manifest"]),
    ):
        manifest = json.loads((root / "data" / name / "manifest.json").read_text())
        assert manifest["digest"] == digest
        for source in manifest["sources"]:
            archive = root / "data" / name / "archives" / source["path"]
            assert sha256_file(archive) == source["sha256"]
    # 6. The code.
    assert set(tuning.receipt) >= {"commit", "dirty", "packages", "device"}


def test_every_table_and_figure_says_miniature(finished):
    place, _ = finished
    for path in (results(place) / "tables").iterdir():
        assert "MINIATURE" in path.read_text(), path


def test_compare_and_tables_refuse_what_is_stale_by_name(finished, tmp_path):
    place, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(place, copy, ignore=shutil.ignore_patterns("raw", "archives", "prepared"))
    study = copy / "config" / "smoke.yaml"
    study.write_text(study.read_text().replace("iterations: 6", "iterations: 7"))
    # Records and no Snakemake metadata, a changed study: the stages themselves refuse.
    refused = bench(copy, "compare", "--study", "config/smoke.yaml")
    assert (
        refused.returncode == 1
        and "finetune/mfnet/convnext_mini/rgb-repeat/seed0/record.json" in refused.stderr
    )
    assert "stale" in refused.stderr
    assert not (results(copy) / "compare" / "record.json").exists()
    shutil.copy(results(place) / "compare" / "record.json", results(copy) / "compare" / "record.json")
    for verb in ("tables", "figures", "report"):
        refused = bench(copy, verb, "--study", "config/smoke.yaml")
        assert refused.returncode == 1 and "compare/record.json" in refused.stderr, verb


def test_a_corrupt_archive_stops_with_one_sentence_and_leaves_nothing(finished, tmp_path):
    place, _ = finished
    data = tmp_path / "data"
    shutil.copytree(results(place) / "data" / "mfnet" / "archives", data / "mfnet")
    archive = data / "mfnet" / "ir_seg_dataset.zip"
    study = tmp_path / "config" / "small.yaml"
    copy_project(tmp_path)
    text = (tmp_path / "config" / "smoke.yaml").read_text()
    without = [line for line in text.splitlines() if not line.startswith("miniature:")]
    study.write_text("\n".join(without).replace("scale: miniature", "scale: small") + "\n")
    words = ("acquire", "--study", "config/small.yaml", "--dataset", "mfnet")

    unset = bench(tmp_path, *words, BENCH_DATA="")
    assert unset.returncode == 2 and "BENCH_DATA is not set" in unset.stderr

    # Whole as a file, and yet not what is published: a drawn archive holds too few pictures.
    few = bench(tmp_path, *words, BENCH_DATA=str(data))
    assert few.returncode == 1 and "it is another archive or not whole" in few.stderr
    assert not (tmp_path / "config" / "archives.lock").exists()

    archive.write_bytes(archive.read_bytes()[:-2000])
    corrupt = bench(tmp_path, *words, BENCH_DATA=str(data))
    assert corrupt.returncode == 1 and "ir_seg_dataset.zip" in corrupt.stderr
    archive.unlink()
    missing = bench(tmp_path, *words, BENCH_DATA=str(data))
    assert missing.returncode == 1 and "ir_seg_dataset.zip" in missing.stderr and "https://" in missing.stderr
    for failed in (few, corrupt, missing):
        lines = failed.stderr.strip().splitlines()
        # What it did, a line each, and at the end the one sentence that says what is wrong.
        assert [line.startswith("bench acquire: ") for line in lines] == [False] * (len(lines) - 1) + [True]
    # A lock file, and the hashes of files that were read whole; nothing of the data.
    left = {path.name for path in (tmp_path / "results").rglob("*") if path.is_file()}
    assert left <= {".lock", ".hashed.json"}


def test_a_published_study_grows_by_an_arm_without_its_weights(finished, tmp_path):
    place, _ = finished
    out = tmp_path / "published"
    shutil.copytree(place, tmp_path / "owner", ignore=shutil.ignore_patterns("raw", "archives", "prepared"))
    published = bench(tmp_path / "owner", "publish", "--study", "config/smoke.yaml")
    assert published.returncode == 0, published.stderr
    shutil.copytree(tmp_path / "owner" / "results" / "published" / "smoke", out)
    # Somebody else: the project, the published folder, the same data (drawn again), and one arm more.
    other = copy_project(tmp_path / "other")
    study = other / "config" / "smoke.yaml"
    study.write_text(
        study.read_text().replace(
            "  csp: {strategy: csp}\n", "  csp: {strategy: csp}\n  scratch: {strategy: scratch}\n"
        )
    )
    words = ("adopt", str(out), "--study", "config/smoke.yaml")
    done = bench(other, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    # Three pre-trainings (rgb, csp of four and five channels), two targets x two arms x two seeds; scratch is new.
    assert "11 of 15 runs taken" in done.stdout
    assert "0 of 15 runs taken" in bench(other, *words).stdout  # they are here already
    priced = bench(other, "plan", "--study", "config/smoke.yaml").stdout.splitlines()
    to_run = {
        line.split()[0]: line.split()[1:4]
        for line in priced
        if line.split()[:1] in (["pretrain"], ["finetune"])
    }
    assert to_run == {"pretrain": ["3", "3", "0"], "finetune": ["12", "8", "4"]}

    ran = run_smoke(other)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-6000:]
    root = results(other)
    trained = sorted(path.parent.relative_to(root).as_posix() for path in root.rglob("weights.safetensors"))
    assert trained == [
        f"finetune/{dataset}/convnext_mini/scratch/seed{seed}"
        for dataset in ("mfnet", "potsdam")
        for seed in (0, 1)
    ]
    # What was counted there is what is counted here, and it says where it comes from.
    for dataset in ("mfnet", "potsdam"):
        here, there = (
            np.load(folder / "evaluate" / dataset / "convnext_mini" / "counts.npz") for folder in (root, out)
        )
        for name in there.files:
            np.testing.assert_array_equal(here[name][:4], there[name])
    record = read_record(root / "finetune" / "mfnet" / "convnext_mini" / "csp" / "seed0" / "record.json")
    assert record.extra["adopted"] == "smoke"
    flags = np.load(root / "evaluate" / "top1" / "convnext_mini" / "correct.npz")
    for name, held in np.load(out / "evaluate" / "top1" / "convnext_mini" / "correct.npz").items():
        np.testing.assert_array_equal(flags[name], held)
    again = bench(other, "publish", "--study", "config/smoke.yaml")
    assert again.returncode == 0, again.stderr
    checked = bench(other, "check", "results/published/smoke")
    assert checked.returncode == 0, checked.stdout + checked.stderr

    # Counted otherwise than is asked now: named, and nothing is guessed.
    study.write_text(
        study.read_text().replace(
            "window: 64, stride: 48, boundary: [1]", "window: 64, stride: 32, boundary: [1]"
        )
    )
    refused = run_smoke(other)
    assert refused.returncode == 1
    log = (root / "logs" / "evaluate" / "mfnet" / "convnext_mini.log").read_text()
    assert "counted under other settings of `evaluate`" in log and "no weights to count anew" in log


def test_a_tampered_published_study_is_not_taken_over(finished, tmp_path):
    place, _ = finished
    shutil.copytree(place, tmp_path / "owner", ignore=shutil.ignore_patterns("raw", "archives", "prepared"))
    owner = tmp_path / "owner"
    assert bench(owner, "publish", "--study", "config/smoke.yaml").returncode == 0
    folder = owner / "results" / "published" / "smoke"
    record = next((folder / "finetune").rglob("record.json"))
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 5'))
    refused = bench(owner, "adopt", str(folder), "--study", "config/smoke.yaml")
    assert refused.returncode == 1 and "breaks the contract of a published study" in refused.stderr
