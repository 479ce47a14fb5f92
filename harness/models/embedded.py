"""The embedded models: a base, an untuned/tuned pair and a value, trained on the reviews task on first use.

The base is trained by one process and the three guides by another, each with one thread: two cores are used well, and
the weights depend neither on the number of cores nor on what else runs. Such a process is
``python -m harness.models.embedded PART FOLDER``.
"""

import ast
import copy
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from guiders.training.schedule import Progress, Schedule
from harness.errors import UserError
from harness.models import build_cache as cache

NAMES = ("base", "untuned", "tuned", "value")
PARTS = ("base", "guides")
PACKAGES = ("torch", "transformers", "tokenizers", "trl")
SOURCES = {
    "tasks.reviews": ("data", "gold", "grammar", "parser", "templates", "words"),
    "guiders.training": ("checkpoint", "dpo", "fudge", "run", "schedule", "sft", "tokenizer"),
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the grammar, the training code and the packages' versions.

    Args:
        vocab: tokens of the byte-level BPE; 1,300 is nearly a token for each of the grammar's words.
        base, guide: (width, layers, heads) of the GPT-2s.
        base_rows, guide_rows, pairs, rewards: how many of each to train on.
        beta: DPO's; the implicit reward is the log-ratio times this.
        sft, dpo, fudge: the schedules; base and untuned share the first.
    """

    vocab: int = 1300
    positions: int = 256
    base: tuple[int, int, int] = (136, 4, 4)
    guide: tuple[int, int, int] = (96, 2, 4)
    base_rows: int = 9000
    guide_rows: int = 5000
    pairs: int = 2500
    rewards: int = 8000
    beta: float = 0.1
    sft: Schedule = field(default_factory=lambda: Schedule(batch_size=8, learning_rate=3e-3))
    dpo: Schedule = field(default_factory=lambda: Schedule(batch_size=16, learning_rate=4e-4))
    fudge: Schedule = field(default_factory=lambda: Schedule(batch_size=16, learning_rate=2e-3))

    @classmethod
    def from_dict(cls, values: dict) -> "Recipe":
        """The inverse of ``dataclasses.asdict``, after a trip through JSON."""
        made = dict(values)
        for name in ("sft", "dpo", "fudge"):
            made[name] = Schedule(**made[name])
        for name in ("base", "guide"):
            made[name] = tuple(made[name])
        return cls(**made)


def build(
    cache_dir: str | os.PathLike | None = None, progress: Progress | None = None, recipe: Recipe | None = None
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
    recipe = recipe or Recipe()

    def make(folder: Path) -> None:
        if progress is not None:
            _train_all(recipe, folder, progress)
            return
        from harness.training.bars import Bars

        with Bars("Building the embedded models (once)") as bars:
            _train_all(recipe, folder, bars.update)

    entry = cache.entry(
        cache.root(cache_dir), f"embedded-{key(recipe)}", make, lambda line: print(line, file=sys.stderr)
    )
    return {name: entry / name for name in NAMES}


def key(recipe: Recipe) -> str:
    """16 hex digits that change when the models would: recipe, grammar, training code, packages.

    Comments and layout of the code are left out.
    """
    digest = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    for package in PACKAGES:
        digest.update(f"{package} {version(package)}\n".encode())
    for package, modules in SOURCES.items():
        folder = Path(find_spec(package).origin).parent
        for module in modules:
            tree = ast.parse((folder / f"{module}.py").read_text(encoding="utf-8"))
            digest.update(f"{package}.{module} {ast.dump(tree)}\n".encode())
    return digest.hexdigest()[:16]


def _train_all(recipe: Recipe, folder: Path, progress: Progress) -> None:
    """Run the parts side by side; the end of one in failure ends the other."""
    here = str(Path(__file__).resolve().parents[2])
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    logs = {part: folder / f"{part}.log" for part in PARTS}
    processes = {}
    lock = threading.Lock()
    try:
        for part in PARTS:
            with logs[part].open("wb") as log:
                processes[part] = subprocess.Popen(
                    [sys.executable, "-P", "-m", "harness.models.embedded", part, str(folder)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environment,
                    text=True,
                )
            processes[part].stdin.write(json.dumps(asdict(recipe)))
            processes[part].stdin.close()
        readers = [
            threading.Thread(target=_relay, args=(process.stdout, progress, lock), daemon=True)
            for process in processes.values()
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        for part, process in processes.items():
            if process.wait() != 0:
                lines = logs[part].read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"]
                raise UserError(f"training the embedded {part} failed: {lines[-1]}; free memory or disk and run again")
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
    for log in logs.values():
        log.unlink()


def _relay(lines, progress: Progress, lock: threading.Lock) -> None:
    for line in lines:
        with lock:
            progress(*json.loads(line))


def train_base(recipe: Recipe, folder: Path, progress: Progress) -> None:
    """Train the base on the corpus and save it into ``folder/base``."""
    from guiders.training import sft

    tokenizer = _tokenizer(recipe)
    model = sft.train(
        _gpt2(recipe, recipe.base, tokenizer, seed=0),
        tokenizer,
        _documents(recipe.base_rows, seed=0),
        recipe.sft,
        progress=progress,
        stage="base",
    )
    _save(model, tokenizer, folder / "base")


def train_guides(recipe: Recipe, folder: Path, progress: Progress) -> None:
    """Train untuned (SFT), tuned (DPO from it) and value (FUDGE, from its backbone) and save them into ``folder``."""
    from guiders.models.value_model import ValueModel
    from guiders.training import dpo, fudge, sft
    from tasks.reviews import data

    tokenizer = _tokenizer(recipe)
    untuned = sft.train(
        _gpt2(recipe, recipe.guide, tokenizer, seed=1),
        tokenizer,
        _documents(recipe.guide_rows, seed=1),
        recipe.sft,
        progress=progress,
        stage="untuned",
    )
    _save(untuned, tokenizer, folder / "untuned")
    value = ValueModel.from_config(copy.deepcopy(untuned.config))
    value.backbone.load_state_dict(untuned.base_model.state_dict())
    fudge.train(value, tokenizer, data.rewards(recipe.rewards, seed=2), recipe.fudge, progress=progress, stage="value")
    _save(value, tokenizer, folder / "value")
    tuned = dpo.train(
        untuned,
        tokenizer,
        data.pairs(recipe.pairs, seed=3),
        recipe.dpo,
        beta=recipe.beta,
        progress=progress,
        stage="tuned",
    )
    _save(tuned, tokenizer, folder / "tuned")


def _tokenizer(recipe: Recipe):
    from guiders.training import tokenizer
    from tasks.reviews import data

    return tokenizer.train(data.corpus(3000, seed=0), recipe.vocab)


def _documents(rows: int, seed: int) -> list[dict]:
    """Whole reviews; every fourth follows an end-of-text token, as a text whose first token is to be scored does."""
    from guiders.training.tokenizer import END
    from tasks.reviews import data

    texts = data.corpus(rows, seed=seed)
    return [{"prompt": "" if number % 4 else END, "response": text} for number, text in enumerate(texts)]


def _gpt2(recipe: Recipe, shape: tuple[int, int, int], tokenizer, seed: int):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    width, layers, heads = shape
    dropout = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.0)
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=recipe.positions,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        activation_function="gelu_pytorch_tanh",  # gelu_new in one kernel
        **dropout,
    )
    torch.manual_seed(seed)
    return GPT2LMHeadModel(config)


def _save(model, tokenizer, folder: Path) -> None:
    save: Callable = getattr(model, "save_pretrained", None) or model.save
    save(folder)
    tokenizer.save_pretrained(folder)


def main(part: str, folder: str) -> None:
    """Train one part: the recipe comes as JSON on standard input, progress goes as JSON lines to standard output."""
    import torch

    torch.set_num_threads(1)
    recipe = Recipe.from_dict(json.load(sys.stdin))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is for the log

    def progress(*event) -> None:
        print(json.dumps(event), file=out, flush=True)

    {"base": train_base, "guides": train_guides}[part](recipe, Path(folder), progress)


if __name__ == "__main__":
    main(*sys.argv[1:])
