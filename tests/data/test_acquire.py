"""Acquisition: what is accepted, what is refused, and that nothing half-done is left."""

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from bench.catalog.entry import Archive, Entry
from bench.catalog.index import CATALOG
from bench.data.acquire import acquire_archives, acquire_folder, read_acquired
from bench.errors import BenchError

ENTRY = Entry(
    name="toy",
    title="Toy",
    kind="segmentation",
    channels=(),
    default_channels=(),
    archives=(Archive("train/one.zip"), Archive("two.zip"), Archive("extra.zip", optional=True)),
    where="https://example.org/toy",
    terms="research use",
)


def place(folder: Path, name: str, content: bytes = b"one") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", content)
    return path


def acquire(tmp_path: Path, entry: Entry = ENTRY, digest: str = "d", **kwargs) -> None:
    acquire_archives(
        "toy", entry, tmp_path / "archives", tmp_path / "out", digest=digest, spec={"s": 1}, **kwargs
    )


def left(tmp_path: Path) -> list[str]:
    out = tmp_path / "out"
    return sorted(path.name for path in out.iterdir()) if out.exists() else []


def test_archives_are_unpacked_under_their_own_paths_and_recorded(tmp_path):
    first = place(tmp_path / "archives", "train/one.zip", b"first")
    place(tmp_path / "archives", "two.zip", b"second")
    acquire(tmp_path)
    raw = tmp_path / "out" / "raw"
    assert (raw / "train" / "one" / "a.txt").read_bytes() == b"first"
    assert (raw / "two" / "a.txt").read_bytes() == b"second"
    acquired = read_acquired(tmp_path / "out" / "acquired.json")
    assert (acquired.dataset, acquired.digest, acquired.spec, acquired.kind) == (
        "toy",
        "d",
        {"s": 1},
        "archives",
    )
    assert [item["path"] for item in acquired.sources] == ["train/one.zip", "two.zip"]
    assert acquired.sources[0]["sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()
    assert acquired.sources[0]["bytes"] == first.stat().st_size
    assert acquired.sources[0]["members"] == 1


def test_optional_archives_are_used_if_present(tmp_path):
    for name in ("train/one.zip", "two.zip", "extra.zip"):
        place(tmp_path / "archives", name)
    acquire(tmp_path)
    assert (tmp_path / "out" / "raw" / "extra" / "a.txt").exists()


def test_missing_archives_are_listed_with_source_terms_and_folder_in_one_sentence(tmp_path):
    place(tmp_path / "archives", "two.zip")
    with pytest.raises(BenchError) as error:
        acquire(tmp_path)
    message = str(error.value)
    for words in ("train/one.zip", "https://example.org/toy", "research use", str(tmp_path / "archives")):
        assert words in message
    assert "two.zip" not in message and "extra.zip" not in message
    assert error.value.exit_code == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\n <!DOCTYPE HTML><html>Sign in", r"two\.zip: an HTML page, not a \.zip archive"),
        (b"", r"two\.zip: the file is empty"),
        (b"Rar!....", r"two\.zip: not a \.zip archive \(it begins with 52 61 72 21\)"),
    ],
)
def test_what_is_no_archive_is_named_for_what_it_is(content, words, tmp_path):
    place(tmp_path / "archives", "train/one.zip")
    (tmp_path / "archives" / "two.zip").write_bytes(content)
    with pytest.raises(BenchError, match=words):
        acquire(tmp_path)
    assert left(tmp_path) == []


def test_a_cut_archive_leaves_nothing_behind(tmp_path):
    place(tmp_path / "archives", "train/one.zip")
    path = place(tmp_path / "archives", "two.zip", b"x" * 999)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(BenchError, match=r"two\.zip: cut short or damaged"):
        acquire(tmp_path)
    assert left(tmp_path) == []


def test_a_published_md5_is_held_unless_the_archives_are_drawn(tmp_path):
    path = place(tmp_path / "archives", "two.zip")
    right = replace(ENTRY, archives=(Archive("two.zip", hashlib.md5(path.read_bytes()).hexdigest()),))
    wrong = replace(ENTRY, archives=(Archive("two.zip", "0" * 32),))
    with pytest.raises(BenchError, match=rf"two\.zip: md5 is [0-9a-f]{{32}}, published is {'0' * 32}"):
        acquire(tmp_path, wrong)
    assert left(tmp_path) == []
    acquire(tmp_path, wrong, check_digests=False)
    assert read_acquired(tmp_path / "out" / "acquired.json").sources[0]["md5"] == "not checked"
    acquire(tmp_path, right)
    assert read_acquired(tmp_path / "out" / "acquired.json").sources[0]["md5"] == "checked"


