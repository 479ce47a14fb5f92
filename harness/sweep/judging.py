"""The sweep's judgements: every response against the base's own response to the same prompt with the same seed."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from harness.judges.config import Judge, build_judge, check_ready, is_of, judge_spec
from harness.judges.reward import RewardJudge
from harness.judges.reward_model import RewardModels
from harness.models.pool import Resolver
from harness.records.judgement import Judgement, Pair, too_many_missing
from harness.records.run_folder import RunFolder
from harness.sweep.scorer import judged_by
from harness.trials.trial import Trial
from reports.direction import Directions


class Judging:
    """Judges trials by the configured judge.

    A reward judge without a model of its own compares the scores that the task already gave (``metric``): nothing is
    computed twice. Its judgements name the metric, as "reward:METRIC", or "reward:-METRIC" where the task says that
    lower is better: the reward is then the negated score.

    A judgement that has no preference, or is another judge's (of the same name, but with other weights or at another
    server), is asked for again by the next run, and the last row of a prompt counts. What compares scores is computed
    anew, and written where it differs.

    Args:
        config: the composed ``conf/judge`` entry.
        metric: the score that is the reward.

    Attributes:
        rewards: the reward models of the run, each loaded once.

    Raises:
        UserError: an unknown judge or a wrong value.
    """

    def __init__(self, config: dict, metric: str):
        self.spec, self.metric = judge_spec(config), metric
        self.rewards = RewardModels()
        self._judges: dict[str, Judge] = {}  # by task
        self.by_score = self.spec.name == "reward" and self.spec.model is None

    def judge(
        self, run: RunFolder, trial: Trial, baseline: Trial, directions: Directions, resolver: Resolver | None = None
    ) -> int:
        """Add the judgements that a trial lacks, or that another judge gave; how many.

        Args:
            baseline: the base's trial of the same split and seed.
            directions: which way of the task's metrics is better.
            resolver: says which revision a judge's model is.
        """
        sign = directions.sign(self.metric)
        judge = f"reward:{'-' if sign < 0 else ''}{self.metric}"
        lines = run.judgements(trial.id)
        stored = run.rows(lines, last=True)
        by = judged_by(self.spec, resolver or Resolver())
        have = {
            key
            for key, row in stored.items()
            if row["preference"] is not None
            and row["baseline"] == baseline.id
            and not self.by_score
            and is_of(row["judge"], self.spec)
            and row.get("judged_by") == by
        }
        theirs, ours = run.rows(run.records(baseline.id)), run.rows(run.records(trial.id))
        pairs = [
            Pair(row["prompt"], theirs[key]["response"], row["response"])
            for key, row in ours.items()
            if key in theirs and key not in have
        ]
        if not pairs:
            return 0
        if self.by_score:
            found = self._by_score(run, trial, baseline, pairs, RewardJudge(judge), sign)
        else:
            if trial.task not in self._judges:
                self._judges[trial.task] = build_judge(self.spec, trial.task, self.rewards)
            found = self._judges[trial.task].judge(pairs, baseline.id, run.path)
        more = {} if by is None else {"judged_by": by}
        new = [row for row in (judgement.row() | more for judgement in found) if row != stored.get(row["key"])]
        lines.append(new)
        return len(new)

    def check(self) -> None:
        """Hold the judge to what can be known before anything is decoded.

        Raises:
            UserError: a missing key, an unknown annotator, no file of answers.
        """
        check_ready(self.spec)

    def named(self) -> dict[str, str]:
        """The judge for the manifest: its name and, of a language model, the host that is asked."""
        host = urlsplit(getattr(self.spec, "base_url", None) or "").hostname
        return {"name": self.spec.name} | ({"server": host} if host else {})

    def too_many_missing(self, run: RunFolder, trials: Iterable[Trial]) -> str | None:
        """What to say where more judgements of some trials are missing than ``judge.max_missing`` allows."""
        rows = [row for trial in trials for row in run.rows(run.judgements(trial.id), last=True).values()]
        missing = sum(row["preference"] is None for row in rows)
        if self.by_score:
            mend = f"the task gives no finite {self.metric!r}: name another judge, or none with judge=null"
            return too_many_missing(missing, len(rows), self.spec.max_missing, mend)
        return too_many_missing(missing, len(rows), self.spec.max_missing)

    def _by_score(
        self, run: RunFolder, trial: Trial, baseline: Trial, pairs: list[Pair], judge: RewardJudge, sign: float
    ) -> list[Judgement]:
        scores = [run.rows(run.scores(side.id), last=True) for side in (baseline, trial)]
        found = []
        for pair in pairs:
            both = (side.get(pair.key, {}).get("scores", {}).get(self.metric) for side in scores)
            rewards = [None if score is None else sign * score for score in both]
            found.append(judge.compare(pair.key, (pair.baseline, pair.response), (rewards[0], rewards[1]), baseline.id))
        return found
