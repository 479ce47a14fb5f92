"""A trial's id is a hash of what decides its outputs, and of nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.config.compose import compose
from harness.config.schema import Sweep, validated
from harness.errors import UserError
from harness.models.pool import Resolver
from harness.models.revision import hash_folder
from harness.records.manifest import Manifest
from harness.records.run_folder import RunFolder
from harness.sweep.plan import Plan
from harness.trials.grid import settings_of


def ids(overrides: list[str]) -> set[str]:
    return {job.trial.id for job in jobs(overrides)}


def jobs(overrides: list[str]):
    composed = compose("sweep", overrides)
    sweep = validated(Sweep, composed.config)
    settings = settings_of(sweep, composed.guider_overrides)
    return Plan(sweep, settings, Resolver(), RunFolder("nowhere"), Manifest(Path("nowhere.json"))).dev


@pytest.fixture(scope="module")
def usual(tiny) -> set[str]:
    return ids(tiny)


def points(overrides: list[str]) -> list[tuple[str, dict]]:
    composed = compose("sweep", overrides)
    found = settings_of(validated(Sweep, composed.config), composed.guider_overrides)
    return [(setting.method, setting.settings) for setting in found]


@pytest.mark.parametrize(
    "same",
    [
        "block=7",
        "batch_tokens=4096",
        "device=cuda",
        "run_dir=elsewhere",
        "name=other",
        "record.trace=true",
        "task.n_dev=2",
        "model.base.device_map=auto",
        "model.base.quantization_config=null",
    ],
)
def test_what_does_not_decide_the_outputs_is_not_in_the_id(same, tiny, usual):
    assert ids([*tiny, same]) == usual


def test_where_a_model_lies_is_not_in_the_id_but_what_it_is(tiny, tiny_models, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in Path(tiny_models["base"]).iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert ids([*tiny, f"model.base={copy}"]) == ids(tiny)
    assert not ids([*tiny, f"model.base={tiny_models['tuned']}"]) & ids(tiny)


@pytest.mark.parametrize(
    "different",
    [
        "model.base.quantization_config={load_in_8bit: true}",
        "sampling.temperature=0.5",
        "sampling.top_k=5",
        "sampling.min_p=0.1",
        "sampling.typical_p=0.9",
        "sampling.coupling=gumbel",
        "sampling.max_new_tokens=9",
        "select.seeds=[7]",
        "task.num_fewshot=2",
        "task.dev=reviews",
        "model.base.dtype=bfloat16",
    ],
)
def test_what_decides_the_outputs_is_in_the_id(different, tiny, usual):
    assert not ids([*tiny, different]) & usual


def test_a_file_that_a_guide_reads_counts_by_content(tiny, tmp_path):
    def of(name: str, text: str) -> set[str]:
        (tmp_path / name).write_text(text)
        one = [*tiny, "guider=rules", f"guider.token.words={tmp_path / name}"]
        return {job.trial.id for job in jobs(one) if job.trial.method == "rules"}

    first = of("a.json", '{"a": 1.0}')
    assert of("b.json", '{"a": 1.0}') == first
    assert not of("b.json", '{"a": 2.0}') & first


def test_settings_that_came_late_are_in_the_id_only_where_they_are_set(tiny):
    (first, *_) = jobs(tiny)
    assert {*first.trial.sampling} == {"temperature", "top_k", "top_p", "max_new_tokens", "stop", "purpose"}
    (first, *_) = jobs([*tiny, "sampling.min_p=0.2"])
    assert first.trial.sampling["min_p"] == 0.2


def test_the_trials_of_one_setting_differ_in_seed_and_split_only(tiny):
    found = jobs([*tiny, "select.seeds=[0,1,2]"])
    by_setting = {}
    for job in found:
        by_setting.setdefault(job.trial.setting, []).append(job.trial)
    assert len(by_setting) == 5
    for trials in by_setting.values():
        assert sorted(trial.seed for trial in trials) == [0, 1, 2]
        assert len({str(trial.guider) for trial in trials}) == 1


def test_a_guider_runs_at_the_product_of_exactly_the_axes_that_it_names():
    found = points(["guider=[eft,chunk_implicit,best_of_n_explicit]", "grid.rows=null", "grid.weight=[1,2,1]"])
    assert found == [
        ("base", {}),
        ("eft", {"weight": 1.0}),
        ("eft", {"weight": 2.0}),
        *(
            ("chunk_implicit", {"width": width, "successors": successors, "length": 5})
            for width in (4, 2)
            for successors in (4, 8)
        ),
        ("best_of_n_explicit", {"n": 16}),
    ]


def test_rows_keep_the_points_of_one_cost():
    axes = ["grid.width=[1,2,4,8]", "grid.successors=[2,4,8]", "grid.n=[4,16]"]
    found = points(["guider=[chunk_explicit,best_of_n_explicit]", *axes])
    chunk = [settings for method, settings in found if method == "chunk_explicit"]
    assert [(settings["width"], settings["successors"]) for settings in chunk] == [(2, 8), (4, 4), (8, 2)]
    assert [settings for method, settings in found if method == "best_of_n_explicit"] == [{"n": 16}]


@pytest.mark.parametrize(
    ("commas", "brackets"),
    [
        ("guider=ivg,eft", "guider=[ivg,eft]"),
        ("grid.weight=0.5,1", "grid.weight=[0.5,1]"),
        ("seeds=0,1,5", "seeds=[0,1,5]"),
        ("seeds=range(0,3)", "seeds=[0,1,2]"),
        ("select.seeds=3,4", "select.seeds=[3,4]"),
        ("sampling.stop='a,b','c d'", "sampling.stop=['a,b','c d']"),
        ("task.names=piqa,arc_easy", "task.names=[piqa,arc_easy]"),
        ("+grid.alpha=1,2", "+grid.alpha=[1,2]"),
        ("grid.weight=2", "grid.weight=[2]"),
        ("task.names=piqa", "task.names=[piqa]"),
    ],
)
def test_commas_are_a_list_wherever_a_list_is_taken(commas, brackets):
    found, wanted = (compose("sweep", [one]) for one in (commas, brackets))
    assert validated(Sweep, found.config) == validated(Sweep, wanted.config)


def test_an_override_inside_a_guider_reaches_every_guider_that_has_the_key():
    composed = compose("sweep", ["guider=[eft,ivg]", "guider.token.weight=3", "guider.value.model=OUT"])
    found = settings_of(validated(Sweep, composed.config), composed.guider_overrides)
    assert {setting.config["token"]["weight"] for setting in found if setting.method != "base"} == {3}
    assert {setting.config["value"]["model"]["path"] for setting in found if setting.method == "ivg"} == {"OUT"}
    assert {setting.config["value"]["model"]["head"] for setting in found if setting.method == "ivg"} == {"value"}
    assert "weight" not in {axis for setting in found for axis in setting.settings}


def test_an_own_guider_is_a_yaml_file_with_its_own_axes(tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text(
        "_target_: guiders.Guider\nbase: ${model.base}\n"
        "search:\n  _target_: guiders.BestOfN\n  n: ${grid.alpha}\n"
        "value:\n  _target_: guiders.Explicit\n  model: ${model.value}\n"
    )
    assert points([f"guider={own}", "+grid.alpha=[2,3]", "grid.rows=null"])[1:] == [
        ("mine", {"alpha": 2}),
        ("mine", {"alpha": 3}),
    ]
    with pytest.raises(UserError, match=r"grid\.alpha"):
        points([f"guider={own}"])


def test_a_models_hash_sees_every_byte_and_ignores_other_files(tiny_models, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in Path(tiny_models["base"]).iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    same = hash_folder(copy)
    (copy / "README.md").write_text("words")
    assert hash_folder(copy) == same == hash_folder(Path(tiny_models["base"]))
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(bytes(weights))
    assert hash_folder(copy) != same


def test_the_base_draws_from_a_stream_of_its_own_and_its_id_says_so(tiny):
    """What a search is judged against must not be one of its own candidates, which are drawn from the same seed."""
    for job in jobs(tiny):
        assert job.trial.sampling.get("purpose", "") == ("baseline" if job.is_base else "")
        shared = replace(job.trial, sampling={k: v for k, v in job.trial.sampling.items() if k != "purpose"})
        assert (shared.id != job.trial.id) == job.is_base


def with_code(tiny_models, folder: Path) -> Path:
    """The tiny base with Python files beside its weights."""
    folder.mkdir()
    for file in Path(tiny_models["base"]).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "modeling_own.py").write_text("from .deep.part import X\n")
    (folder / "deep").mkdir()
    (folder / "deep/part.py").write_text("X = 1\n")
    return folder


@pytest.mark.parametrize("changed", ["modeling_own.py", "deep/part.py"])
def test_code_that_comes_with_a_model_is_in_the_id_where_it_is_run(changed, tiny, tiny_models, tmp_path):
    folder = with_code(tiny_models, tmp_path / "coded")
    trusting = [*tiny, f"model.base={folder}", "model.base.trust_remote_code=true"]
    distrusting = [*tiny, f"model.base={folder}"]
    before, without = ids(trusting), ids(distrusting)
    (folder / changed).write_text("X = 2\n")
    assert not ids(trusting) & before
    assert ids(distrusting) == without == ids(tiny)


def test_code_of_another_repository_is_known_by_its_commit(tmp_path, monkeypatch):
    """A hub cache written by hand, as huggingface_hub lays it out, and no network."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    home = tmp_path / "hub/models--own--code"
    (home / "refs").mkdir(parents=True)
    (home / "refs/main").write_text(commit)
    (home / f"snapshots/{commit}").mkdir(parents=True)
    (home / f"snapshots/{commit}/config.json").write_text("{}")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "config.json").write_text('{"auto_map": {"AutoModelForCausalLM": "own/code--modeling.Own"}}')
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    spec = {"path": str(folder), "revision": None}
    plain, coded = (Resolver().revision({**spec, "trust_remote_code": trust}, "base") for trust in (False, True))
    assert commit not in plain
    assert coded.endswith(f"+{commit}")
