"""A finished table as aligned plain text, for a terminal."""

import re

from bench.report.layout import Cell, Table


def to_text(table: Table, width: int = 100) -> str:
    """Return the table as aligned plain text of at most `width` columns.

    Headers break at spaces, hyphens and underscores. A table that is too wide still is set as several blocks
    that repeat the key columns.
    """
    heads = [re.findall(r"\s?[^\s_-]+[_-]?|\s?\S", name) or [""] for name in table.full_columns]
    rows = table.once()
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
    return cell.text + "*" * cell.bold + cell.mark


def _wrap(text: str, width: int) -> str:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
