"""One archive over HTTP: several attempts, each going on where the last one broke if the server allows it.

A password comes from the environment, goes to the page that asks for it and nowhere else. What the network says in
its errors is not repeated: redirected addresses carry keys of their own.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from html.parser import HTMLParser
from pathlib import Path

import requests

from bench.catalog.entry import Archive
from bench.data.verify import HEAD, check_head
from bench.errors import BenchError
from bench.lock import say
from bench.progress import Progress

ATTEMPTS = 5
"""Attempts in a row that bring nothing, after which it is given up."""
TIMEOUT = (30.0, 120.0)
"""Seconds to wait for a connection; for the next bytes."""
MIB = 1 << 20
CHUNK = 1 << 16
"""Bytes handed on at once, and lost at most where a connection breaks."""
BY_HAND = "look there with a browser, download the file by hand and place it as {}"
LATER = (429, 500, 502, 503, 504)
"""Answers of a server that may give another one soon."""

Wait = Callable[[float], None]


class _Again(Exception):
    """What may go better at the next attempt: a sentence's middle, and the seconds a server asks to wait."""

    def __init__(self, what: str, seconds: float | None = None) -> None:
        super().__init__(what)
        self.seconds = seconds


class Transfer:
    """A downloader for pooch that goes on from the part an earlier attempt, or an earlier run, left."""

    def __init__(self, archive: Archive, part: Path, final: Path, wait: Wait) -> None:
        self.archive, self.part, self.final, self.wait = archive, part, final, wait
        self.validator = part.with_suffix(".validator")
        """File with the ETag or date of the version that `part` is of."""

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Bring the whole file at `url` to `output_file`, in several attempts."""
        attempt, kept = 0, self._kept()
        while True:
            try:
                with requests.Session() as session:
                    self._attempt(session, _unlocked(session, self.archive, url))
                break
            except (_Again, requests.RequestException) as error:
                what = str(error) if isinstance(error, _Again) else f"the connection failed ({_kind(error)})"
                before, kept = kept, self._kept()
                attempt = 1 if kept > before else attempt + 1
                if attempt == ATTEMPTS:
                    raise BenchError(
                        f"{url}: {what}, {ATTEMPTS} times without a byte more; {self.final} is not there, {kept} bytes "
                        "of it are kept: run the command again, or download the file by hand and place it there"
                    ) from None
                seconds = getattr(error, "seconds", None) or min(2.0**attempt, 30.0)
                say(f"{self.final.name}: {what} at byte {kept}; going on in {seconds:.0f} s")
                self.wait(seconds)
        os.replace(self.part, output_file)
        self.validator.unlink(missing_ok=True)

    def _kept(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _attempt(self, session: requests.Session, url: str) -> None:
        start = self._kept()
        headers = {"Accept-Encoding": "identity"}
        if start and self.validator.is_file():
            headers |= {"Range": f"bytes={start}-", "If-Range": self.validator.read_text(encoding="ascii")}
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            begin = self._begin(response, start)
            if begin is None:  # the part was whole
                return
            length = response.headers.get("Content-Length")
            total = begin + int(length) if length and length.isdigit() else None
            self._check_room(total, begin)
            if begin == 0:
                self.part.unlink(missing_ok=True)
                self._note_version(response)
            self._receive(response, begin, total)

    def _begin(self, response: requests.Response, asked: int) -> int | None:
        """Return the byte at which the answer begins, None if nothing is left to come; refuse what is no answer."""
        code = response.status_code
        offered = response.headers.get("Content-Range", "")
        if code == 206 and offered.startswith(f"bytes {asked}-"):
            return asked
        if code == 200:
            return 0
        if code == 416 and offered == f"bytes */{asked}":
            return None
        if code in (206, 416):
            self.part.unlink(missing_ok=True)
            raise _Again(f"the server went on elsewhere ({code}, {offered or 'no Content-Range'})")
        if code in LATER:
            after = response.headers.get("Retry-After", "")
            raise _Again(
                f"the server answers {code} {response.reason}", float(after) if after.isdigit() else None
            )
        raise BenchError(
            f"{self.archive.url}: the server answers {code} {response.reason}, not the archive; the place may have "
            f"moved: {BY_HAND.format(self.final)}"
        )

    def _check_room(self, total: int | None, start: int) -> None:
        if total is None:
            return
        if self.archive.size not in (None, total):
            raise BenchError(
                f"{self.archive.url}: offers {total} bytes for {self.final.name}, published are {self.archive.size}; "
                "it is another file now"
            )
        if total - start > (free := shutil.disk_usage(self.part.parent).free):
            raise BenchError(
                f"{self.final}: {total - start} bytes are still to come and {free} are free on that disk; make room "
                "and run the command again"
            )

    def _note_version(self, response: requests.Response) -> None:
        """Keep what If-Range can hold the server to: a strong ETag, else the date; without either, nothing."""
        etag = response.headers.get("ETag", "")
        version = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
        self.validator.unlink(missing_ok=True)
        if version.isascii() and version:
            self.validator.write_text(version, encoding="ascii")

    def _receive(self, response: requests.Response, start: int, total: int | None) -> None:
        """Append what comes to the part; the first bytes of a file must be those of an archive."""
        shown = Progress(self.final.name, -(-total // MIB), start=start // MIB, unit="MiB") if total else None
        try:
            with self.part.open("ab") as sink, shown or nullcontext():
                for chunk in response.iter_content(CHUNK):
                    if sink.tell() == 0:
                        self._check_first(chunk[:HEAD])
                    sink.write(chunk)
                    if shown is not None and sink.tell() // MIB > shown.step:
                        shown.update()
                arrived = sink.tell()
        except requests.RequestException:  # an OSError too, but the network's
            raise
        except OSError as error:
            raise BenchError(
                f"{self.final}: cannot be written ({error.strerror or error}); what arrived is kept in {self.part}: "
                "make room and run the command again"
            ) from None
        if total is not None and arrived != total:
            raise _Again(f"the connection ended ({arrived} of {total} bytes)")

    def _check_first(self, head: bytes) -> None:
        try:
            check_head(head, self.archive.suffix, str(self.archive.url), BY_HAND.format(self.final))
        except BenchError:
            self.validator.unlink(missing_ok=True)
            raise


def _kind(error: requests.RequestException) -> str:
    """Return the name of a network error; its text may hold an address with a key in it."""
    return type(error).__name__


class _Form(HTMLParser):
    """The hidden fields of a page, and whether it asks for a password."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: dict[str, str] = {}
        self.asks = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one input field."""
        found = dict(attrs)
        if tag == "input" and found.get("type") == "hidden" and found.get("name"):
            self.hidden[str(found["name"])] = found.get("value") or ""
        self.asks = self.asks or (tag == "input" and found.get("type") == "password")


def _unlocked(session: requests.Session, archive: Archive, url: str) -> str:
    """Return the address of the file itself; a share page is given the password of the environment first."""
    if archive.password is None:
        return url
    direct = f"{url}?dl=1"
    page = _form(session.get(url, timeout=TIMEOUT, stream=True), url)
    if not page.asks:
        return direct
    answer = {**page.hidden, "password": os.environ.get(archive.password, "")}
    sent = session.post(url, data=answer, headers={"Referer": url}, timeout=TIMEOUT, stream=True)
    if _form(sent, url).asks:
        raise BenchError(
            f"{url}: the page did not take the password in {archive.password}; set it to the one that the publisher "
            "prints, and run the command again"
        )
    return direct


def _form(response: requests.Response, url: str) -> _Form:
    if response.status_code in LATER:
        raise _Again(f"the server answers {response.status_code} {response.reason}")
    if not response.ok:
        raise BenchError(
            f"{url}: the share page answers {response.status_code} {response.reason}; it may have moved: look for it "
            "at the publisher's page"
        )
    form = _Form()
    with response:  # a page is short; what is longer is the file itself, which is not read here
        form.feed(next(response.iter_content(MIB), b"").decode(errors="replace"))
    return form
