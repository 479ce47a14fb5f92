"""The bench verb as a whole, at a size that takes seconds."""

import json
import statistics

import pytest

from harness.bench import main
from harness.bench.models import Models, typical
from harness.bench.ratios import flatness
from harness.bench.settings import Bench
from harness.errors import UserError


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "figures.json"
    arguments = ["bench.base=tiny", "bench.prompts=3", "bench.new_tokens=6", "bench.rounds=2", "bench.length=3"]
    assert main([*arguments, "bench.scaling=[length]", "bench.prompt_tokens=[4,9]", f"bench.out={out}"]) == 0
    return json.loads(out.read_text(encoding="utf-8"))


def test_every_variant_runs_once_a_round_in_alternating_order(figures):
    rounds = [[run["variant"] for run in figures["runs"] if run["round"] == index] for index in range(2)]
    assert rounds[0] == rounds[1][::-1]
    methods = ["ivg", "chunk_implicit", "eft"]
    naive = [f"{method} naive" for method in methods]
    assert sorted(rounds[0]) == sorted(["plain", "plain one by one", *methods, *naive])


def test_rates_count_the_tokens_of_answers_and_of_all_rows(figures):
    rates, rows = figures["rates"], {"plain": 16, "ivg": 16, "ivg naive": 16, "eft": 1, "plain one by one": 1}
    for name, each in rows.items():
        rate = rates[name]
        prompts = 1 if name in ("ivg naive", "plain one by one") else 3
        assert rate["answer_tokens"] == 6 * prompts
        assert rate["answer_tokens_per_second"] == pytest.approx(6 * prompts / rate["wall_seconds"])
        assert rate["hypothesis_tokens_per_second"] == pytest.approx(each * rate["answer_tokens_per_second"])


def test_speedups_are_medians_of_ratios_per_answer_token(figures):
    for method, speedup in figures["speedups"].items():
        wall = {(run["variant"], run["round"]): run["wall"] for run in figures["runs"]}
        ratios = [3 * wall[f"{method} naive", i] / wall[method, i] for i in range(2)]
        assert speedup == pytest.approx(statistics.median(ratios))


def test_memory_of_prompts_does_not_grow_with_rows(figures):
    one, many = figures["prompt_memory"]
    assert (one["rows"], many["rows"]) == (1, 16)
    assert one["prompt"] == many["prompt"] > 0
    assert one["chunk"] < many["chunk"]


def test_the_file_says_what_was_measured_on_what(figures):
    assert figures["machine"]["packages"]["torch"]
    assert figures["settings"]["base"] == "tiny"
    assert [point["at"] for point in figures["scaling"]["length"]] == [2, 4, 8, 16]


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("bench.base=gpt3", "bench.base"),
        ("bench.methods=[ivgg]", "did you mean 'ivg'"),
        ("bench.prompt_tokens=[9,2]", "shortest first"),
        ("bench.new_tokens=1", "bench.new_tokens"),
        ("bench.device=nowhere", "bench.device=nowhere"),
        ("bench.round=1", "bench.rounds"),
    ],
)
def test_bad_settings_are_named_in_one_line(override, named):
    with pytest.raises(UserError) as raised:
        main(["bench.base=tiny", override])
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_cpu_clock_is_for_the_cpu():
    with pytest.raises(UserError, match="clock=wall"):
        Bench(clock="cpu", device="cuda").resolved()


def test_graphs_are_for_gpus():
    with pytest.raises(UserError, match="device=cuda"):
        Bench(graphs=True).resolved()


def test_quick_only_makes_smaller():
    assert Bench(quick=True).resolved().prompts == 4
    assert Bench(quick=True, prompts=2).resolved().prompts == 2
    assert Bench(prompts=9).resolved().prompts == 9


def test_prompts_spread_and_their_stand_ins_are_quantiles():
    models = Models(Bench(base="tiny"))
    prompts = models.prompts(5, 10, 50, seed=0)
    assert sorted(map(len, prompts)) == [10, 20, 30, 40, 50]
    assert [len(p) for p in typical(prompts, 1)] == [30]
    assert [len(p) for p in typical(prompts, 5)] == [10, 20, 30, 40, 50]
    assert prompts == models.prompts(5, 10, 50, seed=0)


def test_ratios_are_those_of_the_runs_own_figures(figures):
    """Recomputed from the single runs: hypothesis tokens a second over plain generate's, both of 16 rows a prompt."""
    seconds = {v: statistics.median(r["wall"] for r in figures["runs"] if r["variant"] == v) for v in ("ivg", "plain")}
    share = figures["ratios"]["ivg: hypothesis tokens/s over plain generate's at equal rows"]
    assert share == pytest.approx(seconds["plain"] / seconds["ivg"])
    assert figures["ratios"]["cost per answer token, 4 to 64 prompts: spread"] is None  # `scaling` left prompts out
    assert figures["ratios"]["cache held for prompts, all rows over one row"] == 1


def test_flatness_is_the_spread_from_4_to_64_prompts():
    points = [{"at": at, "per_answer_token": cost} for at, cost in ((4, 2.0), (16, 2.2), (64, 2.1))]
    assert flatness({"prompts": points}) == pytest.approx(0.1)
    assert flatness({"prompts": points[:2]}) is None
    assert flatness({}) is None
