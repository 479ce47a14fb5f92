"""One server: what is retried, what is not, what a refusal says, and that the key stays where it is."""

import asyncio
import email.utils
import time

import pytest
from scripted_server import ScriptedServer, preference_for, refusal

from harness.errors import UserError
from harness.judges.address import key_of
from harness.judges.endpoint import LONGEST_WAIT, Endpoint, Failed, _retry_after

BODY = {"model": "judge", "messages": [{"role": "user", "content": "m or M?"}]}
SECRET = "sk-very-secret-key"


def ask(server, n=1, **settings):
    """n requests at once; every result or the exception in its place."""
    settings = {
        "key": SECRET,
        "in_flight": n,
        "requests_per_minute": None,
        "retries": 3,
        "backoff": 0.001,
        "timeout": 5.0,
    } | settings

    async def run():
        async with Endpoint(server.url, **settings) as endpoint:
            return await asyncio.gather(*(endpoint.ask(BODY) for _ in range(n)), return_exceptions=True)

    return asyncio.run(run())


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
def test_a_passing_failure_is_retried(status):
    with ScriptedServer(lambda number, _: refusal(status) if number < 3 else preference_for(0.9)) as server:
        ((choice, usage),) = ask(server)
    assert choice["message"]["content"] == "m"
    assert usage["prompt_tokens"] == 100
    assert len(server.bodies) == 3


def test_a_lasting_failure_ends_after_the_retries_with_its_reason():
    with ScriptedServer(lambda *_: refusal(503, "overloaded")) as server:
        (error,) = ask(server)
    assert isinstance(error, Failed)
    assert "503" in str(error)
    assert "overloaded" in str(error)
    assert error.server_down
    assert len(server.bodies) == 4


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_refused_request_is_not_repeated(status):
    with ScriptedServer(lambda *_: refusal(status, "too long")) as server:
        (error,) = ask(server)
    assert isinstance(error, Failed)
    assert not error.server_down
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("answer", "mend"),
    [
        (refusal(401, f"Incorrect API key provided: {SECRET}"), "judge.key_env"),
        (refusal(403), "judge.key_env"),
        (refusal(404, "no such model", code="model_not_found"), "judge.model"),
        (refusal(429, "you exceeded your quota", code="insufficient_quota"), "used up"),
    ],
)
def test_what_no_request_can_mend_stops_everything_and_names_the_mend(answer, mend):
    with ScriptedServer(lambda *_: answer) as server:
        (error,) = ask(server)
    assert isinstance(error, UserError)
    assert mend in str(error)
    assert SECRET not in str(error)
    assert len(server.bodies) == 1
    assert server.authorizations == [f"Bearer {SECRET}"]


@pytest.mark.parametrize("status", [200, 400, 401, 429])
def test_no_part_of_the_key_is_told_wherever_the_server_repeats_it(status):
    """The server's words are cut: a cut through the key may not leave its beginning."""
    offsets = 130
    parts = {SECRET[at : at + 4] for at in range(len(SECRET) - 3)}

    def script(number, _):
        return refusal(status, "." * (number - 1) + SECRET + "." * 130)

    with ScriptedServer(script) as server:
        errors = [error for _ in range(offsets) for error in ask(server, retries=0)]
    assert len(server.bodies) == offsets
    assert all(isinstance(error, (Failed, UserError)) for error in errors)
    assert not [str(error) for error in errors if any(part in str(error) for part in parts)]


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Rate limit reached", "type": "tokens", "code": "rate_limit_exceeded"}},  # OpenAI
        {"error": {"message": "Provider is busy", "code": 429}},  # OpenRouter: the status of the model behind it
        {"choices": [{"error": {"message": "Provider is busy", "code": 502}}]},
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},  # Anthropic
        {"error": {"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."}},  # Gemini
    ],
)
def test_a_passing_error_inside_a_200_is_retried(body):
    with ScriptedServer(lambda number, _: (200, {}, body) if number < 3 else preference_for(0.9)) as server:
        ((choice, _),) = ask(server)
    assert choice["message"]["content"] == "m"
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"message": "prompt too long", "type": "invalid_request_error", "code": 400}}, Failed),
        ({"error": "prompt too long"}, Failed),
        ({"object": "error", "message": "prompt too long", "type": "BadRequestError"}, Failed),
        ({"choices": [], "error": {"message": "prompt too long", "code": None}}, Failed),
        ({"error": {"message": "prompt too long", "code": "model_not_found"}}, UserError),
        ({"error": {"message": "prompt too long", "code": 401}}, UserError),
    ],
)
def test_a_lasting_error_inside_a_200_keeps_the_servers_words_and_is_asked_once(body, kind):
    with ScriptedServer(lambda *_: (200, {}, body)) as server:
        (error,) = ask(server)
    assert type(error) is kind
    assert "prompt too long" in str(error)
    assert len(server.bodies) == 1


def test_what_a_server_says_cannot_steer_the_terminal():
    with ScriptedServer(lambda *_: refusal(400, "\x1b]0;owned\x07\u202e")) as server:
        (error,) = ask(server)
    assert str(error).isprintable()


