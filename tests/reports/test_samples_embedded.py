import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import embedded_grid, write_run

from reports.answer import answer
from reports.run import load_run
from reports.table import build
from reports.view.samples import embed, samples


@given(st.text())
def test_embedded_json_is_inert_in_html_and_reads_back(text):
    inside = embed({"text": text})
    assert not set(inside) & set("<>&\u2028\u2029")
    assert json.loads(inside) == {"text": text}


def test_half_a_surrogate_pair_does_not_stop_the_report():
    assert json.loads(embed(["\ud83d"])) == ["?"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples") / "run"
    write_run(folder, grid=embedded_grid()[:8], n_dev=10, n_test=24, words=120, every_setting_on_test=True)
    table = build(load_run(folder), resamples=20)
    return table, answer(table)


def test_every_response_is_there_when_it_fits(run):
    table, found = run
    data = samples(table, found, budget=None)
    assert len(data["rows"]) == len(table.run.records)
    assert data["note"] == ""
    texts = {row[3] for row in data["rows"]}
    assert texts == set(table.run.records["response"])
    split = data["prompts"][data["rows"][0][1]][0]
    assert split == "test"


@pytest.mark.parametrize("budget", [400_000, 150_000, 60_000, 20_000])
def test_the_budget_holds_for_every_setting_and_the_note_says_what_is_gone(run, budget):
    table, found = run
    data = samples(table, found, budget=budget)
    assert len(embed(data).encode()) <= budget
    assert data["note"]
    assert {row[0] for row in data["rows"]} == set(range(len(data["settings"])))
    assert all(data["prompts"][row[1]][0] == "test" for row in data["rows"])
