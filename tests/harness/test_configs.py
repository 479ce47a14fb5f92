"""Every configuration composes, validates and is instantiated."""

from importlib import resources

import pytest

from harness.cli import main, overview
from harness.config.compose import choices, compose
from harness.config.schema import Sweep, validated
from harness.errors import UserError
from harness.judges.config import build_judge, judge_spec
from harness.methods import method
from harness.models.pool import Pool, Resolver
from harness.training.config import Train
from harness.trials.grid import settings_of
from harness.verbs import VERBS

SCHEMAS = {"sweep": Sweep, "train": Train}


def group_choices() -> list[tuple[str, str]]:
    folders = [item.name for item in resources.files("conf").iterdir() if item.is_dir()]
    groups = [name for name in folders if not name.startswith("_")]
    return [(group, name) for group in sorted(groups) if group != "guider" for name in choices(group)]


@pytest.mark.parametrize(("group", "name"), group_choices())
def test_every_choice_of_every_group_composes_into_what_its_verb_takes(group, name):
    verbs = [verb for verb in SCHEMAS if group in compose_groups(verb)]
    for verb in verbs:
        validated(SCHEMAS[verb], compose(verb, [f"{group}={name}"]).config)
    assert verbs


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("sft", {"sft"}),
        ("dpo", {"dpo"}),
        ("reward", {"reward"}),
        ("fudge", {"fudge"}),
        ("pair", {"sft", "dpo"}),
        ("all", {"sft", "dpo", "fudge"}),
    ],
)
def test_a_training_is_of_the_stages_that_its_name_says(name, stages):
    """By the table of docs/train.md, and no file of conf/train is left out."""
    spec = validated(Train, compose("train", [f"train={name}", "data=rows.jsonl", "base=MODEL", "out=made"]).config)
    assert {stage.name for stage in spec.stages} == stages
    assert choices("train") == sorted(["sft", "dpo", "reward", "fudge", "pair", "all"])
    for stage in stages:
        place = "train" if len(stages) == 1 else f"train.{stage}"
        with pytest.raises(UserError, match=f"^{place}.epochs=0: "):
            validated(Train, compose("train", [f"train={name}", f"{place}.epochs=0"]).config)


def compose_groups(verb: str) -> set[str]:
    import yaml

    path = resources.files("conf") / f"{verb}.yaml"
    if not path.is_file():
        return set()
    defaults = yaml.safe_load(path.read_text(encoding="utf-8"))["defaults"]
    return {next(iter(entry)).split()[-1] for entry in defaults if isinstance(entry, dict)}


@pytest.mark.parametrize("name", choices("guider"))
def test_every_guider_is_built(name, tiny):
    import guiders

    composed = compose("sweep", [*tiny, f"guider={name}", "grid.n=4", "grid.rows=null"])
    found = settings_of(validated(Sweep, composed.config), composed.guider_overrides)
    settings = [one for one in found if one.method == name]
    pool = Pool(Resolver())
    for setting in settings:
        guider = pool.guider(setting.config)
        assert isinstance(guider, guiders.Guider)
        for part in ("token", "value", "search"):
            assert (getattr(guider, part) is not None) == (part in method(name).config or part == "search")
    assert len({id(pool.guider(setting.config).base) for setting in settings}) == 1


@pytest.mark.parametrize("name", choices("judge"))
def test_every_judge_is_described_and_the_free_one_is_built(name):
    spec = judge_spec(compose("sweep", [f"judge={name}"]).config["judge"])
    assert spec.name == name
    if name == "reward":
        assert build_judge(spec, "reviews")


def test_the_overview_names_every_verb_in_one_line_each(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.strip() == overview()
    for name, verb in VERBS.items():
        assert sum(line.split()[:1] == [name] for line in overview().splitlines()) == 1
        assert callable(verb.load())


def test_help_shows_every_option_with_its_default(capsys):
    assert main(["sweep", "--help"]) == 0
    out = capsys.readouterr().out
    for key, default in {
        "grid.weight": "[0.5,1.0,2.0,4.0]",
        "sampling.temperature": "0.7",
        "select.metric": "gold_reward",
        "task.n_test": "128",
        "model.base": "embedded:base",
    }.items():
        assert any(line.split()[:2] == [key, default] for line in out.splitlines()), key
    assert "--dry-run" in out


@pytest.mark.parametrize("override", ["judge=null", "~judge"])
def test_a_group_can_be_left_out(override):
    assert validated(Sweep, compose("sweep", [override]).config).judge is None


def test_a_group_that_is_needed_cannot():
    with pytest.raises(UserError, match="task"):
        validated(Sweep, compose("sweep", ["task=null"]).config)
