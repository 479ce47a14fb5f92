"""Agreement with the other rows: minimum Bayes risk by brute force, the plurality vote, the first of two."""

import itertools
from collections import Counter

import pytest
import torch
from tables import prompts, table
from tiny_models import lm, value

from guiders import Agreement, BestOfN, ChunkBeam, Explicit, Guider, GuiderError, Sampling, Sum, generate
from guiders.laws import check, decode
from guiders.value.agreement import exact, word_f1

torch.set_num_threads(1)


def voted(agreement, n, steps=4, count=150, search=None):
    guider = Guider(table(1), value=agreement, search=search or BestOfN(n))
    return list(generate(guider, prompts(count), Sampling(max_new_tokens=steps, seed=2), trace=True))


def test_exact_matches_are_the_plurality_vote():
    """The most frequent text of all rows, the earliest row's of equals; its value is its votes besides its own."""
    decided = 0
    for one in voted(Agreement("exact"), 7):
        rows = [h["text"] for h in one.trace["chunks"][-1]["hypotheses"]]
        votes = Counter(rows)
        assert one.text == max(rows, key=lambda text: votes[text])  # max gives the first of equals
        assert one.value == pytest.approx((votes[one.text] - 1) / 6)
        decided += one.text != rows[0]
    assert decided > 30  # it is not the first draw


def test_answers_are_compared_where_an_expression_finds_them():
    """The last b or c of a text is its answer; a text without one agrees with nothing."""
    for one in voted(Agreement("exact", answer="([bc])"), 5, count=60):
        rows = [h["text"] for h in one.trace["chunks"][-1]["hypotheses"]]
        answers = ["".join(c for c in row if c in "bc")[-1:] for row in rows]
        said = [sum(a == b != "" for b in answers) - (a != "") for a in answers]
        assert one.text == rows[said.index(max(said))]
        assert one.value == pytest.approx(max(said) / 4)


def test_minimum_bayes_risk_is_the_highest_mean_similarity():
    def letters(one, other):
        left, right = Counter(one), Counter(other)
        return sum((left & right).values()) / max(1, len(one) + len(other))

    for one in voted(Agreement(letters), 5, count=60):
        rows = [h["text"] for h in one.trace["chunks"][-1]["hypotheses"]]
        risk = [sum(letters(a, b) for j, b in enumerate(rows) if j != i) / 4 for i, a in enumerate(rows)]
        assert one.value == pytest.approx(max(risk))
        assert one.text == rows[risk.index(max(risk))]


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_rows_give_the_first_draw(n):
    first = generate(Guider(table(1)), prompts(60), Sampling(max_new_tokens=4, seed=2))
    expected = {one.index: one.tokens for one in first}
    assert {one.index: one.tokens for one in voted(Agreement(), n, count=60)} == expected


def test_word_f1_is_rouge_1():
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1"])
    texts = ["the cat sat on the mat", "a cat sat", "the the the cat", "dogs", ""]
    for one, other in itertools.product(texts[:-1], repeat=2):
        assert word_f1(one, other) == pytest.approx(scorer.score(one, other)["rouge1"].fmeasure)
    assert word_f1("", "") == 1.0
    assert word_f1("", "a") == 0.0
    assert exact(" The cat", "the  CAT ") == 1.0


def test_laws_and_no_passes():
    guider = Guider(lm("gpt2", 0, 1.0), value=Agreement(), search=BestOfN(6))
    check(guider, ["hat", "a dog"], Sampling(max_new_tokens=20, seed=3))
    (one,) = decode(guider, ["hat"], Sampling(max_new_tokens=9, seed=1), trace=True)
    rows = one.trace["chunks"][-1]["hypotheses"]
    assert one.forward_passes == sum(len(row["text"]) + row["ended"] - 1 for row in rows)  # the base's own


def test_in_a_sum_each_part_has_its_own_rows():
    """Rows that have ended are compared again at each boundary, and their other value is not."""
    scalar = Explicit(value("gpt2", "scalar", 7))
    guider = Guider(lm("gpt2", 0, 1.0), value=Sum([(scalar, 1.0), (Agreement(), 0.0)]), search=ChunkBeam(2, 3, 2))
    alone = Guider(guider.base, value=scalar, search=guider.search)
    asked = Sampling(max_new_tokens=16, seed=5)
    for one, other in zip(decode(guider, ["hat", "dog"], asked), decode(alone, ["hat", "dog"], asked), strict=True):
        assert one.tokens == other.tokens
        assert one.value == pytest.approx(other.value, abs=1e-9)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"similarity": "bleu"}, "similarity='bleu' is unknown"), ({"answer": "(a"}, "does not parse")],
)
def test_bad_settings_are_one_line(settings, said):
    with pytest.raises(GuiderError, match=said) as caught:
        Agreement(**settings)
    assert "\n" not in str(caught.value)
