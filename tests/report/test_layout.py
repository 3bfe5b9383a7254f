"""One table, four settings: CSV, Markdown, LaTeX, plain text."""

import csv
import io
import re

import pytest

from bench.errors import BenchError
from bench.report.latex import escape_tex, to_latex
from bench.report.layout import Cell, Table, to_csv, to_html, to_markdown
from bench.report.plain import to_text

TITLE = "MINIATURE. A title."


def table_of(
    *rows: tuple[str, ...], columns: tuple[str, ...], keys: int = 2, title: str = "MINIATURE. A title."
) -> Table:
    cells = tuple(tuple(Cell(text) for text in row) for row in rows)
    return Table(
        name="a_table", title=title, columns=columns, keys=keys, rows=cells, notes=("A note at 5 %.",)
    )


SMALL = table_of(
    ("mfnet", "convnext_mini", "50.00", "-1.25"),
    ("mfnet", "swin_mini", "51.00", "[-2.00, 1.00]"),
    ("pst900", "swin_mini", "n/a", "<0.001"),
    columns=("Dataset", "Backbone", "rgb-repeat", "csp - rgb"),
)


def unescaped(text: str) -> list[str]:
    """Return the special signs of LaTeX that no backslash precedes, maths and row ends aside."""
    text = text.replace(r"\\", "").replace("$-$", "").replace("$<$", "").replace("$>$", "")
    return re.findall(r"(?<!\\)[_%#$]", text)


def test_csv_reads_back_the_same_cells_after_its_comment_lines() -> None:
    lines = to_csv(SMALL).splitlines()
    assert lines[:2] == ["# MINIATURE. A title.", "# A note at 5 %."]
    rows = list(csv.reader(io.StringIO("\n".join(lines[2:]))))
    assert rows == [list(SMALL.columns), *([cell.text for cell in row] for row in SMALL.rows)]


def test_markdown_rows_have_as_many_cells_as_the_header() -> None:
    lines = [line for line in to_markdown(SMALL).splitlines() if line.startswith("|")]
    # Header, rule and three rows; a bar inside a cell would be escaped and is not counted.
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [5] * 5
    assert r"convnext\_mini" in lines[2] and r"\<0.001" in lines[4]


def test_latex_is_balanced_and_escaped() -> None:
    text = to_latex(SMALL)
    assert text.count("{") == text.count("}")
    begun, ended = re.findall(r"\\begin\{(\w+)\}", text), re.findall(r"\\end\{(\w+)\}", text)
    assert begun == ended[::-1] == ["table", "tabular"]
    assert unescaped(text) == []
    rules = [text.index(rf"\{name}") for name in ("toprule", "midrule", "bottomrule")]
    assert rules == sorted(rules)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {3} and len(rows) == 4


def test_latex_sets_minus_signs_and_keeps_hyphens() -> None:
    assert escape_tex("csp - rgb-repeat") == "csp - rgb-repeat"
    assert escape_tex("[-0.70, 3.30]") == "[$-$0.70, 3.30]"
    assert escape_tex(r"a\b^c~d {e}") == r"a\textbackslash{}b\textasciicircum{}c\textasciitilde{}d \{e\}"


def test_a_row_that_begins_with_a_bracket_is_no_argument_of_the_line_break() -> None:
    text = to_latex(table_of(("[1, 2]", "x"), columns=("a", "b"), keys=0))
    assert "{[}1, 2] & x" in text


def test_bold_is_marked_in_every_setting_but_csv() -> None:
    table = Table(
        name="t", title="T", columns=("a", "b"), keys=1, rows=((Cell("x"), Cell("+6.60", bold=True)),)
    )
    assert "**+6.60**" in to_markdown(table)
    assert r"\textbf{+6.60}" in to_latex(table)
    assert "+6.60*" in to_text(table)
    assert to_csv(table).splitlines()[-1] == "x,+6.60"


@pytest.mark.parametrize("width", [40, 60, 100])
def test_plain_text_keeps_to_its_width_and_loses_no_cell(width: int) -> None:
    wide = table_of(
        *[("pst900", f"backbone_{i}", *(f"{i}{j}.00" for j in range(20))) for i in range(3)],
        columns=("Dataset", "Backbone", *(f"rgb-stem-{j}" for j in range(20))),
        title="MINIATURE. " + "word " * 60,
    )
    text = to_text(wide, width)
    assert max(map(len, text.splitlines())) <= width
    assert all(f" {i}{j}.00" in text for i in range(3) for j in range(20))


