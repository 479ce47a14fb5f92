"""The trainings themselves: each loads its base, trains, measures itself on the held-out rows, and saves."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiders.errors import GuiderError
from guiders.training.checkpoint import Checkpoints
from guiders.training.schedule import Lora, Schedule
from harness.errors import UserError
from harness.models.pool import Resolver
from harness.training import config
from harness.training.data import Rows
from harness.training.session import Session

if TYPE_CHECKING:
    from guiders.models.value_model import ValueModel


class Trainer:
    """What every training of a session shares.

    Args:
        spec: the whole configuration. session: its folder.
    """

    def __init__(self, spec: config.Train, session: Session):
        self.spec, self.session = spec, session
        self.resolver = Resolver()

    def folder(self, model: config.ModelSpec, name: str) -> str:
        """A model's folder or hub name.

        Raises:
            UserError: not given, or no such folder.
        """
        if model.path is None:
            raise UserError(f"{name}: not set; give {name}=PATH, a model's folder or its name on the hub")
        return self.resolver.folder(model.model_dump(), name)

    def tokenizer(self, path: str) -> Any:
        """A model's tokenizer; one without a padding token pads with the end of text.

        Raises:
            UserError: no such model, or a tokenizer without an end of text.
        """
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=self.spec.base.trust_remote_code)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: no tokenizer to load ({str(error).strip().splitlines()[0]})") from None
        if tokenizer.eos_token_id is None:
            raise UserError(f"{path}: its tokenizer has no end-of-text token, with which responses end; set one")
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def load(self, path: str, auto: str = "AutoModelForCausalLM", **more: Any) -> Any:
        """The weights of a model, on the device, for one of transformers' auto classes.

        Raises:
            UserError: no safetensors there.
        """
        import torch
        import transformers

        base = self.spec.base
        try:
            torch.manual_seed(self.spec.seed)  # a new head's weights
            model = getattr(transformers, auto).from_pretrained(
                path,
                dtype=getattr(torch, base.dtype),
                use_safetensors=True,
                trust_remote_code=base.trust_remote_code,
                **more,
            )
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: can't be loaded ({str(error).strip().splitlines()[0]})") from None
        return model.to(self.spec.device)

    def options(self, stage: str, settings: config.TrainingStage) -> dict:
        """What the trainers of ``guiders.training`` take besides model, tokenizer and rows."""
        fields = ("epochs", "batch_size", "learning_rate", "warmup", "weight_decay")
        return {
            "schedule": Schedule(**{name: getattr(settings, name) for name in fields}, seed=self.spec.seed),
            "max_length": self.spec.data.max_length,
            "progress": self.session.log.step,
            "stage": stage,
            "checkpoints": Checkpoints(self.session.folder / stage, self.spec.checkpoint_every),
        }

    def once(self, stage: str, train: Callable[[], dict]) -> dict:
        """The figures of a stage, which is trained where it is not finished."""
        figures = self.session.done(stage)
        return train() if figures is None else figures

    def sft(self, settings: config.SftStage, rows: Rows, base: str, name: str = "") -> dict:
        """Supervised fine-tuning; with LoRA the update is merged into the weights at the end."""
        from guiders.training import held_out, sft

        def train() -> dict:
            tokenizer, model = self.tokenizer(base), self.load(base)
            trained: Any = sft.train(model, tokenizer, rows.train, lora=lora(settings), **self.options("sft", settings))
            model = trained.merge_and_unload() if settings.lora.rank else trained
            figures = held_out.likelihood(model, tokenizer, rows.held_out, max_length=self.spec.data.max_length)
            self.session.finish("sft", _saves(model, tokenizer), figures, name)
            return figures

        return self.once("sft", train)

    def dpo(self, settings: config.DpoStage, rows: Rows, untuned: str, name: str = "") -> dict:
        """Direct preference optimisation of the untuned model; with LoRA an adapter on it is saved."""
        from guiders.training import dpo, held_out

        def train() -> dict:
            tokenizer, model = self.tokenizer(untuned), self.load(untuned)
            length = self.spec.data.max_length

            def ratios(model: Any) -> Any:
                sides = (
                    held_out.log_probs(model, tokenizer, rows.held_out, side, max_length=length)
                    for side in ("chosen", "rejected")
                )
                return next(sides) - next(sides)

            before = ratios(model.eval())
            model = dpo.train(
                model, tokenizer, rows.train, beta=settings.beta, lora=lora(settings), **self.options("dpo", settings)
            )
            figures = held_out.preference(settings.beta * (ratios(model) - before))
            more: dict[str, Any] = {}
            if settings.lora.rank:
                _name_base(model, untuned, name)
                figures |= _memory(model)
                more["save_embedding_layers"] = False  # no vocabulary grew; PEFT would look for the base, and warn
            self.session.finish("dpo", _saves(model, tokenizer, **more), figures, name)
            return figures

        return self.once("dpo", train)

    def reward(self, settings: config.RewardStage, rows: Rows, base: str) -> dict:
        """A Bradley-Terry reward model."""
        from guiders.training import held_out, reward

        def train() -> dict:
            tokenizer = self.tokenizer(base)
            model = self.load(base, "AutoModelForSequenceClassification", num_labels=1)
            model = reward.train(model, tokenizer, rows.train, **self.options("reward", settings))
            length = self.spec.data.max_length
            figures = held_out.preference(held_out.reward_margins(model, tokenizer, rows.held_out, max_length=length))
            self.session.finish("reward", _saves(model, tokenizer), figures)
            return figures

        return self.once("reward", train)

    def value(
        self, settings: config.FudgeStage, rows: Rows, start: str, stage: str, save: bool, name: str = ""
    ) -> dict:
        """An explicit value.

        Args:
            start: a language model, whose backbone the value begins with, or a value model, which is trained on.
            stage: "fudge", or a round's name. save: whether it is the last round, whose model goes to OUT.
        """
        from guiders.training import fudge, held_out

        def train() -> dict:
            if len({row["reward"] for row in rows.train}) < 2:
                raise UserError(f"{stage}: all rewards are alike, and there is nothing to learn; give another reward")
            tokenizer, model = self.tokenizer(start), self.value_model(start, settings.head)
            model = fudge.train(model, tokenizer, rows.train, loss=settings.loss, **self.options(stage, settings))
            figures = {}
            if len({row["reward"] for row in rows.held_out}) > 1:
                found = held_out.evaluate(model, tokenizer, rows.held_out, max_length=self.spec.data.max_length)
                figures = {key: {f"{share:g}": each for share, each in by.items()} for key, by in found.items()}
            place = name if save else f"training/{stage}-value"
            self.session.finish(stage, _saves(model, tokenizer, "save"), figures, place)
            return figures

        return self.once(stage, train)

    def value_model(self, path: str, kind: str) -> "ValueModel":
        """The value model of a folder, or a new head on a language model's backbone."""
        from guiders.models.value_model import ValueModel

        try:
            model = ValueModel.load(path, dtype=self.spec.base.dtype, device=self.spec.device)
        except GuiderError as error:
            if "score_head" not in str(error):
                raise
            model = ValueModel.on(self.load(path, "AutoModel"), kind).to(self.spec.device)
        if model.kind != kind:
            raise UserError(f"train.head={kind}: {path} is a value model with a {model.kind} head; choose that")
        return model


def lora(settings: config.SftStage | config.DpoStage) -> Lora | None:
    return Lora(rank=settings.lora.rank, alpha=settings.lora.alpha) if settings.lora.rank else None


def _saves(model: Any, tokenizer: Any, method: str = "save_pretrained", **options: Any) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        getattr(model, method)(folder, **options)
        tokenizer.save_pretrained(folder)

    return save


def _name_base(model: Any, untuned: str, name: str) -> None:
    """Say in the adapter which model it belongs to: the one beside it where the two are saved together."""
    settings = copy.copy(model.peft_config["default"])
    local = Path(untuned)
    alone = str(local.resolve()) if local.is_dir() else untuned
    settings.base_model_name_or_path = f"../{local.name}" if name else alone
    model.peft_config["default"] = settings


def _memory(model: Any) -> dict[str, int]:
    """Bytes of tuned and untuned in memory, on one set of weights and as two models."""
    from guiders.models.adapter import weight_bytes

    shared = weight_bytes([model])
    adapter = sum(weight.numel() * weight.element_size() for key, weight in model.named_parameters() if "lora_" in key)
    return {"bytes_shared": shared, "bytes_two_models": 2 * (shared - adapter)}
