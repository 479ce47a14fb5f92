"""One row per setting and split: every figure with its interval, over the prompts, seeds of a prompt together."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from reports.bootstrap import Difference, Draws, Interval, Point, Resamples, difference
from reports.divergence import of_records
from reports.errors import ReportError
from reports.lengths import Adjusted, adjusted_win_rate
from reports.run import Run
from reports.setting import RecordedSetting
from reports.weights import distortion, effective_size, self_normalised

RATIOS = {
    "tokens_per_second": ("n_tokens", "seconds"),
    "forward_passes_per_token": ("forward_passes", "n_tokens"),
    "computed_passes_per_token": ("computed_passes", "n_tokens"),
}
TIMED = {"tokens_per_second"}
OPENING = ("gold_reward", "win_rate", "lc_win_rate", "fluency", "kl", "length", *RATIOS)
EVEN = 50.0  # a win rate of the base against itself, by construction

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Row:
    """The figures of one setting on one split.

    Attributes:
        figures: name -> Interval, or None where the task or the guider has no such figure; each with the prompts that
            it is over. Win rates are in percent of the prompts (AlpacaEval's unit), KL in nats, length in characters.
            Speed is a Point: prompts that are decoded together share their time, so it has no interval over prompts.
        n_prompts: prompts that the setting has records of. n_split: prompts that any setting of the split has.
        kl_bound: whether `kl` is an upper bound (a search) or the exact sum on the responses' own paths.
        difficulty: whether the length-controlled figure uses the instruction difficulty; None without that figure.
        uncontrolled: why there is no length-controlled figure of what was judged, else "".
        selected: chosen for its method on the dev prompts.
        answers, effective: of a setting whose answers are weighted, how many there are and their effective number; its
            means are then self-normalised estimates (`reports.weights`). None elsewhere.
    """

    setting: RecordedSetting
    split: str
    n_prompts: int
    seeds: tuple[int, ...]
    figures: dict[str, Interval | Point | None]
    kl_bound: bool
    difficulty: bool | None = None
    uncontrolled: str = ""
    selected: bool = False
    n_split: int = 0
    answers: int | None = None
    effective: float | None = None

    @property
    def id(self) -> str:
        return f"{self.setting.id}-{self.split}"


@dataclass
class Table:
    """All rows of a run, and the per-prompt figures behind them."""

    run: Run
    resamples: int = 1000
    rows: list[Row] = field(default_factory=list)
    _adjusted: dict[tuple[str, str], Adjusted | None] = field(default_factory=dict)
    _placed: dict = field(default_factory=dict)

    @cached_property
    def keys(self) -> dict[str, list[str]]:
        """split -> its prompts, in the order of every matrix."""
        first = self.run.records.drop_duplicates(["split", "key"]).sort_values(["index", "key"])
        return {split: part["key"].tolist() for split, part in first.groupby("split")}

    @cached_property
    def _draws(self) -> dict[str, Resamples]:
        return {split: Resamples(len(keys), self.resamples) for split, keys in self.keys.items()}

    @cached_property
    def _parts(self) -> dict:
        return dict(iter(self.run.records.groupby(["setting", "split"])))

    def part(self, setting: str, split: str) -> Any:
        """The records of a setting on a split, or None."""
        return self._parts.get((setting, split))

    def is_weighted(self, setting: str, split: str) -> bool:
        """Has any answer a weight?"""
        part = self.part(setting, split)
        return part is not None and bool(part["log_weight"].notna().any())

    def weighted(self, setting: str, split: str, name: str) -> np.ndarray:
        """`matrix`, whose mean over a prompt's seeds is that of the law which the answers' weights mean."""
        matrix = self.matrix(setting, split, name)
        if not self.is_weighted(setting, split):
            return matrix
        return self_normalised(matrix, self.matrix(setting, split, "log_weight"))

    def matrix(self, setting: str, split: str, name: str) -> np.ndarray:
        """[prompts, seeds] of a record's column, NaN where it is missing."""
        shape, places = self._places(setting, split)
        matrix = np.full(shape, np.nan)
        matrix[places] = self._column(self.part(setting, split), name)
        return matrix

    def _places(self, setting: str, split: str) -> tuple[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
        """The shape of a setting's matrices on a split, and where in them each of its records stands."""
        if (setting, split) not in self._placed:
            part, keys = self.part(setting, split), self.keys[split]
            seeds, columns = np.unique(part["seed"].to_numpy(), return_inverse=True)
            lines = pd.Index(keys).get_indexer(part["key"])
            self._placed[setting, split] = (len(keys), len(seeds)), (lines, columns)
        return self._placed[setting, split]

    def difference(self, a: str, b: str, split: str, name: str) -> Difference:
        """Figure `name` of setting a minus that of b, on the prompts that both have."""
        if name == "lc_win_rate" or name in RATIOS:
            return (self._draws_of(a, split, name) - self._draws_of(b, split, name)).difference()
        return difference(self._compared(a, split, name), self._compared(b, split, name), self._draws[split])

    def is_base(self, setting: str) -> bool:
        return self.run.settings[setting].method == "base"

    def guides_another(self, setting: str) -> bool:
        """Is what a setting guides another model than the base that all are compared with?"""
        bases = {one.base for one in self.run.settings.values() if one.method == "base"}
        own = self.run.settings[setting].base
        return own is not None and None not in bases and own not in bases

    def _compared(self, setting: str, split: str, name: str) -> np.ndarray:
        matrix = self.weighted(setting, split, name)
        return np.full_like(matrix, EVEN) if name == "win_rate" and self.is_base(setting) else matrix

    def _draws_of(self, setting: str, split: str, name: str) -> Draws:
        """Of a figure that is no mean over prompts: a ratio, or the length-controlled win rate."""
        if name in RATIOS:
            draws = self._ratio_draws(setting, split, name)
        elif self.is_base(setting):
            n = len(self.keys[split])
            draws = Draws(EVEN, np.full(self.resamples, EVEN), np.full(n, EVEN), n)
        else:
            adjusted = self.adjusted(setting, split)
            draws = adjusted.draws if adjusted else None
        if draws is None:
            raise ReportError(f"{self.run.settings[setting].label}: no {name} on the {split} prompts to compare")
        return draws

    def row(self, setting: str, split: str) -> Row | None:
        """The row of a setting on a split."""
        return next((row for row in self.rows if row.setting.id == setting and row.split == split), None)

    def on(self, split: str) -> list[Row]:
        return [row for row in self.rows if row.split == split]

    def _column(self, part: pd.DataFrame, name: str) -> np.ndarray:
        if name == "win_rate":
            return 100 * (part["preference"].to_numpy(float) - 1)
        if name == "kl":  # of a method that guides another model it is the divergence from that one
            found = of_records(part)
            return np.full_like(found, np.nan) if self.guides_another(part["setting"].iloc[0]) else found
        return part[name].to_numpy(float)

    def mean(self, setting: str, split: str, name: str) -> Interval | None:
        """Mean over prompts with its interval, None where nothing was recorded."""
        matrix = self.weighted(setting, split, name)
        bounds = (0.0, 100.0) if name == "win_rate" else None
        return self._draws[split].mean(matrix, bounds).interval() if np.isfinite(matrix).any() else None

    def distortion(self, setting: str, split: str) -> Interval | None:
        """Of weighted answers whose target is the base's law given a valid response: values are 0, and take no part."""
        if not self.run.settings[setting].constrained or not self.is_weighted(setting, split):
            return None
        values = self.matrix(setting, split, "value")
        if np.isnan(values).all() or np.nanmax(np.abs(values)) > 0:
            return None
        found = distortion(self.matrix(setting, split, "log_ratio"), self.matrix(setting, split, "log_weight"))
        return self._draws[split].mean(found).interval() if np.isfinite(found).any() else None

    def ratio(self, setting: str, split: str, name: str) -> Interval | Point | None:
        """A ratio of sums (tokens per second), None where nothing was recorded; with its interval, but for speed."""
        draws = self._ratio_draws(setting, split, name)
        if draws is None:
            return None
        return Point(draws.point, draws.n) if name in TIMED else draws.interval()

    def _ratio_draws(self, setting: str, split: str, name: str) -> Draws | None:
        top, bottom = (self.matrix(setting, split, column) for column in RATIOS[name])
        both = np.isfinite(top) & np.isfinite(bottom)
        top, bottom = np.where(both, top, 0.0), np.where(both, bottom, 0.0)
        return self._draws[split].ratio(top, bottom) if bottom.sum() > 0 else None

    def adjusted(self, setting: str, split: str) -> Adjusted | None:
        """The length-controlled win rate, None where nothing was judged, and of weighted answers."""
        if self.is_weighted(setting, split):
            return None
        if (setting, split) not in self._adjusted:
            part = self.part(setting, split)
            self._adjusted[setting, split] = adjusted_win_rate(part, self.keys[split], self._draws[split])
        return self._adjusted[setting, split]


def build(run: Run, progress: Progress | None = None, resamples: int = 1000) -> Table:
    """Every row of a run: the base first, then the methods by their best gold reward, each by compute and weight."""
    table = Table(run, resamples)
    pairs = sorted(table._parts, key=lambda pair: (run.splits.index(pair[1]), pair[0]))
    selected = set(run.trials.loc[run.trials["selected"], "setting"])
    for done, (setting, split) in enumerate(pairs):
        if progress:
            progress(done, len(pairs), f"{run.settings[setting].label} ({split})")
        table.rows.append(_row(table, setting, split, setting in selected))
    if progress:
        progress(len(pairs), len(pairs), "")
    table.rows.sort(key=_order(table))
    return table


def _row(table: Table, setting: str, split: str, selected: bool) -> Row:
    part = table.part(setting, split)
    figures: dict[str, Interval | Point | None] = {}
    for name in (*table.run.metrics, "win_rate", "kl", "length", "value"):
        figures[name] = table.mean(setting, split, name)
    for name in RATIOS:
        figures[name] = table.ratio(setting, split, name)
    figures["distortion"] = table.distortion(setting, split)
    adjusted = table.adjusted(setting, split)
    figures["lc_win_rate"] = adjusted.draws.interval() if adjusted and adjusted.draws else None
    weights = table.matrix(setting, split, "log_weight") if table.is_weighted(setting, split) else None
    opening = {name: figures.pop(name, None) for name in OPENING}
    return Row(
        setting=table.run.settings[setting],
        split=split,
        n_prompts=part["key"].nunique(),
        seeds=tuple(sorted(int(seed) for seed in part["seed"].unique())),
        figures=opening | figures,
        kl_bound=bool((part["kl_search"] > 0).any()),
        difficulty=adjusted.difficulty if adjusted else None,
        uncontrolled=adjusted.why if adjusted else "",
        selected=selected,
        n_split=len(table.keys[split]),
        answers=None if weights is None else int(np.isfinite(weights).sum()),
        effective=None if weights is None else effective_size(weights),
    )


def _order(table: Table) -> Callable[[Row], tuple]:
    """The reported split first; in each the base, then the methods, those with the best setting first."""
    best: dict[str, float] = {}
    for row in table.rows:
        name = "gold_reward" if row.figures["gold_reward"] else "win_rate"
        gold, sign = row.figures[name], table.run.directions.sign(name)
        best[row.setting.group] = max(best.get(row.setting.group, -np.inf), sign * gold.mean if gold else -np.inf)
    splits = table.run.splits

    def key(row: Row) -> tuple:
        setting = row.setting
        return (
            -splits.index(row.split),
            setting.method != "base",
            -best[setting.group],
            setting.group,
            setting.rows,
            -1 if setting.weight is None else setting.weight,
            setting.label,
        )

    return key
