"""One OpenAI-compatible server: requests in flight and per minute, retries, backoff."""

import asyncio
import email.utils
import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Self

from harness.errors import UserError
from harness.judges.address import check_url
from harness.judges.answers import redact

RETRIED = {408, 409, 429}  # and every 5xx
# what errors without a status of their own are called where another try may succeed: OpenAI, Anthropic, gRPC, TGI
PASSING = {
    "rate_limit_exceeded", "rate_limit_error", "requests", "tokens", "resource_exhausted", "too_many_requests",
    "overloaded", "overloaded_error", "engine_overloaded", "unavailable", "service_unavailable",
    "server_error", "internal_server_error", "internal_error", "internal", "api_error",
    "timeout", "timeout_error", "deadline_exceeded",
}  # fmt: skip
LONGEST_WAIT = 600.0  # seconds; a server that asks for a longer one is given up


class Failed(Exception):
    """No answer came, for the reason given. ``server_down``: the server failed, not this one request."""

    def __init__(self, reason: str, server_down: bool = False):
        super().__init__(reason)
        self.server_down = server_down


class Endpoint:
    """Asks one server.

    Args:
        base_url: for example ``http://127.0.0.1:8000/v1``.
        key: the API key; None for a server that wants none.
        in_flight: at most so many requests at once.
        requests_per_minute: at most so many, retries included; None for no bound.
        retries: how often a request is tried again after a 408, 409, 429, 5xx, timeout or broken connection.
        backoff: seconds before the first retry; doubled for each further one, up to 60, and times 0.5 to 1 at random.
        timeout: seconds until a request without a whole answer counts as failed.

    Raises:
        UserError: a base URL that is no http(s) URL, or that holds a password.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None,
        in_flight: int,
        requests_per_minute: float | None,
        retries: int,
        backoff: float,
        timeout: float,
    ):
        check_url(base_url)
        self.base_url, self.in_flight = base_url, in_flight
        self._key, self._retries, self._backoff, self._timeout = key, retries, backoff, timeout
        self._interval = 60 / requests_per_minute if requests_per_minute else 0.0
        self._next_start = 0.0
        import openai

        self._openai = openai
        self._client: openai.AsyncOpenAI | None = None

    async def __aenter__(self) -> Self:
        self._client = self._openai.AsyncOpenAI(
            api_key=self._key or "none", base_url=self.base_url, max_retries=0, timeout=self._timeout
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    async def ask(self, body: dict) -> tuple[dict, dict | None]:
        """The first choice of the answer and its token usage.

        Raises:
            Failed: no answer after all retries, or a refusal that a retry would not change.
            UserError: the server refuses the key, or does not know the model: no request can succeed.
        """
        attempt = 0
        while True:
            await self._pace()
            try:
                return await self._send(body)
            except _Retry as retry:
                if attempt == self._retries:
                    raise Failed(f"{retry.reason}, {attempt + 1} times", server_down=True) from None
                wait = retry.wait_at_least
                if wait > LONGEST_WAIT:
                    raise Failed(f"{retry.reason}, and asks to wait {wait:.0f} s", server_down=True) from None
            await asyncio.sleep(max(wait, min(60, self._backoff * 2**attempt) * random.uniform(0.5, 1)))
            attempt += 1

    async def _pace(self) -> None:
        if self._interval:
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + self._interval
            await asyncio.sleep(start - now)

    async def _send(self, body: dict) -> tuple[dict, dict | None]:
        openai, client = self._openai, self._client
        assert client is not None
        path = "/chat/completions" if "messages" in body else "/completions"
        try:
            # The client's typed methods spend half of a request's time on checking our body and modelling the answer.
            # Its own timeout starts anew with every byte.
            async with asyncio.timeout(self._timeout):
                answer = await client.post(path, body=body, cast_to=object)
            answer = _storable(answer)
        except TimeoutError:
            raise _Retry(f"no whole answer in {self._timeout:g} s") from None
        except openai.APIStatusError as error:
            self._refused(error.status_code, error.body, error.response.headers)
        except openai.APIConnectionError as error:  # APITimeoutError is one of them
            cause = error.__cause__ or error
            raise _Retry(self._clean(f"no connection ({type(cause).__name__})")) from None
        except (openai.APIError, ValueError):  # a body that is no JSON
            raise _Retry("the answer is no JSON") from None
        except RecursionError:
            raise Failed("an answer that is nested too deeply") from None
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            if isinstance(answer, dict) and (answer.get("error") or answer.get("object") == "error"):
                self._refused(200, answer.get("error") or answer, {})
            raise Failed("an answer without choices")
        if choices[0].get("error"):  # a router's: the model behind it failed
            self._refused(200, choices[0]["error"], {})
        usage = answer.get("usage")
        return choices[0], usage if isinstance(usage, dict) else None

    def _refused(self, status: int, error: Any, headers: Mapping[str, str]) -> NoReturn:
        """Raise what a server's error comes to.

        Args:
            status: of the HTTP answer; that of an error in a 200 is the error's own ``code``, if that is a number.
            error: the error object, or whatever stands in its place.
        """
        body = error if isinstance(error, dict) else {"message": error}
        names = {str(body.get(key)).lower() for key in ("code", "type", "status")}
        reason = f"HTTP {status}: {self._words(body)}"
        if status == 200:
            status = next((int(name) for name in sorted(names) if name.isdecimal() and len(name) == 3), 200)
        if status in (401, 403):
            raise UserError(f"the judge's server refuses the key ({reason}); set it in the environment (judge.key_env)")
        if "model_not_found" in names:
            raise UserError(f"the judge's server does not know the model ({reason}); set judge.model")
        if "insufficient_quota" in names:
            raise UserError(f"the judge's account is used up ({reason}); what was answered is stored")
        if status in RETRIED or status >= 500 or (status == 200 and names & PASSING):
            raise _Retry(reason, _retry_after(headers))
        raise Failed(reason)

    def _words(self, body: dict) -> str:
        """The server's own words without the key, shortened, with everything escaped that could act on a terminal.

        The key goes first: a part of it that a cut has left would not be found any more.
        """
        words = next((body[key] for key in ("message", "detail", "error") if body.get(key)), "no message")
        words = redact(words, self._key)
        text = words if isinstance(words, str) else json.dumps(words)
        return ascii(text if len(text) <= 120 else text[:120] + "...")[1:-1]

    def _clean(self, text: str) -> str:
        return redact(text, self._key)


def _storable(value: Any) -> Any:
    """The JSON value; halves of surrogate pairs, which JSON can escape and no file in UTF-8 can hold, become U+FFFD."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.loads(text.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
    return value


class _Retry(Exception):
    def __init__(self, reason: str, wait_at_least: float = 0.0):
        super().__init__(reason)
        self.reason, self.wait_at_least = reason, wait_at_least


def _retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float:
    """Seconds to wait according to ``retry-after-ms`` or ``Retry-After`` (seconds or an HTTP date, RFC 9110)."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) / unit)
        except ValueError:
            pass
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now())
        except (TypeError, ValueError):
            continue
    return 0.0
