"""What each verb does: read the study, find its run, call one room, which is imported here and nowhere before."""

import argparse
import difflib
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import RequestError
from bench.study.jobs import Job, PretrainRun
from bench.study.reading import load_study
from bench.study.runs import Runs

R = TypeVar("R", bound=Job)

NEAREST = 3
"""Runs that are named where the one asked for does not exist."""


def _runs(arguments: argparse.Namespace) -> Runs:
    return Runs(load_study(arguments.study))


def _one(runs: Iterable[R], what: str, wanted: Mapping[str, Any]) -> R:
    """Return the run whose attributes are those `wanted`; RequestError names the nearest that there are."""
    known = dict[str, None]()
    for run in runs:
        values = [getattr(run, key) for key in wanted]
        if values == list(wanted.values()):
            return run
        known[_words(dict(zip(wanted, values, strict=True)))] = None
    nearest = difflib.get_close_matches(_words(wanted), known, n=NEAREST, cutoff=0.0)
    more = f" and {len(known) - len(nearest)} more" if len(known) > len(nearest) else ""
    raise RequestError(
        f"the study has no {what} {_words(wanted)}; it has {', '.join(nearest) or 'none at all'}{more}"
    )


def _words(names: Mapping[str, Any]) -> str:
    return " ".join(f"seed {value}" if key == "repetition" else str(value) for key, value in names.items())


def acquire(arguments: argparse.Namespace) -> None:
    if arguments.names:
        from bench.data.fetch import fetch_and_verify

        if arguments.study or arguments.dataset:
            raise RequestError("NAME is for archives without a study; give either names or --study")
        fetch_and_verify(arguments.names)
    elif arguments.study is None:
        raise RequestError("give the name of a dataset (`bench data list` has them) or --study FILE")
    elif arguments.dataset is None:
        from bench.data.fetch import fetch_study

        runs = _runs(arguments)
        fetch_study(runs.study, runs)
    else:
        from bench.data.stages import acquire_data

        runs = _runs(arguments)
        acquire_data(runs.study, runs.data(_data_name(runs, arguments.dataset)))


def data_list(arguments: argparse.Namespace) -> None:
    from bench.data.listing import list_datasets

    print(list_datasets())


def data_show(arguments: argparse.Namespace) -> None:
    from bench.data.listing import show_dataset

    if arguments.picture is None and arguments.strategies is None:
        if arguments.study is not None:
            raise RequestError(
                "--study says whose prepared data --picture or --strategies show; name one of them"
            )
        print(show_dataset(arguments.name))
        return
    from bench.look.stage import picture_data, picture_strategies

    runs = Runs(load_study(arguments.study or Path("config/demo.yaml")))
    for draw, out in ((picture_data, arguments.picture), (picture_strategies, arguments.strategies)):
        if out is not None:
            draw(runs, arguments.name, out)
            print(out)


def look(arguments: argparse.Namespace) -> None:
    from bench.look.stage import look_at_study

    runs = _runs(arguments)
    look_at_study(runs, Path(runs.root, "figures", "data"))


def prepare(arguments: argparse.Namespace) -> None:
    from bench.data.stages import prepare_data

    runs = _runs(arguments)
    prepare_data(runs.study, runs.data(_data_name(runs, arguments.dataset)))


def _data_name(runs: Runs, name: str) -> str:
    known = [*runs.target_data, runs.pretrain_data.name]
    if name not in known:
        raise RequestError(f"--dataset {name}: the study has {', '.join(known)}")
    return name


def _pretraining(runs: Runs, arguments: argparse.Namespace) -> PretrainRun:
    return _one(
        runs.pretrainings,
        "pre-training",
        {"backbone": arguments.backbone, "label": arguments.strategy, "repetition": arguments.seed},
    )


def _launched(arguments: argparse.Namespace, *names: str) -> int | None:
    """Run this verb as several processes if the machine is asked for them; None where it is to be run here."""
    from bench.cluster import check_devices
    from bench.train.launch import launched

    check_devices()
    words = [arguments.verb, "--study", str(arguments.study)]
    for name in names:
        words += [f"--{name}", str(getattr(arguments, name))]
    return launched(words)


def pretrain(arguments: argparse.Namespace) -> int:
    from bench.artefacts import offer, take

    run = _pretraining(_runs(arguments), arguments)
    folder, manifest = Path(run.folder), Path(run.manifest)
    # One of several processes of a training shares nothing: the process that started them does.
    shares = "RANK" not in os.environ and run.published is None
    if shares and take(folder, run.digest, manifest, run.study):
        return 0
    code = _launched(arguments, "backbone", "strategy", "seed")
    if code is None:
        from bench.device import device, micro_batch, workers
        from bench.train.pretrain import pretrain as train

        train(run, device=device(), workers=workers(), micro=micro_batch())
    if shares and not code:
        offer(folder, run.digest, manifest)
    return code or 0


def export(arguments: argparse.Namespace) -> None:
    from bench.data.manifest import ClassificationManifest, read_manifest
    from bench.models.export import export_pretraining

    run = _pretraining(runs := _runs(arguments), arguments)
    manifest = read_manifest(Path(run.manifest), ClassificationManifest, digest=run.inputs["manifest"])
    print(export_pretraining(run, manifest.classes, arguments.out or Path(runs.root, "export")))


