"""The guided model inside lm-eval and AlpacaEval, held against transformers and the formula."""

import json

import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

from harness.adapters.lm_eval import GuidedLM, register
from harness.adapters.lm_eval_cli import named_tasks
from harness.adapters.lm_eval_tasks import without_environment
from harness.config.compose import compose
from harness.config.schema import Sweep, validated
from harness.errors import UserError
from harness.records.lines import Lines
from harness.trials.grid import settings_of
from harness.trials.one_guider import _one_setting, one_guider


@pytest.fixture(scope="module")
def models(tiny) -> list[str]:
    """Overrides that name the tiny models and nothing else."""
    return [override for override in tiny if override.startswith("model")]


@pytest.fixture(scope="module")
def arguments(models) -> dict:
    return {**dict(override.split("=", 1) for override in models), "preset": "none"}


def requests(kind: str, *arguments: tuple) -> list[Instance]:
    return [Instance(kind, {}, one, place) for place, one in enumerate(arguments)]


def reference_log_probs(folders: dict[str, str], weight: float, tokens: list[int]) -> torch.Tensor:
    """log_softmax(base + w (log tuned - log untuned)) at every position, by transformers alone: ``[len, vocab]``."""
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        logits = {
            name: AutoModelForCausalLM.from_pretrained(folders[name])(torch.tensor([tokens])).logits[0]
            for name in ("base", "tuned", "untuned")
        }
    guided = logits["base"] + weight * (logits["tuned"].log_softmax(-1) - logits["untuned"].log_softmax(-1))
    return guided.log_softmax(-1)


@pytest.mark.parametrize(("guider", "weight"), [("base", 0.0), ("eft", 1.5)])
def test_log_likelihoods_equal_a_forward_pass_of_transformers(guider, weight, arguments, tiny_models):
    grid = {"grid.weight": weight} if guider == "eft" else {}
    model = GuidedLM(**arguments, guider=guider, **grid)
    pairs = [("I watched this", " film last night"), ("The acting", " was"), ("", "A film.")]
    found = model.loglikelihood(requests("loglikelihood", *pairs), disable_tqdm=True)
    for (context, continuation), (total, greedy) in zip(pairs, found, strict=True):
        context_ids = model.tok_encode(context) or [model.prefix_token_id]
        tokens = model.tok_encode(context + continuation)
        tokens = tokens if context else context_ids + tokens
        log_probs = reference_log_probs(tiny_models, weight, tokens[:-1])[len(context_ids) - 1 :]
        wanted = torch.tensor(tokens[len(context_ids) :])
        assert total == pytest.approx(log_probs.gather(1, wanted[:, None]).sum().item(), abs=1e-3)
        assert greedy == bool((log_probs.argmax(-1) == wanted).all())


def test_rolling_windows_predict_every_token_once(arguments, tiny_models):
    """A text of more than two contexts: the windows written out by hand, each token from the fullest window."""
    model = GuidedLM(**arguments, guider="base")
    text = "I watched this film last night and the acting was fine. " * 12
    tokens, room = model.tok_encode(text), model.max_length
    assert len(tokens) > 2 * room
    total = reference_log_probs(tiny_models, 0.0, [model.prefix_token_id, *tokens[: room - 1]])
    expected = total.gather(1, torch.tensor(tokens[:room])[:, None]).sum().item()
    for start in range(room, len(tokens), room):
        end = min(start + room, len(tokens))
        window = tokens[end - 1 - room : end - 1] if end - start == room else tokens[end - room - 1 : end - 1]
        log_probs = reference_log_probs(tiny_models, 0.0, window)[-(end - start) :]
        expected += log_probs.gather(1, torch.tensor(tokens[start:end])[:, None]).sum().item()
    (found,) = model.loglikelihood_rolling(requests("loglikelihood_rolling", (text,)))
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_search_refuses_log_likelihoods_and_says_what_to_set(arguments):
    model = GuidedLM(**arguments, guider="ivg")
    with pytest.raises(ValueError, match=r"guider=eft") as refused:
        model.loglikelihood(requests("loglikelihood", ("a", " b")), disable_tqdm=True)
    assert refused.value.exit_code == 2