def test_plain_text_aligns_numbers_to_the_right_and_breaks_headers_at_hyphens() -> None:
    lines = to_text(SMALL).splitlines()
    assert any(line.split() == ["rgb-"] or "rgb-" in line.split() for line in lines)
    numbers = [line for line in lines if "50.00" in line or "51.00" in line]
    assert len({line.index(".00") for line in numbers}) == 1


def test_a_repeated_key_is_said_once_in_text_and_always_in_csv() -> None:
    assert to_text(SMALL).count("mfnet") == 1
    assert to_csv(SMALL).count("mfnet") == 2


def test_a_ragged_table_is_refused_by_name() -> None:
    with pytest.raises(BenchError, match="a_table: a row has 1 cells for 2 columns"):
        table_of(("x",), columns=("a", "b"))


def test_an_html_table_is_one_page_that_parses_and_escapes_what_it_shows():
    from html.parser import HTMLParser

    table = Table(
        name="main", title="MINIATURE. A & B", columns=("arm", "value"), keys=1,
        rows=((Cell("rgb <x>"), Cell("1.5", bold=True)),), notes=("note",),
    )  # fmt: skip
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            found.append(data)

    page = to_html(table)
    Reader().feed(page)
    for text in ("MINIATURE. A & B", "arm", "value", "rgb <x>", "1.5", "note"):
        assert text in found, text
    assert "<strong>1.5</strong>" in page and "<script" not in page and "http" not in page


GROUPED = Table(
    name="grouped", title="T", columns=("Class", "rgb", "csp", "rgb"), groups=("", "Swin", "Swin", "ConvNeXt"), keys=1,
    rows=(
        (Cell("car"), Cell("1.00"), Cell("2.00", bold=True, mark="†"), Cell("3.00")),
        tuple(map(Cell, "a b c d".split())),
    ),
    breaks=frozenset({1}),
)  # fmt: skip


def test_groups_span_their_columns_in_html_and_latex_and_are_prefixes_elsewhere() -> None:
    assert GROUPED.spans == [("", 1), ("Swin", 2), ("ConvNeXt", 1)]
    assert '<th class="group" colspan="2">Swin</th>' in to_html(GROUPED)
    text = to_latex(GROUPED)
    assert r"\multicolumn{2}{c}{Swin}" in text and r"\cmidrule(lr){2-3} \cmidrule(lr){4-4}" in text
    assert to_csv(GROUPED).splitlines()[1] == "Class,Swin rgb,Swin csp,ConvNeXt rgb"


def test_marks_are_shown_but_keep_out_of_csv_where_cells_are_numbers() -> None:
    assert "**2.00**†" in to_markdown(GROUPED)
    assert r"\textbf{2.00}$^\dagger$" in to_latex(GROUPED)
    assert "2.00*†" in to_text(GROUPED)
    assert "car,1.00,2.00,3.00" in to_csv(GROUPED)


def test_a_break_is_a_rule_before_its_row() -> None:
    lines = to_latex(GROUPED).splitlines()
    assert lines[lines.index(r"a & b & c & d \\") - 1] == r"\midrule"
    assert '<tr class="break"><td class="left">a</td>' in to_html(GROUPED)


def test_a_wide_latex_table_is_scaled_to_the_text_and_prose_is_set_in_a_paragraph() -> None:
    assert "resizebox" not in to_latex(SMALL)
    wide = table_of(("a", "b", *("x" * 12,) * 9), columns=("k", "l", *(f"c{i}" for i in range(9))))
    assert r"\resizebox{\textwidth}{!}{%" in to_latex(wide)
    prose = Table(name="p", title="T", columns=("a", "why"), keys=1, left=frozenset({1}),
                  rows=((Cell("x"), Cell("word " * 20)),))  # fmt: skip
    assert r"\begin{tabular}{lp{17em}}" in to_latex(prose)


def test_groups_that_do_not_fit_the_columns_are_refused() -> None:
    with pytest.raises(BenchError, match="t: 1 groups for 2 columns"):
        Table(name="t", title="T", columns=("a", "b"), groups=("g",), keys=1, rows=())
