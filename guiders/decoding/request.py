"""A prompt on its way through the decoder."""

from collections.abc import Mapping
from typing import Any

from guiders.sampling import signed_key


class Request:
    """A prompt on its way through the decoder."""

    def __init__(
        self,
        index: int,
        prompt: object,
        ids: list[int],
        limit: int,
        truncated: int = 0,
        document: Mapping[str, Any] | None = None,
    ):
        self.index, self.prompt, self.ids, self.limit, self.truncated = index, prompt, ids, limit, truncated
        self.document = document
        self.key = signed_key(ids)
        self.reset()

    def reset(self) -> None:
        self.left = self.limit  # tokens that its shortest running hypothesis may still get
        self.longest = 0  # tokens of its longest hypothesis
        self.chunks = 0
        self.passes = 0
        self.computed = 0.0
        self.seconds = 0.0
        self.trace: list[dict] = []
