"""The judge verb on small files: what it writes, and what it says to bad input."""

import gzip
import json

import pytest
from scripted_server import ScriptedServer, preference_for, refusal

from harness.errors import UserError
from harness.judges.reward_model import RewardModel
from harness.judges.run import trial_name
from harness.verbs.judge import main
from tasks.errors import TaskError
from tasks.reviews.gold import gold_reward

N = 8


def rows(generator: str, output=lambda n: f"Answer {n}.") -> list[dict]:
    return [{"instruction": f"Say {n}.", "output": output(n), "generator": generator} for n in range(N)]


@pytest.fixture
def files(tmp_path) -> list[str]:
    """Overrides for a task of eight instructions; the model's outputs are longer by n characters."""
    (tmp_path / "model.json").write_text(json.dumps(rows("own/model\x1b[31m", lambda n: "Yes." + "!" * n)))
    with gzip.open(tmp_path / "base.json.gz", "wt") as file:
        json.dump(rows("base", lambda n: "No."), file)
    return [
        "task=reviews",
        f"outputs={tmp_path / 'model.json'}",
        f"reference={tmp_path / 'base.json.gz'}",
        f"run={tmp_path / 'run'}",
    ]


def test_the_row_is_printed_and_stored(files, tmp_path, capsys):
    """A judge that always says 0.8 for the first: 1.8 or 1.2, as the order came; the mean follows from the counts."""
    with ScriptedServer(lambda *_: preference_for(0.8)) as server:
        assert main([*files, f"judge.base_url={server.url}"]) == 0
    switched = sum(
        '"Yes.' in body["messages"][-1]["content"].split('"M"')[0].replace('"""', '"') for body in server.bodies
    )
    row = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert row["win_rate"] == pytest.approx(100 * (0.8 * switched + 0.2 * (N - switched)) / N)
    assert (row["n"], row["n_missing"], row["missing"]) == (N, 0, [])
    assert row["avg_length"] == 4 + (N - 1) / 2
    shown = capsys.readouterr().out
    assert f"{row['win_rate']:.4f}" in shown
    assert "\x1b" not in shown
    (judged,) = (tmp_path / "run" / "judgements").iterdir()
    first = json.loads(judged.read_text().splitlines()[0])
    assert {"key", "preference", "judge", "baseline", "len_1", "len_2", "checksum"} == set(first)
    assert (first["baseline"], first["len_1"]) == ("base", 3)


def test_missing_judgements_end_with_exit_code_3_and_their_reasons(files, tmp_path, capsys):
    with ScriptedServer(lambda n, _: refusal(400, "\x1b[2Jfiltered") if n == 2 else preference_for(0.5)) as server:
        assert main([*files, f"judge.base_url={server.url}"]) == 3
        said = capsys.readouterr()
        assert "filtered" in said.err
        assert "1 of 8 judgements are missing" in said.err
        assert "\x1b" not in said.out + said.err
        assert json.loads((tmp_path / "run" / "summary.json").read_text())["n_missing"] == 1
        assert main([*files, f"judge.base_url={server.url}"]) == 0
    assert len(server.bodies) == N + 1


def test_a_share_of_missing_judgements_can_be_allowed(files):
    with ScriptedServer(lambda n, _: refusal(400) if n == 2 else preference_for(0.5)) as server:
        assert main([*files, f"judge.base_url={server.url}", "judge.max_missing=0.125"]) == 0


def test_an_own_price_holds_the_budget_of_a_model_with_any_name(files):
    own = ["judge.model=org/model-1.5", "judge.price.input=1000000", "judge.price.output=0", "judge.budget_usd=10"]
    with ScriptedServer(lambda *_: preference_for(0.5)) as server:
        with pytest.raises(UserError, match=r"over judge\.budget_usd"):
            main([*files, f"judge.base_url={server.url}", *own])
        assert server.bodies == []
        assert main([*files, f"judge.base_url={server.url}", *own[:-1]]) == 0


