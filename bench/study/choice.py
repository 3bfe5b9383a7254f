"""Which study a workflow runs: exactly one file, read alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.errors import RequestError

DEFAULT = Path("config/demo.yaml")


def chosen_study(configfiles: Sequence[str | Path], config: Mapping[str, Any]) -> Path:
    """Return the one study file that Snakemake was given with --configfile, or the demo.

    Snakemake merges several config files, and --config on top, into one dictionary; a study merged from two is a
    study nobody wrote. RequestError if there is more than one file, or if `config` holds anything that the file
    does not.
    """
    if len(configfiles) > 1:
        names = ", ".join(map(str, configfiles))
        raise RequestError(f"--configfile {names}: a study is one file; give one of them")
    path = Path(configfiles[0]) if configfiles else DEFAULT
    if config:
        text = path.read_text(encoding="utf-8") if configfiles and path.is_file() else ""
        alone = yaml.safe_load(text) or {}
        foreign = sorted(str(key) for key in config if key not in alone or config[key] != alone[key])
        if foreign:
            raise RequestError(
                f"--config {' '.join(foreign)}: settings are not merged into a study; write them into {path} "
                "or a copy of it, and give that with --configfile"
            )
    return path
