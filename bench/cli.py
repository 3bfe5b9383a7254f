"""The only parser. A handler reads the study, finds its run and calls one room, which it imports itself.

Flags carry names and paths; science stands in the study file. Machine facts come from the environment and never
enter a digest: BENCH_DATA (folder of the archives), BENCH_DEVICE (cpu, cuda, cuda:1; unset: cuda if there is
one), BENCH_WORKERS (loader processes).
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from bench import __version__
from bench.errors import BenchError, RequestError
from bench.study.jobs import EvaluateRun, Job
from bench.study.reading import load_study
from bench.study.runs import Runs

R = TypeVar("R", bound=Job)


def _runs(arguments: argparse.Namespace) -> Runs:
    return Runs(load_study(arguments.study))


def _one(found: Iterable[R], what: str) -> R:
    for run in found:
        return run
    raise RequestError(f"the study has no {what}; `python -m bench plan --study FILE` lists what it has")


def acquire(arguments: argparse.Namespace) -> None:
    from bench.data.stages import acquire_data

    runs = _runs(arguments)
    acquire_data(runs.study, runs.data(_data_name(runs, arguments.dataset)))


def prepare(arguments: argparse.Namespace) -> None:
    from bench.data.stages import prepare_data

    runs = _runs(arguments)
    prepare_data(runs.study, runs.data(_data_name(runs, arguments.dataset)))


def _data_name(runs: Runs, name: str) -> str:
    known = [*runs.target_data, runs.pretrain_data.name]
    if name not in known:
        raise RequestError(f"--dataset {name}: the study has {', '.join(known)}")
    return name


def pretrain(arguments: argparse.Namespace) -> None:
    from bench.device import device, workers
    from bench.train.pretrain import pretrain as train

    wanted = (arguments.backbone, arguments.strategy, arguments.seed)
    run = _one(
        (run for run in _runs(arguments).pretrainings if (run.backbone, run.label, run.repetition) == wanted),
        "pre-training {} {} seed {}".format(*wanted),
    )
    train(run, device=device(), workers=workers())


def finetune(arguments: argparse.Namespace) -> None:
    from bench.device import device, workers
    from bench.train.finetune import finetune as train

    wanted = (arguments.dataset, arguments.backbone, arguments.arm, arguments.seed)
    run = _one(
        (
            run
            for run in _runs(arguments).finetunings
            if (run.dataset, run.backbone, run.arm, run.repetition) == wanted
        ),
        "fine-tuning {} {} {} seed {}".format(*wanted),
    )
    train(run, device=device(), workers=workers())


def evaluate(arguments: argparse.Namespace) -> None:
    from bench.device import device, workers
    from bench.evaluate.cells import evaluate_target
    from bench.evaluate.top1 import evaluate_top1

    runs = _runs(arguments)
    wanted = (arguments.dataset, arguments.backbone)
    found: Callable[[EvaluateRun], bool] = lambda run: (run.dataset, run.backbone) == wanted  # noqa: E731
    run = _one(filter(found, (*runs.evaluations, *runs.classifiers)), "evaluation {} {}".format(*wanted))
    if run.pretrainings:
        evaluate_top1(
            run.pretrainings,
            runs.study.orders,
            Path(run.folder),
            device=device(),
            workers=workers(),
            digest=run.digest,
            spec=run.spec,
            inputs=run.inputs,
            names={"study": run.study, "backbone": run.backbone},
        )
    else:
        evaluate_target(run, runs.study.evaluate[run.dataset], device=device())


def compare(arguments: argparse.Namespace) -> None:
    from bench.stats.stage import compare_study

    compare_study(_runs(arguments), partial=arguments.partial)


def tables(arguments: argparse.Namespace) -> None:
    from bench.report.tables import write_tables
    from bench.stats.stage import require_fresh

    runs = _runs(arguments)
    partial = require_fresh(runs)
    write_tables(runs.study, Path(runs.root, "compare"), Path(runs.root, "tables"), partial=partial)


def figures(arguments: argparse.Namespace) -> None:
    from bench.report.plates import write_figures
    from bench.stats.stage import require_fresh

    runs = _runs(arguments)
    write_figures(runs.study, Path(runs.root), Path(runs.root, "figures"), partial=require_fresh(runs))


def report(arguments: argparse.Namespace) -> None:
    from bench.report.paper import write_report
    from bench.stats.stage import require_fresh

    runs = _runs(arguments)
    partial = require_fresh(runs)
    write_report(runs.study, Path(runs.root), Path(runs.root, "report", "report.pdf"), partial=partial)


def plan(arguments: argparse.Namespace) -> None:
    from bench.workflow import print_plan

    print_plan(_runs(arguments))


def run(arguments: argparse.Namespace) -> int:
    from bench.workflow import run_study

    return run_study(_runs(arguments), arguments.study, cores=arguments.cores, profile=arguments.profile)


def benchmark(arguments: argparse.Namespace) -> None:
    from bench.benchmark.measure import run_benchmark

    run_benchmark(arguments.name, arguments.out)


def parser() -> argparse.ArgumentParser:
    """Build the parser; a test freezes its flags."""
    top = argparse.ArgumentParser(
        prog="bench",
        description="Is Channel Shuffling Pre-training true? Run it, count it, judge it.",
    )
    top.add_argument("-V", "--version", action="version", version=f"csp-bench {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(
        handler: Callable[[argparse.Namespace], int | None], summary: str, *names: str
    ) -> argparse.ArgumentParser:
        sub = verbs.add_parser(handler.__name__, help=summary, description=summary)
        sub.set_defaults(handler=handler)
        sub.add_argument("--study", type=Path, required=True, help="study file, such as config/demo.yaml")
        for name in names:
            kind = int if name == "seed" else str
            sub.add_argument(f"--{name}", type=kind, required=True, help=HELP[name])
        return sub

    verb(acquire, "put a dataset's archives in place, verify and unpack them", "dataset")
    verb(prepare, "turn a dataset's files into verified arrays with a manifest", "dataset")
    verb(pretrain, "pre-train one classifier", "backbone", "strategy", "seed")
    verb(finetune, "fine-tune one UperNet", "dataset", "backbone", "arm", "seed")
    verb(evaluate, "predict the evaluation split and store the counts", "dataset", "backbone")
    partial = verb(compare, "turn counts into scores, intervals, tests and verdicts")
    partial.add_argument(
        "--partial", action="store_true", help="go on where runs are missing, and say PARTIAL"
    )
    verb(tables, "write the tables as CSV, Markdown, HTML and LaTeX")
    verb(figures, "draw the figures as PNG and PDF")
    verb(report, "set the report as PDF")
    verb(plan, "list the study's jobs, by stage")
    whole = verb(run, "run a whole study: everything that is missing or stale, then the report")
    whole.add_argument("--cores", type=int, default=None, help="processes at once; unset: all cores")
    whole.add_argument("--profile", default="profiles/default", help="Snakemake profile")

    # Verbs that need no study.
    def free(handler: Callable[[argparse.Namespace], int | None], summary: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(handler.__name__, help=summary, description=summary)
        sub.set_defaults(handler=handler)
        return sub

    timed = free(benchmark, "measure the harness itself: ratios, written as CSV")
    timed.add_argument("name", help="data, train, evaluate or stats")
    timed.add_argument("--out", type=Path, default=Path("paper/benchmarks"), help="folder of the CSV")
    return top


HELP = {
    "dataset": "a dataset of the study (evaluate: or top1, the pre-trained classifiers)",
    "backbone": "a backbone of the study",
    "strategy": "strategy and channels, such as csp-4ch",
    "arm": "an arm of the study",
    "seed": "number of the repetition, from 0",
}


def main(words: list[str] | None = None) -> int:
    """Parse `words`, run one verb and return the exit code: 0 done, 1 failed, 2 the request was wrong."""
    arguments = parser().parse_args(words)
    try:
        return arguments.handler(arguments) or 0
    except BenchError as error:
        print(f"bench {arguments.verb}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(
            f"bench {arguments.verb}: the system refused: {error}; nothing was left half-written",
            file=sys.stderr,
        )
        return 1
    except (MemoryError, RuntimeError) as error:
        # torch's OutOfMemoryError is a RuntimeError, and torch may not be here to name it.
        if isinstance(error, RuntimeError) and type(error).__name__ != "OutOfMemoryError":
            raise
        print(
            f"bench {arguments.verb}: out of memory ({str(error).splitlines()[0] if str(error) else 'host'}); "
            "give the job a larger device, or lower batch_size, crop or window in the study",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print(f"bench {arguments.verb}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
