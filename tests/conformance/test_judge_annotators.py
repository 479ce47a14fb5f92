"""What the judge is asked and how its answer is read, against alpaca_eval's own annotator."""

import hashlib
import json

import pytest

from harness.adapters.annotators import Annotator, UnparsableAnswer
from harness.errors import UserError
from harness.records.judgement import Pair

PAIRS = [
    Pair(f"Question {n}?\nWith {{braces}} and ünïcode.", f"baseline {n}", f"model {n} {'x' * n}") for n in range(23)
]
# Log-probabilities, tools, rankings, chain of thought, several pairs in a prompt, no shuffled order, no chat.
NAMES = [
    "weighted_alpaca_eval_gpt4_turbo",
    "weighted_alpaca_eval_cot_gpt4_turbo",
    "alpaca_eval_clf_gpt4_turbo",
    "alpaca_eval_gpt4",
    "alpaca_eval_gpt4_fn",
    "chatgpt_fn",
    "alpaca_farm_greedy_gpt4",
    "lmsys_gpt4",
    "gpt35_turbo_instruct",
]


def answer(name: str, request: list[dict] | str) -> dict:
    """A choice that the annotator can parse, decided by the hash of the request's messages or prompt."""
    digest = hashlib.sha256(str(request).encode()).digest()
    first = digest[0] % 2 == 0
    message: dict = {"role": "assistant", "content": None, "tool_calls": None, "function_call": None}
    if "weighted" in name or "clf" in name:
        p = (digest[1] + 1) / 258
        top = [{"token": "m", "logprob": -0.1 - p}, {"token": "M", "logprob": -2 * p}, {"token": "x", "logprob": -9.0}]
        message["content"] = "m"
        return {"message": message, "logprobs": {"content": [{"top_logprobs": top}]}}
    ranking = [{"model": "model_1", "rank": 1 if first else 2}, {"model": "model_2", "rank": 2 if first else 1}]
    if name == "alpaca_eval_gpt4_fn":
        message["tool_calls"] = [{"function": {"arguments": json.dumps({"ordered_models": ranking})}}]
    elif name == "chatgpt_fn":
        message["tool_calls"] = [{"function": {"arguments": json.dumps({"best_output": f"Output ({'ba'[first]})"})}}]
    elif name == "alpaca_eval_gpt4":
        message["content"] = str(ranking)
    elif name == "lmsys_gpt4":
        message["content"] = "8 3\nyes" if first else "3 8\nno"
    elif name == "gpt35_turbo_instruct":
        return {"text": f"\nOutput ({'a' if first else 'b'})"}
    else:
        message["content"] = "".join(f"\n### Best:\nOutput ({'ab'[digest[i] % 2]})\n" for i in range(5))
    return {"message": message}


def stock(name: str) -> tuple[list, dict]:
    """The requests that alpaca_eval would send, and its preferences by instruction."""
    from alpaca_eval import utils
    from alpaca_eval.annotators import PairwiseAnnotator

    sent = []

    def client(prompts, **_):
        prompts = [prompt.strip() for prompt in prompts]
        asked = [utils.prompt_to_chatml(p) if p.startswith("<|im_start|>") else p for p in prompts]
        sent.extend(asked)
        choices = [answer(name, request) for request in asked]
        texts = []
        for choice in choices:
            message = choice.get("message", {})
            calls = message.get("tool_calls")
            texts.append(calls[0]["function"]["arguments"] if calls else message.get("content", choice.get("text")))
        return {"completions": texts, "completions_all": choices}

    annotator = PairwiseAnnotator(annotators_config=name, caching_path=None, is_avoid_reannotations=False)
    for single in annotator.annotators.values():
        single.fn_completions = client
    rows = [{"instruction": p.instruction, "output_1": p.baseline, "output_2": p.response} for p in PAIRS]
    return sent, {row["instruction"]: row["preference"] for row in annotator(rows)}


@pytest.mark.parametrize("name", NAMES)
def test_requests_and_preferences_are_alpaca_evals_own(name):
    sent, preferences = stock(name)
    annotator = Annotator(name)
    questions = annotator.questions(PAIRS)
    ours = [question.body.get("messages") or question.body["prompt"] for question in questions]
    assert sorted(map(str, ours)) == sorted(map(str, sent))
    found = {}
    for question, request in zip(questions, ours, strict=True):
        answered = annotator.parse(question, answer(name, request))
        for place, preference in zip(question.places, answered, strict=True):
            if place is not None:
                found[PAIRS[place].instruction] = preference
    assert found == pytest.approx(preferences, abs=1e-12)
    assert len(set(found.values())) > 1


def test_a_tie_is_half_way():
    """alpaca_eval's own annotator fails on the 0 that its parser gives for equal marks."""
    annotator = Annotator("lmsys_gpt4")
    (question,) = annotator.questions(PAIRS[:1])
    assert annotator.parse(question, {"message": {"content": "7 7\nboth good"}}) == [1.5]


def test_every_annotator_of_alpaca_eval_asks_or_says_why_not():
    from alpaca_eval import constants

    names = sorted(path.parent.name for path in constants.EVALUATORS_CONFIG_DIR.glob("*/configs.yaml"))
    refused = []
    for name in names:
        try:
            questions = Annotator(name, "any-model").questions(PAIRS[:3])
        except UserError:
            refused.append(name)
        else:
            assert all(question.body["model"] == "any-model" for question in questions)
    assert refused == ["alpaca_farm"]  # its members bias tokens of models that are gone


def test_an_unknown_annotator_is_named_with_the_known_ones():
    with pytest.raises(UserError, match=r"weighted_alpaca_eval_gpt4_turbo"):
        Annotator("weighted_alpaca_eval")


@pytest.mark.parametrize(
    "choice",
    [
        {"message": {"content": "m"}},
        {"message": {"content": "m"}, "logprobs": {"content": []}},
        {"message": {"content": None}, "logprobs": {"content": [{"top_logprobs": [{"token": "x", "logprob": 0.0}]}]}},
        {"message": {"content": "\x1b[2J"}, "logprobs": {"content": [{"top_logprobs": None}]}},
        {},
    ],
)
def test_an_answer_without_a_preference_is_unparsable_and_nothing_of_it_is_printed(choice, capfd, caplog):
    annotator = Annotator("weighted_alpaca_eval_gpt4_turbo")
    with pytest.raises(UnparsableAnswer) as error:
        annotator.parse(annotator.questions(PAIRS[:1])[0], choice)
    assert str(error.value).isprintable()
    captured = capfd.readouterr()
    assert captured.out + captured.err + caplog.text == ""
