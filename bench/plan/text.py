"""The plan in words: jobs by rule, what is stale and why, the price, and what a budget would hold."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from bench.artefacts import may_be_stored, stored
from bench.plan.calibration import calibration_file, read_calibration
from bench.plan.disk import prepared, unpacked
from bench.plan.graph import Node, graph
from bench.plan.idle import idle_axes
from bench.plan.price import Prices, prices, scaled_to_done
from bench.plan.state import State, states
from bench.plan.subset import enough_seeds, propose
from bench.study.jobs import PretrainRun
from bench.study.runs import Runs

GIB = 2**30
DATA = {"acquire": "unpacked from the archives", "prepare": "prepared"}
"""What a stage leaves of the data."""
STATE_COPIES = 4
"""Copies of the weights that a running pre-training keeps to go on from: weights, two moments, average."""


def plan_text(runs: Runs, study_file: Path, budget: float | None = None) -> str:
    """Return the whole plan of a study as lines for a terminal; with a `budget` in hours, what it would hold."""
    nodes, found = graph(runs), states(runs)
    path = calibration_file(runs)
    calibration = read_calibration(path)
    whole = prices(runs, calibration)
    done = {f"{runs.root}/{name}" for name, state in found.items() if state.kind == "done"}
    shared = [
        run
        for run in runs.pretrainings
        if run.published is None and run.folder not in done and stored(run.digest, Path(run.manifest))
    ]
    left = scaled_to_done(whole, done | {run.folder for run in shared})
    lines = [*_head(runs), "", *_table(runs, nodes, found, whole, left), "", *_reasons(nodes, found)]
    lines += _shared(runs, shared, done)
    lines += _cost(runs, whole, left, path)
    lines += [f"idle axis  {sentence}" for sentence in idle_axes(runs)]
    if budget is not None:
        lines += ["", *_budget(runs, left, budget, study_file)]
    return "\n".join(lines)


def _head(runs: Runs) -> Iterator[str]:
    study = runs.study
    yield f"{study.study}: {study.title} ({study.scale} scale)"
    yield (
        f"{len(runs.pretrainings)} pre-trainings and {len(runs.finetunings)} fine-tunings: {len(study.arms)} arms, "
        f"{_count(study.backbones, 'backbone')}, {_count(study.datasets, 'dataset')}, {study.repetitions.design} "
        "repetitions"
    )
    if study.grid is not None:
        axes = ", ".join(f"{name} ({len(levels)})" for name, levels in study.grid.span.crossed.items())
        yield f"grid of {axes or 'no axis'}: {len(study.factors)} arms"


def _count(names: Collection[str], what: str) -> str:
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'}"


def _table(
    runs: Runs, nodes: Mapping[str, Node], found: Mapping[str, State], whole: Prices, left: Prices
) -> Iterator[str]:
    jobs = Counter(node.rule for node in nodes.values())
    kinds: dict[str, Counter[str]] = {rule: Counter() for rule in jobs}
    for name, state in found.items():
        kinds[nodes[name].rule][state.kind] += 1
    of_data = _data_sizes(runs)
    row = "{:<9} {:>6} {:>6} {:>6} {:>6} {:>9} {:>8} {:>8}"
    yield row.format("stage", "jobs", "done", "to run", "stale", "time", "disk", "memory")
    total = 0
    for rule, count in jobs.items():
        done = kinds[rule]["done"]
        total += count - done
        own = [whole.jobs[name] for name in _folders(runs, nodes, rule) if name in whole.jobs]
        hours = sum(left.hours(name) for name in _folders(runs, nodes, rule))
        known = bool(own) and all(price.seconds is not None for price in own)
        disk = sum(price.disk or 0 for price in own) + sum(
            size or 0 for size in of_data.get(rule, {}).values()
        )
        memory = max((price.memory or 0 for price in own), default=0)
        yield row.format(
            rule,
            count,
            done,
            count - done,
            kinds[rule]["stale"],
            _time(hours) if known else ("?" if own else ""),
            _size(disk) if disk else "",
            _size(memory) if memory else "",
        ).rstrip()
    yield f"{'in all':<9} {sum(jobs.values()):>6} {sum(jobs.values()) - total:>6} {total:>6}"


def _data_sizes(runs: Runs) -> dict[str, dict[str, int | None]]:
    """Return the bytes of unpacked and of prepared data by stage and dataset; None where nothing tells."""
    data = (runs.pretrain_data, *runs.target_data.values())
    return {
        "acquire": {run.name: unpacked(runs, run) for run in data},
        "prepare": {run.name: prepared(runs, run) for run in data},
    }


def _time(hours: float) -> str:
    """Return a duration in the largest of hours, minutes and seconds that it fills."""
    for unit, scale in (("h", 1), ("min", 60)):
        if hours * scale >= 1:
            return f"{hours * scale:,.1f} {unit}"
    return f"{hours * 3600:.0f} s"


def _size(size: int) -> str:
    return f"{size / GIB:.1f} GB" if size >= GIB else f"{size / 2**20:.0f} MB"


def _folders(runs: Runs, nodes: Mapping[str, Node], rule: str) -> list[str]:
    return [f"{runs.root}/{name}" for name, node in nodes.items() if node.rule == rule]


def _reasons(nodes: Mapping[str, Node], found: Mapping[str, State]) -> Iterator[str]:
    """Yield what is stale, the jobs with one reason together, in pipeline order."""
    together: dict[tuple[str, str], list[str]] = {}
    for name, state in found.items():
        if state.kind == "stale":
            together.setdefault((nodes[name].rule, state.reason), []).append(name)
    for (rule, reason), names in together.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        first = names[0].removeprefix(rule).removeprefix("evaluate/top1").lstrip("/")
        yield f"stale      {f'{rule} {first}'.rstrip()}{more}: {reason}"
    again = Counter(nodes[name].rule for name, state in found.items() if state.kind == "upstream")
    if again:
        said = ", ".join(f"{count} {rule}" for rule, count in again.items())
        yield f"follows    {said}: what they were made from is made anew"
    if together or again:
        yield ""


def _cost(runs: Runs, whole: Prices, left: Prices, path: Path) -> Iterator[str]:
    total, rest = (sum(one.hours(folder) for folder in one.jobs) for one in (whole, left))
    priced = any(price.seconds is not None for price in whole.jobs.values())
    if priced:
        todo = "" if total == rest else f", of which {_time(rest)} are still to run"
        yield f"price      {_time(total)} of one {whole.device}{todo}"
    yield from _disk(runs, whole)
    there = "" if path.exists() else ": not there"
    yield f"from       {whole.source if priced else 'nothing measured'} ({path}{there})"
    if not any(price.memory for price in whole.jobs.values()):
        yield "memory     not known; `bench calibrate --study FILE` measures it, and the speed of this machine"
    for sentence in whole.lacking:
        yield f"not priced {sentence}"


def _disk(runs: Runs, whole: Prices) -> Iterator[str]:
    """Yield what lies on the disk: weights, states of trainings, data."""
    kept = sum(price.disk or 0 for price in whole.jobs.values())
    if kept:
        biggest = max(price.disk or 0 for price in whole.jobs.values())
        running = f"up to {_size(STATE_COPIES * biggest)} for each training that runs"
        yield f"disk       {_size(kept)} of weights, and {running}"
    words = []
    for rule, sizes in _data_sizes(runs).items():
        unknown = ", ".join(name for name, size in sizes.items() if size is None)
        known = sum(size for size in sizes.values() if size)
        if known or unknown:
            size = f"{_size(known)} {DATA[rule]}" if known else DATA[rule]
            words.append(f"{size} ({unknown}: not known yet)" if unknown else size)
    if words:
        yield f"data       {', '.join(words)}"


def _shared(runs: Runs, shared: Sequence[PretrainRun], done: Collection[str]) -> Iterator[str]:
    """Yield what the shared folder saves, and what it may save once the data are prepared."""
    if shared:
        first = shared[0].folder.removeprefix(f"{runs.root}/")
        more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
        yield f"shared     {first}{more}: in the shared folder (BENCH_STORE), taken and not trained"
    known = {run.folder for run in shared} | set(done)
    maybe = [run for run in runs.pretrainings if run.folder not in known and may_be_stored(run.digest)]
    maybe = [run for run in maybe if run.published is None and not Path(run.manifest).is_file()]
    if maybe:
        yield (
            f"shared     {len(maybe)} more may be: their settings are in the shared folder, and whether their data are "
            "is known once these are prepared"
        )


def _budget(runs: Runs, left: Prices, budget: float, study_file: Path) -> Iterator[str]:
    if not any(left.jobs[run.folder].seconds for run in runs.finetunings):
        yield f"budget     {budget:g} hours: nothing is priced, so nothing can be chosen; run `bench calibrate`"
        return
    found, study = propose(runs, left, budget), runs.study
    wanted = enough_seeds(study.compare.level)
    if not found.kept:
        least = "no contrast" if found.least is None else _time(found.least)
        yield (
            f"budget     {budget:g} hours hold nothing useful: the cheapest contrast of {study.compare.treatment} with "
            f"{study.compare.primary}, {found.seeds} repetitions each, takes {least}"
        )
        return
    few = (
        ""
        if found.seeds >= wanted
        else f" (an exact test over seeds would need {wanted}; the study has no more)"
    )
    yield (
        f"budget     {budget:g} hours hold {len(found.kept)} of {len(runs.finetunings)} fine-tunings, "
        f"{_time(found.hours)}: contrasts of {study.compare.treatment} with {study.compare.primary} first, "
        f"{found.seeds} repetitions each{few}, then other baselines, then more repetitions, always the cheapest first"
    )
    if found.exclude:
        own = runs.study.grid
        where = "beneath its `grid`" if own else "at the end"
        where = "behind its own `exclude`" if own and own.exclude else where
        yield f"           to leave out the rest, in a copy of {study_file}, {where}:"
        yield from (["grid:"] if own is None else [])
        yield from (["  exclude:"] if own is None or not own.exclude else [])
        yield from (f"    - {_flow(pattern)}" for pattern in found.exclude)


def _flow(pattern: Mapping[str, object]) -> str:
    """Return a pattern as one line of YAML."""
    return (
        "{"
        + ", ".join(f"{key}: {json.dumps(value)}" for key, value in pattern.items()).replace('"', "")
        + "}"
    )
