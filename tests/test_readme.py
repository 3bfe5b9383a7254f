"""The README is true: each file is in its tree, each command exists, the picture of the DAG is the DAG."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MAP = (ROOT / "bench" / "README.md").read_text()


def tree(text: str) -> str:
    """Return the last text block: a tree of files, a line each."""
    return text.split("```text")[-1].split("```")[0]


def tracked(*patterns: str) -> list[Path]:
    """Return the files below the top folder, but for doorways, whose folder stands in the tree."""
    found = (path.relative_to(ROOT) for pattern in patterns for path in ROOT.glob(pattern))
    return sorted(path for path in found if path.name != "__init__.py")


@pytest.mark.parametrize(
    "path", tracked("bench/**/*.py", "rules/*.smk", "config/**/*.yaml", "paper/*.*"), ids=str
)
def test_every_file_is_in_the_tree(path):
    where = tree(MAP if path.parts[0] == "bench" else README)
    assert re.search(rf"(^|[\s/]){re.escape(path.name)}(\s|$)", where, re.MULTILINE), path


def test_every_name_in_the_tree_exists():
    found = {path.name for path in ROOT.rglob("*") if ".venv" not in path.parts and ".git" not in path.parts}
    for line in (*tree(README).strip().splitlines(), *tree(MAP).strip().splitlines()):
        name = line.split()[0].rstrip("/").split("/")[-1]
        assert name in found, name


def test_every_command_in_the_readme_exists():
    verbs = set(next(action for action in parser()._actions if action.dest == "verb").choices)
    named = set(re.findall(r"python -m bench (\w+)", README))
    assert named and named <= verbs
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^ *make (\w+)", README, re.MULTILINE)) | set(re.findall(r"`make (\w+)", README))
    assert named and named <= targets


def test_the_picture_of_the_dag_is_the_dag():
    # Arrows of the README's diagram against Snakemake's own rule graph of the demo.
    drawn = set(re.findall(r"^\s*(\w+) --> (\w+)$", README, re.MULTILINE))
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--rulegraph", "dot", "--nolock", "--forceall"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    labels = dict(re.findall(r'(\d+)\[label = "(\w+)"', done.stdout))
    edges = {(labels[a], labels[b]) for a, b in re.findall(r"(\d+) -> (\d+)", done.stdout)}
    assert drawn == {(a, b) for a, b in edges if b != "all"}


def test_pictures_and_documents_that_the_readme_shows_are_there():
    for place in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / place).exists(), place
