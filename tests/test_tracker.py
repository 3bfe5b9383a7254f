"""TensorBoard event files: read back by TensorBoard itself, and no failure of theirs stops a run."""

import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from bench.progress import CsvLog
from bench.tracker import Tracker, masked_crc


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_TENSORBOARD", "1")
    return tmp_path / "run"


READ = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = EventAccumulator(sys.argv[1])
found.Reload()
print(json.dumps({tag: [[e.step, e.value] for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}))
"""


def read(folder):
    """Return (step, value) by tag, as TensorBoard reads them; in a process of its own, for its warnings' sake."""
    import json

    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_tensorboard_reads_the_rows_and_forgets_what_a_resumed_run_writes_again(folder):
    log = CsvLog(folder / "state" / "log.csv", ("lr", "loss"), resumed=0)
    for step in (1, 2, 300):
        log.write(step, 0.5, 8.0 - step / 100)
    # Killed after step 300, resumed after step 2: 300 is written again, with the same value.
    again = CsvLog(folder / "state" / "log.csv", ("lr", "loss"), resumed=2)
    again.write(300, 0.25, 5.0)
    assert read(folder / "tensorboard") == {
        "log/lr": [[1, 0.5], [2, 0.5], [300, 0.25]],
        # 8 - 0.01 and 8 - 0.02 in float32.
        "log/loss": [[1, pytest.approx(7.99)], [2, pytest.approx(7.98)], [300, 5.0]],
    }


def test_nothing_is_written_unless_asked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_TENSORBOARD", raising=False)
    CsvLog(tmp_path / "run" / "state" / "log.csv", ("loss",), resumed=0).write(1, 0.5)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["state"]


def test_a_tracker_that_cannot_write_says_so_once_and_the_run_goes_on(folder, capsys):
    folder.mkdir()
    (folder / "tensorboard").write_text("a file where the folder should be")
    log = CsvLog(folder / "state" / "log.csv", ("loss",), resumed=0)
    log.write(1, 0.5)
    log.write(2, 0.25)
    assert (folder / "state" / "log.csv").read_text() == "step,loss\n1,0.5\n2,0.25\n"
    assert capsys.readouterr().err.count("no TensorBoard events from here on") == 1


def test_a_disk_that_fills_up_on_the_way_stops_nothing(folder, capsys, monkeypatch):
    log = CsvLog(folder / "state" / "log.csv", ("loss",), resumed=0)
    log.write(1, 0.5)
    plain = Path.open

    def full(path, *words, **named):
        if "tfevents" in path.name:
            raise OSError(28, "No space left on device")
        return plain(path, *words, **named)

    monkeypatch.setattr(Path, "open", full)
    log.write(2, 0.25)
    log.write(3, 0.125)
    assert (folder / "state" / "log.csv").read_text().splitlines()[-1] == "3,0.125"
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_what_is_no_number_is_left_out(folder):
    tracker = Tracker(folder, resumed=0)
    tracker.scalars(1, {"name": "word", "huge": 1e300, "nan": float("nan"), "whole": 3})
    assert read(folder) == {"whole": [[1, 3.0]]}


def test_the_checksum_is_castagnolis():
    # The check value of CRC-32C is 0xE3069283 (RFC 3720, appendix B.4, and Koopman's tables), for b"123456789".
    check = 0xE3069283
    turned = (check >> 15 | check << 17) & 0xFFFFFFFF
    assert masked_crc(b"123456789") == (turned + 0xA282EAD8) & 0xFFFFFFFF
    assert masked_crc(b"123456789") != zlib.crc32(b"123456789")
