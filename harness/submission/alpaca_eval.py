"""The files of an AlpacaEval leaderboard pull request, in that repository's own layout.

results/NAME/model_outputs.json
results/NAME/weighted_alpaca_eval_gpt4_turbo/annotations.json
results/NAME/weighted_alpaca_eval_gpt4_turbo/leaderboard.csv
src/alpaca_eval/models_configs/NAME/configs.yaml
src/alpaca_eval/models_configs/NAME/prompt.txt
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

import yaml

from harness.errors import UserError
from harness.judges.openai_judge import judgements
from harness.judges.replay import Recorded
from harness.records.judgement import Pair

ANNOTATOR = "weighted_alpaca_eval_gpt4_turbo"
MODEL = "gpt-4-1106-preview"
BASELINE = "gpt4_1106_preview"
COUNT = 805
# The columns of the leaderboard, in its order.
COLUMNS = (
    "win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total", "discrete_win_rate",
    "mode", "avg_length", "length_controlled_winrate", "lc_standard_error",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """What is submitted.

    Attributes:
        name: the model's name on the leaderboard, and of its folders.
        link: where the leaderboard's entry leads.
        pairs: the 805 pairs in AlpacaEval's order.
        datasets: for every pair, which source its instruction was drawn from.
        recorded: the judge's recorded answers.
        trial: what ``trials/TRIAL.json`` says of how the outputs were made; {} for outputs from elsewhere.
        prompt: the prompt's template, with ``{instruction}``.
    """

    name: str
    link: str
    pairs: Sequence[Pair]
    datasets: Sequence[str]
    recorded: Recorded
    trial: Mapping
    prompt: str

    @property
    def results(self) -> str:
        return f"results/{self.name}/{ANNOTATOR}"

    @property
    def configs(self) -> str:
        return f"src/alpaca_eval/models_configs/{self.name}"


def validate(pairs: Sequence[Pair]) -> None:
    """What the leaderboard's maintainers check by hand.

    Raises:
        UserError: not the 805 instructions, or an empty output.
    """
    if len(pairs) != COUNT:
        raise UserError(f"{len(pairs)} outputs; a submission has all {COUNT}: generate the missing ones")
    empty = [place for place, pair in enumerate(pairs) if not pair.response.strip()]
    if empty:
        shown = ", ".join(map(str, empty[:10]))
        raise UserError(f"{len(empty)} empty outputs (instructions {shown}); generate them again")


def model_outputs(entry: Entry) -> list[dict]:
    """The rows of ``model_outputs.json``."""
    return [
        {"dataset": source, "instruction": pair.instruction, "output": pair.response, "generator": entry.name}
        for source, pair in zip(entry.datasets, entry.pairs, strict=True)
    ]


def annotations(entry: Entry, prices: Mapping[str, Mapping[str, float]]) -> list[dict]:
    """The rows of ``annotations.json``: alpaca_eval's own columns, a tie of equal outputs without an answer."""
    found = entry.recorded
    judged = judgements(found.annotator, found.judge, entry.pairs, BASELINE, found.questions, found.rows)
    answers = {
        place: row
        for question, row in zip(found.questions, found.rows, strict=True)
        for place in question.places
        if place is not None
    }
    price, version = prices.get(found.model), metadata.version("alpaca_eval")
    rows = []
    for place, (source, pair, judgement) in enumerate(zip(entry.datasets, entry.pairs, judged, strict=True)):
        answer = answers.get(place, {})
        rows.append(
            {
                "instruction": pair.instruction,
                "output_1": pair.baseline,
                "generator_1": BASELINE,
                "dataset": source,
                "output_2": pair.response,
                "generator_2": entry.name,
                "annotator": ANNOTATOR,
                "preference": judgement.preference,
                "preference_price_per_example": _cost(answer.get("usage"), price),
                "preference_time_per_example": answer.get("seconds"),
                "preference_version": version,
                "preference_date": answer.get("date"),
                "preference_raw_completion": answer.get("choice"),
            }
        )
    return rows


def leaderboard_csv(entry: Entry, row: Mapping) -> str:
    """The leaderboard's header and the entry's row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["", *COLUMNS])
    writer.writerow([entry.name, *(row[column] for column in COLUMNS)])
    return text.getvalue()


def model_config(entry: Entry, decoder: str) -> str:
    """``configs.yaml``: how the outputs were made, with every setting of the guidance.

    Args:
        decoder: what ``fn_completions`` names where the outputs are a guider's; outputs from elsewhere name none.
    """
    trial = entry.trial
    guidance = {
        name: trial[name] for name in ("method", "settings", "guider", "sampling", "seed", "revisions") if name in trial
    }
    config = {
        "prompt_template": f"{entry.name}/prompt.txt",
        "fn_completions": decoder if "guider" in trial else None,
        "completions_kwargs": {"model_name": entry.name, **guidance},
        "pretty_name": entry.name,
        "link": entry.link,
    }
    return yaml.safe_dump({entry.name: json.loads(json.dumps(config))}, sort_keys=False, allow_unicode=False)


def _cost(usage: Mapping | None, price: Mapping[str, float] | None) -> float | None:
    if not usage or not price:
        return None
    tokens = (usage.get("prompt_tokens") or 0) * price["input"] + (usage.get("completion_tokens") or 0) * price[
        "output"
    ]
    return tokens / 1e6
