"""Where a judge's server is and which variable holds its key, checked without telling either where it may be secret."""

import ipaddress
import os
import re
from urllib.parse import urlsplit

from harness.errors import UserError

OPENAI = "https://api.openai.com/v1"
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")  # in capitals, as POSIX has them: a key that was put there is not shown


def check_url(url: object) -> None:
    """Hold a server's address to be one, without a login.

    Raises:
        UserError: it is no http(s) URL, or holds a password or a query; the URL is shown only where it holds neither.
    """
    try:
        parts = urlsplit(str(url))
        secret = bool(parts.username or parts.password or parts.query or "@" in str(url))
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that don't match, a port that is no number
        secret, named = "@" in str(url) or "?" in str(url), False
    if secret:
        raise UserError("judge.base_url holds a login or a query; put the key into the environment (judge.key_env)")
    if not named:
        raise UserError(f"judge.base_url={url!r} is no URL; write it like http://127.0.0.1:8000/v1")


def check_variable(name: object) -> None:
    """Hold the name of a key's variable to be one.

    Raises:
        UserError: it is none; it is not shown, since it may be the key itself.
    """
    if not isinstance(name, str) or not VARIABLE.fullmatch(name):
        raise UserError(
            "judge.key_env is not the name of an environment variable (capitals, digits, _); put the key into the "
            "environment and its variable's name here, as judge.key_env=OPENAI_API_KEY"
        )


def key_of(base_url: str, key_env: str, insecure: bool = False) -> str | None:
    """The key that the environment holds; None for a server that may want none.

    Args:
        insecure: whether it may go over http to another machine.

    Raises:
        UserError: OpenAI's own server without one; a server that it would reach unencrypted.
    """
    key = os.environ.get(key_env) or None
    if key is not None and not insecure and not _is_private(base_url):
        raise UserError(
            f"judge.base_url={base_url}: {key_env} would go there unencrypted; take https, unset {key_env}, or say "
            "judge.insecure=true"
        )
    if key is None and base_url.rstrip("/") == OPENAI:
        raise UserError(f"{key_env} is not set; export your key, or name another server with judge.base_url")
    return key


def _is_private(url: str) -> bool:
    """Whether nobody on the way can read what is sent: https, or the machine itself."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost" or host.endswith(".localhost")  # RFC 6761, section 6.3
    return parts.scheme == "https" or loopback