def test_greedy_requests_equal_transformers_generate(arguments, tiny_models):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    prompts = ["I watched this", "The acting in the film"]
    model = GuidedLM(**arguments, guider="base")
    asked = [(prompt, {"until": [], "max_gen_toks": 9, "do_sample": False}) for prompt in prompts]
    found = model.generate_until(requests("generate_until", *asked))
    tokenizer = AutoTokenizer.from_pretrained(tiny_models["base"])
    reference = AutoModelForCausalLM.from_pretrained(tiny_models["base"])
    for prompt, text in zip(prompts, found, strict=True):
        ids = tokenizer(prompt, return_tensors="pt")
        out = reference.generate(**ids, do_sample=False, max_new_tokens=9, pad_token_id=0)[
            0, ids["input_ids"].shape[1] :
        ]
        assert text == tokenizer.decode(out, skip_special_tokens=True)


def test_each_requests_own_generation_settings_are_honoured(arguments):
    model = GuidedLM(**arguments, guider="base")
    sampling = model.sampling({"until": ["\n\n", ""], "max_gen_toks": 5, "temperature": 0.4, "top_p": 0.9, "top_k": 7})
    assert (sampling.stop, sampling.max_new_tokens) == (("\n\n",), 5)
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.4, 0.9, 7)
    assert model.sampling({}).temperature == 0
    assert model.sampling({"do_sample": True}).temperature == 1
    assert model.sampling({"do_sample": False, "temperature": 0.7}).temperature == 0
    sampling = model.sampling({"do_sample": True, "min_p": 0.1, "typical_p": 0.7})
    assert (sampling.min_p, sampling.typical_p, sampling.coupling) == (0.1, 0.7, "inverse")
    ours = GuidedLM(**arguments, guider="base", **{"sampling.min_p": "0.3", "sampling.coupling": "gumbel"})
    sampling = ours.sampling({"do_sample": True, "min_p": 0.1})
    assert (sampling.min_p, sampling.typical_p, sampling.coupling) == (0.3, 1.0, "gumbel")
    with pytest.raises(UserError, match="num_beams"):
        model.sampling({"num_beams": 3})
    long = {"max_gen_toks": 12, "do_sample": True, "temperature": 1.0, "until": []}
    short = {**long, "max_gen_toks": 2}
    mixed = model.generate_until(requests("generate_until", ("The", long), ("The", short), ("A", long)))
    alone = model.generate_until(requests("generate_until", ("The", long)))
    assert mixed[0] == alone[0]
    assert mixed[0].startswith(mixed[1])
    assert len(mixed[1]) < len(mixed[0])


def test_repeats_of_a_request_draw_from_streams_of_their_own(arguments):
    model = GuidedLM(**arguments, guider="base")
    kwargs = {"max_gen_toks": 12, "do_sample": True, "temperature": 1.0, "until": []}
    found = model.generate_until(requests("generate_until", *[("The acting", kwargs)] * 3))
    assert len(set(found)) == 3


def test_a_repeat_of_one_seed_is_no_first_answer_of_another(arguments):
    """Seeds 0 to 3 with three repeats each are twelve independent draws: no two of the streams coincide."""
    kwargs = {"max_gen_toks": 20, "do_sample": True, "temperature": 1.0, "until": []}
    found = []
    for seed in range(4):
        model = GuidedLM(**arguments, guider="base", seeds=seed)
        found += model.generate_until(requests("generate_until", *[("The acting", kwargs)] * 3))
    assert len(set(found)) == 12


@pytest.mark.parametrize("form", [dict, str])
def test_lm_evals_seed_reaches_the_sampler(form, arguments, tmp_path):
    """Three seeds have a variance, one and the same seed has none; `seeds` among the model's arguments wins."""
    import tasks

    def texts(seed: int, **more) -> tuple[str, ...]:
        given = {**arguments, "guider": "base", "sampling.max_new_tokens": 12, **more}
        with without_environment():
            results = simple_evaluate(
                model="ivg",
                model_args=given if form is dict else ",".join(f"{name}={value}" for name, value in given.items()),
                tasks=["reviews"],
                task_manager=TaskManager(include_path=tasks.__path__[0], include_defaults=False),
                limit=2,
                bootstrap_iters=0,
                random_seed=seed,
                numpy_random_seed=seed,
                torch_random_seed=seed,
                fewshot_random_seed=seed,
            )
        return tuple(sample["resps"][0][0] for sample in results["samples"]["reviews"])

    register()
    first = texts(1)
    assert texts(1) == first
    assert len({first, texts(2), texts(3)}) == 3
    assert texts(1, seeds=5) == texts(2, seeds=5)


def test_overrides_win_over_the_requests_settings(arguments):
    model = GuidedLM(**arguments, guider="base", **{"sampling.temperature": 0.3, "sampling.max_new_tokens": 4})
    sampling = model.sampling({"temperature": 0.9, "do_sample": True, "max_gen_toks": 99})
    assert (sampling.temperature, sampling.max_new_tokens) == (0.3, 4)


