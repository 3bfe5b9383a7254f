"""Records are written whole or not at all, and read strictly."""

import json
import os

import pytest

from bench.errors import BenchError
from bench.record import Record, atomic, digest_of, read_record, receipt, write_json


@pytest.fixture
def record():
    spec, inputs = {"stage": "finetune", "lr": 1e-4}, {"manifest": "ab"}
    return Record(
        stage="finetune",
        names={"seed": 0},
        spec=spec,
        digest=digest_of(spec, inputs),
        inputs=inputs,
        metrics={"mIoU": 0.5},
        receipt=receipt(device="cpu", wall_seconds=1.0),
    )


def test_a_record_survives_the_round_trip(tmp_path, record):
    record.write(tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == record


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda v: v["spec"].update(lr=1e-3), "edited by hand"),
        (lambda v: v["inputs"].update(manifest="cd"), "edited by hand"),
        (lambda v: v.update(extra_field=1), "not a record"),
        (lambda v: v.pop("metrics"), "not a record"),
        (lambda v: v.update(schema=99), "record schema 99"),
    ],
)
def test_a_tampered_record_is_refused(tmp_path, record, edit, words):
    path = tmp_path / "record.json"
    record.write(path)
    value = json.loads(path.read_text())
    edit(value)
    write_json(path, value)
    with pytest.raises(BenchError, match=words):
        read_record(path)


def test_a_missing_or_broken_record_is_named(tmp_path):
    with pytest.raises(BenchError, match=r"record.json: no such record"):
        read_record(tmp_path / "record.json")
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(BenchError, match="not a JSON record"):
        read_record(tmp_path / "record.json")


def test_nothing_half_written_is_left_under_any_name(tmp_path):
    path = tmp_path / "value.json"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), atomic(path) as partial:
        partial.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["value.json"]


def test_the_digest_depends_on_content_and_not_on_order_or_container():
    # JSON has no tuples: a spec read back from its record must give the digest it was written with.
    one = digest_of({"a": 1, "b": (1, 2)}, {"x": "1", "y": "2"})
    assert digest_of({"b": [1, 2], "a": 1}, {"y": "2", "x": "1"}) == one
    assert digest_of({"b": [2, 1], "a": 1}, {"y": "2", "x": "1"}) != one
    assert digest_of({"b": [1, 2], "a": 1}, {"y": "2", "x": "3"}) != one


def test_a_record_holds_no_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "value.json", {"mIoU": float("nan")})
    assert not list(tmp_path.iterdir())


def test_the_receipt_says_where_a_number_comes_from():
    found = receipt(device="cpu", wall_seconds=2.5)
    assert found["wall_seconds"] == 2.5 and found["device"] == "cpu"
    assert found["peak_memory_bytes"] > 1_000_000 and "numpy" in found["packages"]
    assert set(found) >= {"commit", "dirty", "python", "host_cores"}
