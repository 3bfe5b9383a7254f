"""What is done, what is stale and why, and so what a run would do: the same jobs that the workflow then starts."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.plan.graph import TARGETS, Node, graph, requested
from bench.plan.reasons import stored, why_stale
from bench.study.files import files_changed
from bench.study.runs import Runs

Kind = Literal["done", "missing", "stale", "upstream"]


@dataclass(frozen=True)
class State:
    """What is to be said of one job. `upstream`: it is there, and what it was made from will be made anew."""

    kind: Kind
    reason: str = ""


def states(runs: Runs) -> dict[str, State]:
    """Return the state of every job by its name, as `bench run` will find it.

    A job whose result is stale runs, and all that follows from it: another digest, or for an acquisition other files of
    the user's (names, sizes, times), as Snakemake remembers them. What is missing runs where something that runs, or
    the study itself, needs it: a pre-training whose weights were removed after all its fine-tunings is not missed.
    """
    nodes = graph(runs)
    asked = _asked(runs)
    found: dict[str, State] = {}
    lacking: set[str] = set()
    for data in (runs.pretrain_data, *runs.target_data.values()):
        if files_changed(runs.study, data):
            found[f"acquire/{data.name}"] = State(
                "stale", "the files in BENCH_DATA are others than they were"
            )
    for name, node in nodes.items():
        last = Path(node.outputs[-1])
        if node.digest is not None and last.exists():
            held = stored(last)
            if held["digest"] != node.digest:
                found[name] = State("stale", why_stale(held, *asked[name]))
        if any(not Path(path).exists() for path in node.outputs):
            lacking.add(name)
    runs_now = set(found)
    for name in TARGETS:
        if name in lacking:
            runs_now.add(name)
            found.setdefault(name, State("missing"))
    _spread(nodes, runs_now, lacking, found)
    return {name: found.get(name, State("done")) for name in nodes}


def _spread(
    nodes: Mapping[str, Node], runs_now: set[str], lacking: set[str], found: dict[str, State]
) -> None:
    """Add what follows from a job that runs, and what a job that runs lacks, until nothing is added."""
    follows: dict[str, list[str]] = {name: [] for name in nodes}
    for node in nodes.values():
        for name in node.needs:
            follows[name].append(node.name)
    waiting = list(runs_now)
    while waiting:
        node = nodes[waiting.pop()]
        upstream = [
            (name, State("missing"))
            for name in node.needs
            if name in lacking and not all(Path(path).exists() for path in requested(node, nodes[name]))
        ]
        downstream = [
            (name, State("missing") if name in lacking else State("upstream", f"{node.name} runs again"))
            for name in follows[node.name]
        ]
        for name, state in upstream + downstream:
            if name not in runs_now:
                runs_now.add(name)
                found.setdefault(name, state)
                waiting.append(name)


def _asked(runs: Runs) -> dict[str, tuple[Mapping[str, object], Mapping[str, str]]]:
    """Return spec and inputs that the study asks for, by the name of the job."""
    place = len(runs.root) + 1
    found: dict[str, tuple[Mapping[str, object], Mapping[str, str]]] = {
        job.folder[place:]: (job.spec, job.inputs)
        for job in (*runs.pretrainings, *runs.finetunings, *runs.evaluations, *runs.classifiers)
    }
    for data in (runs.pretrain_data, *runs.target_data.values()):
        found[f"acquire/{data.name}"] = (data.acquire_spec, {})
        found[f"prepare/{data.name}"] = (data.spec, data.inputs)
    found["compare"] = (runs.compare_spec, runs.compare_inputs)
    return found


def counts(nodes: Mapping[str, Node], found: Mapping[str, State]) -> Counter[str]:
    """Return how many jobs of each rule will run."""
    return Counter(node.rule for name, node in nodes.items() if found[name].kind != "done")
