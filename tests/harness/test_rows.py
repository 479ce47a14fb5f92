"""Equal compute is equal rows, whatever a search calls its settings."""

import json
import sys

import pytest
from hydra.utils import get_object

from harness.cli import main
from harness.errors import UserError
from harness.models.assemble import OUR_SEARCHES, search_rows
from harness.trials.composed import composed_sweep
from reports.run import load_run
from reports.setting import RecordedSetting
from reports.table import build

PARTICLES = """
from dataclasses import dataclass
from guiders import BestOfN


@dataclass(frozen=True)
class Particles(BestOfN):
    particles: int = 4

    def __post_init__(self):
        object.__setattr__(self, "n", self.particles)
"""
GUIDER = """
_target_: guiders.Guider
base: ${model.base}
value: {_target_: guiders.Explicit, model: "${model.value}"}
search:
  _target_: particle_search.Particles
  particles: PARTICLES
"""


@pytest.fixture
def particles(tmp_path, monkeypatch):
    """The file of a guider whose search has so many particles."""
    (tmp_path / "particle_search.py").write_text(PARTICLES)
    monkeypatch.syspath_prepend(tmp_path)

    def file(number) -> str:
        path = tmp_path / "particles.yaml"
        path.write_text(GUIDER.replace("PARTICLES", str(number)))
        return str(path)

    yield file
    sys.modules.pop("particle_search", None)


def rows_of(*overrides) -> list[tuple[str, int]]:
    return [(one.method, one.rows) for one in composed_sweep(list(overrides)).settings]


def test_a_search_says_how_many_rows_it_spends(particles):
    grid = ["grid.weight=1", "grid.width=4", "grid.successors=3", "grid.n=6", "grid.rows=null"]
    guiders = f"guider=[eft,best_of_n_explicit,chunk_explicit,ivg,{particles(64)}]"
    assert rows_of(guiders, *grid) == [
        ("base", 1), ("eft", 1), ("best_of_n_explicit", 6), ("chunk_explicit", 12), ("ivg", 12), ("particles", 64),
    ]  # fmt: skip


def test_grid_rows_keeps_the_searches_of_so_many_rows_and_what_searches_nothing(particles):
    guiders = f"guider=[eft,{particles('${grid.particles}')}]"
    axis = ["+grid.particles=[8,16,64]", "grid.rows=16", "grid.weight=1"]
    assert rows_of(guiders, *axis) == [("base", 1), ("eft", 1), ("particles", 16)]
    with pytest.raises(UserError, match=r"grid\.rows=16: no point of particles"):
        rows_of(f"guider={particles(64)}", "grid.rows=16")


def test_grid_rows_leaves_chains_and_beams_over_tokens_as_they_are():
    """The chain holds two responses; the beam reads 4 on, whatever else it looks at."""
    expected = [("base", 1), ("qalign", 2), ("beam", 4), ("best_of_n_explicit", 16)]
    assert rows_of("guider=[qalign,beam,best_of_n_explicit]", "grid.rows=16") == expected


def test_rows_are_recorded_and_the_report_goes_by_them(particles, tiny, tmp_path, capsys):
    run = tmp_path / "run"
    overrides = [word for word in tiny if not word.startswith(("guider=", "run_dir="))]
    asked = [f"guider=[best_of_n_explicit,{particles(6)}]", "grid.n=6", "grid.rows=null", "select.metric=null"]
    assert main(["sweep", *overrides, *asked, "seeds=[0]", f"run_dir={run}"]) == 0
    trials = [json.loads(file.read_text()) for file in (run / "trials").glob("*.json")]
    assert {trial["method"]: trial["rows"] for trial in trials} == {"base": 1, "best_of_n_explicit": 6, "particles": 6}
    table = build(load_run(run), resamples=20)
    assert {row.setting.method: row.setting.rows for row in table.rows}["particles"] == 6


@pytest.mark.parametrize("target", OUR_SEARCHES)
@pytest.mark.parametrize("change", [0, 3])
def test_the_rows_that_are_known_without_torch_are_those_of_the_search(target, change):
    settings = {name: default + change for name, default in OUR_SEARCHES[target].items()} if change else {}
    search = get_object(target)(**settings)
    assert search_rows({"search": {"_target_": target, **settings}}) == search.survivors * search.successors


def test_a_run_of_before_is_read_by_its_axes():
    trial = {"setting": "s", "method": "ivg", "settings": {"width": 4, "successors": 3}}
    assert RecordedSetting.of(trial).rows == 12
    assert RecordedSetting.of({**trial, "rows": 7}).rows == 7
