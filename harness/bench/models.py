"""Random models of a given shape, made on the spot: speed does not depend on what the weights say."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, PreTrainedTokenizerFast

from guiders import LM, Guider
from guiders.models.value_model import ValueModel
from harness.bench.settings import Bench
from harness.config.compose import written
from harness.models.assemble import assemble
from harness.trials.composed import composed_sweep

CONTEXT = 2048


@dataclass(frozen=True)
class Shape:
    """A family and the sizes of its base and its guides (tuned, untuned and value).

    "85M" and "10M" count the blocks, as is usual for GPT-2's 85M; token tables and heads come on top.
    """

    family: type
    vocabulary: int
    base: dict
    guide: dict


def _gpt2(layers: int, width: int, heads: int) -> dict:
    return {"n_layer": layers, "n_embd": width, "n_head": heads, "n_positions": CONTEXT}


def _llama(layers: int, width: int, heads: int, kv_heads: int, inner: int) -> dict:
    return {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "max_position_embeddings": CONTEXT,
    }


SHAPES = {
    "gpt2-85m": Shape(GPT2Config, 50257, _gpt2(12, 768, 12), _gpt2(6, 384, 6)),
    "llama-85m": Shape(LlamaConfig, 32000, _llama(12, 768, 12, 12, 2048), _llama(6, 384, 6, 6, 1024)),
    "mistral-7b": Shape(MistralConfig, 32000, _llama(32, 4096, 32, 8, 14336), _llama(32, 4096, 32, 8, 14336)),
    "tiny": Shape(GPT2Config, 256, _gpt2(2, 32, 2), _gpt2(1, 16, 2)),
}


class Models:
    """The models of one shape: ``base``, ``tuned``, ``untuned`` and ``value``, by name.

    No model has an end token, so that every variant decodes the same number of tokens.
    """

    def __init__(self, spec: Bench):
        shape = SHAPES[spec.base]
        self.vocabulary = spec.vocabulary or shape.vocabulary
        self.dtype, self.device = getattr(torch, spec.dtype), torch.device(spec.device)
        tokenizer = word_tokenizer(self.vocabulary)
        torch.manual_seed(spec.seed)
        self.by_name: dict[str, LM] = {}
        for name in ("base", "tuned", "untuned", "value"):
            sizes = shape.base if name == "base" else shape.guide
            config = shape.family(
                vocab_size=self.vocabulary, bos_token_id=None, eos_token_id=None, pad_token_id=None, **sizes
            )
            model = self._value(config, spec.value_head) if name == "value" else self._causal(config)
            self.by_name[name] = LM(model, tokenizer, name=name)

    def _causal(self, config) -> torch.nn.Module:
        with self.device:
            return AutoModelForCausalLM.from_config(config, dtype=self.dtype).eval()

    def _value(self, config, kind: str) -> ValueModel:
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            with self.device:
                model = ValueModel.from_config(copy.deepcopy(config), kind)
        finally:
            torch.set_default_dtype(before)
        # a head of zeros would tie all hypotheses, and nothing would ever be reordered
        torch.nn.init.normal_(model.score_head.weight)
        return model.to(self.dtype).eval()

    def guider(self, method: str, grid: dict) -> Guider:
        """The guider of ``conf/guider/METHOD.yaml`` with these models and these settings."""
        models = [f"model.{name}={name}" for name in self.by_name]
        axes = [written(f"grid.{axis}", value) for axis, value in grid.items()]
        overrides = ["preset=none", "model=hf", "grid=default", f"guider={method}", *models, *axes]
        *_, setting = composed_sweep(overrides).settings
        return assemble(setting.config, lambda spec, place: self.by_name[spec["path"]])

    def parameters(self) -> dict[str, int]:
        """Weights of every model."""
        return {name: sum(p.numel() for p in lm.model.parameters()) for name, lm in self.by_name.items()}

    def prompts(self, count: int, shortest: int, longest: int, seed: int) -> list[list[int]]:
        """Random prompts whose lengths are spread evenly, in an order that is not that of their lengths."""
        lengths = torch.linspace(shortest, longest, count).round().long()
        draws = torch.Generator().manual_seed(seed)
        lengths = lengths[torch.randperm(count, generator=draws)]
        return [torch.randint(self.vocabulary, (int(n),), generator=draws).tolist() for n in lengths]


def typical(prompts: Sequence[list[int]], count: int) -> list[list[int]]:
    """`count` prompts whose lengths stand for all of them: quantiles."""
    ordered = sorted(prompts, key=len)
    count = min(count, len(ordered))
    return [ordered[int((i + 0.5) * len(ordered) / count)] for i in range(count)]


def word_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer of so many words and no special token."""
    words = {f"w{i}": i for i in range(vocabulary)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0")))
