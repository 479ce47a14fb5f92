"""The YAMLs run in lm-eval itself, with a model that answers from a list."""

import shutil
import subprocess
import sys

import lm_eval
import pytest
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

import tasks
from tasks.reviews import data, gold


class Recorded(LM):
    """Answers every prompt with one text, and keeps what it was asked."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.requests = []

    def generate_until(self, requests, disable_tqdm=False):
        self.requests += [request.args for request in requests]
        return [self.answer] * len(requests)

    def loglikelihood(self, requests, disable_tqdm=False):
        raise AssertionError("the task asks for generations alone")

    loglikelihood_rolling = loglikelihood


@pytest.mark.parametrize(("task", "split", "n"), [("reviews", "test", 128), ("reviews_dev", "dev", 64)])
def test_the_yaml_scores_recorded_texts(task, split, n):
    model = Recorded(" with my family. The plot is truly superb. The jokes are du")
    manager = TaskManager(include_path=str(tasks.path("reviews")), include_defaults=False)
    out = lm_eval.simple_evaluate(model, tasks=[task], task_manager=manager, bootstrap_iters=0, log_samples=True)

    prompts = data.prompts(split, n, 0)
    assert [context for context, _ in model.requests] == prompts
    assert all(kwargs["do_sample"] and kwargs["temperature"] == 0.7 for _, kwargs in model.requests)
    assert all(kwargs["max_gen_toks"] == 40 and not kwargs["until"] for _, kwargs in model.requests)
    scores = out["results"][task]
    assert scores["gold_reward,none"] == pytest.approx(
        sum(gold.gold_reward(prompt + model.answer) for prompt in prompts) / n
    )
    assert scores["fluency,none"] == 1
    assert scores["length,none"] == len(model.answer)
    assert {"gold_reward", "fluency", "length"} <= out["samples"][task][0].keys()


def test_the_folder_works_where_the_package_is_not_installed(tmp_path):
    shutil.copytree(tasks.path("reviews").parent, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        "import sys; from pathlib import Path; from lm_eval.tasks._yaml_loader import load_yaml\n"
        "cfg = load_yaml(Path(sys.argv[1]) / 'reviews.yaml', resolve_func=True)\n"
        "assert len(cfg['custom_dataset'](model='any')['test']) == 128\n"
        "assert cfg['process_results']({'prompt': ''}, ['The plot is superb.'])['fluency'] == 1\n"
        "assert 'tasks' not in sys.modules"
    )
    command = [sys.executable, "-I", "-c", script, str(tmp_path / "elsewhere" / "reviews")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tasks_are_found_by_name():
    assert "reviews" in tasks.names()
    assert (tasks.path("reviews") / "reviews.yaml").is_file()
    with pytest.raises(tasks.TaskError, match="'revews'"):
        tasks.path("revews")


def test_importing_the_task_loads_neither_torch_nor_datasets():
    script = "import sys, tasks.reviews.data, tasks.reviews.task; assert not {'torch', 'datasets'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=tasks.path("reviews").parents[1], capture_output=True)
    assert done.returncode == 0, done.stderr
