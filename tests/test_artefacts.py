"""A finished pre-training serves every study that asks for the same, and nobody else."""

import json
from pathlib import Path

import pytest

from bench.artefacts import entry_of, offer, store_root, stored, take
from bench.errors import RequestError
from bench.record import Record, digest_of, read_record, sha256_file

SPEC = {"stage": "pretrain", "epochs": 3}
DIGEST = digest_of(SPEC, {})


def trained(folder, manifest):
    """Leave what a pre-training leaves."""
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"weights")
    (folder / "weights.json").write_text("{}")
    (folder / "log.csv").write_text("step,loss\n")
    extra = {
        "weights_sha256": sha256_file(folder / "weights.safetensors"),
        "manifest_sha256": sha256_file(manifest),
    }
    Record(
        stage="pretrain", names={"study": "first", "seed": 0}, spec=SPEC, digest=DIGEST, inputs={}, metrics={},
        receipt={"device": "cpu"}, extra=extra,
    ).write(folder / "record.json")  # fmt: skip


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A pre-training of one study in the shared folder; returns the manifest that it was made from."""
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    manifest = tmp_path / "manifest.json"
    manifest.write_text("data")
    trained(tmp_path / "first", manifest)
    offer(tmp_path / "first", DIGEST, manifest)
    return manifest


def test_another_study_takes_the_same_bytes_and_says_from_where(shared, tmp_path):
    second = tmp_path / "second"
    assert stored(DIGEST, shared) and take(second, DIGEST, shared, "second")
    for name in ("weights.safetensors", "weights.json", "log.csv"):
        assert (second / name).read_bytes() == (tmp_path / "first" / name).read_bytes()
    record = read_record(second / "record.json")
    assert (record.names, record.digest) == ({"study": "second", "seed": 0}, DIGEST)
    assert record.extra["shared"] == {"study": "first", "digest": DIGEST}
    # What is there already is left alone.
    assert not take(second, DIGEST, shared, "third")


def test_other_settings_or_other_bytes_of_the_data_are_another_pretraining(shared, tmp_path):
    assert not take(tmp_path / "second", digest_of({"epochs": 4}, {}), shared, "second")
    shared.write_text("the same settings, an edited picture")
    assert not stored(DIGEST, shared) and not take(tmp_path / "second", DIGEST, shared, "second")


def test_a_damaged_entry_is_not_used_and_said_so(shared, tmp_path, capsys):
    entry = entry_of(tmp_path / "store", DIGEST, shared)
    (entry / "weights.safetensors").unlink()
    (entry / "weights.safetensors").write_bytes(b"weightz")
    assert not take(tmp_path / "second", DIGEST, shared, "second")
    assert (
        "the SHA-256 of weights.safetensors is not what its record says; remove the folder"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "second" / "record.json").exists()
    # The first study's own weights are another name of other bytes.
    assert (tmp_path / "first" / "weights.safetensors").read_bytes() == b"weights"


def test_the_folder_is_the_users_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    root = store_root()
    assert root is not None and root.stat().st_mode & 0o777 == 0o700
    root.chmod(0o755)
    with pytest.raises(RequestError, match=r"open to others \(mode 755\).*`chmod 700 .*/store` closes it"):
        store_root()


def test_nothing_is_shared_where_no_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_STORE", raising=False)
    manifest = tmp_path / "manifest.json"
    manifest.write_text("data")
    trained(tmp_path / "first", manifest)
    offer(tmp_path / "first", DIGEST, manifest)
    assert not stored(DIGEST, manifest) and not take(tmp_path / "second", DIGEST, manifest, "second")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "manifest.json"]


def test_a_record_that_is_another_digests_is_never_offered(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    manifest = tmp_path / "manifest.json"
    manifest.write_text("data")
    trained(tmp_path / "first", manifest)
    offer(tmp_path / "first", digest_of({"epochs": 4}, {}), manifest)
    assert not list(Path(tmp_path / "store").rglob("record.json"))
    assert json.loads((tmp_path / "first" / "record.json").read_text())["digest"] == DIGEST
