"""The names of what the last stages write, known to the workflow without importing what draws them."""

from bench.study.schema import Study

COMPARE_TABLES = (
    *("scores", "comparisons", "classes", "subsets", "boundary", "spectral", "further", "tests"),
    *("ranks", "posthoc", "power", "verdicts", "top1", "context", "alarms", "notes", "cost", "receipts"),
)
"""compare/<name>.csv; all but notes, cost and receipts are free of times, commits and hosts."""


def compare_tables(study: Study) -> list[str]:
    """Return the stem of every file of the comparison: those of every study, and the levels of a grid's arms."""
    return [*COMPARE_TABLES, *(["factors"] if study.factors else [])]


def table_names(study: Study) -> list[str]:
    """Return the stem of every table of a study: tables/<name>.{csv,md,html,tex}."""
    names = ["comparisons", "effects", *(["subsets"] if names_subsets(study) else []), "conventions"]
    names += ["tests", "power", "ranks", "top1", "claims", "context", "cost"]
    names += ["grid"] if study.factors else []
    return ["main", *(f"dataset_{name}" for name in study.datasets), *names, *measured(study)]


def names_subsets(study: Study) -> bool:
    """Say whether a study asks for groups of samples by themselves, such as day and night."""
    return any(evaluation.subsets for evaluation in study.evaluate.values())


def measured(study: Study) -> list[str]:
    """Return which further measures a study takes, as tables and figures call them: boundary, spectral, or none."""
    settings = study.evaluate.values()
    found = {"boundary": any(e.boundary for e in settings), "spectral": any(e.spectral for e in settings)}
    return [name for name, taken in found.items() if taken]


DATA_FIGURES = ("classes", "channels")
"""figures/data/<dataset>/<name>.{png,pdf}; beside them sheet.png, and strategies.png for all."""


def data_names(study: Study) -> list[str]:
    """Return every dataset that the study prepares, by its folder name: the targets, then the photographs."""
    return [*study.datasets, study.pretrain_data.name]


def figure_names(study: Study) -> list[str]:
    """Return the stem of every figure of a study: figures/<name>.{png,pdf}."""
    names = ["overview", "forest", "top1", *(["top1_spectral"] if study.spectral else [])]
    names += ["curves_pretrain", "curves_finetune", *measured(study)]
    names += ["grid_effects", "grid_interactions"] if study.factors else []
    kinds = ("per_class", "confusion", "pictures")
    return [*names, *(f"{kind}_{name}" for kind in kinds for name in study.datasets)]
