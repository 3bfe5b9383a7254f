"""The report: finished tables and figures set as one PDF by typst, with the study's protocol around them.

Python gathers words and numbers into report.json beside the PDF; `paper/report.typ` is the layout and reads
nothing else but the figures. Only typst's own fonts are used and no package is fetched.
"""

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
from bench.report.layout import Table
from bench.report.numbers import Numbers, backbone_label, dataset_label, gains, read_numbers, read_table
from bench.report.tables import all_tables
from bench.study.outputs import figure_names
from bench.study.schema import Arm, Backbone, Study

TEMPLATE = Path(__file__).resolve().parents[2] / "paper" / "report.typ"
CLAIMED_ON = ("isaid", "mfnet", "pst900", "potsdam")
"""The paper's datasets (arXiv 2604.27704), by their names in the catalogue."""
STARTS = {
    "rgb": "pre-trained on RGB",
    "duplicate": "pre-trained on RGB repeated to n channels, in fixed order",
    "csp": "pre-trained on RGB repeated to n channels, shuffled",
    "scratch": "not pre-trained",
}
STEMS = {
    "repeat": "stem: RGB weights repeated over n channels, times 3/n",
    "repeat-normalised": "stem: RGB weights repeated, each divided by its number of copies",
    "mean": "stem: the mean of the RGB weights in the extra channels",
    "copy-red": "stem: the red weights in the extra channels",
    "zero": "stem: zero weights in the extra channels",
    "random": "stem: drawn weights in the extra channels",
    "reinit": "stem: drawn anew",
}


def write_report(
    study: Study, results: Path, out: Path, *, partial: bool = False, template: Path = TEMPLATE
) -> None:
    """Set the report of `study` as the PDF `out`, and what it was made from as report.json beside it.

    `results` is the study's own folder (results/<study>) with compare/ and figures/. Same files, same bytes.
    Raises BenchError if a table, a figure or the template is missing, or if typst refuses the document.
    """
    numbers = read_numbers(study, results / "compare", partial=partial)
    figures = [results / "figures" / f"{name}.png" for name in figure_names(study)]
    for path in (*figures, template):
        if not path.is_file():
            raise BenchError(f"{path}: no such file; the report needs it: run `bench figures` first")
    content = report_content(numbers, results / "compare")
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


def report_content(numbers: Numbers, compare: Path) -> dict[str, Any]:
    """Return all that the report prints, as JSON values."""
    study = numbers.study
    return {
        "title": study.title,
        "study": study.study,
        "stamp": numbers.stamp,
        "treatment": study.compare.treatment,
        "primary": study.compare.primary,
        "scale": study.scale,
        "repetitions": _repetitions(numbers),
        "level": f"{100 * (1 - study.compare.level):g} %",
        "margin": f"{100 * study.compare.margin:g}",
        "datasets": [_dataset(study, name) for name in study.datasets],
        "backbones": [_backbone(name, backbone) for name, backbone in study.backbones.items()],
        "arms": [{"name": name, "words": _arm(arm)} for name, arm in study.arms.items()],
        "pretraining": _pretraining(study),
        "tables": {table.name: _table(table) for table in all_tables(numbers, compare)},
        "figures": {"per_class": _each(study, "per_class"), "pictures": _each(study, "pictures")},
        "statements": _statements(numbers),
        "not_run": not_run(numbers),
        "receipts": _receipts(read_table(compare / "receipts.csv")),
    }


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
    } | {"notes": list(table.notes)}


def _repetitions(numbers: Numbers) -> str:
    design = numbers.study.repetitions
    if design.design == "matched":
        return f"{numbers.repetitions}: the pairs are the repetitions; the statistics speak about the method."
    if design.pretrain == 1:
        return (
            f"{numbers.repetitions}: the statistics speak about these pre-trained weights, not the method. "
            "Every verdict holds for one pre-training; more pre-trainings would decide about the method."
        )
    return f"{numbers.repetitions}: the pre-trainings are the repetitions that decide about the method."


def _dataset(study: Study, name: str) -> dict[str, Any]:
    target, evaluation = study.datasets[name], study.evaluate[name]
    source = target.source or name
    classes = str(CATALOG[source].num_classes) if source in CATALOG else "own"
    without = f" without {', '.join(evaluation.leave_out)}" if evaluation.leave_out else ""
    return {
        "name": dataset_label(study, name),
        "channels": ", ".join(channel.replace("_", " ") for channel in target.channels),
        "n": len(target.channels),
        "classes": classes,
        "metric": f"{evaluation.metric}{without}",
        "pixels": f"{evaluation.primary} labels",
        "split": target.split,
        "unit": CATALOG[source].unit if source in CATALOG else "image",
    }


def _backbone(name: str, backbone: Backbone) -> dict[str, str]:
    depths, widths = ("-".join(map(str, numbers)) for numbers in (backbone.depths, backbone.widths))
    tail = f", window {backbone.window}" if backbone.window else ""
    family = {"convnext": "ConvNeXt", "swin": "Swin"}[backbone.family]
    return {"name": backbone_label(name), "words": f"{family}, depths {depths}, widths {widths}{tail}"}


def _arm(arm: Arm) -> str:
    words = [STARTS[arm.strategy]]
    if arm.strategy == "csp":
        words[0] += f" ({arm.fill} fill, one order per {arm.scope}"
        words[0] += ")" if arm.probability == 1 else f", in a share of {arm.probability:g})"
    if arm.strategy == "rgb" or arm.stem == "reinit":
        words.append(STEMS[arm.stem])
    return "; ".join(words)


def _pretraining(study: Study) -> str:
    recipes = list(study.pretrain.values())
    epochs = sorted({recipe.epochs for recipe in recipes})
    crops = sorted({recipe.crop for recipe in recipes})
    data = (
        CATALOG[study.pretrain_data.source].title
        if study.pretrain_data.source in CATALOG
        else study.pretrain_data.name
    )
    drawn = f", drawn at {study.miniature.side} pixels a side" if study.miniature else ""
    return f"{data}{drawn}; {_span(epochs)} epochs at {_span(crops)} pixels"


def _span(values: list[int]) -> str:
    return f"{values[0]}" if values[0] == values[-1] else f"{values[0]} to {values[-1]}"


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
        found.append(f"The paper's backbones {', '.join(lacking)} were not trained.")
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
