"""Which files of a network are wanted; checked before anything is spent."""

from __future__ import annotations

from dataclasses import dataclass

from deploy_prune.errors import InputError
from deploy_prune.export.formats import FORMATS, PRECISIONS
from deploy_prune.pipeline.recipe_sections import ExportRecipe


@dataclass(frozen=True)
class ExportRequest:
    """Which files are wanted.

    Attributes:
        formats: names of ``FORMATS``.
        precisions: of ``PRECISIONS``; FP32 is always among them, since the others are compared with it.
        dynamic: whether ONNX files leave number and size of the images open.
        nms: whether ONNX files of YOLO detectors choose among the boxes themselves.
        simplify: whether constants are folded.
    """

    formats: tuple[str, ...] = ("onnx",)
    precisions: tuple[str, ...] = ("fp32",)
    dynamic: bool = False
    nms: bool = False
    simplify: bool = True

    def __post_init__(self) -> None:
        for word, got, known in (
            ("format", self.formats, tuple(FORMATS)), ("precision", self.precisions, PRECISIONS)
        ):  # fmt: skip
            if unknown := [one for one in got if one not in known]:
                raise InputError(f"unknown {word} {unknown[0]!r}; expected {', '.join(known)}")
        for name in self.formats:
            for precision in self.precisions:
                if precision not in (has := FORMATS[name].writers):
                    raise InputError(
                        f"{name} files come in {', '.join(has)}, not in {precision}; leave one of them out"
                    )
        if self.dynamic and self.nms:
            raise InputError("nms takes files for one image of fixed size; leave dynamic or nms out")

    @classmethod
    def of(cls, recipe: ExportRecipe) -> ExportRequest:
        """What a recipe asks for."""
        return cls(recipe.format, recipe.precisions, recipe.dynamic, recipe.nms, recipe.simplify)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Format and precision of every file, FP32 of each format first."""
        wanted = [one for one in PRECISIONS if one == "fp32" or one in self.precisions]
        return tuple((name, precision) for name in dict.fromkeys(self.formats) for precision in wanted)

    @property
    def packages(self) -> dict[str, tuple[str, str]]:
        """What the formats need: for what, and the extra that brings it."""
        needed: dict[str, tuple[str, str]] = {}
        for name in self.formats:
            needed |= {package: (f"{name} files", extra) for package, extra in FORMATS[name].packages.items()}
        return needed
