"""Stands in for bench/cli.py in workflow tests: each stage writes its outputs at once, with true digests.

The Snakefile, the rules, the study and the digests are the real ones; only the work is left out. A file
`fail` in the working folder, holding words of a run's folder, makes that run's job fail.
"""

import argparse
import sys
import time
from pathlib import Path

from bench.record import Record, write_json
from bench.study.outputs import DATA_FIGURES, compare_tables, data_names, figure_names, table_names
from bench.study.reading import load_study
from bench.study.runs import Runs


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb")
    for name in ("study", "dataset", "backbone", "strategy", "arm", "seed"):
        parser.add_argument(f"--{name}")
    words = parser.parse_args()
    runs = Runs(load_study(Path(words.study)))
    root = Path(runs.root)
    with Path("jobs.txt").open("a") as stream:
        stream.write(
            " ".join(filter(None, [words.verb, words.dataset, words.backbone, words.strategy, words.arm]))
        )
        stream.write("\n")
    if words.verb in ("acquire", "prepare"):
        run = runs.data(words.dataset)
        path, digest = (
            (run.acquired, run.acquire_digest) if words.verb == "acquire" else (run.manifest, run.digest)
        )
        write_json(Path(path), {"digest": digest})
    elif words.verb in ("pretrain", "finetune", "evaluate"):
        label = words.strategy if words.verb == "pretrain" else words.arm
        places = [root, words.verb, words.dataset, words.backbone, label, words.seed and f"seed{words.seed}"]
        folder = "/".join(str(part) for part in places if part)
        jobs = (*runs.pretrainings, *runs.finetunings, *runs.evaluations, *runs.classifiers)
        train(next(job for job in jobs if job.folder == folder))
    else:
        names = {
            "compare": [f"compare/{name}.csv" for name in compare_tables(runs.study)]
            + ["compare/record.json"],
            "tables": [
                f"tables/{n}.{k}" for n in table_names(runs.study) for k in ("csv", "md", "html", "tex")
            ]
            + ["tables/main.txt"],
            "figures": [f"figures/{n}.{k}" for n in figure_names(runs.study) for k in ("png", "pdf")],
            "look": [
                f"figures/data/{name}/{picture}"
                for name in data_names(runs.study)
                for picture in ("sheet.png", *(f"{n}.{k}" for n in DATA_FIGURES for k in ("png", "pdf")))
            ]
            + ["figures/data/strategies.png"],
            "report": ["report/report.pdf"],
        }
        for name in names[words.verb]:
            write(root / name)
        if words.verb == "compare":
            digest, inputs = runs.compare_digest, runs.compare_inputs
            Record(
                stage="compare", names={}, spec=runs.compare_spec, digest=digest, inputs=inputs, metrics={},
                receipt={}, extra={"partial": False},
            ).write(root / "compare" / "record.json")  # fmt: skip
    return 0


def train(run):
    if Path("slow").exists() and run.stage == "finetune":
        time.sleep(2)
    marked = Path("fail")
    if marked.exists() and marked.read_text().strip() in run.folder:
        print(f"stub: {run.folder} fails as asked", file=sys.stderr)
        raise SystemExit(1)
    for name in (
        "weights.safetensors",
        "weights.json",
        "log.csv",
        "counts.npz",
        "examples.npz",
        "correct.npz",
    ):
        write(Path(run.folder) / name)
    Record(
        stage=run.stage, names={}, spec=run.spec, digest=run.digest, inputs=run.inputs, metrics={}, receipt={}
    ).write(Path(run.record))


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("stub\n")
