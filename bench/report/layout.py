"""A finished table, and its setting as CSV, Markdown and HTML; LaTeX and plain text have modules of their own.

A table is text already: rounding and per cent belong to whoever builds it. Same table, same bytes.
"""

import csv
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.errors import BenchError


@dataclass(frozen=True)
class Cell:
    """One cell. `bold` and `mark` (such as a dagger) are emphasis that the table's notes explain.

    Plain text shows bold as a star; CSV shows neither, so that its cells stay numbers.
    """

    text: str
    bold: bool = False
    mark: str = ""


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
    groups: tuple[str, ...] = ()
    """A heading above each column, said once over neighbours that share it; empty: the table has none."""

    breaks: frozenset[int] = frozenset()
    """Rows before which a thin rule stands."""

    def __post_init__(self) -> None:
        """Refuse a ragged table."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise BenchError(
                    f"table {self.name}: a row has {len(row)} cells for {len(self.columns)} columns; "
                    "the builder of the table is at fault"
                )
        if self.groups and len(self.groups) != len(self.columns):
            raise BenchError(
                f"table {self.name}: {len(self.groups)} groups for {len(self.columns)} columns; "
                "the builder of the table is at fault"
            )

    def is_left(self, column: int) -> bool:
        """Say whether a column is set to the left."""
        return column < self.keys or column in self.left

    @property
    def full_columns(self) -> tuple[str, ...]:
        """The columns' names with their group before them, for settings of one header line."""
        if not self.groups:
            return self.columns
        return tuple(f"{g} {c}".strip() for g, c in zip(self.groups, self.columns, strict=True))

    @property
    def spans(self) -> list[tuple[str, int]]:
        """The groups from the left, each with the number of columns that it spans."""
        return [(name, len(list(same))) for name, same in groupby(self.groups)]

    def once(self) -> list[tuple[Cell, ...]]:
        """Return the rows with a key blanked where it and all keys before it repeat the row above."""
        shown: list[tuple[Cell, ...]] = []
        above: tuple[Cell, ...] = ()
        for row in self.rows:
            same = 0
            while above and same < self.keys - 1 and row[same].text == above[same].text:
                same += 1
            shown.append((*(Cell(""),) * same, *row[same:]))
            above = row
        return shown


def to_csv(table: Table) -> str:
    """Return the table as CSV; title and notes stand before it as lines that begin with `#`."""
    stream = io.StringIO()
    for line in (table.title, *table.notes):
        stream.write(f"# {line}\n")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.full_columns)
    writer.writerows([cell.text for cell in row] for row in table.rows)
    return stream.getvalue()


def to_markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def cell(item: Cell) -> str:
        text = re.sub(r"([\\|*_<>`])", r"\\\1", item.text)
        return (f"**{text}**" if item.bold else text) + item.mark

    rule = [":--" if table.is_left(i) else "--:" for i in range(len(table.columns))]
    head = line([cell(Cell(name)) for name in table.full_columns])
    lines = [f"**{table.title}**", "", head, line(rule)]
    lines += [line([cell(item) for item in row]) for row in table.rows]
    lines += [part for note in table.notes for part in ("", note)]
    return "\n".join(lines) + "\n"


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; color: #222; margin: 2em; max-width: 85em; }}
table {{ border-collapse: collapse; margin: 1em 0; }}
th, td {{ padding: .3em .8em; text-align: right; vertical-align: top; }}
th {{ border-bottom: 2px solid #222; }} td {{ border-bottom: 1px solid #ddd; }}
th.group {{ border-bottom: 1px solid #999; text-align: center; }} td {{ white-space: nowrap; }}
td.words {{ white-space: normal; min-width: 16em; }}
tr.break td {{ border-top: 1px solid #222; }}
.left {{ text-align: left; }} caption {{ text-align: left; font-weight: 600; padding-bottom: .6em; }}
p {{ color: #555; margin: .3em 0; max-width: 60em; }}
@media (max-width: 80em) {{
body {{ font-size: 12px; margin: 1em; }} th, td {{ padding: .3em .4em; }} td.words {{ min-width: 12em; }}
}}
</style></head><body>
"""
WORDS = 32
"""Characters from which a cell on the left is prose that may be broken over lines."""


def to_html(table: Table) -> str:
    """Return the table as a page of its own, without scripts or links, for the HTML report."""

    def cell(tag: str, column: int, item: Cell) -> str:
        text = html.escape(item.text)
        inner = (f"<strong>{text}</strong>" if item.bold else text) + item.mark
        if not table.is_left(column):
            return f"<{tag}>{inner}</{tag}>"
        return f'<{tag} class="left{" words" * (len(item.text) > WORDS)}">{inner}</{tag}>'

    def line(tag: str, cells: Sequence[Cell]) -> str:
        return "<tr>" + "".join(cell(tag, i, item) for i, item in enumerate(cells)) + "</tr>"

    lines = [PAGE.format(title=html.escape(table.title)).rstrip(), "<table>"]
    lines.append(f"<caption>{html.escape(table.title)}</caption>")
    if table.groups:
        spans = [
            f'<th class="group" colspan="{count}">{html.escape(name)}</th>' for name, count in table.spans
        ]
        lines.append(f"<tr>{''.join(spans)}</tr>")
    lines.append(line("th", [Cell(name) for name in table.columns]))
    for number, row in enumerate(table.rows):
        text = line("td", row)
        lines.append(text.replace("<tr>", '<tr class="break">', 1) if number in table.breaks else text)
    lines += ["</table>", *(f"<p>{html.escape(note)}</p>" for note in table.notes), "</body></html>"]
    return "\n".join(lines) + "\n"
