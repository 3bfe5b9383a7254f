"""TensorBoard event files beside the CSV of a training, where BENCH_TENSORBOARD=1 asks for them.

Written here, byte by byte, so that no run needs TensorBoard; `pip install -e ".[tensorboard]"` brings the viewer:
`tensorboard --logdir results/<study>`. Nothing reads the files again, and a tracker that fails says so once and is
silent from then on: it never stops a run.

The format is TensorFlow's: records of length, masked CRC-32C of the length, bytes, masked CRC-32C of the bytes
(tensorflow/core/lib/io/record_writer.h); the bytes are `Event` messages (tensorflow/core/util/event.proto), and Events
are few and small, so that their fields are put together by hand.
"""

import os
import socket
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path

POLYNOMIAL, MASK = 0x82F63B78, 0xA282EAD8
"""CRC-32C (Castagnoli), bits reversed; what TensorFlow adds after turning the sum by 15 bits."""


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


TABLE = _table()


def masked_crc(data: bytes) -> int:
    """Return TensorFlow's masked CRC-32C of `data`."""
    total = 0xFFFFFFFF
    for byte in data:
        total = total >> 8 ^ TABLE[(total ^ byte) & 0xFF]
    total ^= 0xFFFFFFFF
    return ((total >> 15 | total << 17) + MASK) & 0xFFFFFFFF


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field of a protocol buffer."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _event(step: int, content: bytes) -> bytes:
    """Return one record: an Event with wall_time (1), step (2) and what it is about."""
    data = struct.pack("<Bd", 1 << 3 | 1, time.time()) + _varint(2 << 3) + _varint(step) + content
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


class Tracker:
    """The scalars of one training as an event file in `folder`; off unless BENCH_TENSORBOARD is 1."""

    def __init__(self, folder: Path, *, resumed: int) -> None:
        self.path: Path | None = None
        if os.environ.get("BENCH_TENSORBOARD", "0") == "1":
            name = f"events.out.tfevents.{time.time_ns():020d}.{socket.gethostname()}.{os.getpid()}"
            self.path = folder / name
            # file_version (3), then a SessionLog (7) of status START (1: 1): what an earlier life of the run wrote
            # after the resumed step is not shown.
            start = _event(0, _field(3, b"brain.Event:2")) + _event(resumed + 1, _field(7, b"\x08\x01"))
            self._append(start)

    def scalars(self, step: int, values: Mapping[str, object]) -> None:
        """Write those of `values` that are numbers, under their names, for `step`."""
        if self.path is None:
            return
        # summary (5) of values (1), each with tag (1) and simple_value (2).
        summary = b"".join(
            _field(1, _field(1, tag.encode()) + struct.pack("<Bf", 2 << 3 | 5, value))
            for tag, value in values.items()
            if isinstance(value, int | float) and abs(value) < 1e38
        )
        if summary:
            self._append(_event(step, _field(5, summary)))

    def _append(self, record: bytes) -> None:
        """Append to the file; a failure is said once, and the tracker is off from then on."""
        assert self.path is not None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as stream:
                stream.write(record)
        except OSError as error:
            print(f"{self.path}: no TensorBoard events from here on ({error})", file=sys.stderr, flush=True)
            self.path = None
