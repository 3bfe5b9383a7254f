"""The LaTeX tables compile, on a page of their own each."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bench.report.latex import document
from bench.report.tables import write_tables

TEX = shutil.which("pdflatex")


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
    assert f"({len(tables)} pages" in done.stdout
    assert "Overfull \\hbox" not in log and "too large for page" not in log
