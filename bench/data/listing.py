"""The catalogue for people: a table of the datasets, and everything about one of them on a page.

Nothing is opened: whether archives lie at hand is told from their names.
"""

import os
import textwrap
from collections.abc import Iterator
from pathlib import Path

from bench.catalog.entry import Archive, Entry, Form
from bench.catalog.index import CATALOG, OWN_DATA
from bench.data.handshake import held
from bench.errors import RequestError

WIDTH = 110
HEADER = ("name", "dataset", "kind", "channels", "classes", "archives", "at hand")


def list_datasets() -> str:
    """Return a table: name, title, kind, channels, classes, how the archives are come by, whether they lie here."""
    rows = [HEADER, *(_row(entry) for entry in (*CATALOG.values(), *OWN_DATA.values()))]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEADER))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join((lines[0], "-" * max(map(len, lines)), *lines[1:]))


def show_dataset(name: str) -> str:
    """Return all that the catalogue says of one dataset, as plain text.

    Raises RequestError for a name it does not have.
    """
    entry = (CATALOG | OWN_DATA).get(name)
    if entry is None:
        raise RequestError(f"{name}: no dataset of the catalogue; there are {', '.join(CATALOG | OWN_DATA)}")
    return "\n".join(line.rstrip() for line in _page(entry))


def access(entry: Entry) -> str:
    """Say in a word or two how the archives are come by: fetched, fetched with a password, gated, or one's own."""
    if not entry.forms:
        return "your own"
    ways = {_access(form) for form in entry.forms}
    return next(way for way in ("fetchable", "fetchable with a password", "by hand") if way in ways)


def _access(form: Form) -> str:
    if form.bundle is not None and form.bundle.url is not None:
        return "fetchable" if form.bundle.password is None else "fetchable with a password"
    return "fetchable" if all(archive.url or archive.optional for archive in form.archives) else "by hand"


def _row(entry: Entry) -> tuple[str, ...]:
    classes = str(entry.num_classes) if entry.classes else "see show"
    channels = str(len(entry.channels)) if entry.channels else "any"
    return entry.name, entry.title, entry.kind, channels, classes, access(entry), _at_hand(entry)


def _at_hand(entry: Entry) -> str:
    root = os.environ.get("BENCH_DATA")
    if not entry.forms:
        return "-"
    if not root:
        return "BENCH_DATA unset"
    holding = held(entry, Path(root) / entry.name)
    needed = sum(not archive.optional for archive in holding.form.archives)
    form = "" if holding.form.name == "published" else f" ({holding.form.name})"
    return f"{needed - len(holding.missing)} of {needed}{form}"


def _page(entry: Entry) -> Iterator[str]:
    yield f"{entry.title} ({entry.name}), {entry.kind}"
    yield "=" * WIDTH
    yield from _said("cite", entry.citation)
    yield from _said("terms", entry.terms)
    yield from _said("where", entry.where)
    yield from _said("unit", f"{entry.unit}: what the statistics resample")
    counts = ", ".join(f"{split} {count:,}" for split, count in entry.expected_counts.items())
    yield from _said("images", f"{counts} (as published)" if counts else "")
    yield from _channels(entry)
    yield from _classes(entry)
    yield from _protocols(entry)
    yield from _section("known defects, and the rule that handles each", bool(entry.defects))
    for defect in entry.defects:
        yield f"  {defect.rule}"
        yield from _wrapped(f"{defect.what} [{defect.source}]", 6)
    for form in entry.forms:
        yield from _form(entry, form)


def _channels(entry: Entry) -> Iterator[str]:
    yield from _section("channels (* taken unless a study says otherwise)", bool(entry.channels))
    for channel in entry.channels:
        mark = "*" if channel.name in entry.default_channels else " "
        yield f"  {mark} {channel.name:<20}{channel.dtype:<10}{channel.unit}"


def _classes(entry: Entry) -> Iterator[str]:
    yield from _section("classes", bool(entry.classes or entry.class_note))
    if entry.class_note:
        yield from _wrapped(entry.class_note, 2)
    for index, label in enumerate(entry.classes):
        yield f"  {index:>3}  {label.name:<24}{'{:>3}, {:>3}, {:>3}'.format(*label.colour)}"
    if entry.classes:
        yield f"  {entry.ignore_index:>3}  ignored"


def _protocols(entry: Entry) -> Iterator[str]:
    if entry.kind == "classification":
        protocols = {"official": entry.protocols["official"]} if entry.protocols else {}
        yield from _section("split", bool(protocols))
        yield from _named(protocols)
        return
    names = {
        "splits (`split`)": entry.split_protocols,
        "subsets of the evaluation split, counted by themselves too": entry.groups,
        "labels (`labels`)": entry.label_variants if len(entry.label_variants) > 1 else (),
        "patch geometries (`geometry`; unset: whole scenes)": tuple(item.name for item in entry.geometries),
        "rules a study may ask for (`rules`)": entry.rules,
    }
    counts = {
        item.name: "; " + ", ".join(f"{count:,} in {split}" for split, count in item.counts.items())
        for item in entry.geometries
    }
    for title, those in names.items() if entry.channels else ():
        yield from _section(title, bool(those))
        yield from _named({name: entry.protocols.get(name, "") + counts.get(name, "") for name in those})


def _form(entry: Entry, form: Form) -> Iterator[str]:
    root = os.environ.get("BENCH_DATA")
    folder = Path(root) / entry.name if root else None
    yield from _section(f"archives, {form.name} form, below {folder or '$BENCH_DATA/' + entry.name}", True)
    if form.name != "published":
        yield from _wrapped(f"{form.where}; {form.terms}", 2)
    for archive in ((form.bundle,) if form.bundle else ()) + form.archives:
        here = "" if folder is None else "there" if (folder / archive.path).is_file() else "missing"
        yield f"  {archive.path:<40}{_size(archive):>18}  {here}".rstrip()
        facts = [
            f"{kind} {digest}"
            for kind, digest in (("md5", archive.md5), ("sha256", archive.sha256))
            if digest
        ]
        facts += ["optional"] if archive.optional else []
        facts += ["holds those below"] if archive is form.bundle else []
        facts += [f"must hold {kind.at_least:,} or more files like {kind.pattern}" for kind in archive.holds]
        facts += [f"fetched from {archive.url}"] if archive.url else []
        facts += [f"with the password in {archive.password}"] if archive.password else []
        yield from _wrapped("; ".join(facts), 6)


def _size(archive: Archive) -> str:
    return f"{archive.size:,} bytes" if archive.size else ""


def _section(title: str, shown: bool) -> Iterator[str]:
    if shown:
        yield from ("", title)


def _said(word: str, text: str) -> Iterator[str]:
    if text:
        first, *rest = textwrap.wrap(text, WIDTH - 9, break_long_words=False, break_on_hyphens=False)
        yield f"{word:<9}{first}"
        yield from (f"{'':<9}{line}" for line in rest)


def _named(sentences: dict[str, str]) -> Iterator[str]:
    for name, sentence in sentences.items():
        yield f"  {name}"
        yield from _wrapped(sentence, 6)


def _wrapped(text: str, indent: int) -> Iterator[str]:
    for line in textwrap.wrap(text, WIDTH - indent, break_long_words=False, break_on_hyphens=False):
        yield " " * indent + line
