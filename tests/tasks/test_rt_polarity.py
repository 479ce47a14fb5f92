"""The rt-polarity task: halves and splits that never mix, a gold reward that is a logistic regression."""

import json
import math
import os
from pathlib import Path

import pytest

from benchmarks import rt_polarity as end_to_end
from tasks.errors import TaskError
from tasks.rt_polarity import data, gold, task

SHARED = Path(os.environ.get("SHARED_DIR", Path(__file__).resolve().parents[3] / "shared"))
REAL = SHARED / "data" / "rt_polarity"
ROWS = [(f"the {i} film is {'good' if i % 2 else 'dull'} and {'warm' if i % 3 else 'cold'}", i % 2) for i in range(60)]


def test_the_reward_is_the_logistic_regressions_log_odds():
    """Against scikit-learn's own decision function on the same features."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    model = gold.fit(ROWS)
    found = [gold.features(text) for text, _ in ROWS]
    rarity = {
        feature: math.log(60 / sum(feature in one for one in found))
        for feature in set().union(*found)
        if sum(feature in one for one in found) >= 2
    }
    vectorizer = DictVectorizer()
    matrix = vectorizer.fit_transform([{f: rarity[f] for f in one if f in rarity} for one in found])
    theirs = LogisticRegression(C=0.02, max_iter=1000).fit(matrix, [label for _, label in ROWS])
    for (text, _), expected in zip(ROWS, theirs.decision_function(matrix), strict=True):
        assert gold.log_odds(model, text) == pytest.approx(expected, abs=1e-3)
    assert gold.log_odds(model, "") == model["bias"]


def test_a_sentence_is_in_one_half_and_a_prompt_in_one_split():
    ours, theirs = data.halves(ROWS)
    assert sorted(ours + theirs) == sorted(ROWS)
    found = data.prompts(ROWS)
    assert not set(found["train"]) & set(found["test"])
    assert not set(found["dev"]) & (set(found["train"]) | set(found["test"]))
    prompt, rest = data.divided("one two three four five")
    assert (prompt, rest) == ("one two three", " four five")


def test_preferences_are_between_a_prompts_best_and_worst(tmp_path):
    for seed, response in enumerate([" dull", " good", " good good"]):
        for kind, row in (("records", {"prompt": "the film is", "response": response}), ("scores", None)):
            path = tmp_path / kind / f"base-{seed}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({"key": "k", **(row or {"scores": {"gold_reward": float(seed)}})}) + "\n")
    end_to_end.preferences(tmp_path, tmp_path)
    (pair,) = end_to_end.read(tmp_path / "preferences.jsonl")
    assert pair == {"prompt": "the film is", "chosen": " good good", "rejected": " dull"}
    assert [row["reward"] for row in end_to_end.read(tmp_path / "rewards.jsonl")] == [0.0, 1.0, 2.0]


def test_the_task_scores_prompt_and_response_with_the_model_beside_its_prompts(tmp_path):
    model = gold.fit(ROWS)
    (tmp_path / "gold.json").write_text(json.dumps(model))
    (tmp_path / "prompts.json").write_text(json.dumps({"test": ["the film is"]}))
    doc = task.load(str(tmp_path / "prompts.json"))["test"][0]
    scores = task.process_results(doc, [" good"])
    assert scores == {"gold_reward": gold.log_odds(model, "the film is good"), "length": 5.0}
    assert gold.score(["the film is"], [" good"], doc["gold"]) == [scores["gold_reward"]]
    with pytest.raises(TaskError, match=r"task\.data: not set"):
        task.load()


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the sentences are not in {SHARED}; set SHARED_DIR")
def test_the_gold_reward_tells_the_other_halfs_sentences_apart():
    """Pang and Lee (2005) sentences: bags of words reach about 75 to 78% with twice as many to learn from."""
    theirs, ours = data.halves(data.sentences(REAL))
    model = gold.fit(theirs)
    right = sum((gold.log_odds(model, text) > 0) == bool(label) for text, label in ours)
    assert right / len(ours) > 0.73
    assert not {text for text, _ in theirs} & {text for text, _ in ours}


def test_a_folder_without_the_files_is_said(tmp_path):
    with pytest.raises(TaskError, match=r"rt-polarity\.pos: No such file"):
        data.sentences(tmp_path)
