"""Best-of-N asks for the value of a response once, when it is over."""

import torch
from tiny_models import lm, value

from guiders import BestOfN, Explicit, Guider, Reward, Sampling, generate
from guiders.models.prompt import as_text

torch.set_num_threads(1)


class Counting:
    """A classifier's place: rewards a text by its letters, and notes every text that it reads."""

    def __init__(self):
        self.texts: list[str] = []
        self.model = lm().model  # whose lock is taken
        self.evaluated = 0

    def rewards(self, pairs):
        self.texts += [text for _, text in pairs]
        self.evaluated += sum(self.positions(*pair) for pair in pairs)
        return torch.tensor([float(text.count("a")) for _, text in pairs])

    def positions(self, prompt, text):
        return len(as_text(lm(), prompt)) + len(text)


def never_ending():
    base = lm("gpt2", 0, 0.5)
    made = type(base)(base.model, base.tokenizer, name=base.name)
    made.__dict__["eos_ids"] = ()
    return made


def test_a_reward_model_reads_each_of_n_responses_once():
    """48 tokens, three looks at which rows have ended, N = 6: 6 texts, 6·47 positions of the base's and theirs."""
    model = Counting()
    guider = Guider(never_ending(), value=Reward(model), search=BestOfN(6))
    (one,) = generate(guider, ["ab"], Sampling(max_new_tokens=48, seed=1))
    assert len(model.texts) == 6
    assert one.forward_passes == 6 * 47 + sum(model.positions("ab", text) for text in model.texts)
    assert one.value == max(text.count("a") for text in model.texts) == one.text.count("a")


def test_a_response_that_ended_early_is_read_when_it_ended_and_not_again():
    model = Counting()
    guider = Guider(lm("gpt2", 0, 0.5), value=Reward(model), search=BestOfN(6))
    for seed in range(8):
        model.texts.clear()
        (one,) = generate(guider, ["ab"], Sampling(max_new_tokens=40, seed=seed))
        assert len(model.texts) == 6
        assert one.value == max(text.count("a") for text in model.texts)


def test_a_value_in_other_tokens_reads_each_response_once():
    scored = Explicit(value("gpt2", "scalar", 7, "bytes"))
    guider = Guider(never_ending(), value=scored, search=BestOfN(3))
    (one,) = generate(guider, ["ab"], Sampling(max_new_tokens=48), trace=True)
    texts = [hypothesis["text"] for hypothesis in one.trace["chunks"][-1]["hypotheses"]]
    assert one.forward_passes == 3 * 47 + sum(len(text.encode()) for text in texts)


def test_a_trace_says_that_nothing_was_asked_yet():
    guider = Guider(never_ending(), value=Reward(Counting()), search=BestOfN(2))
    (one,) = generate(guider, ["ab"], Sampling(max_new_tokens=20), trace=True)
    first, last = one.trace["chunks"]
    assert [h["value"] for h in first["hypotheses"]] == [None, None]
    assert max(h["value"] for h in last["hypotheses"]) == one.value
