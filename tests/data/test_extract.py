"""Unpacking archives from strangers."""

import errno
import gzip
import io
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

from bench.data.extract import Limits, unpack
from bench.errors import BenchError


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("make", "suffix"), [(make_zip, ".zip"), (make_tar, ".tar")])
def test_regular_files_are_unpacked_and_counted(make, suffix, tmp_path):
    archive = make(tmp_path / f"a{suffix}", {"x/1.png": b"one", "./y/2.png": b"two", "3.txt": b""})
    assert unpack(archive, tmp_path / "out") == 3
    assert tree(tmp_path / "out") == {"x/1.png": b"one", "y/2.png": b"two", "3.txt": b""}


def test_gzipped_tar_is_unpacked(tmp_path):
    plain = make_tar(tmp_path / "a.tar", {"x": b"one"})
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(plain.read_bytes()))
    unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert tree(tmp_path / "out") == {"x": b"one"}


def test_inner_tars_become_folders_only_when_asked(tmp_path):
    inner = make_tar(tmp_path / "inner.tar", {"1.JPEG": b"one"}).read_bytes()
    archive = make_tar(tmp_path / "a.tar", {"n01440764.tar": inner})
    assert unpack(archive, tmp_path / "out", inner_tars=True) == 1
    assert tree(tmp_path / "out") == {"n01440764/1.JPEG": b"one"}
    unpack(archive, tmp_path / "plain")
    assert list(tree(tmp_path / "plain")) == ["n01440764.tar"]


