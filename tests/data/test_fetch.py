"""Downloads: resumed, retried, checked, and never a half or a foreign file under an archive's name."""

import errno
import hashlib
import io
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs

import pytest

from bench.catalog.entry import Archive, Entry, Form, Members
from bench.cli import main
from bench.data import fetch as fetch_module
from bench.data import transfer
from bench.data.fetch import fetch, fetch_and_verify, fetch_archive
from bench.data.handshake import require_archives
from bench.errors import BenchError, RequestError
from bench.study.reading import load_study
from bench.study.runs import Runs

ROOT = Path(__file__).parents[2]


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


# Stored, so about 3 MiB: several chunks of 1 MiB on the way.
CONTENT = zipped({"a.bin": bytes(range(256)) * 4 * 3072})
MD5 = hashlib.md5(CONTENT).hexdigest()
SECRET = "correct horse"
PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>"
SHARE = (
    b'<html><form method="post"><input type="hidden" name="csrfmiddlewaretoken" value="c1">'
    b'<input type="hidden" name="token" value="t1"><input type="password" name="password"></form></html>'
)


class Handler(BaseHTTPRequestHandler):
    """Answers as the test's script says; a script is a list of words, one a request, the last one repeated."""

    def log_message(self, *words: object) -> None:
        pass

    def do_POST(self) -> None:
        sent = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.server.state.posted.append(sent)
        right = sent == {"csrfmiddlewaretoken": ["c1"], "token": ["t1"], "password": [SECRET]}
        self.send_response(200)
        if right:
            self.send_header("Set-Cookie", "unlocked=yes")
        self.answer(b"<html>welcome</html>" if right else SHARE)

    def do_GET(self) -> None:
        state = self.server.state
        state.ranges.append(self.headers.get("Range"))
        word = state.script.pop(0) if len(state.script) > 1 else state.script[0]
        if word == "share":
            if "unlocked=yes" in self.headers.get("Cookie", "") and self.path.endswith("?dl=1"):
                word = "whole"
            else:
                self.send_response(200)
                return self.answer(SHARE)
        if word.isdigit():
            self.send_response(int(word))
            if word == "503":
                self.send_header("Retry-After", "7")
            return self.answer(b"not now")
        if word == "html":
            self.send_response(200)
            return self.answer(PAGE)
        content, start = state.content, 0
        asked = self.headers.get("Range")
        fresh = self.headers.get("If-Range") in (None, state.etag)
        if asked and fresh and word != "no-range":
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                return self.answer(b"")
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", state.etag)
        # "broken" promises everything and ends in the middle.
        sent = content[start:]
        length = -1 if word == "unsized" else len(sent)
        self.answer(sent[: len(sent) // 2] if word == "broken" else sent, length=length)

    def answer(self, body: bytes, length: int | None = None) -> None:
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


@pytest.fixture(scope="module")
def running() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda request, address: None  # a client that hangs up is part of the game
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server(running: ThreadingHTTPServer) -> SimpleNamespace:
    """The script of the next answers, and what was asked."""
    running.state = SimpleNamespace(script=["whole"], content=CONTENT, etag='"v1"', ranges=[], posted=[])
    running.state.url = f"http://127.0.0.1:{running.server_port}/d/"
    return running.state


@pytest.fixture
def waited() -> list[float]:
    return []


def archive(server: SimpleNamespace, **facts: object) -> Archive:
    return Archive("sub/a.zip", url=server.url, **facts)


def get(server: SimpleNamespace, folder: Path, waited: list[float], **facts: object) -> Path:
    return fetch_archive(archive(server, **facts), folder, wait=waited.append)


def part(folder: Path) -> Path:
    return folder / ".fetch" / "sub-a.zip.part"


def kept(sent: int) -> int:
    """What is on the disk of so many bytes that came before the connection broke."""
    return sent - sent % transfer.CHUNK


def test_an_archive_arrives_whole_under_its_path(server, waited, tmp_path):
    path = get(server, tmp_path, waited, md5=MD5, size=len(CONTENT))
    assert path == tmp_path / "sub" / "a.zip" and path.read_bytes() == CONTENT
    assert not part(tmp_path).exists() and waited == []


def test_an_archive_that_lies_there_is_not_touched(server, waited, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.zip").write_bytes(b"the user's")
    assert get(server, tmp_path, waited, md5=MD5).read_bytes() == b"the user's"
    assert server.ranges == []


def test_a_broken_connection_is_gone_on_from_where_it_broke(server, waited, tmp_path):
    server.script = ["broken", "broken", "whole"]
    assert get(server, tmp_path, waited, md5=MD5).read_bytes() == CONTENT
    half = kept(len(CONTENT) // 2)
    three_quarters = half + kept((len(CONTENT) - half) // 2)
    assert server.ranges == [None, f"bytes={half}-", f"bytes={three_quarters}-"]
    assert waited == [2.0, 2.0]  # each attempt brought something, so neither counts as a vain one


def test_without_ranges_the_transfer_begins_anew(server, waited, tmp_path):
    server.script = ["broken", "no-range"]
    assert get(server, tmp_path, waited, md5=MD5).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={kept(len(CONTENT) // 2)}-"]


def test_a_file_that_changed_on_the_server_is_not_sewn_together(server, waited, tmp_path):
    server.script = ["broken"]
    with pytest.raises(BenchError):
        get(server, tmp_path, waited)
    server.script, server.etag, server.content = ["whole"], '"v2"', zipped({"b": b"new"})
    assert get(server, tmp_path, waited).read_bytes() == server.content


def test_a_later_run_goes_on_from_the_part_of_an_earlier_one(server, waited, tmp_path):
    server.script = ["broken", "404"]
    with pytest.raises(BenchError, match="404"):
        get(server, tmp_path, waited)
    assert part(tmp_path).stat().st_size == kept(len(CONTENT) // 2)
    server.script = ["whole"]
    assert get(server, tmp_path, waited, md5=MD5).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={kept(len(CONTENT) // 2)}-"


def test_a_part_that_was_whole_already_is_taken(server, waited, tmp_path):
    part(tmp_path).parent.mkdir()
    part(tmp_path).write_bytes(CONTENT)
    part(tmp_path).with_suffix(".validator").write_text('"v1"')
    assert get(server, tmp_path, waited, md5=MD5).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_an_endlessly_broken_connection_ends_in_a_sentence_and_keeps_what_came(server, waited, tmp_path):
    server.script = ["broken"]
    with pytest.raises(BenchError) as error:
        get(server, tmp_path, waited)
    there = part(tmp_path).stat().st_size
    assert (
        f"5 times without a byte more; {tmp_path / 'sub' / 'a.zip'} is not there, {there} bytes of it"
        in str(error.value)
    )
    assert "run the command again, or download the file by hand" in str(error.value)
    # The rest is halved until less than a chunk comes; only the vain attempts at the end are counted.
    assert there > len(CONTENT) - 3 * transfer.CHUNK and waited[-4:] == [2.0, 4.0, 8.0, 16.0]
    assert not (tmp_path / "sub" / "a.zip").exists()


def test_a_busy_server_is_asked_again_when_it_says(server, waited, tmp_path):
    server.script = ["503", "whole"]
    assert get(server, tmp_path, waited).read_bytes() == CONTENT
    assert waited == [7.0]


def test_a_place_that_has_moved_is_named_at_once(server, waited, tmp_path):
    server.script = ["404"]
    with pytest.raises(
        BenchError, match=r"the server answers 404 Not Found, not the archive; the place may have moved"
    ):
        get(server, tmp_path, waited)
    assert waited == []


def test_a_login_page_is_no_archive_and_nothing_of_it_is_kept(server, waited, tmp_path):
    server.script = ["html"]
    with pytest.raises(BenchError, match=r"/d/: an HTML page, not a \.zip archive: a login or warning page"):
        get(server, tmp_path, waited)
    assert waited == [] and not (tmp_path / "sub" / "a.zip").exists()
    server.script = ["whole"]
    assert get(server, tmp_path, waited, md5=MD5).read_bytes() == CONTENT


def test_a_wrong_checksum_is_said_and_the_file_removed(server, waited, tmp_path):
    with pytest.raises(
        BenchError, match=rf"does not have the published digest md5:{'0' * 32}; it was removed"
    ):
        get(server, tmp_path, waited, md5="0" * 32)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_damaged_archive_without_a_published_digest_does_not_get_its_name(server, waited, tmp_path):
    server.content = CONTENT[:-30]  # the server itself has a cut file
    with pytest.raises(BenchError, match=r"what came for .*a\.zip was removed: .*cut short or damaged"):
        get(server, tmp_path, waited)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_server_that_does_not_say_how_much_comes_is_believed(server, waited, tmp_path):
    server.script = ["unsized"]
    assert get(server, tmp_path, waited, md5=MD5).read_bytes() == CONTENT


def test_another_size_than_the_published_one_is_refused_before_it_is_fetched(server, waited, tmp_path):
    with pytest.raises(
        BenchError, match=rf"offers {len(CONTENT)} bytes for a\.zip, published are 9; it is another"
    ):
        get(server, tmp_path, waited, size=9)
    assert not part(tmp_path).exists()


def test_no_server_at_all_is_a_sentence_without_its_own_words(waited, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(BenchError, match=r"the connection failed \(ConnectionError\), 5 times"):
        fetch_archive(Archive("a.zip", url=f"http://127.0.0.1:{port}/"), tmp_path, wait=waited.append)


def test_a_disk_without_room_is_named_before_anything_is_fetched(server, waited, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(
        BenchError, match=rf"{len(CONTENT)} bytes are still to come and 1000 are free on that disk"
    ):
        get(server, tmp_path, waited)


def test_a_disk_that_fills_up_keeps_the_part_and_says_so(server, waited, tmp_path, monkeypatch):
    def full(self: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(transfer.Progress, "update", full)  # called after the first mebibyte
        with pytest.raises(
            BenchError,
            match=r"a\.zip: cannot be written \(No space left on device\); what arrived is kept in .*part",
        ):
            get(server, tmp_path, waited)
    assert not (tmp_path / "sub" / "a.zip").exists() and waited == []
    there = part(tmp_path).stat().st_size
    assert get(server, tmp_path, waited, md5=MD5).read_bytes() == CONTENT
    assert there > 0 and server.ranges == [None, f"bytes={there}-"]


# Passwords


def shared(server: SimpleNamespace) -> Entry:
    inner = {name: zipped({"x": name.encode()}) for name in ("1.zip", "2.zip", "spare.zip")}
    server.content = zipped(
        {f"Top/{name}": content for name, content in inner.items()} | {"Top/read.txt": b"hello"}
    )
    server.script = ["share"]
    return Entry(
        name="toy",
        title="Toy",
        kind="segmentation",
        channels=(),
        default_channels=(),
        archives=(Archive("1.zip"), Archive("2.zip"), Archive("spare.zip", optional=True)),
        bundle=Archive("All.zip", url=server.url, password="BENCH_TOY_PASSWORD"),
        where="https://example.org/toy",
        terms="research use",
    )


def test_a_share_page_is_opened_with_the_password_of_the_environment(
    server, waited, tmp_path, monkeypatch, capsys
):
    entry = shared(server)
    monkeypatch.setenv("BENCH_TOY_PASSWORD", SECRET)
    fetch(entry, tmp_path, wait=waited.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.zip", "2.zip", "All.zip", "spare.zip"]
    assert zipfile.ZipFile(tmp_path / "2.zip").read("x") == b"2.zip"
    said = capsys.readouterr()
    assert "terms: research use" in said.err and SECRET not in said.err + said.out
    assert all(SECRET.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_wrong_password_is_named_by_its_variable_and_never_shown(
    server, waited, tmp_path, monkeypatch, capsys
):
    entry = shared(server)
    monkeypatch.setenv("BENCH_TOY_PASSWORD", "wrong-but-private")
    with pytest.raises(BenchError, match="the page did not take the password in BENCH_TOY_PASSWORD") as error:
        fetch(entry, tmp_path, wait=waited.append)
    said = capsys.readouterr()
    assert "wrong-but-private" not in str(error.value) + said.err + said.out


def test_without_the_password_nothing_is_asked_for(server, tmp_path, monkeypatch):
    entry = shared(server)
    monkeypatch.delenv("BENCH_TOY_PASSWORD", raising=False)
    fetch(entry, tmp_path)
    assert server.ranges == [] and list(tmp_path.iterdir()) == []


def test_a_bundle_that_the_user_placed_is_opened_without_the_network(server, tmp_path, monkeypatch):
    entry = shared(server)
    monkeypatch.delenv("BENCH_TOY_PASSWORD", raising=False)
    (tmp_path / "All.zip").write_bytes(server.content)
    (tmp_path / "1.zip").write_bytes(b"the user's own")
    fetch(entry, tmp_path)
    assert server.ranges == []
    assert (tmp_path / "1.zip").read_bytes() == b"the user's own"
    assert zipfile.ZipFile(tmp_path / "2.zip").read("x") == b"2.zip"


def test_a_bundle_that_lacks_an_archive_is_refused(server, tmp_path, monkeypatch):
    entry = shared(server)
    (tmp_path / "All.zip").write_bytes(zipped({"Top/1.zip": zipped({"x": b"1"})}))
    with pytest.raises(BenchError, match=r"All\.zip: lacks 2\.zip; it is not the published file"):
        fetch(entry, tmp_path)
    assert not (tmp_path / "1.zip").exists()


def test_a_foreign_archive_without_a_published_digest_does_not_get_its_name(server, waited, tmp_path):
    with pytest.raises(BenchError, match=r"what came for .*a\.zip was removed: .*0 of its 1 files match x\$"):
        get(server, tmp_path, waited, holds=(Members("x$"),))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


# Which form


def two_forms(server: SimpleNamespace) -> Entry:
    return Entry(
        name="toy",
        title="Toy",
        kind="segmentation",
        channels=(),
        default_channels=(),
        archives=(Archive("a.zip"), Archive("b.zip")),
        mirrors=(
            Form(
                name="mirror",
                archives=(Archive("all.zip", url=server.url),),
                where="https://m.example",
                terms="CC BY",
            ),
        ),
        where="https://example.org/toy",
        terms="research use",
    )


def test_the_form_that_needs_no_login_is_fetched(server, waited, tmp_path, capsys):
    fetch(two_forms(server), tmp_path, wait=waited.append)
    assert [path.name for path in tmp_path.iterdir()] == ["all.zip"]
    assert "fetching from https://m.example; terms: CC BY" in capsys.readouterr().err


def test_nothing_is_fetched_where_a_form_is_whole(server, tmp_path):
    for name in ("a.zip", "b.zip"):
        (tmp_path / name).write_bytes(zipped({"x": b"1"}))
    fetch(two_forms(server), tmp_path)
    assert server.ranges == []


def test_where_a_person_has_begun_the_mirror_is_offered_and_not_fetched(
    server, waited, tmp_path, monkeypatch
):
    monkeypatch.delenv("BENCH_MIRROR", raising=False)
    entry = two_forms(server)
    (tmp_path / "a.zip").write_bytes(zipped({"x": b"1"}))
    fetch(entry, tmp_path, wait=waited.append)
    assert server.ranges == []
    with pytest.raises(BenchError) as error:
        require_archives(entry, tmp_path)
    message = str(error.value)
    assert (
        "1 of its archives is not in" in message and "(b.zip); get it from https://example.org/toy" in message
    )
    assert (
        "or set BENCH_MIRROR=1 and run `python -m bench acquire toy`, which fetches the same data" in message
    )
    monkeypatch.setenv("BENCH_MIRROR", "1")
    fetch(entry, tmp_path, wait=waited.append)
    assert (tmp_path / "all.zip").read_bytes() == CONTENT


def test_a_mirror_that_fails_is_followed_by_what_a_person_can_fetch(server, waited, tmp_path):
    server.script = ["404"]
    with pytest.raises(BenchError) as error:
        fetch(two_forms(server), tmp_path, wait=waited.append)
    message = str(error.value)
    assert "the server answers 404 Not Found" in message
    assert f"; by hand: Toy: 2 of its archives are not in {tmp_path} (a.zip, b.zip); get them from" in message


# The verb


@pytest.fixture
def catalogue(server, tmp_path, monkeypatch) -> Path:
    """A data root, and a catalogue of one dataset that is fetched and one that is not."""
    gated = Entry(
        name="gated", title="Gated", kind="segmentation", channels=(), default_channels=(),
        archives=(Archive("g.zip"),), where="https://gate.example", terms="ask first",
    )  # fmt: skip
    monkeypatch.setattr(fetch_module, "CATALOG", {"toy": two_forms(server), "gated": gated})
    monkeypatch.setattr(fetch_module, "LOCK", tmp_path / "archives.lock")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_what_cannot_be_fetched_is_asked_for_after_the_rest_was(catalogue, tmp_path, capsys):
    with pytest.raises(BenchError) as error:
        fetch_and_verify(["gated", "toy"])
    for words in ("Gated", "g.zip", "https://gate.example", "ask first", str(catalogue / "gated")):
        assert words in str(error.value)
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert (
        f"toy/all.zip  {len(CONTENT)} bytes  sha256 {digest}  digest of first use" in capsys.readouterr().out
    )
    assert f"toy,all.zip,{len(CONTENT)},{digest}," in (tmp_path / "archives.lock").read_text()


def test_everything_works_offline_once_the_archives_are_there(catalogue, server, monkeypatch, capsys):
    fetch_and_verify(["toy"])

    def forbidden(*words: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    fetch_and_verify(["toy"])
    assert capsys.readouterr().out.count("toy/all.zip") == 2


def test_a_name_that_the_catalogue_does_not_have_is_a_wrong_request(catalogue):
    with pytest.raises(RequestError, match=r"toi: no dataset of the catalogue; there are toy, gated"):
        fetch_and_verify(["toi"])
    with pytest.raises(RequestError, match=r"folder: your own files, below BENCH_DATA"):
        fetch_and_verify(["folder"])


def test_the_archives_of_a_study_are_fetched_by_its_sources(monkeypatch):
    asked: list[list[str]] = []
    monkeypatch.setattr(fetch_module, "fetch_and_verify", asked.append)
    study = load_study(ROOT / "config" / "paper.yaml")
    fetch_module.fetch_study(study, Runs(study))
    assert asked == [["imagenet1k", "isaid", "mfnet", "pst900", "potsdam"]]
    demo = load_study(ROOT / "config" / "demo.yaml")
    with pytest.raises(RequestError, match="demo: a miniature draws its archives itself"):
        fetch_module.fetch_study(demo, Runs(demo))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("acquire", "give the name of a dataset (`bench data list` has them) or --study FILE"),
        ("acquire isaid --study config/demo.yaml", "give either names or --study"),
        ("acquire isadi", "isadi: no dataset of the catalogue"),
        ("data show isadi", "isadi: no dataset of the catalogue"),
    ],
)
def test_a_wrong_request_for_archives_is_said(words, sentence, capsys):
    assert main(words.split()) == 2
    assert sentence in capsys.readouterr().err


def test_a_kill_in_the_middle_is_completed_by_the_next_run(server, tmp_path):
    # The child dies by SIGKILL after its first mebibyte; nothing of its own can tidy up.
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from bench.catalog.entry import Archive\n"
        "from bench.data import fetch, transfer\n"
        "class Dying(transfer.Progress):\n"
        "    def update(self, **values):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "transfer.Progress = Dying\n"
        "fetch.fetch_archive(Archive('sub/a.zip', url=sys.argv[1]), Path(sys.argv[2]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, server.url, str(tmp_path)], capture_output=True)
    assert done.returncode == -9
    there = part(tmp_path).stat().st_size
    assert 0 < there < len(CONTENT) and not (tmp_path / "sub" / "a.zip").exists()
    entry = Entry(
        name="toy", title="Toy", kind="segmentation", channels=(), default_channels=(),
        archives=(Archive("sub/a.zip", md5=MD5, url=server.url),), where="w", terms="t",
    )  # fmt: skip
    fetch(entry, tmp_path, wait=time.sleep)
    assert (tmp_path / "sub" / "a.zip").read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={there}-"]
    assert not (tmp_path / ".fetch").exists()
