"""One odd answer, whatever it is: it stops nothing, and nobody waits for it for ever."""

import json

import pytest
from scripted_server import ScriptedServer
from test_judge_openai import PAIRS, judge, key, prefers_the_model  # noqa: F401  (key is a fixture)


def one_answer(choice: dict):
    """An honest judge that answers one of the questions so."""

    def script(number, body):
        honest = prefers_the_model(number, body)
        if "Say 3." in body["messages"][-1]["content"]:
            honest[2]["choices"][0] |= choice
        return honest

    return script


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["m\ud83d", "\udc00", "m \ud83d\ude00"])
def test_half_of_a_surrogate_pair_in_an_answer_stops_nothing(text, tmp_path):
    """The log-probabilities decide; the text is stored as far as it is one."""
    with ScriptedServer(one_answer({"message": {"content": text}})) as server:
        found = judge(server).judge(PAIRS, "base", tmp_path)
    assert [judgement.preference for judgement in found] == pytest.approx([1.75] * len(PAIRS))
    stored = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(stored) == len(PAIRS)
    (odd,) = [row for row in stored if row["choice"]["message"]["content"] not in ("m", "M")]
    well_formed = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert odd["choice"]["message"]["content"].replace("\ufffd", "") == well_formed.replace("\ufffd", "")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "choice",
    [
        {"message": "m"},
        {"message": ["m"]},
        {"message": {"content": 5}},
        {"message": {"content": [{"type": "text", "text": "m"}]}, "logprobs": None},
        {"message": {"tool_calls": [{"function": None}]}},
        {"message": {"tool_calls": 5}},
        {"message": {"function_call": "m"}},
        {"message": None, "text": 7},
        {"message": None, "logprobs": None},
        {"logprobs": "m"},
        {"logprobs": {"content": [{"top_logprobs": [{"token": 5, "logprob": "x"}]}]}},
        {"logprobs": {"content": [{"top_logprobs": [{"token": "m", "logprob": float("nan")}]}]}},
    ],
)
def test_one_malformed_answer_is_missing_and_the_rest_is_judged(choice, tmp_path):
    with ScriptedServer(one_answer(choice)) as server:
        found = judge(server).judge(PAIRS, "base", tmp_path)
    assert [place for place, judgement in enumerate(found) if judgement.preference is None] == [3]
    assert found[3].reason
    assert found[3].reason.isprintable()


@pytest.mark.timeout(60)
def test_what_cannot_be_stored_ends_the_judging_with_its_error(tmp_path, monkeypatch):
    """Whatever it is: nobody waits for an answer that will never be on the disk."""
    from harness.judges.answers import Answers

    def refuses(self, rows):
        raise ValueError("not to be written")

    with ScriptedServer(prefers_the_model) as server:
        monkeypatch.setattr(Answers, "append", refuses)
        with pytest.raises(ValueError, match="not to be written"):
            judge(server).judge(PAIRS, "base", tmp_path)