@pytest.mark.parametrize("answer", [(200, {}, b"<html>"), (200, {}, {"choices": []}), (200, {}, [1])])
def test_an_answer_that_is_none_is_a_failure(answer):
    with ScriptedServer(lambda *_: answer) as server:
        (error,) = ask(server)
    assert isinstance(error, Failed)


def drip(seconds):
    """A byte of an answer every 20 ms."""
    for _ in range(int(seconds / 0.02)):
        yield b" "
        time.sleep(0.02)


def test_a_server_that_drips_does_not_outlive_the_timeout():
    with ScriptedServer(lambda *_: (200, {}, drip(20))) as server:
        began = time.monotonic()
        (error,) = ask(server, timeout=0.3, retries=1)
    assert time.monotonic() - began < 10
    assert isinstance(error, Failed)
    assert error.server_down
    assert "no whole answer in 0.3 s" in str(error)


def test_an_answer_without_end_of_its_brackets_is_a_failure():
    with ScriptedServer(lambda *_: (200, {}, b"[" * 200_000 + b"]" * 200_000)) as server:
        (error,) = ask(server, retries=0)
    assert isinstance(error, Failed)


def test_no_server_is_a_failure_that_says_so():
    with ScriptedServer(lambda *_: refusal(500)) as server:
        pass
    (error,) = ask(server)
    assert isinstance(error, Failed)
    assert "no connection" in str(error)


def test_retry_after_is_waited_for():
    arrived = []

    def script(number, _):
        arrived.append(time.monotonic())
        return refusal(429, headers={"Retry-After": "0.4"}) if number == 1 else preference_for(0.5)

    with ScriptedServer(script) as server:
        ask(server)
    assert arrived[1] - arrived[0] >= 0.4


def test_a_server_that_asks_for_hours_is_given_up():
    with ScriptedServer(lambda *_: refusal(429, headers={"Retry-After": str(LONGEST_WAIT + 1)})) as server:
        (error,) = ask(server)
    assert isinstance(error, Failed)
    assert len(server.bodies) == 1


def test_retry_after_is_read_in_each_of_its_forms():
    date = email.utils.formatdate(1_000_030, usegmt=True)
    assert _retry_after({"retry-after": "7"}) == 7
    assert _retry_after({"retry-after-ms": "250", "retry-after": "7"}) == 0.25
    assert _retry_after({"retry-after": date}, now=lambda: 1_000_000) == 30
    assert _retry_after({"retry-after": date}, now=lambda: 2_000_000) == 0
    assert _retry_after({"retry-after": "soon"}) == 0
    assert _retry_after({}) == 0


def test_requests_per_minute_spaces_the_requests():
    arrived = []

    def script(*_):
        arrived.append(time.monotonic())
        return preference_for(0.5)

    with ScriptedServer(script) as server:
        began = time.monotonic()
        ask(server, n=4, requests_per_minute=600)
    assert max(arrived) - began >= 3 * 60 / 600


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "", "file:///etc/passwd"])
def test_a_base_url_that_is_none_is_refused(url):
    with pytest.raises(UserError, match="base_url"):
        Endpoint(url, None, 1, None, 0, 1.0, 1.0)


def test_a_password_in_the_base_url_is_refused_and_not_repeated():
    with pytest.raises(UserError, match="key_env") as error:
        Endpoint("http://me:hunter2@host/v1", None, 1, None, 0, 1.0, 1.0)
    assert "hunter2" not in str(error.value)


PLAIN = [
    "http://gpu-1:8000/v1",
    "http://10.0.0.7/v1",
    "http://127.0.0.1.example.org/v1",
    "http://localhost.example.org/v1",
]
PRIVATE = [
    "https://gpu-1/v1",
    "http://127.0.0.1:8000/v1",
    "http://127.9.9.9/v1",
    "http://[::1]:8000/v1",
    "http://localhost/v1",
]


@pytest.mark.parametrize("url", PLAIN)
def test_a_key_does_not_go_unencrypted_to_another_machine(url, monkeypatch):
    monkeypatch.setenv("A_KEY", "hunter2")
    with pytest.raises(UserError, match=r"judge\.insecure=true") as error:
        key_of(url, "A_KEY")
    assert "hunter2" not in str(error.value)
    assert key_of(url, "A_KEY", insecure=True) == "hunter2"
    monkeypatch.delenv("A_KEY")
    assert key_of(url, "A_KEY") is None


@pytest.mark.parametrize("url", PRIVATE)
def test_a_key_goes_to_https_and_to_this_machine(url, monkeypatch):
    monkeypatch.setenv("A_KEY", "hunter2")
    assert key_of(url, "A_KEY") == "hunter2"


def test_a_redirect_does_not_take_the_key_along():
    with ScriptedServer(lambda *_: preference_for(0.5)) as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost") + "/chat/completions"
        with ScriptedServer(lambda *_: (307, {"Location": elsewhere}, {})) as server:
            ask(server, n=1)
    assert SECRET in server.authorizations[0]
    assert other.authorizations == [None]  # it was asked, and was not told
