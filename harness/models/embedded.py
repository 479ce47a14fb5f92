"""The embedded models: a base, an untuned/tuned pair and a value, trained on the reviews task on first use.

The base is trained by one process and the three guides by another, each with one thread: two cores are used well, and
the weights depend neither on the number of cores nor on what else runs.
"""

import ast
import hashlib
import json
import os
import sys
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from guiders.training.schedule import Progress
from harness.errors import UserError
from harness.models import build_cache as cache
from harness.models.embedded_training import EmbeddedRecipe, train_base, train_guides
from harness.models.workers import WorkerFailed, side_by_side

NAMES = ("base", "untuned", "tuned", "value")
PARTS = {"base": train_base, "guides": train_guides}
PACKAGES = ("torch", "transformers", "tokenizers", "trl")
SOURCES = {
    "tasks.reviews": ("data", "gold", "grammar", "parser", "templates", "words"),
    "guiders.training": ("checkpoint", "dpo", "fudge", "run", "schedule", "sft", "tokenizer"),
    "harness.models": ("embedded_training",),
}


def build(
    cache_dir: str | os.PathLike | None = None, progress: Progress | None = None, recipe: EmbeddedRecipe | None = None
) -> dict[str, Path]:
    """The folders of the embedded models, trained on first use (under two minutes on two cores) and cached.

    Args:
        cache_dir: the cache; None as ``cache.root`` says.
        progress: ``progress(stage, step, total, loss)``, called from the training's own pace; None shows bars on the
            terminal, or one line a stage where there is none.

    Returns:
        ``base``, ``untuned``, ``tuned`` and ``value``, each a folder that ``LM.load`` reads.

    Raises:
        UserError: the cache can't be written, or the training failed.
    """
    recipe = recipe or EmbeddedRecipe()

    def make(folder: Path) -> None:
        if progress is not None:
            _train_all(recipe, folder, progress)
            return
        from harness.progress import Display

        with Display() as display:
            display.say("Building the embedded models (once)")
            _train_all(recipe, folder, display.step)

    entry = cache.entry(
        cache.root(cache_dir), f"embedded-{key(recipe)}", make, lambda line: print(line, file=sys.stderr)
    )
    return {name: entry / name for name in NAMES}


def key(recipe: EmbeddedRecipe) -> str:
    """16 hex digits that change when the models would: recipe, grammar, training code, packages.

    Of the code only what runs counts: neither comments, docstrings and annotations nor the layout.
    """
    digest = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    for package in PACKAGES:
        digest.update(f"{package} {version(package)}\n".encode())
    for package, modules in SOURCES.items():
        for module in modules:
            digest.update(f"{package}.{module} {_code(f'{package}.{module}')}\n".encode())
    return digest.hexdigest()[:16]


def _code(module: str) -> str:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.dump(_WhatRuns().visit(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))))


class _WhatRuns(ast.NodeTransformer):
    """A module without its docstrings and annotations; of an annotated field the name stays."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)


def _train_all(recipe: EmbeddedRecipe, folder: Path, progress: Progress) -> None:
    """Run the parts side by side; the end of one in failure ends the other."""
    log = folder / "training.log"
    try:
        side_by_side(PARTS, (recipe, folder), log, progress)
    except WorkerFailed as error:
        raise UserError(f"training the embedded {error}; free memory or disk and run again") from error
    log.unlink(missing_ok=True)
