"""The leaderboard's row: what 805 judgements come to."""

import statistics
from collections.abc import Sequence

import pandas as pd

from harness.records.judgement import Judgement, Pair
from reports.errors import ReportError
from reports.length_control import length_controlled_win_rate
from tasks.alpaca_eval.data import sha256

COLUMNS = ("win_rate", "standard_error", "lc_win_rate", "avg_length", "n", "n_missing")


def leaderboard_row(
    name: str, pairs: Sequence[Pair], judgements: Sequence[Judgement], calibration: str | None = "alpaca_eval"
) -> dict:
    """Win rates in percent, as AlpacaEval's leaderboard gives them, and every missing judgement with its reason.

    ``avg_length`` is the mean of all responses in characters, ``n`` the number of preferences, ``n_missing`` of
    judgements without one. A figure that the judgements don't determine is None, with the reason in ``lc_note``.
    ``lc_difficulty`` says whether length control knows the instructions' difficulty.

    Args:
        calibration: "alpaca_eval" for AlpacaEval 2's instructions, judge and baseline; None for others.
    """
    row = {
        "name": name,
        "judge": judgements[0].judge,
        "baseline": judgements[0].baseline,
        "n": sum(judgement.preference is not None for judgement in judgements),
        "n_missing": sum(judgement.preference is None for judgement in judgements),
        "avg_length": statistics.fmean(judgement.len_2 for judgement in judgements),
        "missing": [
            {"index": pair.index, "key": judgement.key, "reason": judgement.reason}
            for pair, judgement in zip(pairs, judgements, strict=True)
            if judgement.preference is None
        ],
    }
    # AlpacaEval's get_winrate: pandas' mean and standard error (n - 1) of preference - 1.
    wins = pd.Series([judgement.preference for judgement in judgements if judgement.preference is not None]) - 1
    row["win_rate"] = float(wins.mean() * 100) if len(wins) else None
    row["standard_error"] = float(wins.sem() * 100) if len(wins) > 1 else None
    return row | _length_controlled(pairs, judgements, calibration)


def _length_controlled(pairs: Sequence[Pair], judgements: Sequence[Judgement], calibration: str | None) -> dict:
    rows = pd.DataFrame(
        {
            "preference": [judgement.preference for judgement in judgements],
            "len_1": [judgement.len_1 for judgement in judgements],
            "len_2": [judgement.len_2 for judgement in judgements],
            "sha256": [sha256(pair.instruction) for pair in pairs],
        }
    ).astype({"preference": float})
    try:
        fit = length_controlled_win_rate(rows, calibration=calibration)
    except ReportError as error:
        return {"lc_win_rate": None, "lc_standard_error": None, "discrete_win_rate": None, "lc_note": str(error)}
    return {
        "lc_win_rate": fit.lc_win_rate,
        "lc_standard_error": fit.lc_standard_error,
        "discrete_win_rate": fit.discrete_win_rate,
        "lc_difficulty": calibration is not None,
    }


def table(row: dict) -> str:
    """The row as text: figures with four decimals, the name with everything escaped that could act on a terminal."""
    titles = ["name", *COLUMNS]
    cells = [ascii(row["name"])[1:-1], *map(_cell, (row[column] for column in COLUMNS))]
    widths = [max(len(title), len(cell)) for title, cell in zip(titles, cells, strict=True)]
    lines = (zip(line, widths, strict=True) for line in (titles, cells))
    return "\n".join("  ".join(text.rjust(width) for text, width in line) for line in lines)


def _cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