def test_what_a_killed_run_left_is_removed_and_a_whole_raw_is_kept(tmp_path):
    place(tmp_path / "archives", "train/one.zip")
    place(tmp_path / "archives", "two.zip")
    stale = tmp_path / "out" / ".raw.12345.partial"
    stale.mkdir(parents=True)
    acquire(tmp_path)
    assert left(tmp_path) == ["acquired.json", "raw"]
    # Killed between the rename and the receipt: raw is whole, so its files are the same ones afterwards.
    file = tmp_path / "out" / "raw" / "two" / "a.txt"
    inode, receipt = file.stat().st_ino, (tmp_path / "out" / "acquired.json").read_bytes()
    (tmp_path / "out" / "acquired.json").unlink()
    acquire(tmp_path)
    assert file.stat().st_ino == inode
    assert (tmp_path / "out" / "acquired.json").read_bytes() == receipt


def test_other_archives_or_another_digest_replace_raw(tmp_path):
    place(tmp_path / "archives", "train/one.zip")
    place(tmp_path / "archives", "two.zip", b"old")
    acquire(tmp_path)
    place(tmp_path / "archives", "two.zip", b"new")
    acquire(tmp_path)
    assert (tmp_path / "out" / "raw" / "two" / "a.txt").read_bytes() == b"new"
    extra = tmp_path / "out" / "raw" / "extra.txt"
    extra.touch()
    acquire(tmp_path, digest="other")
    assert not extra.exists()
    assert left(tmp_path) == ["acquired.json", "raw"]


def test_a_failed_run_leaves_no_receipt_of_an_earlier_one(tmp_path):
    place(tmp_path / "archives", "train/one.zip")
    path = place(tmp_path / "archives", "two.zip")
    acquire(tmp_path)
    path.unlink()
    with pytest.raises(BenchError, match="1 of its archives is not in"):
        acquire(tmp_path)
    assert not (tmp_path / "out" / "acquired.json").exists()


def test_a_users_folder_is_listed_and_not_copied(tmp_path):
    folder = tmp_path / "mine"
    (folder / "rgb").mkdir(parents=True)
    (folder / "rgb" / "1.png").write_bytes(b"one")
    (folder / ".hidden").write_bytes(b"?")
    acquire_folder("mine", folder, tmp_path / "out", digest="d", spec={})
    acquired = read_acquired(tmp_path / "out" / "acquired.json")
    assert acquired.kind == "folder"
    assert acquired.sources == [
        {"path": "rgb/1.png", "bytes": 3, "sha256": hashlib.sha256(b"one").hexdigest()}
    ]
    assert left(tmp_path) == ["acquired.json"]


def test_a_linked_folder_is_entered_once_even_if_it_leads_back(tmp_path):
    folder = tmp_path / "mine"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").write_bytes(b"one")
    folder.mkdir()
    (folder / "rgb").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    acquire_folder("mine", folder, tmp_path / "out", digest="d", spec={})
    assert [s["path"] for s in read_acquired(tmp_path / "out" / "acquired.json").sources] == ["rgb/1.png"]


def test_a_missing_or_empty_folder_is_named(tmp_path):
    with pytest.raises(BenchError, match=r"mine: no folder .*nowhere"):
        acquire_folder("mine", tmp_path / "nowhere", tmp_path / "out", digest="d", spec={})
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchError, match="holds no files"):
        acquire_folder("mine", tmp_path / "empty", tmp_path / "out", digest="d", spec={})


def test_the_receipt_is_read_strictly(tmp_path):
    path = tmp_path / "acquired.json"
    with pytest.raises(BenchError, match="run acquire first"):
        read_acquired(path)
    value = {"schema": 1, "dataset": "x", "digest": "d", "spec": {}, "kind": "folder", "sources": []}
    for changed in ({"schema": 2}, {"foreign": 1}):
        path.write_text(json.dumps(value | changed))
        with pytest.raises(BenchError, match="run acquire again"):
            read_acquired(path)


def test_every_archive_of_the_catalogue_has_a_known_suffix():
    for entry in CATALOG.values():
        assert all(archive.path.endswith((".zip", ".tar", ".tar.gz")) for archive in entry.archives)
