import csv
import io
import json

import pytest
from synthetic import HOSTILE, embedded_grid, write_run

from reports import summary, tax
from reports.answer import answer
from reports.compile import compile_report
from reports.naming import digits
from reports.run import load_run
from reports.table import build
from reports.view.terminal import printable, table

KEYS = [
    "trial",
    "method",
    "settings",
    "split",
    "n_prompts",
    "seeds",
    "gold_reward",
    "win_rate",
    "lc_win_rate",
    "fluency",
    "kl",
    "length",
    "tokens_per_second",
    "forward_passes_per_token",
]
ESTIMATES = [*KEYS[6:], "computed_passes_per_token"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("summary")
    write_run(folder / "run", grid=embedded_grid()[:6], n_dev=30, n_test=40)
    return compile_report([folder / "run"], folder / "out", resamples=100), folder / "out"


def test_summary_json_has_the_promised_keys_and_estimates(report):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    rows = json.loads((report[1] / "summary.json").read_text(), parse_constant=refuse)
    assert len(rows) == 6 + 3
    for row in rows:
        assert list(row)[: len(KEYS)] == KEYS
        for name in ESTIMATES:
            figure = row[name]
            if row["method"] == "base" and name.endswith("win_rate"):
                assert figure is None
            else:
                assert set(figure) == {"mean", "low", "high", "n"} | ({"bound"} if name == "kl" else set())
                assert figure["n"] == row["n_prompts"]
                if name == "tokens_per_second":  # a block's prompts share its time
                    assert figure["low"] is figure["high"] is None
                else:
                    assert figure["low"] <= figure["mean"] <= figure["high"]
    assert rows == report[0].summary()


def test_summary_csv_has_the_same_figures(report):
    rows = json.loads((report[1] / "summary.json").read_text())
    cells = list(csv.DictReader((report[1] / "summary.csv").open(newline="")))
    assert len(cells) == len(rows)
    for row, cell in zip(rows, cells, strict=True):
        assert cell["trial"] == row["trial"]
        assert float(cell["gold_reward_low"]) == row["gold_reward"]["low"]
        assert float(cell["gold_reward_n"]) == row["n_prompts"]
        assert (cell["tokens_per_second_low"], cell["tokens_per_second_high"]) == ("", "")
        assert cell["kl_bound"] == str(row["kl"]["bound"])


@pytest.mark.parametrize("start", ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_cell_of_text_is_a_formula(tmp_path, start):
    write_run(tmp_path / "run", grid=embedded_grid()[:2], n_dev=6, n_test=0)
    for file in (tmp_path / "run" / "trials").iterdir():
        trial = json.loads(file.read_text())
        file.write_text(json.dumps(trial | {"method": start if trial["method"] != "base" else "base"}))
    text = summary.as_csv(build(load_run(tmp_path / "run"), resamples=20).rows)
    methods = [row["method"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    assert sorted(methods) == sorted(["base", f"'{printable(start)}"])


@pytest.mark.parametrize("start", ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_heading_is_a_formula(tmp_path, start):
    """A task names its metrics as it likes."""
    write_run(tmp_path / "run", grid=embedded_grid()[:2], n_dev=6, n_test=0)
    for file in (tmp_path / "run" / "scores").iterdir():
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        text = "".join(json.dumps(row | {"scores": {**row["scores"], start: 1.0}}) + "\n" for row in rows)
        file.write_text(text)
    text = summary.as_csv(build(load_run(tmp_path / "run"), resamples=20).rows)
    headings = next(csv.reader(io.StringIO(text, newline="")))
    assert f"'{printable(start)}" in headings
    assert not [heading for heading in headings if heading.startswith(("=", "+", "-", "@", "\t", "\r"))]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_the_files_of_figures_can_act_on_a_terminal(tmp_path, text):
    write_run(tmp_path / "run", grid=embedded_grid()[:2], n_dev=6, n_test=0)
    for file in (tmp_path / "run" / "trials").iterdir():
        trial = json.loads(file.read_text())
        file.write_text(json.dumps(trial | {"method": text if trial["method"] != "base" else "base"}))
    for file in (tmp_path / "run" / "scores").iterdir():
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        rows = [row | {"scores": {**row["scores"], text: 1.0}} for row in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = compile_report([tmp_path / "run"], tmp_path / "report", resamples=20)
    for name in ("summary.csv", "summary.md"):
        written = (tmp_path / "report" / name).read_text(encoding="utf-8")
        assert printable(written.replace("\n", "")) == written.replace("\n", "")
    shown = table(report)
    assert printable(shown.replace("\n", "")) == shown.replace("\n", "")
    row = {"task": text, "metric": text, "method": text, "settings": {"a": text}, "n": 1, "low": None, "p_holm": None}
    lines = tax.markdown([row | {"unguided": 0.0, "guided": 0.0, "difference": 0.0}]).splitlines()
    assert len(lines) == 3
    assert printable(lines[2]) == lines[2]
    assert lines[2].replace("\\|", "").count("|") == 9
    assert "<" not in lines[2]


def test_markdown_tables_are_whole(report):
    lines = (report[1] / "summary.md").read_text().splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert "passes/token" in tables[0]
    assert "computed" not in tables[0]  # for the files alone
    assert len({line.replace("\\|", "").count("|") for line in tables[:3]}) == 1
    assert any("p (Holm)" in line for line in tables)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_a_model_wrote_steers_the_terminal(text):
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u200f\u2028\u2029" for c in printable(text))


def test_the_terminal_table_lines_up(report):
    lines = table(report[0]).splitlines()
    head = next(i for i, line in enumerate(lines) if line.split()[:1] == ["setting"])
    ends = [line.rstrip() for line in lines[head + 1 : head + 5]]
    assert len({len(line) for line in ends}) == 1


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("gold_reward", -1.234, "−1.23"),
        ("gold_reward", -0.001, "0.00"),
        ("win_rate", 61.27, "61.3"),
        ("length", 1234, "1,234"),
    ],
)
def test_figures_are_read_easily(name, value, text):
    assert digits(name, value) == text


def test_no_dev_and_other_metrics_are_carried(tmp_path):
    write_run(tmp_path / "run", grid=embedded_grid()[:2], n_dev=6, n_test=0)
    for file in (tmp_path / "run" / "scores").iterdir():
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps({"key": r["key"], "scores": {"exact_match": 1.0}}) + "\n" for r in rows))
    made = build(load_run(tmp_path / "run"), resamples=20)
    found = answer(made)
    row = summary.rows(made.rows)[0]
    assert row["gold_reward"] is None
    assert row["fluency"] is None
    assert row["exact_match"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 6}
    # the run's judge knows what is better; a task's metric need not say which way is up
    assert found.metric == "win_rate"
