"""What a profile says of its machine: BENCH_* variables in profiles/NAME/machine.yaml, under those of the shell."""

import os
from collections.abc import Mapping
from pathlib import Path

from bench.errors import RequestError
from bench.study.reading import read_yaml, refuse_unknown

FILE = "machine.yaml"
KNOWN = [
    *(
        "BENCH_CALIBRATION",
        "BENCH_CORES",
        "BENCH_DATA",
        "BENCH_DETERMINISTIC",
        "BENCH_DEVICE",
        "BENCH_EVAL_MEMORY",
    ),
    *(
        "BENCH_GPUS_PER_JOB",
        "BENCH_MICRO_BATCH",
        "BENCH_STORE",
        "BENCH_TENSORBOARD",
        "BENCH_WINDOWS",
        "BENCH_WORKERS",
    ),
]
"""Variables that a profile may set. BENCH_RESULTS is none of them: every verb must find the same results."""


def machine_facts(profile: str, shell: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a profile's machine.yaml sets and the `shell` does not; none without such a file.

    `~` and `$NAME` in a value stand for the home folder and a variable of the shell. Raises RequestError for a variable
    that no profile may set, a value that is no text or number, and a `$NAME` that is not set.
    """
    path = Path(profile, FILE)
    if not path.is_file():
        return {}
    content = read_yaml(path)
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise RequestError(f"{path}: expected variables with their values, found {content!r}")
    refuse_unknown(content, KNOWN, str(path))
    return {name: _expanded(value, f"{path}: {name}") for name, value in content.items() if name not in shell}


def _expanded(value: object, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RequestError(f"{where}: expected a text or a whole number, found {value!r}")
    found = os.path.expandvars(os.path.expanduser(str(value)))
    if "$" in found:
        raise RequestError(
            f"{where}: {value!r} names a variable that is not set; set it, or write the path out"
        )
    return found
