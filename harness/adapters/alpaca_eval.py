"""The guided model inside AlpacaEval: a decoder for ``alpaca_eval.evaluate_from_model``.

    from harness.adapters.alpaca_eval import model_config
    alpaca_eval.evaluate_from_model(
        model_configs=model_config("ivg", ["preset=embedded", "guider=ivg"]), evaluation_dataset=rows, ...
    )

Nothing is written into AlpacaEval's own folder: the decoder is a callable in the configuration, and the prompt template
is a file of ours, by its absolute path (AlpacaEval looks for anything else in its own folder).
"""

from collections.abc import Callable, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from harness.backends.protocol import Asked
from harness.backends.serial import generations
from harness.errors import UserError
from harness.trials.one_guider import Guided, one_guider

if TYPE_CHECKING:
    from guiders import Guider

# AlpacaEval's models answer in at most 2,048 tokens
MAX_NEW_TOKENS = 2048


class AlpacaEvalDecoder:
    """A guider as an AlpacaEval decoder (``fn_completions``).

    Args:
        overrides: of the sweep's configuration: ``["preset=embedded", "guider=ivg", "grid.weight=2"]``; the grid must
            come to one setting.
        chat: prompts go through every model's own chat template.

    Raises:
        UserError: bad overrides, or several settings.
    """

    def __init__(self, overrides: Sequence[str], chat: bool = False):
        self.guided: Guided = one_guider(list(overrides))
        self.chat = chat
        self._guider: Guider | None = None

    def __call__(
        self,
        prompts: Sequence[str],
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        stop: Sequence[str] = (),
        seed: int | None = None,
        **unknown: Any,
    ) -> dict[str, list]:
        """Complete prompts, in order.

        What the configuration's ``sampling.*`` overrides set wins over these arguments. A temperature that nobody sets
        is 1.

        Returns:
            ``completions``, ``time_per_example`` (seconds), ``price_per_example`` (0: nobody is paid),
            ``finish_reason`` and ``forward_passes``, one of each per prompt.

        Raises:
            UserError: an argument that the decoder does not have.
        """
        from guiders import Sampling

        if unknown:
            raise UserError(f"completions_kwargs {sorted(unknown)[0]!r}: not a setting of this decoder")
        set_here = self.guided.sampling
        asked = {"max_new_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "top_k": top_k}
        asked |= {"min_p": min_p, "typical_p": typical_p, "coupling": None}
        default = Sampling(max_new_tokens=MAX_NEW_TOKENS)
        chosen = {name: _first(set_here[name], asked[name], getattr(default, name)) for name in asked}
        step = self.guided.prompt
        stop = (*set_here["stop"], *stop, *step.stop)
        sampling = Sampling(**chosen, stop=stop, seed=self.guided.seed if seed is None else seed)
        if self._guider is None:
            self._guider = self.guided.pool.guider(self.guided.config)
        asked_for = [Asked(text, [{"role": "user", "content": text}] if self.chat else text) for text in prompts]
        asked_for = [step.asked(one) for one in asked_for]
        found = generations(
            self._guider, asked_for, sampling, self.guided.batch_tokens, on_long_prompt=self.guided.on_long_prompt
        )
        return {
            "completions": [one.text for one in found],
            "time_per_example": [one.seconds for one in found],
            "price_per_example": [0.0] * len(found),
            "finish_reason": [one.finish_reason for one in found],
            "forward_passes": [one.forward_passes for one in found],
        }


def model_config(name: str, overrides: Sequence[str], chat: bool = False, **completions_kwargs: Any) -> dict[str, dict]:
    """The ``model_configs`` of ``alpaca_eval.evaluate_from_model`` for one guider.

    Args:
        name: the generator's name; AlpacaEval takes up stale outputs of the same name, so give every setting its own.
        completions_kwargs: handed to the decoder: max_tokens, temperature, top_p, top_k, min_p, typical_p, stop,
            seed.
    """
    decoder: Callable = AlpacaEvalDecoder(overrides, chat)
    return {
        name: {
            "prompt_template": str(resources.files("harness.adapters") / "instruction.txt"),
            "fn_completions": decoder,
            "completions_kwargs": completions_kwargs,
            "pretty_name": name,
        }
    }


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)