def test_what_macos_adds_is_passed_over(tmp_path):
    archive = make_zip(
        tmp_path / "a.zip", {"__MACOSX/x": b"?", "x/._1.png": b"?", ".DS_Store": b"?", "x/1.png": b"one"}
    )
    assert unpack(archive, tmp_path / "out") == 1


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "..\\x", "C:\\x"])
@pytest.mark.parametrize(("make", "suffix"), [(make_zip, ".zip"), (make_tar, ".tar")])
def test_a_path_out_of_the_folder_is_refused_by_name(make, suffix, name, tmp_path):
    archive = make(tmp_path / f"a{suffix}", {"ok": b"1", name: b"evil"})
    with pytest.raises(BenchError, match=r"member .*x' would be written outside its folder"):
        unpack(archive, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep" / "x").exists() and not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_link_or_device_in_a_tar_is_refused_by_name(kind, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("shortcut")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(BenchError, match=r"a\.tar: member 'shortcut' is a link or a device"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


def test_a_symlink_in_a_zip_is_refused_by_name(tmp_path):
    info = zipfile.ZipInfo("shortcut")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(BenchError, match="member 'shortcut' is a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_name_that_comes_twice_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("1.png"), io.BytesIO())
    with pytest.raises(BenchError, match=r"holds '1\.png' twice"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_cut_zip_is_named(keep, tmp_path):
    whole = make_zip(tmp_path / "a.zip", {f"{i}": bytes(range(256)) * 9 for i in range(9)}).read_bytes()
    (tmp_path / "a.zip").write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(BenchError, match=r"a\.zip: cut short or damaged .*download it again"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_changed_byte_in_a_zip_is_found_by_its_checksum(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:  # stored, so that nothing but the CRC can tell
        archive.writestr("1", b"content")
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole.replace(b"content", b"kontent"))
    with pytest.raises(BenchError, match="cut short or damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


# A tar of three members of 1000 bytes: header 512, content 1024 each; members begin at 0, 1536, 3072, the end
# block at 4608. Cut inside a header, inside content, on a member's border (which tarfile takes for the end).
@pytest.mark.parametrize("length", [1700, 2500, 1536, 3072, 4608])
def test_a_cut_tar_is_named_wherever_it_is_cut(length, tmp_path):
    whole = make_tar(tmp_path / "a.tar", {name: b"x" * 1000 for name in "abc"}).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:length])
    with pytest.raises(BenchError, match=r"a\.tar: cut short or damaged"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


def test_a_broken_header_amid_a_tar_is_not_taken_for_its_end(tmp_path):
    whole = bytearray(make_tar(tmp_path / "a.tar", {name: b"x" * 1000 for name in "abc"}).read_bytes())
    whole[1536:1546] = b"\xff" * 10  # the second header, whose checksum then fails
    (tmp_path / "a.tar").write_bytes(whole)
    with pytest.raises(BenchError, match="cut short or damaged"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


def test_a_cut_gzip_is_named(tmp_path):
    plain = make_tar(tmp_path / "b.tar", {"x": bytes(range(256)) * 99}).read_bytes()
    packed = gzip.compress(plain)
    (tmp_path / "a.tar.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(BenchError, match=r"a\.tar\.gz: cut short or damaged"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")


def test_limits_stop_an_archive_that_grows_too_large(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {name: bytes(100_000) for name in "abc"})
    for limits, words in (
        (Limits(members=2), "more than 2 files"),
        (Limits(size=250_000), "more than 250000 bytes"),
        # 300,000 zeros deflate to about a thousandth.
        (Limits(ratio=50, ratio_from=1000), "more than 50 times its size"),
    ):
        with pytest.raises(BenchError, match=words):
            unpack(archive, tmp_path / words, limits=limits)
    assert unpack(archive, tmp_path / "out") == 3


def test_an_encrypted_member_is_refused_by_name(tmp_path):
    whole = bytearray(make_zip(tmp_path / "a.zip", {"1": b"x"}).read_bytes())
    whole[whole.index(b"PK\x01\x02") + 8] |= 1  # flag bit 0 of the central directory: encrypted
    (tmp_path / "a.zip").write_bytes(whole)
    with pytest.raises(BenchError, match="member '1' is encrypted"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_member_compressed_in_a_damaged_way_is_named_whatever_the_method(tmp_path):
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
            archive.writestr("1.png", bytes(range(256)) * 99)
        whole = bytearray((tmp_path / "a.zip").read_bytes())
        whole[45:60] = b"\xff" * 15  # inside the compressed content, which begins at byte 35
        (tmp_path / "a.zip").write_bytes(whole)
        with pytest.raises(BenchError, match=r"a\.zip: cut short or damaged"):
            unpack(tmp_path / "a.zip", tmp_path / str(method))


@pytest.mark.parametrize(("make", "suffix"), [(make_zip, ".zip"), (make_tar, ".tar")])
def test_whatever_bytes_are_damaged_ends_in_a_sentence(make, suffix, tmp_path):
    # 200 archives with one to eight bytes changed: each is unpacked or refused, and no other error comes out.
    generator = random.Random(0)
    whole = make(tmp_path / f"a{suffix}", {f"d/{i}.png": bytes(range(256)) for i in range(3)}).read_bytes()
    outcomes = set()
    for number in range(200):
        damaged = bytearray(whole)
        for _ in range(generator.choice((1, 2, 8))):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        (tmp_path / f"a{suffix}").write_bytes(damaged)
        try:
            unpack(tmp_path / f"a{suffix}", tmp_path / str(number))
            outcomes.add("unpacked")
        except BenchError:
            outcomes.add("refused")
    assert outcomes == {"unpacked", "refused"}


def test_a_full_disk_is_no_damage_of_the_archive(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "a.zip", {"1": b"x"})

    def full(self: object, count: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bench.data.extract._Budget.add_bytes", full)
    with pytest.raises(BenchError, match=r"a\.zip: cannot be unpacked into .* \(No space left on device\)"):
        unpack(archive, tmp_path / "out")


def test_a_file_where_a_folder_must_be_is_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"a": b"1", "a/b": b"2"})
    with pytest.raises(BenchError, match=r"a\.zip: (holds 'a' twice|cannot be unpacked)"):
        unpack(archive, tmp_path / "out")
