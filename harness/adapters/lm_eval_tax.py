"""The alignment tax: every setting on any of lm-eval's tasks, by lm-eval's own scores, kept per document."""

import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.adapters.lm_eval import GuidedLM
from harness.adapters.lm_eval_scores import checking, number
from harness.adapters.lm_eval_tasks import without_environment
from harness.config.schema import Sweep
from harness.config.task_file import is_named_by_lm_eval, revisions
from harness.errors import UserError
from harness.models.pool import Pool
from harness.records.rows import SignedLines, as_text
from harness.records.run_folder import write_text
from harness.trials.trial import Setting
from reports import tax
from reports.errors import ReportError
from reports.rows import place_of, signed

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

LIKELIHOOD = ("loglikelihood", "loglikelihood_rolling", "multiple_choice")


class Tax:
    """Evaluates every setting on the tasks ``task.names``; a setting that is done is left as it is.

    Args:
        folder: of the results. A setting's are ``TRIAL.jsonl``, one row per task and document with the scores that
            the document has of its own, and ``TRIAL.json``, what lm-eval makes of them all. ``reports.tax`` reads both.

    Raises:
        UserError: no such task; a search on a task of log-likelihoods, which it has none of.
    """

    def __init__(self, sweep: Sweep, settings: list[Setting], pool: Pool, folder: Path):
        from lm_eval.tasks import TaskManager

        import tasks

        self.sweep, self.settings, self.pool, self.folder = sweep, settings, pool, folder
        own = [str(Path(tasks.__file__).parent)]
        more = [str(Path(sweep.task.path).expanduser())] if sweep.task.path else []
        try:
            try:
                self._load(TaskManager(include_path=[*own, *more], include_defaults=False))
            except KeyError:  # lm-eval's own tasks take ten seconds to scan
                self._refuse_unknown()
                self._load(TaskManager(include_path=[*own, *more]))
        except KeyError as error:
            mend = "see `python -m harness lm_eval ls tasks`"
            raise UserError(f"task.names: lm-eval knows no task {error}; {mend}") from None
        self._check()

    def _refuse_unknown(self) -> None:
        """Raise KeyError for a name that neither these folders nor any file of lm-eval's tasks holds."""
        for name in self.sweep.task.names:
            known = name in self.manager.all_tasks or Path(name).exists() or is_named_by_lm_eval(name)
            if not known:
                raise KeyError(name)

    def _load(self, manager: "TaskManager") -> None:
        self.manager = checking(manager)
        self.loaded = manager.load(list(self.sweep.task.names))["tasks"]

    def _check(self) -> None:
        asked = [name for name, task in self.loaded.items() if task.OUTPUT_TYPE in LIKELIHOOD]
        for setting in self.settings:
            search = setting.config.get("search")
            if asked and search and not search["_target_"].endswith("Sample"):
                raise UserError(
                    f"guider={setting.method}: {asked[0]} asks for log-likelihoods, and a search has none; "
                    "evaluate it with guider=eft, and this guider on tasks that generate"
                )

    def run(self, limit: int | None) -> list[Path]:
        """The files ``TRIAL.json`` of every setting, in order, after evaluating those that are not done.

        Args:
            limit: documents of each task at most.

        Raises:
            UserError: a score that is no finite number, with task, document and metric.
        """
        return [self._evaluated(setting, limit) for setting in self.settings]

    def _evaluated(self, setting: Setting, limit: int | None) -> Path:
        sweep = self.sweep
        names = "+".join(sweep.task.names)
        content = " ".join([str(limit), *revisions(sweep.task)])
        trial = setting.trial(names, {"task": content}, "all", sweep.seeds[0], sweep, self.pool.resolver).id
        path = self.folder / f"{trial}.json"
        documents = path.with_suffix(".jsonl")
        if path.exists() and documents.exists() and self._is_whole(path):
            return path
        from lm_eval import simple_evaluate

        guider = self.pool.guider(setting.config)

        info = {"guider": setting.method, "settings": setting.settings}
        model = GuidedLM.of(
            lambda: guider,
            sweep.sampling.model_dump(),
            sweep.seeds[0],
            info,
            sweep.batch_tokens,
            sweep.task.on_long_prompt,
            sweep.prompt,
        )
        with without_environment():
            results = simple_evaluate(
                model=model,
                tasks=list(sweep.task.names),
                task_manager=self.manager,
                num_fewshot=sweep.task.num_fewshot,
                apply_chat_template=sweep.task.apply_chat_template,
                system_instruction=sweep.task.system_instruction,
                limit=limit,
                log_samples=True,
            )
        rows = [row for name, samples in results["samples"].items() for row in self._documents(name, samples)]
        write_text(documents, as_text(documents, rows))
        kept = {
            "method": setting.method,
            "settings": setting.settings,
            "results": {task: _scores(task, scores) for task, scores in results["results"].items()},
            "n": {task: count["effective"] for task, count in results["n-samples"].items()},
            "subtasks": results["group_subtasks"],
            "documents": len(rows),
        }
        # written last: a setting with this file is done
        write_text(path, json.dumps(signed(kept, place_of(path)), indent=2, sort_keys=True, allow_nan=False) + "\n")
        return path

    def _is_whole(self, path: Path) -> bool:
        """Whether a setting's files are what was written; else they are set aside, and it is evaluated again."""
        documents = SignedLines(path.with_suffix(".jsonl"))
        bad = [found for found in documents.read() if found.fault]
        try:
            tax.read(path)
        except ReportError as error:
            said = str(error).partition("; remove")[0]
            print(f"warning: {said}; set aside and evaluated anew", file=sys.stderr)
        else:
            return True
        documents.reject(bad)
        os.replace(path, path.with_suffix(".rejected.json"))
        return False

    def _documents(self, task: str, samples: list[dict]) -> list[dict]:
        """A row per document: its scores by "METRIC,FILTER", as lm-eval names them in its results."""
        aggregations = self.loaded[task].aggregation()
        rows: dict[int, dict] = {}
        for sample in samples:
            place = sample["doc_id"]
            row = rows.setdefault(
                place, {"task": task, "document": place, "key": sample["doc_hash"][:16], "scores": {}}
            )
            for metric in sample["metrics"]:
                value = number(sample[metric], aggregations.get(metric))
                if value is not None:
                    row["scores"][f"{metric},{sample['filter']}"] = value
        return [rows[place] for place in sorted(rows)]


def _scores(task: str, results: dict[str, Any]) -> dict[str, float]:
    """lm-eval's scores of a task by "METRIC,FILTER", without their standard errors.

    Raises:
        UserError: one is NaN or infinite.
    """
    scores = {}
    for key, value in results.items():
        metric, _, filtered = key.partition(",")
        if isinstance(value, int | float) and filtered and not metric.endswith("_stderr"):
            if not math.isfinite(value):
                raise UserError(f"task {task}: {metric} over all documents is {value}; leave the task out")
            scores[key] = float(value)
    return scores
