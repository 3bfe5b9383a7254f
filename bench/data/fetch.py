"""Downloads of archives that need no login: announced with their terms, checked, whole or not there.

Everything on its way lies in a hidden folder `.fetch/` beside its destination and gets its name only when it is
whole and its published digest holds (pooch sees to that; `transfer` brings the bytes).
"""

import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pooch

from bench.catalog.entry import Archive, Entry, Form
from bench.catalog.index import CATALOG, OWN_DATA
from bench.data.extract import check, unpack
from bench.data.first_use import LOCK, read_first_use, record_first_use
from bench.data.handshake import MIRROR, Holding, held, holdings, request, request_all
from bench.data.members import require_members
from bench.data.staging import staged
from bench.data.transfer import Transfer, Wait
from bench.data.verify import FIRST_USE, verify
from bench.errors import BenchError, RequestError
from bench.lock import run_lock, say
from bench.machine import data_root
from bench.study.runs import Runs
from bench.study.schema import Study

WORK = ".fetch"


def fetch_and_verify(names: Sequence[str]) -> None:
    """Bring the archives of catalogue entries to BENCH_DATA as far as no login is needed, and verify what lies there.

    Nothing is unpacked; a study does that. Prints a line an archive. Raises RequestError for a name that is no
    catalogue entry, one BenchError for all that a person must fetch, and BenchError as `verify` and `fetch` do.
    """
    for name in names:
        if name in OWN_DATA:
            raise RequestError(f"{name}: {OWN_DATA[name].where}; nothing is fetched for it")
        if name not in CATALOG:
            raise RequestError(f"{name}: no dataset of the catalogue; there are {', '.join(CATALOG)}")
    root, failed = data_root(), list[str]()
    for name in names:
        try:
            _fetch_and_verify(CATALOG[name], root / name)
        except RequestError:
            raise
        except BenchError as error:  # the others are served all the same, and one message names everything
            failed.append(str(error))
    if failed:
        raise BenchError(request_all(failed))


def _fetch_and_verify(entry: Entry, folder: Path) -> None:
    fetch(entry, folder)
    holding = held(entry, folder)
    for archive in holding.present:
        path = folder / archive.path
        found = verify(entry.name, archive, path, lock=LOCK)
        if found["checked"] == FIRST_USE and (entry.name, archive.path) not in read_first_use(LOCK):
            say(f"reading {path} to its end")
            names = list[str]()
            check(path, inner_tars=archive.inner_tars, names=names)
            require_members(archive, path, names)
            record_first_use(entry.name, archive.path, path, found["bytes"], found["sha256"], LOCK)
        print(
            f"{entry.name}/{archive.path}  {found['bytes']} bytes  sha256 {found['sha256']}  {found['checked']}"
        )
    if holding.missing:
        raise BenchError(request(holding))


def fetch_study(study: Study, runs: Runs) -> None:
    """Fetch and verify the archives of every catalogue dataset of a study; raises as `fetch_and_verify` does."""
    if study.miniature is not None:
        raise RequestError(f"{study.study}: a miniature draws its archives itself; nothing is to be fetched")
    sources = [run.source for run in (runs.pretrain_data, *runs.target_data.values())]
    fetch_and_verify([name for name in dict.fromkeys(sources) if name not in OWN_DATA])


def fetch(entry: Entry, folder: Path, *, wait: Wait = time.sleep) -> None:
    """Fetch into `folder` what it lacks of a form of `entry` that needs no login, if there is such a form.

    Prefers the form that is nearest to whole. Nothing happens where one form is whole already, where only a person
    can go, or where a person has placed a part of such a form (BENCH_MIRROR=1 fetches another one all the same).
    `wait` sleeps between attempts. Raises BenchError, naming file and address, for whatever the server gives in place
    of the archive, and what a person can fetch instead; what arrived is kept where it can be gone on from.
    """
    nearest = held(entry, folder)
    if not nearest.missing or (nearest.begun and os.environ.get(MIRROR) != "1"):
        return
    ready = [holding for holding in holdings(entry, folder) if holding.fetchable]
    if not ready:
        return
    try:
        _fetch_form(min(ready, key=lambda item: len(item.missing)), wait)
    except BenchError as error:
        lacks = held(entry, folder)
        raise type(error)(f"{error}; by hand: {request(lacks)}" if lacks.missing else str(error)) from None


def _fetch_form(holding: Holding, wait: Wait) -> None:
    """Fetch what one form lacks, announced with its terms."""
    entry, folder = holding.entry, holding.folder
    with run_lock(folder / WORK):
        _sweep(folder / WORK)
        say(f"{entry.title}: fetching from {holding.form.where}; terms: {holding.form.terms}")
        bundle = holding.form.bundle
        if bundle is not None:
            if not (folder / bundle.path).is_file():
                fetch_archive(bundle, folder, wait=wait)
            _open_bundle(folder / bundle.path, holding.form, folder)
        else:
            for archive in holding.missing:
                fetch_archive(archive, folder, wait=wait)
    shutil.rmtree(folder / WORK, ignore_errors=True)


def _sweep(work: Path) -> None:
    """Remove what a killed run left of files that cannot be gone on from."""
    for path in work.iterdir():
        if not path.name.endswith((".part", ".validator", ".lock")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def fetch_archive(archive: Archive, folder: Path, *, wait: Wait = time.sleep) -> Path:
    """Fetch one archive to its path below `folder` and return that; an archive that lies there is not touched.

    Raises BenchError as `fetch` does.
    """
    final = folder / archive.path
    if final.is_file():
        return final
    assert archive.url is not None
    work = folder / WORK
    final.parent.mkdir(parents=True, exist_ok=True)
    work.mkdir(exist_ok=True)
    name = archive.path.replace("/", "-")
    kinds = (("sha256", archive.sha256), ("md5", archive.md5))
    known = next((f"{kind}:{digest}" for kind, digest in kinds if digest), None)
    pooch.get_logger().setLevel(logging.WARNING)
    transfer = Transfer(archive, work / f"{name}.part", final, wait)
    try:
        pooch.retrieve(archive.url, known, fname=name, path=work, downloader=transfer)
    except ValueError:
        raise BenchError(
            f"{archive.url}: what came for {final} does not have the published digest {known}; it was removed: run "
            "the command again, and if that gives the same, the file there is another one now"
        ) from None
    if known is None:  # nothing but its own checksums can tell whether it is whole
        try:
            names = list[str]()
            check(work / name, inner_tars=archive.inner_tars, names=names)
            require_members(archive, work / name, names)
        except BenchError as error:
            (work / name).unlink()
            raise BenchError(f"{archive.url}: what came for {final} was removed: {error}") from None
    os.replace(work / name, final)
    return final


def _open_bundle(bundle: Path, form: Form, folder: Path) -> None:
    """Take the archives of `form` out of the file that holds them all; those that lie there stay as they are."""
    say(f"taking archives out of {bundle}")
    box = folder / WORK / "bundle"
    with staged(box) as inside:
        unpack(bundle, inside)
    found = {path.name: path for path in sorted(box.rglob("*")) if path.is_file()}
    lacking = [a.path for a in form.archives if not a.optional and Path(a.path).name not in found]
    if lacking:
        raise BenchError(
            f"{bundle}: lacks {', '.join(lacking)}; it is not the published file: download it again"
        )
    for archive in form.archives:
        inner, final = found.get(Path(archive.path).name), folder / archive.path
        if inner is not None and not final.exists():
            final.parent.mkdir(parents=True, exist_ok=True)
            os.replace(inner, final)
