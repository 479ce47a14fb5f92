"""Decoding with guidance.

from guiders import ChunkBeam, Explicit, Guider, Implicit, LM, Sampling, generate

A guider is a base model with token guidance, a value and a search; `generate` decodes prompts with it.

The names are imported when first used: what only reads a schedule or an error does not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guiders.decoding.generate import generate
    from guiders.errors import GuiderError
    from guiders.guider import Generation, Guider
    from guiders.models.classifier import Classifier
    from guiders.models.encoder import Encoder
    from guiders.models.lm import LM
    from guiders.models.prompted import Prompted
    from guiders.sampling import Sampling
    from guiders.score import TokenLogProbs, token_log_probs
    from guiders.search import (
        CARDS,
        CNTP,
        DVTS,
        BestOfN,
        BestOfPoisson,
        ChunkBeam,
        GridBeam,
        LastOfN,
        Pessimism,
        PhiDecoding,
        Rejection,
        RejectionInTurn,
        ReleasedChunkBeam,
        Sample,
        SoftBestOfN,
        SpeculativeRejection,
        SuffixRedraws,
        TokenBeam,
        TwistedSMC,
    )
    from guiders.token import (
        AAD,
        ARGS,
        AWRS,
        CAAD,
        VAS,
        AlignDistil,
        ASAp,
        BlendIn,
        Constrained,
        Constraint,
        Contrastive,
        EntropyAdaptive,
        Grammar,
        Implicit,
        LookBack,
        Nudging,
        Penalty,
        QGuidance,
        Rules,
        SelfDebias,
        Speculative,
        Steered,
        TaskArithmetic,
        TransferQ,
    )
    from guiders.value import (
        Agreement,
        BiEncoder,
        Calibrated,
        Explicit,
        ImplicitValue,
        Length,
        Likelihood,
        Lookahead,
        Reward,
        Sum,
    )

__all__ = [
    "AAD",
    "ARGS",
    "AWRS",
    "CAAD",
    "CARDS",
    "CNTP",
    "DVTS",
    "LM",
    "VAS",
    "ASAp",
    "Agreement",
    "AlignDistil",
    "BestOfN",
    "BestOfPoisson",
    "BiEncoder",
    "BlendIn",
    "Calibrated",
    "ChunkBeam",
    "Classifier",
    "Constrained",
    "Constraint",
    "Contrastive",
    "Encoder",
    "EntropyAdaptive",
    "Explicit",
    "Generation",
    "Grammar",
    "GridBeam",
    "Guider",
    "GuiderError",
    "Implicit",
    "ImplicitValue",
    "LastOfN",
    "Length",
    "Likelihood",
    "LookBack",
    "Lookahead",
    "Nudging",
    "Penalty",
    "Pessimism",
    "PhiDecoding",
    "Prompted",
    "QGuidance",
    "Rejection",
    "RejectionInTurn",
    "ReleasedChunkBeam",
    "Reward",
    "Rules",
    "Sample",
    "Sampling",
    "SelfDebias",
    "SoftBestOfN",
    "Speculative",
    "SpeculativeRejection",
    "Steered",
    "SuffixRedraws",
    "Sum",
    "TaskArithmetic",
    "TokenBeam",
    "TokenLogProbs",
    "TransferQ",
    "TwistedSMC",
    "generate",
    "token_log_probs",
]

_NAMES = {
    "decoding.generate": ("generate",),
    "errors": ("GuiderError",),
    "guider": ("Generation", "Guider"),
    "models.classifier": ("Classifier",),
    "models.encoder": ("Encoder",),
    "models.lm": ("LM",),
    "models.prompted": ("Prompted",),
    "sampling": ("Sampling",),
    "score": ("TokenLogProbs", "token_log_probs"),
    "search": (
        "BestOfN",
        "BestOfPoisson",
        "CARDS",
        "ChunkBeam",
        "GridBeam",
        "LastOfN",
        "CNTP",
        "DVTS",
        "Pessimism",
        "PhiDecoding",
        "Rejection",
        "RejectionInTurn",
        "ReleasedChunkBeam",
        "Sample",
        "SoftBestOfN",
        "SpeculativeRejection",
        "SuffixRedraws",
        "TokenBeam",
        "TwistedSMC",
    ),
    "token": (
        "AAD",
        "AlignDistil",
        "BlendIn",
        "Constrained",
        "Constraint",
        "Contrastive",
        "EntropyAdaptive",
        "Grammar",
        "Implicit",
        "Nudging",
        "QGuidance",
        "SelfDebias",
        "ARGS",
        "ASAp",
        "AWRS",
        "CAAD",
        "VAS",
        "LookBack",
        "Penalty",
        "Rules",
        "Speculative",
        "Steered",
        "TaskArithmetic",
        "TransferQ",
    ),
    "value": (
        "Agreement",
        "BiEncoder",
        "Calibrated",
        "Explicit",
        "ImplicitValue",
        "Length",
        "Likelihood",
        "Lookahead",
        "Reward",
        "Sum",
    ),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
