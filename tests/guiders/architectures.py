"""Every causal language model of transformers, tiny: which are decoded right, and which are refused?

    PYTHONPATH=. python tests/guiders/architectures.py

tries all of them (a quarter of an hour on one core) and prints the table of ``docs/models.md``; names after the command
are tried alone. Each model has random weights, four layers, and windows, chunks and other reaches of some
fourteen tokens, so that texts of thirty go beyond. It is decoded greedily and by guided chunk beam, and compared with
`guiders.laws.oracle`, which has the model read every text anew, without any cache.
"""

import contextlib
import datetime
import io
import sys
from collections import defaultdict

import torch
import transformers
from tiny_models import END, VOCAB, sharpened, words
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from guiders import LM, ChunkBeam, Guider, GuiderError, Implicit, ImplicitValue, Sampling, generate
from guiders.kv.self_check import check_cacheable
from guiders.laws.oracle import naive_generate

CONTEXT = 96
# What configurations call their sizes; each is given where a configuration has it
_SIZES = {
    32: "hidden_size d_model n_embd dim_model embedding_dim emb_dim word_embed_proj_dim input_embedding_size "
    "output_embedding_size lru_width moe_intermediate_size shared_expert_intermediate_size expert_ffn_hidden_size "
    "decoder_ffn_dim encoder_ffn_dim",
    64: "intermediate_size intermediate_size_mlp ffn_dim d_ff dff dim_ff d_inner ffn_hidden_size",
    4: "num_hidden_layers num_layers n_layer n_layers decoder_layers encoder_layers num_decoder_layers "
    "num_encoder_layers num_blocks num_attention_heads num_heads n_head n_heads attention_heads "
    "decoder_attention_heads encoder_attention_heads num_decoder_attention_heads num_encoder_attention_heads "
    "swa_num_attention_heads qk_nope_head_dim qk_rope_head_dim rotary_dim num_experts num_local_experts "
    "n_routed_experts moe_num_experts linear_num_value_heads linear_num_heads mamba_chunk_size chunk_size block_size",
    2: "num_key_value_heads num_kv_heads num_query_groups swa_num_key_value_heads num_experts_per_tok top_k_experts "
    "num_experts_per_token moe_topk moe_k n_group num_expert_group topk_group max_window_layers index_topk_blocks "
    "index_local_blocks index_block_size index_n_heads linear_num_key_heads mamba_n_groups mamba_ngroups n_groups",
    8: "head_dim swa_head_dim v_head_dim kv_channels dim_head d_head index_head_dim attention_head_dim qk_head_dim "
    "mamba_d_state state_size ssm_state_size mamba_d_head mamba_headdim mamba_head_dim linear_key_head_dim "
    "linear_value_head_dim linear_head_dim mamba_n_heads mamba_num_heads n_mamba_heads",
    16: "q_lora_rank kv_lora_rank o_lora_rank",
    CONTEXT: "max_position_embeddings n_positions n_ctx max_seq_len max_target_positions model_max_length",
    VOCAB: "vocab_size vocab_size_per_layer_input shape_vocab_size pronunciation_vocab_size "
    "encoder_hash_byte_group_vocab",
    END: "eos_token_id bos_token_id",
}
# beyond which a model computes something else: shorter than the texts, longer than those of the decoder's self-check
_REACHES = {
    14: "sliding_window sliding_window_size attention_window_size attention_chunk_size local_attention window_size",
    13: "floor_scale log_scaling_n_floor index_topk rel_extent keep_window_size",
}
SIZES = {name: size for group in (_SIZES, _REACHES) for size, names in group.items() for name in names.split()}
SIZES |= {"pad_token_id": None, "use_sliding_window": True}

MIXED = {"layer_types": ["sliding_attention", "full_attention"] * 2}
HYBRID = {"layer_types": ["linear_attention", "full_attention"] * 2}
CONVOLUTIONS = {"layer_types": ["conv", "full_attention"] * 2}
LATENT = {"num_key_value_heads": 4, "head_dim": 4}
PADDED = {"pad_token_id": VOCAB - 2}
ZAMBA = {
    "layers_block_type": ["linear_attention", "hybrid"] * 2,
    "attention_hidden_size": 64,
    "attention_head_dim": 16,
    "num_mem_blocks": 1,
}
INDEXED = {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 4}
# What the sizes alone do not make: patterns longer than four layers, and numbers that must agree
_SPECIAL = [
    (MIXED, "gemma3_text cwm cohere2 exaone4 olmo3 afmoe"),
    ({**MIXED, **PADDED, "num_kv_shared_layers": 2}, "gemma3n_text gemma4_text gemma4_unified_text"),
    (HYBRID, "granitemoehybrid kimi_linear"),
    (CONVOLUTIONS, "lfm2 lfm2_moe"),
    (LATENT, "axk1 axk2 deepseek_v2 deepseek_v3 deepseek_v32 glm_moe_dsa longcat_flash youtu"),
    ({"num_key_value_heads": 4}, "glm4_moe_lite minicpm3 dots3_note_text"),
    (PADDED, "camembert data2vec-text roberta roberta-prelayernorm xlm-roberta xlm-roberta-xl emu3_text_model xglm"),
    (PADDED, "modernbert-decoder"),
    (ZAMBA, "zamba zamba2"),
    ({**INDEXED, "indexer_compress_ratio": 2}, "qwen4_exp_text qwen4_exp"),
    ({"attn_layer_indices": [1, 3]}, "bamba"),
    ({"layer_group_size": 2}, "bailing_hybrid"),
    ({"n_shared_experts": 1}, "dots1"),
    ({"new_decoder_architecture": True}, "falcon"),
    ({"mamba_d_ssm": 64}, "falcon_h1"),
    ({"attention_types": [[["global", "local"], 2]]}, "gpt_neo"),
    ({"attn_layer_period": 2, "attn_layer_offset": 1}, "jamba"),
    ({"num_heads": 8}, "mamba2"),
    ({"is_decoder": True, "axial_pos_embds": False}, "reformer"),
    ({"languages": ["en_XX"], "default_language": "en_XX"}, "xmod"),
    ({"num_experts_per_tok": 1}, "zaya"),
]
SPECIAL = {kind: sizes for sizes, kinds in _SPECIAL for kind in kinds.split()}
# attributes that are derived
DERIVED = {
    "falcon": ("head_dim",),
    "xlstm": ("v_head_dim", "qk_head_dim"),
    "xlnet": ("max_position_embeddings",),
    "prophetnet": ("num_hidden_layers",),
    "falcon_mamba": ("head_dim",),
}
PROMPTS = ["abcdefg hijk abc", "ed", "gfedcbaabc"]