def finetune(arguments: argparse.Namespace) -> int:
    run = _one(
        _runs(arguments).finetunings,
        "fine-tuning",
        {
            "dataset": arguments.dataset,
            "backbone": arguments.backbone,
            "arm": arguments.arm,
            "repetition": arguments.seed,
        },
    )
    if (code := _launched(arguments, "dataset", "backbone", "arm", "seed")) is not None:
        return code
    from bench.device import device, workers
    from bench.train.finetune import finetune as train

    train(run, device=device(), workers=workers())
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    runs = _runs(arguments)
    run = _one(
        (*runs.evaluations, *runs.classifiers),
        "evaluation",
        {"dataset": arguments.dataset, "backbone": arguments.backbone},
    )
    if run.pretrainings:
        from bench.cluster import check_devices

        check_devices(1)
    elif (code := _launched(arguments, "dataset", "backbone")) is not None:
        return code
    import torch

    from bench.device import device, workers
    from bench.evaluate.cells import evaluate_target
    from bench.evaluate.top1 import evaluate_top1
    from bench.train.distributed import process_group

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
            spectral=runs.study.spectral,
        )
        return 0
    settings, place = runs.study.evaluate[run.dataset], device()
    with process_group(torch.device(place)) as ranks:
        evaluate_target(
            run,
            settings,
            device=place,
            rank=ranks.rank,
            world=ranks.world,
            contrast=(runs.study.compare.treatment, runs.study.compare.primary),
        )
    return 0


def predict(arguments: argparse.Namespace) -> None:
    from bench.device import device
    from bench.evaluate.own_pictures import predict_pictures

    for path in predict_pictures(arguments.weights, arguments.images, arguments.out, device=device()):
        print(path)


def compare(arguments: argparse.Namespace) -> None:
    from bench.stats.stage import compare_study

    compare_study(_runs(arguments), partial=arguments.partial)


def power(arguments: argparse.Namespace) -> None:
    from bench.stats.stage import power_study

    power_study(_runs(arguments))


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
    out = Path(runs.root, "report", "report.pdf")
    write_report(runs.study, Path(runs.root), out, study_file=arguments.study, partial=partial)


def _lay_profile_under(arguments: argparse.Namespace) -> None:
    """Set the variables that the profile names and the shell does not, for this process and those it starts."""
    from bench.profiles import machine_facts

    os.environ.update(machine_facts(arguments.profile, os.environ))


def plan(arguments: argparse.Namespace) -> None:
    from bench.plan.text import plan_text

    _lay_profile_under(arguments)
    budget = arguments.max_gpu_hours
    if budget is not None and not budget > 0:
        raise RequestError(f"--max-gpu-hours {budget:g}: expected a number of hours above 0")
    print(plan_text(_runs(arguments), arguments.study, budget))


def calibrate(arguments: argparse.Namespace) -> None:
    from bench.device import device
    from bench.train.calibrate import calibrate as measure

    _lay_profile_under(arguments)
    print(measure(_runs(arguments), device=device()))


def run(arguments: argparse.Namespace) -> int:
    from bench.workflow import run_study

    _lay_profile_under(arguments)
    return run_study(_runs(arguments), arguments.study, cores=arguments.cores, profile=arguments.profile)


def status(arguments: argparse.Namespace) -> int:
    from bench.status import show_status

    runs = _runs(arguments)
    return show_status(runs, watch=arguments.watch, as_json=arguments.json)


def schema(arguments: argparse.Namespace) -> None:
    from bench.study.json_schema import schema_text

    print(schema_text(), end="")


def publish(arguments: argparse.Namespace) -> None:
    from bench.publish.light import publish as write

    folder = write(_runs(arguments), arguments.study)
    print(f"published in {folder}")


def adopt(arguments: argparse.Namespace) -> int:
    from bench.check.contract import check_folder, report
    from bench.errors import BenchError
    from bench.publish.adopt import adopt as take
    from bench.workflow import prepare_study

    folder, runs = arguments.published, _runs(arguments)
    broken = [found for found in check_folder(folder, None) if found[1]]
    if broken:
        print(report(broken))
        raise BenchError(f"{folder}: breaks the contract of a published study (see above); nothing is taken")
    _lay_profile_under(arguments)
    with prepare_study(runs, arguments.study, profile=arguments.profile):
        outcome = take(runs, folder)
    for place in outcome.taken:
        print(f"taken    {place}")
    for place, why in outcome.left.items():
        print(f"left     {place}: {why}")
    asked = len(runs.pretrainings) + len(runs.finetunings)
    print(
        f"{len(outcome.taken)} of {asked} runs taken from {folder}, {len(outcome.here)} were here already, "
        f"{len(outcome.left)} could not be; `bench run` does the rest"
    )
    return 0


def regenerate(arguments: argparse.Namespace) -> None:
    from bench.publish.regenerate import regenerate as write

    written = write(arguments.results, arguments.out)
    print(f"{len(written)} files of tables and figures in {arguments.out or arguments.results}")


def check(arguments: argparse.Namespace) -> int:
    from bench.check.contract import check_folder, report

    results = check_folder(arguments.results, arguments.study)
    print(report(results))
    broken = [asked.name for asked, findings in results if findings]
    if broken:
        print(f"bench check: {arguments.results} breaks the contract: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


def benchmark(arguments: argparse.Namespace) -> None:
    from bench.benchmark.measure import run_benchmark

    run_benchmark(arguments.name, arguments.out)
