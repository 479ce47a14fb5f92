"""The alignment tax: any of lm-eval's tasks, guided against unguided, by lm-eval's own scores."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

from harness.adapters.lm_eval import GuidedLM, decode
from harness.config import Sweep
from harness.errors import UserError
from harness.models import Pool
from harness.run_folder import write_text
from harness.trials import BASE, Setting

LIKELIHOOD = ("loglikelihood", "loglikelihood_rolling", "multiple_choice")


class Tax:
    """Evaluates every setting on the tasks ``task.names``; a setting that is done is read back.

    Args:
        folder: of the results, one file a setting.

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
            except KeyError:  # lm-eval's own tasks take some seconds to scan
                self._load(TaskManager(include_path=[*own, *more]))
        except KeyError as error:
            mend = "see `python -m harness lm_eval ls tasks`"
            raise UserError(f"task.names: lm-eval knows no task {error}; {mend}") from None
        self._check()

    def _load(self, manager) -> None:
        self.manager = manager
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

    def run(self, limit: int | None) -> list[dict]:
        """One row for each task, metric and guided setting.

        Args:
            limit: documents of each task at most.

        Returns:
            ``{"task", "metric", "method", "settings", "unguided", "guided", "difference", "low", "high", "n"}``: scores
            as lm-eval's, and a 95% interval of the difference that takes the two as independent (null where lm-eval
            gives no standard error), which is wide for answers to the same questions.
        """
        found = [(setting, self._evaluated(setting, limit)) for setting in self.settings]
        base = next(results for setting, results in found if setting.method == BASE)
        return [row for setting, results in found if setting.method != BASE for row in _rows(setting, base, results)]

    def _evaluated(self, setting: Setting, limit: int | None) -> dict:
        sweep = self.sweep
        names = "+".join(sweep.task.names)
        trial = setting.trial(names, str(limit), "all", sweep.seeds[0], sweep, self.pool.resolver).id
        path = self.folder / f"{trial}.json"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        from lm_eval import simple_evaluate

        guider = self.pool.guider(setting.config)

        def respond(prompts, sampling):
            long = sweep.task.on_long_prompt
            return [one.text for one in decode(guider, prompts, sampling, sweep.batch_tokens, on_long_prompt=long)]

        info = {"guider": setting.method, "settings": setting.settings}
        results = simple_evaluate(
            model=GuidedLM.of(lambda: guider, sweep.sampling.model_dump(), sweep.seeds[0], info, respond),
            tasks=list(sweep.task.names),
            task_manager=self.manager,
            num_fewshot=sweep.task.num_fewshot,
            apply_chat_template=sweep.task.apply_chat_template,
            system_instruction=sweep.task.system_instruction,
            limit=limit,
            log_samples=False,
        )
        kept = {"results": results["results"], "n": {k: v["effective"] for k, v in results["n-samples"].items()}}
        write_text(path, json.dumps(kept, indent=2, sort_keys=True, default=str) + "\n")
        return kept


def _rows(setting: Setting, base: dict, guided: dict) -> Iterator[dict]:
    for task, scores in guided["results"].items():
        for key, value in scores.items():
            metric, _, rest = key.partition(",")
            if not isinstance(value, int | float) or not rest or metric.endswith("_stderr"):
                continue
            theirs = base["results"][task][key]
            errors = [results["results"][task].get(f"{metric}_stderr,{rest}") for results in (base, guided)]
            known = all(isinstance(error, int | float) for error in errors)
            half = 1.96 * math.hypot(*errors) if known else None
            difference = value - theirs
            yield {
                "task": task,
                "metric": metric if rest == "none" else f"{metric} ({rest})",
                "method": setting.method,
                "settings": setting.settings,
                "unguided": theirs,
                "guided": value,
                "difference": difference,
                "low": None if half is None else difference - half,
                "high": None if half is None else difference + half,
                "n": guided["n"].get(task),
            }
