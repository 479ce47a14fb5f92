"""The length-controlled win rate of one row of the report, with the instruction difficulty where it is published."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import pandas as pd

from reports.bootstrap import Draws, Resamples
from reports.errors import ReportError
from reports.length_control import calibration_of, length_controlled_draws


@dataclass(frozen=True)
class Adjusted:
    """The refitted draws of a length-controlled win rate in percent, or None and why not.

    `difficulty` says whether the instruction difficulty is in the model.
    """

    draws: Draws | None
    difficulty: bool | None = None
    why: str = ""


def adjusted_win_rate(part: pd.DataFrame, keys: list[str], resamples: Resamples) -> Adjusted | None:
    """Length control of a setting's judgements; None where nothing was judged.

    The model with the difficulty is used where every prompt is one of AlpacaEval's instructions, and the judge and the
    baseline are AlpacaEval 2's. It takes each instruction once, so each seed is fitted by itself and the rates are
    averaged; without the difficulty all seeds are fitted together. A prompt's seeds are resampled together in both.
    """
    judged = part[part["preference"].notna() & part["len_1"].notna() & part["len_2"].notna()]
    if judged.empty:
        return None
    place = {key: i for i, key in enumerate(keys)}
    hashes = judged["prompt"].map(lambda text: hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())
    rows = pd.DataFrame(
        {
            "preference": judged["preference"].to_numpy(),
            "len_1": judged["len_1"].to_numpy(),
            "len_2": judged["len_2"].to_numpy(),
            "sha256": hashes.to_numpy(),
            "prompt": judged["key"].map(place).to_numpy(),
            "seed": judged["seed"].to_numpy(),
        }
    ).sort_values(["seed", "prompt"])
    calibration = calibration_of(judged["judge"], judged["baseline"])
    try:
        if calibration is None or not set(rows["sha256"]) <= _instructions():
            return Adjusted(length_controlled_draws(rows, resamples, calibration=None)[1], False)
        seeds = [length_controlled_draws(seed, resamples, calibration)[1] for _, seed in rows.groupby("seed")]
    except ReportError as error:
        return Adjusted(None, why=str(error))
    n = len(seeds)
    point, boot, jack = (sum(getattr(seed, name) for seed in seeds) / n for name in ("point", "boot", "jack"))
    return Adjusted(Draws(point, boot, jack, rows["prompt"].nunique()), True)


@lru_cache(maxsize=1)
def _instructions() -> frozenset[str]:
    table = pd.read_csv(files("reports") / "data" / "instructions.csv.gz", compression="gzip")
    return frozenset(table["sha256"])
