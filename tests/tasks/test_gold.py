"""The gold reward is Bayes' rule: against hand computation, enumeration of a small grammar, and the sampler itself."""

import itertools
import math
import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.reviews import data, gold, grammar, parser, templates, words

SMALL_POOLS = {
    "two clauses": (
        {1: 1.0},
        {
            "opening": (
                "yesterday I saw this film| at home.",
                "yesterday I saw this film| at home, and it was {noun+}.",
            ),
            "middle": ("{be} {adj-}, but {be} {adj+}.", "{be} {adj+}.", "I {feel+} {subject}, though {be} {adj-}."),
            "closing": ("in short, it is {noun+}.", "it runs for an hour."),
        },
    ),
    "two sentences": (
        {1: 0.4, 2: 0.6},
        {
            "opening": ("yesterday I saw this film| at home.",),
            "middle": ("{be} {noun+}.", "I {feel+} {subject}.", "{be} {noun+}, but I {feel-} {subject}."),
            "closing": ("in short, it is {noun+}.",),
        },
    ),
}
STRENGTHS = {True: {1: 0.3, 2: 0.7}, False: {1: 0.6, 2: 0.4}}
MODIFIERS = {True: {"": 0.5, "hedge": 0.1, "boost": 0.4}, False: {"": 0.5, "hedge": 0.3, "boost": 0.2}}
NOUNS = {2: ("a triumph",), 1: ("a plus",), -1: ("a bore",), -2: ("a disaster",)}
FEELS = {2: ("adored",), 1: ("liked",), -1: ("doubted",), -2: ("hated",)}
ADJECTIVES = {2: ("superb",), 1: ("fine", "funny"), -1: ("fun",), -2: ("awful",)}
ASPECTS = ("the plot", "the players", "the jokes", "the joke book")


@pytest.fixture
def clean():
    def clear():
        for cached in (grammar.options, parser._automaton, parser.sentence, parser.beginning):
            cached.cache_clear()

    clear()
    yield
    clear()


def enumerate_reviews(p_middle, pools):
    """Every review with its probability under s = +1 and s = -1, written from the grammar's documentation."""

    def phrases(slot, polarity, s):
        table = {"noun": NOUNS, "feel": FEELS, "adj": ADJECTIVES}[slot.strip("{}+-")]
        polarity = -polarity if "-" in slot else polarity
        for strength, p in STRENGTHS[polarity == s].items():
            for phrase in table[polarity * strength]:
                share = p / len(table[polarity * strength])
                if table is not ADJECTIVES:
                    yield phrase, share
                    continue
                for kind, word in (("", ""), ("hedge", "rather "), ("boost", "truly ")):
                    yield word + phrase, share * MODIFIERS[polarity == s][kind]

    def fill(rest, polarity, s, named):
        if not rest:
            yield "", 1.0, named
            return
        head, tail = rest[0], rest[1:]
        if head in ("{be}", "{subject}"):
            free = [a for a in ASPECTS if a not in named]
            verb = {"the plot": " is", "the players": " are", "the jokes": " are", "the joke book": " is"}
            heads = [(a + (verb[a] if head == "{be}" else ""), 1 / len(free), {*named, a}) for a in free]
        elif head.startswith("{"):
            heads = [(text, p, named) for text, p in phrases(head, polarity, s)]
        else:
            heads = [(head, 1.0, named)]
        for text, p, now in heads:
            for after, q, last in fill(tail, polarity, s, now):
                yield text + after, p * q, last

    def review(kinds, s, named):
        if not kinds:
            yield "", 1.0
            return
        for template, polarity in itertools.product(pools[kinds[0]], (1, -1)):
            p = (grammar.P_AGREE if polarity == s else 1 - grammar.P_AGREE) / len(pools[kinds[0]])
            for text, q, now in fill(list(grammar.parts(template.replace("|", ""))), polarity, s, named):
                for after, r in review(kinds[1:], s, now):
                    yield (text[0].upper() + text[1:] + " " + after).strip(), p * q * r

    found = defaultdict(lambda: [0.0, 0.0])
    for column, s in enumerate((1, -1)):
        for n, p in p_middle.items():
            for text, q in review(["opening", *["middle"] * n, "closing"], s, frozenset()):
                found[text][column] += p * q
    return found


@pytest.mark.parametrize("name", SMALL_POOLS)
def test_reward_is_bayes_rule_on_every_review_and_every_beginning_of_a_small_grammar(name, monkeypatch, clean):
    p_middle, pools = SMALL_POOLS[name]
    monkeypatch.setattr(templates, "POOLS", pools)
    monkeypatch.setattr(grammar, "P_STRENGTH", STRENGTHS)
    monkeypatch.setattr(grammar, "P_MODIFIER", MODIFIERS)
    monkeypatch.setattr(grammar, "MODIFIERS", {"": ("",), "hedge": ("rather",), "boost": ("truly",)})
    monkeypatch.setattr(words, "EVALUATIVE", {"noun": NOUNS, "feel": FEELS, "adj": ADJECTIVES})
    monkeypatch.setattr(words, "SUBJECTS", ASPECTS)
    monkeypatch.setattr(words, "BE_SUBJECTS", ("the plot is", "the players are", "the jokes are", "the joke book is"))

    joint = enumerate_reviews(p_middle, pools)
    assert sum(p for p, _ in joint.values()) == pytest.approx(1)
    assert len(joint) > 1000

    beginnings = defaultdict(lambda: [0.0, 0.0])
    for text, (p, q) in joint.items():
        assert gold.gold_reward(text) == pytest.approx(math.log(p / q), abs=1e-9)
        for end in range(1, len(text)):
            beginnings[text[:end]][0] += p
            beginnings[text[:end]][1] += q
    for text in random.Random(0).sample(sorted(beginnings), 5000):
        if text[-1] != " ":  # white space at the end is not read
            p, q = beginnings[text]
            assert gold.gold_reward(text) == pytest.approx(math.log(p / q), abs=1e-9), text
            assert gold.fluency(text) == 1


