"""The language-model judge on a scripted server: what is asked, what is stored, what is missing."""

import time

import pytest
from scripted_server import ScriptedServer, preference_for, refusal

from harness.errors import UserError
from harness.judges.openai_judge import OpenAIJudge
from harness.judges.replay import ReplayJudge
from harness.records.judgement import Pair

PAIRS = [Pair(f"Say {n}.", f"It is {n}.", f"{n}!", n) for n in range(12)]
SECRET = "sk-test-1234567890"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("JUDGE_TEST_KEY", SECRET)


def judge(server, say=lambda _: None, **settings):
    defaults = {"model": "judge-1", "base_url": server.url, "key_env": "JUDGE_TEST_KEY", "backoff": 0.001, "retries": 2}
    return OpenAIJudge(**{**defaults, **settings}, say=say)


def prefers_the_model(_, body, strength=0.75):
    """An honest judge: it prefers the model's response wherever that stands."""
    prompt = body["messages"][-1]["content"]
    model_first = '!"""' in prompt.split('"model_identifier": "M"')[0]
    return preference_for(strength if model_first else 1 - strength)


def test_the_order_of_the_outputs_is_undone(tmp_path):
    with ScriptedServer(prefers_the_model) as server:
        found = judge(server).judge(PAIRS, "base", tmp_path)
    assert [judgement.preference for judgement in found] == pytest.approx([1.75] * len(PAIRS))
    prompts = [body["messages"][-1]["content"] for body in server.bodies]
    first = ['!"""' in prompt.split('"model_identifier": "M"')[0] for prompt in prompts]
    assert 0 < sum(first) < len(PAIRS)
    assert {judgement.judge for judgement in found} == {"weighted_alpaca_eval_gpt4_turbo:judge-1"}
    assert [(judgement.len_1, judgement.len_2) for judgement in found] == [
        (len(pair.baseline), len(pair.response)) for pair in PAIRS
    ]


def test_a_rerun_asks_nothing_and_says_the_same(tmp_path):
    with ScriptedServer(prefers_the_model) as server:
        first = judge(server).judge(PAIRS, "base", tmp_path)
        assert judge(server).judge(PAIRS, "base", tmp_path) == first
    assert len(server.bodies) == len(PAIRS)


def test_another_output_model_server_or_annotator_is_asked_again(tmp_path):
    changed = [*PAIRS[:-1], Pair(PAIRS[-1].instruction, PAIRS[-1].baseline, "something else!")]
    with ScriptedServer(prefers_the_model) as server, ScriptedServer(prefers_the_model) as other:
        judge(server).judge(PAIRS, "base", tmp_path)
        judge(server).judge(changed, "base", tmp_path)
        assert len(server.bodies) == len(PAIRS) + 1
        judge(server, model="judge-2").judge(PAIRS, "base", tmp_path)
        assert len(server.bodies) == 2 * len(PAIRS) + 1
        judge(server, annotator="weighted_alpaca_eval_gpt4_turbo_new").judge(PAIRS, "base", tmp_path)
        judge(other).judge(PAIRS, "base", tmp_path)
        assert len(other.bodies) == len(PAIRS)


def test_equal_outputs_are_a_tie_and_are_not_asked(tmp_path):
    with ScriptedServer(prefers_the_model) as server:
        (found,) = judge(server).judge([Pair("Say it.", "same", "same")], "base", tmp_path)
    assert found.preference == 1.5
    assert server.bodies == []


