"""Transfer Q*: rollouts of length 0 are ARGS, many of the base's own the optimal policy; one by hand; cost."""

import math

import pytest
import torch
from tabular_value import LETTERS, PROMPT, TabularValue, log_prob, responses, table, tabular
from test_oracle import assert_same
from tiny_models import END, VOCAB, ending, lm, value, words

from guiders import ARGS, LM, Guider, GuiderError, Sampling, TransferQ, generate, laws, token_log_probs

torch.set_num_threads(1)
PROMPTS, SAMPLING = ["ab", "hello there", "q"], Sampling(max_new_tokens=5, seed=3, temperature=0.9)
SCALAR, POLICY = value(kind="scalar"), lm("llama", 3)


def test_rollouts_of_length_0_are_args():
    base = ending("llama", 0, {3})
    assert_same(
        laws.decode(Guider(base, TransferQ(SCALAR, POLICY, 0.5, 4, length=0)), PROMPTS, SAMPLING),
        laws.decode(Guider(base, ARGS(SCALAR, 2.0, 4)), PROMPTS, SAMPLING),
    )


def test_a_greedy_rollout_by_hand():
    base, k, alpha = lm("gpt2", 0), 3, 0.5
    (found,) = token_log_probs(
        Guider(base, TransferQ(SCALAR, POLICY, alpha, k, length=4, temperature=0.0)), [("ab", [9, 4])]
    )
    ids = [*base.encode_prompt("ab"), 9]
    logits = base.model(torch.tensor([ids])).logits[0, -1].detach()
    top = logits.topk(k).indices.tolist()
    scores = []
    for token in top:
        text = [*ids, token]
        for _ in range(4):
            if text[-1] != END:
                text.append(int(POLICY.model(torch.tensor([text])).logits[0, -1].argmax()))
        scores.append(
            float(logits[token]) + float(SCALAR.model(torch.tensor([text])).logits[0, -1, 0].detach()) / alpha
        )
    expected = torch.tensor(scores, dtype=torch.float64).log_softmax(-1)
    assert found.log_probs[1] == pytest.approx(float(expected[top.index(4)]) if 4 in top else -math.inf, abs=1e-9)
    (best,) = token_log_probs(
        Guider(base, TransferQ(SCALAR, POLICY, alpha, k, length=4, temperature=0.0)), [("ab", [9, top[0]])]
    )
    assert best.log_probs[1] == pytest.approx(float(expected[0]), abs=1e-9)


def first_token(guide, base) -> torch.Tensor:
    pairs = [(PROMPT, [letter]) for letter in LETTERS]
    return torch.tensor([one.total for one in token_log_probs(Guider(base, guide), pairs)]).exp()


def test_many_soft_rollouts_of_the_base_are_the_optimal_policy():
    """The reward is of the length alone, paid at the end, which comes by the fourth token: all responses are listed."""
    logits, beta, steps = table(1), 0.5, 4
    last = len(PROMPT) - 1 + steps - 1
    logits[last:] = -1e9
    logits[last:, :, END] = 0.0
    paid = 0.5 * torch.randn(len(logits), generator=torch.Generator().manual_seed(4)).double()
    rewards = torch.zeros(len(logits), VOCAB, dtype=torch.float64)
    rewards[:, END] = paid
    base, reward = tabular(logits), LM(TabularValue(rewards), words(), name="paid at the end")
    tilted = dict.fromkeys(LETTERS, 0.0)
    for text in responses(steps):
        if text[-1] == END:
            earned = float(paid[len(PROMPT) - 1 + len(text)])
            tilted[text[0]] += math.exp(log_prob(logits, text) + earned / beta)
    optimal = torch.tensor([tilted[letter] for letter in LETTERS]) / sum(tilted.values())
    plain = first_token(ARGS(reward, 0.0, None), base)

    def away(rollouts: int, soft: bool = True) -> float:
        guide = TransferQ(reward, base, beta, len(LETTERS), length=steps, rollouts=rollouts, soft=soft)
        return float((first_token(guide, base) - optimal).abs().sum() / 2)

    assert float((plain - optimal).abs().sum() / 2) > 0.1
    assert away(200) < 0.09  # four standard errors of so many rollouts
    assert away(200, soft=False) > 0.15  # the mean of the rewards is another policy


def test_laws():
    laws.check(Guider(ending("llama", 0, {3}), TransferQ(SCALAR, POLICY, 0.5, 3, length=2)), PROMPTS[:2], SAMPLING)


def test_what_it_costs():
    """Each token: a position of the base; of each of k alternatives ρ reads v and all but the last of its rollout, and
    the value v and the rollout."""
    base, policy = lm("llama", 0), lm("llama", 3)
    guide = TransferQ(SCALAR, LM(policy.model, policy.tokenizer, name="endless"), 1.0, 3, length=4)
    guide.policy.__dict__["eos_ids"] = (99,)
    masked = LM(base.model, base.tokenizer, name="endless base")
    masked.__dict__["eos_ids"] = (99,)
    (one,) = generate(Guider(masked, guide), ["ab"], Sampling(max_new_tokens=5))
    n = len(one.tokens)
    assert n == 5
    assert one.forward_passes == (n - 1) + n * 3 * (4 + 5)
    assert one.computed_passes > one.forward_passes  # what is read again for every token


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"alpha": 0.0}, "transfer Q*: alpha=0.0 is out of range; it must be above 0"),
        ({"rollouts": 0}, "rollouts=0 is out of range"),
        ({"length": -1}, "length=-1 is out of range"),
        ({"k": 0}, "k=0 is out of range"),
    ],
)
def test_what_is_out_of_range(settings, said):
    with pytest.raises(GuiderError, match=said.replace("*", r"\*")):
        TransferQ(SCALAR, POLICY, **settings)
    with pytest.raises(GuiderError, match="does not share the vocabulary"):
        Guider(lm("llama", 0), TransferQ(value(tokenizer="bytes"), POLICY))
