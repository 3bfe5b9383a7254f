"""`make tables`: every table and figure of a published study from its counts, in seconds and without torch.

Needs numpy, scipy, pandas, matplotlib and PyYAML. What the study expects of each cell is read from the records
themselves, so that a published study outlives changes to the schema of studies; `bench check` says whether the
records keep their contract.
"""

import shutil
import warnings
from pathlib import Path

from bench.errors import BenchError
from bench.publish.lighter import CARRIED, left_out
from bench.record import Record, read_record
from bench.report.numbers import read_numbers
from bench.report.plates import draw
from bench.report.style import write
from bench.report.tables import write_tables
from bench.stats.classifiers import ExpectedClassifier
from bench.stats.compare import compare
from bench.stats.scores import ExpectedCell
from bench.stats.stated import Stated
from bench.study.reading import load_study
from bench.study.schema import Study

STUDY_FILE = "study.yaml"


def regenerate(folder: Path, out: Path | None = None) -> list[Path]:
    """Write compare/, tables/ and figures/ of a published study anew, into `out` (unset: in place).

    Returns the paths of tables and figures. Raises BenchError where the record is incomplete.
    """
    out = out or folder
    study = published_study(folder)
    recompare(study, folder, out / "compare")
    written = write_tables(study, out / "compare", out / "tables")
    numbers = read_numbers(study, out / "compare")
    absent = left_out(folder)
    # Figures read what is finished from the comparison, and examples, losses and counts from the record.
    for name, figure in draw(numbers, folder, compare=out / "compare", pictures="pictures" not in absent):
        endings = ("png",) if "pdf" in absent else ("png", "pdf")
        written += write(figure, out / "figures" / name, endings)
    return written


def published_study(folder: Path) -> Study:
    """Return the study of a published folder. Raises BenchError if there is no study file in it."""
    path = folder / STUDY_FILE
    if not path.is_file():
        raise BenchError(
            f"{path}: no such file; a published study holds its study file (`bench publish` writes it)"
        )
    return load_study(path)


def records_of(folder: Path, *stages: str) -> list[Path]:
    """Return the paths of all records below a results folder's stages, sorted."""
    return sorted(path for stage in stages for path in (folder / stage).rglob("record.json"))


def recompare(study: Study, folder: Path, out: Path, *, paper: Path | None = None) -> None:
    """Write the comparison's tables from the records and counts of a results folder into `out`.

    `paper`: folder of the paper's numbers and of other work's; unset: the one in `folder`.
    """
    paper = paper or folder / "paper"
    evaluations = records_of(folder, "evaluate")
    if not evaluations:
        raise BenchError(f"{folder / 'evaluate'}: holds no record; the published study has no counts")
    read = [read_record(path) for path in evaluations]
    context = paper / "context.csv"
    with warnings.catch_warnings():
        # Each alarm is a row of alarms.csv.
        warnings.simplefilter("ignore", UserWarning)
        compare(
            evaluations,
            [cell for record in read for cell in cells_of(record)],
            study.compare,
            study.evaluate,
            study.scale,
            study.repetitions,
            paper / "reported.csv",
            out,
            classifiers=[cell for record in read for cell in classifiers_of(record)],
            records=records_of(folder, "pretrain", "finetune"),
            factors=study.factors,
            named=study.named,
            stated=Stated(study),
            context=context if context.is_file() else None,
        )
    for path in sorted((folder / CARRIED).glob("*.csv")):
        shutil.copyfile(path, out / path.name)


def cells_of(record: Record) -> list[ExpectedCell]:
    """Return the fine-tunings that an evaluation's record says it counted; none for a record of top-1."""
    if record.stage != "evaluate":
        return []
    return [
        ExpectedCell(
            dataset=record.names["dataset"],
            backbone=record.names["backbone"],
            arm=cell["arm"],
            names=tuple(cell["names"]),
            pretrain_seed=cell["pretrain_seed"],
            seed=cell["seed"],
            digest=cell["digest"],
        )
        for cell in record.extra["cells"]
    ]


def classifiers_of(record: Record) -> list[ExpectedClassifier]:
    """Return the pre-trainings that a record of top-1 says it read; none for another."""
    if record.stage != "top1":
        return []
    names = ("label", "strategy", "channels", "seed", "digest")
    return [
        ExpectedClassifier(backbone=record.names["backbone"], **{name: cell[name] for name in names})
        for cell in record.extra["cells"]
    ]
