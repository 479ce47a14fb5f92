"""Which rows each training reads, and in which order the trainings of ``pair``, ``all`` and the rounds follow."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config.compose import written
from harness.errors import UserError
from harness.models.pool import Pool, Resolver
from harness.training import config, data, scratch
from harness.training.data import Rows
from harness.training.rounds import cycle, sampled, scorer
from harness.training.stages import Trainer
from harness.trials.composed import composed_sweep

if TYPE_CHECKING:
    from guiders import Guider, Sampling

PREFERENCE = ("prompt", "chosen", "rejected")


def columns(spec: config.Train) -> list[str]:
    """The columns that the rows must have.

    Raises:
        UserError: rounds without a reward.
    """
    needed = dict.fromkeys(["prompt"])
    for stage in spec.stages:
        if isinstance(stage, config.SftStage):
            is_preference = len(spec.stages) > 1 or not data.has_column(spec.data, spec.data.response)
            needed |= dict.fromkeys(["chosen"] if is_preference else ["response"])
        elif not isinstance(stage, config.FudgeStage):
            needed |= dict.fromkeys(PREFERENCE)
        elif stage.reward is None:
            if stage.rounds > 1:
                raise UserError(f"train.rounds={stage.rounds}: needs a reward; set train.reward=module:function")
            needed |= dict.fromkeys(["response", "reward"])
    return list(needed)


class Pipeline:
    """The trainings of a command, one after the other, on rows that have been read and checked.

    Args:
        rows: as ``data.read`` gives them. say: told about long rows, in one line a training.
    """

    def __init__(self, trainer: Trainer, rows: list[dict], say: Callable[[str], None]):
        self.trainer, self.rows, self.say = trainer, rows, say
        self.spec = trainer.spec

    def run(self) -> dict[str, dict]:
        """Train what is not finished; stage -> held-out figures."""
        asked, trainer, new = self.spec.train, self.trainer, self.spec.base.path
        if new is not None and scratch.is_new(new):
            length, folder = self.spec.data.max_length, trainer.session.folder / "new"
            base = scratch.make(new, self.rows, length, self.spec.seed, folder)
        else:
            base = trainer.folder(self.spec.base, "base")
        if isinstance(asked, config.FudgeStage):
            return self._value(asked, base)
        if not isinstance(asked, config.PairStages | config.AllStages):
            return {asked.name: getattr(trainer, asked.name)(asked, self._prepared(asked.name, base), base)}
        out = trainer.session.out
        found = {"sft": trainer.sft(asked.sft, self._prepared("sft", base), base, "untuned")}
        untuned = str(out / "untuned")
        found["dpo"] = trainer.dpo(asked.dpo, self._prepared("dpo", untuned), untuned, "tuned")
        if isinstance(asked, config.AllStages):
            pair = {"tuned": {"path": str(out / "tuned")}, "untuned": {"path": untuned}}
            stage = asked.fudge.model_copy(update={k: config.ModelSpec(**v) for k, v in pair.items()})
            found |= self._value(stage, base, "value")
        return found

    def _prepared(self, stage: str, model: str, rows: list[dict] | None = None) -> Rows:
        """The rows of a training: prompts in their template, split, long ones counted, and dropped where asked."""
        spec = self.spec
        rows = self.rows if rows is None else rows
        if stage == "sft":
            rows = [{"prompt": row["prompt"], "response": row.get("response") or row["chosen"]} for row in rows]
        template = spec.base.template or "{prompt}"
        rows = [{**row, "prompt": template.replace("{prompt}", row["prompt"])} for row in rows]
        tokenizer = self.trainer.tokenizer(model)

        def length(row: dict) -> int:
            texts = [row[name] for name in ("response", "chosen", "rejected") if name in row]
            count = [len(tokenizer(text)["input_ids"]) for text in (row["prompt"], *texts)]
            return count[0] + max(count[1:]) + 1  # the end-of-text token

        rows, long, longest = data.shorten(rows, spec.data, length)
        if long:
            done = "cut at their end" if spec.data.long_rows == "cut" else "dropped"
            self.say(
                f"{stage}: {long} rows are longer than data.max_length={spec.data.max_length} tokens "
                f"(the longest has {longest}); they are {done}"
            )
        return data.split(rows, spec.held_out, spec.seed)

    def _value(self, stage: config.FudgeStage, base: str, name: str = "") -> dict[str, dict]:
        """The value: of the rows that there are, or round by round of rows that are sampled and scored here."""
        trainer = self.trainer
        start = base if stage.init.path is None else trainer.folder(stage.init, "train.init")
        if stage.reward is None:
            return {"fudge": trainer.value(stage, self._prepared("fudge", start), start, "fudge", True, name)}
        score = scorer(stage, self.spec.device)
        prompts = [row["prompt"] for row in self.rows]
        found: dict[str, dict] = {}
        rows: list[dict] = []
        for number in range(stage.rounds):
            last = number + 1 == stage.rounds
            value = None if number == 0 else start
            asked = cycle(prompts, stage.samples, number * (stage.samples or 0))
            path = trainer.session.folder / f"round-{number + 1}.jsonl"
            guider = self._guider(stage, base, value)
            sampling = self._sampling(stage, number)
            rows = rows + sampled(path, guider, asked, sampling, score, stage.reward, trainer.session.log.step)
            label = "fudge" if last else f"fudge-{number + 1}"
            found[label] = trainer.value(stage, self._prepared(label, start, rows), start, label, last, name)
            start = str(trainer.session.folder / f"{label}-value")
        return found

    def _sampling(self, stage: config.FudgeStage, number: int) -> "Sampling":
        from guiders import Sampling

        asked = {key: value for key, value in stage.sampling.model_dump().items() if value is not None}
        return Sampling(**{**asked, "stop": tuple(asked["stop"])}, seed=self.spec.seed + number)

    def _guider(self, stage: config.FudgeStage, base: str, value: str | None) -> "Callable[[], Guider]":
        """Makes the policy of a round: the base, or the base guided by the value so far and by the pair."""
        paths = {"base": base}
        if value is not None:
            paths["value"] = value
        pair = value is not None and stage.tuned.path is not None
        if pair:
            paths["tuned"] = self.trainer.folder(stage.tuned, "train.tuned")
            paths["untuned"] = self.trainer.folder(stage.untuned, "train.untuned")
        name = "base" if value is None else "ivg" if pair else "chunk_explicit"
        axes = {"weight": stage.weight, **stage.search.model_dump()}
        spec = self.spec.base
        overrides = [
            "preset=none",
            "model=hf",
            f"guider={name}",
            *(written(f"model.{role}.path", _resolved(path)) for role, path in paths.items()),
            *(written(f"model.{role}.dtype", spec.dtype) for role in paths),
            *(written(f"model.{role}.template", spec.template) for role in paths),
            *(written(f"grid.{axis}", at) for axis, at in axes.items()),
        ]
        *_, setting = composed_sweep(overrides).settings
        return lambda: Pool(Resolver(), self.spec.device).guider(setting.config)


def _resolved(path: str) -> str:
    """A folder in full, by which an adapter knows its base again; a hub name as it is."""
    return str(Path(path).resolve()) if Path(path).is_dir() else path
