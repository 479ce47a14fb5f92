"""Do two tokenizers speak the same vocabulary? Token guidance adds logits, so every id must mean the same string."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from guiders.errors import GuiderError


def check_same_vocabulary(
    base: PreTrainedTokenizerBase, guide: PreTrainedTokenizerBase, base_name: str, guide_name: str
) -> None:
    """Compare two tokenizers by their whole id -> string map and their special tokens. Loads no weights.

    Equal sizes are not enough: Llama-2 and Mistral both have 32,000 ids and are not the same.

    Raises:
        GuiderError: they differ; the message names the first difference and what to do instead.
    """
    difference = first_difference(base, guide)
    if difference:
        raise GuiderError(
            f"{guide_name} does not share the vocabulary of {base_name} ({difference}); token guidance adds logits "
            "id by id: use a guide with the same tokenizer, or use this one as a value (values are scored on text)"
        )


def first_difference(base: PreTrainedTokenizerBase, guide: PreTrainedTokenizerBase) -> str | None:
    """The first difference of two tokenizers in words, or None where they are the same."""
    if base is guide:
        return None
    ours = {index: token for token, index in base.get_vocab().items()}
    theirs = {index: token for token, index in guide.get_vocab().items()}
    for index in sorted(ours.keys() | theirs.keys()):
        if ours.get(index) != theirs.get(index):
            return f"id {index} is {ours.get(index)!r} there and {theirs.get(index)!r} here"
    if base.eos_token_id != guide.eos_token_id:
        return f"the end-of-text token is {base.eos_token!r} there and {guide.eos_token!r} here"
    return None


def check_ids(ids: Sequence[int], rows: int, name: str) -> None:
    """Raises GuiderError where a model's tokenizer has given an id that its table, of so many rows, does not have."""
    if (highest := max(ids, default=-1)) >= rows:
        raise GuiderError(
            f"{name}: its tokenizer gives the id {highest}, and its table has {rows} rows; "
            "give it the tokenizer that it was trained with"
        )
