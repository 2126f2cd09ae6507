"""What an engine was built to, where an engine is built from the model before it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Build:
    """A built engine.

    ``flags`` are the choices that it was built with, as the engine's tool takes them, names of files left out.
    ``seconds`` is how long it took when it was built, which may have been for an earlier measurement. ``layers`` counts
    its layers. Where a DLA was asked for, ``dla_layers`` run on it and ``gpu_layers`` do not; ``fallback`` are those of
    the network that the DLA could not take. ``context_bytes`` is the device memory of one context, where it is known.
    """

    gpu: str
    flags: tuple[str, ...]
    seconds: float
    layers: int
    engine_bytes: int
    engine_sha256: str
    dla_layers: tuple[str, ...] = ()
    gpu_layers: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    context_bytes: int | None = None

    def describe(self) -> str:
        """In one line: layers, size and choices; with a DLA what runs there and what fell back to the GPU."""
        words = [f"{self.layers} layers, {self.engine_bytes / 1e6:.1f} MB, {' '.join(self.flags)}"]
        if self.dla_layers or self.fallback:
            fell = f": {' '.join(self.fallback)}" if self.fallback else ""
            words.append(f"{len(self.dla_layers)} on the DLA, {len(self.gpu_layers)} on the GPU")
            words.append(f"{len(self.fallback)} fell back from the DLA to the GPU{fell}")
        return "; ".join(words)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Build:
        """The inverse of ``dataclasses.asdict``, also after a way through JSON; keys of later versions are left."""
        known = {field.name for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items() if key in known
        }
        return cls(**values)
