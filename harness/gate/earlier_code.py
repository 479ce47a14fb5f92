"""The code of an earlier commit: which one a change is compared with, its files, and a run that it decodes again."""

import json
import os
import shlex
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from harness.errors import UserError
from harness.gate.child import ends_with_parent
from harness.models.pool import EMBEDDED, Resolver

ROOT = Path(__file__).resolve().parents[2]
MERGE_BASE = "merge-base"
MAIN = ("origin/main", "main", "origin/HEAD")


def merge_base(root: Path = ROOT) -> str | None:
    """The commit that the working tree is a change of.

    Where the branch left the main one (``GITHUB_BASE_REF``'s, where that is set); on the main branch itself the last
    commit, or, where nothing has changed since, the one before it.

    Returns:
        a commit's hash; None: no repository, no earlier commit, or a shallow clone that has none.
    """
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return None
    target = os.environ.get("GITHUB_BASE_REF")
    for branch in (*([f"origin/{target}"] if target else []), *MAIN):
        if _git(root, "rev-parse", "--verify", "--quiet", f"{branch}^{{commit}}") is None:
            continue
        base = _git(root, "merge-base", "HEAD", branch)
        if base is None or base != head:
            return base
        break
    if _git(root, "status", "--porcelain", "--untracked-files=no"):
        return head
    return _git(root, "rev-parse", "--verify", "--quiet", "HEAD~1^{commit}")


def commit(reference: str, root: Path = ROOT) -> str:
    """The hash of a commit.

    Raises:
        UserError: no such commit.
    """
    found = None if reference.startswith("-") else _git(root, "rev-parse", "--verify", f"{reference}^{{commit}}")
    if found is None:
        raise UserError(f"against={reference}: neither a folder nor a commit of {root}; a shallow clone may lack it")
    return found


@contextmanager
def files_of(commit_hash: str, root: Path = ROOT) -> Iterator[Path]:
    """The files of a commit in a folder that is gone afterwards; the repository is only read.

    Raises:
        UserError: git cannot read the commit.
    """
    with tempfile.TemporaryDirectory(prefix="ivg-earlier-") as folder:
        process = subprocess.Popen(
            ["git", "-C", str(root), "archive", "--format=tar", commit_hash], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                archive.extractall(folder, filter="data")
        except tarfile.TarError:
            pass
        process.stdout.close()
        if process.wait() != 0:
            raise UserError(f"against={commit_hash}: git archive failed; fetch the commit, or give another")
        yield Path(folder)


def rerun(code: Path, run: Path, out: Path) -> None:
    """Run a run's own command with other code, on the models that the run used.

    Args:
        code: a folder with the other code: ``harness/``, ``guiders/``, ``conf/`` and the rest.
        run: the run's folder. out: where the other code writes its own; it must not exist yet.

    Raises:
        UserError: the run has no manifest, its command has a key in it, or the other code fails.
    """
    command = [sys.executable, "-P", "-m", "harness", "sweep", *_arguments(run), f"run_dir={out}"]
    environment = os.environ | {"PYTHONPATH": str(code), "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, preexec_fn=ends_with_parent())
    if done.returncode != 0:
        told = (done.stderr.strip().splitlines() or ["no message"])[-1].removeprefix("error: ")
        raise UserError(f"against: the earlier code does not decode this run: {told[:300]}")


def _arguments(run: Path) -> list[str]:
    """The overrides that the run was made with, its embedded models by their folders: the earlier code would train
    others where the recipe has changed since."""
    try:
        words = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["command"][4:]
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        given = [shlex.split(word)[0] for word in words]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        raise UserError(f"run={run}: its manifest does not say how it was made; run the sweep again") from None
    hidden = [word.partition("=")[0] for word in given if word.endswith("=***")]
    if hidden:
        raise UserError(f"against: {hidden[0]} is not in the manifest of {run}; give the folder of a finished run")
    resolver = Resolver()
    folders = [
        f"model.{role}={resolver.folder(spec, role)}"
        for role, spec in config["model"].items()
        if str(spec["path"]).startswith(EMBEDDED)
    ]
    # another's verdicts cost money and say nothing of the decoder
    judge = [] if (config.get("judge") or {}).get("name") in (None, "reward") else ["judge=null"]
    return [word for word in given if not word.startswith("run_dir=")] + folders + judge


def _git(root: Path, *arguments: str) -> str | None:
    """What git says, None where it fails or is not there."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
