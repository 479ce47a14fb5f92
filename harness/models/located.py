"""What a ``_target_`` names, imported."""

import logging
from typing import Any

from hydra.utils import get_object

from harness.errors import UserError


def located(target: str, place: str) -> Any:
    """The class or function of a dotted path.

    Args:
        place: where the path stands, for the message.

    Raises:
        UserError: it does not import, with the reason in one line.
    """
    log = logging.getLogger("hydra.utils")  # says the same in three lines before it raises
    was, log.disabled = log.disabled, True
    try:
        return get_object(target)
    except (ImportError, ValueError) as error:
        cause = error.__cause__ or error
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise UserError(f"{place}: {target} does not import: {reason}; give the dotted path of a class") from None
    finally:
        log.disabled = was
