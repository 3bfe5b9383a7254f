"""Published results of other work on the same datasets: read, checked and passed on, never mixed with ours."""

import csv
from pathlib import Path

from bench.errors import RequestError

COLUMNS = ("dataset", "method", "backbone", "metric", "value", "classes", "protocol", "source", "status")
STATUS = ("confirmed", "unconfirmed")


def read_context(path: Path) -> list[dict[str, str]]:
    """Read `paper/context.csv`: a row a published number, in per cent as printed.

    Raises RequestError, naming file and row, for other columns, a value that is no number of per cent, a status that is
    neither `confirmed` nor `unconfirmed`, a cell without its protocol or source, or a row given twice.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror}); it holds published results") from None
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise RequestError(f"{path}: columns {reader.fieldnames}; expected {list(COLUMNS)}")
    seen: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows, start=2):
        where = f"{path}, line {number}"
        try:
            inside = 0 < float(row["value"]) <= 100
        except ValueError:
            inside = False
        if not inside:
            raise RequestError(f"{where}: value {row['value']!r}; expected a number of per cent")
        if row["status"] not in STATUS:
            raise RequestError(f"{where}: status {row['status']!r}; expected {' or '.join(STATUS)}")
        for name in ("dataset", "method", "metric", "protocol", "source"):
            if not row[name]:
                raise RequestError(f"{where}: {name} is empty; a number without it cannot be read")
        key = tuple(row[name] for name in COLUMNS)
        if key in seen:
            raise RequestError(f"{where}: the same as line {seen[key]}; remove one of them")
        seen[key] = number
    return rows
