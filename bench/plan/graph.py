"""The jobs of a study as the workflow has them: what each writes and which others it waits for.

The rules say the same to Snakemake; a test holds the counts together, before and after runs.
"""

from dataclasses import dataclass
from pathlib import Path

from bench.adopted import is_adopted
from bench.study.outputs import DATA_FIGURES, compare_tables, data_names, figure_names, table_names
from bench.study.runs import Runs

TRAINED = ("weights.safetensors", "weights.json", "log.csv", "record.json")
COUNTED = ("counts.npz", "examples.npz", "record.json")
READ = ("correct.npz", "record.json")
TARGETS = ("look", "tables", "figures", "report")
"""Jobs that the whole study asks for; the others run where these need them."""


REQUESTED = {
    "pretrain": {"compare": ("record.json",), "figures": ("log.csv",)},
    "finetune": {"compare": ("record.json",), "figures": ("log.csv",)},
    "evaluate": {"compare": ("record.json",), "figures": ("record.json",)},
    "top1": {"compare": ("record.json",), "figures": ("record.json",)},
}
"""Of a rule's outputs those that another names among its inputs; of trainings others ask for weights and record."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One job: its rule, its outputs (the one that carries the digest last), the jobs it waits for."""

    rule: str
    name: str
    outputs: tuple[str, ...]
    needs: tuple[str, ...]
    digest: str | None = None
    """The digest that the last output must carry; None where it carries none (tables, figures, report)."""


def requested(consumer: Node, made: Node) -> list[str]:
    """Return the outputs of `made` that `consumer` asks for: where they are all there, nothing is made anew for it."""
    if made.rule not in REQUESTED:
        return list(made.outputs)
    wanted = REQUESTED[made.rule].get(consumer.rule, ("weights.safetensors", "record.json"))
    if consumer.rule in ("evaluate", "top1") and is_adopted(Path(made.outputs[-1]).parent):
        wanted = ("record.json",)
    return [path for path in made.outputs if path.endswith(wanted)]


def graph(runs: Runs) -> dict[str, Node]:
    """Return every job of the study by its name, upstream first."""
    root, found = runs.root, dict[str, Node]()

    def add(rule: str, name: str, outputs: list[str], needs: list[str], digest: str | None = None) -> None:
        found[name] = Node(rule=rule, name=name, outputs=tuple(outputs), needs=tuple(needs), digest=digest)

    for data in (runs.pretrain_data, *runs.target_data.values()):
        add("acquire", f"acquire/{data.name}", [data.acquired], [], data.acquire_digest)
        add("prepare", f"prepare/{data.name}", [data.manifest], [f"acquire/{data.name}"], data.digest)
    photographs = f"prepare/{runs.pretrain_data.name}"
    place = len(root) + 1
    for start in runs.pretrainings:
        outputs = [f"{start.folder}/{name}" for name in TRAINED]
        add("pretrain", start.folder[place:], outputs, [photographs], start.digest)
    for cell in runs.finetunings:
        needs = [f"prepare/{cell.dataset}", *([cell.pretrain.folder[place:]] if cell.pretrain else [])]
        outputs = [f"{cell.folder}/{name}" for name in TRAINED]
        add("finetune", cell.folder[place:], outputs, needs, cell.digest)
    for counts in runs.evaluations:
        needs = [f"prepare/{counts.dataset}", *(run.folder[place:] for run in counts.finetunings)]
        outputs = [f"{counts.folder}/{name}" for name in COUNTED]
        add("evaluate", counts.folder[place:], outputs, needs, counts.digest)
    for read in runs.classifiers:
        needs = [photographs, *(run.folder[place:] for run in read.pretrainings)]
        add("top1", read.folder[place:], [f"{read.folder}/{name}" for name in READ], needs, read.digest)
    trained = [node.name for node in found.values() if node.rule in ("pretrain", "finetune")]
    counted = [node.name for node in found.values() if node.rule in ("evaluate", "top1")]
    names, study = data_names(runs.study), runs.study
    pictures = [f"{root}/figures/data/{name}/sheet.png" for name in names]
    pictures += [
        f"{root}/figures/data/{name}/{figure}.{kind}"
        for name in names
        for figure in DATA_FIGURES
        for kind in ("png", "pdf")
    ]
    pictures.append(f"{root}/figures/data/strategies.png")
    add("look", "look", pictures, [f"prepare/{name}" for name in names])
    compared = [f"{root}/compare/{name}.csv" for name in compare_tables(runs.study)] + [
        f"{root}/compare/record.json"
    ]
    add("compare", "compare", compared, counted + trained, runs.compare_digest)
    tables = [
        f"{root}/tables/{name}.{kind}" for name in table_names(study) for kind in ("csv", "md", "html", "tex")
    ]
    add("tables", "tables", [*tables, f"{root}/tables/main.txt"], ["compare"])
    figures = [f"{root}/figures/{name}.{kind}" for name in figure_names(study) for kind in ("png", "pdf")]
    add("figures", "figures", figures, ["compare", *counted, *trained])
    add("report", "report", [f"{root}/report/report.pdf"], ["compare", "tables", "figures"])
    return found
