"""A method: a guider's configuration, and what is said about it under ``about``."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from harness.config.compose import guider_file
from harness.config.schema import Part, validated
from harness.errors import UserError


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class About(Part):
    """What a guider's configuration says about itself; nothing in it changes what is decoded."""

    summary: str = Field("", description="what the method does, in one sentence")
    cite: list[str] = Field([], description="keys of conf/references.bib")
    axes: dict[str, Annotated[list[Any], BeforeValidator(_listed), Field(min_length=1)]] = Field(
        {}, description="the method's own axes and their default values, changed with grid.AXIS=[…]"
    )
    authors: dict[str, str] = Field({}, description="the authors' values of axes and settings")


@dataclass(frozen=True)
class Method:
    """A guider's configuration by name.

    Attributes:
        name: of the file in ``conf/guider``, or the path of a user's own.
        about: what it says about itself.
        config: the guider's configuration, interpolations unresolved.
    """

    name: str
    about: About
    config: dict = field(repr=False)


def method(name: str) -> Method:
    """Read a method.

    Args:
        name: a file of ``conf/guider``, or a path to a YAML file of that kind.

    Raises:
        UserError: no such guider; a file that does not parse or describes itself wrongly.
    """
    config = guider_file(name)
    about = config.pop("about", None) or {}
    try:
        return Method(name, validated(About, about), config)
    except UserError as error:
        raise UserError(f"{name}: about.{error}") from None
