r"""A finished table, set as CSV, Markdown, HTML, LaTeX (booktabs) or aligned plain text.

A table is text already: rounding and per cent belong to whoever builds it. Same table, same bytes.
"""

import csv
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import BenchError


@dataclass(frozen=True)
class Cell:
    """One cell. `bold` is emphasis that the table's notes explain; plain text shows it as a star."""

    text: str
    bold: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under named columns. The first `keys` columns name the row and are set to the left."""

    name: str
    title: str
    """Begins with the scale label where there is one."""
    columns: tuple[str, ...]
    keys: int
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    left: frozenset[int] = frozenset()
    """Further columns set to the left: words, not numbers."""

    def __post_init__(self) -> None:
        """Refuse a ragged table."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise BenchError(
                    f"table {self.name}: a row has {len(row)} cells for {len(self.columns)} columns; "
                    "the builder of the table is at fault"
                )

    def is_left(self, column: int) -> bool:
        """Say whether a column is set to the left."""
        return column < self.keys or column in self.left


def to_csv(table: Table) -> str:
    """Return the table as CSV; title and notes stand before it as lines that begin with `#`."""
    stream = io.StringIO()
    for line in (table.title, *table.notes):
        stream.write(f"# {line}\n")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([cell.text for cell in row] for row in table.rows)
    return stream.getvalue()


def to_markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def cell(item: Cell) -> str:
        text = re.sub(r"([\\|*_<>`])", r"\\\1", item.text)
        return f"**{text}**" if item.bold else text

    rule = [":--" if table.is_left(i) else "--:" for i in range(len(table.columns))]
    lines = [f"**{table.title}**", "", line([cell(Cell(name)) for name in table.columns]), line(rule)]
    lines += [line([cell(item) for item in row]) for row in table.rows]
    lines += [part for note in table.notes for part in ("", note)]
    return "\n".join(lines) + "\n"


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; color: #222; margin: 2em; max-width: 75em; }}
table {{ border-collapse: collapse; margin: 1em 0; }}
th, td {{ padding: .3em .8em; text-align: right; vertical-align: top; }}
th {{ border-bottom: 2px solid #222; }} td {{ border-bottom: 1px solid #ddd; }}
.left {{ text-align: left; }} caption {{ text-align: left; font-weight: 600; padding-bottom: .6em; }}
p {{ color: #555; margin: .3em 0; }}
</style></head><body>
"""


def to_html(table: Table) -> str:
    """Return the table as a page of its own, without scripts or links, for the HTML report."""

    def cell(tag: str, column: int, item: Cell) -> str:
        text = html.escape(item.text)
        inner = f"<strong>{text}</strong>" if item.bold else text
        return f'<{tag} class="left">{inner}</{tag}>' if table.is_left(column) else f"<{tag}>{inner}</{tag}>"

    def line(tag: str, cells: Sequence[Cell]) -> str:
        return "<tr>" + "".join(cell(tag, i, item) for i, item in enumerate(cells)) + "</tr>"

    lines = [PAGE.format(title=html.escape(table.title)).rstrip(), "<table>"]
    lines += [
        f"<caption>{html.escape(table.title)}</caption>",
        line("th", [Cell(name) for name in table.columns]),
    ]
    lines += [line("td", row) for row in table.rows]
    lines += ["</table>", *(f"<p>{html.escape(note)}</p>" for note in table.notes), "</body></html>"]
    return "\n".join(lines) + "\n"


TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
}


def escape_tex(text: str) -> str:
    """Return `text` for LaTeX: special signs escaped, a minus before a number set as one."""
    escaped = "".join(TEX.get(sign, sign) for sign in text)
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)


def to_latex(table: Table) -> str:
    r"""Return a `table` environment; it needs `\usepackage{booktabs}` and nothing else."""

    def cell(item: Cell) -> str:
        # A row that begins with [ would be read as the optional argument of the line break before it.
        text = re.sub(r"^\[", "{[}", escape_tex(item.text))
        return rf"\textbf{{{text}}}" if item.bold else text

    rule = "".join("l" if table.is_left(i) else "r" for i in range(len(table.columns)))
    head = " & ".join(cell(Cell(name)) for name in table.columns)
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{escape_tex(table.title)}}}"]
    lines += [rf"\label{{tab:{table.name.replace('_', '-')}}}", rf"\begin{{tabular}}{{{rule}}}", r"\toprule"]
    lines += [rf"{head} \\", r"\midrule"]
    for number, row in enumerate(_once(table)):
        if number and row[0].text and table.keys > 1:
            lines.append(r"\addlinespace")
        lines.append(" & ".join(cell(item) for item in row) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        lines.append(r"\par\smallskip\footnotesize " + " ".join(escape_tex(note) for note in table.notes))
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _once(table: Table) -> list[tuple[Cell, ...]]:
    """Return the rows with a key blanked where it and all keys before it repeat the row above."""
    shown: list[tuple[Cell, ...]] = []
    above: tuple[Cell, ...] = ()
    for row in table.rows:
        same = 0
        while above and same < table.keys - 1 and row[same].text == above[same].text:
            same += 1
        shown.append((*(Cell(""),) * same, *row[same:]))
        above = row
    return shown


def to_text(table: Table, width: int = 100) -> str:
    """Return the table as aligned plain text of at most `width` columns.

    Headers break at spaces, hyphens and underscores. A table that is too wide still is set as several blocks
    that repeat the key columns.
    """
    heads = [re.findall(r"\s?[^\s_-]+[_-]?|\s?\S", name) or [""] for name in table.columns]
    rows = _once(table)
    widths = [
        max([len(part.strip()) for part in heads[i]] + [len(_starred(row[i])) for row in rows])
        for i in range(len(table.columns))
    ]
    blocks = _blocks(widths, table.keys, width)
    parts = [_wrap(table.title, width)]
    for block in blocks:
        parts.append("\n".join(_block(table, rows, heads, widths, block)))
    parts += [_wrap(note, width) for note in table.notes]
    return "\n".join(parts) + "\n"


def _blocks(widths: list[int], keys: int, limit: int) -> list[list[int]]:
    first = list(range(keys))
    blocks, current = [], list(first)
    for column in range(keys, len(widths)):
        if len(current) > keys and sum(widths[i] + 2 for i in [*current, column]) - 2 > limit:
            blocks.append(current)
            current = list(first)
        current.append(column)
    return [*blocks, current]


def _block(
    table: Table, rows: list[tuple[Cell, ...]], heads: list[list[str]], widths: list[int], block: list[int]
) -> list[str]:
    folded = {i: _fold(heads[i], widths[i]) for i in block}
    depth = max(len(lines) for lines in folded.values())

    def line(texts: list[str]) -> str:
        placed = [
            text.ljust(widths[i]) if table.is_left(i) else text.rjust(widths[i])
            for i, text in zip(block, texts, strict=True)
        ]
        return "  ".join(placed).rstrip()

    rule = "-" * (sum(widths[i] + 2 for i in block) - 2)
    lines = [rule]
    for level in range(depth):
        lines.append(line([([""] * (depth - len(folded[i])) + folded[i])[level] for i in block]))
    lines.append(rule)
    return [*lines, *(line([_starred(row[i]) for i in block]) for row in rows), rule]


def _fold(parts: list[str], width: int) -> list[str]:
    """Return a header's pieces joined into lines of at most `width`."""
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append(part.strip())
        else:
            lines[-1] += part
    return lines


def _starred(cell: Cell) -> str:
    return f"{cell.text}*" if cell.bold else cell.text


def _wrap(text: str, width: int) -> str:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
