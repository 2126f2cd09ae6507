"""Why a request of the client's is not met."""

from __future__ import annotations


class RefusedError(Exception):
    """A request cannot be met; ``kind`` tells the client which error to raise.

    Kinds: ``missing`` (the engine is not installed), ``device`` (the machine lacks what the profile asks for),
    ``input`` (the request, or the model's axes), ``model`` (the engine refuses the file), ``failed`` (anything else).
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
