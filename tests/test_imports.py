"""Who may import whom (docs/architecture.md), read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("guiders", "tasks", "harness", "reports")
FOREIGN = {
    "guiders": {"harness", "tasks", "reports", "hydra", "omegaconf", "lm_eval", "alpaca_eval"},
    "tasks": {"harness", "guiders", "reports", "hydra", "omegaconf", "torch", "transformers", "lm_eval", "alpaca_eval"},
    "reports": {"harness", "guiders", "tasks", "hydra", "omegaconf", "torch", "transformers", "lm_eval", "alpaca_eval"},
    "harness": {"lm_eval", "alpaca_eval"},
}
TRAINING_ONLY = {"trl", "peft", "datasets"}
GRAMMARS = {"llguidance", "xgrammar", "outlines", "outlines_core", "lark"}
CACHE_CLASSES = {"guiders/models/lm.py", "guiders/kv/segments.py", "guiders/kv/states.py"}
# Calls that reach for a file, the network, the environment, or a state that everyone shares.
FORBIDDEN_AT_IMPORT = {
    "open", "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "getenv", "putenv", "setdefault_env",
    "from_pretrained", "hf_hub_download", "load_dataset", "urlopen", "manual_seed", "set_num_threads", "seed",
    "filterwarnings", "basicConfig", "setLevel", "set_verbosity_error", "chdir",
}  # fmt: skip


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(nodes) -> set[str]:
    """The first word of every absolute import among some syntax nodes."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


def at_import(tree: ast.Module):
    """The nodes that run when a module is imported: not the bodies of functions, nor what only type checkers read."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
            continue
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        waiting += ast.iter_child_nodes(node)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room):
    wrong = []
    for path in sources(room):
        if name(path).startswith("harness/adapters/"):
            continue
        found = imported(ast.walk(parsed(path))) & FOREIGN[room]
        wrong += [f"{name(path)} imports {package}" for package in sorted(found)]
    assert not wrong


def test_only_training_uses_training_packages_and_only_inside_functions():
    wrong = []
    for path in sources("guiders"):
        tree = parsed(path)
        training = name(path).startswith("guiders/training/")
        nodes = at_import(tree) if training else ast.walk(tree)
        wrong += [f"{name(path)} imports {package}" for package in sorted(imported(nodes) & TRAINING_ONLY)]
    assert not wrong


def test_grammars_come_from_one_library_in_one_file_and_when_they_are_asked_for():
    asking = {name(path) for room in ROOMS for path in sources(room) if GRAMMARS & imported(ast.walk(parsed(path)))}
    assert asking == {"guiders/token/grammar.py"}
    assert not GRAMMARS & imported(at_import(parsed(ROOT / "guiders" / "token" / "grammar.py")))


def test_ray_is_imported_in_one_file_and_when_it_is_asked_for():
    asking = {name(path) for room in ROOMS for path in sources(room) if "ray" in imported(ast.walk(parsed(path)))}
    assert asking == {"harness/backends/ray.py"}
    assert "ray" not in imported(at_import(parsed(ROOT / "harness" / "backends" / "ray.py")))


def test_only_the_model_and_its_cache_touch_transformers_cache_classes():
    wrong = []
    for room in ROOMS:
        for path in sources(room):
            if name(path) in CACHE_CLASSES:
                continue
            for node in ast.walk(parsed(path)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("transformers"):
                    names = {alias.name for alias in node.names}
                    if "cache_utils" in node.module or any(one.endswith("Cache") for one in names):
                        wrong.append(name(path))
    assert not wrong


def test_nothing_is_read_or_changed_at_import():
    wrong = []
    for room in ROOMS:
        for path in sources(room):
            for node in at_import(parsed(path)):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func).rpartition(".")[2]
                    if called in FORBIDDEN_AT_IMPORT:
                        wrong.append(f"{name(path)}:{node.lineno} calls {called}")
                if isinstance(node, ast.Attribute) and ast.unparse(node) == "os.environ":
                    wrong.append(f"{name(path)}:{node.lineno} reads os.environ")
    assert not wrong


def test_no_file_is_longer_than_300_lines_and_none_has_a_name_that_says_nothing():
    wrong = []
    for room in (*ROOMS, "tests"):
        for path in sources(room):
            if len(path.read_text(encoding="utf-8").splitlines()) > 300:
                wrong.append(f"{name(path)} is too long")
            if path.stem in ("utils", "common", "helpers", "misc"):
                wrong.append(f"{name(path)} says nothing")
    assert not wrong
