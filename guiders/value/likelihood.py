"""How likely a language model finds a response, the prompt after it, or a given text after both."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from guiders.errors import GuiderError
from guiders.kv.exclusive import exclusive
from guiders.models.heads import check_language_model
from guiders.models.lm import LM
from guiders.models.prompt import whole_text
from guiders.models.vocab import first_difference
from guiders.value.continuations import Continuation, continuation, log_likelihoods
from guiders.value.protocol import Reads, Scorer, Value
from guiders.value.rescore import shown, summed, whole_texts
from guiders.value.summed import SummedScorer
from guiders.value.text import TextScorer
from guiders.value.texts import TextRow, TextsScorer, one_text

if TYPE_CHECKING:
    from guiders.guider import Guider

OF = ("response", "prompt", "text")


@dataclass(frozen=True)
class Likelihood(Value):
    """The log-likelihood of a text by a language model, in nats.

    - ``of="response"``: log p(y|x). With the base itself and best-of-N this is sharpening (Huang et al. 2025, arXiv
      2412.01951): the most likely of N draws, which tends to the mode.
    - ``of="prompt"``: log p(x | template with y), a time-reversed score (Varun et al. 2024, "Time-Reversal Provides
      Unsupervised Feedback to LLMs", arXiv 2412.02626).
    - ``of="text"``: of given texts after prompt and response: the mean over `texts` less the mean over `against`. Texts
      that follow a good and a bad answer give the follow-up likelihood; "True" against "False" after a question gives
      the log-odds of P(True) (Kadavath et al. 2022, arXiv 2207.05221).

    Args:
        lm: any language model; with another tokenizer than the base's it reads the response's text.
        of: "response", "prompt" or "text".
        template: what comes before the scored text, with ``{response}`` and, of a text, ``{prompt}``. None: of a
            prompt, the response and a line break; of a text, the prompt in the model's own template and the response.
        texts, against: the given texts.
        reduce: "sum", or "mean" over tokens.

    Raises:
        GuiderError: an unknown `of` or `reduce`; a template without ``{response}``, or where nothing reads one; no
            texts, or texts where nothing reads them. While decoding: the likelihood of an empty prompt.
    """

    lm: LM
    of: Literal["response", "prompt", "text"] = "response"
    template: str | None = None
    texts: Sequence[str] = ()
    against: Sequence[str] = ()
    reduce: Literal["sum", "mean"] = "sum"

    def __post_init__(self) -> None:
        for name in ("texts", "against"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        if self.of not in OF:
            raise GuiderError(f"likelihood: of={self.of!r} is unknown; choose one of {', '.join(OF)}")
        if self.reduce not in ("sum", "mean"):
            raise GuiderError(f"likelihood: reduce={self.reduce!r} is unknown; choose sum or mean")
        if self.of == "response" and self.template is not None:
            raise GuiderError("likelihood: of=response reads no template; give the model one, or set of=prompt")
        if self.template is not None and "{response}" not in self.template:
            raise GuiderError(f"likelihood: the template {self.template!r} lacks {{response}}; put it there")
        if (self.of == "text") != bool(self.texts) or (self.against and not self.texts):
            given = "none is given; set texts" if self.of == "text" else "texts are given; set of=text"
            raise GuiderError(f"likelihood: of={self.of} and {given}")
        if not all((*self.texts, *self.against)):
            raise GuiderError("likelihood: an empty text is always certain; give texts and against some characters")

    @property
    def models(self) -> tuple[LM, ...]:
        # what reads texts of its own does not bound the response: it loses the beginning of what is too long
        return (self.lm,) if self.of == "response" else ()

    def check(self) -> None:
        if not isinstance(self.lm, LM):
            raise GuiderError(f"likelihood: lm is a {type(self.lm).__name__}; load a model with LM.load(PATH)")
        check_language_model(self.lm)
        if self.of == "text" and self.template is None:
            self.lm.render("a prompt")  # raises where there is no template for it

    def reads(self, guider: "Guider") -> tuple[Reads, ...]:
        if self.of != "response" or self._stepped(guider):
            return ()
        return (Reads(self.lm, head=True, last=False),)

    def _stepped(self, guider: "Guider") -> bool:
        """Does the decoder have this model read every token in any case?"""
        return self.lm in guider.models and not guider.search.scores_cut_with_end

    def scorer(self, guider: "Guider", slots: int, columns: int) -> Scorer:
        if self.of != "response":
            return _ContinuationScorer(self, guider.base, slots)
        mean = self.reduce == "mean"
        if first_difference(guider.base.tokenizer, self.lm.tokenizer):
            kind = "mean_log_prob" if mean else "log_prob"
            return TextScorer(guider.base, [self.lm], [1.0], kind, slots, guider.search)
        device, stepped = guider.base.device, self._stepped(guider)
        return SummedScorer([self.lm], [1.0], slots, guider.search, columns, device, mean, stepped)

    def asked(self, prompt: Any, response: str) -> list[Continuation]:
        """What is scored of a response: `texts`, then `against`, or the prompt.

        Raises:
            GuiderError: the likelihood of an empty prompt.
        """
        if self.of == "prompt":
            scored = one_text(prompt)
            if not scored:
                raise GuiderError("likelihood: the prompt is empty, and of=prompt scores it; give a prompt, or of=text")
            return [continuation(self.lm, filled(self.template or "{response}\n", "", response), scored)]
        if self.template is None:
            before = self.lm.render(prompt) + response
        else:
            before = filled(self.template, one_text(prompt), response)
        return [continuation(self.lm, before, text) for text in (*self.texts, *self.against)]

    def reduced(self, scores: Sequence[torch.Tensor]) -> float:
        """The value, from the log-probabilities of every scored text's tokens."""
        numbers = [float(one.mean() if self.reduce == "mean" else one.sum()) for one in scores]
        count = len(self.texts) or 1
        value = sum(numbers[:count]) / count
        return value - sum(numbers[count:]) / len(self.against) if self.against else value

    @torch.inference_mode()
    def rescore(
        self,
        guider: "Guider",
        prompt: object,
        responses: Sequence[Sequence[int]],
        ended: Sequence[bool],
        stop: Sequence[str] = (),
    ) -> list[float]:
        if self.of == "response":
            read = list(whole_texts(self.lm, guider, prompt, responses, ended, stop))
            return [summed(*one) / (max(1, len(one[1]) - one[2]) if self.reduce == "mean" else 1) for one in read]
        asked = whole_text(guider.base, prompt)
        return [
            self.reduced([_alone(self.lm, one) for one in self.asked(asked, shown(guider.base, response, stop))])
            for response in responses
        ]


class _ContinuationScorer(TextsScorer):
    """Reads a prompt's or a text's tokens after every response."""

    def __init__(self, value: Likelihood, base: LM, slots: int):
        super().__init__(base, slots)
        self.value = value

    def values(self, rows: list[TextRow]) -> list[tuple[float, int]]:
        asked = [self.value.asked(row.prompt, row.text) for row in rows]
        scores = log_likelihoods(self.value.lm, [one for some in asked for one in some])
        found, at = [], 0
        for some in asked:
            positions = sum(one.read for one in some)
            found.append((self.value.reduced(scores[at : at + len(some)]), positions))
            at, self.evaluated = at + len(some), self.evaluated + positions
        return found


def filled(template: str, prompt: str, response: str) -> str:
    """A template with both texts in their places; each may itself hold a placeholder."""
    texts = {"{prompt}": prompt, "{response}": response}
    return "".join(texts.get(part, part) for part in re.split(r"(\{prompt\}|\{response\})", template))


def _alone(lm: LM, one: Continuation) -> torch.Tensor:
    """The log-probabilities of a continuation's tokens, by a pass of their own."""
    ids = torch.tensor([one.ids], device=lm.device)
    with exclusive(lm.model):
        log_p = lm.model(input_ids=ids[:, :-1], use_cache=False).logits[0].double().log_softmax(-1)
    return log_p[one.first - 1 :].gather(-1, ids[0, one.first :, None])[:, 0].cpu()
