"""A real OpenAI-compatible server on loopback that answers as a test's script says."""

import contextlib
import json
import math
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict, Any]  # HTTP status, headers, body: JSON, bytes, or pieces of bytes one after the other


def preference_for(probability: float, **more) -> Answer:
    """An answer of AlpacaEval's default annotator: the probability of "m", the output that stands first."""
    top = [
        {"token": token, "logprob": math.log(p)} for token, p in (("m", probability), ("M", 1 - probability)) if p > 0
    ]
    choice = {
        "index": 0,
        "finish_reason": "length",
        "message": {"role": "assistant", "content": top[0]["token"]},
        "logprobs": {"content": [{**top[0], "top_logprobs": top}]},
    }
    return 200, {}, {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 1}, **more}


def refusal(status: int, message: str = "no", headers: dict | None = None, **more) -> Answer:
    return status, headers or {}, {"error": {"message": message, **more}}


class ScriptedServer:
    """Runs while the ``with`` block does.

    Args:
        script: (number of the request from 1, its body) -> the answer.
    """

    def __init__(self, script: Callable[[int, dict], Answer]):
        self.bodies: list[dict] = []
        self.paths: list[str] = []
        self.authorizations: list[str | None] = []
        self.most_at_once = 0
        self._at_once, self._lock, outer = 0, threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    outer.bodies.append(body)
                    outer.paths.append(self.path)
                    outer.authorizations.append(self.headers.get("Authorization"))
                    number = len(outer.bodies)
                    outer._at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer._at_once)
                status, headers, answer = script(number, body)
                with outer._lock:
                    outer._at_once -= 1
                in_pieces = isinstance(answer, Iterator)
                data = answer if in_pieces or isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                size = {"Connection": "close"} if in_pieces else {"Content-Length": str(len(data))}
                form = {"Content-Type": "application/json", **size}
                for name, value in {**headers, **form}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # a client that was killed, or has gone
                    for piece in data if in_pieces else [data]:
                        self.wfile.write(piece)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "ScriptedServer":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()
