"""The responses for the page: all of them where they fit, else a fair share, with a note."""

import json
import math
from typing import Any

import pandas as pd

from reports.answer import Answer
from reports.divergence import of_records
from reports.table import Table

BUDGET = 2_400_000  # bytes of samples in index.html: plotly.js takes 4.8 of its 8 MB
SHORTEST = 400  # characters: below this, fewer prompts rather than shorter responses


def samples(table: Table, answer: Answer, budget: int | None = BUDGET) -> dict:
    """What the page's sample browser reads (see templates/samples.js).

    Over the `budget` (bytes; None for all) it keeps the reported split, then the first seed, then cuts
    responses, then takes every k-th prompt. `note` says what was left out ("" if nothing).
    """
    run = table.run
    records = run.records
    order = {split: i for i, split in enumerate(run.splits)} | {answer.reported_on: -1}
    frame = records.assign(_order=records["split"].map(order)).sort_values(
        ["_order", "index", "key", "setting", "seed"]
    )
    if budget is None:
        return _data(table, answer, frame, None, "")
    data = _data(table, answer, frame, None, "")
    if _size(data) <= budget:
        return data
    kept, limit, left_out = frame[frame["split"] == answer.reported_on], None, []
    if len(kept) < len(frame):
        left_out.append(f"only the {answer.reported_on} prompts")
    if kept["seed"].nunique() > 1:
        kept = kept[kept["seed"] == kept["seed"].min()]
        left_out.append("the first seed")
    kept = kept.assign(trace=None)
    data = _data(table, answer, kept, None, "")
    if _size(data) > budget:
        limit = SHORTEST
        left_out.append(f"responses up to {limit} characters")
        data = _data(table, answer, kept, limit, "")
    if _size(data) > budget:
        keys = kept["key"].drop_duplicates().tolist()
        step = math.ceil(1.05 * _size(data) / budget)
        kept = kept[kept["key"].isin(keys[::step])]
        left_out.append(f"{len(keys[::step])} of {len(keys)} prompts")
    return _data(table, answer, kept, limit, f"To keep this page small it holds {', '.join(left_out)}.")


def embed(data: object) -> str:
    """JSON that is inert inside a <script type="application/json">, whatever a model wrote."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text.encode("utf-8", "replace").decode("utf-8")


def _size(data: dict) -> int:
    return len(embed(data).encode())


def _data(table: Table, answer: Answer, frame: pd.DataFrame, limit: int | None, note: str) -> dict:
    ids = [row.setting.id for row in table.rows]
    ids = [id for id in dict.fromkeys(ids) if id in set(frame["setting"])]
    number = {id: i for i, id in enumerate(ids)}
    prompts = frame.drop_duplicates(["split", "key"])
    place = {pair: i for i, pair in enumerate(zip(prompts["split"], prompts["key"], strict=True))}
    metric = answer.metric if answer.metric in frame else "gold_reward"
    gold = frame[metric] if metric in frame else frame["preference"] * math.nan
    columns = (
        frame[name]
        for name in ("setting", "split", "key", "seed", "response", "preference", "n_tokens", "finish_reason")
    )
    rows = []
    for setting, split, key, seed, response, preference, tokens, finish, score, kl, value, trace in zip(
        *columns, gold, of_records(frame), frame["value"], frame["trace"], strict=True
    ):
        cut = limit is not None and len(response) > limit
        rows.append(
            [
                number[setting],
                place[split, key],
                int(seed),
                response[:limit] + "…" if cut else response,
                _round(score),
                _round(preference),
                int(tokens),
                finish if isinstance(finish, str) else None,
                _round(kl),
                _round(value),
                _finite(trace) if isinstance(trace, dict) else None,
            ]
        )
    best = number.get(answer.best.setting.id) if answer.best else None
    base = next((number[row.setting.id] for row in answer.chosen if row.setting.id in number), 0)
    return {
        "metric": metric,
        "sign": table.run.directions.sign(metric),
        "settings": [{"label": table.run.settings[id].label, "method": table.run.settings[id].group} for id in ids],
        "prompts": [
            [split, int(index), prompt if limit is None or len(prompt) <= limit else prompt[:limit] + "…"]
            for split, index, prompt in zip(prompts["split"], prompts["index"], prompts["prompt"], strict=True)
        ],
        "rows": rows,
        "first": base,
        "second": base if best is None else best,
        "note": note,
    }


def _round(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 3)


def _finite(value: Any) -> Any:
    """NaN and infinities, which JSON does not have, as null."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
