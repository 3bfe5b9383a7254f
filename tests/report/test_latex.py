"""The LaTeX tables compile, on a page of their own each."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.report.latex import ROWS, document, to_latex
from bench.report.layout import Cell, Table
from bench.report.tables import write_tables

TEX = shutil.which("pdflatex")


def test_a_long_table_is_set_in_parts_that_keep_every_row_once() -> None:
    keys = [(f"set{i // 30}", f"row{i}") for i in range(100)]
    table = Table(
        name="long_one", title="T", columns=("Set", "Row"), keys=2, notes=("N.",), breaks=frozenset({30, 60, 90}),
        rows=tuple((Cell(a), Cell(b)) for a, b in keys),
    )  # fmt: skip
    parts = to_latex(table).split(r"\begin{table}")[1:]
    # 0 to 29, 30 to 59, and the 40 rows of the last two sets, which fit one page.
    assert len(parts) == 3 and all(1 <= part.count("row") <= ROWS for part in parts)
    # Each part begins with a set of its own and names it; label and notes stand once.
    assert [f"set{i} & row{30 * i} " in part for i, part in enumerate(parts)] == [True] * 3
    assert [part.count("N.") for part in parts] == [0, 0, 1]
    assert [part.count(r"\label") for part in parts] == [1, 0, 0]
    assert sum(part.count("(continued)") for part in parts) == 2
    for _, row in keys:
        assert sum(part.count(f"{row} ") for part in parts) == 1


@pytest.mark.skipif(
    TEX is None, reason="pdflatex is not installed (apt-get install texlive-latex-recommended)"
)
def test_every_table_compiles_and_fits_its_page(paper, tmp_path: Path) -> None:
    context = "dataset,method,backbone,metric,value,classes,protocol,source,status\n"
    work = (
        "isaid,UperNet,Swin-T,mIoU,64.6,16,val: 896 x 896 & <one> scale_~50% #2,paper {Table VII},confirmed\n"
    )
    (paper.compare / "context.csv").write_text(context + work)
    write_tables(paper.study, paper.compare, paper.results / "tables")
    tables = [path.read_text() for path in sorted((paper.results / "tables").glob("*.tex"))]
    (tmp_path / "all.tex").write_text(document(tables))
    done = subprocess.run(
        [str(TEX), "-interaction=nonstopmode", "-halt-on-error", "all.tex"], cwd=tmp_path, capture_output=True,
        text=True, errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "all.log").read_text(errors="replace")
    # A table that is longer than a page is set in parts.
    parts = sum(text.count(r"\begin{table}") for text in tables)
    pages = re.search(r"\((\d+) pages", done.stdout)
    # Two short parts may share a page; no table has more pages than parts.
    assert pages and len(tables) < parts and len(tables) <= int(pages[1]) <= parts
    assert "Overfull \\hbox" not in log and "too large for page" not in log
