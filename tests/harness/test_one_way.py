"""There is one way to do each of these; a second one would drift from it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def users(found) -> set[str]:
    """The files of harness/ that hold a syntax node of a kind."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "harness").rglob("*.py")
        if any(found(node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    }


def composes_a_sweep(node) -> bool:
    called = isinstance(node, ast.Call) and ast.unparse(node.func) in ("compose", "hydra_compose") and node.args
    return bool(called) and isinstance(node.args[0], ast.Constant) and node.args[0].value == "sweep"


def finds_targets(node) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "hydra.utils"


def puts_parts_together(node) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "Guider"


@pytest.mark.parametrize(
    ("what", "where"),
    [
        (composes_a_sweep, {"harness/trials/composed.py"}),
        (finds_targets, {"harness/models/located.py"}),
        (puts_parts_together, set()),
    ],
)
def test_a_guider_is_composed_and_assembled_in_one_place(what, where):
    assert users(what) == where
