"""A run's folder drawn from known truth, with the texts that a report must survive."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HOSTILE = (
    "<script>window.pwned = 1</script>",
    "</textarea></script><img src=x onerror='window.pwned=2'>",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "\u202egnitset\u202c \u200fright to left\u200f",
    "=cmd|' /C calc'!A0",
    "\u2028line\u2029paragraph & <b>bold</b> {{ 7*7 }} ${7*7}",
)
WORDS = [
    "the",
    "a",
    "film",
    "plot",
    "actor",
    "scene",
    "bright",
    "dull",
    "warm",
    "thin",
    "story",
    "pace",
    "and",
    "but",
    "with",
    "moves",
    "lingers",
    "holds",
    "ends",
    "music",
    "light",
    "quiet",
    "brave",
    "clumsy",
    "tender",
    "slow",
    "sharp",
    "careful",
    "hollow",
    "funny",
    "sad",
]


@dataclass(frozen=True)
class Method:
    """A setting to draw: its shift of the gold reward over the base, its proxy value, KL and length."""

    method: str
    settings: dict
    guider: dict
    gain: float
    kl: float = 0.0
    kl_search: float = 0.0
    value: float | None = None
    fluency: float = 0.95
    words: int = 30
    rows: int = 1

    @property
    def id(self) -> str:
        return _hash(self.method, self.settings)


def embedded_grid() -> list[Method]:
    """About the embedded sweep: six methods, 25 settings; the proxy value keeps rising where the gold reward turns."""
    grid = [Method("base", {}, {"search": {"_target_": "guiders.Sample"}}, 0.0)]
    for n in (4, 8, 16):
        search = {"_target_": "guiders.BestOfN", "n": n}
        bound = float(np.log(n) - (n - 1) / n)
        grid.append(
            Method("best_of_n", {"n": n}, {"search": search}, 0.6 * np.log2(n), 0, bound, 0.8 * np.log2(n), rows=n)
        )
    for weight in (0.5, 1.0, 2.0, 4.0):
        token = {"_target_": "guiders.Implicit", "weight": weight}
        gain = 2.2 * weight - 0.45 * weight**2
        grid.append(Method("eft", {"weight": weight}, {"token": token}, gain, 3 * weight, 0, None, 0.97 - 0.1 * weight))
    for method, strength in (("cbs_implicit", 0.55), ("cbs_explicit", 0.75)):
        for width, successors in ((2, 2), (4, 4), (8, 2)):
            rows = width * successors
            search = {"_target_": "guiders.ChunkBeam", "width": width, "successors": successors, "length": 5}
            bound = float(np.log(width) + 6 * np.log(successors))
            settings = {"beam": f"{width}x{successors}x5"}
            grid.append(
                Method(
                    method, settings, {"search": search}, strength * np.log2(rows), 0, bound, np.log2(rows), rows=rows
                )
            )
    for weight in (0.5, 1.0, 2.0, 4.0):
        for width, successors in ((2, 2), (4, 4), (8, 2)):
            rows = width * successors
            search = {"_target_": "guiders.ChunkBeam", "width": width, "successors": successors, "length": 5}
            token = {"_target_": "guiders.Implicit", "weight": weight}
            gain = 0.75 * np.log2(rows) + 2.2 * weight - 0.5 * weight**2
            grid.append(
                Method(
                    "ivg",
                    {"weight": weight, "beam": f"{width}x{successors}x5"},
                    {"token": token, "search": search},
                    gain,
                    3 * weight,
                    float(np.log(width) + 6 * np.log(successors)),
                    1.1 * np.log2(rows) + 2 * weight,
                    0.97 - 0.1 * weight,
                    30 + int(4 * weight),
                    rows,
                )
            )
    return grid


def write_run(
    path: Path,
    *,
    grid: list[Method] | None = None,
    n_dev: int = 64,
    n_test: int = 128,
    seeds: tuple[int, ...] = (0, 1),
    every_setting_on_test: bool = False,
    noise: float = 1.5,
    words: int | None = None,
    hostile: bool = True,
    trace: bool = True,
    draw: int = 0,
) -> dict[str, Method]:
    """Write a run's folder; returns setting id -> its truth.

    Every setting is drawn on dev with the first seed; the best truth of each method on test with every seed.
    """
    grid = grid or embedded_grid()
    rng = np.random.default_rng(draw)
    best = {}
    for item in grid:
        if item.method not in best or item.gain > best[item.method].gain:
            best[item.method] = item
    base = next(item for item in grid if item.method == "base")
    for split, n in (("dev", n_dev), ("test", n_test)):
        if not n:
            continue
        chosen = grid if split == "dev" or every_setting_on_test else list(best.values())
        prompts = [f"{split} prompt {i}: {_text(rng, 5)}" for i in range(n)]
        easy = rng.normal(0, 1, n)
        for seed in seeds if split == "test" else seeds[:1]:
            base_gold = easy + rng.normal(0, noise, n)
            base_texts = [_response(rng, base, i, words, hostile) for i in range(n)]
            for item in chosen:
                own = item is base
                gold = base_gold if own else item.gain + easy + rng.normal(0, noise, n)
                texts = base_texts if own else [_response(rng, item, i, words, hostile) for i in range(n)]
                trial = {
                    "id": _hash(item.id, split, seed),
                    "setting": item.id,
                    "method": item.method,
                    "settings": item.settings,
                    "split": split,
                    "seed": seed,
                    "task": "reviews",
                    "guider": item.guider,
                    "sampling": {"temperature": 0.7, "max_new_tokens": 48},
                    "revisions": {"base": "0123456789abcdef"},
                    "selected": item in best.values(),
                }
                _write_trial(path, trial, item, rng, prompts, texts, gold, base_gold, base_texts, trace)
    (path / "config.yaml").write_text("task: reviews\nselect:\n  metric: gold_reward\n")
    (path / "manifest.json").write_text(
        json.dumps(
            {
                "command": "python -m harness sweep task=reviews",
                "packages": {"torch": "2.13.0", "transformers": "5.23.0", "lm_eval": "0.4.13"},
                "device": "cpu, 2 threads",
                "models": {"base": "sha256:0123456789abcdef", "tuned": "sha256:fedcba9876543210"},
                "datasets": {"reviews": "sha256:00112233445566778899"},
                "wall_seconds": 231.5,
            }
        )
    )
    return {item.id: item for item in grid}


def _write_trial(path, trial, item, rng, prompts, texts, gold, base_gold, base_texts, trace):
    records, scores, judgements = [], [], []
    for i, prompt in enumerate(prompts):
        key = hashlib.sha256(prompt.encode()).hexdigest()[:16]
        n_tokens = len(texts[i].split())
        tokens_kl = max(0.0, float(item.kl + rng.normal(0, 0.2))) if item.kl else 0.0
        record = {
            "key": key,
            "index": i,
            "prompt": prompt,
            "response": texts[i],
            "n_tokens": n_tokens,
            "finish_reason": "length" if i % 7 == 0 else "eos",
            "value": None if item.value is None else float(item.value + rng.normal(0, 0.4)),
            "kl": tokens_kl,
            "kl_search": item.kl_search,
            "log_ratio": 1.3 * tokens_kl if item.kl_search else None,
            "forward_passes": n_tokens * item.rows * (3 if item.method == "ivg" else 1),
            "computed_passes": (n_tokens + 2) * item.rows * (3 if item.method == "ivg" else 1),
            "seconds": float(n_tokens * (0.001 + 0.0002 * item.rows) * rng.uniform(0.8, 1.2)),
        }
        if trace and i < 20 and item.method in ("ivg", "eft", "cbs_explicit"):
            record["trace"] = _trace(texts[i], item, rng)
        records.append(record)
        scores.append(
            {
                "key": key,
                "scores": {
                    "gold_reward": float(gold[i]),
                    "fluency": float(np.clip(rng.normal(item.fluency, 0.1), 0, 1)),
                },
            }
        )
        if item.method != "base":
            better = rng.random() < 1 / (1 + np.exp(base_gold[i] - gold[i]))
            judgements.append(
                {
                    "key": key,
                    "preference": 2.0 if better else 1.0,
                    "judge": "reward",
                    "baseline": "base",
                    "len_1": len(base_texts[i]),
                    "len_2": len(texts[i]),
                }
            )
    for folder, rows in (("records", records), ("scores", scores), ("judgements", judgements)):
        if rows:
            (path / folder).mkdir(parents=True, exist_ok=True)
            (path / folder / f"{trial['id']}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "trials").mkdir(parents=True, exist_ok=True)
    (path / "trials" / f"{trial['id']}.json").write_text(json.dumps(trial))


def _trace(text, item, rng):
    tokens = [word + " " for word in text.split(" ")]
    trace = {}
    if item.kl:
        trace["tokens"] = tokens
        trace["changed"] = sorted(int(t) for t in rng.choice(len(tokens), min(3, len(tokens)), replace=False))
    if item.rows > 1:
        kept = [True] * 2 + [False] * 2
        trace["chunks"] = [
            {
                "step": step,
                "hypotheses": [
                    {
                        "text": HOSTILE[0] if step == 5 and k == 3 else _text(rng, 5),
                        "value": float(rng.normal()),
                        "kept": keep,
                        "ended": bool(k == 0 and step > 10),
                    }
                    for k, keep in enumerate(kept)
                ],
            }
            for step in (5, 10, 15)
        ]
    return trace


def _response(rng, item, i, words, hostile):
    text = _text(rng, words or max(5, int(rng.normal(item.words, 4))))
    return f"{HOSTILE[i]} {text}" if hostile and i < len(HOSTILE) else text


def _text(rng, n):
    return " ".join(rng.choice(WORDS, n))


def _hash(*parts):
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]
