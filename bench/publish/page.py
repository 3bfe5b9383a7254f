"""The page of a published study: README.md, which a repository shows to whoever opens the folder."""

from pathlib import Path

from bench.publish.lighter import FOR_OWNERS, FOR_SIZE, REPORT, reasons
from bench.publish.regenerate import published_study
from bench.record import write_text
from bench.report.discussion import FILE, read_discussion
from bench.report.numbers import read_numbers
from bench.report.tables import main_table, settings_of
from bench.study.outputs import figure_names, table_names

MARKS = {"heading": "### ", "paragraph": "", "item": "- "}


def write_page(folder: Path) -> Path:
    """Write README.md of a published study from its study file and tables; return its path."""
    study = published_study(folder)
    numbers = read_numbers(study, folder / "compare")
    stamp = f"**{numbers.stamp}.** " if numbers.stamp else ""
    tables = ", ".join(f"[{name}](tables/{name}.md)" for name in table_names(study))
    shown = [name for name in figure_names(study) if (folder / "figures" / f"{name}.png").is_file()]
    figures = ", ".join(f"[{name}](figures/{name}.png)" for name in shown)
    absent = {why: "; ".join(words.values()) for why, words in reasons(folder).items()}
    lacking = f"Left out, so that the record stays small: {words}.\n\n" if (words := absent[FOR_SIZE]) else ""
    if words := absent[FOR_OWNERS]:
        lacking += f"Not passed on, since the data may not be: {words}.\n\n"
    report = f"The report: [{REPORT}]({REPORT}).\n\n" if (folder / REPORT).is_file() else ""
    blocks = read_discussion(path if (path := folder / FILE).is_file() else None)
    said = "".join(f"{MARKS[block.kind]}{block.text}\n\n" for block in blocks)
    discussion = f"## Discussion\n\n{said}" if said else ""
    first = "![Overview](figures/overview.png)" if numbers.judged else "![Top-1](figures/top1.png)"
    text = f"""# {study.title}

{stamp}The light record of study `{study.study}`: counts, specs, receipts, tables and figures, without weights and
data. `bench publish` writes this folder, no rule of the workflow does, and no run reads it.

{first}

{settings_of(main_table(numbers))["md"]}
![Gains](figures/forest.png)

{discussion}{report}Tables: {tables}.

Figures: {figures}.

{lacking}| folder | what it holds |
|---|---|
| `study.yaml` | the study as it was run |
| `evaluate/` | confusion counts a sample (`counts.npz`), right or wrong a picture (`correct.npz`), records |
| `pretrain/`, `finetune/` | the record of each training: spec, digests, receipt |
| `data/` | manifests: splits, sources, statistics |
| `paper/` | the paper's numbers and other work's, as they were when this was made |
| `compare/`, `tables/`, `figures/` | what follows from the counts |

    make tables RESULTS=results/published/{study.study}                   # everything in the last row, anew
    python -m bench check results/published/{study.study}                 # does the record keep its contract?
"""
    path = folder / "README.md"
    write_text(path, text)
    return path
