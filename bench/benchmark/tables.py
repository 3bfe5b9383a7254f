"""All tables and figures of the paper's study from full-size records: how long, and how large when published.

The records are drawn (`bench.benchmark.records`): 28 fine-tuning cells of three seeds, the published splits' numbers
of samples, 50,000 classified images. Nothing is trained.
"""

import tempfile
import time
from pathlib import Path

from bench.benchmark.measure import Row
from bench.benchmark.records import FULL_SIDE, FULL_SIZE, IMAGES, write_records
from bench.publish.light import LIMIT, publish
from bench.publish.lighter import left_out, size_of
from bench.report.plates import write_figures
from bench.report.tables import write_tables
from bench.stats.stage import compare_study
from bench.study.reading import load_study
from bench.study.runs import Runs

STUDY = Path("config/paper.yaml")


def measure() -> list[Row]:
    """Return the seconds of each stage, and the bytes of the light record."""
    with tempfile.TemporaryDirectory() as name:
        runs = Runs(load_study(STUDY), str(Path(name, "results")))
        root = Path(runs.root)
        write_records(runs, samples=FULL_SIZE, side=FULL_SIDE, images=IMAGES, picture=512)
        began = time.perf_counter()
        compare_study(runs)
        compared = time.perf_counter()
        write_tables(runs.study, root / "compare", root / "tables")
        tabled = time.perf_counter()
        write_figures(runs.study, root, root / "figures")
        drawn = time.perf_counter()
        folder = publish(runs, STUDY, Path(name, "published"))
        size, absent = size_of(folder), ", ".join(left_out(folder))
    cells = len({(run.dataset, run.backbone, arm) for run in runs.finetunings for arm in run.names})
    note = f"{cells} cells, {len(runs.finetunings)} runs"
    return [
        Row(what="comparison from counts", value=compared - began, unit="s", note=note),
        Row(what="tables from the comparison", value=tabled - compared, unit="s"),
        Row(what="figures", value=drawn - tabled, unit="s"),
        Row(what="all tables and figures from counts", value=drawn - began, unit="s", limit="at most 60"),
        Row(
            what="light record of the study",
            value=size / 1e6,
            unit="MB",
            limit=f"at most {LIMIT / 1e6:.2f}",
            note=f"without {absent}" if absent else "",
        ),
    ]
