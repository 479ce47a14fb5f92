"""What a run's trials should hold and do not: records, scores by metric, figures of a record, judgements."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

Rows = Mapping[str, Mapping[str, Mapping]]  # trial -> prompt's key -> row
NAMED = 3  # trials that a sentence names


@dataclass(frozen=True)
class Missing:
    """What a trial should have and has not.

    Attributes:
        what: "record", "score", "figure" (of a record) or "judgement".
        keys: the prompts it is missing for.
        metric: which score or figure; "" for a record and a judgement.
    """

    trial: str
    setting: str
    split: str
    seed: int
    what: str
    keys: tuple[str, ...]
    metric: str = ""

    @property
    def counted(self) -> str:
        """The number of them in words, as "1 record" or "73 gold_reward scores"."""
        return f"{len(self.keys)} {self.metric} {self.what}{'s'[: len(self.keys) > 1]}".replace("  ", " ")


def is_finite(value: object) -> bool:
    """Whether a value of a row is a number that can be averaged: no text, null, NaN or infinity."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def find(trials: pd.DataFrame, records: pd.DataFrame, raw: Rows, scores: Rows, fields: Iterable[str]) -> list[Missing]:
    """Every hole of every trial.

    A record is missing where another trial of the split has the prompt. A score or a record's figure that is NaN or
    infinite is missing. So is a score that the trial's file lacks, unless no trial scored that prompt by that metric
    (a metric need not apply to every document), and a figure that other prompts of the trial have.

    Args:
        trials: id, setting, split, seed, task. records: trial, setting, split, key, preference.
        raw: the records as they were read. scores: {metric: value} of every prompt that was scored.
        fields: names of the records' figures.
    """
    expected = records.groupby("split")["key"].unique().to_dict()
    judged = set(records.loc[records["preference"].notna(), "setting"])
    wanted = _wanted(trials, scores)
    preferences = records.set_index("trial")["preference"].isna()
    unjudged = records.set_index("trial").loc[preferences, "key"].groupby(level=0).agg(set).to_dict()
    found = []
    for row in trials.itertuples():
        have, given = raw[row.id], scores[row.id]
        holes = {("record", ""): set(expected.get(row.split, ())) - set(have)}
        applies, metrics = wanted[row.task, row.split]
        for metric in metrics:
            holes["score", metric] = {
                key
                for key in have
                if metric in applies.get(key, metrics) and not is_finite(given.get(key, {}).get(metric))
            }
        for name in fields:
            lacking = {key for key, record in have.items() if record.get(name) is None}
            spoilt = {key for key, record in have.items() if not is_finite(record.get(name))} - lacking
            holes["figure", name] = spoilt | (lacking if len(lacking) < len(have) else set())
        if row.setting in judged:
            holes["judgement", ""] = unjudged.get(row.id, set())
        for (what, metric), keys in holes.items():
            if keys:
                found.append(Missing(row.id, row.setting, row.split, row.seed, what, tuple(sorted(keys)), metric))
    return found


def _wanted(trials: pd.DataFrame, scores: Rows) -> dict:
    """(task, split) -> by which metrics each prompt was scored in any trial, and all the metrics in their order."""
    applies: dict[tuple, dict[str, set[str]]] = {}
    metrics: dict[tuple, dict[str, None]] = {}
    for row in trials.itertuples():
        of_prompt, names = (
            applies.setdefault((row.task, row.split), {}),
            metrics.setdefault((row.task, row.split), {}),
        )
        for key, given in scores[row.id].items():
            numbers = [metric for metric, value in given.items() if isinstance(value, (int, float))]
            if numbers:
                of_prompt.setdefault(key, set()).update(numbers)
                names |= dict.fromkeys(numbers)
    everything = {name: None for names in metrics.values() for name in names}
    # a split without a single score lacks what the others have
    return {pair: (applies[pair], list(metrics[pair] or everything)) for pair in applies}


def sentences(missing: list[Missing]) -> list[str]:
    """What is missing, by kind and metric, with the trials that lack most, as sentences for a reader."""
    kinds: dict[tuple[str, str], list[Missing]] = {}
    for hole in missing:
        kinds.setdefault((hole.what, hole.metric), []).append(hole)
    parts = []
    for holes in kinds.values():
        total = Missing("", "", "", 0, holes[0].what, sum((h.keys for h in holes), ()), holes[0].metric)
        most = sorted(holes, key=lambda hole: -len(hole.keys))
        named = [f"{len(hole.keys)} in {hole.trial} ({hole.split}, seed {hole.seed})" for hole in most[:NAMED]]
        more = [f"the rest in {len(holes) - NAMED} more trials"] if len(holes) > NAMED else []
        parts.append(f"{total.counted} ({', '.join([*named, *more])})")
    if not parts:
        return []
    return [
        f"Missing: {'; '.join(parts)}. Each figure is over the prompts that have it, and says how many where that "
        "is not all of them; the prompts are listed under “To repeat it”."
    ]
