r"""A finished table as LaTeX: booktabs, and graphicx for tables that are wider than the page.

Words that would run over the margin stand in columns of fixed width; a table that is too wide all the same is
scaled down to the text. Each column takes the room that its longest cell needs, measured in characters.
"""

import re
from dataclasses import replace

from bench.report.layout import Cell, Table

TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "≥": r"$\ge$",
    "≤": r"$\le$",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
}
PROSE = 34
"""A column on the left with a longer cell is set as a paragraph of about this many characters' width."""
ROWS = 42
"""Rows that a page holds in the footnote size of a table, with caption and notes."""
LINE = 88
"""Characters that a line of text takes in the footnote size of a table on A4."""


def escape_tex(text: str) -> str:
    """Return `text` for LaTeX: special signs escaped, a minus before a number set as one."""
    escaped = "".join(TEX.get(sign, sign) for sign in text)
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)


def to_latex(table: Table) -> str:
    r"""Return a `table` environment, or several of a table that is longer than a page.

    It needs `\usepackage{booktabs,graphicx}` and nothing else.
    """
    return "\n".join(_environment(part, first) for part, first in _pages(table))


def _pages(table: Table) -> list[tuple[Table, bool]]:
    """Return the parts of a table that each fit a page, and whether it is the first; notes stand below the last."""
    if len(table.rows) <= ROWS:
        return [(table, True)]
    count = -(-len(table.rows) // ROWS)
    wanted = -(-len(table.rows) // count)
    starts = [0]
    while starts[-1] + ROWS < len(table.rows):
        # A part ends where the first keys change, if they do so near enough to its end.
        last = min(starts[-1] + ROWS, len(table.rows))
        near = range(max(starts[-1] + wanted // 2, starts[-1] + 1), last + 1)
        heads = [tuple(cell.text for cell in row[: table.keys - 1]) for row in table.rows]
        changes = [row for row in near if row < len(heads) and heads[row] != heads[row - 1]]
        starts.append(max(changes, default=last))
    parts = []
    for start, stop in zip(starts, [*starts[1:], len(table.rows)], strict=True):
        part = replace(
            table,
            title=table.title if start == 0 else f"{table.title} (continued)",
            rows=table.rows[start:stop],
            breaks=frozenset(row - start for row in table.breaks if start < row < stop),
            notes=table.notes if stop == len(table.rows) else (),
        )
        parts.append((part, start == 0))
    return parts


def _environment(table: Table, first: bool) -> str:
    r"""Return one `table` environment; the `first` of a table has its label."""

    def cell(item: Cell) -> str:
        # A row that begins with [ would be read as the optional argument of the line break before it.
        text = re.sub(r"^\[", "{[}", escape_tex(item.text))
        return (rf"\textbf{{{text}}}" if item.bold else text) + escape_tex(item.mark)

    lengths = [
        max([len(name), *(len(row[i].text) + len(row[i].mark) for row in table.rows)])
        for i, name in enumerate(table.columns)
    ]
    prose = [table.is_left(i) and length > PROSE for i, length in enumerate(lengths)]
    taken = sum(PROSE if words else length for words, length in zip(prose, lengths, strict=True))
    wide = taken + 2 * len(lengths) > LINE
    lines = [r"\begin{table}[tbp]", r"\centering\footnotesize", rf"\caption{{{escape_tex(table.title)}}}"]
    if first:
        lines += [rf"\label{{tab:{table.name.replace('_', '-')}}}"]
    if wide:
        lines.append(r"\resizebox{\textwidth}{!}{%")
    rule = "".join(_column(table.is_left(i), words) for i, words in enumerate(prose))
    lines += [rf"\begin{{tabular}}{{{rule}}}", r"\toprule"]
    if table.groups:
        lines += _group_lines(table)
    lines += [" & ".join(cell(Cell(name)) for name in table.columns) + r" \\", r"\midrule"]
    for number, row in enumerate(table.once()):
        if number in table.breaks:
            lines.append(r"\midrule")
        elif number and row[0].text and table.keys > 1:
            lines.append(r"\addlinespace")
        lines.append(" & ".join(cell(item) for item in row) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}" + ("}" if wide else "")]
    if table.notes:
        notes = " ".join(escape_tex(note) for note in table.notes)
        lines.append(rf"\par\smallskip\parbox{{\textwidth}}{{\footnotesize {notes}}}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _column(left: bool, prose: bool) -> str:
    return rf"p{{{PROSE / 2:g}em}}" if prose else "l" if left else "r"


def _group_lines(table: Table) -> list[str]:
    """Return the line of groups and the thin rules below those that have a name."""
    heads, rules, column = [], [], 1
    for name, count in table.spans:
        heads.append(rf"\multicolumn{{{count}}}{{c}}{{{escape_tex(name)}}}")
        if name:
            rules.append(rf"\cmidrule(lr){{{column}-{column + count - 1}}}")
        column += count
    return [" & ".join(heads) + r" \\", " ".join(rules)]


PREAMBLE = r"""\documentclass[a4paper,10pt]{article}
\usepackage[utf8]{inputenc}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs,graphicx}
\begin{document}
"""


def document(tables: list[str]) -> str:
    """Return a document that holds finished LaTeX tables, to compile and look at."""
    return PREAMBLE + "\n\\clearpage\n".join(tables) + "\\end{document}\n"
