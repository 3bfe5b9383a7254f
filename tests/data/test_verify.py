"""One archive against what is known of it, and the file that remembers digests of first use."""

import hashlib
import multiprocessing
import os
import zipfile
from pathlib import Path

import pytest

from bench.catalog.entry import Archive
from bench.data import verify as module
from bench.data.first_use import COLUMNS, read_first_use, record_first_use
from bench.data.verify import verify
from bench.errors import BenchError, RequestError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"content")
    return path


def digests(path: Path) -> tuple[str, str]:
    content = path.read_bytes()
    return hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()


def check(path: Path, archive: Archive, memory: Path | None = None) -> dict:
    return verify("toy", archive, path, lock=path.parent / "archives.lock", memory=memory)


def test_published_digests_and_size_are_held(path):
    md5, sha256 = digests(path)
    size = path.stat().st_size
    found = check(path, Archive("a.zip", md5, sha256=sha256, size=size))
    assert found == {"path": "a.zip", "bytes": size, "sha256": sha256, "checked": "published digest"}
    with pytest.raises(
        BenchError, match=rf"a\.zip: sha256 is {sha256}, published is {'0' * 64}; remove it and"
    ):
        check(path, Archive("a.zip", md5, sha256="0" * 64))
    with pytest.raises(
        BenchError, match=rf"a\.zip: has {size} bytes, published are {size + 1}: it was cut short"
    ):
        check(path, Archive("a.zip", md5, size=size + 1))


def test_a_digest_of_first_use_is_held_and_the_way_to_accept_another_is_said(path):
    lock = path.parent / "archives.lock"
    record_first_use("toy", "a.zip", path, path.stat().st_size, digests(path)[1], lock)
    assert check(path, Archive("a.zip"))["checked"] == "digest of first use"
    before = lock.read_bytes()
    path.write_bytes(path.read_bytes().replace(b"content", b"kontent"))
    with pytest.raises(BenchError) as error:
        check(path, Archive("a.zip"))
    for words in ("at its first use on", "download it again", f"remove its line from {lock} and run again"):
        assert words in str(error.value)
    assert lock.read_bytes() == before


def test_a_drawn_archive_is_compared_with_nothing(path):
    wrong = Archive("a.zip", "0" * 32, size=1)
    assert verify("toy", wrong, path, drawn=True, lock=path.parent / "l")["checked"] == "not checked, drawn"


# Remembered digests


def test_a_digest_is_remembered_while_the_file_is_untouched(path, monkeypatch, capsys):
    memory, archive = path.parent / ".hashed.json", Archive("a.zip")
    monkeypatch.setattr(module, "SETTLED", -1.0)  # the file was written a moment ago
    first = check(path, archive, memory)
    assert "hashing" in capsys.readouterr().err
    assert check(path, archive, memory) == first
    assert "reused: size, times and inode have not changed since" in capsys.readouterr().err
    # An md5 was not asked for then, so the file is read again when it is.
    assert check(path, Archive("a.zip", digests(path)[0]), memory)["sha256"] == first["sha256"]
    assert "hashing" in capsys.readouterr().err


def test_a_rewritten_file_is_hashed_anew_even_with_its_old_size_and_date(path, monkeypatch):
    memory = path.parent / ".hashed.json"
    monkeypatch.setattr(module, "SETTLED", -1.0)
    before, times = check(path, Archive("a.zip"), memory)["sha256"], path.stat()
    path.write_bytes(path.read_bytes().replace(b"content", b"kontent"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size and path.stat().st_mtime_ns == times.st_mtime_ns
    # The change time of the inode cannot be set back.
    assert check(path, Archive("a.zip"), memory)["sha256"] == digests(path)[1] != before


def test_a_file_that_was_written_a_moment_ago_is_not_remembered(path):
    memory = path.parent / ".hashed.json"
    check(path, Archive("a.zip"), memory)
    assert not memory.exists()


def test_a_memory_that_cannot_be_read_is_none(path):
    memory = path.parent / ".hashed.json"
    for text in ("{", "[]", '{"a": 1}'):
        memory.write_text(text)
        assert check(path, Archive("a.zip"), memory)["sha256"] == digests(path)[1]


# The file of first uses


def test_the_file_of_first_uses_grows_by_a_line_an_archive(tmp_path):
    lock = tmp_path / "archives.lock"
    for name in ("a.zip", "b, c.zip", "a.zip"):
        record_first_use("toy", name, tmp_path / name, 3, "f" * 64, lock)
    header, *lines = lock.read_text().splitlines()
    assert header == "dataset,path,bytes,sha256,first_seen"
    assert [line[: line.rindex(",")] for line in lines] == [
        f"toy,a.zip,3,{'f' * 64}",
        f'toy,"b, c.zip",3,{"f" * 64}',
    ]
    assert read_first_use(lock)["toy", "b, c.zip"]["bytes"] == "3"


def test_a_line_torn_by_a_crash_is_written_again(tmp_path):
    lock = tmp_path / "archives.lock"
    record_first_use("toy", "a.zip", tmp_path, 3, "f" * 64, lock)
    whole = lock.read_bytes()
    with lock.open("ab") as stream:
        stream.write(b"toy,b.zip,3,ff")
    record_first_use("toy", "b.zip", tmp_path, 4, "e" * 64, lock)
    assert lock.read_bytes().startswith(whole) and len(read_first_use(lock)) == 2


def test_a_file_of_first_uses_that_makes_no_sense_is_refused(tmp_path):
    lock = tmp_path / "archives.lock"
    for text, words in (
        ("a,b\n", r"archives\.lock: begins with \['a', 'b'\], expected the columns"),
        (",".join(COLUMNS) + "\ntoy,a.zip\n", r"line 2 is \['toy', 'a\.zip'\]; expected 5 fields"),
        (",".join(COLUMNS) + "\n" + "toy,a.zip,1,f,d\n" * 2, "line 3 is .* each archive once"),
    ):
        lock.write_text(text)
        with pytest.raises(BenchError, match=words):
            read_first_use(lock)
        with pytest.raises(BenchError, match="restore it from version control"):
            record_first_use("toy", "b.zip", tmp_path, 1, "f", lock)
        assert lock.read_text() == text


def test_outside_the_repository_nothing_is_recorded(tmp_path):
    with pytest.raises(RequestError, match="run from the top folder of the repository"):
        record_first_use("toy", "a.zip", tmp_path, 1, "f", tmp_path / "config" / "archives.lock")
    assert list(tmp_path.iterdir()) == []


def _record(lock: Path, worker: int) -> None:
    for number in range(10):
        record_first_use("toy", f"{worker}-{number}.zip", lock, 1, "f" * 64, lock)


def test_processes_that_record_at_once_lose_no_line(tmp_path):
    lock = tmp_path / "archives.lock"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_record, args=(lock, number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(read_first_use(lock)) == 30
