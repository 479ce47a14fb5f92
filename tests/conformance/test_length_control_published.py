"""Length control against AlpacaEval: its published figures, and its own function on the same calibration."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from reports.length_control import length_controlled_win_rate

DATA = Path(__file__).parents[1] / "data"
SHIPPED = Path(__file__).parents[2] / "reports" / "data"


@pytest.fixture(scope="module")
def hashes():
    return pd.read_csv(SHIPPED / "instructions.csv.gz").set_index("index")["sha256"]


@pytest.fixture(scope="module")
def annotations(hashes):
    rows = pd.read_parquet(DATA / "alpaca_eval_annotations.parquet")
    rows["sha256"] = rows["index"].map(hashes)
    return {str(model): part.reset_index(drop=True) for model, part in rows.groupby("model", observed=True)}


@pytest.fixture(scope="module")
def leaderboard():
    return pd.read_csv(DATA / "alpaca_eval_leaderboard.csv.gz").drop_duplicates("model").set_index("model")


@pytest.fixture(scope="module")
def by_row(annotations):
    return {model: length_controlled_win_rate(rows, join="row") for model, rows in annotations.items()}


def test_win_rates_and_standard_errors_are_the_published(by_row, leaderboard):
    assert len(by_row) == 37
    for model, ours in by_row.items():
        published = leaderboard.loc[model]
        assert ours.win_rate == pytest.approx(published["win_rate"], abs=1e-9), model
        assert ours.standard_error == pytest.approx(published["standard_error"], abs=1e-9), model
        assert ours.discrete_win_rate == pytest.approx(published["discrete_win_rate"], abs=1e-9), model
        assert ours.n == published["n_total"]


def test_length_controlled_win_rates_are_the_published(by_row, leaderboard):
    gaps = [abs(ours.lc_win_rate - leaderboard.loc[m, "length_controlled_winrate"]) for m, ours in by_row.items()]
    assert max(gaps) <= 0.2
    assert np.mean(np.array(gaps) <= 0.01) >= 0.5


def test_published_weights_predict_the_published_figures(leaderboard):
    """The shipped difficulty is AlpacaEval's: with it, the published weights give the published figures."""
    difficulty = pd.read_csv(SHIPPED / "gamed_baselines.csv.gz")["instruction_difficulty"].to_numpy()[:805]
    weighted = leaderboard.dropna(subset=["w_quality"]).drop_duplicates()
    assert len(weighted) == 199
    gaps = []
    for _, row in weighted.iterrows():
        rate = 100 * expit(row["w_quality"] + row["w_difficulty"] * difficulty[: int(row["n_total"])]).mean()
        gaps.append(abs(rate - row["length_controlled_winrate"]))
    assert max(gaps) <= 0.2
    assert np.sum(np.array(gaps) <= 1e-6) >= 185


@pytest.mark.parametrize(("model", "rate"), [("gpt35_turbo_instruct", 15.07), ("minotaur-13b", 9.16)])
def test_joined_by_instruction_a_missing_row_moves_no_other(annotations, by_row, model, rate):
    """The rates that the records' own description gives for the right join; by row they are over 2 points higher."""
    assert length_controlled_win_rate(annotations[model]).lc_win_rate == pytest.approx(rate, abs=0.2)
    assert by_row[model].lc_win_rate > rate + 2


def test_order_of_rows_does_not_matter_when_joined_by_instruction(annotations):
    rows = annotations["claude-2"]
    assert length_controlled_win_rate(rows.sample(frac=1, random_state=0)) == length_controlled_win_rate(rows)


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """AlpacaEval's own function, with the shipped calibration where it would download one."""
    metric = pytest.importorskip("alpaca_eval.metrics.glm_winrate", reason="alpaca_eval is not installed")
    path = tmp_path_factory.mktemp("calibration") / "df_gamed.csv"
    pd.read_csv(SHIPPED / "gamed_baselines.csv.gz").to_csv(path, index=False)

    def rates(rows, name="length_controlled_v1", **options):
        frame = pd.DataFrame(
            {
                "preference": rows["preference"].to_numpy(),
                "output_1": ["x" * n for n in rows["len_1"]],
                "output_2": ["x" * n for n in rows["len_2"]],
                "generator_1": "baseline",
                "generator_2": "model",
            },
            index=pd.Index(rows["index"], name="index"),
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(metric, "hf_hub_download", lambda **_: str(path))
            return metric.get_length_controlled_winrate(frame, glm_name=name, save_weights_dir=None, **options)

    import sklearn

    before = sklearn.get_config()
    yield rates
    sklearn.set_config(**before)  # it switches metadata routing on for the whole process


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", ["gemma-2b-it", "NullModel", "FuseChat-Gemma-2-9B-Instruct", "minotaur-13b"])
def test_equals_alpaca_evals_own_function(annotations, official, model):
    rows = annotations[model]
    ours, theirs = length_controlled_win_rate(rows), official(rows)
    assert ours.win_rate == pytest.approx(theirs["win_rate"], abs=1e-9)
    assert ours.lc_win_rate == pytest.approx(theirs["length_controlled_winrate"], abs=1e-6)
    assert ours.lc_standard_error == pytest.approx(theirs["lc_standard_error"], abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_equals_it_on_a_subset_and_with_a_missing_preference(annotations, official):
    rows = annotations["claude-2"].iloc[100:260].copy()
    rows.loc[rows.index[3], "preference"] = np.nan
    ours = length_controlled_win_rate(rows)
    assert (ours.n, ours.n_missing) == (159, 1)
    assert ours.lc_win_rate == pytest.approx(official(rows)["length_controlled_winrate"], abs=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", ["vicuna-7b-v1.5", "claude-2", "FuseChat-Gemma-2-9B-Instruct"])
def test_without_calibration_it_is_the_minimal_glm_without_folds(annotations, official, model):
    """AlpacaEval's own `length_controlled_minimal` at the weak penalty that it has without folds (C=100): on 805 rows
    the penalties of both hardly count."""
    from alpaca_eval.metrics.glm_winrate import GLM_INFO

    rows = annotations[model]
    minimal = GLM_INFO["length_controlled_minimal"] | {"kwargs": {"n_splits": 0}}
    theirs = official(rows, "length_controlled_minimal", glm_info=minimal)["length_controlled_winrate"]
    assert length_controlled_win_rate(rows, calibration=None).lc_win_rate == pytest.approx(theirs, abs=0.25)


def test_a_calibration_file_is_read_like_the_shipped_one(annotations, tmp_path):
    path = tmp_path / "df_gamed.csv"
    pd.read_csv(SHIPPED / "gamed_baselines.csv.gz").to_csv(path, index=False)
    rows = annotations["gemma-2b-it"]
    assert length_controlled_win_rate(rows, calibration=path) == length_controlled_win_rate(rows)
