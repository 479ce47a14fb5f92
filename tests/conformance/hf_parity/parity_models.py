"""Tiny models with random weights, saved to folders that both sides load: GPT-2 with byte-level BPE, Llama with
SentencePiece's "▁" and a start token. Vocabularies are small, so that special tokens are often written."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CONTEXT = 64
WORDS = "the film was slow and the end of it was a good one\nshe said that he had not seen any of it before\n"
WRITES_START = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% if not loop.last or add_generation_prompt %}"
    "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
NO_START = WRITES_START.removeprefix("{{ bos_token }}")


def byte_level() -> PreTrainedTokenizerFast:
    """GPT-2's kind: one token begins and ends a text, and nothing is added."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator([WORDS + "[user][assistant]"], trainers.BpeTrainer(vocab_size=72, show_progress=False))
    core.add_special_tokens([AddedToken("<|endoftext|>", special=True), AddedToken("<|im_end|>", special=True)])
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=end, eos_token=end)


def sentence_piece() -> PreTrainedTokenizerFast:
    """Llama's kind: "▁" for a space, one before the text, and ``<s>`` before everything."""
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    core.decoder = decoders.Metaspace(prepend_scheme="first")
    special = ["<unk>", "<s>", "</s>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(vocab_size=72, show_progress=False, special_tokens=special)
    core.train_from_iterator([WORDS + "[user][assistant]"], trainer)
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", core.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def save(kind: str, folder: Path) -> str:
    """A model of this kind in a folder of its own; returns the folder's path."""
    tokenizer = byte_level() if kind == "gpt2" else sentence_piece()
    ids = {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(5)
    if kind == "gpt2":
        shape = {"n_positions": CONTEXT, "n_embd": 16, "n_layer": 2, "n_head": 2}
        model = GPT2LMHeadModel(GPT2Config(tie_word_embeddings=False, **shape, **ids))
    else:
        shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
        model = LlamaForCausalLM(LlamaConfig(max_position_embeddings=CONTEXT, num_key_value_heads=1, **shape, **ids))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.4)  # wide: greedy choices are no ties
    often = [token for token in ("<|im_end|>", "Ċ", "\n") if token in tokenizer.get_vocab()]
    model.lm_head.weight.data[tokenizer.convert_tokens_to_ids(often)] *= 2
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
