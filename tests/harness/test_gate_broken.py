"""The project's own gate: it passes the guiders as they are, and catches each one that is broken on purpose.

Against the recorded baseline, whose models are another machine's, only what is broken badly can be seen; against the
same models' own records, what is broken slightly as well.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from guiders import ChunkBeam, Implicit
from guiders.models.value_model import ValueModel
from guiders.value.explicit import _TokenScorer
from harness.cli import main

BASELINE = Path(__file__).resolve().parents[2] / "baselines/embedded.json"
METHODS, N = ("base", "eft", "chunk_explicit"), 64
PART = ("guider=[eft,chunk_explicit]", f"task.n_test={N}")
FEW = ("guider=[eft,chunk_explicit]", "task.n_test=32", "seeds=[0]")


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> Path:
    """A part of the gate's sweep (`make gate` does all of it); embedded models are taken from the cache or built."""
    run = tmp_path_factory.mktemp("gate") / "intact"
    assert main(["sweep", "preset=gate", *PART, f"run_dir={run}"]) == 0
    return run


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """The same part of the recorded baseline."""
    found = json.loads(BASELINE.read_text())
    settings = {name: found["settings"][name] for name in found["settings"] if name.split()[0] in METHODS}
    cut = {name: {metric: figures[:N] for metric, figures in each.items()} for name, each in settings.items()}
    file = tmp_path_factory.mktemp("baseline") / "part.json"
    file.write_text(json.dumps({**found, "prompts": found["prompts"][:N], "settings": cut}))
    return file


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Path:
    """A few prompts of that run, for what is compared record by record."""
    run = tmp_path_factory.mktemp("gate") / "few"
    assert main(["sweep", "preset=gate", *FEW, f"run_dir={run}"]) == 0
    return run


def decoded_again(run: Path, method: str, to: Path, *more: str) -> Path:
    """The run with one method decoded again, with what is broken by now. The breakages touch the second method of a
    pair too; the gate has to see them in one."""
    shutil.copytree(run, to, ignore=shutil.ignore_patterns(f"{method}-*.jsonl", "report"))
    assert main(["sweep", "preset=gate", *more, f"run_dir={to}"]) == 0
    return to


def failed(junit: Path) -> set[tuple[str, str]]:
    """{(method, metric)} of the failures."""
    cases = ElementTree.parse(junit).getroot().iter("testcase")
    return {(case.get("classname").split()[0], case.get("name")) for case in cases if case.find("failure") is not None}


@pytest.fixture
def caught(intact, recorded, tmp_path):
    """Decode one method again with what is broken by now, and gate: {(method, metric)} of the regressions."""

    def run(method: str) -> set[tuple[str, str]]:
        broken = decoded_again(intact, method, tmp_path / "broken", *PART)
        assert main(["gate", f"run={broken}", f"baseline={recorded}"]) == 1
        return failed(broken / "gate.xml")

    return run


@pytest.mark.timeout(900)  # builds the embedded models where the cache has none
def test_the_guiders_as_they_are_pass(intact, recorded):
    assert main(["gate", f"run={intact}", f"baseline={recorded}"]) == 0


def test_a_flipped_sign_of_the_weight_is_caught(caught, monkeypatch):
    shift = Implicit.shift
    monkeypatch.setattr(Implicit, "shift", lambda self, tuned, untuned: -shift(self, tuned, untuned))
    assert ("eft", "gold_reward") in caught("eft")


def test_a_shuffled_value_head_is_caught(caught, monkeypatch):
    """Every hypothesis gets another one's value. (Shuffled weights of the head would not do: in so small a model two
    shuffles in five leave a head that ranks hypotheses as before.)"""
    load, generator = ValueModel.load, torch.Generator().manual_seed(0)

    def shuffled(*arguments, **options):
        model = load(*arguments, **options)

        def mixed(_, __, out):
            few = len(out) < 8  # the check of the caches, which would refuse the model, reads a few rows
            return out if few else out[torch.randperm(len(out), generator=generator)]

        model.score_head.register_forward_hook(mixed)
        return model

    monkeypatch.setattr(ValueModel, "load", shuffled)
    assert ("chunk_explicit", "gold_reward") in caught("chunk_explicit")


def test_an_ignored_chunk_length_is_caught(caught, monkeypatch):
    """Without chunks the search is best-of-16: its bound on the divergence falls, and the reward to best-of-16's."""
    monkeypatch.setattr(ChunkBeam, "__post_init__", lambda self: object.__setattr__(self, "length", None))
    assert ("chunk_explicit", "kl not lower") in caught("chunk_explicit")


def test_the_guiders_decoded_again_are_the_same(few, tmp_path):
    again = decoded_again(few, "chunk_explicit", tmp_path / "again", *FEW)
    assert main(["gate", f"run={again}", f"against={few}"]) == 0


def weight_too_small(monkeypatch):
    shift = Implicit.shift
    monkeypatch.setattr(Implicit, "shift", lambda self, tuned, untuned: 0.9 * shift(self, tuned, untuned))


def value_of_the_token_before(monkeypatch):
    score = _TokenScorer.score
    monkeypatch.setattr(_TokenScorer, "score", lambda self, chunk: score(self, replace(chunk, counts=chunk.counts - 1)))


def end_not_scored(monkeypatch):
    score = _TokenScorer.score
    monkeypatch.setattr(
        _TokenScorer, "score", lambda self, chunk: score(self, replace(chunk, counts=chunk.counts - chunk.ended.long()))
    )


@pytest.mark.parametrize(
    ("breaks", "method"),
    [(weight_too_small, "eft"), (value_of_the_token_before, "chunk_explicit"), (end_not_scored, "chunk_explicit")],
)
def test_what_the_recorded_baseline_lets_pass_is_caught_on_the_same_models(few, tmp_path, monkeypatch, breaks, method):
    """The three slight defects that an independent check planted: they cost less than the models of another machine."""
    breaks(monkeypatch)
    broken = decoded_again(few, method, tmp_path / "broken", *FEW)
    assert main(["gate", f"run={broken}", f"against={few}"]) in (1, 5)
    assert (method, "records") in failed(broken / "same_models.xml")
