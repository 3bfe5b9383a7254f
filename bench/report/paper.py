"""The report: finished tables and figures set as one PDF by typst, with the study's protocol around them.

Python gathers words and numbers into report.json beside the PDF; `paper/report.typ` is the layout and reads
nothing else but the figures. Only typst's own fonts are used and no package is fetched.
"""

import csv
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import typst

from bench.catalog.index import CATALOG
from bench.errors import BenchError
from bench.record import atomic, write_json
from bench.report import protocol
from bench.report.discussion import path_of, read_discussion
from bench.report.layout import Table
from bench.report.numbers import Numbers, backbone_label, dataset_label, gains, read_numbers, read_table
from bench.report.overview import counted
from bench.report.tables import all_tables
from bench.study.outputs import figure_names, measured
from bench.study.schema import Study

TEMPLATE = Path(__file__).resolve().parents[2] / "paper" / "report.typ"
CLAIMED_ON = ("isaid", "mfnet", "pst900", "potsdam")
"""The paper's datasets (arXiv 2604.27704), by their names in the catalogue."""


def write_report(
    study: Study,
    results: Path,
    out: Path,
    *,
    study_file: Path | None = None,
    partial: bool = False,
    pictures: bool = True,
    template: Path = TEMPLATE,
) -> None:
    """Set the report of `study` as the PDF `out`, and what it was made from as report.json beside it.

    `results` is the study's own folder (results/<study>) with compare/ and figures/; `study_file` the study as
    written, which the ledger is held against; without `pictures` no figure shows scenes. Same files, same bytes.
    Raises BenchError if a table, a figure or the template is missing, or if typst refuses the document.
    """
    numbers = read_numbers(study, results / "compare", partial=partial)
    names = [name for name in figure_names(study) if pictures or not name.startswith("pictures_")]
    figures = [results / "figures" / f"{name}.png" for name in names]
    for path in (*figures, template):
        if not path.is_file():
            raise BenchError(f"{path}: no such file; the report needs it: run `bench figures` first")
    content = report_content(numbers, results / "compare", study_file, pictures=pictures)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out.parent / "report.json", content)
    # typst reads nothing above its root, so all that the document needs is brought into one folder.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".report-") as name:
        root = Path(name)
        shutil.copyfile(template, root / "report.typ")
        shutil.copyfile(out.parent / "report.json", root / "report.json")
        (root / "figures").mkdir()
        for path in figures:
            shutil.copyfile(path, root / "figures" / path.name)
        _compile(root, template, out)


def _compile(root: Path, template: Path, out: Path) -> None:
    try:
        compiler = typst.Compiler(
            root / "report.typ", root=root, ignore_system_fonts=True, sys_inputs={"data": "report.json"}
        )
        pdf = compiler.compile(format="pdf", timestamp=0)
    except typst.TypstError as error:
        hints = f" (hint: {'; '.join(error.hints)})" if error.hints else ""
        raise BenchError(
            f"{template}: typst cannot set the report: {error.message}{hints}; mend the template or, "
            "if it is unchanged, make tables and figures again"
        ) from None
    if not isinstance(pdf, bytes):
        raise BenchError(f"{template}: typst gave no PDF; expected one document")
    with atomic(out) as partial:
        partial.write_bytes(pdf)


def report_content(
    numbers: Numbers, compare: Path, study_file: Path | None = None, *, pictures: bool = True
) -> dict[str, Any]:
    """Return all that the report prints, as JSON values."""
    study, kinds = numbers.study, ("per_class", "confusion", *(["pictures"] if pictures else []))
    return {
        "title": f"{prefix} {study.title}" if (prefix := outcome(numbers)) else study.title,
        "judged": numbers.judged,
        "summary": counted(numbers.verdicts["verdict"]),
        "study": study.study,
        "stamp": numbers.stamp,
        "treatment": study.compare.treatment,
        "primary": study.compare.primary,
        "scale": study.scale,
        "repetitions": protocol.repetitions(numbers),
        "level": f"{100 * (1 - study.compare.level):g} %",
        "margin": f"{100 * study.compare.margin:g}",
        "datasets": [protocol.dataset_words(study, name) for name in study.datasets],
        "backbones": [protocol.backbone_words(name, backbone) for name, backbone in study.backbones.items()],
        "arms": [{"name": name, "words": protocol.arm_words(arm)} for name, arm in study.arms.items()],
        "pretraining": protocol.pretraining(study),
        "selection": f"{numbers.selection[:1].upper()}{numbers.selection[1:]}; no test image selects anything.",
        "orders": " and in ".join(study.orders),
        "tables": {table.name: _table(table) for table in all_tables(numbers, compare)},
        "figures": {kind: _each(study, kind) for kind in kinds},
        "measured": measured(study),
        "disturbed": bool(study.spectral),
        "statements": _statements(numbers),
        "discussion": [block._asdict() for block in read_discussion(path_of(study))],
        "alarms": _alarms(compare / "alarms.csv"),
        "notes": _notes(compare / "notes.csv"),
        "ledger": (ledger := protocol.ledger(study_file)),
        "differs": any(row["here"] for row in ledger),
        "not_run": not_run(numbers),
        "receipts": _receipts(read_table(compare / "receipts.csv")),
    }


