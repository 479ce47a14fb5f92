"""``gate against=``: which commit, what is refused, what is accepted, and a real comparison of two commits."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import UserError
from harness.gate import earlier_code
from harness.gate.accepted import added, read
from harness.records.rows import as_text

ROOT = Path(__file__).resolve().parents[2]
CODE = ("conf", "guiders", "harness", "reports", "tasks", "baselines")
GIT = [
    "git",
    "-c",
    "user.name=t",
    "-c",
    "user.email=t@t",
    "-c",
    "commit.gpgsign=false",
    "-c",
    "init.defaultBranch=main",
]


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run([*GIT, "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def save(root: Path, text: str) -> str:
    (root / "file").write_text(text)
    git(root, "add", "-A")
    git(root, "commit", "-qm", text)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("GITHUB_BASE_REF", raising=False)
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q")
    return root


def test_the_commit_that_a_working_tree_is_a_change_of(repository, tmp_path, monkeypatch):
    base = earlier_code.merge_base
    assert base(tmp_path) is None  # no repository
    assert base(repository) is None  # no commit
    one = save(repository, "one")
    assert base(repository) is None  # the first commit
    (repository / "file").write_text("edited")
    assert base(repository) == one  # what is edited is compared with what is committed
    two = save(repository, "two")
    assert base(repository) == one  # main itself: with the commit before
    git(repository, "checkout", "-qb", "branch")
    save(repository, "three")
    save(repository, "four")
    assert base(repository) == two  # a branch: with where it left main
    git(repository, "checkout", "-q", "main")
    last = save(repository, "five")
    git(repository, "checkout", "-q", "branch")
    assert base(repository) == two
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", f"file://{repository}", str(clone), "--branch", "main")
    assert base(clone) == two  # a fresh clone of main
    git(clone, "checkout", "-qb", "work", last)
    save(clone, "six")
    assert base(clone) == last  # origin/main, with no main of its own newer
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", str(shallow), "--branch", "main")
    assert base(shallow) is None
    # a pull request into another branch than main
    monkeypatch.setenv("GITHUB_BASE_REF", "branch")
    git(clone, "checkout", "-qb", "into-branch", "origin/branch")
    save(clone, "seven")
    assert base(clone) == git(clone, "rev-parse", "origin/branch")


def test_the_files_of_a_commit_are_those_that_were_committed(repository):
    one = save(repository, "one")
    save(repository, "two")
    with earlier_code.files_of(one, repository) as folder:
        assert (folder / "file").read_text() == "one"
    assert not folder.exists()
    assert git(repository, "worktree", "list").count("\n") == 0
    with pytest.raises(UserError, match="neither a folder nor a commit"):
        earlier_code.commit("nonsense", repository)
    with pytest.raises(UserError, match="neither a folder nor a commit"):
        earlier_code.commit("--help", repository)


def test_a_change_accepts_what_it_adds_to_the_file(tmp_path):
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    first = "- {reason: a new stream, settings: [base], differs: [response]}\n"
    old.write_text(first)
    assert added(old, old) == []
    new.write_text(first + "- {reason: counted right, settings: ['ivg*'], differs: [forward_passes]}\n")
    (entry,) = added(new, old)
    assert entry.reason == "counted right"
    assert entry.covers("ivg weight=1")
    assert not entry.covers("base")
    assert len(added(new, tmp_path / "none.yaml")) == 2
    for text in ("- {settings: [base], differs: [kl]}", "- {reason: ' ', settings: [b], differs: [kl]}", "{", "a: 1"):
        new.write_text(text)
        with pytest.raises(UserError, match=r"new\.yaml") as caught:
            read(new)
        assert "\n" not in str(caught.value)
    assert read(ROOT / "baselines/accepted.yaml") is not None


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("same") / "run"
    one = ["select.metric=null", "guider=[eft]", "grid.weight=2", "task.n_test=20", f"run_dir={run}"]
    assert main(["sweep", *tiny, *one]) == 0
    return run


@pytest.fixture
def other(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "other")


def rewrite(run: Path, change, kind: str = "records") -> None:
    for path in (run / kind).glob("eft-*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text(as_text(path, map(change, rows)))


def test_the_same_run_is_the_same_whatever_it_took(finished, other, capsys):
    rewrite(other, lambda row: {**row, "seconds": 99.0})
    assert main(["gate", f"run={finished}", f"against={other}"]) == 0
    assert "0 of 80 records differ" in capsys.readouterr().out


def test_a_changed_count_fails_until_it_is_accepted(finished, other, tmp_path, capsys):
    rewrite(other, lambda row: {**row, "forward_passes": 2 * row["forward_passes"]})
    assert main(["gate", f"run={finished}", f"against={other}"]) == 5
    assert "forward\\_passes 40" in capsys.readouterr().out
    accepted = tmp_path / "accepted.yaml"
    accepted.write_text("- {reason: counted right, settings: ['eft*'], differs: [forward_passes]}\n")
    assert main(["gate", f"run={finished}", f"against={other}", f"accepted={accepted}"]) == 0
    assert "counted right" in capsys.readouterr().out


def test_a_moved_figure_is_a_regression(finished, other):
    rewrite(other, lambda row: {**row, "scores": {**row["scores"], "gold_reward": 5.0}}, "scores")
    assert main(["gate", f"run={finished}", f"against={other}"]) == 1


def test_other_models_and_nonsense_are_refused(finished, other, tmp_path, capsys):
    for file in (other / "trials").glob("eft-*.json"):
        trial = json.loads(file.read_text())
        trial["revisions"]["token.tuned"] = "sha256:other"
        file.write_text(json.dumps(trial))
    for arguments, said in [
        ([f"against={other}"], "token.tuned of eft weight=2 is another model"),
        (["against=nonsense"], "neither a folder nor a commit"),
        ([f"against={finished}", "--record"], "nothing is recorded"),
        ([f"against={finished}", "same_models.share=2"], "same_models.share"),
        ([f"against={finished}", f"accepted={ROOT / 'README.md'}"], "README.md"),
    ]:
        assert main(["gate", f"run={finished}", *arguments]) == 2, said
        error = capsys.readouterr().err.strip()
        assert said in error
        assert error.count("\n") == 0


def test_earlier_code_that_does_not_decode_the_run_is_an_error_unless_it_is_meant(finished, tmp_path, capsys):
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness/__main__.py").write_text("raise SystemExit('error: no such option')")
    assert main(["gate", f"run={finished}", f"against={tmp_path}"]) == 2
    assert "the earlier code does not decode this run: no such option" in capsys.readouterr().err
    accepted = tmp_path / "accepted.yaml"
    accepted.write_text("- {reason: new options, settings: ['*'], differs: [decoding]}\n")
    assert main(["gate", f"run={finished}", f"against={tmp_path}", f"accepted={accepted}"]) == 0
    assert "not compared" in capsys.readouterr().out


@pytest.mark.timeout(600)
def test_two_commits_are_compared_on_the_same_models(tiny, repository, tmp_path):
    """Of a repository whose second commit draws with nine tenths of the weight, in a folder of its own."""
    for name in CODE:
        shutil.copytree(ROOT / name, repository / name, ignore=shutil.ignore_patterns("__pycache__"))
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "as it is")

    def harness(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "harness", *arguments]
        return subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=280)

    one = ["select.metric=null", "guider=[eft]", "grid.weight=2", "task.n_test=20", "seeds=[0]"]

    def gate(run: str) -> subprocess.CompletedProcess:
        assert harness("sweep", *tiny, *one, f"run_dir={tmp_path / run}").returncode == 0
        return harness("gate", f"run={tmp_path / run}", "against=merge-base")

    source = repository / "guiders/token/implicit.py"
    text = source.read_text()
    source.write_text(text + "\n# another comment\n")
    git(repository, "commit", "-qam", "a comment")
    same = gate("same")
    assert same.returncode == 0, same.stdout + same.stderr
    assert "0 of 40 records differ" in same.stdout
    source.write_text(text.replace(".mul_(self.weight)", ".mul_(self.weight * 0.9)"))
    assert source.read_text() != text
    edited = gate("edited")
    assert edited.returncode in (1, 5), edited.stdout + edited.stderr
    assert "| eft weight=2 | 20 |" in edited.stdout
