"""What a configuration names and is not there is told in one line, and before anything is loaded."""

import pytest
from lm_eval.tasks import TaskManager

from harness.cli import main
from harness.config.task_file import is_named_by_lm_eval
from harness.errors import UserError
from harness.models.located import located


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no_such.Guider", "No module named 'no_such'"),
        ("guiders.NoSuch", "No module named 'guiders.NoSuch'"),
        ("guiders.Guider.no_such", "no attribute 'no_such'"),
        ("broken.Search", "division by zero"),
        (".Search", "invalid dotstring"),
    ],
)
def test_the_reason_of_a_target_that_does_not_import(target, reason, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=f"^guider.token: {target} does not import: .*{reason}") as refused:
        located(target, "guider.token")
    assert "\n" not in str(refused.value)


def test_it_is_the_one_line_on_standard_error(tiny, command_line, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "_target_: guiders.Guider\nbase: ${model.base}\nsearch: {_target_: no_such.Search}\n"
    )
    done = command_line(["sweep", *tiny, "guider=mine.yaml", "--dry-run"], tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: guider.search: no_such.Search does not import: No module named 'no_such'")


def test_a_task_that_is_none_is_refused_before_lm_eval_reads_its_own(tiny, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lm_eval.tasks.TaskManager.__init__", lambda *args, **kwargs: pytest.fail("was asked"))
    for verb in ("sweep", "doctor"):
        for number, option in enumerate(("task.dev=no_such_task", "task.name=no_such_task")):
            assert main([verb, *tiny, option, f"name={verb}{number}"]) == 2
            (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
            assert "no_such_task: lm-eval knows no such task" in line


def test_no_task_of_lm_evals_is_refused():
    names = TaskManager().all_tasks
    assert len(names) > 10_000
    some = names[:: len(names) // 4]  # a name that stands in the last of 15,000 files takes a second
    assert all(map(is_named_by_lm_eval, some))
    assert not is_named_by_lm_eval("no_such_task")


@pytest.mark.parametrize("guider", ["cd_fudge", "vas"])
def test_a_scalar_head_where_the_vocabulary_is_to_be_valued_is_one_line(guider, tiny, command_line, tmp_path):
    done = command_line(["sweep", *tiny, f"guider={guider}"], tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "a scalar value head can't guide tokens" in line