def test_reward_of_sentences_computed_by_hand():
    agree, strong, mild, clear = math.log(0.7 / 0.3), math.log(0.35 / 0.2), math.log(0.25 / 0.45), math.log(0.4 / 0.35)
    boost = math.log(0.33 / 0.17)
    assert gold.gold_reward("The acting is superb.") == pytest.approx(agree + strong)
    assert gold.gold_reward("The acting is truly superb.") == pytest.approx(agree + strong + boost)
    assert gold.gold_reward("The acting is fine.") == pytest.approx(agree + mild)
    assert gold.gold_reward("The acting is dull.") == pytest.approx(-agree - clear)
    # The main clause speaks for the polarity; mild blame speaks against a negative review.
    assert gold.gold_reward("The plot is thin, but the acting is superb.") == pytest.approx(agree + strong - mild)
    assert gold.gold_reward("It runs for ninety minutes.") == 0
    assert gold.gold_reward("") == 0


def test_a_reward_of_r_means_positive_with_probability_sigmoid_r_for_whole_and_for_torn_texts():
    rng = random.Random(1)
    bins = defaultdict(list)
    for _ in range(8_000):
        review = grammar.sample_review(rng)
        text = review.text[: rng.randint(len(review.prompt), len(review.text))]
        reward = gold.gold_reward(text)
        bins[round(reward)].append((reward, review.sentiment > 0))
    assert len(bins) >= 7
    for drawn in bins.values():
        if len(drawn) < 100:
            continue
        expected = sum(1 / (1 + math.exp(-r)) for r, _ in drawn)
        variance = sum(math.exp(-r) / (1 + math.exp(-r)) ** 2 for r, _ in drawn)
        assert abs(sum(positive for _, positive in drawn) - expected) < 4 * math.sqrt(variance) + 1


def test_rewards_are_centred_wide_and_leave_headroom():
    rewards = [gold.gold_reward(text) for text in data.corpus(4000, 0)]
    mean = sum(rewards) / len(rewards)
    assert abs(mean) < 4 * 3 / math.sqrt(len(rewards))
    assert sum((r - mean) ** 2 for r in rewards) / len(rewards) > 1.5**2
    praise = (
        "Last night I saw this old film at home, and it was truly superb. The acting is truly superb, and the plot is"
        " utterly brilliant. The score is really flawless, and the mood is simply stunning. Overall, it is a triumph."
    )
    assert gold.fluency(praise) == 1
    assert 8 < gold.gold_reward(praise) < 15
    assert gold.gold_reward(praise) > max(rewards)


def test_strength_and_blame_order_the_rewards():
    ranked = ["awful", "dull", "thin", "fine", "great", "superb"]
    rewards = [gold.gold_reward(f"The plot is {word}.") for word in ranked]
    assert rewards == sorted(rewards)
    assert len(set(rewards)) == len(ranked)


def test_the_two_sentiments_mirror_each_other():
    opposite = {"superb": "awful", "clever": "dull", "decent": "tame"}
    for praise, blame in opposite.items():
        for sentence in ("The plot is {}.", "I found the cast rather {}.", "Near the end, the jokes are truly {}."):
            assert gold.gold_reward(sentence.format(praise)) == pytest.approx(-gold.gold_reward(sentence.format(blame)))


def test_repetition_and_broken_text_buy_nothing():
    once = "The acting is truly superb."
    assert gold.gold_reward(" ".join([once] * 5)) == gold.gold_reward(once)
    assert gold.gold_reward(f"{once} {once[:-1]}") == gold.gold_reward(once)
    assert gold.fluency(" ".join([once] * 5)) == pytest.approx(1 / 5)
    every_praise = [p for table in words.EVALUATIVE.values() for level in table if level > 0 for p in table[level]]
    assert 0 < gold.gold_reward(" ".join(every_praise)) <= gold.CAP
    assert 0 < gold.gold_reward(" ".join(f"{p}." for p in every_praise)) <= gold.CAP
    assert gold.gold_reward("superb acting of the") < gold.gold_reward("The acting is superb.")
    assert gold.gold_reward("nothing of the kind") == 0


def test_shuffled_words_are_not_fluent():
    rng = random.Random(0)
    fluency = []
    for text in data.corpus(200, 3):
        shuffled = text.split()
        rng.shuffle(shuffled)
        fluency.append(gold.fluency(" ".join(shuffled)))
    assert sum(fluency) / len(fluency) < 0.1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("  \n", 0),
        ("...", 0),
        ("The plot is superb.", 1),
        ("The plot is superb", 1),
        ("The plot is sup", 1),
        ("The plot is xyz", 0),
        ("the plot is superb.", 0),
        ("The plot  is superb.", 0),
        ("The plot are superb.", 0),
        ("The plot is superb. Plot the is.", 0.5),
        ("I", 1),
        ("I loved the plot. i loved the cast.", 0.5),
    ],
)
def test_fluency_is_the_share_of_parsed_sentences(text, expected):
    assert gold.fluency(text) == expected


pieces = st.lists(st.sampled_from([*sorted(grammar.vocabulary()), ".", ",", ". The", ". I", "!", "?", "\n"]))


@settings(max_examples=300, deadline=None)
@given(st.text() | pieces.map(" ".join) | pieces.map(lambda p: " ".join(p).replace(" .", ".")))
def test_scores_of_any_text_are_finite(text):
    assert math.isfinite(gold.gold_reward(text))
    assert 0 <= gold.fluency(text) <= 1
