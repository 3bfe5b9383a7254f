"""Acquisition: what is accepted, what is refused, and that nothing half-done is left."""

import errno
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from bench.catalog.entry import Archive, Entry, Form, Members
from bench.catalog.index import CATALOG
from bench.data.acquire import MEMORY, acquire_archives, acquire_folder, read_acquired
from bench.data.own_folder import require_unchanged
from bench.data.stages import check_request
from bench.errors import BenchError
from bench.study.files import fingerprint
from bench.study.reading import load_study
from bench.study.runs import Runs

ROOT = Path(__file__).parents[2]

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
        "toy", entry, tmp_path / "archives", tmp_path / "out", digest=digest, spec={"s": 1},
        lock=tmp_path / "archives.lock", **kwargs,
    )  # fmt: skip


def left(tmp_path: Path) -> list[str]:
    """What lies in the output folder, but for remembered digests."""
    out = tmp_path / "out"
    return sorted(path.name for path in out.iterdir() if path.name != MEMORY) if out.exists() else []


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
    # Nor is its digest made the standard: the whole one is accepted afterwards.
    assert not (tmp_path / "archives.lock").exists()
    place(tmp_path / "archives", "two.zip", b"x" * 999)
    acquire(tmp_path)


def test_a_published_md5_is_held_unless_the_archives_are_drawn(tmp_path):
    path = place(tmp_path / "archives", "two.zip")
    right = replace(ENTRY, archives=(Archive("two.zip", hashlib.md5(path.read_bytes()).hexdigest()),))
    wrong = replace(ENTRY, archives=(Archive("two.zip", "0" * 32),))
    with pytest.raises(BenchError, match=rf"two\.zip: md5 is [0-9a-f]{{32}}, published is {'0' * 32}"):
        acquire(tmp_path, wrong)
    assert left(tmp_path) == []
    acquire(tmp_path, wrong, drawn=True)
    assert read_acquired(tmp_path / "out" / "acquired.json").sources[0]["checked"] == "not checked, drawn"
    acquire(tmp_path, right)
    assert read_acquired(tmp_path / "out" / "acquired.json").sources[0]["checked"] == "published digest"
    assert not (tmp_path / "archives.lock").exists()


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


def test_a_foreign_archive_never_becomes_the_standard(tmp_path):
    held = replace(
        ENTRY, archives=(Archive("two.zip", holds=(Members(r"\.txt$"), Members(r"labels/\d+\.png$", 2))),)
    )
    path = place(tmp_path / "archives", "two.zip")
    with pytest.raises(BenchError) as error:
        acquire(tmp_path, held)
    assert str(error.value) == (
        f"{path}: 0 of its 1 files match labels/\\d+\\.png$, of the published archive 2 or more do; its first file is "
        "a.txt; it is another archive or not whole, and its digest is not recorded: remove it and download it again"
    )
    assert left(tmp_path) == [] and not (tmp_path / "archives.lock").exists()
    # The right one is accepted afterwards; of a miniature one file of each kind is enough.
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("top/labels/1.png", b"1")
    acquire(tmp_path, held, drawn=True)
    with pytest.raises(BenchError, match=r"1 of its 2 files match labels/"):
        acquire(tmp_path, held)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("top/labels/2.png", b"2")
    acquire(tmp_path, held)
    assert "two.zip" in (tmp_path / "archives.lock").read_text()


def test_any_zip_under_the_name_of_mfnets_is_not_taken_for_it(tmp_path):
    place(tmp_path / "archives", "ir_seg_dataset.zip")
    with pytest.raises(
        BenchError,
        match=r"ir_seg_dataset\.zip: 0 of its 1 files match images.*published archive 1,569 or more",
    ):
        acquire(tmp_path, CATALOG["mfnet"])
    assert left(tmp_path) == [] and not (tmp_path / "archives.lock").exists()


