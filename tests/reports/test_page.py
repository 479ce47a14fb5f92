import dataclasses
import re

import plotly.graph_objects as go
import pytest
from synthetic import HOSTILE, Method, embedded_grid, write_run

from reports.answer import answer
from reports.compile import compile_report
from reports.errors import ReportError
from reports.run import load_run
from reports.table import build
from reports.view.figures import figures


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    grid = [item for item in embedded_grid() if item.method in ("base", "best_of_n", "eft", "ivg")]
    write_run(folder / "run", grid=grid[:8] + grid[11:], n_dev=8, n_test=10)
    return folder / "run"


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    compile_report([run], out, resamples=20)
    return (out / "index.html").read_text(encoding="utf-8")


def test_forty_settings_of_805_long_responses_make_a_page_that_can_be_mailed(tmp_path):
    grid = embedded_grid()
    grid += [
        Method("eft", {"weight": w / 10}, {"token": {"weight": w / 10}}, 0.1) for w in range(11, 11 + 40 - len(grid))
    ]
    assert len(grid) == 40
    grid = [dataclasses.replace(item, words=110) for item in grid]
    write_run(tmp_path / "run", grid=grid, n_dev=0, n_test=805, seeds=(0,), words=110, every_setting_on_test=True)
    for file in (tmp_path / "run" / "judgements").iterdir():
        file.unlink()
    report = compile_report([tmp_path / "run"], tmp_path / "out", resamples=20)
    sizes = {path.name: path.stat().st_size for path in report.files}
    assert sizes["index.html"] <= 8e6
    assert sizes["samples.html"] > 15e6
    page = (tmp_path / "out" / "index.html").read_text()
    assert 'href="samples.html"' in page
    assert "805 prompts" in page


def test_figures_are_valid_plotly_figures_and_methods_differ_by_symbol(run):
    table = build(load_run(run), resamples=20)
    made = figures(table, answer(table))
    assert {figure.id for figure in made} >= {"kl", "speed", "proxy", "length"}
    assert any(figure.id.startswith("heat") for figure in made)
    for figure in made:
        go.Figure(figure.plot)
        assert len(figure.body) >= 5
    kl = next(figure for figure in made if figure.id == "kl")
    (line, *marked) = kl.plot["data"]
    assert line["meta"] == {"front": True}
    assert line["mode"] == "lines"  # a legend names the methods, where they are few
    assert {name.strip() for name in line["text"]} <= {trace["name"] for trace in marked}
    symbols = {}
    for trace in marked:
        symbols.setdefault(trace["name"], set()).update(s.removesuffix("-open") for s in trace["marker"]["symbol"])
    assert all(len(found) == 1 for found in symbols.values())
    assert len(set.union(*symbols.values())) == len(symbols)


def test_the_page_asks_for_nothing_and_holds_no_text_of_a_model_outside_its_json(page):
    assert "Content-Security-Policy" in page
    assert page.count("plotly.js v") == 1
    ours = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", ours)
    shown = re.sub(r"<script.*?</script>", "", ours, flags=re.DOTALL)
    for text in HOSTILE:
        assert text not in shown
        assert "<" not in text or text not in page


def test_a_hostile_setting_name_is_escaped(tmp_path):
    base, other = embedded_grid()[:2]
    evil = dataclasses.replace(other, method="<img src=x onerror=alert(1)>", settings={"</script>": "<b>"})
    write_run(tmp_path / "run", grid=[base, evil], n_dev=6, n_test=0)
    compile_report([tmp_path / "run"], tmp_path / "out", resamples=20)
    assert "<img src=x" not in (tmp_path / "out" / "index.html").read_text()
    assert "<img" not in (tmp_path / "out" / "summary.md").read_text()


def test_everything_needed_to_repeat_it_is_on_the_page(page):
    for text in (
        "python -m harness sweep",
        "2.13.0",
        "sha256:fedcba9876543210",
        "cpu, 2 threads",
        "231.5",
        "seeds 0, 1",
    ):
        assert text in page


def test_the_same_records_give_the_same_report(tmp_path):
    write_run(tmp_path / "run", grid=embedded_grid()[:6], n_dev=8, n_test=8)
    first = compile_report([tmp_path / "run"], tmp_path / "a", resamples=20)
    second = compile_report([tmp_path / "run"], tmp_path / "b", resamples=20)
    for a, b in zip(first.files, second.files, strict=True):
        assert a.read_bytes() == b.read_bytes()


def test_an_unwritable_folder_is_one_line(tmp_path):
    write_run(tmp_path / "run", grid=embedded_grid()[:2], n_dev=6, n_test=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="choose another folder"):
        compile_report([tmp_path / "run"], tmp_path / "file" / "out", resamples=20)


def test_missing_rows_are_on_the_page(tmp_path):
    write_run(tmp_path / "run", grid=embedded_grid()[:3], n_dev=6, n_test=0)
    file = next((tmp_path / "run" / "records").iterdir())
    rows = file.read_text().splitlines(keepends=True)
    file.write_text("".join(rows[1:]))
    report = compile_report([tmp_path / "run"], tmp_path / "out", resamples=20)
    key = rows[0].split('"key": "')[1][:16]
    assert key in (tmp_path / "out" / "index.html").read_text()
    assert any("Missing: 1 record (1 in " in caveat for caveat in report.answer.caveats)
