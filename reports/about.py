"""What a reader must know before the first figure: the base model, the day, and who judged the win rates."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

REWARD = "reward:"


@dataclass(frozen=True)
class AboutRun:
    """Where a run's figures come from; "" for what its files do not say.

    Attributes:
        base: the base model's path or name.
        date: the day of the last decoding, as YYYY-MM-DD in UTC.
        server: the host that answered for a language model that judged.
    """

    base: str = ""
    date: str = ""
    server: str = ""

    @classmethod
    def of(cls, trials: Sequence[dict], manifest: dict) -> "AboutRun":
        """Read a run's trials and manifest; the base is the manifest's model with the base's revision."""
        revisions = {str((trial.get("revisions") or {}).get("base", "")) for trial in trials} - {""}
        models = manifest.get("models")
        named = [path for path, revision in models.items() if revision in revisions] if isinstance(models, dict) else []
        judge = manifest.get("judge")
        server = judge.get("server") if isinstance(judge, dict) else ""
        return cls(named[0] if named else "", str(manifest.get("date") or ""), str(server or ""))

    @classmethod
    def joined(cls, all: Sequence["AboutRun"]) -> "AboutRun":
        """Of several runs: whatever differs is named one after the other."""
        columns = zip(*((one.base, one.date, one.server) for one in all), strict=True)
        return cls(*(" and ".join(dict.fromkeys(filter(None, column))) for column in columns))


def judges(records: pd.DataFrame) -> list[str]:
    """The names that stand in the judgements, in their order."""
    if "judge" not in records:
        return []
    return list(dict.fromkeys(records.loc[records["preference"].notna(), "judge"].dropna()))


def judged_by(judge: str, metrics: Sequence[str]) -> str:
    """A judge in a few words, for the head of a column.

    A reward judge's name is "reward:" and a metric ("reward:-METRIC" where lower is better) or a model; a language
    model's is its annotator, ":" and the model.
    """
    if judge.startswith(REWARD):
        reward = judge.removeprefix(REWARD)
        if reward.removeprefix("-") in metrics:
            return f"sigmoid of {reward}".replace(" -", " −")
        return f"reward model {reward}"
    return judge.partition(":")[2] or judge


def judged_by_in_full(judge: str, metrics: Sequence[str], server: str = "") -> str:
    """A judge in a sentence's words: whether it is a language model, how it was asked, and where."""
    short = judged_by(judge, metrics)
    if short.startswith("sigmoid of"):
        return f"{short} (the difference in the task’s own score, not a language model)"
    if judge.startswith(REWARD):
        return f"sigmoid of the difference in reward, {short}"
    annotator, _, model = judge.partition(":")
    if not model:
        return judge
    return f"{model}, asked as {annotator}" + (f", via {server}" if server else "")
