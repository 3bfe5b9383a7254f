"""The names of what the last stages write, known to the workflow without importing what draws them."""

from bench.study.schema import Study

COMPARE_TABLES = ("scores", "comparisons", "verdicts", "top1", "alarms", "cost", "receipts")
"""compare/<name>.csv; all but cost and receipts are free of times, commits and hosts."""

TABLES = ("main", "per_class", "comparisons", "top1", "claims", "cost")
"""tables/<name>.{csv,md,html,tex}."""


def figure_names(study: Study) -> list[str]:
    """Return the stem of every figure of a study: figures/<name>.{png,pdf}."""
    names = ["forest", "top1", "curves_pretrain", "curves_finetune"]
    return [*names, *(f"{kind}_{name}" for kind in ("per_class", "pictures") for name in study.datasets)]
