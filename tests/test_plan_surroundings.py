"""What the plan sees around a study: the user's files, the shared folder, the disk, and what a profile says of them."""

import json
import re
from pathlib import Path

import pytest
import yaml

from bench.artefacts import entry_of, store_root
from bench.cli import main
from bench.errors import RequestError
from bench.plan.disk import prepared, unpacked
from bench.plan.state import states
from bench.plan.text import plan_text
from bench.profiles import KNOWN, machine_facts
from bench.record import Record, write_json
from bench.study.files import fingerprint
from bench.study.reading import load_study
from bench.study.runs import Runs

ROOT = Path(__file__).parents[1]


@pytest.fixture
def paper(monkeypatch, tmp_path):
    """The paper's study with nothing run, archives of MFNet at hand and acquired."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    runs = Runs(load_study(ROOT / "config" / "paper.yaml"), str(tmp_path / "results"))
    (tmp_path / "data" / "mfnet").mkdir(parents=True)
    (tmp_path / "data" / "mfnet" / "ir_seg_dataset.zip").write_bytes(b"archive")
    run = runs.target_data["mfnet"]
    write_json(
        Path(run.acquired),
        {"digest": run.acquire_digest, "files": fingerprint(runs.study, run), "sources": [{"bytes": 7}]},
    )
    return runs


def test_other_files_of_the_users_are_a_reason_to_acquire_again(paper, tmp_path):
    assert states(paper)["acquire/mfnet"].kind == "done"
    (tmp_path / "data" / "mfnet" / "ir_seg_dataset.zip").write_bytes(b"another")
    found = states(paper)
    assert found["acquire/mfnet"].kind == "stale" and found["prepare/mfnet"].kind == "missing"
    text = plan_text(paper, Path("config/paper.yaml"))
    assert "stale      acquire mfnet: the files in BENCH_DATA are others than they were" in text


def test_what_was_acquired_stands_where_the_archives_are_gone(paper, monkeypatch):
    run = paper.target_data["mfnet"]
    before = fingerprint(paper.study, run)
    # A finished study needs no archives: their disk is unmounted, or the results were copied.
    monkeypatch.delenv("BENCH_DATA")
    assert fingerprint(paper.study, run) == before and states(paper)["acquire/mfnet"].kind == "done"
    assert fingerprint(paper.study, paper.target_data["pst900"]) == "nowhere"


def test_an_acquisition_that_says_nothing_of_the_files_is_no_reason(paper, tmp_path):
    run = paper.target_data["mfnet"]
    write_json(Path(run.acquired), {"digest": run.acquire_digest, "sources": []})
    (tmp_path / "data" / "mfnet" / "ir_seg_dataset.zip").write_bytes(b"another")
    assert states(paper)["acquire/mfnet"].kind == "done"


def test_data_are_priced_from_the_catalogue_and_then_as_they_lie(paper):
    found = {run.name: (unpacked(paper, run), prepared(paper, run)) for run in paper.target_data.values()}
    # 2,353 frames of 480 x 640 in four 8-bit channels and one of labels; the archive that was acquired has 7 bytes.
    assert found["mfnet"] == (7, 2353 * 480 * 640 * 5)
    # 38 tiles of 6000 x 6000: four 8-bit channels, a float of height, full and eroded labels.
    assert found["potsdam"] == (None, 38 * 6000**2 * (4 + 4 + 2))
    # iSAID's scenes have many sizes.
    assert found["isaid"] == (None, None)
    # The two published archives of photographs, and their JPEGs packed.
    photographs = paper.pretrain_data
    assert unpacked(paper, photographs) == prepared(paper, photographs) == 147_897_477_120 + 6_744_924_160
    run = paper.target_data["isaid"]
    Path(run.folder, "prepared").mkdir(parents=True)
    Path(run.folder, "prepared", "P0000.uint8.npy").write_bytes(b"x" * 1000)
    Path(run.manifest).write_text("{}")
    assert prepared(paper, run) == 1000


def share(runs, run):
    """Leave a pre-training of another study in the shared folder."""
    write_json(Path(run.manifest), {"digest": "prepared"})
    entry = entry_of(store_root(), run.digest, Path(run.manifest))
    Record(
        stage="pretrain",
        names={},
        spec=run.spec,
        digest=run.digest,
        inputs=run.inputs,
        metrics={},
        receipt={},
    ).write(entry / "record.json")


def hours(runs):
    return float(
        re.search(r"of which ([\d,.]+) h are still", plan_text(runs, Path("x.yaml")))[1].replace(",", "")
    )


def test_a_shared_pre_training_is_said_and_costs_nothing(paper, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    plain = plan_text(paper, Path("config/paper.yaml"))
    # A plan makes no folder.
    assert "\nshared " not in plain and not (tmp_path / "store").exists()
    first = paper.pretrainings[0]
    share(paper, first)
    text = plan_text(paper, Path("config/paper.yaml"))
    place = first.folder.removeprefix(f"{paper.root}/")
    assert f"shared     {place}: in the shared folder (BENCH_STORE), taken and not trained" in text
    # One pre-training of ConvNeXt-T less: 312 steps of 4096 images, 300 epochs, 813.2 images a second.
    total = float(re.search(r"price +([\d,.]+) h", text)[1].replace(",", ""))
    assert total - hours(paper) == pytest.approx(312 * 4096 * 300 / 813.2 / 3600, abs=0.2)
    # Whether its data are those of this study is not known before these are prepared.
    Path(first.manifest).unlink()
    text = plan_text(paper, Path("config/paper.yaml"))
    assert "shared     1 more may be: their settings are in the shared folder" in text


# -- what a profile says -----------------------------------------------------------------------------------------------


@pytest.fixture
def profile(tmp_path):
    def write(text):
        (tmp_path / "machine.yaml").write_text(text)
        return str(tmp_path)

    return write


def test_a_profile_names_the_shared_folder_and_the_shell_wins(profile, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    found = profile("BENCH_STORE: ~/store\nBENCH_DATA: $SCRATCH/archives\nBENCH_GPUS_PER_JOB: 4\n")
    assert machine_facts(found, {}) == {
        "BENCH_STORE": "/home/me/store", "BENCH_DATA": "/scratch/me/archives", "BENCH_GPUS_PER_JOB": "4",
    }  # fmt: skip
    assert "BENCH_STORE" not in machine_facts(found, {"BENCH_STORE": ""})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("BENCH_STOER: /x", "unknown key 'BENCH_STOER'; did you mean 'BENCH_STORE'?"),
        ("BENCH_RESULTS: /x", "unknown key 'BENCH_RESULTS'"),
        ("BENCH_STORE: $NOWHERE/x", "BENCH_STORE: '$NOWHERE/x' names a variable that is not set"),
        ("BENCH_WORKERS: 1.5", "BENCH_WORKERS: expected a text or a whole number, found 1.5"),
        ("BENCH_STORE: yes", "BENCH_STORE: expected a text or a whole number, found True"),
        ("- BENCH_STORE", "expected variables with their values, found ['BENCH_STORE']"),
    ],
)
def test_what_a_profile_cannot_say_is_refused_by_name(profile, monkeypatch, text, sentence):
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(RequestError, match=re.escape(sentence)) as error:
        machine_facts(profile(text), {})
    assert "machine.yaml" in str(error.value)


def test_the_profiles_that_come_along_say_nothing_until_somebody_writes_into_them():
    for name in ("default", "slurm", "kubernetes"):
        assert machine_facts(str(ROOT / "profiles" / name), {}) == {}
    # What they suggest may be written there.
    suggested = re.findall(
        r"^# (\w+):", "".join(path.read_text() for path in (ROOT / "profiles").glob("*/machine.yaml")), re.M
    )
    assert "BENCH_STORE" in suggested and set(suggested) <= set(KNOWN)
    documented = (ROOT / "config" / "README.md").read_text()
    assert all(f"`{name}`" in documented for name in KNOWN)


def test_the_plan_reckons_with_the_profiles_folder(paper, profile, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    share(paper, paper.pretrainings[0])
    monkeypatch.delenv("BENCH_STORE")
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    words = ["plan", "--study", "config/paper.yaml", "--profile"]
    assert main([*words, str(ROOT / "profiles" / "default")]) == 0
    assert "\nshared " not in capsys.readouterr().out
    assert main([*words, profile(f"BENCH_STORE: {tmp_path}/store")]) == 0
    assert "in the shared folder (BENCH_STORE), taken and not trained" in capsys.readouterr().out
    # What the test's shell did not set is not left behind.
    monkeypatch.setenv("BENCH_STORE", "")


def test_the_plan_of_a_study_whose_class_descriptions_changed_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = yaml.safe_load((ROOT / "config" / "mini.yaml").read_text())
    text = (ROOT / "config" / "mini.yaml").read_text()
    assert study["datasets"]["crack"]["description"] == "config/datasets/crack.yaml"
    for name in ("config/mini.yaml", "config/datasets/crack.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "config/mini.yaml").write_text(text)
    before = Runs(load_study(Path("config/mini.yaml"))).target_data["crack"]
    write_json(Path(before.acquired), {"digest": before.acquire_digest, "sources": []})
    write_json(Path(before.manifest), {"digest": before.digest, "spec": before.spec})
    with (tmp_path / "config/datasets/crack.yaml").open("a") as stream:
        stream.write("# another word\n")
    state = states(Runs(load_study(Path("config/mini.yaml"))))["prepare/crack"]
    assert state.kind == "stale" and state.reason.startswith("description: ")
    assert json.loads(Path(before.manifest).read_text())["spec"]["description"][:30] in state.reason