def outcome(numbers: Numbers) -> str:
    """Return `[Re]` or `[not Re]` for the title, nothing where the verdicts do not allow either.

    The paper's claim is the gain. At full scale, with every run there: `[Re]` if every reported gain is reproduced,
    `[not Re]` if every one is decided and at least one is not reproduced.
    """
    verdicts = numbers.verdicts[numbers.verdicts["kind"] == "gain"]["verdict"]
    decided = verdicts.isin(["reproduced", "not reproduced"]).all()
    if numbers.study.scale != "full" or numbers.partial or numbers.identical or verdicts.empty or not decided:
        return ""
    return "[Re]" if (verdicts == "reproduced").all() else "[not Re]"


def _alarms(path: Path) -> list[dict[str, str]]:
    """Return the alarms of the comparison; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [{name: row[name] for name in ("kind", "first", "reason")} for row in csv.DictReader(stream)]


def _notes(path: Path) -> list[str]:
    """Return a sentence for each circumstance in which the runs of the study differ."""
    if not path.is_file():
        return []
    frame = pd.read_csv(path, dtype=str).fillna("")
    sentences = []
    for kind, rows in frame.groupby("kind", sort=False):
        values = ", ".join(
            f"{str(row['value'])[:80]} ({_count(str(row['runs']).count(';') + 1, 'run')})"
            for _, row in rows.iterrows()
        )
        reason = str(rows["reason"].iloc[0]).rstrip(".")
        reason = f" {reason[:1].upper()}{reason[1:]}." if reason else ""
        # One value alone is worth a note where it holds of every run: the code was not that of its commit.
        what = str(kind)
        words = f"The runs differ in {what}" if len(rows) > 1 else f"{what[:1].upper()}{what[1:]}"
        sentences.append(f"{words}: {values}.{reason}")
    return sentences


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _statements(numbers: Numbers) -> list[str]:
    """Return what the headline tests ask and speak of, each wording once."""
    cells = [
        gains(numbers, dataset, name)
        for dataset in numbers.study.datasets
        for name in numbers.study.backbones
    ]
    rows = pd.concat(cells)[["question", "statement"]].drop_duplicates()
    return [
        f"{question} ({statement})" if question else str(statement)
        for question, statement in zip(rows["question"], rows["statement"], strict=True)
        if question or statement
    ]


def _each(study: Study, kind: str) -> list[dict[str, str]]:
    return [
        {"file": f"figures/{kind}_{name}.png", "dataset": dataset_label(study, name)}
        for name in study.datasets
    ]


def _table(table: Table) -> dict[str, Any]:
    left = [table.is_left(i) for i in range(len(table.columns))]
    rows = [[asdict(cell) for cell in row] for row in table.rows]
    return {
        "title": table.title,
        "columns": list(table.columns),
        "left": left,
        "keys": table.keys,
        "rows": rows,
        "breaks": sorted(table.breaks),
        "spans": [{"name": name, "count": count} for name, count in table.spans],
        "notes": list(table.notes),
    }


def not_run(numbers: Numbers) -> list[str]:
    """Return what a reader could think was run and was not, one sentence each."""
    study, found = numbers.study, []
    if study.scale == "miniature":
        found.append(
            "No published dataset was read. All archives were drawn by the harness in the published formats; "
            "scores on them say that the stages work and nothing about the paper's numbers."
        )
    if study.scale == "small":
        found.append(
            "Networks, schedules or data are smaller than the paper's; scores are not comparable with its."
        )
    sources = {target.source or name for name, target in study.datasets.items()}
    absent = [CATALOG[name].title for name in CLAIMED_ON if name not in sources]
    if absent:
        found.append(f"Of the paper's datasets this study leaves out {', '.join(absent)}.")
    lacking = [backbone_label(name) for name in ("convnext_tiny", "swin_tiny_patch4_window7_224")]
    lacking = [name for name in lacking if name not in map(backbone_label, study.backbones)]
    if lacking:
        one = len(lacking) == 1
        found.append(
            f"The paper's backbone{'' if one else 's'} {', '.join(lacking)} {'was' if one else 'were'} not trained."
        )
    if study.repetitions.design == "nested" and study.repetitions.pretrain == 1:
        found.append("Each pre-training was run once, so the spread between pre-trainings is unknown.")
    aside = numbers.verdicts[numbers.verdicts["verdict"] == "not comparable"]
    if len(aside):
        found.append(f"Claims of the paper without a comparable number here: {', '.join(aside['claim'])}.")
    if numbers.partial:
        found.append(
            "Runs of the study are missing; tables and figures show what is there and are marked PARTIAL."
        )
    return found


def _receipts(receipts: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the circumstances of the runs: a row for each commit, package set and device."""
    keys = [
        name for name in ("commit", "dirty", "packages", "python", "machine", "device") if name in receipts
    ]
    rows = []
    for values, group in receipts.groupby(keys, sort=False, dropna=False):
        row = dict(zip(keys, map(str, values), strict=True))
        dirty = row.pop("dirty", "False") == "True"
        commit = row["commit"][:12] or "not under version control"
        row["commit"] = f"{commit} with uncommitted changes" if dirty else commit
        stages = ", ".join(
            f"{count} {stage}" for stage, count in group["stage"].value_counts(sort=False).items()
        )
        rows.append({**row, "packages": row["packages"].replace(";", ", "), "runs": stages})
    return rows
