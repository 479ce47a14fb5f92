"""The sweep's judgements: every response against the base's own response to the same prompt with the same seed."""

from harness.judges.config import build_judge, judge_spec
from harness.judges.judgement import Judgement, Pair
from harness.judges.reward import RewardJudge
from harness.run_folder import RunFolder
from harness.trials import Trial


class Judging:
    """Judges trials by the configured judge.

    A reward judge without a model of its own compares the scores that the task already gave (``metric``): nothing is
    computed twice.

    Args:
        config: the composed ``conf/judge`` entry.
        metric: the score that is the reward.

    Raises:
        UserError: an unknown judge or a wrong value.
    """

    def __init__(self, config: dict, metric: str):
        self.spec, self.metric = judge_spec(config), metric
        self.by_score = self.spec.name == "reward" and self.spec.model is None

    def judge(self, run: RunFolder, trial: Trial, baseline: Trial) -> int:
        """Add the judgements that a trial lacks; how many.

        Args:
            baseline: the base's trial of the same split and seed.
        """
        lines = run.judgements(trial.id)
        have = run.rows(lines)
        theirs, ours = run.rows(run.records(baseline.id)), run.rows(run.records(trial.id))
        pairs = [
            Pair(row["prompt"], theirs[key]["response"], row["response"])
            for key, row in ours.items()
            if key in theirs and key not in have
        ]
        if not pairs:
            return 0
        if self.by_score:
            found = self._by_score(run, trial, baseline, pairs)
        else:
            found = build_judge(self.spec, trial.task).judge(pairs, baseline.id, run.path)
        lines.append(judgement.row() for judgement in found)
        return len(found)

    def _by_score(self, run: RunFolder, trial: Trial, baseline: Trial, pairs: list[Pair]) -> list[Judgement]:
        judge = RewardJudge(f"reward:{self.metric}")
        scores = [run.rows(run.scores(side.id)) for side in (baseline, trial)]
        found = []
        for pair in pairs:
            theirs, ours = (side.get(pair.key, {}).get("scores", {}).get(self.metric) for side in scores)
            found.append(judge.compare(pair.key, (pair.baseline, pair.response), (theirs, ours), baseline.id))
        return found
