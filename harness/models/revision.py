"""What exactly a model is: the hash of a folder, or the commit of a hub repository."""

import hashlib
import json
import os
import sys
from pathlib import Path

from harness.errors import UserError

ADAPTER = "adapter_config.json"  # a low-rank adapter, on the base that it names
# What a model's outputs depend on; other files of the folder (a README, an optimizer's state) do not change them.
MODEL_FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")


def hash_folder(folder: Path, code: bool = False) -> str:
    """The SHA-256 of a model folder's files, names included: "sha256:" and 16 hex digits.

    Args:
        code: with the Python files that ``trust_remote_code`` runs, those of its folders included.

    Raises:
        UserError: a folder without config.json or without safetensors weights.
    """
    if not any((folder / name).is_file() for name in ("config.json", ADAPTER)):
        raise UserError(f"{folder}: no config.json there; give a folder written by save_pretrained")
    files = sorted({file for pattern in MODEL_FILES for file in folder.glob(pattern) if file.is_file()})
    if not any(file.suffix == ".safetensors" for file in files):
        raise UserError(f"{folder}: no *.safetensors there; save the model with save_pretrained")
    files += sorted(folder.rglob("*.py")) if code else []
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(folder).as_posix()}\0{os.path.getsize(file)}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return f"sha256:{digest.hexdigest()[:16]}"


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, whatever it is called: "sha256:" and 16 hex digits."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def is_hub_name(path: str) -> bool:
    """Whether a text can be the name of a hub repository, ``OWNER/NAME`` or, of the oldest models, ``NAME``."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(path)
    except HFValidationError:
        return False
    return True


def hub_commit(name: str, revision: str | None, place: str) -> str:
    """The commit that a revision of a hub repository is now: the hub's word, or, where it can't be asked, its cache's.

    Where there is no way to the hub, nothing else of this process asks it: each of many files would be tried for half a
    minute.

    Raises:
        UserError: the hub knows no such model, or can't be asked and the cache has none.
    """
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return str(HfApi().model_info(name, revision=revision).sha)
    except Exception as error:  # what its HTTP client raises without a network differs from version to version
        cached = try_to_load_from_cache(name, "config.json", revision=revision)
        reason = type(error).__name__
        if isinstance(cached, str):  # .../snapshots/COMMIT/config.json
            if not isinstance(error, HfHubHTTPError) and not constants.HF_HUB_OFFLINE:
                print(f"{name}: the hub can't be asked ({reason}); its cache is used", file=sys.stderr)
                constants.HF_HUB_OFFLINE = True
                os.environ["HF_HUB_OFFLINE"] = "1"
            return Path(cached).parent.name
        if isinstance(error, HfHubHTTPError):
            why, mend = f"nor found on the hub ({reason})", "check the name or give a folder"
        else:
            why = f"and the hub can't be asked ({reason})"
            mend = "give a folder, or download it where there is a network"
        raise UserError(f"{name}: neither a folder, nor in the hub's cache, {why}; guider.{place}: {mend}") from None


def code_repositories(folder: Path) -> list[str]:
    """The other hub repositories whose code a folder's ``auto_map`` runs: ``{CLASS: "OWNER/NAME--MODULE.CLASS"}``."""
    found = set()
    for name in ("config.json", "tokenizer_config.json"):
        try:
            named = json.loads((folder / name).read_text(encoding="utf-8")).get("auto_map") or {}
        except (OSError, ValueError, AttributeError):
            continue
        entries = named.values() if isinstance(named, dict) else [named]  # old tokenizers: a list of (slow, fast)
        texts = [text for entry in entries for text in (entry if isinstance(entry, list) else [entry])]
        found |= {text.partition("--")[0] for text in texts if isinstance(text, str) and "--" in text}
    return sorted(found)
