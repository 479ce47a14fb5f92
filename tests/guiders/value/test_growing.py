"""A text that grows is tokenised as if it were tokenised whole, by every kind of tokenizer, and mostly once."""

import random
from functools import partial

import pytest
import torch
from tables import prompts, table
from tiny_models import lm, value
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from guiders import LM, ChunkBeam, Explicit, Guider, Sampling
from guiders.laws import decode
from guiders.value.growing import Frozen, cuts_at_spaces, grown
from guiders.value.text import continued

torch.set_num_threads(1)
WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "it's",
    "12345",
    "times",
    "don't-stop",
    "foo_bar",
    "(yes),",
    "no!",
    "http://x.y",
]
WORDS += ["naïve", "Zoë", "北京", "e\u0301", "\U0001f600"]
SPACES = [" ", " ", " ", " ", "  ", "\n", "\n\n", "\t ", "", " \n "]


def text_of(seed: int, words: int = 40) -> str:
    rng = random.Random(seed)
    return "".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(words))


def made(kind: str) -> LM:
    corpus = [text_of(seed) for seed in range(200)]
    if kind == "byte-level BPE":
        core = Tokenizer(models.BPE())
        core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        core.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=500, show_progress=False))
    elif kind == "WordPiece":
        core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        core.normalizer, core.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False)
        core.train_from_iterator(corpus, trainer)
    elif kind == "Unigram":
        core = Tokenizer(models.Unigram())
        core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
        core.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=300, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
        )
        core.train_from_iterator(corpus, trainer)
    else:  # as Llama 2: the whole text is one word, and spaces are a character like others
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.Metaspace()
        core.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=400, show_progress=False))
        core.pre_tokenizer = None
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return LM(lm().model, PreTrainedTokenizerFast(tokenizer_object=core), name=kind)


@pytest.mark.parametrize("kind", ["byte-level BPE", "WordPiece", "Unigram", "SentencePiece BPE"])
def test_it_equals_the_whole_text_tokenised_again(kind):
    """60 texts with odd spaces, digits, accents and characters of several bytes, that grow by 1 to 15 characters."""
    model, rng, read = made(kind), random.Random(7), {"whole": 0, "grown": 0}
    assert cuts_at_spaces(model)
    plain = model.encode_text
    counted = "grown"

    def noting(text, special=True):
        read[counted] += len(text)
        return plain(text, special)

    model.encode_text = noting
    for seed in range(60):
        text, prompt = text_of(1000 + seed), rng.choice(["Say: ", "", "A dog", "x\n"])
        frozen, at = Frozen(), 0
        while at < len(text):
            at = min(len(text), at + rng.randint(1, 15))
            counted = "grown"
            tokens, frozen = grown(model, frozen, text[:at], partial(continued, model, prompt))
            counted = "whole"
            assert tokens == continued(model, prompt, text[:at]), (seed, text[:at])
    print(f"{kind}: characters tokenised {read['whole']:,} before, {read['grown']:,} now")
    assert read["grown"] < 0.6 * read["whole"]


def test_a_beginning_that_is_cut_again_is_tokenised_anew():
    model = made("byte-level BPE")

    def whole(one):
        return continued(model, "", one)

    _, frozen = grown(model, Frozen(), "the cat sat on a mat and it", whole)
    assert frozen.text
    assert grown(model, frozen, "the dog", whole)[0] == whole("the dog")


def test_a_vocabulary_that_crosses_words_is_tokenised_whole():
    core = Tokenizer(models.BPE({"a": 0, "▁": 1, "a▁": 2, "a▁a": 3}, [("a", "▁"), ("a▁", "a")]))
    assert not cuts_at_spaces(LM(lm().model, PreTrainedTokenizerFast(tokenizer_object=core), name="crossing"))


def test_a_value_in_other_tokens_reads_each_character_about_once(monkeypatch):
    """Fifty chunks of a response of letters and spaces: the same values, and fewer than 0.7 of the characters."""
    scalar, space = value("gpt2", "scalar", 7, "bytes"), 22
    guider = Guider(table(1, (0, 1, 2, space)), value=Explicit(scalar), search=ChunkBeam(2, 2, 1))
    read = []
    plain = LM.encode_text

    def noting(self, text, special=True):
        read.append(len(text))
        return plain(self, text, special)

    monkeypatch.setattr(LM, "encode_text", noting)
    asked = Sampling(max_new_tokens=50, seed=3)
    now, few = decode(guider, prompts(3), asked), sum(read)
    read.clear()
    monkeypatch.setattr("guiders.value.text.cuts_at_spaces", lambda lm: False)
    before, many = decode(guider, prompts(3), asked), sum(read)
    print(f"characters tokenised: {many:,} before, {few:,} now")
    assert [(one.tokens, one.value) for one in now] == [(one.tokens, one.value) for one in before]
    assert few < 0.7 * many
