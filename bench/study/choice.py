"""Which study a workflow runs: exactly one file, read alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.errors import RequestError
from bench.study.reading import read_yaml

DEFAULT = Path("config/demo.yaml")


def chosen_study(configfiles: Sequence[str | Path], config: Mapping[str, Any]) -> Path:
    """Return the one study file that Snakemake was given with --configfile, or the demo.

    A workflow that uses this one as a module names it instead: `config: {"study_file": "my-study.yaml"}`, a path
    from the working folder; the other workflow's own config files are then none of our business.

    Snakemake merges several config files, and --config on top, into one dictionary; a study merged from two is a
    study nobody wrote. RequestError if there is more than one file, or if `config` holds anything that the file
    does not, or if the file is no YAML.
    """
    if "study_file" in config:
        if others := sorted(str(key) for key in config if key != "study_file"):
            raise RequestError(
                f"study_file beside {', '.join(others)}: settings are not merged into a study; give the module "
                "a config with study_file alone"
            )
        return Path(str(config["study_file"]))
    if len(configfiles) > 1:
        names = ", ".join(map(str, configfiles))
        raise RequestError(f"--configfile {names}: a study is one file; give one of them")
    path = Path(configfiles[0]) if configfiles else DEFAULT
    if config:
        alone: Any = {}
        if configfiles and path.is_file():
            read_yaml(path)  # refuses what is no study; Snakemake reads plain YAML, in which 1e-3 is a text
            alone = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(alone, Mapping):
            return path  # no study, as its reading will say
        foreign = sorted(
            str(key) for key in config if key not in alone or _text(config[key]) != _text(alone[key])
        )
        if foreign:
            raise RequestError(
                f"--config {' '.join(foreign)}: settings are not merged into a study; write them into {path} "
                "or a copy of it, and give that with --configfile"
            )
    return path


def _text(value: Any) -> str:
    """Return a value as JSON: unlike the values, the texts of two .nan are equal."""
    return json.dumps(value, default=str, skipkeys=True)
