"""A judge's recorded answers are what was written there, or are named and asked for again."""

import json

import pytest
from scripted_server import ScriptedServer
from test_judge_openai import PAIRS, judge, key, prefers_the_model  # noqa: F401  (key is a fixture)

from harness.errors import UserError
from harness.judges.replay import ReplayJudge


def _edited(row):
    row["choice"]["logprobs"]["content"][0]["top_logprobs"].reverse()
    row["choice"]["logprobs"]["content"][0]["top_logprobs"][0]["token"] = "m"


@pytest.mark.parametrize(
    "change",
    [
        _edited,
        lambda row: row.update(reason="cannot read"),
        lambda row: row.update(model="judge-2"),
        lambda row: row.update(request="0" * 64),
        lambda row: row.pop("checksum"),
    ],
)
def test_an_answer_that_was_changed_is_named_and_asked_again(change, tmp_path):
    with ScriptedServer(prefers_the_model) as server:
        found = judge(server).judge(PAIRS, "base", tmp_path)
        file = tmp_path / "answers.jsonl"
        lines = file.read_text().splitlines()
        row = json.loads(lines[5])
        change(row)
        file.write_text("\n".join([*lines[:5], json.dumps(row), *lines[6:]]) + "\n")
        with pytest.raises(UserError, match=r"answers\.jsonl:6: "):
            ReplayJudge(model="judge-1", say=lambda _: None).judge(PAIRS, "base", tmp_path)
        said = []
        assert judge(server, said.append).judge(PAIRS, "base", tmp_path) == found
        assert len(server.bodies) == len(PAIRS) + 1
        assert "answers.jsonl:6: " in said[0]
        aside = json.loads((tmp_path / "answers.rejected.jsonl").read_text())
        assert json.loads(aside["text"]) == row


def test_answers_are_read_wherever_their_file_lies_and_those_of_before_too(tmp_path):
    with ScriptedServer(prefers_the_model) as server:
        found = judge(server).judge(PAIRS, "base", tmp_path)
    moved = tmp_path / "recorded.jsonl"
    (tmp_path / "answers.jsonl").rename(moved)
    replayed = ReplayJudge(model="judge-1", answers=str(moved), say=lambda _: None)
    assert replayed.judge(PAIRS, "base", tmp_path) == found
    rows = [json.loads(line) for line in moved.read_text().splitlines()]
    moved.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "checksum"}) + "\n" for row in rows))
    assert replayed.judge(PAIRS, "base", tmp_path) == found
