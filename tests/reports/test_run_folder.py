import json

import pytest
from synthetic import embedded_grid, write_run

from reports.errors import ReportError
from reports.run import load_run


@pytest.fixture
def folder(tmp_path):
    write_run(tmp_path / "run", grid=embedded_grid()[:3], n_dev=6, n_test=8)
    return tmp_path / "run"


def lines(path):
    return path.read_text().splitlines(keepends=True)


def test_the_first_complete_record_wins_and_a_torn_last_line_is_dropped(folder):
    file = next((folder / "records").glob("*.jsonl"))
    first = json.loads(lines(file)[0])
    again = json.dumps(first | {"response": "a later one"}) + "\n"
    file.write_text(file.read_text() + again + '{"key": "torn', newline="\n")
    records = load_run(folder).records
    mine = records[(records["trial"] == file.stem) & (records["key"] == first["key"])]
    assert mine["response"].tolist() == [first["response"]]


def test_what_is_missing_is_named_and_nothing_else(folder):
    run = load_run(folder)
    assert run.missing == []
    trial = run.trials[(run.trials["method"] == "best_of_n") & (run.trials["split"] == "dev")].iloc[0]["id"]
    for name, drop in (("records", 0), ("scores", 1), ("judgements", 2)):
        file = folder / name / f"{trial}.jsonl"
        rows = lines(file)
        file.write_text("".join(rows[:drop] + rows[drop + 1 :]))
    keys = [json.loads(line)["key"] for line in lines(folder / "judgements" / f"{trial}.jsonl")]
    found = {hole.what: hole for hole in load_run(folder).missing}
    assert set(found) == {"record", "score", "judgement"}
    assert {hole.trial for hole in found.values()} == {trial}
    assert [len(hole.keys) for hole in found.values()] == [1, 1, 1]
    assert found["record"].keys[0] == keys[0]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda p: (p / "records" / next((p / "records").iterdir()).name).write_text('{"key": "1"}\nnot json\n'),
            ":2:",
        ),
        (lambda p: [f.unlink() for f in (p / "records").iterdir()], "no records yet"),
        (lambda p: [f.unlink() for f in (p / "trials").iterdir()], "no trials"),
        (lambda p: (p / "manifest.json").write_text("[]"), "manifest.json"),
        (lambda p: next((p / "trials").iterdir()).write_text('{"id": "x"}'), "setting"),
    ],
)
def test_a_damaged_run_is_one_line_with_culprit_and_mend(folder, spoil, says):
    spoil(folder)
    with pytest.raises(ReportError) as error:
        load_run(folder)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ReportError, match="no such run"):
        load_run(tmp_path / "nothing")
