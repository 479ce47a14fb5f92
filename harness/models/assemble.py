"""A guider from its configuration: every part by its ``_target_``, every model from whoever has the models."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.models.located import located

FILES = (".json", ".jsonl", ".txt")  # texts with such an end, where there is one, are files that a part reads
# The rows of our own searches are products of these settings, with their defaults: known without torch, which a run
# that has nothing to do does not import. A test holds them to what the searches say.
OUR_SEARCHES = {
    "guiders.Sample": {},
    "guiders.BestOfN": {"n": 16},
    "guiders.ChunkBeam": {"width": 4, "successors": 4},
}


def places(config: Any, prefix: str = "") -> Iterator[tuple[str, dict]]:
    """The models of a guider's configuration: (dotted place, specification), in order."""
    if isinstance(config, list):
        config = {str(place): item for place, item in enumerate(config)}
    if not isinstance(config, dict):
        return
    for name, value in config.items():
        if is_model(value):
            yield prefix + name, value
        else:
            yield from places(value, f"{prefix}{name}.")


def files(config: Any, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """The files of the user's own that a guider's configuration names, as tables of words: (dotted place, path)."""
    if isinstance(config, list):
        config = {str(place): item for place, item in enumerate(config)}
    if isinstance(config, dict):
        for name, value in () if is_model(config) else config.items():
            yield from files(value, f"{prefix}.{name}".lstrip("."))
    elif isinstance(config, str) and config.endswith(FILES) and Path(config).expanduser().is_file():
        yield prefix, Path(config).expanduser()


def document_field(config: dict) -> str | None:
    """The field of a task's documents that a guider's constraint is read from; None where there is none."""
    constraint = config.get("constraint")
    return constraint.get("field") if isinstance(constraint, dict) else None


def is_model(node: Any) -> bool:
    """Whether a node of a configuration is a model's specification."""
    return isinstance(node, dict) and "path" in node and "_target_" not in node


def search_rows(config: dict) -> int:
    """Rows of the batch that a guider's search spends on a prompt: W·K, N, its particles; 1 without a search.

    The search itself is asked, so that equal compute means equal rows whatever its settings are called. It is built
    without its models: nothing is loaded.

    Args:
        config: the guider's, with every setting in place.

    Raises:
        UserError, GuiderError: a search that cannot be built.
    """
    if not config.get("search"):
        return 1
    known = OUR_SEARCHES.get(config["search"].get("_target_"))
    factors = [config["search"].get(name, default) for name, default in (known or {}).items()]
    if known is not None and all(isinstance(factor, int) for factor in factors):
        return math.prod(factors)
    search = assemble(config["search"], lambda spec, place: None, "search")
    rows = getattr(search, "rows", None)
    if rows is None and not (hasattr(search, "survivors") and hasattr(search, "successors")):
        target = config["search"].get("_target_")
        raise UserError(
            f"guider.search: {target} makes no search but a {type(search).__name__}; name a class of searches"
        )
    return int(search.survivors * search.successors if rows is None else rows)


def held_to_rows(config: dict) -> bool:
    """Does ``grid.rows`` choose among this guider's settings? `Search.equal_rows`, of a search that can be built."""
    target = (config.get("search") or {}).get("_target_")
    if target is None or target in OUR_SEARCHES:
        return True
    return getattr(assemble(config["search"], lambda spec, place: None, "search"), "equal_rows", True)


def assemble(node: Any, model: Callable[[dict, str], Any], place: str = "") -> Any:
    """Build a configuration, or a part of one.

    Args:
        model: gives the model of a specification and its dotted place.
        place: where the node lies in the guider's configuration.

    Raises:
        UserError: a ``_target_`` that does not exist or does not take the given settings.
        GuiderError: what the parts themselves refuse.
    """
    if is_model(node):
        return model(node, place)
    if isinstance(node, list):
        return [assemble(item, model, f"{place}.{number}") for number, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    parts = {name: assemble(value, model, f"{place}.{name}".lstrip(".")) for name, value in node.items()}
    target = parts.pop("_target_", None)
    if target is None:
        return parts
    factory = located(target, f"guider.{place or '_target_'}")
    try:
        return factory(**parts)
    except TypeError as error:
        raise UserError(f"guider.{place}: {target} refuses its settings: {error}") from None
