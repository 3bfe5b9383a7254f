"""A small study whose records are made up, compared, drawn and published for real; tests tamper with copies of it."""

import shutil
from pathlib import Path

import pytest

from bench.benchmark.records import write_records
from bench.publish.light import publish
from bench.report.tables import write_tables
from bench.stats.stage import compare_study
from bench.study.reading import load_study
from bench.study.runs import Runs

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "tests" / "workflow" / "smoke.yaml"


def made_up(place: Path) -> Runs:
    """Write the records, comparison and tables of the study into the working folder `place`."""
    shutil.copytree(ROOT / "paper", place / "paper")
    runs = Runs(load_study(STUDY))
    sizes = dict.fromkeys(runs.study.datasets, 6)
    write_records(runs, samples=sizes, side=dict.fromkeys(sizes, 60), images=40, steps=20, picture=24)
    compare_study(runs)
    write_tables(runs.study, Path(runs.root, "compare"), Path(runs.root, "tables"))
    return runs


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder of a finished and published study."""
    folder = tmp_path_factory.mktemp("made_up")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        publish(made_up(folder), STUDY)
    return folder


@pytest.fixture(scope="session")
def published(place: Path) -> Path:
    """The published folder; not to be changed."""
    return place / "results" / "published" / "smoke"


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    """A copy of the published folder to tamper with."""
    return Path(shutil.copytree(published, tmp_path / "smoke"))
