"""Length-controlled win rates, by AlpacaEval's procedure, with the difficulty joined by instruction."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reports.bootstrap import Draws, Resamples
from reports.errors import ReportError
from reports.glm import GAMED_WEIGHT, Calibration, Refit, cross_validated, standardised
from reports.length_only import LengthOnly

FEWEST_ROWS = 5  # five folds
FEWEST_PROMPTS = 2.0  # won, and lost: with fewer, an interval of what is rare covers under 92% (docs/statistics.md)

# Whose preferences AlpacaEval 2's difficulties and gamed baselines are, and against which baseline.
JUDGE = "weighted_alpaca_eval_gpt4_turbo:gpt-4-1106-preview"
BASELINE = "gpt4_1106_preview"


@dataclass(frozen=True)
class LengthControlled:
    """The row of a leaderboard; rates and standard errors in percent.

    `lc_standard_error` is AlpacaEval's: the spread of the predictions over instructions, not the sampling error of the
    rate (and zero without difficulties, as all predictions are then equal). Use the bootstrap for an interval.
    `n` counts the preferences, `n_missing` the rows without one. `penalty` is the inverse penalty C that was chosen;
    without calibration, the strength of the length weight's penalty.
    """

    win_rate: float
    standard_error: float
    discrete_win_rate: float
    lc_win_rate: float
    lc_standard_error: float
    w_length: float
    w_difficulty: float
    w_quality: float
    n: int
    n_missing: int
    penalty: float


def length_controlled_win_rate(
    rows: pd.DataFrame, calibration: str | Path | None = "alpaca_eval", join: str = "instruction"
) -> LengthControlled:
    """Win rate of a model and its length-controlled win rate (Dubois et al. 2024, arXiv 2404.04475).

    `rows` has `preference` (1 baseline better .. 2 model better, 0 = draw as in AlpacaEval, NaN = missing), `len_1`
    (baseline) and `len_2` (model) in characters, and for join="instruction" the `sha256` of the instruction.

    calibration="alpaca_eval" uses the shipped difficulties and gamed baselines of AlpacaEval 2, a path another file in
    the format of AlpacaEval's `df_gamed.csv`. None, for other prompts, judges and baselines (see `calibration_of`), is
    the GLM without both, see `reports.length_only`. join="instruction" finds a row's difficulty by its instruction,
    whatever the order or subset; join="row" by its place, which is how the leaderboard's figures of models with missing
    rows came about.

    Raises ReportError for fewer than 5 preferences, an unknown or repeated instruction, preferences outside 1..2,
    lengths that are missing or negative, length differences that are one same non-zero number, and without calibration
    for fewer than 2 prompts' worth of wins or of losses.
    """
    data = _prepare(rows, calibration, join)
    if data.gamed is None:
        _require_both(data)
    return _fit(data)[0]


def calibration_of(judges: Iterable[str], baselines: Iterable[str]) -> str | None:
    """The shipped calibration ("alpaca_eval") where it holds: every row judged by AlpacaEval 2's judge against its
    baseline. None else: another judge has another taste for length, another baseline other difficulties."""
    return "alpaca_eval" if set(judges) == {JUDGE} and set(baselines) == {BASELINE} else None


def length_controlled_draws(
    rows: pd.DataFrame,
    resamples: Resamples,
    calibration: str | Path | None = "alpaca_eval",
    join: str = "instruction",
) -> tuple[LengthControlled, Draws]:
    """The figures, and the length-controlled win rate refitted on every resample: `draws.interval()`, and for two
    settings over the same prompts `(draws_a - draws_b).difference()`.

    `rows["prompt"]`, where present, is the place of a row's prompt among the resampled ones (seeds of one prompt share
    it); else there is one row per prompt, in order. The calibrated penalty stays the one chosen on all rows.

    Raises ReportError as `length_controlled_win_rate` does, and with any calibration for fewer than 2 prompts' worth of
    wins or of losses: too many resamples have none.
    """
    data = _prepare(rows, calibration, join)
    _require_both(data)
    if ((data.prompt < 0) | (data.prompt >= resamples.n)).any():
        raise ReportError(f"length control: a prompt is not among the {resamples.n} resampled; number them from 0")
    result, refit = _fit(data)
    count = len(np.unique(data.prompt))
    if refit is None:
        return result, Draws(50.0, np.full(resamples.count, 50.0), np.full(resamples.n, 50.0), count)
    draws = resamples.statistic(lambda weights: refit.win_rates(weights[:, data.prompt]))
    # liblinear stops up to 0.02 points short of the optimum: the draws move with it, so that they surround the figure.
    shift = result.lc_win_rate - draws.point
    return result, Draws(result.lc_win_rate, draws.boot + shift, draws.jack + shift, count)


@dataclass(frozen=True)
class _Data:
    preference: np.ndarray  # in [0, 1], NaN = missing
    delta: np.ndarray  # baseline minus model, characters
    difficulty: np.ndarray
    prompt: np.ndarray
    gamed: Calibration | None


def _prepare(rows: pd.DataFrame, calibration: str | Path | None, join: str) -> _Data:
    if join not in ("instruction", "row"):
        raise ReportError(f'length control: join={join!r}; use "instruction" or "row"')
    needed = ["preference", "len_1", "len_2"]
    needed += ["sha256"] if calibration is not None and join == "instruction" else []
    absent = [name for name in needed if name not in rows.columns]
    if absent:
        raise ReportError(f"length control: no column {absent[0]!r}; rows need {', '.join(needed)}")
    rows = rows.reset_index(drop=True)
    if "prompt" not in rows.columns:
        rows = rows.assign(prompt=np.arange(len(rows)))
    gamed, difficulty = None, np.zeros(len(rows))
    if calibration is not None:
        gamed, table = _calibration(calibration)
        place = _places(rows["sha256"]) if join == "instruction" else np.arange(len(rows))
        unknown = place >= len(table)
        if unknown.any():
            raise ReportError(f"length control: {len(rows)} rows for {len(table)} instructions; give one row each")
        # AlpacaEval's order, so that folds and solver do not depend on the order of the rows.
        order = np.argsort(place, kind="stable")
        rows, difficulty = rows.iloc[order], table[place[order]]
    preference, delta = _checked(rows)
    return _Data(preference, delta, difficulty, rows["prompt"].to_numpy(int), gamed)


def _checked(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    try:
        preference, baseline, model = (
            rows[c].to_numpy(float, na_value=np.nan) for c in ("preference", "len_1", "len_2")
        )
    except (TypeError, ValueError) as error:
        raise ReportError("length control: a preference or length is not a number; check the judgements") from error
    preference = np.where(preference == 0, 1.5, preference) - 1
    if ((preference < 0) | (preference > 1)).any():
        raise ReportError("length control: a preference outside 1 (baseline) to 2 (model better); check the judge")
    if not (np.isfinite(baseline) & np.isfinite(model) & (baseline >= 0) & (model >= 0)).all():
        raise ReportError("length control: a length is missing or negative; give len_1 and len_2 in characters")
    n = int(np.isfinite(preference).sum())
    if n < FEWEST_ROWS:
        raise ReportError(f"length control: {n} preferences; the GLM has 5 folds and needs at least 5 rows")
    delta = baseline - model
    if np.ptp(delta) == 0 and delta[0] != 0:
        raise ReportError(
            f"length control: every answer differs by {-delta[0]:+.0f} characters from the baseline's, so length and "
            "quality cannot be told apart; use the plain win rate"
        )
    return preference, delta


def _require_both(data: _Data) -> None:
    """Refuse preferences that nearly all say the same: nothing is left that could tell length and quality apart.

    The prompts that won are counted as Kish's effective number (Σy)²/Σy² of their summed preferences y: k where k
    prompts were won outright, all of them where a graded judge gave each as much.
    """
    present = np.isfinite(data.preference)
    prompts = np.unique(data.prompt[present], return_inverse=True)[1]
    wins = np.bincount(prompts, data.preference[present])
    losses = np.bincount(prompts, 1 - data.preference[present])
    for share, verb in ((wins, "won"), (losses, "lost")):
        effective = share.sum() ** 2 / np.square(share).sum() if share.any() else 0.0
        if effective < FEWEST_PROMPTS - 1e-9:
            raise ReportError(
                f"length control: {effective:.3g} of {len(share)} prompts {verb}, and with under {FEWEST_PROMPTS:g} "
                "nothing tells length and quality apart; read the plain win rate"
            )


def _fit(data: _Data) -> tuple[LengthControlled, Refit | LengthOnly | None]:
    present = np.isfinite(data.preference)
    wins = data.preference[present]
    plain = {
        "win_rate": 100 * wins.mean(),
        "standard_error": 100 * wins.std(ddof=1) / np.sqrt(len(wins)),
        "discrete_win_rate": 100 * ((wins > 0.5).mean() + (wins == 0.5).mean() / 2),
        "n": len(wins),
        "n_missing": int((~present).sum()),
    }
    if (wins == 0.5).all() and not data.delta.any():
        # The baseline against itself: 50% by construction, as in AlpacaEval.
        zero = dict.fromkeys(["lc_standard_error", "w_length", "w_difficulty", "w_quality"], 0.0)
        return _result(plain, lc_win_rate=50.0, penalty=0.0, **zero), None
    if data.gamed is None:
        return _uncalibrated(plain, LengthOnly(data.preference, data.delta))
    length = standardised(data.delta, data.delta.std(ddof=1))
    ones, gamed = np.ones(len(length)), data.gamed
    ours = np.stack([length, data.difficulty, ones], 1)
    theirs = np.stack([np.tanh(gamed.delta), gamed.difficulty, np.zeros(len(gamed.delta))], 1)
    features = np.concatenate([theirs, ours])
    preference = np.concatenate([gamed.preference, data.preference])
    weight = np.concatenate([np.full(len(theirs), GAMED_WEIGHT), ones])
    fitted = np.isfinite(preference)
    coefficients, penalty = cross_validated(features[fitted], preference[fitted], weight[fitted])
    predicted = 100 / (1 + np.exp(-(coefficients[2] + coefficients[1] * data.difficulty)))
    result = _result(
        plain,
        lc_win_rate=predicted.mean(),
        lc_standard_error=predicted.std(ddof=1) / np.sqrt(len(predicted)) if np.ptp(predicted) > 0 else 0.0,
        w_length=coefficients[0],
        w_difficulty=coefficients[1],
        w_quality=coefficients[2],
        penalty=penalty,
    )
    return result, Refit(data.preference, data.delta, data.difficulty, gamed, penalty, coefficients)


def _uncalibrated(plain: dict, problem: LengthOnly) -> tuple[LengthControlled, LengthOnly]:
    all_rows = np.ones((1, len(problem.delta)))
    w_length, w_quality = problem.weights(all_rows)[0]
    result = _result(
        plain,
        lc_win_rate=problem.win_rates(all_rows)[0],
        lc_standard_error=0.0,
        w_length=w_length,
        w_difficulty=0.0,
        w_quality=w_quality,
        penalty=problem.penalty,
    )
    return result, problem


def _result(plain: dict, **figures: float) -> LengthControlled:
    fields: dict[str, Any] = {k: v if isinstance(v, int) else float(v) for k, v in (plain | figures).items()}
    return LengthControlled(**fields)


def _calibration(calibration: str | Path) -> tuple[Calibration, np.ndarray]:
    """The gamed baselines and the difficulty of each instruction, in AlpacaEval's order."""
    shipped = files("reports") / "data" / "gamed_baselines.csv.gz"
    path = shipped if calibration == "alpaca_eval" else Path(calibration)
    try:
        frame = pd.read_csv(path, compression="gzip" if str(path).endswith(".gz") else None)
        columns = frame[["index", "preference", "std_delta_len", "instruction_difficulty"]].to_numpy(float)
    except (OSError, KeyError, ValueError) as error:
        raise ReportError(
            f"length control: {calibration} is no calibration file; it needs the columns index, preference, "
            "std_delta_len and instruction_difficulty of AlpacaEval's df_gamed.csv"
        ) from error
    if not np.isfinite(columns).all() or ((columns[:, 1] < 0) | (columns[:, 1] > 1)).any():
        raise ReportError(f"length control: {calibration} has empty cells or preferences outside 0..1; mend the file")
    difficulty = frame.drop_duplicates("index").set_index("index")["instruction_difficulty"]
    if not np.array_equal(difficulty.index, np.arange(len(difficulty))):
        raise ReportError(f"length control: the index of {calibration} is not 0, 1, 2, …; mend the file")
    return Calibration(columns[:, 1], columns[:, 2], columns[:, 3]), difficulty.to_numpy(float)


def _places(hashes: pd.Series) -> np.ndarray:
    table = pd.read_csv(files("reports") / "data" / "instructions.csv.gz", compression="gzip")
    place = hashes.map(pd.Series(table["index"].to_numpy(), table["sha256"]))
    unknown = hashes[place.isna()]
    if len(unknown):
        first = str(unknown.iloc[0])[:64]
        raise ReportError(
            f"length control: {len(unknown)} of {len(hashes)} instructions are not among AlpacaEval's 805 (first: "
            f"sha256 {first!r}); leave them out, or use calibration=None"
        )
    repeated = hashes[place.duplicated()]
    if len(repeated):
        raise ReportError(f"length control: instruction {str(repeated.iloc[0])[:64]} is there twice; give each once")
    return place.to_numpy(int)