def test_the_key_is_in_no_file_and_not_printed(files, tmp_path, capsys, monkeypatch):
    secret = "sk-quite-secret-9876"
    monkeypatch.setenv("OWN_KEY", secret)
    with ScriptedServer(lambda *_: refusal(400, f"{secret} is no good")) as server:
        main([*files, f"judge.base_url={server.url}", "judge.key_env=OWN_KEY"])
    assert server.authorizations[0] == f"Bearer {secret}"
    captured = capsys.readouterr()
    assert secret not in captured.out + captured.err
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(written) >= 4
    assert not any(secret in path.read_text() for path in written)


def test_the_tasks_gold_reward_judges_without_a_server(tmp_path):
    good, bad = " I loved it.", " I hated it."
    texts = [("model.json", "m", good), ("base.json", "b", bad)]
    for name, generator, output in texts:
        (tmp_path / name).write_text(json.dumps(rows(generator, lambda n, output=output: output)))
    options = [f"outputs={tmp_path / 'model.json'}", f"reference={tmp_path / 'base.json'}", f"run={tmp_path / 'run'}"]
    assert main(["task=reviews", "judge=reward", *options]) == 0
    (judged,) = (tmp_path / "run" / "judgements").iterdir()
    for n, line in enumerate(judged.read_text().splitlines()):
        difference = gold_reward(f"Say {n}.{good}") - gold_reward(f"Say {n}.{bad}")
        wins = json.loads(line)["preference"] - 1
        assert wins / (1 - wins) == pytest.approx(2.718281828459045**difference)


def test_a_reward_model_gives_each_pair_its_own_reward_whatever_the_batch(tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {word: index for index, word in enumerate(["[UNK]", "[PAD]", "good", "bad", "?", "very"])}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]", pad_token="[PAD]")
    tokenizer.save_pretrained(tmp_path)
    config = transformers.GPT2Config(
        vocab_size=6, n_positions=32, n_embd=8, n_layer=1, n_head=2, num_labels=1, pad_token_id=1
    )
    transformers.set_seed(0)
    transformers.GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    pairs = [("?", "good"), ("?", "very very very good"), ("? ?", "bad"), ("?", "very bad")]
    alone = [RewardModel(str(tmp_path), batch_size=1)([pair])[0] for pair in pairs]
    assert RewardModel(str(tmp_path), batch_size=3)(pairs) == pytest.approx(alone, abs=1e-5)
    assert len(set(alone)) == len(pairs)


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        (["outputs=/nowhere.json"], "/nowhere.json"),
        (["judge=gpt"], "judge=gpt"),
        (["judge.modle=x"], "judge.model"),
        (["judge.in_flight=0"], "judge.in_flight"),
        (["judge.max_missing=2"], "judge.max_missing"),
        (["judge.timeout=-1"], "judge.timeout"),
        (["judge.annotator=gpt5"], "judge.annotator"),
        (["judge.base_url=nonsense"], "judge.base_url"),
        (["judge=replay"], "no recorded answers"),
        (["judge=reward", "judge.model=/nowhere"], "judge.model"),
        (["task=alpaca_eval"], "AlpacaEval"),
        (["run=null"], "run"),
    ],
)
def test_bad_input_is_named_in_one_line(files, change, culprit):
    with pytest.raises((UserError, TaskError)) as error:
        main(
            [*files, "judge.base_url=http://127.0.0.1:9/v1", *change]
            if "judge=re" not in change[0]
            else [*files, *change]
        )
    assert culprit in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("[", "not a JSON file"),
        ("{}", "not a list"),
        ("[]", "not a list"),
        ('[{"instruction": "a"}]', "row 0"),
        ('[{"instruction": "a", "output": 1}]', "row 0"),
        ('[{"instruction": "a", "output": "x"}, {"instruction": "a", "output": "y"}]', "rows 0 and 1"),
        ('[{"instruction": "unheard of", "output": "x"}]', "not in the reference"),
        (json.dumps([*rows("one")[:2], *rows("two")[2:]]), "2 generators"),
    ],
)
def test_a_file_of_outputs_that_is_none_is_named(files, tmp_path, text, culprit):
    (tmp_path / "model.json").write_text(text)
    with pytest.raises((UserError, TaskError), match=culprit):
        main([*files, "judge.base_url=http://127.0.0.1:9/v1"])


def test_a_generators_name_becomes_no_path():
    assert "/" not in trial_name("../../etc/passwd")
    assert not trial_name("..").startswith(".")
    assert trial_name("gemma-2b-it") == "gemma-2b-it"
