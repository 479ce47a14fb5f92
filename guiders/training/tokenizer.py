"""A byte-level BPE tokenizer, trained from texts."""

from collections.abc import Iterable

from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"


def train(texts: Iterable[str], vocab_size: int = 1000) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE like GPT-2's: lossless on any text; one special token begins, ends and pads.

    A text cut before a space has the same tokens in two parts as in one: prompt and response may be encoded apart.

    Args:
        texts: what the merges are counted on; the result depends on nothing else.
        vocab_size: all tokens, with the 256 bytes and the special token.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=END, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )
