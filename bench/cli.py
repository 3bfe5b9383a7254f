"""The only parser, and the one place where an error becomes a sentence and an exit code.

Flags carry names and paths; science stands in the study file. Machine facts come from the environment and never
enter a digest: BENCH_DATA (folder of the archives), BENCH_DEVICE (cpu, cuda, cuda:1; unset: cuda if there is
one), BENCH_WORKERS (loader processes), BENCH_GPUS_PER_JOB (processes of one training or evaluation),
BENCH_MICRO_BATCH (images of one forward pass of a pre-training), BENCH_DETERMINISTIC (1: torch's deterministic
algorithms); config/README.md lists them all.
"""

import argparse
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from bench import __version__, verbs
from bench.cluster import requeue
from bench.errors import BenchError, Preempted

Handler = Callable[[argparse.Namespace], int | None]


def parser() -> argparse.ArgumentParser:
    """Build the parser; a test freezes its flags."""
    top = argparse.ArgumentParser(
        prog="bench",
        description="Is Channel Shuffling Pre-training true? Run it, count it, judge it.",
    )
    top.add_argument("-V", "--version", action="version", version=f"csp-bench {__version__}")
    known = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(handler: Handler, summary: str, *names: str) -> argparse.ArgumentParser:
        sub = known.add_parser(handler.__name__, help=summary, description=summary)
        sub.set_defaults(handler=handler)
        sub.add_argument("--study", type=Path, required=True, help="study file, such as config/demo.yaml")
        for name in names:
            kind = int if name == "seed" else str
            sub.add_argument(f"--{name}", type=kind, required=True, help=HELP[name])
        return sub

    verb(verbs.prepare, "turn a dataset's files into verified arrays with a manifest", "dataset")
    verb(verbs.look, "picture the prepared data, and what each strategy does to photographs")
    verb(verbs.pretrain, "pre-train one classifier", "backbone", "strategy", "seed")
    exported = verb(
        verbs.export, "write a pre-training as a folder that timm loads", "backbone", "strategy", "seed"
    )
    exported.add_argument("--out", type=Path, help="parent folder; unset: results/STUDY/export")
    verb(verbs.finetune, "fine-tune one UperNet", "dataset", "backbone", "arm", "seed")
    verb(verbs.evaluate, "predict the evaluation split and store the counts", "dataset", "backbone")
    partial = verb(verbs.compare, "turn counts into scores, intervals, tests and verdicts")
    partial.add_argument(
        "--partial", action="store_true", help="go on where runs are missing, and say PARTIAL"
    )
    verb(verbs.power, "say how many seeds or images would decide each claim, from the spread observed so far")
    verb(verbs.tables, "write the tables as CSV, Markdown, HTML and LaTeX")
    verb(verbs.figures, "draw the figures as PNG and PDF")
    verb(verbs.report, "set the report as PDF")
    verb(
        verbs.publish,
        "write the light record of a finished study to results/published/, tables, figures and report with it",
    )
    taken = verb(
        verbs.adopt, "take over a published study's runs, by digest: their counts, in the place of weights"
    )
    taken.add_argument("published", type=Path, help="published folder, such as results/published/demo")
    priced = verb(verbs.plan, "say what would run and why, what is done, and what the rest costs")
    priced.add_argument(
        "--max-gpu-hours", type=float, metavar="H", help="propose the most useful part that H hours hold"
    )
    timed_here = verb(
        verbs.calibrate, "time a few steps of each of the study's networks on this machine, for the plan"
    )
    whole = verb(verbs.run, "run a whole study: everything that is missing or stale, then the report")
    whole.add_argument("--cores", type=int, default=None, help="processes at once; unset: all cores")
    for sub in (priced, timed_here, whole, taken):
        sub.add_argument(
            "--profile", default="profiles/default", help="Snakemake profile, with the machine's variables"
        )
    seen = verb(verbs.status, "show how far every run of a study is")
    seen.add_argument("--watch", action="store_true", help="show it again until nobody works on the study")
    seen.add_argument("--json", action="store_true", help="for scripts")

    # Verbs that need no study, or can do without.
    def free(handler: Handler, summary: str) -> argparse.ArgumentParser:
        sub = known.add_parser(handler.__name__, help=summary, description=summary)
        sub.set_defaults(handler=handler)
        return sub

    archives = free(
        verbs.acquire, "fetch and verify archives; with --study and --dataset unpack them for that study"
    )
    archives.add_argument("names", nargs="*", metavar="NAME", help="dataset of the catalogue")
    archives.add_argument(
        "--study", type=Path, help="study file; without --dataset: the archives of all its datasets"
    )
    archives.add_argument("--dataset", help=HELP["dataset"])

    catalogue = known.add_parser(
        "data", help="what is known of the datasets", description="what is known of the datasets"
    )
    topics = catalogue.add_subparsers(dest="topic", required=True, metavar="list|show")
    listed = topics.add_parser("list", help="a table of the datasets, and whether their archives are at hand")
    listed.set_defaults(handler=verbs.data_list)
    shown = topics.add_parser(
        "show", help="everything about one dataset: channels, classes, protocols, defects, archives"
    )
    shown.add_argument("name", help="dataset of the catalogue; with pictures: of the study")
    shown.add_argument(
        "--picture", type=Path, metavar="PNG", help="draw its prepared data as a contact sheet"
    )
    shown.add_argument(
        "--strategies", type=Path, metavar="PNG", help="draw what each strategy does, for as many channels"
    )
    shown.add_argument("--study", type=Path, help="whose prepared data; unset: config/demo.yaml")
    shown.set_defaults(handler=verbs.data_show)

    own = free(verbs.predict, "segment pictures of your own with fine-tuned weights")
    own.add_argument(
        "images", nargs="+", metavar="IMAGE", help="a picture; several files of one scene: A,B,..."
    )
    own.add_argument("--weights", type=Path, required=True, help="weights.safetensors of a fine-tuning")
    own.add_argument("--out", type=Path, required=True, help="folder for the maps of ids and colours")
    anew = free(
        verbs.regenerate, "make tables and figures of a published study anew from its counts, without torch"
    )
    anew.add_argument("results", type=Path, help="published folder, such as results/published/demo")
    anew.add_argument("--out", type=Path, default=None, help="where to write them; unset: in place")
    examined = free(
        verbs.check, "does a results folder keep the contract: schema, digests, samples, seeds, tables?"
    )
    examined.add_argument("results", type=Path, help="results folder, published or not, ours or another's")
    examined.add_argument(
        "--study", type=Path, default=None, help="study file; unset: study.yaml in the folder"
    )
    free(verbs.schema, "print the JSON Schema of a study file, as config/study.schema.json holds it")
    timed = free(verbs.benchmark, "measure the harness itself: ratios, written as CSV")
    timed.add_argument("name", help="data, train, evaluate, stats, calibration, tables or scale")
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
        code = arguments.handler(arguments) or 0
        # Here, since at the interpreter's end nobody would answer for what goes wrong.
        sys.stdout.flush()
    except BenchError as error:
        print(f"bench {arguments.verb}: {error}", file=sys.stderr)
        code = error.exit_code
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _unread():
            return 128 + signal.SIGPIPE
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
    if code == Preempted.exit_code:
        requeue()
    return code


def _unread() -> bool:
    """Say whether the reader of standard output is gone, as after `| head`; then nothing more is written to it."""
    output = sys.stdout.fileno()
    poll = select.poll()
    poll.register(output, 0)
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if gone:
        # Python flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return gone
