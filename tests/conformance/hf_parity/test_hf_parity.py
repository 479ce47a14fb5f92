"""The unguided model inside lm-eval against lm-eval's own ``hf``: the same texts, the same numbers.

``hf`` runs with a batch size of 1: in larger batches it pads on the left and goes on after a row has stopped.
"""

import pytest
import torch
from lm_eval.api.instance import Instance
from parity_models import CONTEXT, NO_START, WRITES_START, save

from harness.adapters.lm_eval import GuidedLM
from harness.errors import UserError

torch.set_num_threads(1)
NEW = 16
PROMPTS = ["the film", "she said that", "was slow\nand the end", "a good one \n", "xyz"]
LONG = ["the film was slow and the end of it was " * 6, "she said that he had not seen " * 9 + "x", "it " * 80]
STOPS = [
    [],
    ["\n"],
    ["e", "he"],
    ["he", "e"],
    ["s a", "o", "was"],
    ["<|im_end|>"],
    ["<|im_end|>", "</s>", "<|endoftext|>", "\n\n"],
    ["|>"],
    [f"{letter}<|im_end|>" for letter in "aehilnorstw"],
]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def pair(request, tmp_path_factory):
    """lm-eval's ``hf`` and ours, on one folder."""
    from lm_eval.models.huggingface import HFLM

    folder = save(request.param, tmp_path_factory.mktemp(request.param))
    theirs = HFLM(pretrained=folder, dtype="float32", device="cpu", batch_size=1)
    return theirs, GuidedLM(preset="none", guider="base", model="hf", **{"model.base": folder})


def asked(kind: str, requests: list[tuple]) -> list[Instance]:
    return [Instance(kind, {}, one, place, ("parity", place, 1)) for place, one in enumerate(requests)]


def generated(model, prompts: list[str], stops: list[str], new: int = NEW) -> list[str]:
    kwargs = {"until": stops, "max_gen_toks": new, "do_sample": False}
    return model.generate_until(asked("generate_until", [(prompt, dict(kwargs)) for prompt in prompts]))


@pytest.mark.parametrize("stops", STOPS, ids=str)
def test_texts(pair, stops):
    theirs, ours = pair
    prompts = [*PROMPTS, *(ours.guider.base.tokenizer.bos_token + prompt for prompt in PROMPTS[:3])]
    found = generated(ours, prompts, stops)
    assert found == generated(theirs, prompts, stops)
    if stops:
        free = generated(ours, prompts, [])
        assert any(len(one) < len(other) for one, other in zip(found, free, strict=True)), "no stop string was written"


@pytest.mark.parametrize("new", [1, NEW, CONTEXT - 4])
def test_texts_of_long_prompts(pair, new):
    theirs, ours = pair
    before = ours.get_model_info()["truncated_prompts"]
    assert generated(ours, LONG + PROMPTS[:2], [], new) == generated(theirs, LONG + PROMPTS[:2], [], new)
    assert ours.get_model_info()["truncated_prompts"] - before >= len(LONG)


def test_a_limit_that_leaves_no_room_is_refused_by_both(pair):
    theirs, ours = pair
    with pytest.raises(AssertionError, match="must be less than model's maximum sequence length"):
        generated(theirs, PROMPTS, [], CONTEXT)
    with pytest.raises(ValueError, match=f"max_gen_toks.*context of {CONTEXT} tokens; lower it") as refused:
        generated(ours, PROMPTS, [], CONTEXT)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("template", [WRITES_START, NO_START], ids=["writes start", "no start"])
@pytest.mark.parametrize("prefix", ["", "the end"])
def test_texts_and_log_likelihoods_of_chats(pair, template, prefix):
    turns = [("user", "it was"), ("assistant", "not good"), ("user", None)]
    turns += [("assistant", prefix)] if prefix else []
    chats = [[{"role": role, "content": text or prompt} for role, text in turns] for prompt in PROMPTS[:3]]
    theirs, ours = pair
    for tokenizer in (theirs.tokenizer, ours.guider.base.tokenizer):
        tokenizer.chat_template = template
    texts = [[model.apply_chat_template(chat, add_generation_prompt=not prefix) for chat in chats] for model in pair]
    assert texts[0] == texts[1]
    for stops in ([], ["<|im_end|>"]):
        assert generated(ours, texts[1], stops) == generated(theirs, texts[0], stops)
    pairs = [(text, continuation) for text in texts[0] for continuation in (" good", "slow\nx")]
    same_numbers(pair, "loglikelihood", pairs)


def same_numbers(pair, kind: str, requests: list[tuple]) -> None:
    theirs, ours = (getattr(model, kind)(asked(kind, requests), disable_tqdm=True) for model in pair)
    if kind == "loglikelihood":
        assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
        theirs, ours = ([value for value, _ in found] for found in (theirs, ours))
    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)


def test_log_likelihoods(pair):
    start = pair[1].guider.base.tokenizer.bos_token
    contexts = ["", *PROMPTS, *LONG, "the film  ", start, start + "the film"]
    same_numbers(pair, "loglikelihood", [(c, x) for c in contexts for x in (" was", "slow and", "\nthe", "it " * 20)])


def test_greedy_continuations_are_known_as_such(pair):
    written = generated(pair[0], PROMPTS, [], 3)
    same_numbers(pair, "loglikelihood", [(p, w) for p, w in zip(PROMPTS, written, strict=True) if w.strip()])


def test_rolling_log_likelihoods(pair):
    start = pair[1].guider.base.tokenizer.bos_token
    same_numbers(pair, "loglikelihood_rolling", [(text,) for text in [*PROMPTS, *LONG, start + "the film", "", " "]])


def test_rolling_without_the_start_token_is_hf_without_one(pair):
    theirs, ours = pair
    ours._rolling_bos = False
    theirs.add_bos_token = False
    try:
        same_numbers(pair, "loglikelihood_rolling", [(text,) for text in [*PROMPTS, *LONG]])
    finally:
        ours._rolling_bos, theirs.add_bos_token = True, None


@pytest.mark.parametrize("context", ["the film", ""])
def test_an_empty_continuation_is_an_error(pair, context):
    theirs, ours = pair
    request = asked("loglikelihood", [("the", " end"), (context, "")])
    with pytest.raises((AssertionError, IndexError)):
        theirs.loglikelihood(request, disable_tqdm=True)
    with pytest.raises(UserError, match=r"^task parity, document 1: an empty continuation"):
        ours.loglikelihood(request, disable_tqdm=True)
