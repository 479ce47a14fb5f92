"""The gold reward: the log-odds of a positive sentence under a logistic regression on words and pairs of words."""

import functools
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path

from tasks.rt_polarity.data import words


def features(text: str) -> set[str]:
    """The words and pairs of neighbours that a text holds."""
    found = words(text)
    return {*found, *(f"{a} {b}" for a, b in itertools.pairwise(found))}


def fit(rows: Sequence[tuple[str, int]]) -> dict:
    """Weights by L2-regularised maximum likelihood: ``{"bias", "weights": {feature: weight}}``.

    A feature counts once, weighted by log(rows / rows that hold it), and must be held by two sentences.
    """
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    held: dict[str, int] = {}
    found = [features(text) for text, _ in rows]
    for one in found:
        for feature in one:
            held[feature] = held.get(feature, 0) + 1
    rarity = {feature: math.log(len(rows) / count) for feature, count in held.items() if count >= 2}
    vectorizer = DictVectorizer()
    matrix = vectorizer.fit_transform([{f: rarity[f] for f in sorted(one) if f in rarity} for one in found])
    model = LogisticRegression(C=0.02, max_iter=1000).fit(matrix, [label for _, label in rows])
    weights = {
        feature: float(weight) * rarity[feature]
        for feature, weight in zip(vectorizer.feature_names_, model.coef_[0], strict=True)
    }
    return {"bias": float(model.intercept_[0]), "weights": weights}


def log_odds(model: dict, text: str) -> float:
    """The log-odds of a positive sentence, in nats; finite for every text."""
    weights = model["weights"]
    return model["bias"] + math.fsum(weights.get(feature, 0.0) for feature in features(text))


@functools.cache
def load(path: str) -> dict:
    """A fitted model, as ``fit`` gives it, from its JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def score(prompts: Sequence[str], responses: Sequence[str], path: str) -> list[float]:
    """Rewards of responses, for ``train.reward=tasks.rt_polarity.gold:score +train.reward_args.path=FILE``."""
    return [log_odds(load(path), prompt + response) for prompt, response in zip(prompts, responses, strict=True)]
