"""The house keeps its shape: modules stay short, rules stay thin, packages hold no code in their doorways."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "bench").rglob("*.py"))
LONGEST = 400
"""Lines of a module; a training story may have that many, anything longer is two ideas."""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_short_has_a_docstring_and_one_idea_a_name(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST
    assert ast.get_docstring(ast.parse(text))
    assert path.stem not in {"utils", "misc", "helpers", "common"}


@pytest.mark.parametrize("path", sorted((ROOT / "bench").rglob("__init__.py")), ids=lambda p: p.parent.name)
def test_a_package_doorway_holds_a_docstring_only(path):
    body = ast.parse(path.read_text()).body
    rest = [node for node in body[1:] if not (isinstance(node, ast.Assign) and path.parent.name == "bench")]
    assert not rest


@pytest.mark.parametrize("path", sorted((ROOT / "rules").glob("*.smk")), ids=lambda p: p.name)
def test_a_rule_is_one_sentence(path):
    text = path.read_text()
    assert "run:" not in text and "lambda" not in text and "script:" not in text
    if path.name == "common.smk":
        assert len(text.splitlines()) <= 40
    else:
        assert "import " not in text and "def " not in text
    imports = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
    assert all(line == "import sys" or line.startswith("from bench.study") for line in imports)
