"""The contract of a results folder: a list of checks, each a question in words and a function that yields findings."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.check import counts, derived, records, runs
from bench.check.folder import Folder, open_folder
from bench.errors import BenchError


@dataclass(frozen=True)
class Check:
    """One question to a results folder."""

    name: str
    asks: str
    findings: Callable[[Folder], Iterator[str]]
    """Yields a sentence for each breach: what was found, where, what was expected."""


CONTRACT: tuple[Check, ...] = (
    Check("schema", "is every record whole, and does its digest follow from its own spec", records.schema),
    Check("names", "does each record lie where its names and its spec say", records.names),
    Check("chain", "is each input digest that of the record or data it names", records.chain),
    Check("completeness", "is every run of the study there, and no other", runs.completeness),
    Check("protocol", "do the specs hold what the study file says", runs.protocol),
    Check("arms", "do the arms differ in what is pre-trained and in the stem alone", runs.arms),
    Check("seeds", "has every arm the same declared seeds", runs.seeds),
    Check(
        "counts",
        "are the counts whole: bytes as recorded, int64, one matrix a cell and sample",
        counts.counts,
    ),
    Check("samples", "are the evaluated samples those of the manifest's split, each once", counts.samples),
    Check("metrics", "do the recorded scores follow from the counts", counts.metrics),
    Check(
        "differences",
        "do runs of different specs differ in their counts, or is it said that they do not",
        counts.differences,
    ),
    Check("comparison", "do scores, intervals and verdicts follow from the counts", derived.comparison),
    Check("tables", "do the tables follow from the comparison", derived.tables),
    Check("figures", "is every figure there, as PNG and PDF", derived.figures),
    Check("seal", "are the files those that were published", derived.seal),
)


def check_folder(path: Path, study_file: Path | None = None) -> list[tuple[Check, list[str]]]:
    """Return every check of the contract with its findings, none where it is kept.

    Raises RequestError if the folder or its study file is not there. A check that cannot go on, because what it
    needs cannot be read, says so as its finding.
    """
    folder = open_folder(path, study_file)
    # A study that cannot be read ends the examination: nothing could be expected of the folder.
    _ = folder.study
    return [(check, _findings(check, folder)) for check in CONTRACT]


def _findings(check: Check, folder: Folder) -> list[str]:
    found: list[str] = []
    try:
        # One by one: what was found before a check broke off is kept.
        for sentence in check.findings(folder):
            found.append(sentence)
    except BenchError as error:
        found.append(str(error))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        found.append(
            f"cannot be examined: {type(error).__name__} {error}; a record lacks what this check reads"
        )
    return found


def report(results: list[tuple[Check, list[str]]]) -> str:
    """Return the outcome as text: a line a check, its findings below it."""
    lines = []
    for check, findings in results:
        lines.append(f"{'ok    ' if not findings else 'BROKEN'}  {check.name:<13} {check.asks}?")
        lines += [f"          {finding}" for finding in findings]
    return "\n".join(lines)