def test_two_settings_at_once_are_refused(arguments):
    with pytest.raises(UserError, match=r"grid\.weight"):
        GuidedLM(**arguments, guider="eft", **{"grid.weight": [1, 2]})
    with pytest.raises(UserError, match="one guider"):
        GuidedLM(**arguments, guider=["eft", "ivg"])
    with pytest.raises(UserError, match="guider=ivg"):
        GuidedLM(**arguments)


def test_a_guider_of_a_presets_grid_has_its_documented_setting(capsys):
    """The README's `preset=embedded,guider=ivg`: weight 1, W=4, K=4, L=5, and standard error says so in one line."""
    chosen = one_guider(["preset=embedded", "guider=ivg"])
    assert chosen.setting.settings == {"weight": 1.0, "width": 4, "successors": 4, "length": 5}
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "weight=1.0" in said
    assert "grid.weight=" in said
    assert one_guider(["preset=embedded", "guider=eft", "grid.weight=4"]).setting.settings == {"weight": 4.0}
    assert capsys.readouterr().err == ""


def test_a_grid_without_the_documented_setting_is_refused_with_its_axes(tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text(
        "_target_: guiders.Guider\nbase: ${model.base}\nsearch: {_target_: guiders.BestOfN, n: '${grid.width}'}\n"
    )
    with pytest.raises(UserError, match=r"grid\.width: one of \[8, 2\].*add for example grid\.width=8") as refused:
        _one_setting(settings_of(swept(["grid.width=8,2", "grid.rows=null", f"guider={own}"]), [])[1:], [])
    assert "\n" not in str(refused.value)


def swept(overrides: list[str]) -> Sweep:
    return validated(Sweep, compose("sweep", overrides).config)


def test_a_chat_is_decoded_from_its_messages_in_the_models_template(arguments):
    model = GuidedLM(**arguments, guider="base")
    history = [{"role": "user", "content": "The acting"}]
    with pytest.raises(UserError, match="chat template"):
        model.apply_chat_template(history)
    turns = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    model.tokenizer.chat_template = turns + "{% if add_generation_prompt %}<answer>{% endif %}"
    context = model.apply_chat_template(history)
    assert context == "<user>The acting<answer>"
    assert model.asked(context).text == "The acting"
    assert model.asked(context).prompt == history
    kwargs = {"max_gen_toks": 8, "do_sample": False, "until": []}
    (chat,) = model.generate_until(requests("generate_until", (context, kwargs)))
    plain = GuidedLM(**arguments, guider="base")
    (text,) = plain.generate_until(requests("generate_until", ("<user>The acting<answer>", kwargs)))
    assert chat == text


def test_lm_evals_own_command_line_knows_ivg_and_our_tasks(models, command_line, tmp_path):
    overrides = ",".join(["preset=none", "guider=eft", "grid.weight=2", *models])
    done = command_line(
        ["lm_eval", "--model", "ivg", "--model_args", overrides, "--tasks", "reviews", "--limit", "3",
         "--output_path", "out", "--log_samples", "--gen_kwargs", "max_gen_toks=6"],
        tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "gold_reward" in done.stdout
    results = json.loads(next((tmp_path / "out").rglob("results_*.json")).read_text())
    assert results["config"]["guider"] == "eft"
    assert results["config"]["settings"] == {"weight": 2.0}
    assert set(results["config"]["model_revisions"]) == {"base", "token.tuned", "token.untuned"}
    samples = list(Lines(next((tmp_path / "out").rglob("samples_*.jsonl"))))
    assert len(samples) == 3


def test_registering_twice_is_one_registration():
    from lm_eval.api.registry import get_model

    register()
    register()
    assert get_model("ivg") is GuidedLM


@pytest.mark.parametrize(
    "line",
    [
        "--tasks reviews --limit 3",
        "run --model ivg -t reviews,reviews_dev --limit 3",
        "--tasks=reviews --model ivg",
        "--model ivg --tasks reviews reviews_dev --output_path reviews",
    ],
)
def test_the_named_tasks_are_those_that_lm_evals_parser_reads(line):
    from lm_eval._cli import HarnessCLI

    words = line.split()
    parsed = HarnessCLI()._parser.parse_args(words if words[0] == "run" else ["run", *words])
    assert named_tasks(words) == parsed.tasks
    assert named_tasks([*words, "--config", "own.yaml"]) == []
