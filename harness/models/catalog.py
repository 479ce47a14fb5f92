"""What is known, without a network, of the published models that the presets name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HubModel:
    """A model on the hub.

    Attributes:
        family: whose architecture and tokenizer it has: gpt2, llama, mistral, mixtral or distilbert.
        billions: parameters, in billions.
        cache: kilobytes of keys and values that a token takes at 16 bits: 2 · layers · key-value width · 2 bytes; 0 for
            models that only read whole texts.
        gated: whether its licence must be accepted on the hub before it can be downloaded.
        head: "lm", "value" (the IVG authors' layout) or "classifier".
    """

    family: str
    billions: float
    cache: float
    gated: bool = False
    head: str = "lm"


MODELS = {
    "openai-community/gpt2": HubModel("gpt2", 0.124, 36.9),
    "openai-community/gpt2-large": HubModel("gpt2", 0.774, 184.3),
    "openai-community/gpt2-xl": HubModel("gpt2", 1.558, 307.2),
    "lvwerra/gpt2-imdb": HubModel("gpt2", 0.124, 36.9),
    "chadlzx/gpt2-imdb-dpo": HubModel("gpt2", 0.124, 36.9),
    "chadlzx/gpt2-imdb-token-rm": HubModel("gpt2", 0.163, 36.9, head="value"),
    "lvwerra/distilbert-imdb": HubModel("distilbert", 0.067, 0, head="classifier"),
    "chadlzx/gpt2-summarize": HubModel("gpt2", 0.124, 36.9),
    "chadlzx/gpt2-summarize-dpo": HubModel("gpt2", 0.124, 36.9),
    "chadlzx/gpt2-summarize-token-rm": HubModel("gpt2", 0.163, 36.9, head="value"),
    "chadlzx/golden_rm_summarize": HubModel("llama", 6.607, 0, head="classifier"),
    "meta-llama/Llama-2-7b-hf": HubModel("llama", 6.738, 524.3, gated=True),
    "meta-llama/Llama-2-7b-chat-hf": HubModel("llama", 6.738, 524.3, gated=True),
    "meta-llama/Llama-2-70b-chat-hf": HubModel("llama", 68.977, 327.7, gated=True),
    "mistralai/Mistral-7B-Instruct-v0.2": HubModel("mistral", 7.242, 131.1),
    "mistralai/Mixtral-8x7B-Instruct-v0.1": HubModel("mixtral", 46.703, 131.1),
    "allenai/tulu-2-7b": HubModel("llama", 6.738, 524.3),
    "allenai/tulu-2-dpo-7b": HubModel("llama", 6.738, 524.3),
    "chadlzx/llama-ultrafeedback-dpo": HubModel("llama", 6.738, 524.3),
    "chadlzx/llama-ultrafeedback-token-rm": HubModel("llama", 6.738, 524.3, head="value"),
}
