"""A published study is light, names no machine, and gives its tables and figures again without torch."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.errors import BenchError
from bench.metrics import scores
from bench.publish.light import light_manifest, publish, require_small, seal
from bench.publish.lighter import keep_counts, left_out, lighten, size_of
from bench.publish.page import write_page
from bench.publish.privacy import refuse_private, texts
from bench.publish.regenerate import regenerate
from bench.record import digest_of, read_record, sha256_file
from bench.study.reading import load_study
from bench.study.runs import Runs

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "tests" / "workflow" / "smoke.yaml"
COMMITTED = {path.parent.name: path.parent for path in ROOT.glob("results/published/*/study.yaml")}
MADE_AGAIN = ("compare", "tables", "figures")
WITHOUT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(name + " is blocked here")
sys.meta_path.insert(0, Blocked())
from bench.cli import main
sys.exit(main({words!r}))
"""
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "snakemake",
    "typst",
    "safetensors",
    "tifffile",
    "tqdm",
    "pygments",
    "sklearn",
}


def without_heavy_packages(*words: str) -> subprocess.CompletedProcess[str]:
    code = WITHOUT.format(blocked=HEAVY, words=list(words))
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=os.environ
    )


def bytes_of(folder: Path, *below: str) -> dict[str, bytes]:
    paths = [path for name in below for path in sorted((folder / name).iterdir())]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_tables_and_figures_are_made_again_byte_for_byte_without_torch(copy: Path, published: Path) -> None:
    for name in ("tables", "figures"):
        shutil.rmtree(copy / name)
    for path in (copy / "compare").glob("*.csv"):
        path.unlink()
    done = without_heavy_packages("regenerate", str(copy))
    assert done.returncode == 0, done.stderr
    assert bytes_of(copy, *MADE_AGAIN) == bytes_of(published, *MADE_AGAIN)


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_study_gives_its_tables_byte_for_byte(name: str, tmp_path: Path) -> None:
    committed = COMMITTED[name]
    done = without_heavy_packages("regenerate", str(committed), "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    made, kept = (bytes_of(folder, "tables") for folder in (tmp_path, committed))
    assert sorted(made) == sorted(kept)
    assert [name for name in made if made[name] != kept[name]] == []
    # Figures have the same bytes under the version that drew them; elsewhere they are there all the same.
    from matplotlib import __version__

    figures = sorted(bytes_of(tmp_path, "figures")), sorted(bytes_of(committed, "figures"))
    assert figures[0] == figures[1]
    if json.loads((committed / "published.json").read_text())["made_with"]["matplotlib"] == __version__:
        assert bytes_of(tmp_path, "figures") == bytes_of(committed, "figures")


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_study_keeps_the_contract_and_is_light(name: str) -> None:
    from bench.check.contract import check_folder

    committed = COMMITTED[name]
    assert [(check.name, found) for check, found in check_folder(committed) if found] == []
    assert sum(path.stat().st_size for path in committed.rglob("*") if path.is_file()) <= 5 * 2**20
    refuse_private(committed, [])


def test_the_small_study_shows_no_scene_of_others() -> None:
    committed = COMMITTED["mini"]
    assert "pictures" in left_out(committed)
    assert not [path for path in committed.rglob("*") if path.name.startswith(("pictures_", "examples"))]


def test_what_is_published_holds_no_weights_no_data_and_a_page(published: Path) -> None:
    names = {path.name for path in published.rglob("*") if path.is_file()}
    assert (
        not {name for name in names if name.endswith((".safetensors", ".npy", ".log"))}
        and "log.csv" not in names
    )
    page = (published / "README.md").read_text()
    assert "**MINIATURE.**" in page and "make tables RESULTS=results/published/smoke" in page
    for place in [part.split(")")[0] for part in page.split("](")[1:]]:
        assert (published / place).is_file(), place
    manifest = json.loads((published / "data" / "mfnet" / "manifest.json").read_text())
    assert "samples" not in manifest and len(manifest["splits"]["test"]) == 6


def test_a_discussion_is_published_and_stands_on_the_page(copy: Path) -> None:
    (copy / "discussion.md").write_text("## What it means\n\nNothing: the numbers are\nmade up.\n")
    page = write_page(copy).read_text()
    assert "## Discussion\n\n### What it means\n\nNothing: the numbers are made up.\n" in page


def test_no_file_names_the_machine_and_one_that_does_is_refused(published: Path, copy: Path) -> None:
    refuse_private(published, [])
    assert {name for name, _ in texts(published)} == {
        path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()
    }
    note = copy / "compare" / "alarms.csv"
    for text, shown in (
        (
            "a\nb /home/ada/runs/x\n",
            r"compare/alarms\.csv, line 2: names this machine or its user \(/home/ada/runs/x\)",
        ),
        (r"C:\Users\ada", r"line 1: names this machine or its user \(C:"),
    ):
        note.write_text(text)
        with pytest.raises(BenchError, match=shown):
            refuse_private(copy, [])
    note.write_text("ran on node17 today, see https://host/home/page and a/data/b\n")
    refuse_private(copy, ["node1"])
    with pytest.raises(
        BenchError, match=r"alarms\.csv, line 1: names this machine or its user \(node17 today"
    ):
        refuse_private(copy, ["node17"])


@pytest.fixture
def runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.chdir(place)
    return Runs(load_study(STUDY))


def test_a_record_that_is_too_large_is_refused_with_its_largest_files(published: Path) -> None:
    sizes = {path.relative_to(published).as_posix(): path.stat().st_size for path in published.rglob("*.*")}
    require_small(published, sum(sizes.values()))
    # Nothing was left out of so small a study.
    assert left_out(published) == []
    largest = max(sizes, key=lambda name: sizes[name])
    with pytest.raises(
        BenchError, match=rf"git keeps 0\.10 MB at most; largest: {largest} \(\d\.\d\d MB\), "
    ):
        require_small(published, 100_000)


def test_what_is_too_large_leaves_out_one_thing_after_the_other(copy: Path) -> None:
    sizes = {
        name: sum(path.stat().st_size for path in copy.rglob(pattern))
        for name, pattern in {"pdf": "figures/*.pdf", "pictures": "pictures_*.png"}.items()
    }
    whole = size_of(copy)
    assert lighten(copy, whole) == [] and size_of(copy) == whole
    assert lighten(copy, whole - sizes["pdf"]) == ["pdf"]
    assert [path.name for path in copy.rglob("*.pdf")] == ["report.pdf"]
    assert lighten(copy, size_of(copy) - 1) == ["report"] and left_out(copy) == ["pdf", "report"]
    assert not list(copy.rglob("*.pdf")) and list(copy.rglob("pictures_*.png"))


def test_pictures_that_stay_local_are_nowhere_in_what_is_published(
    runs: Runs, published: Path, tmp_path: Path
) -> None:
    from bench.check.contract import check_folder

    text = STUDY.read_text().replace("scale: miniature\n", "scale: miniature\npictures: local\n")
    (study_file := tmp_path / "local.yaml").write_text(text)
    folder = publish(Runs(load_study(study_file)), study_file, tmp_path / "out")
    assert left_out(folder) == ["pictures"]
    assert not [path for path in folder.rglob("*") if path.name.startswith(("pictures_", "examples"))]
    page = (folder / "README.md").read_text()
    assert "Not passed on, since the data may not be: the figures that show scenes" in page
    assert "pictures_" not in page and "[report.pdf](report.pdf)" in page
    # The report is that of the study but for the panels of scenes, one a dataset.
    pictures = [
        len(re.findall(rb"/Subtype\s*/Image\b", (record / "report.pdf").read_bytes()))
        for record in (published, folder)
    ]
    assert pictures[0] - pictures[1] == len(runs.study.datasets)
    assert [(check.name, found) for check, found in check_folder(folder) if found] == []
    kept = bytes_of(folder, *MADE_AGAIN)
    regenerate(folder)
    assert bytes_of(folder, *MADE_AGAIN) == kept
    shutil.copyfile(published / "figures" / "pictures_mfnet.png", folder / "figures" / "pictures_mfnet.png")
    found = {check.name: found for check, found in check_folder(folder)}["figures"]
    assert found == ["figures/pictures_mfnet.png: shows scenes, which the study keeps local; remove it"]
    (folder / "figures" / "pictures_mfnet.png").unlink()
    assert lighten(folder, 0) == ["pdf", "report", "further"]
    write_page(folder)
    assert (
        "the record stays small: the figures as PDF; the PNGs are there; the report as PDF"
        in (folder / "README.md").read_text()
    )


def test_a_light_record_gives_again_what_was_not_left_out(copy: Path, published: Path) -> None:
    from bench.check.contract import check_folder

    before = np.load(published / "evaluate" / "mfnet" / "convnext_mini" / "counts.npz")
    assert any(name.startswith("edges/") for name in before.files)
    assert lighten(copy, 0) == left_out(copy) == ["pdf", "report", "pictures", "further"]
    after = np.load(copy / "evaluate" / "mfnet" / "convnext_mini" / "counts.npz")
    # The confusion counts of each scene stay as they were counted; those of edges and spectra go.
    assert after.files == ["counts/full"] and np.array_equal(after["counts/full"], before["counts/full"])
    write_page(copy)
    assert "Left out, so that the record stays small: the figures as PDF" in (copy / "README.md").read_text()
    kept = bytes_of(copy, *MADE_AGAIN)
    assert {name: kept[name] for name in kept if not name.startswith("figures/")} == bytes_of(
        published, "compare", "tables"
    )
    assert not [name for name in kept if name.endswith(".pdf") or "pictures_" in name]
    for name in ("tables", "figures"):
        shutil.rmtree(copy / name)
    for path in (copy / "compare").glob("*.csv"):
        path.unlink()
    regenerate(copy)
    assert bytes_of(copy, *MADE_AGAIN) == kept
    seal(copy)
    assert [(check.name, found) for check, found in check_folder(copy) if found] == []


def test_packed_counts_are_the_evaluations_and_their_record_says_which(
    place: Path, published: Path, copy: Path
) -> None:
    below = Path("evaluate", "mfnet", "convnext_mini")
    own, packed = (np.load(root / below / "counts.npz") for root in (place / "results" / "smoke", published))
    assert sorted(own.files) == sorted(packed.files)
    assert all(np.array_equal(own[name], packed[name]) for name in own.files)
    extra = read_record(published / below / "record.json").extra
    assert extra["counts_of_run_sha256"] == sha256_file(place / "results" / "smoke" / below / "counts.npz")
    assert extra["counts_sha256"] == sha256_file(published / below / "counts.npz")
    (copy / below / "counts.npz").write_bytes(
        (place / "results" / "smoke" / below / "counts.npz").read_bytes()
    )
    with pytest.raises(
        BenchError, match=r"counts\.npz: not the counts that their record speaks of; evaluate again"
    ):
        keep_counts(copy / below)


def test_tables_that_do_not_follow_and_stale_records_are_not_published(
    runs: Runs, tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Path(shutil.copytree(place, tmp_path / "work"))
    monkeypatch.chdir(work)
    table = work / "results" / "smoke" / "tables" / "main.csv"
    kept = table.read_text()
    table.write_text(kept.replace("MINIATURE", "FULL SIZE"))
    with pytest.raises(
        BenchError, match=r"tables/main\.csv: differs from the table that follows from the study's"
    ):
        publish(runs, STUDY, tmp_path / "out")
    table.write_text(kept)
    record = work / runs.finetunings[0].record
    value = json.loads(record.read_text())
    value["spec"]["seed"] = 9
    value["digest"] = digest_of(value["spec"], value["inputs"])
    record.write_text(json.dumps(value))
    with pytest.raises(BenchError, match=r"made by another study or version .*; run the study again before"):
        publish(runs, STUDY, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_many_sources_are_summed_up() -> None:
    sources = [{"path": f"f{i}", "bytes": 3, "sha256": "0"} for i in range(60)]
    (one,) = light_manifest({"sources": sources})["sources"]
    assert one["files"] == 60 and one["bytes"] == 180 and len(one["sha256"]) == 64


def test_of_the_samples_a_light_manifest_keeps_the_units_of_those_evaluated() -> None:
    samples = {name: {"unit": unit, "shape": [4, 4]} for name, unit in (("a", "u"), ("b", "v"), ("c", "v"))}
    manifest = {"sources": [], "samples": samples, "evaluation_split": "test"}
    light = light_manifest(manifest | {"splits": {"train": ["a"], "test": ["c", "b"]}})
    assert light["units"] == ["v", "v"] and "samples" not in light


def test_a_published_folder_without_counts_or_study_is_named(copy: Path) -> None:
    shutil.rmtree(copy / "evaluate")
    with pytest.raises(BenchError, match="evaluate: holds no record; the published study has no counts"):
        regenerate(copy)
    (copy / "study.yaml").unlink()
    with pytest.raises(
        BenchError, match=r"study\.yaml: no such file; a published study holds its study file"
    ):
        regenerate(copy)


@pytest.mark.parametrize("dataset", ["mfnet", "potsdam"])
@pytest.mark.parametrize("arm", ["rgb-repeat", "csp"])
def test_a_mean_in_a_table_is_walked_back_to_the_counts_and_the_training(
    published: Path, dataset: str, arm: str
) -> None:
    # 1. A number of the main table.
    lines = [
        x for x in (published / "tables" / "main.csv").read_text().splitlines() if not x.startswith("# ")
    ]
    row = next(row for row in csv.DictReader(lines) if row["Dataset"].lower() == dataset)
    # 2. The rows of scores.csv that it is the mean of.
    found = pd.read_csv(published / "compare" / "scores.csv").query(
        "primary and dataset == @dataset and arm == @arm"
    )
    assert float(row[arm]) == pytest.approx(100 * found["value"].mean(), abs=0.005)
    # 3. The counts that each of them follows from, and the record of the training behind it.
    record = read_record(published / "evaluate" / dataset / "convnext_mini" / "record.json")
    leave_out = [record.extra["classes"].index(name) for name in record.spec["leave_out"]]
    for _, score in found.iterrows():
        cells = record.extra["cells"]
        index = next(
            i for i, c in enumerate(cells) if (arm in c["names"], c["seed"]) == (True, score["seed"])
        )
        counts = np.load(published / "evaluate" / dataset / "convnext_mini" / "counts.npz")[
            f"counts/{score['pixels']}"
        ]
        again = scores(counts[index].sum(axis=0), record.extra["classes"], leave_out)[score["metric"]]
        assert again == score["value"]
        tuned = (
            published / "finetune" / dataset / "convnext_mini" / cells[index]["arm"] / f"seed{score['seed']}"
        )
        training = read_record(tuned / "record.json")
        assert training.digest == cells[index]["digest"] and training.receipt["commit"]


def test_the_drop_of_top1_is_walked_back_to_single_images(published: Path) -> None:
    lines = [
        x for x in (published / "tables" / "top1.csv").read_text().splitlines() if not x.startswith("# ")
    ]
    row = next(row for row in csv.DictReader(lines) if (row["Pre-training"], row["Channels"]) == ("csp", "4"))
    folder = published / "evaluate" / "top1" / "convnext_mini"
    cells = read_record(folder / "record.json").extra["cells"]
    right = np.load(folder / "correct.npz")["correct/natural"]
    share = {cell["label"]: right[i].mean() for i, cell in enumerate(cells)}
    assert float(row["drop from rgb"]) == pytest.approx(
        100 * (share["rgb-3ch"] - share["csp-4ch"]), abs=0.005
    )
