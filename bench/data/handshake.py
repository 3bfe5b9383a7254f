"""What a user is asked for: which archives are missing, from where, under which terms, into which folder."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.catalog.entry import Archive, Entry, Form
from bench.errors import BenchError

MIRROR = "BENCH_MIRROR"
"""Environment variable; `1` fetches another form of a dataset though one that only a person can complete was begun."""


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What lies in a dataset's folder: the form that is nearest to whole, and what it lacks."""

    entry: Entry
    folder: Path
    form: Form
    missing: tuple[Archive, ...]
    """Archives without which the form is not whole."""

    @property
    def present(self) -> tuple[Archive, ...]:
        """The archives of the form that lie there, optional ones included."""
        return tuple(a for a in self.form.archives if (self.folder / a.path).is_file())

    @property
    def fetchable(self) -> bool:
        """Whether what it lacks can be fetched, or taken out of a bundle, without a person."""
        bundle = self.form.bundle
        if bundle is None:
            return all(archive.url for archive in self.missing)
        given = bundle.password is None or bool(os.environ.get(bundle.password))
        return (self.folder / bundle.path).is_file() or (bundle.url is not None and given)

    @property
    def begun(self) -> bool:
        """Whether a person began to place its archives and must complete it: no other form is fetched unasked."""
        placed = any(not archive.optional for archive in self.present)
        return placed and bool(self.missing) and not self.fetchable


def held(entry: Entry, folder: Path) -> Holding:
    """Return the form of which the largest share lies in `folder`; of equals, the published one."""
    return max(holdings(entry, folder), key=_share)


def holdings(entry: Entry, folder: Path) -> tuple[Holding, ...]:
    """Return what lies in `folder` of each form."""
    return tuple(
        Holding(
            entry=entry,
            folder=folder,
            form=form,
            missing=tuple(a for a in form.archives if not a.optional and not (folder / a.path).is_file()),
        )
        for form in entry.forms
    )


def _share(holding: Holding) -> float:
    needed = sum(not archive.optional for archive in holding.form.archives)
    return 1 - len(holding.missing) / needed


def require_archives(entry: Entry, folder: Path) -> Holding:
    """Return what lies in `folder` if one form is whole; BenchError otherwise, which says how to complete it."""
    holding = held(entry, folder)
    if holding.missing:
        raise BenchError(request(holding))
    return holding


def request(holding: Holding) -> str:
    """Return one sentence: which files, from where, under which terms, into which folder, and what can be fetched."""
    names, one = ", ".join(archive.path for archive in holding.missing), len(holding.missing) == 1
    form = holding.form
    which = "" if form.name == "published" else f" (the form of the {form.name})"
    sentence = (
        f"{holding.entry.title}: {len(holding.missing)} of its archives{which} {'is' if one else 'are'} not in "
        f"{holding.folder} ({names}); get {'it' if one else 'them'} from {form.where} under these terms: "
        f"{form.terms}; and place {'it' if one else 'them'} in that folder under exactly "
        f"{'this name' if one else 'these names'}"
    )
    return sentence + "".join(f"; or {way}" for way in _other_ways(holding))


def request_all(sentences: Sequence[str]) -> str:
    """Return one message for everything that a study lacks."""
    if len(sentences) == 1:
        return sentences[0]
    return "\n".join((f"{len(sentences)} datasets are not ready:", *(f"- {item}" for item in sentences)))


def _other_ways(holding: Holding) -> list[str]:
    """Return what the harness itself can do about it, as ends of a sentence."""
    command = f"`python -m bench acquire {holding.entry.name}`"
    bundle, ways = holding.form.bundle, []
    if bundle is not None and (holding.folder / bundle.path).is_file():
        return [f"run {command}, which takes them out of the {bundle.path} that lies there"]
    if bundle is not None and bundle.url is not None:
        given = bundle.password is None or os.environ.get(bundle.password)
        first = "" if given else f"set {bundle.password} to the password printed there and "
        ways.append(f"{first}run {command}, which fetches {bundle.path}")
    elif all(archive.url for archive in holding.missing):
        ways.append(f"run {command}, which fetches {'it' if len(holding.missing) == 1 else 'them'}")
    for mirror in holding.entry.mirrors:
        if mirror is not holding.form and all(archive.url for archive in mirror.archives):
            first = f"set {MIRROR}=1 and " if holding.begun and os.environ.get(MIRROR) != "1" else ""
            ways.append(
                f"{first}run {command}, which fetches the same data in another form "
                f"({', '.join(archive.path for archive in mirror.archives)}) from {mirror.where} under these terms: "
                f"{mirror.terms}"
            )
    return ways
