"""The memory of a prompt: the estimate against what caches and logits hold, and what the kernel says is there."""

import pytest
import torch
from tiny_models import configs, words
from transformers import AutoModelForCausalLM

from guiders import LM, BestOfN, ChunkBeam, Explicit, Guider, GuiderError, Implicit, ImplicitValue, Sampling, generate
from guiders.decoding.available import available
from guiders.decoding.decoder import Decoder
from guiders.decoding.engine import Engine
from guiders.decoding.memory import needed
from guiders.kv.lane import Lane
from guiders.kv.self_check import check_cacheable
from guiders.models.value_model import ValueModel

PROMPT, LIMIT = 20, 40


def model(name: str, seed: int, value: str | None = None) -> LM:
    torch.manual_seed(seed)
    config = configs()[name]
    config.eos_token_id = None
    made = ValueModel.from_config(config, kind=value) if value else AutoModelForCausalLM.from_config(config)
    return LM(made, words())


def guiders(name: str) -> dict[str, Guider]:
    base, tuned, untuned = (model(name, seed) for seed in range(3))
    scalar, vocab = model(name, 3, "scalar"), model(name, 4, "vocab")
    pair = Implicit(tuned, untuned, 1.0)
    return {
        "base": Guider(base),
        "pair": Guider(base, token=pair),
        "best of 8": Guider(base, value=Explicit(scalar), search=BestOfN(8)),
        "chunks": Guider(base, value=Explicit(scalar), search=ChunkBeam(4, 4, 5)),
        "implicit": Guider(base, value=ImplicitValue(tuned, untuned), search=ChunkBeam(2, 8, 5)),
        "vocabulary head": Guider(base, token=pair, value=Explicit(vocab), search=ChunkBeam(4, 4, 5)),
        "from the guidance": Guider(base, token=pair, value=ImplicitValue(tuned, untuned), search=ChunkBeam(4, 4, 5)),
    }


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
def test_the_estimate_is_what_caches_and_logits_come_to_hold(architecture, monkeypatch):
    lanes: list[Lane] = []
    made, step = Lane.__init__, Decoder.step

    def kept(self, *arguments, **options):
        made(self, *arguments, **options)
        lanes.append(self)

    def counted(self, waiting):
        found = step(self, waiting)
        tensors = [x for lane in lanes for x in (lane.next_logits, lane.after_prompt, lane.head.memory)]
        held.append(
            sum(sum(lane.cache.bytes().values()) for lane in lanes) + sum(x.nbytes for x in tensors if x is not None)
        )
        return found

    monkeypatch.setattr(Lane, "__init__", kept)
    monkeypatch.setattr(Decoder, "step", counted)
    for name, guider in guiders(architecture).items():
        held: list[int] = []
        for lm in guider.readers:
            check_cacheable(lm)
        lanes.clear()  # those of the check
        prompts = [[(i + k) % 20 for i in range(PROMPT)] for k in range(4)]
        # an end token that the tokenizer has would let some rows end early
        guider.base.eos_ids = ()
        list(generate(guider, prompts, Sampling(max_new_tokens=LIMIT, seed=1)))
        need = needed(guider, PROMPT, LIMIT)
        assert len(prompts) * (need.caches + need.logits) == pytest.approx(max(held), rel=0.2), name


def test_rows_that_memory_has_no_room_for_are_refused_in_one_line_before_a_cache_is_made():
    guider = guiders("gpt2")["chunks"]
    need = needed(guider, PROMPT, LIMIT).total
    with pytest.raises(GuiderError, match=r"one prompt with 16 rows needs .* use fewer rows \(W·K, N\)"):
        list(generate(guider, [[1] * PROMPT], Sampling(max_new_tokens=LIMIT), memory=need - 1))


def test_fewer_prompts_at_a_time_where_memory_is_less_and_the_same_responses():
    guider = guiders("gpt2")["chunks"]
    prompts = [[k + 1] * PROMPT for k in range(5)]
    sampling = Sampling(max_new_tokens=LIMIT)
    whole = {one.index: one.tokens for one in generate(guider, prompts, sampling)}
    engine, running = Engine(guider, memory=2 * needed(guider, PROMPT, LIMIT).total), []
    for prompt in prompts:
        engine.add(prompt, sampling)
    found = {}
    while not engine.idle:
        found |= {one.index: one.tokens for one in engine.step()}
        running.append(engine.running)
    assert max(running) <= 2
    assert found == whole


def test_rows_past_the_limit_of_the_container_count_and_not_the_machine(tmp_path):
    """Version 2 with a group inside of a limited one, version 1, no limit, and another system."""
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (groups / "job/step").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable: 64 kB\n")
    (proc / "self/cgroup").write_text("0::/job/step\n")
    (groups / "job/memory.max").write_text("40000\n")
    (groups / "job/memory.current").write_text("30000\n")
    (groups / "job/memory.stat").write_text("anon 20000\ninactive_file 5000\n")
    (groups / "job/step/memory.max").write_text("max\n")
    assert available("cpu", groups, proc) == 40000 - 30000 + 5000
    (groups / "job/memory.max").write_text("max\n")
    assert available("cpu", groups, proc) == 64 * 1024
    (groups / "memory/job").mkdir(parents=True)
    (groups / "memory/job/memory.limit_in_bytes").write_text("9000\n")
    (groups / "memory/job/memory.usage_in_bytes").write_text("2000\n")
    (proc / "self/cgroup").write_text("5:cpu,memory:/job\n0::/\n")
    (groups / "memory/job").rename(groups / "memory/job2")
    assert available("cpu", groups, proc) == 64 * 1024
    (proc / "self/cgroup").write_text("5:memory:/job2\n0::/\n")
    assert available("cpu", groups, proc) == 7000
    assert available("cpu", tmp_path / "no", tmp_path / "no") is None
