"""A search against the base, from decoding to the win rate: with a continuous reward the answer is known."""

import itertools
import math

import pytest
import torch
from tiny_models import END, VOCAB, words

from guiders import LM, BestOfN, Guider, ImplicitValue
from guiders.laws.tabular import TabularLM
from harness.adapters.lm_eval_sampling import sampling_of
from harness.backends.protocol import Asked
from harness.backends.serial import Serial
from harness.config.compose import compose
from harness.config.schema import Sweep, validated
from harness.models.pool import Resolver
from harness.records.run_folder import RunFolder
from harness.sweep.judging import Judging
from harness.sweep.recorder import Recorder, record_scores
from harness.trials.trial import Setting
from reports.direction import Directions
from reports.run import load_run
from reports.table import build

TOKENS = 14  # of three letters: two responses are hardly ever equal
PROMPTS = ["".join(letters) + "a" for letters in itertools.product("abcdefghijklm", repeat=3)]


def tables() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.full((3, 20, VOCAB, VOCAB), -1e9, dtype=torch.float64)
    logits[..., :3] = torch.randn(3, 20, VOCAB, 3, generator=generator, dtype=torch.float64)
    return list(logits)


def rewards(texts: list[str], tuned: torch.Tensor, untuned: torch.Tensor) -> torch.Tensor:
    """What the search goes by, term by term from the tables."""
    ids = torch.tensor([[ord(letter) - 97 for letter in text] for text in texts])
    places = torch.arange(3, ids.shape[1] - 1)
    gain = tuned.log_softmax(-1) - untuned.log_softmax(-1)
    return gain[places, ids[:, 3:-1], ids[:, 4:]].sum(-1)


@pytest.mark.parametrize("n", [2, 4])
def test_best_of_n_wins_n_of_n_plus_one(n, tmp_path):
    """N + 1 independent draws, of which N are the search's: the best of all is among those with N/(N+1).

    Judged against its own first draw, as where base and search share their random numbers, it would win
    1 − 1/(2N): it loses never and ties in 1/N of the cases.
    """
    plain, *pair = tables()
    base, tuned, untuned = (LM(TabularLM(logits, END), words(), name="table") for logits in (plain, *pair))
    guiders = {
        "base": Guider(base),
        "best_of_n": Guider(base, value=ImplicitValue(tuned, untuned), search=BestOfN(n)),
    }
    sweep = validated(
        Sweep, compose("sweep", [f"sampling.max_new_tokens={TOKENS}", "sampling.temperature=1", "judge=reward"]).config
    )
    run, trials = RunFolder(tmp_path / "run"), {}
    run.open()
    for method in guiders:
        setting = Setting(method, {}, {"search": {"_target_": "guiders.BestOfN", "n": n}})
        trial = trials[method] = setting.trial("letters", {"task": "1"}, "all", 0, sweep, Resolver(build=False))
        recorder = Recorder(run, trial, [Asked(prompt, prompt) for prompt in PROMPTS], 512)
        sampling = sampling_of({"until": []}, trial.sampling, trial.seed)
        backend = Serial(lambda config: guiders[config["name"]])
        for block, generations in backend.run(recorder.blocks({"name": method}, sampling)):
            recorder.add(block, generations)
        texts = [recorder.responses[prompt] for prompt in PROMPTS]
        # so large that the judge's sigmoid is a comparison
        scores = 1e6 * rewards([prompt + text for prompt, text in zip(PROMPTS, texts, strict=True)], *pair)
        record_scores(run, trial, [(p, {"gold_reward": float(s)}) for p, s in zip(PROMPTS, scores, strict=True)])
    run.write_trials((trial, True) for trial in trials.values())
    Judging(sweep.judge, "gold_reward").judge(run, trials["best_of_n"], trials["base"], Directions({}))
    run.close()
    table = build(load_run(run.path), resamples=200)
    won = table.row(trials["best_of_n"].setting, "all").figures["win_rate"]
    known, shared = 100 * n / (n + 1), 100 * (1 - 1 / (2 * n))
    error = 100 * math.sqrt(n / (n + 1) ** 2 / len(PROMPTS))
    assert abs(won.mean - known) < 3 * error
    assert shared - known > 6 * error  # so what comes of shared numbers would be seen
    assert won.low <= known <= won.high < shared
