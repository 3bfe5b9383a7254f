"""Checks of the runs against the study file: all there, none else, specs as declared, arms that differ as they may."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from bench.check.folder import Folder
from bench.record import Record
from bench.stats.protocols import ARM, STRATEGY
from bench.study.jobs import EvaluateRun, PretrainRun
from bench.study.recipes import PretrainRecipe


def completeness(folder: Folder) -> Iterator[str]:
    """Find runs of the study without a record, records the study does not ask for, and cells not counted."""
    runs, wanted = folder.runs, folder.jobs
    there = {*folder.records, *folder.broken}
    yield from (f"{place}: no record; the study asks for this run" for place in wanted if place not in there)
    yield from (f"{place}: the study does not ask for this run" for place in sorted(there - set(wanted)))
    for evaluation in runs.evaluations:
        place = evaluation.folder.removeprefix(f"{runs.root}/")
        if place not in folder.records:
            continue
        cells = folder.records[place].extra["cells"]
        counted = [(name, cell["seed"]) for cell in cells for name in cell["names"]]
        asked = [(name, run.repetition) for run in evaluation.finetunings for name in run.names]
        yield from (
            f"{place}: does not count {arm}/seed{seed}" for arm, seed in asked if (arm, seed) not in counted
        )
        yield from (
            f"{place}: counts {arm}/seed{seed}, which the study does not ask for"
            for arm, seed in counted
            if (arm, seed) not in asked
        )
        twice = sorted({cell for cell in counted if counted.count(cell) > 1})
        yield from (f"{place}: counts {arm}/seed{seed} twice" for arm, seed in twice)


def protocol(folder: Folder) -> Iterator[str]:
    """Find settings of a spec that differ from the study file's.

    Keys that only one of the two has are no breach: versions of the harness add settings.
    """
    study = folder.study
    for place, record in folder.records.items():
        backbone, dataset = str(record.names.get("backbone")), str(record.names.get("dataset"))
        declared: dict[str, Any] = {}
        if record.stage == "pretrain" and backbone in study.pretrain and not record.spec.get("published"):
            declared = {"recipe": _recipe(folder, place, backbone).spec, "seed": study.seed}
        elif record.stage == "finetune" and backbone in study.finetune.get(dataset, {}):
            declared = {"recipe": study.finetune[dataset][backbone].spec, "seed": study.seed}
            declared["labels"] = study.datasets[dataset].labels
        elif record.stage == "evaluate" and dataset in study.evaluate:
            declared = asdict(study.evaluate[dataset])
        elif record.stage == "top1":
            declared = {"orders": list(study.orders)}
        if record.stage in ("pretrain", "finetune") and backbone in study.backbones:
            declared["architecture"] = asdict(study.backbones[backbone])
        for key, said, asked in _differences(record.spec, declared):
            yield f"{place}: its spec says {key} {said}; the study file says {asked}"


def _recipe(folder: Folder, place: str, backbone: str) -> PretrainRecipe:
    """Return the recipe of a pre-training: its arm may have epochs of its own."""
    job = folder.jobs.get(place)
    return job.recipe if isinstance(job, PretrainRun) else folder.study.pretrain[backbone]


def _differences(
    spec: Mapping[str, Any], declared: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield (key, value in the spec, declared value) of every leaf that both have and that differs."""
    for key, asked in declared.items():
        if key not in spec:
            continue
        name, said = f"{path}{key}", spec[key]
        if isinstance(asked, dict) and isinstance(said, dict):
            yield from _differences(said, asked, f"{name}.")
        elif _plain(said) != _plain(asked):
            yield name, said, asked


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def arms(folder: Folder) -> Iterator[str]:
    """Find arms of one dataset and backbone that differ in more than what is pre-trained and the stem; and two that
    should differ and have one spec. Pre-trainings whose arms declare epochs of their own are held against each other
    only where these agree.
    """
    for stage, free in (("pretrain", STRATEGY), ("finetune", ARM)):
        first: dict[tuple[Any, ...], tuple[str, Record]] = {}
        for place, record in folder.of_stage(stage).items():
            if record.spec.get("published"):
                continue
            job = folder.jobs.get(place)
            epochs = job.recipe.epochs if isinstance(job, PretrainRun) else None
            key = (record.names.get("dataset"), record.names.get("backbone"), epochs)
            other, known = first.setdefault(key, (place, record))
            here, there = ({k: v for k, v in r.spec.items() if k not in free} for r in (record, known))
            for name, said, expected in _differences(here, there):
                yield f"{place}: {name} is {said}, but {expected} in {other}; arms may differ in start and stem alone"
    seen: dict[str, str] = {}
    for place, record in folder.of_stage("finetune").items():
        if record.digest in seen:
            yield f"{place}: the same spec and inputs as {seen[record.digest]}; arms that are one run have one record"
        seen[record.digest] = place


def seeds(folder: Folder) -> Iterator[str]:
    """Find arms whose seeds are not the declared ones, and fine-tunings that begin from another pre-training's."""
    design = folder.study.repetitions
    count = design.pretrain if design.design == "matched" else design.pretrain * design.finetune
    for place, record in folder.of_stage("evaluate").items():
        found: dict[str, list[int]] = {}
        asked = _asked(folder, place)
        for cell in record.extra["cells"]:
            for name in cell["names"]:
                found.setdefault(name, []).append(cell["seed"])
            begins = cell["seed"] if design.design == "matched" else cell["seed"] // design.finetune
            if cell["pretrain_seed"] not in (None, begins):
                yield (
                    f"{place}: {cell['arm']}/seed{cell['seed']} on pre-training {cell['pretrain_seed']}; the design "
                    f"({design.design}) puts it on {begins}"
                )
        for arm, numbers in found.items():
            wanted = asked.get(arm, list(range(count)))
            if sorted(numbers) != wanted:
                yield f"{place}: {arm} has the seeds {sorted(numbers)}; the study declares {_said(wanted)}"


def _asked(folder: Folder, place: str) -> dict[str, list[int]]:
    """Return the seeds that the study asks for, by arm: a grid may give its own arms fewer."""
    job, found = folder.jobs.get(place), dict[str, list[int]]()
    for run in job.finetunings if isinstance(job, EvaluateRun) else ():
        for name in run.names:
            found.setdefault(name, []).append(run.repetition)
    return {name: sorted(numbers) for name, numbers in found.items()}


def _said(numbers: list[int]) -> str:
    whole = len(numbers) > 1 and numbers == list(range(len(numbers)))
    return f"0 to {numbers[-1]}" if whole else ", ".join(map(str, numbers))
