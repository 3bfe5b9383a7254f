"""The plan in words: jobs by rule, what is stale and why, the price, and what a budget would hold."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.plan.calibration import calibration_file, read_calibration
from bench.plan.graph import Node, graph
from bench.plan.idle import idle_axes
from bench.plan.price import Prices, prices, scaled_to_done
from bench.plan.state import State, states
from bench.plan.subset import enough_seeds, propose
from bench.study.runs import Runs

GIB = 2**30
STATE_COPIES = 4
"""Copies of the weights that a running pre-training keeps to go on from: weights, two moments, average."""


def plan_text(runs: Runs, study_file: Path, budget: float | None = None) -> str:
    """Return the whole plan of a study as lines for a terminal; with a `budget` in hours, what it would hold."""
    nodes, found = graph(runs), states(runs)
    path = calibration_file(runs)
    calibration = read_calibration(path)
    whole = prices(runs, calibration)
    done = {f"{runs.root}/{name}" for name, state in found.items() if state.kind == "done"}
    left = scaled_to_done(whole, done)
    lines = [*_head(runs), "", *_table(runs, nodes, found, whole, left), "", *_reasons(nodes, found)]
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
        f"{len(study.backbones)} backbones, {len(study.datasets)} datasets, {study.repetitions.design} repetitions"
    )
    if study.grid is not None:
        axes = ", ".join(f"{name} ({len(levels)})" for name, levels in study.grid.span.crossed.items())
        yield f"grid of {axes or 'no axis'}: {len(study.factors)} arms"


def _table(
    runs: Runs, nodes: Mapping[str, Node], found: Mapping[str, State], whole: Prices, left: Prices
) -> Iterator[str]:
    jobs = Counter(node.rule for node in nodes.values())
    kinds: dict[str, Counter[str]] = {rule: Counter() for rule in jobs}
    for name, state in found.items():
        kinds[nodes[name].rule][state.kind] += 1
    row = "{:<9} {:>6} {:>6} {:>6} {:>6} {:>9} {:>8} {:>8}"
    yield row.format("stage", "jobs", "done", "to run", "stale", "time", "disk", "memory")
    total = 0
    for rule, count in jobs.items():
        done = kinds[rule]["done"]
        total += count - done
        own = [whole.jobs[name] for name in _folders(runs, nodes, rule) if name in whole.jobs]
        hours = sum(left.hours(name) for name in _folders(runs, nodes, rule))
        known = bool(own) and all(price.seconds is not None for price in own)
        disk = sum(price.disk or 0 for price in own)
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
        biggest = max((price.disk or 0 for price in whole.jobs.values()), default=0)
        kept = sum(price.disk or 0 for price in whole.jobs.values())
        yield (
            f"disk       {_size(kept)} of weights, and up to {_size(STATE_COPIES * biggest)} for each training "
            "that runs; the data besides (`bench data show NAME`)"
        )
    there = "" if path.exists() else ": not there"
    yield f"from       {whole.source if priced else 'nothing measured'} ({path}{there})"
    if not any(price.memory for price in whole.jobs.values()):
        yield "memory     not known; `bench calibrate --study FILE` measures it, and the speed of this machine"
    for sentence in whole.lacking:
        yield f"not priced {sentence}"


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
        yield f"           into a copy of {study_file}, below the study's own `exclude` if it has one:"
        yield "grid:\n  exclude:"
        yield from (f"    - {_flow(pattern)}" for pattern in found.exclude)


def _flow(pattern: Mapping[str, object]) -> str:
    """Return a pattern as one line of YAML."""
    return (
        "{"
        + ", ".join(f"{key}: {json.dumps(value)}" for key, value in pattern.items()).replace('"', "")
        + "}"
    )