def tiny_config(kind: str | type):
    """A small configuration of a model type, or of a configuration class."""
    cls = CONFIG_MAPPING[kind] if isinstance(kind, str) else kind
    default = cls()
    sizes = {name: size for name, size in SIZES.items() if _has(default, name)}
    for name in getattr(cls, "sub_configs", None) or ():
        inner = getattr(default, name, None)
        if inner is not None:
            sizes[name] = tiny_config(type(inner))
    sizes |= SPECIAL.get(cls.model_type, {})
    return cls(**{name: size for name, size in sizes.items() if name not in DERIVED.get(cls.model_type, ())})


def _has(config, name: str) -> bool:
    try:
        return hasattr(config, name)
    except Exception:  # it differs from layer to layer
        return True


def tiny(kind: str, seed: int = 0, dtype=torch.float64) -> torch.nn.Module:
    """A model of random weights, wide enough that what it attends to matters."""
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(tiny_config(kind)).parameters())
    if size > 5e6:
        raise ValueError(f"{size} parameters")
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(kind), experts_implementation="eager")
    return sharpened(model, seed, 0.3).to(dtype)


def runs(kind: str) -> list[LM]:
    """Two models of a kind, in the widest type in which their own forward pass runs."""
    for dtype in (torch.float64, torch.float32):
        models = [LM(tiny(kind, seed, dtype), words(), name=kind) for seed in (0, 1)]
        try:
            with torch.inference_mode():
                models[0].model(input_ids=torch.arange(12)[None] % VOCAB, use_cache=False)
            return models
        except Exception as error:
            reason = error
    raise reason


def difference(models: list[LM], length: int = 20) -> str:
    """Where decoding so many tokens with these two models differs from the oracle; empty where it does not."""
    base, other = models
    beam = Guider(base, Implicit(other, base, 0.5), ImplicitValue(base, other), ChunkBeam(2, 2, 3))
    for guider, sampling in [
        (Guider(base), Sampling(0, max_new_tokens=length)),
        (beam, Sampling(max_new_tokens=length)),
    ]:
        # two slots for three prompts
        found = sorted(generate(guider, PROMPTS, sampling, batch_tokens=150), key=lambda g: g.index)
        for one, right in zip(found, naive_generate(guider, PROMPTS, sampling, cached=False), strict=True):
            if one.tokens != right.tokens:
                return f"{guider.search}: {one.tokens} for {right.tokens}"
            if abs((one.value or 0) - (right.value or 0)) > 1e-3 * (1 + abs(right.value or 0)):
                return f"{guider.search}: value {one.value} for {right.value}"
    return ""


def tried(kind: str, length: int = 20) -> tuple[str, str]:
    """ "right", "refused", "wrong" or "not tried", and why."""
    try:
        models = runs(kind)
    except Exception as error:
        return "not tried", f"{type(error).__name__}: {' '.join(str(error).split())}"
    try:
        check_cacheable(models[0])
    except GuiderError as error:
        return "refused", str(error).split(";")[0].removeprefix(kind).strip()
    try:
        found = difference(models, length)
    except Exception as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return ("wrong", found) if found else ("right", "")


def table(results: dict[str, tuple[str, str]]) -> str:
    """Markdown: one row for each verdict and reason."""
    rows = defaultdict(list)
    for kind, result in results.items():
        rows[result].append(kind)
    order = ["wrong", "right", "refused", "not tried"]
    lines = [
        f"{datetime.date.today()}, transformers {transformers.__version__}, torch {torch.__version__}, "
        f"{len(results)} architectures: "
        + ", ".join(f"{sum(verdict == v for v, _ in results.values())} {verdict}" for verdict in order),
        "",
        "| verdict | why | `model_type` |",
        "|---|---|---|",
    ]
    for (verdict, why), kinds in sorted(rows.items(), key=lambda row: (order.index(row[0][0]), -len(row[1]))):
        lines.append(f"| {verdict} | {why[:140].replace('|', chr(92) + '|')} | {', '.join(kinds)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    results = {}
    for kind in sys.argv[1:] or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        with contextlib.redirect_stdout(io.StringIO()):
            results[kind] = tried(kind)
        print(kind, *results[kind], file=sys.stderr)
    print(table(results))