@pytest.mark.parametrize("change", ["content", "time", "gone", "new"])
def test_a_raw_that_was_changed_is_unpacked_anew_and_that_is_said(change, tmp_path, capsys):
    place(tmp_path / "archives", "train/one.zip", b"first")
    place(tmp_path / "archives", "two.zip", b"second")
    acquire(tmp_path)
    (label,) = (tmp_path / "out" / "raw" / "two").iterdir()
    facts = label.stat()
    if change == "content":
        label.write_bytes(b"longer than it was")
    elif change == "time":  # another content of the same size
        label.write_bytes(b"SECOND")
        os.utime(label, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    elif change == "gone":
        label.unlink()
    else:
        label.with_name("b.txt").touch()
    capsys.readouterr()
    acquire(tmp_path)
    now = {"gone": 1, "new": 3}.get(change, 2)
    said = (
        f"files were changed, added or removed since they were unpacked ({now} now, 2 then); unpacking anew"
    )
    assert said in capsys.readouterr().err
    assert [path.name for path in label.parent.iterdir()] == ["a.txt"]
    assert label.read_bytes() == b"second"


def test_what_a_file_manager_leaves_in_raw_is_passed_over(tmp_path, capsys):
    place(tmp_path / "archives", "train/one.zip")
    place(tmp_path / "archives", "two.zip")
    acquire(tmp_path)
    (tmp_path / "out" / "raw" / ".DS_Store").touch()
    capsys.readouterr()
    acquire(tmp_path)
    assert "unpacking" not in capsys.readouterr().err


def test_other_archives_or_another_digest_replace_raw(tmp_path):
    place(tmp_path / "archives", "train/one.zip")
    place(tmp_path / "archives", "two.zip", b"old")
    acquire(tmp_path)
    place(tmp_path / "archives", "two.zip", b"new")
    with pytest.raises(BenchError, match=r"two\.zip: sha256 is .* recorded .* at its first use on"):
        acquire(tmp_path)
    assert not (tmp_path / "out" / "acquired.json").exists()
    lines = (tmp_path / "archives.lock").read_text().splitlines(keepends=True)
    (tmp_path / "archives.lock").write_text("".join(line for line in lines if "two.zip" not in line))
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


def test_a_folder_other_than_the_one_a_study_was_declared_on_is_refused(tmp_path):
    folder = tmp_path / "mine"
    for name in ("b/1.png", "a.png", "a/1.png", "Z.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    (folder / ".hidden").write_bytes(b"?")
    # What a user can type, as the docstring and config/README.md say.
    command = r'find -L . -type f -not -path "*/.*" -printf "%P\0" | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum'
    printed = subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    expected = printed.split()[0]
    acquire_folder("mine", folder, tmp_path / "out", digest="d", spec={}, expected=expected)
    assert left(tmp_path) == ["acquired.json"]
    (folder / "a.png").write_bytes(b"another")
    with pytest.raises(
        BenchError, match=rf"mine: .* holds 4 files of digest .*declared on files of digest {expected}"
    ):
        acquire_folder("mine", folder, tmp_path / "out", digest="d", spec={}, expected=expected)
    assert left(tmp_path) == []


def test_a_folder_that_changes_while_it_is_listed_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"one")

    def hash_and_grow(path: Path) -> str:
        with path.open("ab") as stream:
            stream.write(b"more")
        return "0"

    monkeypatch.setattr("bench.data.own_folder.sha256_file", hash_and_grow)
    with pytest.raises(BenchError, match=r"1\.png: changed while it was read; let what writes there end"):
        acquire_folder("mine", folder, tmp_path / "out", digest="d", spec={})
    assert left(tmp_path) == []


def own_folder(tmp_path: Path) -> tuple[Path, Path, list[dict[str, object]]]:
    """A folder of three files, its receipt, and the list in it."""
    folder, receipt = tmp_path / "mine", tmp_path / "out" / "acquired.json"
    folder.mkdir()
    for name in "123":
        (folder / f"{name}.png").write_bytes(b"one")
    acquire_folder("mine", folder, receipt.parent, digest="d", spec={})
    return folder, receipt, read_acquired(receipt).sources


def test_a_folder_that_was_changed_since_it_was_listed_is_refused_by_the_names_of_its_files(tmp_path):
    folder, receipt, sources = own_folder(tmp_path)
    require_unchanged("mine", folder, sources, receipt)
    (folder / "1.png").unlink()
    (folder / "2.png").write_bytes(b"two")  # of the same size
    (folder / "3.png").write_bytes(b"three")
    (folder / "4.png").touch()
    with pytest.raises(BenchError) as error:
        require_unchanged("mine", folder, sources, receipt)
    message = str(error.value)
    assert message.startswith(f"mine: {folder} was changed since it was acquired (")
    assert "): 1.png is gone, 4.png is new, 2.png is another and 1 more; run acquire again" in message
    shutil.rmtree(folder)
    with pytest.raises(BenchError, match="mine: no folder .*which was there when it was acquired"):
        require_unchanged("mine", folder, sources, receipt)


def test_a_replaced_file_with_an_old_date_is_found_and_a_settled_one_not_read_again(tmp_path, monkeypatch):
    folder, receipt, sources = own_folder(tmp_path)
    swapped = folder / "2.png"
    swapped.write_bytes(b"two")
    os.utime(swapped, (0, 0))  # as `cp -p` would: only the time of the inode's change tells
    with pytest.raises(BenchError, match=r"2\.png is another; run acquire again"):
        require_unchanged("mine", folder, sources, receipt)
    # Listed an hour after the last change: nothing is read, and sizes and paths still are compared.
    later = receipt.stat().st_mtime + 3600
    os.utime(receipt, (later, later))
    monkeypatch.setattr("bench.data.own_folder.sha256_file", lambda path: pytest.fail(f"read {path}"))
    require_unchanged("mine", folder, sources, receipt)


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


# Forms

MIRRORED = replace(
    ENTRY,
    mirrors=(
        Form(
            name="mirror",
            archives=(Archive("images.zip", place="train/one"), Archive("rest.zip", place="two", url="https://m/rest.zip")),
            where="https://mirror.example",
            terms="CC BY",
        ),
    ),
)  # fmt: skip


def test_any_whole_form_suffices_and_gives_the_same_folders(tmp_path):
    place(tmp_path / "archives", "images.zip", b"first")
    place(tmp_path / "archives", "rest.zip", b"second")
    acquire(tmp_path, MIRRORED)
    raw = tmp_path / "out" / "raw"
    assert (raw / "train" / "one" / "a.txt").read_bytes() == b"first"
    assert (raw / "two" / "a.txt").read_bytes() == b"second"
    sources = read_acquired(tmp_path / "out" / "acquired.json").sources
    assert [item["path"] for item in sources] == ["images.zip", "rest.zip"]


def test_what_the_nearest_form_lacks_is_listed(tmp_path):
    # Half of the mirror (1 of 2) and nothing of the published form (0 of 2) lie there.
    place(tmp_path / "archives", "images.zip")
    with pytest.raises(BenchError) as error:
        acquire(tmp_path, MIRRORED)
    message = str(error.value)
    assert "1 of its archives (the form of the mirror) is not in" in message and "(rest.zip)" in message
    assert "https://mirror.example under these terms: CC BY" in message
    assert "or run `python -m bench acquire toy`, which fetches it" in message
    assert "train/one.zip" not in message


def test_with_nothing_there_the_published_form_is_asked_for_and_the_other_offered(tmp_path):
    whole = replace(
        MIRRORED,
        mirrors=(replace(MIRRORED.mirrors[0], archives=(Archive("all.zip", url="https://m/all.zip"),)),),
    )
    with pytest.raises(BenchError) as error:
        acquire(tmp_path, whole)
    message = str(error.value)
    assert "2 of its archives are not in" in message and "(train/one.zip, two.zip)" in message
    assert "which fetches the same data in another form (all.zip) from https://mirror.example" in message


def test_a_bundle_that_lies_there_is_named(tmp_path, monkeypatch):
    bundled = replace(ENTRY, bundle=Archive("All.zip", url="https://share", password="BENCH_TOY_PASSWORD"))
    monkeypatch.delenv("BENCH_TOY_PASSWORD", raising=False)
    with pytest.raises(
        BenchError, match="set BENCH_TOY_PASSWORD to the password printed there and run `python -m"
    ):
        acquire(tmp_path, bundled)
    place(tmp_path / "archives", "All.zip")
    with pytest.raises(
        BenchError, match=r"bench acquire toy`, which takes them out of the All\.zip that lies there"
    ):
        acquire(tmp_path, bundled)


def test_all_that_a_study_lacks_stands_in_one_message(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.chdir(ROOT)
    runs = Runs(load_study(Path("config/paper.yaml")), results=str(tmp_path / "results"))
    with pytest.raises(BenchError) as error:
        check_request(runs)
    message = str(error.value)
    assert message.startswith("5 datasets are not ready:\n")
    for entry in CATALOG.values():
        for words in (entry.title, entry.where, entry.terms, str(tmp_path / entry.name)):
            assert words in message, words
        assert all(archive.path in message for archive in entry.archives if not archive.optional)


def test_what_is_on_its_way_does_not_change_the_fingerprint_of_a_dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    study = load_study(ROOT / "config" / "paper.yaml")
    run = Runs(study).target_data["mfnet"]
    place(tmp_path, "mfnet/ir_seg_dataset.zip")
    before = fingerprint(study, run)
    place(tmp_path, "mfnet/.fetch/x.part")
    assert fingerprint(study, run) == before
    place(tmp_path, "mfnet/ir_seg_dataset.zip", b"another")
    assert fingerprint(study, run) != before


# Killed, or out of room


def test_a_full_disk_is_named_and_leaves_nothing_behind(tmp_path, monkeypatch):
    place(tmp_path / "archives", "train/one.zip")
    place(tmp_path / "archives", "two.zip", b"x" * 5000)

    def full(self: object, count: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("bench.data.extract._Budget.add_bytes", full)
        with pytest.raises(
            BenchError, match=r"one\.zip: cannot be unpacked into .*\(No space left on device\)"
        ):
            acquire(tmp_path)
    assert left(tmp_path) == []
    acquire(tmp_path)
    assert left(tmp_path) == ["acquired.json", "raw"]


def test_a_kill_amid_unpacking_is_completed_by_the_next_run(tmp_path):
    place(tmp_path / "archives", "train/one.zip", b"first")
    place(tmp_path / "archives", "two.zip", b"second")
    # The child dies by SIGKILL when the second archive's content is being written.
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from bench.data import extract\n"
        "from tests.data.test_acquire import acquire\n"
        "add, calls = extract._Budget.add_bytes, []\n"
        "def die(self, count):\n"
        "    calls.append(count)\n"
        "    if len(calls) == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    add(self, count)\n"
        "extract._Budget.add_bytes = die\n"
        "acquire(Path(sys.argv[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(ROOT)], capture_output=True, text=True
    )
    assert done.returncode == -9, done.stderr
    assert len(left(tmp_path)) == 1 and left(tmp_path)[0].startswith(".raw.")  # no raw, no receipt
    acquire(tmp_path)
    assert left(tmp_path) == ["acquired.json", "raw"]
    assert (tmp_path / "out" / "raw" / "two" / "a.txt").read_bytes() == b"second"


def test_a_study_acquires_without_the_network(tmp_path, monkeypatch):
    place(tmp_path / "archives", "train/one.zip")
    place(tmp_path / "archives", "two.zip")

    def forbidden(*words: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    acquire(tmp_path)
    assert left(tmp_path) == ["acquired.json", "raw"]
