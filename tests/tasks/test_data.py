"""What the grammar writes: variety, splits, determinism, and rows that say what they claim."""

import math
import random

import pytest

from tasks import TaskError
from tasks.reviews import data, gold, grammar, parser, templates, words


def test_the_grammar_is_rich():
    assert sum(len(pool) for pool in templates.POOLS.values()) >= 20
    assert len(grammar.vocabulary()) >= 300
    texts = data.corpus(2000, 0)
    sentences = {sentence for text in texts for sentence in gold.sentences(text)[0]}
    assert len(sentences) > 4000
    seen = {word.strip(".,").lower() for text in texts for word in text.split()}
    assert len(seen) >= 300


def test_most_reviews_hold_praise_and_blame():
    def signs(text):
        found = gold._phrase_pattern().findall(text.lower())
        return {gold._phrase_evidence()[phrase] > 0 for phrase in found}

    texts = data.corpus(500, 0)
    assert sum(signs(text) == {True, False} for text in texts) > 200


def test_reviews_have_three_to_five_sentences_and_about_forty_words():
    texts = data.corpus(1000, 0)
    assert {len(gold.sentences(text)[0]) for text in texts} == {3, 4, 5}
    assert 25 <= sum(len(text.split()) for text in texts) / len(texts) <= 45


def test_every_sampled_review_parses_and_so_does_every_beginning_of_it():
    rng = random.Random(0)
    for text in data.corpus(2000, 5):
        assert gold.fluency(text) == 1
        assert gold.fluency(text[: rng.randint(1, len(text))]) == 1


def test_no_review_names_an_aspect_twice_or_repeats_a_sentence():
    for text in data.corpus(500, 0):
        sentences = gold.sentences(text)[0]
        assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize("table", words.EVALUATIVE.values(), ids=words.EVALUATIVE)
def test_no_phrase_has_two_levels(table):
    phrases = [phrase for level in table.values() for phrase in level]
    assert len(set(phrases)) == len(phrases)


def test_both_columns_of_every_slot_are_distributions():
    for slot, polarity in grammar._slots():
        for column in (1, 2):
            assert math.fsum(option[column] for option in grammar.options(slot, polarity)) == pytest.approx(1)


def test_prompts_are_neutral_distinct_fluent_and_disjoint_between_splits():
    splits = {split: data.prompts(split, 600, seed=0) for split in data.SPLITS}
    assert len({prompt for prompts in splits.values() for prompt in prompts}) == 1800
    for prompts in splits.values():
        assert {gold.gold_reward(prompt) for prompt in prompts} == {0}
        assert {gold.fluency(prompt) for prompt in prompts} == {1}
        assert all(3 < len(prompt.split()) < 12 for prompt in prompts)
    trained = {row["prompt"] for row in data.rewards(2000, 0)} | {row["prompt"] for row in data.pairs(2000, 0)}
    assert not trained & {*splits["dev"], *splits["test"]}
    assert not any(text.startswith(tuple(splits["test"])) for text in data.corpus(2000, 0))


def test_a_seed_fixes_everything_and_another_seed_changes_it():
    for draw in (data.corpus, data.pairs, data.rewards, lambda n, seed: data.prompts("dev", n, seed)):
        assert draw(20, 7) == draw(20, 7)
        assert draw(20, 7) != draw(20, 8)
        assert draw(20, 7)[:5] == draw(5, 7)


def test_rewards_are_of_prompt_and_response():
    for row in data.rewards(200, 0):
        assert row["response"].startswith(" ")
        assert row["reward"] == gold.gold_reward(row["prompt"] + row["response"])
        assert gold.fluency(row["prompt"] + row["response"]) == 1


def test_pairs_are_drawn_by_bradley_terry():
    expected = variance = ordered = 0.0
    for row in data.pairs(4000, 0):
        assert gold.fluency(row["prompt"] + row["chosen"]) == gold.fluency(row["prompt"] + row["rejected"]) == 1
        margin = gold.gold_reward(row["prompt"] + row["chosen"]) - gold.gold_reward(row["prompt"] + row["rejected"])
        p = 1 / (1 + math.exp(-abs(margin)))
        expected, variance, ordered = expected + p, variance + p * (1 - p), ordered + (margin > 0)
    assert abs(ordered - expected) < 4 * math.sqrt(variance)


@pytest.mark.parametrize(
    ("call", "culprit"),
    [
        (lambda: data.prompts("validation", 3), "'validation'"),
        (lambda: data.prompts("dev", -1), "-1"),
        (lambda: data.corpus(2.5, 0), "2.5"),
        (lambda: data.prompts("dev", 1_000_000), "1000000"),
    ],
)
def test_bad_input_is_one_line_that_names_the_culprit(call, culprit, monkeypatch):
    monkeypatch.setattr(data, "MAX_DRAWS_PER_PROMPT", 0)
    with pytest.raises(TaskError, match=culprit) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_sentence_has_one_derivation_so_positions_do_not_matter():
    # The reward of a sentence is the same wherever it stands: alone, or after another.
    for text in data.corpus(200, 9):
        alone = sum(parser.sentence(sentence).log_ratio for sentence in gold.sentences(text)[0])
        assert gold.gold_reward(text) == pytest.approx(alone)
