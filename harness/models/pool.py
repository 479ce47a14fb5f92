"""Models by name: where they lie, which revision they are, and loading each once."""

import json
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config.nearest import nearest
from harness.errors import UserError
from harness.models.assemble import assemble
from harness.models.device import checked
from harness.models.revision import ADAPTER, code_repositories, hash_folder, hub_commit, is_hub_name
from harness.trials.code import code_hash, targets

if TYPE_CHECKING:
    from guiders import LM, Classifier, Encoder, Guider

EMBEDDED = "embedded:"


class Resolver:
    """Finds models and says which revision each is.

    Hashing and hub look-ups are done once per model.

    Args:
        build: whether embedded models that are not there yet are built.
    """

    def __init__(self, build: bool = True):
        self.build = build
        self.seconds = 0.0  # spent on building the embedded models
        self._folders: dict[str, Path] | None = None
        self._revisions: dict[tuple[str, str | None, bool], str] = {}
        self._code: dict[str, str | None] = {}

    def folder(self, spec: dict, place: str) -> str:
        """The path or hub name that a model is loaded from; builds the embedded models on first use.

        Raises:
            UserError: no path, a path that does not exist, an embedded model of an unknown name.
        """
        path = spec["path"]
        if path is None:
            raise UserError(f"guider.{place}: no model given; set the one that it names, as in model.base=PATH")
        if path.startswith(EMBEDDED):
            name = _embedded_name(path)  # before two minutes of building them
            return str(self._embedded()[name])
        local = Path(path).expanduser()
        if local.is_dir():
            return str(local)
        if local.exists() or path.startswith(("/", ".", "~")) or not is_hub_name(path):
            raise UserError(
                f"{path}: no such model folder (guider.{place}); give a folder with config.json, or a hub name"
            )
        return path

    def revision(self, spec: dict, place: str) -> str:
        """What exactly a model is: the hash of a folder's files, or a hub commit. With ``trust_remote_code`` a folder's
        Python files count too, and the commits of the repositories that its ``auto_map`` names.

        Raises:
            UserError: as ``folder``; a folder without safetensors; a hub model that is neither cached nor reachable.
        """
        path = spec["path"]
        if path is not None and path.startswith(EMBEDDED) and not self.build and self.missing:
            return f"{_embedded_name(path)} is not built yet"
        key = (path, spec.get("revision"), bool(spec.get("trust_remote_code")))
        if key not in self._revisions:
            self._revisions[key] = self._find_revision(spec, place)
        return self._revisions[key]

    def code(self, config: dict) -> dict[str, str]:
        """Place of every ``_target_`` of a guider that is not this package's own -> the hash of its code."""
        found = {}
        for place, target in targets(config):
            if target not in self._code:
                self._code[target] = code_hash(target)
            found[place] = self._code[target]
        return {place: revision for place, revision in found.items() if revision is not None}

    @cached_property
    def missing(self) -> bool:
        """Whether the embedded models are still to be built."""
        from harness.models import build_cache as cache
        from harness.models import embedded

        return cache.damage(cache.root() / f"embedded-{embedded.key(embedded.EmbeddedRecipe())}") is not None

    def _embedded(self) -> dict[str, Path]:
        if self._folders is None:
            from harness.models import embedded

            missing, began = self.missing, time.perf_counter()
            self._folders = embedded.build()
            self.seconds = time.perf_counter() - began if missing else 0.0
        return self._folders

    def _find_revision(self, spec: dict, place: str) -> str:
        folder = self.folder(spec, place)
        if Path(folder).is_dir():
            trusted = bool(spec.get("trust_remote_code"))
            parts = [hash_folder(Path(folder), code=trusted)]
            if trusted:
                parts += [hub_commit(name, None, place) for name in code_repositories(Path(folder))]
            if (Path(folder) / ADAPTER).is_file():
                from guiders.models.adapter import adapter_base

                under = {"path": adapter_base(folder), "revision": None, "trust_remote_code": trusted}
                parts.append(self.revision(under, place))
            return "+".join(parts)
        return hub_commit(folder, spec.get("revision"), place)


def _embedded_name(path: str) -> str:
    name = path.removeprefix(EMBEDDED)
    names = ("base", "untuned", "tuned", "value")
    if name not in names:
        raise UserError(f"{path}: no such embedded model; {nearest(path, [EMBEDDED + known for known in names])}")
    return name


class Pool:
    """Builds guiders, each configuration's once; a model that several guiders use is loaded once.

    Args:
        device: where every model is put: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        UserError: there is no such device.
    """

    def __init__(self, resolver: Resolver, device: str = "cpu"):
        self.resolver = resolver
        self.device = checked(device)
        self._models: dict[tuple, LM | Classifier | Encoder] = {}
        self._guiders: dict[str, Guider] = {}

    def guider(self, config: dict) -> "Guider":
        """Build a guider: models from the pool, everything else by its ``_target_``.

        This reads tokenizers, and so compares vocabularies, but no weights: those are read when a model is first used.

        Raises:
            UserError: a ``_target_`` that does not exist or does not take the given settings.
            GuiderError: what the parts themselves refuse.
        """
        key = json.dumps(config, sort_keys=True)
        if key not in self._guiders:
            self._guiders[key] = assemble(config, self._load)
        return self._guiders[key]

    def _key(self, spec: dict, place: str) -> tuple:
        return (
            self.resolver.folder(spec, place),
            *(json.dumps(spec.get(name), sort_keys=True) for name in ("device_map", "quantization_config")),
            *(spec.get(name) for name in ("head", "revision", "dtype", "template", "max_length")),
        )

    def _load(self, spec: dict, place: str) -> "LM | Classifier | Encoder":
        key = self._key(spec, place)
        if key not in self._models:
            self._models[key] = self._made(key, spec, place)
        return self._models[key]

    def _made(self, key: tuple, spec: dict, place: str) -> "LM | Classifier | Encoder":
        """A model that differs from one that is there in its template alone shares its weights, and so does an adapter
        with its base."""
        from guiders import LM, Classifier, Encoder
        from guiders.models.adapter import adapter_base

        path, template = key[0], spec.get("template")
        options = {name: value for name, value in spec.items() if name not in ("path", "head")}
        if spec.get("head") == "classifier":
            for name in ("max_length", "device_map", "quantization_config"):  # a language model's alone
                options.pop(name, None)
            return Classifier.load(path, device=self.device, **options)
        if spec.get("head") == "encoder":
            for name in ("max_length", "device_map", "quantization_config", "template"):
                options.pop(name, None)
            return Encoder.load(path, device=self.device, **options)
        same = next((model for other, model in self._models.items() if other[:-2] == key[:-2]), None)
        if isinstance(same, LM):
            other = same.with_template(template)
            other.limit = spec.get("max_length")
            return other
        on = adapter_base(path, spec.get("revision")) if spec.get("head") != "value" else None
        if on is not None:
            under = self._load({**spec, "path": on, "revision": None, "template": None}, place)
            assert isinstance(under, LM)  # its head is this one's
            return under.adapted(path, template)
        return LM.load(path, device=self.device, head=spec.get("head", "lm"), **options)