def test_unreadable_answers_and_failures_are_missing_and_asked_again(tmp_path):
    def script(number, body):
        if "Say 3." in body["messages"][-1]["content"]:
            return refusal(400, "content filter")
        if "Say 5." in body["messages"][-1]["content"]:
            answer = preference_for(0.5)
            answer[2]["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = [{"token": "The", "logprob": 0.0}]
            answer[2]["choices"][0]["message"]["content"] = "The\x1b[2J"
            return answer
        return prefers_the_model(number, body)

    with ScriptedServer(script) as server:
        found = judge(server).judge(PAIRS, "base", tmp_path)
    reasons = {place: judgement.reason for place, judgement in enumerate(found) if judgement.preference is None}
    assert sorted(reasons) == [3, 5]
    assert "content filter" in reasons[3]
    assert "The" in reasons[5]
    assert all(reason.isprintable() for reason in reasons.values())


def test_missing_judgements_alone_are_asked_again(tmp_path):
    asked_again = []

    def script(number, body):
        if number > len(PAIRS):
            asked_again.append(body["messages"][-1]["content"])
            return prefers_the_model(number, body)
        if "Say 7." in body["messages"][-1]["content"]:
            return refusal(400)
        return prefers_the_model(number, body)

    with ScriptedServer(script) as server:
        judge(server).judge(PAIRS, "base", tmp_path)
        found = judge(server).judge(PAIRS, "base", tmp_path)
    assert len(asked_again) == 1
    assert "Say 7." in asked_again[0]
    assert all(judgement.reason is None for judgement in found)


def test_a_dead_server_is_not_asked_for_everything(tmp_path):
    with ScriptedServer(lambda *_: refusal(503)) as server:
        found = judge(server, in_flight=2, retries=1).judge(PAIRS, "base", tmp_path)
    assert all(judgement.preference is None for judgement in found)
    assert len(server.bodies) < len(PAIRS)
    assert sum("in a row" in judgement.reason for judgement in found) >= len(PAIRS) - 2 * 2


def test_no_more_requests_at_once_than_allowed(tmp_path):
    def script(number, body):
        time.sleep(0.02)
        return prefers_the_model(number, body)

    with ScriptedServer(script) as server:
        judge(server, in_flight=3).judge(PAIRS, "base", tmp_path)
    assert server.most_at_once == 3


def test_the_key_is_sent_and_is_nowhere_else(tmp_path, capsys):
    def script(number, body):  # a server that repeats what it was told
        answer = prefers_the_model(number, body)
        answer[2]["choices"][0]["message"]["content"] = f"your key is {SECRET}"
        return refusal(400, f"bad key {SECRET}") if number == 2 else answer

    said = []
    with ScriptedServer(script) as server:
        judge(server, say=said.append).judge(PAIRS, "base", tmp_path)
    assert server.authorizations[0] == f"Bearer {SECRET}"
    assert SECRET not in (tmp_path / "answers.jsonl").read_text()
    captured = capsys.readouterr()
    assert SECRET not in captured.out + captured.err + "".join(said)


def test_a_refused_key_keeps_what_was_answered(tmp_path):
    with ScriptedServer(lambda n, body: refusal(401) if n == 9 else prefers_the_model(n, body)) as server:
        with pytest.raises(UserError, match="key_env"):
            judge(server, in_flight=1).judge(PAIRS, "base", tmp_path)
        assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 8
        judge(server).judge(PAIRS, "base", tmp_path)
    assert len(server.bodies) == 9 + 4


def test_hosted_without_a_key_is_refused_before_anything_is_asked(monkeypatch):
    monkeypatch.delenv("JUDGE_TEST_KEY")
    with pytest.raises(UserError, match="JUDGE_TEST_KEY"):
        OpenAIJudge(key_env="JUDGE_TEST_KEY")


def test_the_budget_is_held_before_anything_is_asked(tmp_path):
    prices = {"judge-1": {"input": 1e6, "output": 0.0}}  # a dollar a token
    with ScriptedServer(prefers_the_model) as server:
        with pytest.raises(UserError, match="budget_usd"):
            judge(server, prices=prices, budget_usd=100).judge(PAIRS, "base", tmp_path)
        with pytest.raises(UserError, match="price unknown"):
            judge(server, prices={}, budget_usd=100).judge(PAIRS, "base", tmp_path)
        assert server.bodies == []
        judge(server, prices=prices, budget_usd=1e6).judge(PAIRS, "base", tmp_path)
        judge(server, prices={}, budget_usd=0).judge(PAIRS, "base", tmp_path)  # everything is stored: it costs nothing
    assert len(server.bodies) == len(PAIRS)


def test_what_will_be_asked_stored_and_spent_is_said_first(tmp_path):
    said = []
    with ScriptedServer(prefers_the_model) as server:
        judge(server, say=said.append).judge(PAIRS[:4], "base", tmp_path)
        judge(server, say=said.append, prices={"judge-1": {"input": 0, "output": 0}}).judge(PAIRS, "base", tmp_path)
    assert said[0].startswith("judgements: 4 needed, 0 stored, 4 to ask (price unknown")
    assert said[1] == "judgements: 12 needed, 4 stored, 8 to ask (about $0.00)"


def test_replay_answers_from_the_record_alone(tmp_path):
    with ScriptedServer(prefers_the_model) as server:
        recorded = judge(server).judge(PAIRS[:8], "base", tmp_path)
    quiet = {"say": lambda _: None}
    assert ReplayJudge(**quiet).judge(PAIRS[:8], "base", tmp_path) == recorded
    with pytest.raises(UserError, match=r"4 of 12 judgements are not recorded.*instruction 8"):
        ReplayJudge(**quiet).judge(PAIRS, "base", tmp_path)
    with pytest.raises(UserError, match="no recorded answers"):
        ReplayJudge(**quiet).judge(PAIRS, "base", tmp_path / "elsewhere")
    with ScriptedServer(prefers_the_model) as server:
        judge(server, model="judge-2").judge(PAIRS[:8], "base", tmp_path)
    with pytest.raises(UserError, match=r"judge\.model"):
        ReplayJudge(**quiet).judge(PAIRS[:8], "base", tmp_path)
    assert ReplayJudge(model="judge-1", **quiet).judge(PAIRS[:8], "base", tmp_path) == recorded


def test_a_torn_line_is_asked_again_and_a_damaged_one_is_named(tmp_path):
    with ScriptedServer(prefers_the_model) as server:
        judge(server).judge(PAIRS, "base", tmp_path)
        file = tmp_path / "answers.jsonl"
        file.write_bytes(file.read_bytes()[:-10])
        judge(server).judge(PAIRS, "base", tmp_path)
        assert len(server.bodies) == len(PAIRS) + 1
        file.write_text('{"half": 1}\n' + file.read_text())
        with pytest.raises(UserError, match=r"answers\.jsonl:1: .*judge=openai"):
            ReplayJudge(model="judge-1", say=lambda _: None).judge(PAIRS, "base", tmp_path)
        said = []
        judge(server, said.append).judge(PAIRS, "base", tmp_path)
        assert len(server.bodies) == len(PAIRS) + 1
        assert "answers.jsonl:1: a row without 'model'; set aside in answers.rejected.jsonl" in said[0]
